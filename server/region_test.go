package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// region is a whole region in one process, on the clock of a bubble: real servers, gossip, RPC and sessions over a network
// in memory, with nodes that run their tasks in a map.
type region struct {
	t       *testing.T
	mesh    *cluster.Mesh
	servers []*host
	nodes   []*node
	witness *witness

	// Of servers that start from now on; 0: the default.
	entryBytes int
	queueBytes int
	lease      time.Duration
	nodeAge    time.Duration
	orphanAge  time.Duration
	replaces   func(old, new *structs.Job, group string) bool // nil: always
	policies   map[string]allocator.Policy
	plugins    map[string]*structs.NodePlugin // of each node
}

// host is the machine of one server. Its disk outlives the process.
type host struct {
	region *region
	ip     string
	disk   *raft.InmemStore
	snaps  *raft.InmemSnapshotStore
	writes gate
	id     string
	keys   string        // file of its keys
	level  int           // the newest feature level that it knows
	port   *cluster.Port // nil: down
	rpc    *rpc.Server
	pool   *rpc.Pool
	gossip *gossip.Pool
	net    *raft.NetworkTransport
	server *server.Server // nil: down, or there is none
}

// gate holds up whoever passes while it is closed.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // nil: it is open
}

func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.open)
		g.open = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	if open != nil {
		<-open
	}
}

// gatedLogs is a disk that can be made slow.
type gatedLogs struct {
	*raft.InmemStore
	writes *gate
}

func (l gatedLogs) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l gatedLogs) StoreLogs(logs []*raft.Log) error {
	l.writes.pass()
	return l.InmemStore.StoreLogs(logs)
}

func newRegion(t *testing.T, servers, nodes int, change ...func(*region)) *region {
	r := &region{t: t, mesh: cluster.NewMesh(), witness: &witness{running: map[string]*node{}}}
	for _, f := range change {
		f(r)
	}
	for range servers {
		r.machine().start(servers)
	}
	for range nodes {
		r.addNode("")
	}
	t.Cleanup(r.stop)
	return r
}

// machine adds the machine of a server, which is not started.
func (r *region) machine() *host {
	i := len(r.servers)
	h := &host{region: r, ip: fmt.Sprintf("10.0.0.%d", i+1), disk: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore(),
		id: fmt.Sprintf("%032d", i+1), level: state.FeatureLevel, keys: filepath.Join(r.t.TempDir(), "keys.json")}
	r.servers = append(r.servers, h)
	return h
}

// addNode boots one more node, which asks only one server, or all when only is empty.
func (r *region) addNode(only string) *node {
	i := len(r.nodes)
	n := &node{region: r, ip: fmt.Sprintf("10.0.1.%d", i+1), name: fmt.Sprintf("node%d", i+1), only: only,
		id: structs.NodeID(fmt.Sprintf("%032x", 0xa0+i)), allocs: map[structs.AllocID]*work{}, renewed: make(chan struct{}, 1)}
	r.nodes = append(r.nodes, n)
	n.start()
	return n
}

func logger(name string) *slog.Logger {
	if os.Getenv("PROFFER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", name)
}

