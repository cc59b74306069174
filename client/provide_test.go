package client

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// rooms are what allocations with "room" in their meta are given on a machine. They outlive agents, not a reboot.
type rooms struct {
	w       *world
	mu      sync.Mutex
	held    map[structs.AllocID]bool
	trouble func(id structs.AllocID) error // what making one fails with
	stuck   func(id structs.AllocID) error // what removing one fails with
	said    []string
}

func newRooms(w *world) *rooms { return &rooms{w: w, held: make(map[structs.AllocID]bool)} }

func (r *rooms) reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.held)
}

func (r *rooms) list() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(r.held)))
}

// agentRooms are the rooms as one agent reaches them: not any more once it is dead.
type agentRooms struct {
	*rooms
	gate *gate
}

func (agentRooms) Name() string { return "rooms" }

func (agentRooms) Needs(_ *structs.Allocation, g *structs.Group) bool { return g.Meta["room"] != "" }

func (r agentRooms) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := need.Alloc.ID
	r.said = append(r.said, "provide "+string(id))
	if r.trouble != nil {
		if err := r.trouble(id); err != nil {
			return err
		}
	}
	if r.gone() {
		return context.Canceled
	}
	r.held[id] = true
	given.Netns = "/rooms/" + string(id)
	return nil
}

// gone reports whether the agent is dead. It takes no lock of the gate in the order in which starts do.
func (r agentRooms) gone() bool {
	r.gate.mu.RLock()
	defer r.gate.mu.RUnlock()
	return r.gate.shut
}

func (r agentRooms) Release(ctx context.Context, id structs.AllocID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, "release "+string(id))
	if r.gone() {
		return context.Canceled
	}
	for _, task := range r.w.machine.Running() {
		if strings.HasPrefix(task, string(id)+"/") {
			r.w.t.Errorf("the room of %s was taken from it", task)
		}
	}
	if r.stuck != nil {
		if err := r.stuck(id); err != nil {
			return err
		}
	}
	delete(r.held, id)
	return nil
}

func (r agentRooms) Keep(ctx context.Context, known func(structs.AllocID) bool) {
	r.mu.Lock()
	maps.DeleteFunc(r.held, func(id structs.AllocID, _ bool) bool { return !known(id) })
	r.mu.Unlock()
	<-ctx.Done()
}

// entered notes a start: its room must be there, unless the agent died since it began the start.
func (r agentRooms) entered(id structs.AllocID, netns string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[id] != (netns != "") && !r.gone() {
		r.w.t.Errorf("a task of %s was started in room %q, which is there: %v", id, netns, r.held[id])
	}
}

func inRoom(g *structs.Group) { g.Meta = map[string]string{"room": "yes"} }

// TestWhatAnAllocationIsGiven: it is there before the first task and until after the last one, waits for the node where that is
// short of something, fails the allocation where it cannot be, and the region hears of the end when it was taken back.
func TestWhatAnAllocationIsGiven(t *testing.T) {
	bubble(t, func(w *world) {
		short, stuck := true, true
		w.rooms.trouble = func(id structs.AllocID) error {
			switch {
			case id == "waits" && short, id == "never":
				return structs.Errorf(structs.Exhausted, "room", "all are taken")
			case id == "none":
				return structs.Errorf(structs.NotFound, "room", "there is no such room")
			}
			return nil
		}
		w.rooms.stuck = func(id structs.AllocID) error {
			if id == "waits" && stuck {
				return structs.Errorf(structs.Unavailable, "room", "somebody is in it")
			}
			return nil
		}
		for _, id := range []string{"waits", "never", "none"} {
			w.run(id, w.service("job-"+id, inRoom))
		}
		w.run("plain", w.service("job-plain", nil))
		after(65 * time.Second)
		w.expect("plain", structs.AllocRunning, "")
		w.expect("waits", structs.AllocPending, "room: all are taken")
		w.expect("none", structs.AllocFailed, "room: there is no such room")
		if got := w.rooms.list(); got != "[]" {
			t.Errorf("rooms %s", got)
		}
		w.want(w.change("never", stopped))
		after(time.Second)
		w.expect("never", structs.AllocComplete, "the user stopped it")
		w.rooms.mu.Lock()
		short = false
		w.rooms.mu.Unlock()
		after(time.Minute)
		w.expect("waits", structs.AllocRunning, "")
		if why := w.update("waits").Why; why != "" {
			t.Errorf("running, and yet: %s", why)
		}
		w.expectStarts("plain/main/1", "waits/main/1")
		w.want(w.change("waits", stopped))
		after(time.Second)
		w.expectRunning("plain/main/1")
		if w.state("waits") == string(structs.AllocComplete) {
			t.Error("the region heard of an end before all was taken back")
		}
		w.rooms.mu.Lock()
		stuck = false
		w.rooms.mu.Unlock()
		after(time.Minute)
		w.expect("waits", structs.AllocComplete, "the user stopped it")
		if got := w.rooms.list(); got != "[]" {
			t.Errorf("rooms %s", got)
		}
	})
}

