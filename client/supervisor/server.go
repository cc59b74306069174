//go:build unix

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// server is the supervisor process.
type server struct {
	dir   string
	with  settings
	log   *slog.Logger
	host  *host
	lanes chan struct{} // bounds starts under way: more of them only contend for the kernel's locks

	// world is held for reading while something changes that a replacement in place must not cut in two (a start, a
	// request, a read from a pipe and its write to a file), and for writing during the replacement.
	world sync.RWMutex

	mu       sync.Mutex
	table    *table
	tasks    map[string]*task
	seq      uint64
	slots    []uint32 // free ones
	topSlot  uint32   // highest in use
	conns    map[*net.UnixConn]bool
	released bool     // the agent has stopped for good
	others   []int    // cores that tasks have for themselves, as an agent said; it says so again to a supervisor that is new
	lock     *os.File // held while we are the supervisor of dir
	listener *net.UnixListener
	changed  chan struct{} // has a value after conns, tasks or released changed
	freed    chan struct{} // closed and replaced when there may be room for a descriptor again

	work sync.WaitGroup // of waiters, pumps, connections
}

// task is a task that the supervisor knows.
type task struct {
	rec *record // guarded by server.mu once started is closed
	out *logs.Writer
	err *logs.Writer

	started chan struct{} // closed when the start succeeded or failed
	proc    *process      // set before started is closed, nil when the start failed
	ended   chan struct{} // closed when rec.Exit is set
	cleaned chan struct{} // closed when nothing is left on the host
	fenced  bool          // killed because the lease ended; guarded by server.mu
	killed  bool          // by us, after its grace; guarded by server.mu

	limiting sync.Mutex // held while its limits change
	mounting sync.Mutex // held while something is mounted in it, or taken away
}

func newTask(rec *record) *task {
	l := rec.Launch
	limits := logs.Limits{MaxFiles: l.LogFiles, MaxFileSize: l.LogFileSize, MaxAge: l.LogAge}
	return &task{
		rec:     rec,
		out:     logs.NewWriter(l.LogDir, l.LogName, logs.Stdout, limits),
		err:     logs.NewWriter(l.LogDir, l.LogName, logs.Stderr, limits),
		started: make(chan struct{}), ended: make(chan struct{}), cleaned: make(chan struct{}),
	}
}

// outcome is how a process ended, as the host learned it.
type outcome struct {
	code, signal int
	fence        bool // its stage ended it because the lease passed
	lost         bool // nobody knows
}

func (o outcome) exit() drivers.Exit {
	switch {
	case o.lost:
		return drivers.Exit{Code: -1, Why: "it ended while no supervisor ran, and nothing wrote down how"}
	case o.signal != 0:
		return drivers.Exit{Code: 128 + o.signal, Signal: o.signal}
	}
	return drivers.Exit{Code: o.code}
}

// open prepares a server in dir: the table, the host, the tasks that are still there. given are descriptors that a
// predecessor handed over.
func open(dir string, with settings, log *slog.Logger, given *handover) (*server, error) {
	s := &server{
		dir: dir, with: with, log: log, tasks: map[string]*task{}, conns: map[*net.UnixConn]bool{},
		lanes: make(chan struct{}, 2*runtime.NumCPU()), changed: make(chan struct{}, 1),
		freed: make(chan struct{}), seq: uint64(time.Now().UnixNano()),
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("read the id of this boot: %w", err)
	}
	var fresh bool
	if s.table, fresh, err = openTable(filepath.Join(dir, "table"), boot); err != nil {
		return nil, err
	}
	if s.host, err = openHost(s, fresh, given); err != nil {
		s.table.close()
		return nil, err
	}
	used := map[uint32]bool{}
	for _, rec := range s.table.live {
		used[rec.Slot] = true
		s.topSlot, s.seq = max(s.topSlot, rec.Slot), max(s.seq, rec.Seq)
	}
	for n := uint32(1); n <= s.topSlot; n++ {
		if !used[n] {
			s.slots = append(s.slots, n)
		}
	}
	for _, rec := range s.table.live {
		if err := s.adopt(rec, given); err != nil {
			s.host.close()
			s.table.close()
			return nil, err
		}
	}
	all := slices.Collect(maps.Values(s.tasks))
	for _, t := range all { // once all are known: some are within others
		if t.running() {
			s.hold(t)
		} else {
			s.work.Go(func() { s.clean(t) }) // the last one may have died before it did
		}
	}
	s.host.sweep(s.table.live)
	s.pin()
	return s, nil
}