func (r *region) ip() (all []string) {
	for _, h := range r.servers {
		all = append(all, h.ip)
	}
	return all
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect opens the network of a server process, and its gossip.
func (h *host) connect(expect int) {
	t, log := h.region.t, logger(h.ip)
	var err error
	h.port, err = cluster.Listen(cluster.Config{Network: h.region.mesh.Host(h.ip), Bind: h.ip + ":5052", Region: "global", Logger: log})
	check(t, err)
	h.rpc = rpc.NewServer(rpc.Options{Logger: log})
	h.pool = rpc.NewPool(h.port.DialRPC, rpc.Options{Logger: log})
	h.gossip, err = gossip.Start(gossip.Config{Transport: h.port.GossipTransport(), Logger: log, Local: gossip.Member{
		Name: "server" + h.ip, ID: h.id, Role: gossip.RoleServer, Region: "global", Datacenter: "dc1", Addr: h.port.Addr(),
		FeatureMin: 0, FeatureMax: h.level, Expect: expect}})
	check(t, err)
}

// start boots the server process on its disk.
func (h *host) start(expect int) {
	h.connect(expect)
	t, log := h.region.t, logger(h.ip)
	var err error
	h.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: h.port.RaftLayer(), MaxPool: 3,
		Timeout: 10 * time.Second, Logger: consensus.RaftLogger(log)})
	h.server, err = server.Start(server.Config{
		ID: h.id, Name: h.ip, Region: "global", Datacenter: "dc1", Address: h.port.Addr(), Expect: expect, KeyFile: h.keys,
		Transport: h.net, RPC: h.rpc, Pool: h.pool, Gossip: h.gossip, Logger: log, Lease: h.region.lease, NodeAge: h.region.nodeAge,
		OrphanAge: h.region.orphanAge,
		Replaces: func(old, new *structs.Job, group string) bool {
			return h.region.replaces == nil || h.region.replaces(old, new, group)
		},
		Policies: h.region.policies,
		Raft: func(c *consensus.Config) {
			c.Logs, c.Stable, c.Snapshots = gatedLogs{h.disk, &h.writes}, h.disk, h.snaps
			c.EntryBytes, c.QueueBytes = h.region.entryBytes, h.region.queueBytes
		},
	})
	check(t, err)
	h.join()
}

// pretend boots a process that is a server for gossip and answers with its census as it is told, and does nothing else.
func (h *host) pretend(expect int, answer func() *census) {
	h.connect(expect)
	rpc.Handle(h.rpc, "Server.Census", func(context.Context, *struct{}) (*census, error) { return answer(), nil })
	h.join()
}

// census is what a server says that waits to be bootstrapped.
type census struct {
	Fresh  bool
	Expect int
	IDs    []string
}

// join takes calls, and meets the others.
func (h *host) join() {
	serving := h.rpc
	listener := h.port.Listener(cluster.RPC)
	go serving.Serve(listener)
	var others []string
	for _, o := range h.region.servers {
		if o != h && o.port != nil {
			others = append(others, o.port.Addr())
		}
	}
	if len(others) > 0 {
		h.gossip.Join(context.Background(), others)
	}
}

// crash ends the process as kill -9 would: nobody hears of it from the process itself.
func (h *host) crash() {
	if h.port == nil {
		return
	}
	h.region.mesh.Crash(h.ip)
	h.down()
}

// leave ends the process in order, as SIGTERM does.
func (h *host) leave() {
	h.rpc.Close()
	h.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	h.gossip.Leave(ctx)
	h.disconnect()
}

func (h *host) down() {
	h.rpc.Close()
	if h.server != nil {
		h.server.Kill()
	}
	h.disconnect()
}

func (h *host) disconnect() {
	h.gossip.Close()
	if h.net != nil {
		h.net.Close()
	}
	h.pool.Close()
	h.port.Close()
	h.port, h.server = nil, nil
}

// stop ends everything, inside of the bubble.
func (r *region) stop() {
	for _, n := range r.nodes {
		n.powerOff()
	}
	for _, h := range r.servers {
		if h.port != nil {
			h.down()
		}
	}
	time.Sleep(time.Minute) // for what memberlist has begun
}

// leader waits for a server that leads.
func (r *region) leader() *host {
	var found *host
	r.eventually("a leader", func() bool {
		for _, h := range r.servers {
			if h.server != nil && h.server.Raft().Leader().Self {
				found = h
				return true
			}
		}
		return false
	})
	return found
}

