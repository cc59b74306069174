package state

import (
	"bytes"
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
