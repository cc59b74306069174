package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func newReader(p []byte) io.Reader { return bytes.NewReader(p) }

func TestElectionAndReplication(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		for i := range 20 {
			c.submit(fmt.Sprintf("job%02d", i), "")
		}
		if names := c.settled(l); len(names) != 20 {
			t.Fatalf("%d jobs, want 20", len(names))
		}
		if m := l.store.Snapshot().Meta(); m.Region != "test" || m.Generation == "" || m.FeatureLevel != state.FirstFeatureLevel {
			t.Errorf("the region was not named: %+v", m)
		}
		for _, s := range c.servers {
			if got := s.node.Leader(); got.ID != l.name || got.Self != (s == l) {
				t.Errorf("%s takes %+v for the leader, want %s", s.name, got, l.name)
			}
			if s == l {
				continue
			}
			_, _, err := s.node.Propose(t.Context(), "", "ann", &state.StopJob{Name: "job00"})
			var hint *NotLeader
			if !errors.As(err, &hint) || hint.ID != l.name || structs.KindOf(err) != structs.Unavailable {
				t.Errorf("a follower answers %v", err)
			}
			if _, err := s.node.ReadIndex(t.Context()); !errors.As(err, &hint) {
				t.Errorf("a follower answers a linearizable read with %v", err)
			}
		}
	})
}

// A failed command is an answer, not a failure of the entry that it travels in.
func TestErrorsOfCommandsKeepTheirKind(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if i%2 == 0 {
					_, _, err := l.node.Propose(t.Context(), "", "ann", &state.StopJob{Name: "none"})
					if structs.KindOf(err) != structs.NotFound {
						t.Errorf("got %v", err)
					}
					return
				}
				answer, index, err := l.node.Propose(t.Context(), "", "ann", &state.SubmitJob{Job: testJob(fmt.Sprint("j", i))})
				if r, ok := answer.(*state.Receipt); err != nil || !ok || r.Index != index || r.Version != 1 {
					t.Errorf("got %+v, %d, %v", answer, index, err)
				}
			})
		}
		wg.Wait()
		if n := len(c.settled(l)); n != 25 {
			t.Errorf("%d jobs, want 25", n)
		}
	})
}

// Clients submit jobs while leaders die and are cut off. Whatever was acknowledged is there at the end, once.
func TestNothingAcknowledgedIsLostNorDoubled(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var acknowledged []string
		var stop atomic.Bool
		c.leader()
		for w := range 4 {
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					name := fmt.Sprintf("w%d-%04d", w, i)
					c.submit(name, "key "+name)
					mu.Lock()
					acknowledged = append(acknowledged, name)
					mu.Unlock()
					time.Sleep(25 * time.Millisecond)
				}
			})
		}
		for round := range 6 {
			time.Sleep(300 * time.Millisecond)
			l := c.leader()
			c.isolate(l)
			if round%2 == 0 {
				time.Sleep(3 * time.Second) // it steps down, another one leads
			}
			c.leader(l)
			c.heal(l)
		}
		stop.Store(true)
		wg.Wait()
		l := c.leader()
		have := c.settled(l)
		slices.Sort(acknowledged)
		for _, name := range acknowledged {
			if !slices.Contains(have, name) {
				t.Errorf("%s was acknowledged and is lost", name)
			}
		}
		if len(acknowledged) < 50 {
			t.Errorf("only %d jobs were acknowledged: this test shows nothing", len(acknowledged))
		}
	})
}

// The leader is cut off with a command in its log: its caller learns "unknown", asks the next leader with the same key,
// and the job exists once even if the old entry survived.
func TestUnknownThenSameKey(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		c.isolate(old)
		_, _, err := old.node.Propose(t.Context(), "k1", "ann", &state.SubmitJob{Job: testJob("web")})
		if k := structs.KindOf(err); k != structs.Unknown {
			t.Fatalf("a leader without its quorum answers %v, want an error of kind unknown", err)
		}
		next := c.leader(old)
		index := c.submit("web", "k1")
		c.heal(old)
		if names := c.settled(next); len(names) != 1 {
			t.Fatalf("jobs: %v", names)
		}
		again, same, err := c.leader().node.Propose(t.Context(), "k1", "ann", &state.SubmitJob{Job: testJob("web")})
		if err != nil || same != index || again.(*state.Receipt).Index != index {
			t.Errorf("the same key answers %+v, %d, %v; want the answer of index %d", again, same, err, index)
		}
	})
}