// eventually lets the time of the bubble pass until cond holds, up to ten minutes of it.
func (r *region) eventually(what string, cond func() bool) {
	r.t.Helper()
	for range 6000 {
		if cond() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("never came: %s\n%s", what, r.describe())
}

// describe is for failures.
func (r *region) describe() (out string) {
	for _, h := range r.servers {
		if h.server == nil {
			out += h.ip + " down\n"
			continue
		}
		snap := h.server.Store().Snapshot()
		out += fmt.Sprintf("%s leader=%v index=%d\n", h.ip, h.server.Raft().Leader(), snap.Index())
		for n := range snap.Nodes() {
			out += fmt.Sprintf("  node %s %s incarnation %d\n", n.Name, n.Status, n.Incarnation)
		}
		for j := range snap.Jobs() {
			out += fmt.Sprintf("  job %s %s %q\n", j.Name, j.Status, j.Why)
		}
		for a := range snap.Allocs() {
			out += fmt.Sprintf("    alloc %s %s[%d] on %s: wanted %s, %s %s\n", structs.Short(a.ID), a.Group, a.Index, a.NodeName, a.Desired, a.Status, a.Why)
		}
		break
	}
	return out
}

// propose commits a command through any server, and tries again with the same key while there is no leader.
func (r *region) propose(cmd state.Command) any {
	r.t.Helper()
	key := structs.NewID()
	for {
		for _, h := range r.servers {
			if h.server == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			answer, _, err := h.server.Propose(ctx, key, "test", cmd)
			cancel()
			if err == nil {
				return answer
			}
			if kind := structs.KindOf(err); kind != structs.Unavailable && kind != structs.Unknown {
				r.t.Fatalf("%s: %v", cmd.Kind(), err)
			}
		}
	}
}

// ready waits until all nodes are: what is placed before is on those that were first.
func (r *region) ready() {
	r.t.Helper()
	r.eventually("all nodes are ready", func() bool {
		n := 0
		for x := range r.leader().server.Store().Snapshot().Nodes() {
			if x.Status == structs.NodeReady {
				n++
			}
		}
		return n == len(r.nodes)
	})
}

// running counts the allocations of a job that the state says are wanted and running.
func (r *region) running(job string) (n int) {
	for a := range r.leader().server.Store().Snapshot().AllocsOfJob(job) {
		if a.Desired == structs.DesiredRun && a.Status == structs.AllocRunning {
			n++
		}
	}
	return n
}

func job(name, kind string, count int, change ...func(*structs.Job)) *structs.Job {
	j := &structs.Job{Name: name, Type: kind, Groups: []*structs.Group{{Name: "g", Count: &count,
		Tasks: []*structs.Task{{Name: "t", Driver: "mock", Config: map[string]any{}, Resources: &structs.TaskResources{CPU: 100, Memory: 16 << 20}}}}}}
	for _, f := range change {
		f(j)
	}
	j.Canonicalize()
	return j
}

// node is a machine that runs its tasks in a map. Its session is the real one.
type node struct {
	region *region
	ip     string
	name   string
	id     structs.NodeID
	only   string // the only server that it asks; empty: all
	port   *cluster.Port
	pool   *rpc.Pool
	up     *session.Client
	end    context.CancelFunc
	done   chan struct{}

	leaving sync.WaitGroup

	mu         sync.Mutex
	allocs     map[structs.AllocID]*work
	jobs       map[jobVersion]*structs.Job // that were sent in this session
	generation string                      // that its work belongs to
	welcome    string                      // that of the session
	server     string                      // of the session; empty: there is none
	length     time.Duration               // of its lease
	lost       int                         // sessions
	index      uint64
	until      session.Instant
	renewed    chan struct{} // until moved
	slow       bool          // what is to end goes on

	items map[session.Ref]*session.Item // newest of each
	sent  int                           // items that came
}

type jobVersion struct {
	name    string
	version uint64
}

// work is one allocation on a node.
type work struct {
	alloc  *structs.Allocation
	status structs.AllocStatus
	key    string

	quarantined bool
	stopping    bool
	killed      bool
}

// witness stands outside the cluster: it knows which task runs where, whatever the region believes.
type witness struct {
	mu      sync.Mutex
	running map[string]*node // by job and index
	doubles []string
	began   []string
}

func (w *witness) start(key string, n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.running[key]; other != nil && other != n {
		w.doubles = append(w.doubles, fmt.Sprintf("%s on %s and %s", key, other.name, n.name))
	}
	w.running[key] = n
	w.began = append(w.began, key)
}

func (w *witness) stop(key string, n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[key] == n {
		delete(w.running, key)
	}
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running)
}