// adopt finds the process of a task of the table, or how it ended. After an error nobody knows whether it runs.
func (s *server) adopt(rec *record, given *handover) error {
	t := newTask(rec)
	close(t.started)
	s.tasks[rec.Launch.ID] = t
	if rec.Exit != nil {
		close(t.ended)
		return nil
	}
	proc, exit, err := s.host.adopt(rec, given)
	if err != nil {
		return fmt.Errorf("task %s: %w", rec.Launch.ID, err)
	}
	if proc == nil {
		s.log.Warn("a task ended while no supervisor ran", "task", rec.Launch.ID, "code", exit.Code, "why", exit.Why)
		if exit.Code != 0 && exit.Why == "" {
			s.explain(t, outcome{}, &exit)
		}
		s.finish(t, exit)
		return nil
	}
	t.proc = proc
	return nil
}

// start starts a task. It returns once the program runs.
func (s *server) start(ctx context.Context, l *exec.Launch) (*exec.Status, error) {
	if l == nil || l.ID == "" || !l.Hold && (l.Program == "" || l.LogDir == "" || l.LogName == "") || (l.Container == "") != (l.PidFile == "") {
		return nil, structs.Errorf(structs.Invalid, "task", "id, program, or log folder is missing")
	}
	return s.begin(ctx, func() (*task, error) { return s.reserve(l) }, func(t *task) (*process, error) { return s.host.start(ctx, t.rec) })
}

// begin gives a task its place in the table, then its process.
func (s *server) begin(ctx context.Context, reserve func() (*task, error), start func(*task) (*process, error)) (*exec.Status, error) {
	select {
	case s.lanes <- struct{}{}:
		defer func() { <-s.lanes }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.world.RLock()
	defer s.world.RUnlock()
	t, err := reserve()
	if err != nil {
		return nil, err
	}
	l := t.rec.Launch
	if len(l.Cores) > 0 {
		s.pin()
	}
	proc, err := start(t)
	s.mu.Lock()
	if err != nil {
		s.drop(t)
		close(t.started)
		s.mu.Unlock()
		if len(l.Cores) > 0 {
			s.pin()
		}
		return nil, err
	}
	t.proc = proc
	change := &change{Seq: t.rec.Seq, PID: proc.pid, Birth: proc.birth(), Started: structs.At(time.Now())}
	if err := s.table.change(change); err != nil {
		s.log.Error("a start could not be written down", "task", l.ID, "err", err)
	}
	status := t.rec.status()
	close(t.started)
	s.mu.Unlock()
	if l.Container != "" && len(l.Cores) == 0 {
		s.pin()
	}
	s.hold(t)
	return status, nil
}

// reserve gives a new task its number and writes the intent down.
func (s *server) reserve(l *exec.Launch) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := &record{Launch: l, Cgroup: s.host.cgroupPath(s.seq + 1)}
	if l.Container != "" {
		rec.Cgroup = l.Container
	}
	return s.enlist(rec)
}

// enlist is for reserve: the number, the slot and the intent of a record. s.mu is held.
func (s *server) enlist(rec *record) (*task, error) {
	l := rec.Launch
	if s.tasks[l.ID] != nil {
		return nil, structs.Errorf(structs.Conflict, "task "+l.ID, "it was started already")
	}
	if l.Fenced && s.host.lease() <= Now() {
		return nil, structs.Errorf(structs.Unavailable, "task "+l.ID, "the node has no lease, and the task may only run under one").
			Advise("it starts when the node reaches a server")
	}
	s.seq++
	rec.Seq = s.seq
	if n := len(s.slots); n > 0 {
		rec.Slot, s.slots = s.slots[n-1], s.slots[:n-1]
	} else {
		s.topSlot++
		rec.Slot = s.topSlot
	}
	t := newTask(rec)
	if err := s.table.put(rec); err != nil {
		s.slots = append(s.slots, rec.Slot)
		return nil, err
	}
	s.tasks[l.ID] = t
	return t, nil
}

// drop removes a task that has no process, and no commands. s.mu is held.
func (s *server) drop(t *task) {
	delete(s.tasks, t.rec.Launch.ID)
	s.slots = append(s.slots, t.rec.Slot)
	if err := s.table.delete(t.rec.Seq); err != nil {
		s.log.Error("a removal could not be written down", "task", t.rec.Launch.ID, "err", err)
	}
	s.poke()
}