func TestReadsNeedTheQuorum(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		wrote := c.submit("web", "")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if index, err := old.node.ReadIndex(t.Context()); err != nil || index < wrote {
					t.Errorf("read index %d, %v; want at least %d", index, err, wrote)
				}
			})
		}
		wg.Wait()
		c.isolate(old)
		next := c.leader(old)
		if _, _, err := next.node.Propose(t.Context(), "", "ann", &state.StopJob{Name: "web"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := old.node.ReadIndex(ctx); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("the cut off leader answers a linearizable read: %v", err)
		}
		c.heal(old)
	})
}

func TestLeadRunsOncePerTerm(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		var terms []uint64
		running := map[string]int{}
		for _, s := range c.servers {
			wg.Go(func() {
				s.node.Lead(ctx, func(term context.Context, number uint64) {
					mu.Lock()
					terms = append(terms, number)
					running[s.name]++
					if running[s.name] > 1 {
						t.Errorf("%s serves two terms at a time", s.name)
					}
					mu.Unlock()
					<-term.Done()
					time.Sleep(100 * time.Millisecond) // it takes a while to end
					mu.Lock()
					running[s.name]--
					mu.Unlock()
				})
			})
		}
		for range 3 {
			l := c.leader()
			time.Sleep(time.Second)
			c.isolate(l)
			c.leader(l)
			time.Sleep(time.Second)
			c.heal(l)
		}
		if err := c.leader().node.Transfer(t.Context(), ""); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		c.leader()
		cancel()
		wg.Wait()
		if !slices.IsSorted(terms) || len(slices.Compact(slices.Clone(terms))) != len(terms) || len(terms) < 5 {
			t.Errorf("terms served: %v", terms)
		}
	})
}

func TestServeThatReturnsRunsAgain(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, c *cluster) {
		ctx, cancel := context.WithCancel(t.Context())
		runs := 0
		began := time.Now()
		c.servers[0].node.Lead(ctx, func(context.Context, uint64) {
			if runs++; runs == 5 {
				cancel()
			}
		})
		if took := time.Since(began); took < 4*time.Second {
			t.Errorf("five runs of a serve that returns at once took %s", took)
		}
	})
}

// A server that was down comes back after the others have shortened their logs, and one that is new joins.
func TestCatchUpBySnapshot(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		late := c.servers[0]
		if late == l {
			late = c.servers[1]
		}
		c.submit("first", "")
		c.settled(l)
		c.kill(late)
		for i := range 300 {
			c.submit(fmt.Sprintf("job%03d", i), fmt.Sprint("key", i))
		}
		// Shorten the log: leave next to nothing behind the snapshot.
		rc := l.node.raft.ReloadableConfig()
		rc.TrailingLogs = 1
		for _, s := range c.servers {
			if s.node != nil {
				if err := s.node.raft.ReloadConfig(rc); err != nil {
					t.Fatal(err)
				}
				if err := s.node.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if first, _ := l.logs.FirstIndex(); first < 250 {
			t.Fatalf("the log still begins at %d", first)
		}
		c.submit("last", "")
		c.start(late)
		if n := len(c.settled(l)); n != 302 {
			t.Errorf("%d jobs, want 302", n)
		}
		if late.node.Stats().SnapshotIndex == 0 {
			t.Error("it did not get a snapshot")
		}
		// What was answered is known to it as well: let it lead.
		if err := c.leader().node.Transfer(t.Context(), late.name); err != nil {
			t.Fatal(err)
		}
		for !late.node.Leader().Self {
			time.Sleep(time.Second)
		}
		if c.submit("job007", "key7"); len(c.settled(late)) != 302 {
			t.Error("the key was forgotten")
		}
	})
}

func TestSnapshotsAreTaken(t *testing.T) {
	bubble(t, 1, func(c *Config) { c.SnapshotEntries = 50 }, func(t *testing.T, c *cluster) {
		l := c.leader()
		for i := range 60 {
			c.submit(fmt.Sprintf("job%03d", i), "")
		}
		for l.node.Stats().SnapshotIndex == 0 {
			time.Sleep(time.Second)
		}
		if n := l.node.fsm.entries.Load(); n >= 50 {
			t.Errorf("%d entries are still counted", n)
		}
	})
}

