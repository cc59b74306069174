package client

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store/faultdisk"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

// world is all that outlives an agent: the machine with its tasks, the disk, the folder, and a region that wants things.
type world struct {
	t       *testing.T
	machine *mock.Machine
	disk    *faultdisk.Disk
	dir     string
	booted  time.Time
	boot    string
	index   uint64
	jobs    map[string]*structs.JobVersion
	allocs  map[structs.AllocID]*structs.Allocation

	mu      sync.Mutex
	seen    map[structs.AllocID]*structs.AllocUpdate // merged, as servers do
	updates int
	trouble func(id string) error // what starting a task fails with

	given  []string // what drivers were told of ports that changed
	unkept error    // what they answer

	agent *Client
	gate  *gate
	up    *uplink
	tune  func(*Config)
	used  atomic.Int64 // percent of the disk

	folderless bool // the driver makes no folders

	unlimited structs.Kind // why it changes no limits now; empty: it does

	prepare func(context.Context, *drivers.Spec) error // what comes before a start
	keepers atomic.Int64                               // drivers that keep their things now
	rooms   *rooms
	shelf   *shelf
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, machine: mock.NewMachine(true), disk: faultdisk.New(), dir: t.TempDir(), booted: time.Now().Add(-time.Hour),
		boot: "boot-1", index: 100, jobs: make(map[string]*structs.JobVersion), allocs: make(map[structs.AllocID]*structs.Allocation),
		seen: make(map[structs.AllocID]*structs.AllocUpdate)}
	w.rooms, w.shelf = newRooms(w), &shelf{w: w, lent: map[string]string{}, mounts: map[string]string{}}
	t.Cleanup(func() {
		if v := w.machine.Violations(); len(v) > 0 {
			t.Errorf("the machine saw: %s", strings.Join(v, "; "))
		}
	})
	return w
}

// Now is the boot clock.
func (w *world) Now() session.Instant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return session.Instant(time.Since(w.booted))
}

// uplink is the region's end of the session.
type uplink struct {
	w    *world
	node session.Node
	mu   sync.Mutex
	said []*structs.Node
	news chan struct{} // something was said; capacity 1
	left atomic.Bool
	ran  atomic.Bool

	slack []structs.Slack
	wants map[session.Ref]int // how often each was asked for

	holding bool // under w.mu
	queue   []*structs.AllocUpdate
}

func (u *uplink) Run(ctx context.Context) error {
	u.ran.Store(true)
	<-ctx.Done()
	return ctx.Err()
}

func (u *uplink) Observe(updates ...*structs.AllocUpdate) {
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	switch {
	case u.w.up != u: // a dead agent's last words
	case u.holding:
		u.holdLocked(updates)
	default:
		u.takeLocked(updates)
	}
}

// holdLocked merges updates of one allocation while they wait, as sessions do: one that is older than the full state says no more
// than it.
func (u *uplink) holdLocked(updates []*structs.AllocUpdate) {
	for _, n := range updates {
		i := slices.IndexFunc(u.queue, func(old *structs.AllocUpdate) bool { return old.ID == n.ID })
		if i < 0 {
			u.queue = append(u.queue, n)
			continue
		}
		both := *n
		both.Tasks = make(map[string]*structs.TaskState)
		maps.Copy(both.Tasks, u.queue[i].Tasks)
		maps.Copy(both.Tasks, n.Tasks)
		u.queue[i] = &both
	}
}

func (u *uplink) takeLocked(updates []*structs.AllocUpdate) {
	for _, n := range updates {
		u.w.updates++
		old := u.w.seen[n.ID]
		if old != nil && old.Status.Ended() && n.Status != old.Status {
			u.w.t.Errorf("%s: reported %s (%s) after %s (%s)", n.ID, n.Status, n.Why, old.Status, old.Why)
		}
		merged := *n
		merged.Tasks = make(map[string]*structs.TaskState)
		if old != nil {
			for name, s := range old.Tasks {
				merged.Tasks[name] = s
			}
		}
		for name, s := range n.Tasks {
			merged.Tasks[name] = s
		}
		u.w.seen[n.ID] = &merged
	}
}

func (u *uplink) Fingerprint(n *structs.Node) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.said = append(u.said, n)
	select {
	case u.news <- struct{}{}:
	default:
	}
}

func (u *uplink) Purged([]structs.VolumeID) {}