// hold watches a running task from now on: its output and its end. A pipe that did not come with the process is opened.
func (s *server) hold(t *task) {
	var pumps sync.WaitGroup
	over := make(chan struct{}) // closed when the process has ended
	for i, to := range []*logs.Writer{t.out, t.err} {
		if t.rec.Launch.Hold {
			break // nothing writes anything
		}
		move := to.FromPipe
		if t.rec.Launch.Terminal != nil {
			if i > 0 {
				continue // a terminal has one stream
			}
			move = to.FromTerminal
		}
		pumps.Add(1)
		s.work.Go(func() {
			defer pumps.Done()
			from := t.proc.pipes[i]
			if from == nil {
				if from = s.reopen(t.rec.Launch.ID, func() (*os.File, error) { return t.proc.open(i) }, over); from == nil {
					return
				}
				s.mu.Lock()
				t.proc.pipes[i] = from
				s.mu.Unlock()
				select {
				case <-over:
					from.SetReadDeadline(time.Now().Add(lastWords))
				default:
				}
			}
			s.pump(from, move)
		})
	}
	s.work.Go(func() {
		o := t.proc.wait()
		close(over)
		// What it left running goes with it, and does not hold its pipes: of other tasks, the stage has seen to that. clean below says what went wrong.
		if s.world.RLock(); t.rec.Within != 0 {
			s.host.clean(t.rec)
		} else if t.rec.Launch.SharedPID {
			s.host.killRest(t.rec)
		}
		s.world.RUnlock()
		// What the task wrote is in the pipes, and nobody writes any more. A descriptor that it passed to somebody outside
		// does not hold us: once a pipe is empty for a second, that is all.
		s.mu.Lock()
		pipes := t.proc.pipes
		s.mu.Unlock()
		for _, f := range pipes {
			if f != nil {
				f.SetReadDeadline(time.Now().Add(lastWords))
			}
		}
		pumps.Wait()
		s.world.RLock()
		exit := o.exit()
		if exit.Code != 0 {
			s.explain(t, o, &exit)
		}
		s.finish(t, exit)
		s.world.RUnlock()
		s.clean(t)
	})
}

// lastWords is how long a pipe is read after the end of its task when somebody else has it open.
const lastWords = time.Second

// explain adds what the status alone does not say.
func (s *server) explain(t *task, o outcome, exit *drivers.Exit) {
	s.mu.Lock()
	fenced, killed, limit := t.fenced || o.fence, t.killed, t.rec.memory()
	s.mu.Unlock()
	kills := s.host.oomKills(t.rec)
	switch {
	case fenced:
		exit.Why = "the node's lease ended, and the task may only run under one"
	case kills > 0 && !killed && (exit.Code == 137 || exit.Signal == 9):
		exit.OOM = true
		exit.Why = fmt.Sprintf("the kernel killed it for using more than its memory limit of %v", limit)
	case kills > 0:
		exit.Why = fmt.Sprintf("the kernel killed %d of its processes for using more than its memory limit of %v", kills, limit)
	}
}

// finish records the end.
func (s *server) finish(t *task, exit drivers.Exit) {
	t.out.Close()
	t.err.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.table.change(&change{Seq: t.rec.Seq, Ended: structs.At(time.Now()), Exit: &exit}); err != nil {
		s.log.Error("an end could not be written down", "task", t.rec.Launch.ID, "err", err)
	}
	close(t.ended)
	s.poke()
}

// pin says to the host where tasks may run.
func (s *server) pin() {
	s.mu.Lock()
	var all []*record
	for _, t := range s.tasks {
		if t.rec.Exit == nil {
			all = append(all, t.rec)
		}
	}
	others := s.others
	s.mu.Unlock()
	s.host.pin(all, others)
}

// clean ends the commands that were detached in an ended task, and removes what it left on the host.
func (s *server) clean(t *task) {
	s.endDetached(t)
	s.world.RLock()
	defer s.world.RUnlock()
	if err := s.host.clean(t.rec); err != nil {
		s.log.Error("an ended task left something behind", "task", t.rec.Launch.ID, "err", err)
	}
	if len(t.rec.Launch.Cores) > 0 {
		s.pin()
	}
	if t.proc != nil {
		t.proc.close()
		s.roomier()
	}
	close(t.cleaned)
}

