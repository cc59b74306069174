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
