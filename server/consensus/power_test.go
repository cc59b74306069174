package consensus

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/consensus/disk/faulty"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

var powerSeed = flag.Uint64("power.seed", 0, "repeat the run of TestPowerLoss with this seed")

// TestPowerLoss cuts the power of one, two or all of three servers, again and again and at any call to their disks, also
// while they start. What was not synced is lost, sector by sector and name by name. Writers go on all the while. Nothing
// that was acknowledged is lost, all servers end with the same state, no server votes twice in a term or forgets a term,
// and no term has two leaders.
func TestPowerLoss(t *testing.T) { losePower(t, 8) }

func losePower(t *testing.T, runs int) {
	seed := rand.Uint64()
	if *powerSeed != 0 {
		seed, runs = *powerSeed, 1
	}
	for range runs {
		if why := powerRun(t, seed, nil); why != "" {
			t.Fatalf("repeat it with -power.seed=%d: %s", seed, why)
		}
		seed++
	}
}

// powerRun is one region from its first start to its end. It returns what went wrong.
func powerRun(t *testing.T, seed uint64, ignore func(disk string, c faulty.Call) bool) (why string) {
	t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { why = newRig(seed, ignore).run() })
	})
	return why
}

// TestPowerLossShowsEachSync leaves out one sync at a time and wants TestPowerLoss to notice.
func TestPowerLossShowsEachSync(t *testing.T) {
	for name, ignore := range map[string]func(disk string, c faulty.Call) bool{
		"entries": func(disk string, c faulty.Call) bool {
			return disk == "log" && c.Op == "sync" && strings.HasSuffix(c.Name, ".wal")
		},
		"term and vote":    func(disk string, c faulty.Call) bool { return c.Op == "sync" && c.Name == "stable" },
		"names of the log": func(disk string, c faulty.Call) bool { return disk == "log" && c.Op == "sync folder" },
		"snapshot":         func(disk string, c faulty.Call) bool { return disk == "snapshots" && c.Op == "sync" },
		"names of the snapshots": func(disk string, c faulty.Call) bool {
			return disk == "snapshots" && c.Op == "sync folder"
		},
		"identity":             func(disk string, c faulty.Call) bool { return disk == "root" && c.Op == "sync" },
		"name of the identity": func(disk string, c faulty.Call) bool { return disk == "root" && c.Op == "sync folder" },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 200; seed++ {
				if why := powerRun(t, seed, ignore); why != "" {
					t.Logf("seed %d: %s", seed, why)
					return
				}
			}
			t.Error("nobody misses it")
		})
	}
}

// rig is three machines in a bubble, and what was seen of them from outside.
type rig struct {
	random   *rand.Rand
	machines []*machine
	ids      []Peer

	mu     sync.Mutex
	wrong  string                       // the first thing that must not be
	acked  []string                     // jobs
	votes  map[string]map[uint64]string // by voter and term
	leads  map[uint64]string            // by term
	spoken map[string]uint64            // the highest term in which a server asked for something or gave its vote
}

// machine is one server with its disks, in a bubble.
type machine struct {
	rig   *rig
	name  string
	disks map[string]*faulty.Disk
	id    string

	off  atomic.Bool // every call to the disks fails
	trap atomic.Pointer[trap]

	node  atomic.Pointer[Node] // nil: it is off
	store *state.Store
	wire  *raft.InmemTransport
	logs  *wal.Log
}

// trap cuts the power at one of the next calls to a disk.
type trap struct {
	match func(disk string, c faulty.Call) bool
	left  atomic.Int64 // calls that match
	cut   *cut
}

// cut is a loss of power of some machines at once.
type cut struct {
	machines []*machine
	once     sync.Once
	done     chan struct{}
}

func (c *cut) now() {
	c.once.Do(func() {
		for _, m := range c.machines {
			m.off.Store(true)
		}
		close(c.done)
	})
}