// find returns a task that has been started.
func (s *server) find(ctx context.Context, id string) (*task, error) {
	s.mu.Lock()
	t := s.tasks[id]
	s.mu.Unlock()
	if t != nil {
		select {
		case <-t.started:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		s.mu.Lock()
		t = s.tasks[id] // the start may have failed
		s.mu.Unlock()
	}
	if t == nil {
		return nil, structs.Errorf(structs.NotFound, "task "+id, "the supervisor does not know it")
	}
	return t, nil
}

func (r *record) status() *exec.Status {
	return &exec.Status{ID: r.Launch.ID, PID: r.PID, Started: r.Started, Ended: r.Ended, Exit: r.Exit}
}

func (s *server) list() []*exec.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*exec.Status, 0, len(s.tasks))
	for _, t := range s.tasks {
		if t.rec.Within != 0 {
			continue
		}
		select {
		case <-t.started:
			all = append(all, t.rec.status())
		default:
		}
	}
	return all
}

// running reports whether the task has not ended. A task whose start is under way is running.
func (t *task) running() bool {
	select {
	case <-t.ended:
		return false
	default:
		return true
	}
}

// stop ends a task. It goes on when whoever asked for it is gone.
func (s *server) stop(t *task, signal int, grace time.Duration) {
	if t.running() && t.proc != nil {
		if grace > 0 {
			s.host.signal(t.proc, signal)
			timer := time.NewTimer(grace)
			select {
			case <-t.ended:
			case <-timer.C:
			}
			timer.Stop()
		}
		if t.running() {
			s.mu.Lock()
			t.killed = true
			s.mu.Unlock()
			s.host.kill(t)
		}
	}
	<-t.ended
	<-t.cleaned
}

func (s *server) forget(ctx context.Context, id string) error {
	t, err := s.find(ctx, id)
	if structs.KindOf(err) == structs.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if t.running() {
		return structs.Errorf(structs.Conflict, "task "+id, "it runs").Advise("stop it first")
	}
	select {
	case <-t.cleaned:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[id] == t {
		for _, c := range s.detached(t) {
			s.drop(c)
		}
		s.drop(t)
	}
	return nil
}

func (s *server) renew(until time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host.renew(until)
}

// fence kills the fenced tasks if the lease has ended.
func (s *server) fence() {
	s.mu.Lock()
	var doomed []*task
	if s.host.lease() <= Now() {
		for _, t := range s.tasks {
			select {
			case <-t.started:
				if t.rec.Launch.Fenced && t.running() && t.proc != nil {
					t.fenced = true
					doomed = append(doomed, t)
				}
			default: // its stage looks at the lease before the program starts to matter
			}
		}
	}
	s.mu.Unlock()
	for _, t := range doomed {
		s.log.Warn("the lease ended", "task", t.rec.Launch.ID)
		s.work.Go(func() { s.host.kill(t) })
	}
}

// poke makes run look whether there is still something to do.
func (s *server) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// idle reports that no task runs and, unless the agent has left for good, that nobody is connected.
func (s *server) idle() (nothing, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.running() {
			return false, false
		}
	}
	return s.released || len(s.conns) == 0, s.released
}

// run serves until there is nothing to do any more, or ctx ends.
func (s *server) run(ctx context.Context, l *net.UnixListener) error {
	s.listener = l
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopFence := s.host.watchLease(s.fence) // before anybody can renew the lease
	var accept sync.WaitGroup
	accept.Go(func() { s.accept(ctx) })
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	lonely := time.NewTimer(s.with.linger)
	defer lonely.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case <-s.changed:
			nothing, now := s.idle()
			over = now && nothing
			if nothing {
				lonely.Reset(s.with.linger)
			}
		case <-lonely.C:
			over, _ = s.idle()
		case now := <-sweep.C:
			s.expireLogs(now)
			s.roomier()
		}
	}
	l.Close()
	accept.Wait()
	stopFence()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	return nil
}

func (s *server) expireLogs(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		t.out.Expire(now)
		t.err.Expire(now)
	}
}

// close ends the helpers of a server that has no tasks. Ended tasks that were not forgotten stay in the table.
func (s *server) close() {
	s.work.Wait()
	s.host.close()
	s.table.close()
}

// accept takes connections until the listener closes.
func (s *server) accept(ctx context.Context) {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("accept", "err", err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second): // out of descriptors, most likely
				}
				continue
			}
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.work.Go(func() {
			s.serve(ctx, c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			s.roomier()
			s.poke()
		})
	}
}
