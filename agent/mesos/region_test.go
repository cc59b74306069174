package mesos_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	agenthttp "github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// token is what requests must carry; who asks is the user beside it.
const token = "secret"

// region is a region in one process, on the clock of a bubble: servers with their HTTP service and nodes, over a network in memory.
type region struct {
	t       testing.TB
	mesh    *cluster.Mesh
	servers []*host
	nodes   []*node
	witness *witness
}

// host is the machine of one server. Its disk outlives the process.
type host struct {
	region *region
	ip, id string
	keys   string
	disk   *raft.InmemStore
	snaps  *raft.InmemSnapshotStore

	port   *cluster.Port // nil: down, as all that follows
	rpc    *rpc.Server
	pool   *rpc.Pool
	gossip *gossip.Pool
	net    *raft.NetworkTransport
	server *server.Server
	end    context.CancelFunc // of the HTTP service
	served chan struct{}
}

// bubble runs a test in a region of so many servers and nodes.
func bubble(t *testing.T, servers, nodes int, test func(r *region)) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{t: t, mesh: cluster.NewMesh(), witness: newWitness()}
		t.Cleanup(r.stop)
		for i := range servers {
			h := &host{region: r, ip: fmt.Sprintf("10.0.0.%d", i+1), id: fmt.Sprintf("%032d", i+1), disk: raft.NewInmemStore(),
				snaps: raft.NewInmemSnapshotStore(), keys: filepath.Join(t.TempDir(), "keys.json")}
			r.servers = append(r.servers, h)
		}
		for _, h := range r.servers {
			h.start()
		}
		for i := range nodes {
			n := &node{region: r, ip: fmt.Sprintf("10.0.1.%d", i+1), name: fmt.Sprintf("node%d", i+1),
				id: structs.NodeID(fmt.Sprintf("%032x", 0xa0+i)), allocs: map[structs.AllocID]*work{}}
			r.nodes = append(r.nodes, n)
			n.start()
		}
		r.leader()
		r.eventually("every node is ready", func() bool {
			ready := 0
			for n := range r.snapshot().Nodes() {
				if n.Status == structs.NodeReady {
					ready++
				}
			}
			return ready == nodes
		})
		test(r)
	})
}

func logger(name string) *slog.Logger {
	if os.Getenv("PROFFER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", name)
}

func (r *region) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// start boots the server process on its disk.
func (h *host) start() {
	r, log := h.region, logger(h.ip)
	network := r.mesh.Host(h.ip)
	var err error
	h.port, err = cluster.Listen(cluster.Config{Network: network, Bind: h.ip + ":5052", Region: "global", Logger: log})
	r.check(err)
	h.rpc = rpc.NewServer(rpc.Options{Logger: log})
	h.pool = rpc.NewPool(h.port.DialRPC, rpc.Options{Logger: log})
	h.gossip, err = gossip.Start(gossip.Config{Transport: h.port.GossipTransport(), Logger: log, Local: gossip.Member{
		Name: "server" + h.ip, ID: h.id, Role: gossip.RoleServer, Region: "global", Datacenter: "dc1", Addr: h.port.Addr(),
		FeatureMax: state.FeatureLevel, Expect: len(r.servers)}})
	r.check(err)
	h.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: h.port.RaftLayer(), MaxPool: 3,
		Timeout: 10 * time.Second, Logger: consensus.RaftLogger(log)})
	h.server, err = server.Start(server.Config{ID: h.id, Name: h.ip, Region: "global", Datacenter: "dc1", Address: h.port.Addr(),
		HTTP: h.ip + ":5050", Expect: len(r.servers), KeyFile: h.keys, Transport: h.net, RPC: h.rpc, Pool: h.pool, Gossip: h.gossip, Logger: log,
		Replaces: func(_, _ *structs.Job, _ string) bool { return true },
		Raft:     func(c *consensus.Config) { c.Logs, c.Stable, c.Snapshots = h.disk, h.disk, h.snaps },
	})
	r.check(err)
	serving, listener := h.rpc, h.port.Listener(cluster.RPC)
	go serving.Serve(listener)
	var others []string
	for _, o := range r.servers {
		if o != h && o.port != nil {
			others = append(others, o.port.Addr())
		}
	}
	if len(others) > 0 {
		h.gossip.Join(context.Background(), others)
	}
	ln, err := network.Listen(h.ip + ":5050")
	r.check(err)
	about := func() operator.About { return operator.About{Region: "global", Name: h.ip, Version: "test"} }
	service := agenthttp.New(agenthttp.Options{Token: token, Log: log, Mesos: &mesos.Scheduler{Region: h.server, Name: "global", Zone: "dc1", Log: log},
		Tools: operator.NewServers(h.server, about, log)})
	ctx, end := context.WithCancel(context.Background())
	h.end, h.served = end, make(chan struct{})
	go func() {
		defer close(h.served)
		service.Serve(ctx, ln)
	}()
}

// crash ends the process as kill -9 would: nobody hears of it from the process itself.
func (h *host) crash() {
	if h.port == nil {
		return
	}
	h.region.mesh.Crash(h.ip)
	h.down()
}

func (h *host) down() {
	h.end()
	h.rpc.Close()
	h.server.Kill()
	<-h.served
	h.gossip.Close()
	h.net.Close()
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
func (r *region) leader() (found *host) {
	r.t.Helper()
	r.eventually("a leader", func() bool {
		found = r.leads()
		return found != nil
	})
	return found
}

func (r *region) leads() *host {
	for _, h := range r.servers {
		if h.server != nil && h.server.Raft().Leader().Self {
			return h
		}
	}
	return nil
}

func (r *region) follower() *host {
	leader := r.leader()
	for _, h := range r.servers {
		if h.server != nil && h != leader {
			return h
		}
	}
	r.t.Fatal("no server follows")
	return nil
}

// snapshot returns the leader's state.
func (r *region) snapshot() *state.Snapshot { return r.leader().server.Store().Snapshot() }

// pass lets so much time of the bubble pass.
func (r *region) pass(d time.Duration) { time.Sleep(d) }

// eventually lets the time of the bubble pass until cond holds, up to twenty minutes of it.
func (r *region) eventually(what string, cond func() bool) {
	r.t.Helper()
	for range 12000 {
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
			out += h.ip + " is down\n"
			continue
		}
		snap := h.server.Store().Snapshot()
		out += fmt.Sprintf("%s leader=%v index=%d\n", h.ip, h.server.Raft().Leader(), snap.Index())
		if !h.server.Raft().Leader().Self {
			continue
		}
		for n := range snap.Nodes() {
			out += fmt.Sprintf("  node %s %s\n", n.Name, n.Status)
		}
		for f := range snap.Frameworks() {
			if !f.BuiltIn {
				out += fmt.Sprintf("  framework %s connected=%t\n", f.Name, f.Connected)
			}
		}
		for a := range snap.Allocs() {
			out += fmt.Sprintf("  alloc %s of %s on %s: wanted %s, %s %s\n", structs.Short(a.ID), a.Framework, a.NodeName, a.Desired, a.Status, a.Why)
		}
	}
	return out
}