func newRig(seed uint64, ignore func(disk string, c faulty.Call) bool) *rig {
	r := &rig{random: rand.New(rand.NewPCG(seed, 7)), votes: map[string]map[uint64]string{}, leads: map[uint64]string{},
		spoken: map[string]uint64{}}
	for i := range 3 {
		m := &machine{rig: r, name: fmt.Sprint("s", i+1), disks: map[string]*faulty.Disk{}}
		for n, name := range []string{"root", "log", "snapshots"} {
			d := faulty.New(seed + uint64(10*i+n))
			d.Fail = func(c faulty.Call) error { return m.call(name, c) }
			if ignore != nil {
				d.Ignore = func(c faulty.Call) bool { return ignore(name, c) }
			}
			m.disks[name] = d
		}
		r.machines = append(r.machines, m)
	}
	return r
}

// call is asked before each call to a disk of the machine.
func (m *machine) call(disk string, c faulty.Call) error {
	if t := m.trap.Load(); t != nil && !m.off.Load() && t.match(disk, c) && t.left.Add(-1) == 0 {
		t.cut.now()
	}
	if m.off.Load() {
		return faulty.ErrCrash
	}
	return nil
}

// fail notes what must not be.
func (r *rig) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong == "" {
		r.wrong = fmt.Sprintf(format, args...)
	}
}

func (r *rig) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wrong != ""
}

// run is a region's life. It returns what went wrong.
func (r *rig) run() string {
	for _, m := range r.machines {
		folder, err := m.folder()
		if err != nil {
			return err.Error()
		}
		m.id = folder.ID
		r.ids = append(r.ids, Peer{ID: m.id, Address: m.name})
	}
	r.arm(1+r.random.IntN(3), 200) // the first start may be cut short as well
	for _, m := range r.machines {
		m.start()
	}
	var writers sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for w := range 4 {
		random := rand.New(rand.NewPCG(r.random.Uint64(), 1))
		writers.Go(func() { r.write(ctx, w, random) })
	}
	for range 5 {
		if r.failed() {
			break
		}
		r.cutPower()
		if r.random.IntN(4) > 0 {
			r.settle()
			r.check(false)
		}
	}
	stop()
	writers.Wait()
	if !r.failed() {
		r.settle()
		r.check(true)
	}
	for _, m := range r.machines {
		m.stop()
	}
	time.Sleep(time.Minute) // raft leaves requests behind that end at their time-outs
	return r.wrong
}

// write submits jobs with keys until ctx ends, each until it is acknowledged.
func (r *rig) write(ctx context.Context, w int, random *rand.Rand) {
	zero := uint64(0)
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("w%d-%05d", w, i)
		job := testJob(name)
		job.Meta = map[string]string{"x": strings.Repeat("x", random.IntN(300))}
		for ctx.Err() == nil {
			n := r.machines[random.IntN(3)].node.Load()
			if n == nil {
				time.Sleep(time.Millisecond)
				continue
			}
			asked, cancel := context.WithTimeout(ctx, time.Second)
			_, _, err := n.Propose(asked, "key "+name, "ann", &state.SubmitJob{Job: job, ExpectVersion: &zero})
			cancel()
			if err == nil {
				r.mu.Lock()
				r.acked = append(r.acked, name)
				r.mu.Unlock()
				break
			}
			if k := structs.KindOf(err); k != structs.Unavailable && k != structs.Unknown {
				r.fail("submit %s: %v", name, err)
				return
			}
			time.Sleep(time.Duration(1+random.IntN(10)) * time.Millisecond)
		}
		time.Sleep(time.Duration(random.IntN(80)) * time.Millisecond)
	}
}

// arm has the power of some machines go at one of their next calls to a disk.
func (r *rig) arm(machines, calls int) *cut {
	c := &cut{done: make(chan struct{})}
	for _, i := range r.random.Perm(3)[:machines] {
		c.machines = append(c.machines, r.machines[i])
	}
	disk := []string{"", "log", "snapshots", "snapshots"}[r.random.IntN(4)]
	op := []string{"", "", "sync", "rename", "sync folder", "write", "remove"}[r.random.IntN(7)]
	if op != "" {
		calls = 1 + calls/20
	}
	for _, m := range c.machines {
		t := &trap{cut: c, match: func(d string, c faulty.Call) bool {
			return (disk == "" || disk == d) && (op == "" && c.Op != "read" || op == c.Op)
		}}
		t.left.Store(int64(1 + r.random.IntN(calls)))
		m.trap.Store(t)
	}
	return c
}

