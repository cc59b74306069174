package mesos_test

import (
	"fmt"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// roomWanted is a tenth of a core that a framework reserves somewhere, with a label of its own, and gives back if it is not to keep it.
type roomWanted struct {
	label string
	keep  bool
	node  string // where it is, or is to be
	begin wantedOperation
	end   wantedOperation
}

// wantedOperation is an operation as its framework knows it.
type wantedOperation struct {
	sent bool
	done bool
	uuid string // of the outcome that it was told
}

// next returns the operation that is to be done now; nil: all are.
func (w *roomWanted) next() *wantedOperation {
	switch {
	case !w.begin.done:
		return &w.begin
	case !w.keep && !w.end.done:
		return &w.end
	}
	return nil
}

// reserves has a framework reserve, too.
func (a *actor) reserves() {
	inEng(&a.info)
	for i := range 8 {
		a.rooms = append(a.rooms, &roomWanted{label: fmt.Sprint("room-", i), keep: i%2 == 0})
	}
}

// operations are what it does with an offer beside launching: one at most.
func (a *actor) operations(o wire.Offer) []wire.Operation {
	a.guard.Lock()
	defer a.guard.Unlock()
	for _, w := range a.rooms {
		op := w.next()
		if op == nil || op.sent || op == &w.end && w.node != o.AgentID.Value {
			continue
		}
		op.sent = true
		if op == &w.end {
			return []wire.Operation{unreserve("end-"+w.label, reserved(0.1, w.label))}
		}
		w.node = o.AgentID.Value
		return []wire.Operation{reserve("begin-"+w.label, reserved(0.1, w.label))}
	}
	return nil
}

func (a *actor) askOperations() bool {
	var open []string
	a.guard.Lock()
	for _, w := range a.rooms {
		switch op := w.next(); {
		case op == nil || !op.sent:
		case op == &w.begin:
			open = append(open, "begin-"+w.label+"@"+w.node)
		default:
			open = append(open, "end-"+w.label+"@"+w.node)
		}
	}
	a.guard.Unlock()
	return len(open) == 0 || a.sends(reconcileOperations(open...))
}

func (a *actor) learnOperation(s *wire.OperationStatus) {
	a.guard.Lock()
	defer a.guard.Unlock()
	var op *wantedOperation
	for _, w := range a.rooms {
		switch s.ID.Value {
		case "begin-" + w.label:
			op = &w.begin
		case "end-" + w.label:
			op = &w.end
		}
	}
	uuid := ""
	if s.UUID != nil {
		uuid = string(s.UUID.Value)
	}
	switch s.State {
	case wire.OperationFinished:
		if op.uuid != "" && uuid != "" && op.uuid != uuid {
			a.wrong = append(a.wrong, fmt.Sprintf("operation %s was done twice", s.ID.Value))
		}
		op.done = true
		if uuid != "" {
			op.uuid = uuid
		}
	case wire.OperationError, wire.OperationDropped, wire.OperationNotKnown, wire.OperationUnreachable:
		if s.State != wire.OperationUnreachable { // otherwise it asks again
			op.sent = op.done // it never was: once more
		}
	case wire.OperationPending:
	default:
		a.wrong = append(a.wrong, fmt.Sprintf("operation %s: %s", s.ID.Value, wire.JSON.Marshal(s)))
	}
}

// compareRooms demands that what is reserved for the framework is what it believes, and that what it did not acknowledge is no news.
func (a *actor) compareRooms(snap *state.Snapshot) {
	t, id := a.r.t, structs.FrameworkID(a.info.ID.Value)
	is := map[string]structs.Milli{}
	for x := range snap.Reservations() {
		if x.Owner == id {
			is[x.Labels["for"]] += x.Resources.CPU
		}
	}
	for _, w := range a.rooms {
		want := structs.Milli(0)
		if w.keep {
			want = 100
		}
		if is[w.label] != want {
			t.Errorf("%s: %v is reserved as %s, and it believes in %v: %+v", a.info.Name, is[w.label], w.label, want, *w)
		}
		delete(is, w.label)
		for name, op := range map[string]*wantedOperation{"begin-" + w.label: &w.begin, "end-" + w.label: &w.end} {
			if o := snap.Operation(id, name); o != nil && (o.State != structs.OperationFinished || !op.done || op.uuid != "" && op.uuid != string(o.UUID)) {
				t.Errorf("%s: operation %s is %s, and it believes %+v", a.info.Name, name, o.State, *op)
			}
		}
	}
	if len(is) > 0 {
		t.Errorf("%s: reserved without its knowledge: %v", a.info.Name, is)
	}
}
