package consensus

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// cluster is a region of servers in this process. Times are those of a synctest bubble.
type cluster struct {
	t       testing.TB
	servers []*server
	config  func(*Config)
}

// server is one of them. Its stores outlive its node, like a disk.
type server struct {
	name   string
	node   *Node
	store  *state.Store
	wire   *raft.InmemTransport
	logs   *faultyLogs
	stable *raft.InmemStore
	snaps  raft.SnapshotStore
}

// faultyLogs is a log store whose writes can fail or hang.
type faultyLogs struct {
	*raft.InmemStore
	mu   sync.Mutex
	fail error
	hang chan struct{} // writes wait until it is closed
}

func (f *faultyLogs) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *faultyLogs) StoreLogs(ls []*raft.Log) error {
	f.mu.Lock()
	fail, hang := f.fail, f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if fail != nil {
		return fail
	}
	return f.InmemStore.StoreLogs(ls)
}

func (f *faultyLogs) set(fail error, hang chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.hang = fail, hang
}

func newCluster(t testing.TB, size int, config func(*Config)) *cluster {
	c := &cluster{t: t, config: config}
	for i := range size {
		c.servers = append(c.servers, &server{name: fmt.Sprintf("s%d", i+1), logs: &faultyLogs{InmemStore: raft.NewInmemStore()},
			stable: raft.NewInmemStore(), snaps: newMemorySnapshots()})
	}
	for _, s := range c.servers {
		c.start(s)
	}
	for _, s := range c.servers {
		if err := s.node.Bootstrap(c.peers()); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *cluster) peers() (peers []Peer) {
	for _, s := range c.servers {
		peers = append(peers, Peer{ID: s.name, Address: s.name})
	}
	return peers
}

// start opens a server's node on its stores and connects it.
func (c *cluster) start(s *server) {
	c.t.Helper()
	_, s.wire = raft.NewInmemTransportWithTimeout(raft.ServerAddress(s.name), 300*time.Millisecond)
	s.store = state.New()
	cfg := Config{ID: s.name, Region: "test", Store: s.store, Transport: s.wire, Logs: s.logs, Stable: s.stable,
		Snapshots: s.snaps, Logger: slog.New(slog.DiscardHandler)}
	if c.config != nil {
		c.config(&cfg)
	}
	n, err := Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	s.node = n
	for _, other := range c.servers {
		if other != s && other.node != nil {
			c.connect(s, other)
		}
	}
}

func (c *cluster) connect(a, b *server) {
	a.wire.Connect(raft.ServerAddress(b.name), b.wire)
	b.wire.Connect(raft.ServerAddress(a.name), a.wire)
}

// isolate cuts a server off from all others.
func (c *cluster) isolate(s *server) {
	for _, other := range c.servers {
		if other != s {
			s.wire.Disconnect(raft.ServerAddress(other.name))
			other.wire.Disconnect(raft.ServerAddress(s.name))
		}
	}
}

func (c *cluster) heal(s *server) {
	for _, other := range c.servers {
		if other != s && other.node != nil {
			c.connect(s, other)
		}
	}
}

// kill stops a server without a goodbye: it is cut off first.
func (c *cluster) kill(s *server) {
	c.isolate(s)
	s.node.Close()
	s.wire.Close()
	s.node = nil
}

func (c *cluster) close() {
	for _, s := range c.servers {
		s.logs.set(nil, nil)
		if s.node != nil {
			if err := s.node.Close(); err != nil {
				c.t.Error(err)
			}
			s.wire.Close()
		}
	}
	time.Sleep(time.Minute) // raft leaves requests behind that end at their time-outs
}

// leader waits until one of the servers leads, not counting those in but.
func (c *cluster) leader(but ...*server) *server {
	c.t.Helper()
	for range 60_000 { // an hour of the bubble's time
	next:
		for _, s := range c.servers {
			for _, b := range but {
				if s == b {
					continue next
				}
			}
			if s.node != nil && s.node.Leader().Self {
				return s
			}
		}
		time.Sleep(60 * time.Millisecond)
	}
	c.t.Fatal("no leader in an hour")
	return nil
}

// submit commits a job with a key on whoever leads, as a client does that asks again until it knows.
func (c *cluster) submit(name, key string) uint64 {
	c.t.Helper()
	zero := uint64(0)
	cmd := &state.SubmitJob{Job: testJob(name), ExpectVersion: &zero}
	for range 10_000 {
		for _, s := range c.servers {
			if s.node == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			_, index, err := s.node.Propose(ctx, key, "ann", cmd)
			cancel()
			if err == nil {
				return index
			}
			if k := structs.KindOf(err); k != structs.Unavailable && k != structs.Unknown {
				c.t.Fatalf("submit %s: %v", name, err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("job %s was never committed", name)
	return 0
}

func testJob(name string) *structs.Job {
	one := 1
	return &structs.Job{Name: name, Groups: []*structs.Group{{Name: "g", Count: &one, Tasks: []*structs.Task{{Name: "t", Driver: "mock"}}}}}
}

// settled waits until every running server has applied what s has, and returns the names of the jobs.
func (c *cluster) settled(s *server) (names []string) {
	c.t.Helper()
	index := s.store.Snapshot().Index()
	for _, other := range c.servers {
		if other.node == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		if err := other.node.WaitApplied(ctx, index); err != nil {
			c.t.Fatalf("%s did not catch up to %d: %v %+v", other.name, index, err, other.node.Stats())
		}
		cancel()
		names = names[:0]
		for j := range other.store.Snapshot().Jobs() {
			names = append(names, j.Name)
			if j.Version != 1 {
				c.t.Errorf("%s: job %s was submitted twice", other.name, j.Name)
			}
		}
	}
	return names
}

func bubble(t *testing.T, size int, config func(*Config), f func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, size, config)
		defer c.close()
		f(t, c)
	})
}

// memorySnapshots keeps the newest snapshot and survives its node, unlike the one of raft.
type memorySnapshots struct {
	mu   sync.Mutex
	meta *raft.SnapshotMeta
	data []byte
}

func newMemorySnapshots() *memorySnapshots { return &memorySnapshots{} }

func (m *memorySnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &memorySink{to: m, meta: &raft.SnapshotMeta{Version: v, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: c, ConfigurationIndex: ci}}, nil
}

func (m *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{m.meta}, nil
}

func (m *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta == nil || m.meta.ID != id {
		return nil, nil, fmt.Errorf("no snapshot %s", id)
	}
	return m.meta, io.NopCloser(newReader(m.data)), nil
}

type memorySink struct {
	to   *memorySnapshots
	meta *raft.SnapshotMeta
	data []byte
}

func (s *memorySink) Write(p []byte) (int, error) {
	s.data = append(s.data, p...)
	return len(p), nil
}

func (s *memorySink) Close() error {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.meta.Size = int64(len(s.data))
	s.to.meta, s.to.data = s.meta, s.data
	return nil
}

func (s *memorySink) ID() string    { return s.meta.ID }
func (s *memorySink) Cancel() error { return nil }