type bubbleClock struct{ start time.Time }

func (c bubbleClock) Now() session.Instant { return session.Instant(time.Since(c.start)) }

var clock = bubbleClock{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}

func (n *node) start() {
	t, log := n.region.t, logger(n.name)
	var err error
	n.port, err = cluster.Listen(cluster.Config{Network: n.region.mesh.Host(n.ip), Bind: n.ip + ":5052", Region: "global", Logger: log})
	check(t, err)
	n.pool = rpc.NewPool(n.port.DialRPC, rpc.Options{Logger: log})
	n.up = session.New(session.Config{
		Node: n, Clock: clock, Logger: log,
		Servers: func() []string {
			var addrs []string
			for _, h := range n.region.servers {
				addrs = append(addrs, h.ip+":5052")
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.only != "" {
				addrs = []string{n.only + ":5052"}
			}
			return addrs
		},
		Dial: func(ctx context.Context, addr string) (session.Stream, error) {
			return n.pool.Stream(ctx, addr, session.Method, nil)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	n.end, n.done = cancel, make(chan struct{})
	go func() {
		defer close(n.done)
		var helpers sync.WaitGroup
		helpers.Go(func() { n.fence(ctx) })
		n.up.Run(ctx)
		cancel() // it left, or is gone
		helpers.Wait()
	}()
}

// powerOff ends the machine: its tasks are gone at once.
func (n *node) powerOff() {
	if n.end == nil {
		return
	}
	n.region.mesh.Crash(n.ip)
	n.end()
	<-n.done
	n.leaving.Wait()
	n.pool.Close()
	n.port.Close()
	n.end = nil
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		n.region.witness.stop(w.key, n)
	}
	clear(n.allocs)
	n.index = 0
}

func (n *node) Hello() *session.Hello {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &session.Hello{Region: "global", Generation: n.generation, Index: n.index, Work: len(n.allocs), Node: &structs.Node{
		ID: n.id, Name: n.name, Datacenter: "dc1", Address: n.ip + ":5052", Version: "test",
		Resources: structs.Resources{CPU: 8000, Memory: 16 << 30, Disk: 100 << 30}, PortRange: structs.Range{First: 20000, Last: 32000},
		Drivers: map[string]*structs.Driver{"mock": {Healthy: true}}, Hosts: []string{n.ip}, Plugins: n.region.plugins,
	}}
}

func (n *node) Welcome(w *session.Welcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.welcome, n.server, n.length = w.Generation, w.Server, w.Lease.Std()
	n.jobs = map[jobVersion]*structs.Job{}
	if len(n.allocs) == 0 {
		n.generation = w.Generation
	}
	return nil
}

func (n *node) Observed() (out []*structs.AllocUpdate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		out = append(out, n.update(w))
	}
	return out
}

func (n *node) update(w *work) *structs.AllocUpdate {
	u := &structs.AllocUpdate{ID: w.alloc.ID, Incarnation: w.alloc.Incarnation, Status: w.status, Time: structs.At(time.Now())}
	if w.alloc.External != nil && w.status != structs.AllocPending {
		u.Tasks = map[string]*structs.TaskState{}
		for _, x := range w.alloc.External.Tasks {
			t := &structs.TaskState{Status: structs.TaskRunning, Started: 1}
			switch {
			case w.status == structs.AllocComplete && w.killed, x.Kill != nil, x.TakenBack != "":
				t.Status = structs.TaskKilled
			case w.status == structs.AllocComplete:
				t.Status = structs.TaskFinished
			}
			u.Tasks[x.Name] = t
		}
	}
	return u
}

// finish ends the work of an allocation well.
func (n *node) finish(id structs.AllocID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.allocs[id]
	w.status = structs.AllocComplete
	n.region.witness.stop(w.key, n)
	n.up.Observe(n.update(w))
}

func (n *node) Desired(d *session.Desired) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index = d.Index
	for _, j := range d.Jobs {
		n.jobs[jobVersion{j.Job.Name, j.Version}] = j.Job
	}
	for _, a := range d.Allocs {
		w := n.allocs[a.ID]
		switch {
		case w == nil && a.Desired == structs.DesiredRun && !a.Ended():
			w = &work{alloc: a, status: structs.AllocPending, key: fmt.Sprintf("%s/%s/%d", a.Job, a.Group, a.Index)}
			if a.External != nil {
				w.key = string(a.ID)
			}
			n.allocs[a.ID] = w
			n.begin(w)
		case w != nil && a.Desired == structs.DesiredStop && !w.status.Ended():
			n.kill(w)
		case w != nil && a.External != nil && !w.status.Ended(): // more tasks
			w.alloc = a
			n.up.Observe(n.update(w))
		case w == nil && a.Desired == structs.DesiredStop && !a.Ended():
			n.up.Observe(n.update(&work{alloc: a, status: structs.AllocComplete}))
		}
	}
	for _, id := range d.Gone {
		delete(n.allocs, id)
	}
	if d.Full {
		n.absent(d)
	}
}

// absent decides, as the real node does, about what a full state does not name.
func (n *node) absent(d *session.Desired) {
	view := client.View{Held: map[structs.AllocID]client.Held{}, Ended: map[structs.AllocID]bool{}, Same: n.generation == n.welcome}
	for id, w := range n.allocs {
		if !w.status.Ended() {
			view.Held[id] = client.Held{Alloc: w.alloc, Quarantined: w.quarantined}
		}
	}
	todo := client.Decide(view, d)
	for _, e := range todo.Stop {
		if e.Alloc == nil {
			n.kill(n.allocs[e.ID])
		}
	}
	for _, id := range todo.Quarantine {
		n.allocs[id].quarantined = true
	}
	if d.Confirmed {
		n.generation = n.welcome
	}
}

// begin starts work that is pending; fenced work needs a lease and waits for it.
func (n *node) begin(w *work) {
	if w.status != structs.AllocPending || (w.alloc.OnLost == "fence" && time.Duration(n.until) <= time.Since(clock.start)) {
		return
	}
	w.status = structs.AllocRunning
	n.region.witness.start(w.key, n)
	if w.alloc.Framework == structs.BatchJob && !w.alloc.Gang {
		w.status = structs.AllocComplete
		n.region.witness.stop(w.key, n)
	}
	n.up.Observe(n.update(w))
}

func (n *node) kill(w *work) {
	if w.stopping = true; n.slow {
		return
	}
	w.status, w.killed = structs.AllocComplete, true
	n.region.witness.stop(w.key, n)
	n.up.Observe(n.update(w))
}

// slowly has what is to end go on until it is called with false.
func (n *node) slowly(slow bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow = slow
	for _, w := range n.allocs {
		if w.stopping && !w.status.Ended() {
			n.kill(w)
		}
	}
}

func (n *node) Lease(until session.Instant) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until = max(n.until, until)
	select {
	case n.renewed <- struct{}{}:
	default:
	}
	for _, w := range n.allocs {
		n.begin(w)
	}
}