// TestARestartedAgentLeavesWhatTasksUse: what runs keeps what it was given, without being asked for again. What is started again is
// given it again: it may have been lost, with the machine or before.
func TestARestartedAgentLeavesWhatTasksUse(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", inRoom))
		after(time.Second)
		w.stop()
		w.start()
		w.welcome("g1")
		after(time.Second)
		w.expectStarts("a/main/1")
		if n := len(w.rooms.said); n != 1 {
			t.Errorf("it was asked to %v", w.rooms.said)
		}
		w.rooms.reboot()
		if err := w.agent.Restart(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		w.crash(nil, false)
		w.machine.Reboot()
		w.rooms.reboot()
		w.start()
		w.welcome("g1")
		after(time.Minute)
		w.expectRunning("a/main/3")
		w.want(w.change("a", stopped))
		after(time.Second)
		if got := strings.Join(w.rooms.said, ", "); got != "provide a, provide a, provide a, release a" {
			t.Errorf("it was asked to %s", got)
		}
	})
}

// What follows the end of an allocation is given what that has, also after the machine was restarted, and also when nothing but it is left. While the
// node is short of that it waits, not for ever.
func TestWhatFollowsTheEndIsGivenItAgain(t *testing.T) {
	policy := &structs.Restart{Attempts: new(5), Delay: structs.Duration(time.Second)}
	bubble(t, func(w *world) {
		short := false
		w.rooms.trouble = func(structs.AllocID) error {
			if short {
				return structs.Errorf(structs.Exhausted, "room", "all are taken")
			}
			return nil
		}
		follows := func(g *structs.Group) {
			inRoom(g)
			post := task("post", script{"run_for": "30s"})
			post.Lifecycle = &structs.Lifecycle{Hook: "poststop"}
			g.Tasks, g.Restart = append(g.Tasks, post), policy
		}
		reboot := func() {
			w.crash(rand.New(rand.NewPCG(1, 1)), true)
			w.start()
			w.welcome("g1")
		}
		w.run("a", w.service("j", follows))
		after(time.Second)
		w.want(w.change("a", stopped))
		after(10 * time.Second)
		w.expectRunning("a/post/1")
		reboot()
		after(10 * time.Second)
		w.expectRunning("a/post/2")
		w.rooms.mu.Lock()
		short = true
		w.rooms.mu.Unlock()
		reboot()
		after(20 * time.Second)
		w.expectRunning()
		w.rooms.mu.Lock()
		short = false
		w.rooms.mu.Unlock()
		after(35 * time.Second)
		w.expectRunning("a/post/3")
		w.rooms.mu.Lock()
		short = true
		w.rooms.mu.Unlock()
		reboot()
		after(10 * time.Minute)
		w.expect("a", structs.AllocComplete, "the user stopped it")
		w.expectStarts("a/main/1", "a/post/1", "a/post/2", "a/post/3")
		if got := w.rooms.list(); got != "[]" {
			t.Errorf("rooms %s", got)
		}
	})
}
