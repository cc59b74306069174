package mesos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// chaos is how long things go wrong, by the clock of the bubble, and for how many.
type chaos struct {
	frameworks, nodes, tasks int
	lasts                    time.Duration
	seed                     uint64
}

// TestChaos: frameworks get their tasks done while connections, leaders and nodes fail and acknowledgements are lost. PROFFER_TEST_SEED
// repeats what a seed did.
func TestChaos(t *testing.T) {
	c := chaos{frameworks: 50, nodes: 20, tasks: 12, lasts: 2 * time.Minute, seed: rand.Uint64()}
	if text := os.Getenv("PROFFER_TEST_SEED"); text != "" {
		c.seed, _ = strconv.ParseUint(text, 10, 64)
	}
	c.run(t)
}

func (c chaos) run(t *testing.T) {
	t.Logf("seed %d", c.seed)
	bubble(t, 3, c.nodes, func(r *region) {
		ctx, stop := context.WithCancel(context.Background())
		var all []*actor
		var acting sync.WaitGroup
		for i := range c.frameworks {
			encoding := []wire.Encoding{wire.JSON, wire.Protobuf}[i%2]
			a := &actor{framework: r.framework(fmt.Sprintf("10.0.%d.%d", 2+i/200, 1+i%200), encoding, can(wire.CapabilityPartitionAware)),
				rnd: rand.New(rand.NewPCG(c.seed, uint64(i))), tasks: map[string]*wanted{}}
			if i%5 == 0 {
				a.reserves()
			}
			for n := range c.tasks {
				name := fmt.Sprint("short-", n)
				if n%4 == 0 {
					name = fmt.Sprint("long-", n)
				}
				a.tasks[name] = &wanted{}
				a.names = append(a.names, name)
			}
			all = append(all, a)
			acting.Go(func() { a.act(ctx) })
		}
		defer acting.Wait()
		defer stop()

		rnd := rand.New(rand.NewPCG(c.seed, 1<<32))
		faults := &faults{r: r, rnd: rnd, frameworks: all}
		for begun := time.Now(); time.Since(begun) < c.lasts; {
			faults.step()
			r.work(rnd)
			r.pass(time.Second)
		}
		faults.end()
		for _, a := range all {
			a.guard.Lock()
			a.calm = true
			a.guard.Unlock()
		}
		for i := range 1200 { // what was killed last ends meanwhile
			if i > 60 && !slices.ContainsFunc(all, func(a *actor) bool { return len(a.open()) > 0 }) {
				break
			}
			r.work(rnd)
			r.pass(time.Second)
		}
		for _, a := range all {
			if open := a.open(); len(open) > 0 {
				t.Errorf("%s (%s) does not get what it wants: %s", a.info.Name, a.info.ID.Value, open)
			}
		}
		if t.Failed() {
			t.Fatal(r.describe())
		}
		stop()
		acting.Wait()
		for _, a := range all {
			a.compare()
		}
		r.witness.compare(t, all)
		t.Logf("%d times: %v", faults.count(), faults.did)
	})
}

// work lets some of the short tasks end.
func (r *region) work(rnd *rand.Rand) {
	for _, n := range r.nodes {
		n.mu.Lock()
		var running []*work
		for _, w := range n.allocs {
			if !w.status.Ended() && strings.HasPrefix(w.alloc.External.Tasks[0].ID, "short-") {
				running = append(running, w)
			}
		}
		slices.SortFunc(running, func(a, b *work) int { return strings.Compare(string(a.alloc.ID), string(b.alloc.ID)) })
		for _, w := range running {
			if rnd.IntN(4) == 0 {
				n.endAs(w, structs.AllocComplete, structs.TaskState{Status: structs.TaskFinished})
			}
		}
		n.mu.Unlock()
	}
}

// faults makes things go wrong, and good again after a while.
type faults struct {
	r          *region
	rnd        *rand.Rand
	frameworks []*actor
	did        map[string]int
	heals      []heal
}

type heal struct {
	at time.Time
	do func()
}

func (f *faults) count() (sum int) {
	for _, n := range f.did {
		sum += n
	}
	return sum
}

func (f *faults) later(most time.Duration, do func()) {
	f.heals = append(f.heals, heal{time.Now().Add(time.Duration(f.rnd.Int64N(int64(most)))), do})
}

func (f *faults) ips() (all []string) {
	for _, h := range f.r.servers {
		all = append(all, h.ip)
	}
	return all
}

