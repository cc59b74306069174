package frameworktest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Config says how large a region is.
type Config struct {
	Servers int                           // 1, 3 or 5; 0: 1
	Nodes   int                           // 0: 1
	Node    structs.Resources             // what each has; zero amounts: 4 cores, 8 GiB of memory, 100 GiB of disk
	Meta    func(i int) map[string]string // of node i, from 0: attributes of its offers; nil: none
}

// Region is one region. Its methods are called from inside of the bubble, and may be from any goroutine of it.
type Region struct {
	t       testing.TB
	config  Config
	mesh    *cluster.Mesh
	clock   clock
	net     *network
	servers []*Server
	nodes   []*Node
	work    sync.WaitGroup // processes, and schedulers
	ctx     context.Context
	end     context.CancelFunc

	mu       sync.Mutex
	programs map[string]Program
	running  map[string]*Process // by the id of the start
	started  map[string]int      // by task
	doubles  []string
}

// clock is that of leases.
type clock struct{ start time.Time }

func (c clock) Now() session.Instant { return session.Instant(time.Since(c.start)) }

// Addresses of machines.
const (
	serverIP    = "10.0.0.%d"
	nodeIP      = "10.0.1.%d"
	frameworkIP = "10.0.9.1"
	token       = "frameworktest"
)

// Start makes a region, which ends with the test. It returns when there is a leader and all nodes are ready.
func Start(t testing.TB, c Config) *Region {
	t.Helper()
	c.Servers, c.Nodes = max(c.Servers, 1), max(c.Nodes, 1)
	c.Node = withDefaults(c.Node)
	r := &Region{t: t, config: c, mesh: cluster.NewMesh(), clock: clock{time.Now().Add(-time.Hour)}, programs: map[string]Program{},
		running: map[string]*Process{}, started: map[string]int{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.net = newNetwork(r.mesh.Host(frameworkIP))
	t.Cleanup(r.stop)
	for i := range c.Servers {
		s := &Server{region: r, number: i}
		r.servers = append(r.servers, s)
		s.prepare()
		s.Start()
	}
	r.Leader()
	for i := range c.Nodes {
		n := &Node{region: r, number: i}
		r.nodes = append(r.nodes, n)
		n.prepare()
		n.Boot()
	}
	r.Until("all nodes are ready", func() bool {
		ready := 0
		for n := range r.snapshot().Nodes() {
			if n.Status == structs.NodeReady {
				ready++
			}
		}
		return ready == c.Nodes
	})
	return r
}

func withDefaults(r structs.Resources) structs.Resources {
	if r.CPU == 0 {
		r.CPU = 4000
	}
	if r.Memory == 0 {
		r.Memory = 8 << 30
	}
	if r.Disk == 0 {
		r.Disk = 100 << 30
	}
	return r
}

// stop ends everything, inside of the bubble.
func (r *Region) stop() {
	r.end()
	for _, n := range r.nodes {
		n.PowerOff()
	}
	r.mesh.Crash(frameworkIP)
	r.work.Wait()
	r.net.close()
	for _, s := range r.servers {
		s.Crash()
	}
	time.Sleep(time.Minute) // for what gossip has begun
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.doubles) > 0 {
		r.t.Errorf("ran twice at a time: %s", strings.Join(r.doubles, "; "))
	}
}

// logger logs to stderr when PROFFER_TEST_LOG is set.
func logger(who string) *slog.Logger {
	if os.Getenv("PROFFER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("host", who)
}

func (r *Region) check(err error) {
	if err != nil {
		r.t.Helper()
		r.t.Fatal(err)
	}
}

// Until lets time pass until cond holds, and fails the test when it does not within ten minutes.
func (r *Region) Until(what string, cond func() bool) {
	r.t.Helper()
	for range 12_000 {
		if cond() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("it never came: %s\n%s", what, r.describe())
}

// describe is for failures.
func (r *Region) describe() string {
	var out strings.Builder
	snap := r.snapshot()
	for n := range snap.Nodes() {
		fmt.Fprintf(&out, "node %s is %s: %s\n", n.Name, n.Status, n.Reason)
	}
	for f := range snap.Frameworks() {
		fmt.Fprintf(&out, "framework %s %s, connected by %q\n", f.Name, f.ID, structs.Short(f.Connection))
	}
	for a := range snap.Allocs() {
		fmt.Fprintf(&out, "  alloc %s on %s: wanted %s, %s %s\n", structs.Short(a.ID), a.NodeName, a.Desired, a.Status, a.Why)
	}
	for _, p := range r.Running() {
		fmt.Fprintf(&out, "  %s runs on %s: %s\n", p.Task, p.Node.Name(), strings.Join(p.Args, " "))
	}
	return out.String()
}

// Leader waits for a server that leads, and returns it.
func (r *Region) Leader() (leader *Server) {
	r.t.Helper()
	for range 12_000 {
		for _, s := range r.servers {
			if x := s.get(); x != nil && x.Raft().Leader().Self {
				return s
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatal("there is no leader")
	return nil
}

// snapshot is the state as the first server that is up knows it, the one that leads if there is one.
func (r *Region) snapshot() *state.Snapshot {
	for _, lead := range []bool{true, false} {
		for _, s := range r.servers {
			if x := s.get(); x != nil && (!lead || x.Raft().Leader().Self) {
				return x.Store().Snapshot()
			}
		}
	}
	return state.New().Snapshot()
}

// propose commits a command, and tries again with the same key while there is no leader.
func (r *Region) propose(cmd state.Command) {
	r.t.Helper()
	key := structs.NewID()
	for range 1000 {
		for _, s := range r.servers {
			x := s.get()
			if x == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
			_, _, err := x.Propose(ctx, key, "test", cmd)
			cancel()
			switch structs.KindOf(err) {
			case "":
				return
			case structs.Unavailable, structs.Unknown:
			default:
				r.t.Fatalf("%s: %v", cmd.Kind(), err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("%s: there is no leader", cmd.Kind())
}

// Server returns one of the servers, from 0.
func (r *Region) Server(i int) *Server { return r.servers[i] }

// Node returns one of the nodes, from 0.
func (r *Region) Node(i int) *Node { return r.nodes[i] }

// NodeOf returns the node with an id, as offers name it; nil: there is none.
func (r *Region) NodeOf(id string) *Node {
	for _, n := range r.nodes {
		if n.ID() == id {
			return n
		}
	}
	return nil
}

// Client returns a client of the region's own API, as schedulers use it for variables and for elections. It asks server i.
func (r *Region) Client(i int) *api.Client {
	c, err := api.New(api.Config{Address: r.servers[i].address(), Token: token, Transport: r.net.plain})
	r.check(err)
	return c
}