func (n *node) Items(items []*session.Item) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.items == nil {
		n.items = map[session.Ref]*session.Item{}
	}
	for _, i := range items {
		n.items[i.Ref] = i
		n.sent++
	}
}

func (n *node) MarkedGone(*session.Gone) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		if !w.status.Ended() {
			n.kill(w)
		}
	}
	up := n.up
	n.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		up.Leave(ctx)
	})
	return true
}

func (n *node) Lost(error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = ""
	n.lost++
}

// text returns what the node knows as the text of a version of a job.
func (n *node) text(name string, version uint64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if j := n.jobs[jobVersion{name, version}]; j != nil {
		return j.Groups[0].Tasks[0].Config["text"].(string)
	}
	return ""
}

// session says with which server there is one, how many ended, and whether the lease holds.
func (n *node) session() (server string, lost int, leased bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server, n.lost, time.Duration(n.until) > time.Since(clock.start)
}

// fence stops fenced work when the lease ends.
func (n *node) fence(ctx context.Context) {
	for {
		n.mu.Lock()
		left := time.Duration(n.until) - time.Since(clock.start)
		if left <= 0 {
			left = time.Hour // until there is a lease again
			for _, w := range n.allocs {
				if w.alloc.OnLost == "fence" && w.status == structs.AllocRunning {
					n.kill(w)
				}
			}
		}
		n.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-n.renewed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

func TestServiceIsPlacedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 3)
		r.propose(&state.SubmitJob{Job: job("web", "service", 6)})
		r.eventually("six running", func() bool { return r.running("web") == 6 })
		r.nodes[0].powerOff()
		r.eventually("six running without a node", func() bool {
			lost := r.leader().server.Store().Snapshot().Node(r.nodes[0].id)
			return lost.Status == structs.NodeLost && r.running("web") == 6
		})
		r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 2})
		r.eventually("two running", func() bool { return r.running("web") == 2 && r.witness.count() == 2 })
		r.propose(&state.StopJob{Name: "web"})
		r.eventually("none running", func() bool { return r.witness.count() == 0 })
	})
}

func TestNothingAcknowledgedIsLostWithTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		for round := range 4 {
			name := fmt.Sprintf("job%d", round)
			r.propose(&state.SubmitJob{Job: job(name, "service", 2)})
			old := r.leader()
			old.crash()
			r.eventually("running after the leader's end", func() bool {
				for i := range round + 1 {
					if r.running(fmt.Sprintf("job%d", i)) != 2 {
						return false
					}
				}
				return true
			})
			old.start(3)
		}
		// The servers that came back have it all, too.
		for _, h := range r.servers {
			r.eventually("job3 on "+h.ip, func() bool { return h.server.Store().Snapshot().Job("job3") != nil })
		}
	})
}

func TestFinishedWorkNeverRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2)
		r.propose(&state.SubmitJob{Job: job("once", "batch", 200)})
		done := func() bool {
			j := r.leader().server.Store().Snapshot().Job("once")
			return j != nil && j.Status == structs.JobDone
		}
		r.eventually("done", done)
		// Its allocations leave the state before the job does; then leaders change.
		r.propose(&state.Collect{MaxFinished: -1})
		for range 2 {
			old := r.leader()
			old.crash()
			r.leader()
			old.start(3)
			time.Sleep(time.Minute)
		}
		slices.Sort(r.witness.began)
		if n := len(r.witness.began); n != 200 || len(slices.Compact(r.witness.began)) != 200 {
			t.Fatalf("%d starts of 200 pieces of work", n)
		}
	})
}