func (f *faults) step() {
	if f.did == nil {
		f.did = map[string]int{}
	}
	f.heals = slices.DeleteFunc(f.heals, func(h heal) bool {
		due := !time.Now().Before(h.at)
		if due {
			h.do()
		}
		return due
	})
	for range 4 {
		a := f.frameworks[f.rnd.IntN(len(f.frameworks))]
		switch f.rnd.IntN(6) {
		case 0, 1, 2:
			f.did["a framework is cut off"]++
			f.r.mesh.Crash(a.ip)
		case 3:
			f.did["a framework hears nothing"]++
			f.r.mesh.Cut([]string{a.ip}, f.ips())
			f.later(time.Minute, func() { f.r.mesh.Mend([]string{a.ip}, f.ips()) })
		}
	}
	n := f.r.nodes[f.rnd.IntN(len(f.r.nodes))]
	switch f.rnd.IntN(20) {
	case 0:
		f.did["a node is cut off"]++
		f.r.mesh.Cut([]string{n.ip}, f.ips())
		f.later(time.Minute, func() { f.r.mesh.Mend([]string{n.ip}, f.ips()) })
	case 1:
		if n.end != nil {
			f.did["an agent is killed"]++
			n.quit()
			f.later(20*time.Second, n.start)
		}
	case 2:
		down := slices.ContainsFunc(f.r.servers, func(h *host) bool { return h.port == nil })
		if h := f.r.leads(); h != nil && !down {
			f.did["the leader is killed"]++
			h.crash()
			f.later(20*time.Second, h.start)
		}
	case 3:
		if h := f.r.leads(); h != nil {
			f.did["the leader hands over"]++
			h.server.TransferLeadership(context.Background(), "")
		}
	}
}

// end makes everything good.
func (f *faults) end() {
	for _, h := range f.heals {
		h.do()
	}
	f.r.mesh.Heal()
}

// wanted is a task that a framework wants, as it knows it.
type wanted struct {
	sent  bool           // in an ACCEPT
	known bool           // it was heard to run
	heard []string       // the newest of it
	state wire.TaskState // when it is known
	over  bool
}

// actor is a framework that does by itself what one must: it subscribes, reconciles, accepts, acknowledges.
type actor struct {
	*framework
	rnd   *rand.Rand
	names []string

	guard sync.Mutex
	tasks map[string]*wanted
	wrong []string
	calm  bool // it kills no more
	rooms []*roomWanted
}

// open tells of the short tasks that did not end, and of the long ones that neither run nor were killed, as far as the framework knows.
func (a *actor) open() (all []string) {
	a.guard.Lock()
	defer a.guard.Unlock()
	for _, name := range a.names {
		if w := a.tasks[name]; !w.over && (strings.HasPrefix(name, "short-") || !w.known || w.state != wire.TaskRunning) {
			all = append(all, fmt.Sprintf("%s %+v", name, *w))
		}
	}
	for _, w := range a.rooms {
		if w.next() != nil {
			all = append(all, fmt.Sprintf("%s %+v", w.label, *w))
		}
	}
	return all
}

func (a *actor) act(ctx context.Context) {
	asked := time.Time{}
	for ctx.Err() == nil {
		a.r.pass(time.Duration(100+a.rnd.IntN(400)) * time.Millisecond)
		if a.done == nil || a.silent() {
			a.close()
			if a.done = nil; a.find() != nil {
				continue
			}
			asked = time.Time{}
		}
		if time.Since(asked) > 30*time.Second { // as frameworks do, now and then
			if !a.ask() {
				continue
			}
			asked = time.Now()
		}
		a.mu.Lock()
		events := a.events
		a.events = nil
		a.mu.Unlock()
		for _, e := range events {
			if !a.hear(e) {
				break
			}
		}
	}
}

// silent reports whether the stream ended, or is as good as that.
func (a *actor) silent() bool {
	select {
	case <-a.done:
		return true
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.heard) > 45*time.Second
}

// find subscribes with the server that a random one points to.
func (a *actor) find() error {
	at := a.r.servers[a.rnd.IntN(len(a.r.servers))]
	err := a.subscribe(at)
	for _, h := range a.r.servers {
		if err != nil && strings.Contains(err.Error(), "Location //"+h.ip+":") {
			return a.subscribe(h)
		}
	}
	return err
}

// sends sends a call. A scheduler that is refused subscribes again, as clients in use do.
func (a *actor) sends(call *wire.Call) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	call.FrameworkID = a.info.ID
	res, err := a.post(ctx, a.at, call, a.stream)
	if err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusAccepted {
			return true
		}
	}
	a.close()
	return false
}

func (a *actor) ask() bool {
	var open []string
	a.guard.Lock()
	for _, name := range a.names {
		if w := a.tasks[name]; w.sent && !w.over {
			open = append(open, name)
		}
	}
	a.guard.Unlock()
	return (len(open) == 0 || a.sends(reconcile(open...))) && a.askOperations()
}

// hear does what an event demands, and reports whether the subscription goes on.
func (a *actor) hear(e *wire.Event) bool {
	switch {
	case e.Offers != nil:
		for _, o := range e.Offers.Offers {
			if !a.answer(o) {
				return false
			}
		}
	case e.Update != nil:
		s := &e.Update.Status
		a.learn(s)
		if s.UUID != nil && a.rnd.IntN(5) > 0 { // else it is lost
			return a.sends(&wire.Call{Type: new(wire.CallAcknowledge), Acknowledge: &wire.Acknowledge{AgentID: *s.AgentID, TaskID: s.TaskID, UUID: s.UUID}})
		}
	case e.OperationNews != nil:
		s := &e.OperationNews.Status
		a.learnOperation(s)
		if s.UUID != nil && a.rnd.IntN(5) > 0 { // else it is lost
			return a.sends(&wire.Call{Type: new(wire.CallAcknowledgeOperationStatus), AckOperation: &wire.AckOperation{OperationID: *s.ID, UUID: s.UUID.Value}})
		}
	}
	return true
}