// cutPower cuts the power of some machines and starts them again, which may be cut short too.
func (r *rig) cutPower() {
	c := r.arm(1+r.random.IntN(3), 100)
	select {
	case <-c.done:
	case <-time.After(3 * time.Second):
		c.now()
	}
	for _, m := range c.machines {
		m.stop()
	}
	if r.random.IntN(2) == 0 {
		time.Sleep(time.Duration(r.random.IntN(3000)) * time.Millisecond)
	}
	if r.random.IntN(3) == 0 {
		r.arm(1+r.random.IntN(3), 60)
	}
	for _, m := range c.machines {
		m.start()
	}
}

func (m *machine) folder() (*Folder, error) {
	return OpenDisks("test", Disks{Root: m.disks["root"], Log: m.disks["log"], Snapshots: m.disks["snapshots"]})
}

// start opens the server, again when the power goes meanwhile.
func (m *machine) start() {
	for {
		err := m.open()
		if err == nil || m.rig.failed() {
			return
		}
		if !m.off.Load() {
			m.rig.fail("%s does not start: %v", m.name, err)
			return
		}
		m.stop()
	}
}

func (m *machine) open() (err error) {
	folder, err := m.folder()
	if err != nil {
		return err
	}
	if folder.ID != m.id {
		return fmt.Errorf("it was %s and is %s", m.id, folder.ID)
	}
	logs, snapshots, err := folder.OpenStores(wal.Options{SegmentBytes: 32 << 10, CacheBytes: 16 << 10})
	if err != nil {
		return err
	}
	m.logs = logs
	m.rig.mu.Lock()
	spoken := m.rig.spoken[m.name]
	m.rig.mu.Unlock()
	if term, err := logs.GetUint64([]byte("CurrentTerm")); err != nil || term < spoken {
		return fmt.Errorf("it is back in term %d (%v) and had acted in term %d", term, err, spoken)
	}
	_, m.wire = raft.NewInmemTransportWithTimeout(raft.ServerAddress(m.name), 300*time.Millisecond)
	m.store = state.New()
	n, err := Open(Config{ID: m.id, Region: "test", Store: m.store, Transport: &heard{m.wire, m}, Logs: logs, Stable: logs,
		Snapshots: snapshots, Logger: slog.New(slog.DiscardHandler), Fatal: m.fatal,
		SnapshotEntries: 20, SnapshotEvery: 200 * time.Millisecond, TrailingBytes: 1, trailingLeast: 10})
	if err != nil {
		m.wire.Close()
		return err
	}
	m.node.Store(n)
	for _, other := range m.rig.machines {
		if other != m && other.node.Load() != nil {
			m.wire.Connect(raft.ServerAddress(other.name), other.wire)
			other.wire.Connect(raft.ServerAddress(m.name), m.wire)
		}
	}
	if fresh, err := n.Fresh(); err == nil && fresh {
		if err := n.Bootstrap(m.rig.ids); err != nil && structs.KindOf(err) != structs.Conflict {
			return err
		}
	}
	return nil
}

func (m *machine) fatal(err error) {
	if !m.off.Load() {
		m.rig.fail("%s gave up with power: %v", m.name, err)
	}
}

// stop ends the process and leaves its disks as they are without power.
func (m *machine) stop() {
	m.off.Store(true)
	m.trap.Store(nil)
	n := m.node.Swap(nil)
	if n != nil {
		for _, other := range m.rig.machines {
			if other != m && other.wire != nil {
				m.wire.Disconnect(raft.ServerAddress(other.name))
				other.wire.Disconnect(raft.ServerAddress(m.name))
			}
		}
		n.Close()
		m.wire.Close()
	}
	if m.logs != nil {
		m.logs.Close()
		m.logs = nil
	}
	for _, d := range m.disks {
		d.Restart(true)
	}
	m.off.Store(false)
}

// heard is a machine's transport; it notes what other servers are told.
type heard struct {
	*raft.InmemTransport
	m *machine
}

