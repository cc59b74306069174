package state

import (
	"bytes"
	"fmt"
	"iter"
	"strings"

	"github.com/proffer/proffer/structs"
)

// What became of operations of external frameworks that gave them an id: made by the entry that carries them out, and kept until the
// framework acknowledged it.

// Feedback is what a framework gives an operation of whose outcome it wants to be told.
type Feedback struct {
	ID    string
	Parts int    // operations that it consists of, this one and those that follow: they are done together or not at all
	Info  []byte // see structs.Operation
}

// RefusedID is why an operation is refused, and no outcome of it kept.
const RefusedID Refusal = "id" // another one has it whose outcome the framework did not acknowledge, or it is none

// Keeps reports whether what became of an operation with a Feedback is kept, by how it was answered.
func (r *PlaceResult) Keeps() bool { return r.Refused != RefusedID && r.Refused != RefusedJob }

// PartsOf returns how many operations, from the first on, are done together.
func PartsOf(list []*Operation) int {
	if f := list[0].Feedback; f != nil {
		return max(1, min(f.Parts, len(list)))
	}
	return 1
}

// operateTogether does all parts of an operation of which its framework is told, or none of them.
func (tx *Tx) operateTogether(c *Accept, parts []*Operation, results []PlaceResult) {
	f := parts[0].Feedback
	refuse := func(refused Refusal, why string) {
		for i := range results {
			results[i].Refused, results[i].Why = refused, why
		}
	}
	next := &structs.Operation{Framework: c.Framework, ID: f.ID, Node: c.Node, State: structs.OperationFinished, Info: f.Info, Time: tx.Now, Index: tx.Index}
	switch {
	case tx.framework(c.Framework) == nil:
		refuse(RefusedJob, "its framework is gone")
		return
	case !structs.ValidOperationID(f.ID) || len(f.Info) > structs.MaxOperationInfo:
		refuse(RefusedID, "the id of the operation is not valid")
		return
	case get(tx.operations, next.Key()) != nil:
		refuse(RefusedID, fmt.Sprintf("the operation id %q is in use: the framework did not acknowledge what became of it", f.ID))
		return
	}
	mark, starts, was := len(tx.changes), tx.starts, tx.dirty
	for i, op := range parts {
		if results[i] = tx.operate(c, op); results[i].Refused == "" {
			continue
		}
		r := results[i]
		tx.undo(mark)
		tx.starts, tx.dirty = starts, was
		refuse(r.Refused, r.Why)
		next.State, next.Message = structs.OperationError, bounded(r.Why)
		if r.Refused == RefusedNode {
			next.State = structs.OperationDropped
		}
		break
	}
	if next.Disk = parts[0].disk(); next.Disk != "" && next.State == structs.OperationFinished {
		next.State = structs.OperationPending // until the storage did it: see outcome
	} else {
		next.UUID = tx.outcomeID(next)
	}
	tx.put(Operations, nil, next)
	tx.tallied().Operations[next.State]++
}

// AcknowledgeOperations records that a framework has heard what became of operations: nothing more is kept of them. One that is not known by that
// name is passed over. Answer: *Receipt.
type AcknowledgeOperations struct {
	Framework  structs.FrameworkID
	Operations []AcknowledgedOperation
}

// AcknowledgedOperation names an outcome.
type AcknowledgedOperation struct {
	ID   string
	UUID []byte
}

// Kind is the name under which it travels.
func (*AcknowledgeOperations) Kind() string { return "framework.acknowledge_operations" }

func init() { register[AcknowledgeOperations, Receipt]() }

// Apply forgets what a framework has heard of.
func (c *AcknowledgeOperations) Apply(tx *Tx) (any, error) {
	for _, ack := range c.Operations {
		o := get(tx.operations, (&structs.Operation{Framework: c.Framework, ID: ack.ID}).Key())
		known := o != nil && o.State != structs.OperationPending && bytes.Equal(o.UUID, ack.UUID)
		if heard(&tx.tallied().OpAcks, known); known {
			tx.put(Operations, o, nil)
		}
	}
	return tx.receipt(), nil
}

// forgetOperations forgets what a framework, which is gone, did not acknowledge.
func (tx *Tx) forgetOperations(id structs.FrameworkID) {
	var all []*structs.Operation
	for o := range tx.operationsOf(id) {
		all = append(all, o)
	}
	for _, o := range all {
		tx.put(Operations, o, nil)
	}
}

// Unheeded reports whether a framework has been told of an outcome, in one subscription, ever since t or longer, and did not acknowledge it.
func Unheeded(f *structs.Framework, o *structs.Operation, t structs.Time) bool {
	return f.Connected && f.Since < t && o.Time < t && o.State != structs.OperationPending
}

// Operation returns what became of an operation that is not acknowledged, or nil.
func (s *Snapshot) Operation(framework structs.FrameworkID, id string) *structs.Operation {
	return get(s.operations, (&structs.Operation{Framework: framework, ID: id}).Key())
}

// OperationsOf yields what became of operations of a framework that it did not acknowledge, by their ids.
func (s *Snapshot) OperationsOf(framework structs.FrameworkID) iter.Seq[*structs.Operation] {
	return s.operationsOf(framework)
}

// Operations yields those of all frameworks.
func (s *Snapshot) Operations() iter.Seq[*structs.Operation] { return from(s.operations, "") }

func (t *trees) operationsOf(framework structs.FrameworkID) iter.Seq[*structs.Operation] {
	first := string(framework) + "/"
	return func(yield func(*structs.Operation) bool) {
		t.operations.Ascend(first, func(key string, o *structs.Operation) bool { return strings.HasPrefix(key, first) && yield(o) })
	}
}
