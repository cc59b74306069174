package framework

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/proffer/proffer/structs"
)

// tasks is what the driver knows of the framework's tasks: no more than it needs to pass each thing on once and to ask for what it may
// have missed. It has no clock and no lock.
type tasks struct {
	live  map[string]*task
	ended map[string]told // the newest mostEnded
	order []string        // of ended, oldest first
}

// task is one that has not ended, as far as is known.
type task struct {
	told
	node     string
	launches bool // its launch is not answered yet: the region may not know it
	asked    bool // it is to be asked for, and nothing was heard since
}

// told is the newest that the scheduler took of a task.
type told struct {
	state   structs.TaskStatus
	uuid    []byte // nil: it had none
	healthy string // what it said of its health
	later   bool   // the scheduler acknowledges it itself, and did not yet
}

func healthOf(u *Update) string {
	if u.Healthy == nil {
		return ""
	}
	return strconv.FormatBool(*u.Healthy)
}

func newTasks() *tasks { return &tasks{live: map[string]*task{}, ended: map[string]told{}} }

// track adds a task, unless it is known.
func (t *tasks) track(id, node string, launches bool) {
	x := t.live[id]
	if x == nil {
		x = &task{node: node}
		t.live[id] = x
	}
	if x.launches = launches; launches && x.state == "" {
		x.state = structs.TaskStaging // of which nobody need be told
	}
}

// answered notes that the launch of a task was answered. One that did not happen is no task.
func (t *tasks) answered(id string, happened bool) {
	x := t.live[id]
	if x == nil {
		return
	}
	if x.launches = false; !happened && x.state == structs.TaskStaging {
		delete(t.live, id)
	}
}

// news says of something that was told whether the scheduler must hear of it, and if not, whether it is to be acknowledged.
func (t *tasks) news(u *Update) (tell, acknowledge bool) {
	last, over := t.ended[u.Task]
	if x := t.live[u.Task]; x != nil {
		x.asked = false
		last, over = x.told, false
	}
	if u.uuid != nil && bytes.Equal(last.uuid, u.uuid) {
		return false, !last.later // it comes again
	}
	if over && last.state == u.State {
		return false, u.uuid != nil // it was told before, without a name
	}
	same := last.state == u.State && last.healthy == healthOf(u)
	if u.uuid != nil { // the scheduler may have asked before it came
		tell = !same || last.uuid != nil || last.later || len(u.Data) > 0
		return tell, !tell
	}
	return !same || u.Reason != "RECONCILIATION", false
}

// took notes what the scheduler took; later: it is still to acknowledge it.
func (t *tasks) took(u *Update, later bool) {
	now := told{u.State, u.uuid, healthOf(u), later}
	if !u.Over() {
		x := t.live[u.Task]
		if x == nil {
			x = &task{}
			t.live[u.Task] = x
		}
		x.told = now
		if u.Node != "" {
			x.node = u.Node
		}
		return
	}
	delete(t.live, u.Task)
	if _, known := t.ended[u.Task]; !known {
		t.order = append(t.order, u.Task)
	}
	t.ended[u.Task] = now
	if len(t.order) > mostEnded {
		delete(t.ended, t.order[0])
		t.order = t.order[1:]
	}
}

// acknowledged notes that the scheduler acknowledged what it took before.
func (t *tasks) acknowledged(u *Update) {
	if x := t.live[u.Task]; x != nil && bytes.Equal(x.uuid, u.uuid) {
		x.later = false
	}
	if x, ok := t.ended[u.Task]; ok && bytes.Equal(x.uuid, u.uuid) {
		x.later = false
		t.ended[u.Task] = x
	}
}

// ask begins to ask for all tasks that the region should know.
func (t *tasks) ask() {
	for _, x := range t.live {
		x.asked = !x.launches
	}
}

// unheard returns the tasks that were asked for and not heard of since, in order.
func (t *tasks) unheard() (ids []string) {
	for id, x := range t.live {
		if x.asked {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// reconciling says when what is asked next: all, and after that, at growing intervals, what was not heard of.
type reconciling struct {
	every time.Duration
	pause time.Duration // before the next question for what is unheard
	all   time.Time     // when all are asked for again
}

// next returns what is due at now, and when to look again. left: there are tasks that were not heard of.
func (r *reconciling) next(now time.Time, left bool) (all bool, again time.Time) {
	if !now.Before(r.all) {
		r.all, r.pause = now.Add(r.every), reconcileFirst
		return true, now.Add(r.pause)
	}
	if !left {
		return false, r.all
	}
	r.pause = min(r.pause*2, reconcileLast)
	if again = now.Add(r.pause); again.After(r.all) {
		again = r.all
	}
	return false, again
}