// Whatever is cut from whatever, fenced work never runs twice at a time, and in the end all of it runs.
func TestFencedWorkNeverRunsTwice(t *testing.T) {
	cuts := map[string]func(r *region){
		"node from all servers": func(r *region) { r.mesh.Cut([]string{r.nodes[0].ip}, r.ip()) },
		"node from the leader":  func(r *region) { r.mesh.Cut([]string{r.nodes[0].ip}, []string{r.leader().ip}) },
		"node one way":          func(r *region) { r.mesh.CutOneWay([]string{r.nodes[0].ip}, r.ip()) },
		"servers one way":       func(r *region) { r.mesh.CutOneWay(r.ip(), []string{r.nodes[0].ip}) },
		"leader from the others": func(r *region) {
			l := r.leader().ip
			r.mesh.Cut([]string{l}, slices.DeleteFunc(r.ip(), func(ip string) bool { return ip == l }))
		},
		"all servers from each other": func(r *region) {
			for _, h := range r.servers {
				r.mesh.Cut([]string{h.ip}, slices.DeleteFunc(r.ip(), func(ip string) bool { return ip == h.ip }))
			}
		},
		"all nodes from all servers": func(r *region) {
			for _, n := range r.nodes {
				r.mesh.Cut([]string{n.ip}, r.ip())
			}
		},
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegion(t, 3, 3)
				fence := func(j *structs.Job) { j.Groups[0].OnLost = "fence" }
				r.propose(&state.SubmitJob{Job: job("db", "service", 6, fence)})
				r.eventually("six running", func() bool { return r.running("db") == 6 })
				cut(r)
				time.Sleep(time.Minute) // four leases
				r.mesh.Heal()
				r.eventually("six running after the cut", func() bool { return r.running("db") == 6 && r.witness.count() == 6 })
				if len(r.witness.doubles) > 0 {
					t.Fatalf("ran twice: %v", r.witness.doubles)
				}
			})
		})
	}
}

// A service runs elsewhere before it stops; what may never run twice stops first.
func TestDrainMovesWorkAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		r.ready()
		r.propose(&state.SubmitJob{Job: job("web", "service", 4)})
		r.propose(&state.SubmitJob{Job: job("once", "service", 2, func(j *structs.Job) { j.Groups[0].OnLost = structs.OnLostFence })})
		r.eventually("six running", func() bool { return r.running("web") == 4 && r.running("once") == 2 })
		r.propose(&state.SetDrain{Node: r.nodes[0].id, Drain: &structs.Drain{Deadline: structs.At(time.Now().Add(time.Hour))}})
		r.eventually("drained", func() bool {
			snap := r.leader().server.Store().Snapshot()
			n := snap.Node(r.nodes[0].id)
			if n.Drain != nil || n.Eligible {
				return false
			}
			for range snap.HeldOnNode(n.ID) {
				return false
			}
			return r.running("web") == 4 && r.running("once") == 2
		})
		snap := r.leader().server.Store().Snapshot()
		moved := 0
		for _, name := range []string{"web", "once"} {
			for a := range snap.AllocsOfJob(name) {
				next := snap.Alloc(a.Next)
				if next == nil {
					continue
				}
				moved++
				if first := next.Started < a.Modified && next.Started != 0; first != (name == "web") {
					t.Errorf("%s[%d] ended at %s, and what follows runs since %s", name, a.Index, a.Modified, next.Started)
				}
			}
		}
		if moved == 0 {
			t.Error("nothing was on the node")
		}
	})
}