func (u *uplink) Want(add, drop []session.Ref) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.wants == nil {
		u.wants = map[session.Ref]int{}
	}
	for _, ref := range add {
		u.wants[ref]++
	}
	for _, ref := range drop {
		delete(u.wants, ref)
	}
}

func (u *uplink) Slack(s structs.Slack) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.slack = append(u.slack, s)
}

func (u *uplink) Leave(context.Context) error {
	u.left.Store(true)
	return nil
}

// gate is the driver of one agent: shut, nothing it does reaches the machine any more.
type gate struct {
	*mock.Driver
	w    *world
	mu   sync.RWMutex
	shut bool
}

func (g *gate) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	g.mu.RLock()
	shut := g.shut
	g.mu.RUnlock()
	if shut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	g.w.mu.Lock()
	trouble := g.w.trouble
	g.w.mu.Unlock()
	if trouble != nil {
		if err := trouble(spec.ID); err != nil {
			return nil, err
		}
	}
	if !g.w.folderless {
		if err := spec.MakeFolders(0, 0); err != nil {
			return nil, err
		}
	}
	agentRooms{g.w.rooms, g}.entered(spec.Alloc, spec.Netns)
	t, err := g.Driver.Start(ctx, spec)
	if t != nil {
		t = &gatedTask{t, g}
	}
	return t, err
}

func (g *gate) Prepare(ctx context.Context, spec *drivers.Spec) error {
	if g.w.prepare == nil {
		return nil
	}
	return g.w.prepare(ctx, spec)
}

func (g *gate) Keep(ctx context.Context, known func(id string) bool) {
	g.w.keepers.Add(1)
	<-ctx.Done()
	g.w.keepers.Add(-1)
}

func (g *gate) Recover(ctx context.Context, spec *drivers.Spec, handle []byte) (drivers.Task, error) {
	t, err := g.Driver.Recover(ctx, spec, handle)
	if t != nil {
		t = &gatedTask{t, g}
	}
	return t, err
}

type gatedTask struct {
	drivers.Task
	gate *gate
}

func (t *gatedTask) closed(ctx context.Context) error {
	t.gate.mu.RLock()
	defer t.gate.mu.RUnlock()
	if t.gate.shut {
		return structs.Errorf(structs.Unavailable, "driver", "the agent is dead")
	}
	return nil
}

func (t *gatedTask) Stop(ctx context.Context, signal string, grace time.Duration) error {
	if err := t.closed(ctx); err != nil {
		return err
	}
	return t.Task.Stop(ctx, signal, grace)
}

func (t *gatedTask) Limit(ctx context.Context, to drivers.Limits) error {
	if err := t.closed(ctx); err != nil {
		return err
	}
	t.gate.w.mu.Lock()
	refused := t.gate.w.unlimited
	t.gate.w.mu.Unlock()
	if refused != "" {
		return structs.Errorf(refused, "driver", "it changes no limits now")
	}
	return t.Task.Limit(ctx, to)
}

func (t *gatedTask) Detach(ctx context.Context, d *drivers.Detach) (drivers.Detached, error) {
	if err := t.closed(ctx); err != nil {
		return nil, err
	}
	return t.Task.(drivers.Detacher).Detach(ctx, d)
}

func (t *gatedTask) Detached(ctx context.Context, name string) (drivers.Detached, error) {
	if err := t.closed(ctx); err != nil {
		return nil, err
	}
	return t.Task.(drivers.Detacher).Detached(ctx, name)
}

func (t *gatedTask) Mount(ctx context.Context, m drivers.Mount) error {
	if err := t.closed(ctx); err != nil {
		return err
	}
	return t.gate.w.shelf.mount(m)
}

func (t *gatedTask) Unmount(ctx context.Context, m drivers.Mount) error {
	if err := t.closed(ctx); err != nil {
		return err
	}
	return t.gate.w.shelf.unmount(m)
}

func (t *gatedTask) Destroy(ctx context.Context) error {
	if err := t.closed(ctx); err != nil {
		return err
	}
	return t.Task.Destroy(ctx)
}

