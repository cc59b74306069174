package state

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/proffer/proffer/structs"
)

// What is forgotten and what became of nodes is counted, on this server and since it began.
func TestTally(t *testing.T) {
	e := newExecutors(t)
	is := func(what string, want Tally) {
		t.Helper()
		got := *e.store.Snapshot().Tally()
		if got.Registered != want.Registered || got.Returned != want.Returned || got.Lost != want.Lost || got.Left != want.Left ||
			len(got.Tasks) != len(want.Tasks) || got.Tasks[structs.TaskFinished] != want.Tasks[structs.TaskFinished] || got.Tasks[structs.TaskFailed] != want.Tasks[structs.TaskFailed] {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	is("one node", Tally{Registered: 1})
	e.launch("a", "info", true, "one", "two")
	e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskFinished, Started: 1}}, said("one", 1, structs.TaskFinished))
	e.acknowledge("a", "one")
	is("nothing is forgotten", Tally{Registered: 1})
	e.launch("b", "info", true, "three")
	is("one is, when another one joins", Tally{Registered: 1, Tasks: map[structs.TaskStatus]int{structs.TaskFinished: 1}})
	e.must(&SetNodeStatus{Node: e.node, Status: structs.NodeLost})
	is("the node is lost", Tally{Registered: 1, Lost: 1, Tasks: map[structs.TaskStatus]int{structs.TaskFinished: 1}})
	e.region.node("1", 8000)
	is("and back", Tally{Registered: 1, Lost: 1, Returned: 1, Tasks: map[structs.TaskStatus]int{structs.TaskFinished: 1}})
	e.must(&SetNodeStatus{Node: e.node, Status: structs.NodeLeft})
	is("it left", Tally{Registered: 1, Lost: 1, Returned: 1, Left: 1, Tasks: map[structs.TaskStatus]int{structs.TaskFinished: 1}})
	var saved bytes.Buffer
	if err := e.store.Image().Persist(&saved); err != nil {
		t.Fatal(err)
	}
	if err := e.store.Restore(&saved); err != nil {
		t.Fatal(err)
	}
	is("a snapshot begins anew", Tally{})
}

// What nodes report and frameworks acknowledge is counted, by whether it meant something, and ends of tasks by their reasons.
func TestWhatIsHeardIsCounted(t *testing.T) {
	e := newExecutors(t)
	e.launch("a", "info", true, "one", "two")
	for range 2 {
		e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskFailed, Started: 1, Ended: 2, Reason: "CONTAINER_LIMITATION_DISK"}})
	}
	n := e.store.Snapshot().Node(e.node)
	e.must(&Observe{Node: n.ID, NodeIncarnation: n.Incarnation, Updates: []*structs.AllocUpdate{{ID: "nobody", Status: structs.AllocRunning}}})
	got := e.store.Snapshot().Tally()
	if want := (Heard{Taken: 1, Again: 1, Refused: 1}); got.Reports != want || got.Reports.All() != 3 {
		t.Errorf("reports: %+v, want %+v", got.Reports, want)
	}
	if n := got.Ends[TaskEnd{structs.TaskFailed, "CONTAINER_LIMITATION_DISK", true}]; n != 1 || len(got.Ends) != 1 {
		t.Errorf("ends: %+v", got.Ends)
	}
	e.acknowledge("a", "one")
	e.must(&AcknowledgeUpdates{Framework: "f", Updates: []Acknowledged{{Task: "one", UUID: []byte("of nothing")}}})
	if acks, want := e.store.Snapshot().Tally().Acks, (Heard{Taken: 1, Refused: 1}); acks != want {
		t.Errorf("acknowledged: %+v, want %+v", acks, want)
	}
	if got.Acks != (Heard{}) {
		t.Errorf("an older snapshot changed: %+v", got)
	}
	e.must(&RegisterNode{Node: e.store.Snapshot().Node(e.node), Open: true})
	described := *e.store.Snapshot().Node(e.node)
	described.Resources.CPU += 1000
	e.must(&RegisterNode{Node: &described})
	if got := e.store.Snapshot().Tally(); got.Sessions != 1 || got.Described != 1 {
		t.Errorf("%d sessions, %d descriptions", got.Sessions, got.Described)
	}
}

// Reasons come from outside, and cannot fill the memory.
func TestKindsOfEndsAreBounded(t *testing.T) {
	work := trees{}
	for i := range 2 * maxEnds {
		work.countEnd(&structs.TaskUpdate{State: structs.TaskFailed, Reason: fmt.Sprint(i)})
	}
	work.countEnd(&structs.TaskUpdate{State: structs.TaskFailed, Reason: "0"})
	if n := len(work.tally.Ends); n != maxEnds || work.tally.Ends[TaskEnd{structs.TaskFailed, "0", false}] != 2 {
		t.Errorf("%d kinds", n)
	}
}