// How much of the log stays behind a snapshot can be said, and changed.
func TestTrailing(t *testing.T) {
	bubble(t, 1, func(c *Config) { c.TrailingEntries = 20 }, func(t *testing.T, c *cluster) {
		l := c.leader()
		jobs := 0
		left := func() uint64 {
			for range 60 {
				c.submit(fmt.Sprintf("job%03d", jobs), "")
				jobs++
			}
			if err := l.node.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			first, _ := l.logs.FirstIndex()
			last, _ := l.logs.LastIndex()
			return last - first + 1
		}
		if n := left(); n != 20 {
			t.Errorf("%d entries are left, not 20", n)
		}
		l.node.SetTrailing(40)
		if n := left(); n != 40 {
			t.Errorf("%d entries are left, not 40", n)
		}
		l.node.SetTrailing(5)
		if n := left(); n != 5 {
			t.Errorf("%d entries are left, not 5", n)
		}
	})
}

func TestRestartFromStores(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		bubble(t, 3, nil, func(t *testing.T, c *cluster) {
			l := c.leader()
			for i := range 50 {
				c.submit(fmt.Sprintf("job%02d", i), "")
			}
			c.settled(l)
			generation := l.store.Snapshot().Meta().Generation
			if snapshot {
				for _, s := range c.servers {
					if err := s.node.Snapshot(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.submit("last", "")
			for _, s := range c.servers {
				c.kill(s)
			}
			for _, s := range c.servers {
				c.start(s)
			}
			l = c.leader()
			if n := len(c.settled(l)); n != 51 {
				t.Errorf("%d jobs after the restart, want 51", n)
			}
			if g := l.store.Snapshot().Meta().Generation; g != generation {
				t.Errorf("the generation changed from %q to %q", generation, g)
			}
		})
	}
}

// After a write that failed nobody knows what the disk holds: the server takes no part until it is started again.
func TestDiskError(t *testing.T) {
	fatal := make(chan error, 1)
	bubble(t, 3, func(c *Config) { c.Fatal = func(err error) { fatal <- err } }, func(t *testing.T, c *cluster) {
		l := c.leader()
		l.logs.set(errors.New("input/output error"), nil)
		_, _, err := l.node.Propose(t.Context(), "k", "ann", &state.SubmitJob{Job: testJob("web")})
		if structs.KindOf(err) != structs.Unknown {
			t.Fatalf("a leader that cannot write answers %v", err)
		}
		c.leader(l)
		c.submit("web", "k")
		l.logs.set(nil, nil)
		if err := <-fatal; !strings.Contains(err.Error(), "append: it cannot take part any more: input/output error") {
			t.Errorf("the agent is told %v", err)
		}
		time.Sleep(time.Minute)
		if _, _, err := l.node.Propose(t.Context(), "", "ann", &state.StopJob{Name: "web"}); structs.KindOf(err) != structs.Unavailable || l.node.Leader().Self {
			t.Errorf("it goes on: %v", err)
		}
		c.kill(l)
		c.start(l)
		if names := c.settled(c.leader()); len(names) != 1 {
			t.Errorf("jobs: %v", names)
		}
	})
}

// A leader whose disk hangs still has a network: it must give up by itself.
func TestDiskHangs(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		hang := make(chan struct{})
		old.logs.set(nil, hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan error, 1)
		began := time.Now()
		go func() {
			_, _, err := old.node.Propose(ctx, "k", "ann", &state.SubmitJob{Job: testJob("web")})
			done <- err
		}()
		next := c.leader(old)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it ruled for %s", took)
		}
		if old.node.Leader().Self || !old.node.Stats().Stalled {
			t.Error("it still takes itself for the leader")
		}
		c.submit("web", "k")
		close(hang)
		old.logs.set(nil, nil)
		if err := <-done; structs.KindOf(err) != structs.Unknown {
			t.Errorf("its caller got %v", err)
		}
		if names := c.settled(next); len(names) != 1 {
			t.Errorf("jobs: %v", names)
		}
	})
}