// start brings an agent up, with its session begun.
func (w *world) start() *Client {
	w.t.Helper()
	c, err := w.tryStart()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) tryStart() (*Client, error) {
	g := &gate{Driver: mock.New(w.machine), w: w}
	up := &uplink{w: w, news: make(chan struct{}, 1)}
	config := Config{DataDir: w.dir, Region: "eu", Name: "n1", Drivers: []drivers.Driver{g}, Providers: []runner.Provider{agentRooms{w.rooms, g}, agentShelf{w.shelf, g}}, Clock: w, BootID: w.boot, Disk: w.disk,
		Log: slog.New(slog.NewTextHandler(testWriter{w.t}, nil)), GPUs: noGPUs{}, Hosts: []string{"127.0.0.1"},
		Connect: func(n session.Node) Uplink { up.node = n; return up }}
	if w.tune != nil {
		w.tune(&config)
	}
	c, err := New(w.t.Context(), config)
	if err != nil {
		return nil, err
	}
	c.diskUse = func() (int, error) { return int(w.used.Add(-3)) + 3, nil }
	w.mu.Lock()
	w.agent, w.gate, w.up = c, g, up
	w.mu.Unlock()
	if err := c.Start(w.t.Context()); err != nil {
		return nil, err
	}
	return c, nil
}

type noGPUs struct{}

func (noGPUs) List(context.Context) ([]fingerprint.GPU, error) { return nil, nil }

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		fmt.Fprintf(os.Stderr, "%s", p)
	}
	return len(p), nil
}

// stop ends the agent in order; its tasks run on.
func (w *world) stop() {
	w.t.Helper()
	if err := w.agent.Stop(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.disk = w.disk.Kill()
}

// crash ends the agent as kill -9 does: from now on nothing that it does has an effect. With power the machine goes as well.
func (w *world) crash(random *rand.Rand, power bool) {
	w.gate.mu.Lock()
	w.gate.shut = true
	w.gate.mu.Unlock()
	w.mu.Lock()
	w.up = nil
	w.mu.Unlock()
	var next *faultdisk.Disk
	if power {
		next = w.disk.Crash(random)
		w.machine.Reboot()
		w.rooms.reboot()
		w.boot += "+"
	} else {
		next = w.disk.Kill()
	}
	w.agent.Stop(context.Background())
	w.disk = next
}

// welcome begins a session of a generation.
func (w *world) welcome(generation string) {
	w.t.Helper()
	if err := w.up.node.Welcome(&session.Welcome{Server: "s1", Generation: generation, Lease: structs.Duration(15 * time.Second)}); err != nil {
		w.t.Fatal(err)
	}
	// As sessions do: what changes while the full state is collected follows it.
	w.mu.Lock()
	w.up.holding = true
	w.mu.Unlock()
	full := w.up.node.Observed()
	w.mu.Lock()
	w.up.holding = false
	w.up.takeLocked(full)
	w.up.takeLocked(w.up.queue)
	w.up.queue = nil
	w.mu.Unlock()
}

// job makes a job with one group "g"; a task is named after its key.
func (w *world) job(name, kind string, change func(*structs.Group)) *structs.JobVersion {
	g := &structs.Group{Name: "g", Tasks: []*structs.Task{task("main", nil)}}
	if change != nil {
		change(g)
	}
	v := uint64(1)
	if old := w.jobs[name]; old != nil {
		v = old.Version + 1
	}
	j := &structs.JobVersion{Version: v, Job: &structs.Job{Name: name, Type: kind, Groups: []*structs.Group{g}}}
	w.jobs[name] = j
	return j
}

func task(name string, config map[string]any) *structs.Task {
	return &structs.Task{Name: name, Driver: "mock", Config: config}
}

type script = map[string]any

// batch is a job of one task with a script.
func (w *world) batch(name string, config script, change func(*structs.Group)) *structs.JobVersion {
	return w.job(name, structs.BatchJob, func(g *structs.Group) {
		g.Tasks[0].Config = config
		if change != nil {
			change(g)
		}
	})
}

func (w *world) service(name string, change func(*structs.Group)) *structs.JobVersion {
	return w.job(name, structs.ServiceJob, func(g *structs.Group) {
		g.Tasks[0].Config = script{"run_for": "forever"}
		if change != nil {
			change(g)
		}
	})
}

// alloc makes an allocation of a job.
func (w *world) alloc(id string, j *structs.JobVersion) *structs.Allocation {
	w.index++
	g := j.Job.Groups[0]
	a := &structs.Allocation{ID: structs.AllocID(id), Job: j.Job.Name, Version: j.Version, Group: g.Name, Index: len(w.allocs),
		Incarnation: w.index, Desired: structs.DesiredRun, Status: structs.AllocPending, OnLost: g.OnLost, Role: "default",
		CreateIndex: w.index, ModifyIndex: w.index, WantIndex: w.index}
	w.allocs[a.ID] = a
	return a
}

// change makes a newer version of an allocation.
func (w *world) change(id string, change func(*structs.Allocation)) *structs.Allocation {
	w.index++
	a := *w.allocs[structs.AllocID(id)]
	a.ModifyIndex, a.WantIndex = w.index, w.index
	change(&a)
	w.allocs[a.ID] = &a
	return &a
}

func stopped(a *structs.Allocation) {
	a.Desired, a.DesiredWhy = structs.DesiredStop, "the user stopped it"
}

// want sends allocations with their jobs.
func (w *world) want(allocs ...*structs.Allocation) {
	d := &session.Desired{Index: w.index, Allocs: allocs}
	for _, a := range allocs {
		d.Jobs = append(d.Jobs, w.jobs[a.Job])
	}
	w.up.node.Desired(d)
}

// full sends all that the region wants, confirmed.
func (w *world) full(allocs ...*structs.Allocation) {
	d := &session.Desired{Index: w.index, Full: true, Confirmed: true, Allocs: allocs}
	for _, a := range allocs {
		d.Jobs = append(d.Jobs, w.jobs[a.Job])
	}
	w.up.node.Desired(d)
}

// run sends one allocation of a job.
func (w *world) run(id string, j *structs.JobVersion) { w.want(w.alloc(id, j)) }

// after lets the time of the bubble pass, until everything stands still.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// state draws what the region knows of an allocation: status, then its tasks.
func (w *world) state(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.seen[structs.AllocID(id)]
	if u == nil {
		return "unknown"
	}
	return string(u.Status)
}

func (w *world) update(id string) *structs.AllocUpdate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.seen[structs.AllocID(id)]; u != nil {
		return u
	}
	return &structs.AllocUpdate{}
}

