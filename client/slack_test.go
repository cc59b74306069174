package client

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// told is what the node last said; false when it said nothing.
func (w *world) told() (structs.Slack, bool) {
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	if len(w.up.slack) == 0 {
		return structs.Slack{}, false
	}
	return w.up.slack[len(w.up.slack)-1], true
}

func eightCores(c *Config) {
	c.Resources = structs.Resources{CPU: 8000, Memory: 16 << 30}
	c.Revocable.Enabled = true
}

func of(cpu structs.Milli, memory structs.Bytes, config script) func(*structs.Group) {
	return func(g *structs.Group) {
		g.Tasks[0].Resources = &structs.TaskResources{CPU: cpu, Memory: memory}
		g.Tasks[0].Config = config
	}
}

// A service reserves all cores and idles: after a while the node says so, and takes it back at once when the service gets busy.
func TestWhatIsNotUsedIsTold(t *testing.T) {
	bubble(t, func(w *world) {
		w.stop()
		w.tune = eightCores
		w.start()
		w.welcome("g")
		w.run("a", w.service("web", of(8000, 8<<30, script{"run_for": "forever", "busy_after": "1h", "busy_cores": 6})))
		after(5 * time.Minute)
		if s, ok := w.told(); !ok || !s.IsZero() {
			t.Errorf("while it is young: %s, %v", s, ok)
		}
		after(5 * time.Minute) // half of the time in which the estimate falls
		if s, _ := w.told(); s.CPU < 3500 || s.CPU > 4000 || s.Memory < 7<<29 || s.Memory > 4<<30 {
			t.Errorf("after ten minutes: %s", s)
		}
		after(10 * time.Minute)
		// A tenth is the margin, and a little is used.
		if s, _ := w.told(); s.CPU < 6700 || s.CPU > 7190 || s.Memory < 6<<30 || s.Memory > 8<<30 {
			t.Errorf("in the end: %s", s)
		}

		// What another agent finds running is estimated by how long it ran already. Before it knows, it says nothing.
		w.stop()
		w.start()
		if s, ok := w.told(); ok {
			t.Errorf("at its start it says %s", s)
		}
		w.welcome("g")
		after(15 * time.Second)
		if s, _ := w.told(); s.CPU < 6700 || s.CPU > 7190 {
			t.Errorf("after a restart of the agent: %s", s)
		}

		// What is revocable itself frees nothing.
		b := w.alloc("b", w.service("scan", of(2000, 1<<30, script{"run_for": "forever"})))
		b.Revocable = &structs.Slack{CPU: 2000, Memory: 1 << 30}
		w.want(b)
		after(30 * time.Minute)
		if s, _ := w.told(); s.CPU > 7190 || s.Memory > 8<<30 {
			t.Errorf("beside what is revocable: %s", s)
		}

		after(time.Hour)
		if s, _ := w.told(); s.CPU > 1200 || s.CPU < 900 || s.Memory < 6<<30 {
			t.Errorf("when it uses six cores: %s", s)
		}
		w.up.mu.Lock()
		defer w.up.mu.Unlock()
		if n := len(w.up.slack); n > 5 {
			t.Errorf("it was told %d times: %v", n, w.up.slack)
		}
	})
}

// Two tasks on a node: what one uses beyond its reservation the other does not leave. Nothing is left of what ended.
func TestWhatIsUsedBeyondAReservation(t *testing.T) {
	bubble(t, func(w *world) {
		w.stop()
		w.tune = eightCores
		w.start()
		w.welcome("g")
		w.run("a", w.service("idle", of(4000, 1<<30, script{"run_for": "forever"})))
		w.run("b", w.service("greedy", of(1000, 1<<30, script{"run_for": "forever", "busy_after": "1s", "busy_cores": 3})))
		after(time.Hour)
		if s, _ := w.told(); s.CPU < 1300 || s.CPU > 1600 {
			t.Errorf("%s: one leaves 3.59 cores, and the other uses 2 more than it has", s)
		}
		w.want(w.change("a", func(a *structs.Allocation) { a.Desired = structs.DesiredStop }))
		after(11 * time.Second)
		if s, _ := w.told(); s.CPU != 0 {
			t.Errorf("after its end: %s", s)
		}
	})
}

// Where nothing may be revocable, that is said at once: what is revocable there has to go.
func TestNothingIsToldByDefault(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("web", of(8000, 8<<30, script{"run_for": "forever"})))
		after(time.Hour)
		if s, ok := w.told(); !ok || !s.IsZero() {
			t.Errorf("%s, %v", s, ok)
		}
	})
}

// A custom executor reserves what it and its tasks have of the node's own room. What a task runs on that others leave does not lessen what they
// leave, nor does it free anything; what joins is taken to be needed for a while.
func TestExecutorsLeaveWhatTheyDoNotUse(t *testing.T) {
	bubble(t, func(w *world) {
		w.stop()
		w.tune = eightCores
		w.start()
		w.welcome("g")
		busy := script{"run_for": "forever", "busy_after": "2h", "busy_cores": 3}
		p := w.executor("a", busy, "one")
		p.begin(holding("firm", 4000, 0, 4<<30, 0))
		leaves := func(what string, from, to structs.Milli) {
			t.Helper()
			if s, _ := w.told(); s.CPU < from || s.CPU > to {
				t.Errorf("%s: %s", what, s)
			}
		}
		after(time.Second)
		p.subscribe(nil)
		after(30 * time.Minute)
		leaves("of four cores", 3300, 3600)
		soft := holding("soft", 2000, 0, 1<<30, 0)
		soft.Revocable = &structs.Slack{CPU: 2000, Memory: 1 << 30}
		p.begin(soft)
		after(time.Minute)
		leaves("with two that others leave", 3300, 3600)
		p.begin(holding("more", 1000, 0, 1<<30, 0))
		after(4 * time.Minute)
		leaves("with one more of its own that just came", 3300, 3600)
		after(20 * time.Minute)
		leaves("later", 4200, 4500)
		p.says("more", structs.TaskFinished)
		after(time.Minute)
		leaves("after its end", 3300, 3600)
		after(3 * time.Hour) // two of the three cores are of what others leave
		leaves("when it is busy", 2300, 2700)
		p.says("soft", structs.TaskFinished)
		after(time.Minute)
		leaves("when the three are its own", 300, 700)
	})
}

// Of a pod each task is revocable or not: what runs on what others leave has the lowest weight and frees nothing, also after a restart.
func TestRevocableTasksOfAPod(t *testing.T) {
	bubble(t, func(w *world) {
		var mu sync.Mutex
		soft := map[string]bool{}
		w.stop()
		w.tune = eightCores
		w.prepare = func(_ context.Context, s *drivers.Spec) error {
			mu.Lock()
			defer mu.Unlock()
			soft[s.ID] = s.Revocable
			return nil
		}
		w.start()
		w.welcome("g")
		idles := script{"run_for": "forever"}
		p := w.pod("a", member{name: "firm", config: idles, launch: 1, cpu: 4000})
		p.add(member{name: "soft", config: idles, launch: 2, cpu: 1000, soft: true})
		after(time.Minute)
		mu.Lock()
		got := fmt.Sprint(soft)
		mu.Unlock()
		if got != "map[a/firm/1:false a/soft/1:true]" {
			t.Errorf("revocable: %s", got)
		}
		after(30 * time.Minute)
		if s, _ := w.told(); s.CPU < 3300 || s.CPU > 3600 {
			t.Errorf("it leaves %s", s)
		}
	})
}
