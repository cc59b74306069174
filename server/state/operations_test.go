package state

import (
	"bytes"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// operate accepts with operations of framework f on its node.
func (e *executors) operate(ops ...*Operation) []PlaceResult {
	e.t.Helper()
	n := e.store.Snapshot().Node(e.node)
	answer := e.must(&Place{Accepts: []*Accept{{Framework: "f", Node: e.node, NodeIncarnation: n.Incarnation, Operations: ops}}})
	return answer.(*Placed).Accepts[0]
}

// room reserves so many cores, as a part of an operation with an id when it is the first one of those.
func room(cores structs.Milli, role, id string, parts int) *Operation {
	op := &Operation{Reserve: reservationOf("r-"+id+role, "", role, 1000*cores)}
	if parts > 0 {
		op.Feedback = &Feedback{ID: id, Parts: parts, Info: []byte("info of " + id)}
	}
	return op
}

func (e *executors) outcome(id string) string {
	o := e.store.Snapshot().Operation("f", id)
	if o == nil {
		return ""
	}
	return strings.TrimSpace(string(o.State) + " " + o.Message)
}

func (e *executors) hears(id string, uuid []byte) {
	e.t.Helper()
	e.must(&AcknowledgeOperations{Framework: "f", Operations: []AcknowledgedOperation{{ID: id, UUID: uuid}, {ID: "none", UUID: uuid}}})
}

// What became of an operation with an id is in the state until it is acknowledged by its uuid, which is the same on every server.
func TestOutcomesOfOperations(t *testing.T) {
	e := newExecutors(t)
	e.fork()
	told := func(id, want string) *structs.Operation {
		t.Helper()
		o := e.store.Snapshot().Operation("f", id)
		if got := e.outcome(id); o == nil && want != "" || !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Fatalf("operation %s is %q, want %q", id, got, want)
		}
		return o
	}
	done := e.operate(room(2, "eng", "one", 1), room(1, "ops", "", 0), room(9, "eng", "two", 1))
	if done[0].Refused != "" || done[1].Refused != "" || done[2].Refused != RefusedReserve || !done[0].Keeps() || !done[2].Keeps() {
		t.Errorf("answered %+v", done)
	}
	one := told("one", "finished")
	if string(one.Info) != "info of one" || one.Node != e.node || one.Index != e.index {
		t.Errorf("it is %+v", one)
	}
	two := told("two", "error reservation on node")
	if bytes.Equal(one.UUID, two.UUID) {
		t.Error("two outcomes have one uuid")
	}
	// Parts are done together or not at all, and what comes after them is done for itself.
	done = e.operate(room(1, "eng/a", "three", 2), room(9, "eng/b", "", 0), room(1, "eng/c", "", 0))
	if done[0].Refused != RefusedReserve || done[1].Refused != RefusedReserve || done[2].Refused != "" || e.store.Snapshot().Role("eng/a") != nil {
		t.Errorf("answered %+v", done)
	}
	told("three", "error")
	// An id names one operation until its outcome is acknowledged.
	before := len(e.store.Snapshot().ReservedOn(e.node))
	done = e.operate(room(1, "eng/d", "one", 1))
	if done[0].Refused != RefusedID || done[0].Keeps() || !strings.Contains(done[0].Why, `"one" is in use`) || len(e.store.Snapshot().ReservedOn(e.node)) != before {
		t.Errorf("answered %+v", done)
	}
	e.hears("one", two.UUID)
	told("one", "finished")
	e.hears("one", one.UUID)
	told("one", "")
	e.operate(room(1, "eng/e", "one", 1))
	e.hears("one", one.UUID) // comes late, for another one
	if again := told("one", "finished"); bytes.Equal(again.UUID, one.UUID) {
		t.Error("another outcome has the same uuid")
	}
	for _, id := range []string{"", strings.Repeat("x", 256), "a\nb"} {
		if done := e.operate(room(1, "eng/f", id, 1)); done[0].Refused != RefusedID {
			t.Errorf("the id %q is answered %+v", id, done)
		}
	}
	e.must(&SetEligibility{Node: e.node})
	e.operate(room(1, "eng", "four", 1))
	told("four", "dropped")
	// They go with their framework.
	e.must(&RemoveFramework{ID: "f"})
	for o := range e.store.Snapshot().Operations() {
		t.Errorf("left: %+v", o)
	}
	if done := e.operate(room(1, "eng", "five", 1)); done[0].Refused != RefusedJob || done[0].Keeps() {
		t.Errorf("of a framework that is gone: %+v", done)
	}
}

// What a scheduler was told in one subscription for long, and did not acknowledge, is forgotten; not while it is away, nor soon after it is back.
func TestOutcomesThatNobodyHeeds(t *testing.T) {
	e := newExecutors(t)
	e.operate(room(1, "eng", "one", 1))
	forget := func(before structs.Time) bool {
		t.Helper()
		e.must(&Collect{Operations: []OperationName{{"f", "one"}, {"f", "none"}, {"g", "one"}}, OperationsBefore: before})
		return e.outcome("one") == ""
	}
	made := e.store.Snapshot().Operation("f", "one").Time
	if forget(made) {
		t.Error("it is forgotten before its time")
	}
	e.must(&DisconnectFrameworks{Connections: []Connection{{"f", "c1"}}, Grace: 1 << 40})
	if forget(made + 1e12) {
		t.Error("it is forgotten while its framework is away")
	}
	e.must(&ConnectFramework{Framework: &structs.Framework{ID: "f", Name: "f", User: "root", Roles: []string{"eng"}, Connection: "c2"}})
	if forget(e.store.Snapshot().Framework("f").Since) {
		t.Error("it is forgotten as soon as its framework is back")
	}
	if !forget(e.store.Snapshot().Framework("f").Since + 1) {
		t.Error("it is not forgotten")
	}
}