func (w *world) task(id, name string) *structs.TaskState {
	if s := w.update(id).Tasks[name]; s != nil {
		return s
	}
	return &structs.TaskState{}
}

func (w *world) expect(id string, status structs.AllocStatus, why string) {
	w.t.Helper()
	u := w.update(id)
	if u.Status != status || !strings.Contains(u.Why, why) {
		w.t.Errorf("%s: %s (%s), want %s (%s)", id, u.Status, u.Why, status, why)
	}
}

func (w *world) expectTask(id, name string, status structs.TaskStatus, why string) {
	w.t.Helper()
	s := w.task(id, name)
	if s.Status != status || !strings.Contains(s.Why, why) {
		w.t.Errorf("%s/%s: %s (%s), want %s (%s)", id, name, s.Status, s.Why, status, why)
	}
}

// starts draws the starts so far: "a/main/1 a/main/2".
func (w *world) expectStarts(want ...string) {
	w.t.Helper()
	all := w.machine.Starts()
	slices.Sort(all)
	if got := strings.Join(all, " "); got != strings.Join(want, " ") {
		w.t.Errorf("starts: %s\nwant:   %s", got, strings.Join(want, " "))
	}
}

func (w *world) expectRunning(want ...string) {
	w.t.Helper()
	if got := strings.Join(w.machine.Running(), " "); got != strings.Join(want, " ") {
		w.t.Errorf("running: %s\nwant:    %s", got, strings.Join(want, " "))
	}
}

func (w *world) hasFolder(id string) bool {
	_, err := os.Stat(filepath.Join(w.dir, "allocs", id))
	return err == nil
}

// bubble runs a test with fake time and an agent, and stops the agent at its end.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.welcome("g1")
		f(w)
		w.stop()
	})
}

// lose makes the region not have heard of an allocation.
func (w *world) lose(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, structs.AllocID(id))
}

type fencer struct{ until time.Duration }

func (f *fencer) Renew(_ context.Context, until time.Duration) error {
	f.until = until
	return nil
}

// moody is a driver whose health changes.
type moody struct {
	*mock.Driver
	mood atomic.Bool
}

func (*moody) Name() string { return "moody" }
func (d *moody) Fingerprint(context.Context) *structs.Driver {
	if d.mood.Load() {
		return &structs.Driver{Healthy: true, Attributes: map[string]string{"version": "1"}}
	}
	return &structs.Driver{Why: "bad mood"}
}