// answer launches up to three tasks with an offer, and declines it when there is nothing to launch. Now and then it kills a long one.
func (a *actor) answer(o wire.Offer) bool {
	var tasks []wire.TaskInfo
	var kill string
	a.guard.Lock()
	for _, name := range a.names {
		w := a.tasks[name]
		switch {
		case !w.sent && !w.over && len(tasks) < 3:
			w.sent = true
			tasks = append(tasks, task(o, name))
		case !a.calm && w.known && !w.over && strings.HasPrefix(name, "long-") && a.rnd.IntN(1000) == 0:
			kill = name
		}
	}
	a.guard.Unlock()
	if kill != "" && !a.sends(&wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: kill}}}) {
		return false
	}
	ops := a.operations(o)
	if len(tasks) > 0 {
		ops = append(ops, launch(tasks...))
	}
	if len(ops) == 0 {
		return a.sends(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{o.ID}}})
	}
	return a.sends(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: ops}})
}

func (a *actor) learn(s *wire.TaskStatus) {
	a.guard.Lock()
	defer a.guard.Unlock()
	w := a.tasks[s.TaskID.Value]
	w.heard = append(w.heard[max(0, len(w.heard)-20):], fmt.Sprintf("%s %s uuid %x reason %v", time.Now().Format("04:05.000"), s.State, s.UUID[:min(4, len(s.UUID))], s.Reason))
	switch s.State {
	case wire.TaskDropped, wire.TaskUnknown, wire.TaskGone:
		if w.known && !w.over {
			a.wrong = append(a.wrong, fmt.Sprintf("task %s is lost: %s", s.TaskID.Value, strings.Join(w.heard, "\n")))
		}
		w.sent = w.known // it never was: once more
	case wire.TaskError: // it is there already
	case wire.TaskFinished, wire.TaskKilled:
		w.over, w.known, w.state = true, true, s.State
	case wire.TaskStaging, wire.TaskStarting, wire.TaskRunning, wire.TaskUnreachable:
		if !w.over { // else it was sent before it ended
			w.sent, w.known, w.state = true, w.known || s.State == wire.TaskRunning, s.State
		}
	default:
		a.wrong = append(a.wrong, fmt.Sprintf("task %s: %s", s.TaskID.Value, wire.JSON.Marshal(s)))
	}
}

// compare demands that what the framework is told of its tasks, all at once, is what the region knows of them.
func (a *actor) compare() {
	t := a.r.t
	for _, wrong := range a.wrong {
		t.Errorf("%s: %s", a.info.Name, wrong)
	}
	a.close()
	a.begin()
	a.call(reconcile())
	a.r.pass(time.Second)
	told := map[string]wire.TaskState{}
	a.mu.Lock()
	for _, e := range a.events {
		if e.Update != nil && e.Update.Status.UUID == nil {
			told[e.Update.Status.TaskID.Value] = e.Update.Status.State
		}
	}
	a.mu.Unlock()
	snap, id := a.r.snapshot(), structs.FrameworkID(a.info.ID.Value)
	lives := 0
	for alloc, x := range snap.TasksOf(id) {
		if !state.TaskLives(alloc, x) {
			continue
		}
		lives++
		is := map[structs.TaskStatus]wire.TaskState{structs.TaskRunning: wire.TaskRunning, structs.TaskFinished: wire.TaskFinished,
			structs.TaskKilled: wire.TaskKilled}[alloc.Tasks[x.Name].Status]
		if got, heard := told[x.ID]; !heard || got != is {
			t.Errorf("%s: task %s is told %s, and is %s", a.info.Name, x.ID, got, alloc.Tasks[x.Name].Status)
		}
	}
	a.compareRooms(snap)
	if len(told) != lives {
		t.Errorf("%s: %d tasks live, and it is told of %d", a.info.Name, lives, len(told))
	}
	for name, w := range a.tasks {
		// One that ended is told as long as its end is not acknowledged.
		if got, heard := told[name]; (heard && got == wire.TaskRunning) == w.over {
			t.Errorf("%s: task %s: it believes that it is over: %t, and is told %v", a.info.Name, name, w.over, got)
		}
	}
	a.close()
}

// compare demands that every task ran once, and runs if its framework believes so.
func (x *witness) compare(t *testing.T, all []*actor) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, double := range x.doubles {
		t.Error(double)
	}
	running := 0
	for _, a := range all {
		for name, w := range a.tasks {
			key := a.info.ID.Value + "/" + name
			if n := x.began[key]; n != 1 {
				t.Errorf("%s: task %s began %d times", a.info.Name, name, n)
			}
			if _, runs := x.running[key]; runs == w.over {
				t.Errorf("%s: task %s runs: %t, and is over: %t", a.info.Name, name, runs, w.over)
			} else if runs {
				running++
			}
		}
	}
	if running != len(x.running) {
		t.Errorf("%d tasks run that nobody wants", len(x.running)-running)
	}
}
