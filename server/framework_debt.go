package server

import (
	"fmt"
	"iter"
	"slices"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// MaxUntold bounds what a framework did not acknowledge of tasks that ended and of operations that it gave an id: the region keeps that
// until it does. A framework with so much of it launches nothing, and has no more operations with an id, until it has acknowledged some.
const MaxUntold = 10_000

// owe notes whether a framework has yet to acknowledge the end of a task, or what became of an operation. The caller holds mu.
func (l *loop) owe(id structs.FrameworkID, key subject, due bool) {
	owed := l.subs.owed[id]
	if !due {
		delete(owed, key)
		return
	}
	if owed == nil {
		owed = map[subject]struct{}{}
		l.subs.owed[id] = owed
	}
	owed[key] = struct{}{}
}

// over reports whether the end of a task is among what its framework did not acknowledge.
func over(x *structs.ExternalTask) bool { return x.Over && x.Outstanding() != nil }

// debt returns how much a framework has yet to acknowledge, with operations that are in flight. The caller holds mu.
func (l *loop) debt(id structs.FrameworkID) int {
	n := len(l.subs.owed[id])
	for range l.inFlightOf(id) {
		n++
	}
	return n
}

// inFlightOf yields the operations with an id of a framework that are being committed, or wait for that. The caller holds mu.
func (l *loop) inFlightOf(id structs.FrameworkID) iter.Seq2[*state.Feedback, structs.NodeID] {
	return func(yield func(*state.Feedback, structs.NodeID) bool) {
		for cmd, a := range l.subs.accepts {
			if cmd.Framework != id {
				continue
			}
			for _, ops := range [][]*state.Operation{cmd.Operations, a.rest} {
				for _, op := range ops {
					if op.Feedback != nil && !yield(op.Feedback, cmd.Node) {
						return
					}
				}
			}
		}
	}
}

// mayOwe says why a framework that owes so much launches nothing now, and has no operation with an id done. The caller holds mu.
func (l *loop) mayOwe(id structs.FrameworkID, debt int) error {
	if debt < int(l.server.maxUntold.Load()) {
		return nil
	}
	tasks := 0
	for key := range l.subs.owed[id] {
		if key.alloc != "" {
			tasks++
		}
	}
	what := fmt.Sprintf("%d tasks ended", tasks)
	if operations := debt - tasks; operations > 0 {
		what += fmt.Sprintf(" and %d operations were decided", operations)
	}
	return &RefusedOperation{state.RefusedUntold, structs.Errorf(structs.Exhausted, frameworkObject(id),
		"%s and the framework did not acknowledge it: it launches nothing more, and has no more operations with an id, before it does", what)}
}

// parts yields where each whole of operations begins and where it ends.
func parts(ops []*FrameworkOperation) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for from := 0; from < len(ops); {
			to := from + 1
			for to < len(ops) && ops[from].ID != "" && ops[to].ID == ops[from].ID {
				to++
			}
			if !yield(from, to) {
				return
			}
			from = to
		}
	}
}

// wholeFaults has what is wrong with one part of an operation be wrong with all of them.
func wholeFaults(ops []*FrameworkOperation, faults []error) {
	for from, to := range parts(ops) {
		whole := faults[from:to]
		if i := slices.IndexFunc(whole, func(err error) bool { return err != nil }); i >= 0 {
			for k := range whole {
				whole[k] = whole[i]
			}
		}
	}
}
