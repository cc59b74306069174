package consensus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"

	"github.com/proffer/proffer/server/consensus/disk/faulty"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func openLog(t *testing.T, d *faulty.Disk) *wal.Log {
	t.Helper()
	l, err := wal.Open("log", wal.Options{Disk: d, SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Raft writes the term of a vote first and the name second. With the name of an earlier vote beside the new term it would
// vote for that name without a look at its log.
func TestVoteIsWrittenAtOnce(t *testing.T) {
	for at := 1; at < 12; at++ {
		for seed := range uint64(10) {
			d := faulty.New(seed)
			log := openLog(t, d)
			stable := &guardedStable{StableStore: log, node: &Node{cfg: Config{Fatal: func(error) {}}, log: slog.New(slog.DiscardHandler), gate: &gate{}}}
			vote := func(term uint64, name string) {
				if err := stable.SetUint64([]byte(keyVoteTerm), term); err == nil {
					stable.Set([]byte(keyVote), []byte(name))
				}
			}
			vote(5, "old")
			first := d.Calls() + at
			d.Fail = func(c faulty.Call) error {
				if c.Number == first {
					return faulty.ErrCrash
				}
				return nil
			}
			vote(7, "new")
			d.Fail = nil
			d.Restart(true)
			log = openLog(t, d)
			term, err := log.GetUint64([]byte(keyVoteTerm))
			name, err2 := log.Get([]byte(keyVote))
			if is := fmt.Sprint(term, string(name), err, err2); is != "5old<nil> <nil>" && is != "7new<nil> <nil>" {
				t.Fatalf("call %d: the vote is %s", at, is)
			}
		}
	}
}

// walServers lets the cluster run on logs that refuse gaps.
type walServers map[string]*wal.Log

func (w walServers) config(t *testing.T) func(*Config) {
	return func(c *Config) {
		if w[c.ID] == nil {
			w[c.ID] = openLog(t, faulty.New(1))
		}
		c.Logs, c.Stable = w[c.ID], w[c.ID]
		c.TempDir = t.TempDir()
	}
}

// A leader is cut off with entries in its log that nobody else has. Meanwhile the region is restored from a snapshot, to an
// index below those. When the old leader is back it gets the snapshot and goes on from there.
func TestRestoreBelowAnOldLeadersLog(t *testing.T) {
	logs := walServers{}
	bubble(t, 3, logs.config(t), func(t *testing.T, c *cluster) {
		old := c.leader()
		c.submit("web", "")
		c.settled(old)
		var archive bytes.Buffer
		if _, err := old.node.SaveSnapshot(t.Context(), &archive); err != nil {
			t.Fatal(err)
		}
		c.isolate(old)
		var wg sync.WaitGroup
		for i := range 8 { // an entry each: nothing is committed, and raft takes what it gets
			raw, err := state.EncodeEnvelope(state.Envelope{Actor: "ann", Command: &state.SubmitJob{Job: testJob(fmt.Sprint("lost", i))}})
			if err != nil {
				t.Fatal(err)
			}
			f := old.node.raft.Apply(append(state.AppendHeader(nil, structs.At(time.Now())), raw...), time.Second)
			wg.Go(func() { _ = f.Error() })
		}
		next := c.leader(old)
		wg.Wait()
		if _, err := next.node.RestoreSnapshot(t.Context(), &archive); err != nil {
			t.Fatal(err)
		}
		c.heal(old)
		c.submit("db", "")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := old.node.WaitApplied(ctx, next.store.Snapshot().Index()); err != nil {
			t.Fatalf("it is stuck: %v %+v", err, old.node.Stats())
		}
		if names := c.settled(c.leader()); len(names) != 2 {
			t.Errorf("jobs: %v", names)
		}
		c.kill(old)
		c.start(old)
		if names := c.settled(c.leader()); len(names) != 2 {
			t.Errorf("jobs after a restart: %v", names)
		}
	})
}

// A snapshot was installed, and the log before it was not removed: the power went, or the disk was full.
func TestLogBehindTheSnapshot(t *testing.T) {
	logs := walServers{}
	bubble(t, 3, logs.config(t), func(t *testing.T, c *cluster) {
		l := c.leader()
		c.submit("first", "")
		c.settled(l)
		late := c.servers[slices.IndexFunc(c.servers, func(s *server) bool { return s != l })]
		c.kill(late)
		for i := range 20 {
			c.submit(fmt.Sprint("job", i), "")
		}
		if err := l.node.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		metas, _ := l.snaps.List()
		_, r, err := l.snaps.Open(metas[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		sink, _ := late.snaps.Create(metas[0].Version, metas[0].Index, metas[0].Term, metas[0].Configuration, metas[0].ConfigurationIndex, nil)
		if _, err := io.Copy(sink, r); err != nil {
			t.Fatal(err)
		}
		sink.Close()
		c.start(late)
		c.submit("last", "")
		if names := c.settled(c.leader()); len(names) != 22 {
			t.Errorf("%d jobs", len(names))
		}
	})
}

// A log that begins behind all snapshots has lost what is between them.
func TestNoSnapshotReachesTheLog(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		c.kill(l)
		first, _ := l.logs.FirstIndex()
		last, _ := l.logs.LastIndex()
		if err := l.logs.DeleteRange(first, last-1); err != nil {
			t.Fatal(err)
		}
		_, wire := raft.NewInmemTransport("s1")
		defer wire.Close()
		_, err := Open(Config{ID: l.name, Store: state.New(), Transport: wire, Logs: l.logs, Stable: l.stable, Snapshots: l.snaps,
			Logger: slog.New(slog.DiscardHandler)})
		if err == nil || structs.KindOf(err) != structs.Internal {
			t.Errorf("it starts: %v", err)
		}
	})
}

// A crash between the two steps of making a region leaves a server that can still make it.
func TestBootstrapCutShort(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, c *cluster) {
		s := &server{name: "s9", logs: &faultyLogs{InmemStore: raft.NewInmemStore()}, stable: raft.NewInmemStore(), snaps: newMemorySnapshots()}
		if err := s.stable.SetUint64([]byte("CurrentTerm"), 1); err != nil {
			t.Fatal(err)
		}
		c.config = func(c *Config) { c.BootstrapExpect = 1 }
		c.start(s)
		for !s.node.Leader().Self {
			time.Sleep(time.Second)
		}
		s.node.Close()
		s.wire.Close()
	})
}

// An archive whose checksums fit and whose records cannot be read is refused while the region still has its state.
func TestArchiveThatCannotBeRestored(t *testing.T) {
	bubble(t, 1, func(c *Config) { c.TempDir = t.TempDir() }, func(t *testing.T, c *cluster) {
		l := c.leader()
		c.submit("web", "")
		var file bytes.Buffer
		file.WriteString(archiveMagic)
		z, err := zstd.NewWriter(&file)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(unreadableState(t, l.store))
		z.Close()
		if _, err := InspectSnapshot(bytes.NewReader(file.Bytes())); err != nil {
			t.Fatalf("its checksums do not fit: %v", err)
		}
		if _, err := l.node.RestoreSnapshot(t.Context(), &file); structs.KindOf(err) != structs.Invalid {
			t.Errorf("got %v", err)
		}
		if names := c.settled(l); len(names) != 1 {
			t.Errorf("jobs: %v", names)
		}
	})
}

// unreadableState is a persisted state with a record of garbage in it.
func unreadableState(t *testing.T, s *state.Store) []byte {
	var b bytes.Buffer
	if err := s.Image().Persist(&b); err != nil {
		t.Fatal(err)
	}
	const end = 1 + 1 + 4 // the record with the checksum
	raw := append(b.Bytes()[:b.Len()-end], byte(state.Jobs), 3, 0xc1, 0xc1, 0xc1)
	sum := crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli))
	return binary.BigEndian.AppendUint32(append(raw, 0, 4), sum)
}

// snapshotsOf are some that a server has.
type snapshotsOf struct {
	raft.SnapshotStore
	metas []*raft.SnapshotMeta
}

func (s snapshotsOf) List() ([]*raft.SnapshotMeta, error) { return s.metas, nil }

// A leader may install a snapshot that is older than one that the server took itself. What follows is asked for from there, and not the
// snapshot again, for ever.
func TestAnOlderSnapshotIsInstalled(t *testing.T) {
	l := &guardedLogs{LogStore: raft.NewInmemStore(), snapshots: snapshotsOf{metas: []*raft.SnapshotMeta{{Index: 75, Term: 4}, {Index: 55, Term: 3}}}}
	applied := func() uint64 { return 55 }
	l.applied.Store(&applied)
	l.believed.Store(80)
	for index, want := range map[uint64]string{54: "log not found", 55: "term 3", 56: "term 0", 75: "term 0", 80: "term 0", 81: "log not found"} {
		var log raft.Log
		got := ""
		if err := l.GetLog(index, &log); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint("term ", log.Term)
		}
		if got != want {
			t.Errorf("entry %d: %s, want %s", index, got, want)
		}
	}
}
