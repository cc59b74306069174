package state

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A framework hears why a task of it failed by the names that Mesos has for it.
func TestReasonsOfFailures(t *testing.T) {
	for want, is := range map[string]*structs.TaskState{
		"COMMAND_EXECUTOR_FAILED":     {Status: structs.TaskFailed, ExitCode: 1},
		"CONTAINER_LIMITATION_MEMORY": {Status: structs.TaskFailed, OOM: true},
		"CONTAINER_LIMITATION_DISK":   {Status: structs.TaskFailed, Reason: "CONTAINER_LIMITATION_DISK"},
	} {
		was := &structs.Allocation{Tasks: map[string]*structs.TaskState{"t": {Status: structs.TaskRunning}}}
		next := &structs.Allocation{Tasks: map[string]*structs.TaskState{"t": is}}
		if u := (&Tx{}).updateOf(was, next, &structs.ExternalTask{Name: "t"}); u == nil || u.Reason != want || u.State != structs.TaskFailed {
			t.Errorf("%s: %+v", want, u)
		}
	}
}

// A framework hears that a task ran, also when it ended before anything else was heard of it.
func TestThatATaskRan(t *testing.T) {
	for _, c := range []struct {
		name string
		was  *structs.TaskState
		is   structs.TaskState
		info []byte
		want string
	}{
		{name: "at once over", is: structs.TaskState{Status: structs.TaskFinished, Started: 5}, want: "running finished"},
		{name: "was starting", was: &structs.TaskState{Status: structs.TaskStarting}, is: structs.TaskState{Status: structs.TaskFailed, Started: 5}, want: "running failed"},
		{name: "it was heard", was: &structs.TaskState{Status: structs.TaskRunning, Started: 5}, is: structs.TaskState{Status: structs.TaskFinished, Started: 5}, want: "finished"},
		{name: "it was killed", was: &structs.TaskState{Status: structs.TaskKilling, Started: 5}, is: structs.TaskState{Status: structs.TaskKilled, Started: 5}, want: "killed"},
		{name: "it never ran", is: structs.TaskState{Status: structs.TaskFailed}, want: "failed"},
		{name: "its executor says so", is: structs.TaskState{Status: structs.TaskFinished, Started: 5}, info: []byte("x"), want: "finished"},
	} {
		e := newExecutors(t)
		was := &structs.Allocation{ID: "a", Framework: "f", Desired: structs.DesiredStop, Tasks: map[string]*structs.TaskState{},
			External: &structs.External{Tasks: []*structs.ExternalTask{{ID: "t", Name: "t", Info: c.info}}}}
		if c.was != nil {
			was.Tasks["t"] = c.was
		}
		next := *was
		next.Tasks = map[string]*structs.TaskState{"t": &c.is}
		tx := &Tx{trees: &e.store.work}
		tx.inform(was, &next, nil)
		var told []string
		for _, u := range next.External.Tasks[0].Updates {
			told = append(told, string(u.State))
		}
		if got := strings.Join(told, " "); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// A framework hears how a task is when its health check says something else, and with each update what it says.
func TestHealthOfTasks(t *testing.T) {
	live := func(status structs.CheckStatus) []structs.CheckState {
		return []structs.CheckState{{Name: "ready", Status: structs.CheckFailing}, {Name: "health", Live: true, Status: status}}
	}
	running, killed := structs.TaskRunning, structs.TaskKilled
	yes, no := new(true), new(false)
	for _, c := range []struct {
		name     string
		was, is  structs.CheckStatus
		from, to structs.TaskStatus
		healthy  *bool
		reason   string
		nothing  bool
	}{
		{name: "it passes at last", was: structs.CheckPending, is: structs.CheckPassing, from: running, to: running, healthy: yes, reason: "TASK_HEALTH_CHECK_STATUS_UPDATED"},
		{name: "it fails", was: structs.CheckPassing, is: structs.CheckFailing, from: running, to: running, healthy: no, reason: "TASK_HEALTH_CHECK_STATUS_UPDATED"},
		{name: "nothing new", was: structs.CheckPassing, is: structs.CheckPassing, from: running, to: running, nothing: true},
		{name: "not asked yet", was: structs.CheckPending, is: structs.CheckPending, from: running, to: running, nothing: true},
		{name: "started anew", was: structs.CheckPassing, is: structs.CheckPending, from: running, to: running, nothing: true},
		{name: "its end", was: structs.CheckFailing, is: structs.CheckFailing, from: running, to: killed, healthy: no},
	} {
		old := &structs.Allocation{Desired: structs.DesiredStop, Tasks: map[string]*structs.TaskState{"t": {Status: c.from, Started: 1, Checks: live(c.was)}}}
		next := &structs.Allocation{Desired: structs.DesiredStop, External: &structs.External{}, Tasks: map[string]*structs.TaskState{"t": {Status: c.to, Started: 1, Checks: live(c.is)}}}
		u := (&Tx{}).updateOf(old, next, &structs.ExternalTask{Name: "t"})
		switch {
		case (u == nil) != c.nothing:
			t.Errorf("%s: %+v", c.name, u)
		case u != nil && (u.State != c.to || u.Reason != c.reason || u.Healthy == nil || *u.Healthy != *c.healthy):
			t.Errorf("%s: %+v, healthy %v", c.name, u, u.Healthy)
		}
	}
}

// What is stopped to make room is told so, whatever else it would be told; what ends because its node is emptied, unless there is another reason.
func TestReasonsOfStops(t *testing.T) {
	for _, c := range []struct {
		preempted bool
		u         structs.TaskUpdate
		want      string
	}{
		{true, structs.TaskUpdate{State: structs.TaskKilled}, "CONTAINER_PREEMPTED"},
		{true, structs.TaskUpdate{State: structs.TaskKilled, Reason: "TASK_KILLED_DURING_LAUNCH"}, "CONTAINER_PREEMPTED"},
		{true, structs.TaskUpdate{State: structs.TaskFailed, Reason: "EXECUTOR_TERMINATED"}, "CONTAINER_PREEMPTED"},
		{true, structs.TaskUpdate{State: structs.TaskFailed, Reason: "CONTAINER_LIMITATION_MEMORY"}, "CONTAINER_LIMITATION_MEMORY"},
		{true, structs.TaskUpdate{State: structs.TaskFinished}, ""},
		{false, structs.TaskUpdate{State: structs.TaskKilled}, ""},
	} {
		u := c.u
		if explained(&structs.Allocation{DesiredWhy: "room", External: &structs.External{Preempted: c.preempted}}, &structs.ExternalTask{}, &u); u.Reason != c.want {
			t.Errorf("%v %+v: %q", c.preempted, c.u, u.Reason)
		}
	}
	for _, c := range []struct {
		u    structs.TaskUpdate
		want string
	}{
		{structs.TaskUpdate{State: structs.TaskKilled}, ReasonDraining},
		{structs.TaskUpdate{State: structs.TaskKilling}, ReasonDraining},
		{structs.TaskUpdate{State: structs.TaskKilled, Reason: "TASK_KILLED_DURING_LAUNCH"}, "TASK_KILLED_DURING_LAUNCH"},
		{structs.TaskUpdate{State: structs.TaskFailed}, ""},
		{structs.TaskUpdate{State: structs.TaskFinished}, ""},
	} {
		u := c.u
		if explained(&structs.Allocation{DesiredWhy: "drain", External: &structs.External{Drained: true}}, &structs.ExternalTask{}, &u); u.Reason != c.want || u.Agent {
			t.Errorf("%+v: %+v", c.u, u)
		}
	}
}

// A framework hears what a check of its task says, once for each change, beside all else that it hears of the task.
func TestAnswersOfChecks(t *testing.T) {
	e := newExecutors(t)
	is := func(status structs.TaskStatus, code int, healthy bool) *structs.TaskState {
		s := &structs.TaskState{Status: status, Started: 5, Answer: &structs.CheckAnswer{Type: "exec"},
			Checks: []structs.CheckState{{Live: true, Status: structs.CheckFailing}}}
		if code >= 0 {
			s.Answer.Code = &code
		}
		if healthy {
			s.Checks[0].Status = structs.CheckPassing
		}
		return s
	}
	task := &structs.ExternalTask{ID: "t", Name: "t", Check: &structs.Check{Type: "exec"}}
	a := &structs.Allocation{ID: "a", Framework: "f", Status: structs.AllocRunning, External: &structs.External{Tasks: []*structs.ExternalTask{task}}}
	tx := &Tx{trees: &e.store.work}
	for _, c := range []struct {
		name   string
		is     *structs.TaskState
		reason string // "-": nothing is told
		code   string // "": none
	}{
		{"it runs", is(structs.TaskRunning, -1, false), "", ""},
		{"the first answer", is(structs.TaskRunning, 1, false), "TASK_CHECK_STATUS_UPDATED", "1"},
		{"the same again", is(structs.TaskRunning, 1, false), "-", ""},
		{"both change", is(structs.TaskRunning, 0, true), "TASK_HEALTH_CHECK_STATUS_UPDATED", "0"},
		{"no answer", is(structs.TaskRunning, -1, true), "TASK_CHECK_STATUS_UPDATED", ""},
		{"an older agent says nothing of it", &structs.TaskState{Status: structs.TaskRunning, Started: 5, Checks: is("", 0, true).Checks}, "-", ""},
		{"an answer again", is(structs.TaskRunning, 7, true), "TASK_CHECK_STATUS_UPDATED", "7"},
		{"it is killed", is(structs.TaskKilling, 8, true), "-", ""},
		{"it ended", is(structs.TaskFinished, 7, true), "", "7"},
	} {
		next := *a
		next.Tasks = map[string]*structs.TaskState{"t": c.is}
		before := len(a.External.Tasks[0].Updates)
		tx.inform(a, &next, nil)
		a = &next
		told := a.External.Tasks[0].Updates[before:]
		if c.reason == "-" {
			if len(told) != 0 {
				t.Errorf("%s: it is told %+v", c.name, told[0])
			}
			continue
		}
		if len(told) != 1 || told[0].Reason != c.reason || told[0].State != c.is.Status || told[0].Check == nil || told[0].Check.Type != "exec" {
			t.Errorf("%s: it is told %+v", c.name, told)
			continue
		}
		code := ""
		if x := told[0].Check.Code; x != nil {
			code = fmt.Sprint(*x)
		}
		if code != c.code {
			t.Errorf("%s: the code is %q, not %q", c.name, code, c.code)
		}
	}
}

// Tasks that end because their node is emptied are told so, also in what their executor says of them.
func TestTasksOfANodeThatIsEmptied(t *testing.T) {
	for _, custom := range []bool{false, true} {
		e := newExecutors(t)
		if r := e.launch("a", "info", custom, "one", "two"); r.Refused != "" {
			t.Fatalf("%+v", r)
		}
		if !custom {
			running := &structs.TaskState{Status: structs.TaskRunning, Started: 1}
			e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": running, "two": running})
		}
		e.must(&Place{Stops: []*Stop{{ID: "a", Why: "the drain", Drained: true, MaxGrace: new(structs.Duration(5))}}})
		if longest := e.alloc("a").External.MaxGrace; longest == nil || *longest != 5 {
			t.Errorf("its tasks may take %v to end", longest)
		}
		if custom {
			e.observe("a", structs.AllocRunning, nil, said("one", 1, structs.TaskKilled), said("two", 1, structs.TaskFinished))
		} else {
			e.observe("a", structs.AllocRunning, map[string]*structs.TaskState{"one": {Status: structs.TaskKilled, Started: 1}, "two": {Status: structs.TaskFinished, Started: 1}})
		}
		for task, want := range map[string]string{"one": ReasonDraining, "two": ""} {
			all := e.alloc("a").External.Task(task).Updates
			if u := all[len(all)-1]; u.Reason != want || u.Agent {
				t.Errorf("custom %v, %s: %+v", custom, task, u)
			}
		}
	}
}

// What a custom executor says of tasks that it ends because it is taken back is told as of all tasks that make room; of one that its framework killed
// before, or that ended by itself, as it says.
func TestExecutorThatIsTakenBack(t *testing.T) {
	e := newExecutors(t)
	if r := e.launch("a", "info", true, "one", "two", "three"); r.Refused != "" {
		t.Fatalf("%+v", r)
	}
	e.must(&KillTask{Alloc: "a", Task: "two"})
	e.must(&Place{Stops: []*Stop{{ID: "a", Why: "taken back", Preempted: true, Revocable: true}}})
	own := said("one", 1, structs.TaskKilled)
	own.Update.Status, own.Update.Message = []byte("its own words"), "the executor ends"
	e.observe("a", structs.AllocRunning, nil, own, said("two", 1, structs.TaskKilled), said("three", 1, structs.TaskFinished))
	for task, want := range map[string]structs.TaskUpdate{
		"one":   {State: structs.TaskGone, Reason: "CONTAINER_PREEMPTED", Agent: true, Message: "taken back"},
		"two":   {State: structs.TaskKilled},
		"three": {State: structs.TaskFinished},
	} {
		x := e.alloc("a").External.Task(task)
		u := *x.Updates[len(x.Updates)-1]
		if len(u.UUID) != 16 || !x.Over {
			t.Errorf("%s: %+v", task, x)
		}
		if u.UUID, u.Time = nil, 0; !reflect.DeepEqual(u, want) {
			t.Errorf("%s is told as %+v", task, u)
		}
	}
}
