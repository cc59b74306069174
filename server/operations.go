package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What external frameworks are told of operations that they gave an id. What the state decided is in it until the framework acknowledged
// it, and is sent as updates of tasks are: at once, and again and again. What was refused before that is said once, without a name to
// acknowledge, and is known to nobody afterwards: it did not happen.

// OperationNews says what became of an operation that a framework named.
type OperationNews struct {
	ID      string
	Node    structs.NodeID // empty: not known
	State   structs.OperationState
	Message string
	UUID    []byte // nil: it need not be acknowledged

	Disk string // that it made of a raw one, or made raw again; Info is the operation then
	Info []byte
}

// outcomesOf returns what a framework is to be told of an operation now.
func outcomesOf(snap *state.Snapshot, framework structs.FrameworkID, id string, kind tellKind) (out []FrameworkEvent) {
	o := snap.Operation(framework, id)
	if o == nil {
		return nil // it acknowledged it meanwhile
	}
	n := OperationNews{ID: o.ID, Node: o.Node, State: o.State, Message: o.Message}
	if o.State == structs.OperationFinished && o.Disk != "" {
		n.Disk, n.Info = o.Disk, o.Info
	}
	if kind&tellReconcile != 0 {
		out = append(out, FrameworkEvent{Operation: new(n)})
	}
	if n.UUID = o.UUID; kind&tellUpdate != 0 && o.State != structs.OperationPending {
		out = append(out, FrameworkEvent{Operation: &n})
	}
	return out
}

// takeOperation looks at what became of an operation, or that its framework acknowledged that. The caller holds mu.
func (l *loop) takeOperation(old, now *structs.Operation) {
	one := now
	if one == nil {
		one = old
	}
	sub := l.subs.active[one.Framework]
	if sub == nil {
		return
	}
	key := subject{id: one.ID}
	if now != nil && now.State == structs.OperationPending {
		l.owe(one.Framework, key, true) // it will have to
		return
	}
	l.owe(one.Framework, key, now != nil)
	if now != nil {
		l.send1(sub, key, tellUpdate)
	} else {
		l.sendNoMore(one.Framework, key)
	}
}

// AcknowledgeOperation records that a framework has heard what became of an operation. An outcome that nobody knows is passed over.
func (s *Server) AcknowledgeOperation(ctx context.Context, id structs.FrameworkID, connection string, ack state.AcknowledgedOperation) error {
	if err := s.CheckSubscribed(id, connection); err != nil {
		return err
	}
	if s.store.Snapshot().Operation(id, ack.ID) == nil {
		return nil // of those that are said once, and those that are acknowledged twice
	}
	_, _, err := s.raft.Propose(ctx, "", frameworkObject(id), &state.AcknowledgeOperations{Framework: id, Operations: []state.AcknowledgedOperation{ack}})
	return asLeader(err)
}

// TellOperations has a framework told what became of operations, once.
func (s *Server) TellOperations(id structs.FrameworkID, connection string, news ...*OperationNews) error {
	return s.asFramework(id, connection, func(_ *loop, sub *Subscription) error {
		for _, n := range news {
			sub.push(FrameworkEvent{Operation: n})
		}
		return nil
	})
}

// ReconcileOperations tells a framework of operations: those that it names, or all that are under way or that it did not acknowledge when it
// names none.
func (s *Server) ReconcileOperations(id structs.FrameworkID, connection string, asked []*OperationNews) error {
	return s.asFramework(id, connection, func(l *loop, sub *Subscription) error {
		snap, pending := s.store.Snapshot(), map[string]*OperationNews{}
		for f, node := range l.inFlightOf(id) {
			if snap.Operation(id, f.ID) == nil {
				pending[f.ID] = &OperationNews{ID: f.ID, Node: node, State: structs.OperationPending}
			}
		}
		if len(asked) == 0 {
			for o := range snap.OperationsOf(id) {
				sub.tell(subject{id: o.ID}, tellReconcile)
			}
			for _, n := range pending {
				sub.push(FrameworkEvent{Operation: n})
			}
			return nil
		}
		for _, n := range asked {
			switch is := pending[n.ID]; {
			case snap.Operation(id, n.ID) != nil:
				sub.tell(subject{id: n.ID}, tellReconcile)
			case is != nil:
				sub.push(FrameworkEvent{Operation: is})
			default:
				sub.push(FrameworkEvent{Operation: unknownOperation(snap, n)})
			}
		}
		return nil
	})
}

// unknownOperation says what is known of an operation that nobody knows.
func unknownOperation(snap *state.Snapshot, n *OperationNews) *OperationNews {
	n.State = structs.OperationUnknown
	switch node := snap.Node(n.Node); {
	case snap.Gone(n.Node):
		n.State = structs.OperationGoneByOperator
	case node == nil:
	case node.Status == structs.NodeLost:
		n.State = structs.OperationUnreachable
	case node.Status == structs.NodeLeft:
		n.State = structs.OperationGoneByOperator
	}
	n.Message = "the region does not know the operation: it was not done, or its outcome was acknowledged"
	return n
}

// HeedWithin is for how long a framework is told what became of an operation, in one subscription, before that is forgotten: such a framework does not
// mean to acknowledge it.
const HeedWithin = 24 * time.Hour

// unheededMost bounds the outcomes that one entry forgets.
const unheededMost = 256

// unheeded lists outcomes that frameworks were told of since t or longer, without an answer.
func unheeded(snap *state.Snapshot, t structs.Time) (all []state.OperationName) {
	for f := range snap.Frameworks() {
		if !f.Connected || f.Since >= t {
			continue
		}
		for o := range snap.OperationsOf(f.ID) {
			if !state.Unheeded(f, o, t) {
				continue
			}
			if all = append(all, state.OperationName{Framework: f.ID, ID: o.ID}); len(all) == unheededMost {
				return all
			}
		}
	}
	return all
}