func (r *rig) speak(who string, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoken[who] = max(r.spoken[who], term)
}

func (r *rig) vote(voter string, term uint64, candidate string) {
	r.mu.Lock()
	was := r.votes[voter][term]
	if r.votes[voter] == nil {
		r.votes[voter] = map[uint64]string{}
	}
	r.votes[voter][term] = candidate
	r.mu.Unlock()
	if was != "" && was != candidate {
		r.fail("%s voted for %s and for %s in term %d", voter, was, candidate, term)
	}
}

func (h *heard) RequestVote(id raft.ServerID, to raft.ServerAddress, in *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	h.m.rig.speak(h.m.name, in.Term)
	h.m.rig.vote(h.m.name, in.Term, h.m.name)
	err := h.InmemTransport.RequestVote(id, to, in, out)
	if err == nil && out.Granted {
		h.m.rig.speak(string(to), in.Term)
		h.m.rig.vote(string(to), in.Term, h.m.name)
	}
	return err
}

func (h *heard) AppendEntries(id raft.ServerID, to raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	r := h.m.rig
	r.speak(h.m.name, in.Term)
	r.mu.Lock()
	was := r.leads[in.Term]
	r.leads[in.Term] = h.m.name
	r.mu.Unlock()
	if was != "" && was != h.m.name {
		r.fail("%s and %s lead in term %d", was, h.m.name, in.Term)
	}
	return h.InmemTransport.AppendEntries(id, to, in, out)
}

// settle starts what is off, waits until one server leads and lets the cuts that are still armed pass.
func (r *rig) settle() {
	for range 2000 {
		for _, m := range r.machines {
			m.trap.Store(nil)
			if m.off.Load() || m.node.Load() == nil {
				m.stop()
				m.start()
			}
		}
		if r.failed() || r.leader() != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.fail("no leader in 100 s: %s", r)
}

func (r *rig) String() string {
	var b strings.Builder
	for _, m := range r.machines {
		if n := m.node.Load(); n != nil {
			fmt.Fprintf(&b, "%s %+v\n", m.name, n.Stats())
		}
	}
	return b.String()
}

func (r *rig) leader() *machine {
	for _, m := range r.machines {
		if n := m.node.Load(); n != nil && n.Leader().Self {
			return m
		}
	}
	return nil
}

// check looks for everything that was acknowledged, on the leader or on all servers.
func (r *rig) check(all bool) {
	r.mu.Lock()
	acked := slices.Clone(r.acked)
	r.mu.Unlock()
	var index uint64
	for try := 0; ; try++ {
		if l := r.leader(); l != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			i, err := l.node.Load().ReadIndex(ctx)
			cancel()
			if err == nil {
				r.compare(l, acked)
				index = i
				break
			}
		}
		if try == 2000 {
			r.fail("nobody answers a read: %s", r)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !all || r.failed() {
		return
	}
	for _, m := range r.machines {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		err := m.node.Load().WaitApplied(ctx, index)
		cancel()
		if err != nil {
			r.fail("%s does not catch up to %d: %v\n%s", m.name, index, err, r)
			return
		}
		r.compare(m, acked)
	}
	time.Sleep(time.Minute) // what nobody waited for is committed, or gone
	var sums [3][sha256.Size]byte
	for i, m := range r.machines {
		h := sha256.New()
		if err := m.store.Image().Persist(h); err != nil {
			r.fail("%v", err)
		}
		if h.Sum(sums[i][:0]); sums[i] != sums[0] {
			r.fail("%s (index %d) and %s (index %d) have different states", r.machines[0].name, r.machines[0].store.Snapshot().Index(),
				m.name, m.store.Snapshot().Index())
		}
	}
}

func (r *rig) compare(m *machine, acked []string) {
	snap := m.store.Snapshot()
	for _, name := range acked {
		if j := snap.Job(name); j == nil {
			r.fail("%s was acknowledged and %s does not have it (index %d)", name, m.name, snap.Index())
		} else if j.Version != 1 {
			r.fail("%s was submitted twice", name)
		}
	}
}