// A window empties its node in time, and gives it back when it has ended.
func TestMaintenanceOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2)
		r.propose(&state.SubmitJob{Job: job("web", "service", 4)})
		r.eventually("four running", func() bool { return r.running("web") == 4 })
		start := structs.At(time.Now().Add(10 * time.Minute))
		id := r.nodes[0].id
		node := func() *structs.Node { return r.leader().server.Store().Snapshot().Node(id) }
		r.propose(&state.SetMaintenance{Node: id, Maintenance: &structs.Maintenance{
			Window: structs.Window{Start: start, Duration: structs.Duration(5 * time.Minute)}, Drain: structs.Duration(2 * time.Minute)}})
		r.propose(&state.SubmitJob{Job: job("later", "service", 3)})
		r.eventually("later running", func() bool { return r.running("later") == 3 })
		for a := range r.leader().server.Store().Snapshot().AllocsOfJob("later") {
			if a.Node == id {
				t.Error("work without an end is placed on a node that will not be there")
			}
		}
		time.Sleep(7 * time.Minute)
		if !node().Schedulable() {
			t.Error("it takes no work long before its window")
		}
		for _, h := range r.servers {
			list, err := h.server.Maintenance(context.Background())
			check(t, err)
			if len(list) != 1 || list[0].State != structs.MaintenanceScheduled {
				t.Errorf("%s: %+v", h.ip, list)
			}
		}
		time.Sleep(2*time.Minute + 55*time.Second)
		for range r.leader().server.Store().Snapshot().HeldOnNode(id) {
			t.Error("something is left on the node at the start of its window")
		}
		r.eventually("all running elsewhere", func() bool { return r.running("web") == 4 && r.running("later") == 3 })
		list, err := r.servers[0].server.Maintenance(context.Background())
		check(t, err)
		if len(list) != 1 || list[0].State != structs.MaintenanceDown {
			t.Errorf("in its window: %+v", list)
		}
		time.Sleep(4 * time.Minute)
		if node().Schedulable() {
			t.Error("it takes work in its window")
		}
		time.Sleep(2 * time.Minute)
		if n := node(); !n.Schedulable() || n.Maintenance != nil {
			t.Errorf("after its window: %+v", n)
		}
	})
}

// The leader offers resources to external frameworks that are connected, says how they stand on every server, and names
// the one that does not answer.
func TestFrameworksAreOfferedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 6)
		spark := structs.Framework{ID: "fe01", Name: "spark", Roles: []string{"eng"}, Connected: true,
			Terms: map[string]*structs.OfferTerms{"eng": {Where: [][]*structs.Constraint{{{Attribute: "${node.name}", Operator: "!=", Value: r.nodes[0].name}}}}}}
		framework := func() *structs.Framework { return r.leader().server.Store().Snapshot().Framework("fe01") }
		ctx := context.Background()
		r.propose(&state.PutFramework{Framework: &spark})
		r.eventually("offers", func() bool {
			offers, err := r.servers[0].server.Offers(ctx)
			return err == nil && len(offers) == 5 && !slices.ContainsFunc(offers, func(o *structs.Offer) bool { return o.Node == r.nodes[0].id })
		})
		for _, h := range r.servers {
			s, err := h.server.OfferStatus(ctx, "fe01")
			check(t, err)
			if s.Outstanding != 5 || len(s.Roles) != 1 || len(s.Roles[0].Hidden) == 0 {
				t.Errorf("%s: %+v", h.ip, s)
			}
		}
		if _, err := r.servers[0].server.OfferStatus(ctx, "service"); structs.KindOf(err) != structs.NotFound {
			t.Errorf("offers of a built-in framework: %v", err)
		}
		r.eventually("it is named", func() bool { return framework().Hoarding != nil })
		gone := spark
		gone.Connected = false
		r.propose(&state.PutFramework{Framework: &gone})
		r.eventually("no offers", func() bool {
			offers, err := r.servers[0].server.Offers(ctx)
			return err == nil && len(offers) == 0
		})
	})
}

func TestReadsAndWritesThroughAnyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		leader := r.leader()
		for i, h := range r.servers {
			ctx := context.Background()
			name := fmt.Sprintf("role%d", i)
			_, _, err := h.server.Propose(ctx, "", "test", &state.PutRole{Role: &structs.Role{Name: name, Weight: 1000}})
			check(t, err)
			for _, other := range r.servers {
				snap, err := other.server.Read(ctx, false)
				check(t, err)
				if snap.Role(name) == nil {
					t.Fatalf("%s does not show what %s acknowledged", other.ip, h.ip)
				}
			}
			// An error keeps its kind on the way.
			_, _, err = h.server.Propose(ctx, "", "test", &state.StopJob{Name: "nobody"})
			if structs.KindOf(err) != structs.NotFound {
				t.Fatalf("through %s (leader %s): %v", h.ip, leader.ip, err)
			}
		}
	})
}
