package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"fmt"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// What became of operations is told of those that have an id. What the region decided it tells by itself, until it is acknowledged; what was
// refused before that is told here: once and without a uuid, as by a master of Mesos.

// feedback is what became of the operations of an ACCEPT, by their places there.
type feedback struct {
	operations []wire.Operation
	faults     map[int]error
	kept       map[int]bool    // the region tells of them
	ids        map[string]bool // that badID has seen
}

// badID says why an operation cannot have its id; nil: it can, or has none. It is asked once for each, in their order.
func (b *feedback) badID(i int) error {
	if !b.asked(i) {
		return nil
	}
	id := b.operations[i].ID.Value
	if !structs.ValidOperationID(id) {
		return fmt.Errorf("Operation id '%.300s' is invalid", id)
	}
	if b.ids[id] {
		return fmt.Errorf("Operation id '%s' is used twice", id)
	}
	if b.ids == nil {
		b.ids = map[string]bool{}
	}
	b.ids[id] = true
	return nil
}

// fault notes why an operation was not done; the first reason counts. The error is for the log when nobody is told.
func (b *feedback) fault(i int, err error) (told bool) {
	if b.faults == nil {
		b.faults = map[int]error{}
	}
	if b.faults[i] == nil {
		b.faults[i] = err
	}
	return b.asked(i)
}

// keep notes that the region tells of an operation.
func (b *feedback) keep(i int) {
	if b.kept == nil {
		b.kept = map[int]bool{}
	}
	b.kept[i] = true
}

// asked reports whether somebody wants to be told of an operation. A launch is told of by its tasks.
func (b *feedback) asked(i int) bool {
	op := &b.operations[i]
	return op.ID != nil && op.Launch == nil && op.Group == nil
}

// news is what is told of those that the region does not tell of, in their order; all is why nothing was done, when that is so.
func (b *feedback) news(node structs.NodeID, all error) (out []*server.OperationNews) {
	for i := range b.operations {
		err := all
		if err == nil {
			err = b.faults[i]
		}
		if b.asked(i) && !b.kept[i] && err != nil {
			out = append(out, &server.OperationNews{ID: b.operations[i].ID.Value, Node: node, State: structs.OperationError, Message: err.Error()})
		}
	}
	return out
}

// infoOf is what is kept of an operation for those who look at it.
func infoOf(op *wire.Operation) []byte {
	if info := wire.Protobuf.Marshal(op); len(info) <= structs.MaxOperationInfo {
		return info
	}
	return wire.Protobuf.Marshal(&wire.Operation{Type: op.Type, ID: op.ID})
}

var operationStates = map[structs.OperationState]wire.OperationState{structs.OperationPending: wire.OperationPending,
	structs.OperationFinished: wire.OperationFinished, structs.OperationFailed: wire.OperationFailed, structs.OperationError: wire.OperationError, structs.OperationDropped: wire.OperationDropped,
	structs.OperationUnreachable: wire.OperationUnreachable, structs.OperationGoneByOperator: wire.OperationGoneByOperator,
	structs.OperationUnknown: wire.OperationNotKnown}

func operationStatus(n *server.OperationNews) wire.OperationStatus {
	status := wire.OperationStatus{ID: &wire.ID{Value: n.ID}, State: operationStates[n.State], Message: wire.Optional(n.Message), Converted: converted(n)}
	if n.Node != "" {
		status.AgentID = &wire.ID{Value: string(n.Node)}
	}
	if n.UUID != nil {
		status.UUID = &wire.UUID{Value: n.UUID}
	}
	return status
}

func operationEvent(n *server.OperationNews) *wire.Event {
	return &wire.Event{Type: new(wire.EventUpdateOperationStatus), OperationNews: &wire.OperationNews{Status: operationStatus(n)}}
}

// DecidedOperation returns what operators are shown of an operation.
func DecidedOperation(o *structs.Operation) wire.DecidedOperation {
	news := &server.OperationNews{ID: o.ID, Node: o.Node, State: o.State, Message: o.Message, UUID: o.UUID}
	if o.State == structs.OperationFinished {
		news.Disk, news.Info = o.Disk, o.Info
	}
	status := operationStatus(news)
	out := wire.DecidedOperation{FrameworkID: &wire.ID{Value: string(o.Framework)}, AgentID: status.AgentID, Latest: status,
		Statuses: []wire.OperationStatus{status}, UUID: wire.UUID{Value: o.UUID}}
	wire.Protobuf.Unmarshal(o.Info, &out.Info) // it was read before
	return out
}

// asksFor are the operations of RECONCILE_OPERATIONS.
func asksFor(c *wire.ReconcileOps) (out []*server.OperationNews) {
	for _, op := range c.Operations {
		out = append(out, &server.OperationNews{ID: op.OperationID.Value, Node: structs.NodeID(idOf(op.AgentID))})
	}
	return out
}