// With nobody to take over, a server leads again when its disk comes back.
func TestDiskHangsAlone(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		hang := make(chan struct{})
		l.logs.set(nil, hang)
		done := make(chan error, 1)
		go func() {
			_, _, err := l.node.Propose(t.Context(), "k", "ann", &state.SubmitJob{Job: testJob("web")})
			done <- err
		}()
		for l.node.Leader().Self {
			time.Sleep(time.Second)
		}
		_, _, err := l.node.Propose(t.Context(), "k2", "ann", &state.SubmitJob{Job: testJob("db")})
		if structs.KindOf(err) != structs.Unavailable {
			t.Errorf("a stalled leader answers %v", err)
		}
		close(hang)
		l.logs.set(nil, nil)
		if err := <-done; err != nil {
			t.Errorf("the write that hung: %v", err)
		}
		c.submit("db", "k2")
		if names := c.settled(c.leader()); len(names) != 2 {
			t.Errorf("jobs: %v", names)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	bubble(t, 1, func(c *Config) { c.QueueBytes, c.EntryBytes = 4000, 2000 }, func(t *testing.T, c *cluster) {
		l := c.leader()
		big := testJob("big")
		big.Meta = map[string]string{"x": strings.Repeat("x", 3000)}
		if _, _, err := l.node.Propose(t.Context(), "", "ann", &state.SubmitJob{Job: big}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("a command above the size of an entry: %v", err)
		}
		hang := make(chan struct{})
		l.logs.set(nil, hang)
		var wg sync.WaitGroup
		var full, fine atomic.Int32
		for i := range 200 {
			wg.Go(func() {
				_, _, err := l.node.Propose(t.Context(), "", "ann", &state.SubmitJob{Job: testJob(fmt.Sprint("j", i))})
				switch structs.KindOf(err) {
				case structs.Exhausted:
					full.Add(1)
				case "":
					fine.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		if q, inFlight := l.node.queue.depth(); inFlight > 3 || q > 60 {
			t.Errorf("%d wait, %d entries in flight", q, inFlight)
		}
		// One that gives up while it waits did not happen; one that found an entry with room may have.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := l.node.Propose(ctx, "", "ann", &state.StopJob{Name: "x"})
		if k := structs.KindOf(err); k != structs.Unavailable && k != structs.Exhausted && k != structs.Unknown {
			t.Errorf("gave up: %v", err)
		}
		l.logs.set(nil, nil)
		close(hang)
		wg.Wait()
		if full.Load() == 0 || fine.Load() == 0 || int(fine.Load()) != l.store.Snapshot().JobCount() {
			t.Errorf("%d refused, %d committed, %d jobs", full.Load(), fine.Load(), l.store.Snapshot().JobCount())
		}
	})
}

func TestSaveAndRestore(t *testing.T) {
	bubble(t, 3, func(c *Config) { c.TempDir = t.TempDir() }, func(t *testing.T, c *cluster) {
		l := c.leader()
		for i := range 10 {
			c.submit(fmt.Sprintf("job%02d", i), fmt.Sprint("key", i))
		}
		var file bytes.Buffer
		saved, err := l.node.SaveSnapshot(t.Context(), &file)
		if err != nil || saved.Records["jobs"] != 10 || saved.Region != "test" {
			t.Fatalf("saved %+v, %v", saved, err)
		}
		if inspected, err := InspectSnapshot(bytes.NewReader(file.Bytes())); err != nil || fmt.Sprint(inspected) != fmt.Sprint(saved) {
			t.Errorf("inspected %+v, %v; saved %+v", inspected, err, saved)
		}
		if snap, err := ReadSnapshot(bytes.NewReader(file.Bytes())); err != nil || snap.JobCount() != 10 || snap.Index() != saved.Index {
			t.Errorf("read %v", err)
		}
		before := l.store.Snapshot().Meta().Generation
		c.submit("later", "later")
		_, feed := l.store.Subscribe(0)
		defer feed.Close()
		damaged := bytes.Clone(file.Bytes())
		damaged[len(damaged)/2] ^= 0x10
		for what, raw := range map[string][]byte{"damaged": damaged, "cut off": file.Bytes()[:file.Len()-9], "empty": nil, "other": []byte("hello, I am no snapshot at all")} {
			if _, err := l.node.RestoreSnapshot(t.Context(), bytes.NewReader(raw)); structs.KindOf(err) != structs.Invalid {
				t.Errorf("%s archive: %v", what, err)
			}
			if _, err := ReadSnapshot(bytes.NewReader(raw)); structs.KindOf(err) != structs.Invalid {
				t.Errorf("reading the %s archive: %v", what, err)
			}
		}
		if _, err := l.node.RestoreSnapshot(t.Context(), bytes.NewReader(file.Bytes())); err != nil {
			t.Fatal(err)
		}
		if names := c.settled(l); len(names) != 10 {
			t.Errorf("%d jobs after the restore", len(names))
		}
		if g := l.store.Snapshot().Meta().Generation; g == before || g == "" {
			t.Errorf("generation %q after the restore, %q before", g, before)
		}
		var lagged *state.Lagged
		if _, err := feed.Next(t.Context()); !errors.As(err, &lagged) {
			t.Errorf("the feed went on over a restore: %v", err)
		}
		c.submit("after", "")
		for _, s := range c.servers {
			c.kill(s)
		}
		for _, s := range c.servers {
			c.start(s)
		}
		if names := c.settled(c.leader()); len(names) != 11 {
			t.Errorf("%d jobs after the restart", len(names))
		}
	})
}

func TestPeers(t *testing.T) {
	bubble(t, 3, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		for i := range 10 {
			c.submit(fmt.Sprint("job", i), "")
		}
		s := &server{name: "s4", logs: &faultyLogs{InmemStore: raft.NewInmemStore()}, stable: raft.NewInmemStore(), snaps: newMemorySnapshots()}
		c.servers = append(c.servers, s)
		c.start(s)
		if fresh, err := s.node.Fresh(); err != nil || !fresh {
			t.Errorf("fresh: %v, %v", fresh, err)
		}
		if err := l.node.AddPeer(t.Context(), "s4", "s4"); err != nil {
			t.Fatal(err)
		}
		if names := c.settled(l); len(names) != 10 {
			t.Errorf("%d jobs on the new server", len(names))
		}
		peers, err := s.node.Peers()
		if err != nil || len(peers) != 4 {
			t.Errorf("peers: %v, %v", peers, err)
		}
		if err := l.node.RemovePeer(t.Context(), "s4"); err != nil {
			t.Fatal(err)
		}
		if err := l.node.RemovePeer(t.Context(), "s9"); structs.KindOf(err) != structs.NotFound {
			t.Errorf("remove of a stranger: %v", err)
		}
		if peers, _ := l.node.Peers(); len(peers) != 3 {
			t.Errorf("peers: %v", peers)
		}
		if err := l.node.Bootstrap(c.peers()); structs.KindOf(err) != structs.Conflict {
			t.Errorf("a second bootstrap: %v", err)
		}
		c.kill(s)
	})
}

// A dead server goes once another one took its place, never so that fewer than MinPeers are left, and not before its
// time.
func TestDeadServersGo(t *testing.T) {
	var mu sync.Mutex
	status := map[string]MemberStatus{"s1": MemberAlive, "s2": MemberAlive, "s3": MemberAlive, "s4": MemberAlive}
	bubble(t, 4, func(c *Config) {
		c.MinPeers = 3
		c.Members = func() (ms []Member) {
			mu.Lock()
			defer mu.Unlock()
			for id, s := range status {
				ms = append(ms, Member{ID: id, Name: id, Address: id, Status: s})
			}
			return ms
		}
	}, func(t *testing.T, c *cluster) {
		l := c.leader()
		die := func() *server {
			for _, s := range c.servers {
				if s != l && s.node != nil {
					mu.Lock()
					status[s.name] = MemberFailed
					mu.Unlock()
					c.kill(s)
					return s
				}
			}
			return nil
		}
		count := func() int {
			peers, err := l.node.Peers()
			if err != nil {
				t.Fatal(err)
			}
			return len(peers)
		}
		first := die()
		time.Sleep(30 * time.Second)
		if count() != 4 {
			t.Error("it was removed before its time")
		}
		for count() == 4 {
			time.Sleep(time.Second)
		}
		peers, _ := l.node.Peers()
		if slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == first.name }) {
			t.Errorf("the wrong one went: %v", peers)
		}
		die()
		time.Sleep(10 * time.Minute)
		if count() != 3 {
			t.Errorf("%d peers are left, want 3", count())
		}
	})
}

func TestFolder(t *testing.T) {
	path := t.TempDir()
	f, err := OpenFolder(path, "eu")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(path, "eu"); structs.KindOf(err) != structs.Conflict {
		t.Errorf("opened twice: %v", err)
	}
	id := f.ID
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(path, "us"); structs.KindOf(err) != structs.Conflict || !strings.Contains(err.Error(), `another region ("eu", not "us")`) {
		t.Errorf("another region: %v", err)
	}
	f, err = OpenFolder(path, "eu")
	if err != nil || f.ID != id {
		t.Fatalf("opened again: %v, id %q, want %q", err, f.ID, id)
	}
	f.Close()
}
