package frameworktest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	agenthttp "github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/remote"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store/faultdisk"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Node is one machine that runs tasks. Its disk outlives the machine's power, its processes outlive the agent.
type Node struct {
	region    *Region
	number    int
	ip        string
	dir       string
	exec      *exec
	transport *http.Transport // of what runs on it
	random    *rand.Rand

	mu    sync.Mutex
	disk  *faultdisk.Disk
	boots int
	id    string
	live  *agent // nil: there is none
}

// agent is the process that runs tasks.
type agent struct {
	client *client.Client
	port   *cluster.Port
	rpc    *rpc.Server
	pool   *rpc.Pool
	end    context.CancelFunc
	work   sync.WaitGroup
}

type noGPUs struct{}

func (noGPUs) List(context.Context) ([]fingerprint.GPU, error) { return nil, nil }

func (n *Node) prepare() {
	n.ip, n.dir, n.disk = fmt.Sprintf(nodeIP, n.number+1), n.region.t.TempDir(), faultdisk.New()
	n.exec = &exec{node: n, all: map[string]*Process{}}
	n.random = rand.New(rand.NewPCG(uint64(n.number), 1))
	host := n.region.mesh.Host(n.ip)
	n.transport = &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return host.Dial(ctx, addr) },
		DisableCompression: true}
}

// Name returns what the node is called.
func (n *Node) Name() string { return fmt.Sprintf("node%d", n.number+1) }

// ID returns its id, as offers and updates name it.
func (n *Node) ID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

// Boot starts the machine, or its agent, when it is down.
func (n *Node) Boot() {
	r, log := n.region, logger(n.Name())
	r.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.live != nil {
		return
	}
	a := &agent{}
	host := r.mesh.Host(n.ip)
	var err error
	a.port, err = cluster.Listen(cluster.Config{Network: host, Bind: n.ip + ":5052", Region: "global", Logger: log})
	r.check(err)
	a.pool = rpc.NewPool(a.port.DialRPC, rpc.Options{Logger: log})
	a.rpc = rpc.NewServer(rpc.Options{Logger: log})
	var meta map[string]string
	if r.config.Meta != nil {
		meta = r.config.Meta(n.number)
	}
	a.client, err = client.New(context.Background(), client.Config{DataDir: n.dir, Region: "global", Name: n.Name(), Address: n.ip + ":5052", Version: "test",
		Meta: meta, Resources: r.config.Node, Hosts: []string{n.ip}, Drivers: []drivers.Driver{n.exec}, Clock: r.clock, BootID: fmt.Sprint("boot-", n.boots),
		Log: log, GPUs: noGPUs{}, Disk: n.disk, Executors: n.ip + ":5051", GC: client.GC{MaxDiskUsed: 100, DiskFull: 100},
		Connect: func(node session.Node) client.Uplink { return session.New(n.session(node, a)) }})
	r.check(err)
	remote.Serve(a.rpc, a.client)
	rpc.Handle(a.rpc, server.MessageMethod, func(_ context.Context, m *server.ExecutorMessage) (*struct{}, error) {
		x := a.client.Executor(m.Framework, m.Executor)
		if x == nil {
			return nil, structs.Errorf(structs.NotFound, "executor "+m.Executor, "the node does not have it")
		}
		x.Message(m.Data)
		return &struct{}{}, nil
	})
	listener := a.port.Listener(cluster.RPC)
	a.work.Go(func() { a.rpc.Serve(listener) })
	r.check(a.client.Start(context.Background()))
	web, err := host.Listen(n.ip + ":5051")
	r.check(err)
	var ctx context.Context
	ctx, a.end = context.WithCancel(context.Background())
	serving := agenthttp.NewNodePort(agenthttp.NodePortOptions{Log: log, Executors: &mesos.Executors{Node: a.client, Port: 5051, Region: "global", Log: log,
		Message: func(ctx context.Context, framework structs.FrameworkID, executor string, data []byte) error {
			return n.tell(ctx, a, &server.ExecutorMessage{Framework: framework, Node: a.client.Node().ID, Executor: executor, Data: data})
		}}})
	a.work.Go(func() {
		if err := serving.Serve(ctx, web); err != nil && ctx.Err() == nil {
			log.Error("the executor API ended", "err", err)
		}
	})
	n.id, n.live = string(a.client.Node().ID), a
}

func (n *Node) addresses() (all []string) {
	for _, s := range n.region.servers {
		all = append(all, s.ip+":5052")
	}
	return all
}

func (n *Node) session(node session.Node, a *agent) session.Config {
	return session.Config{Node: node, Clock: n.region.clock, Logger: logger(n.Name()), Servers: n.addresses,
		Dial: func(ctx context.Context, addr string) (session.Stream, error) {
			return a.pool.Stream(ctx, addr, session.Method, nil)
		}}
}

// tell passes a message of an executor on to whoever leads.
func (n *Node) tell(ctx context.Context, a *agent, m *server.ExecutorMessage) (err error) {
	for _, addr := range n.addresses() {
		if err = a.pool.Call(ctx, addr, server.ExecutorMessageMethod, m, &struct{}{}); structs.KindOf(err) != structs.Unavailable {
			break
		}
	}
	return err
}

// down ends the agent, and says with what its disk goes on. dead is called once nobody hears of the agent any more.
func (n *Node) down(next func() *faultdisk.Disk, dead func()) {
	n.mu.Lock()
	a := n.live
	n.live = nil
	var disk *faultdisk.Disk
	if a != nil {
		disk = next() // from here on nothing that the agent does is kept
		n.region.mesh.Crash(n.ip)
	}
	n.mu.Unlock()
	dead()
	if a == nil {
		return
	}
	a.end()
	a.client.Stop(context.Background())
	a.rpc.Close()
	a.pool.Close()
	a.port.Close()
	a.work.Wait()
	n.transport.CloseIdleConnections()
	n.mu.Lock()
	n.disk = disk
	n.mu.Unlock()
}

// PowerOff ends the machine without a word: its processes are gone. Boot starts it again, with its disk.
func (n *Node) PowerOff() {
	n.down(func() *faultdisk.Disk {
		n.boots++
		return n.disk.Crash(n.random)
	}, n.exec.powerOff)
	n.exec.powerOff() // what was started meanwhile
}

// KillAgent ends the agent as kill -9 does; its processes run on. Boot starts it again.
func (n *Node) KillAgent() { n.down(func() *faultdisk.Disk { return n.disk.Kill() }, func() {}) }

// Cut separates the machine from all servers, without a word, until Mend.
func (n *Node) Cut() { n.region.mesh.Cut([]string{n.ip}, n.region.serverIPs()) }

// Mend ends a Cut.
func (n *Node) Mend() { n.region.mesh.Mend([]string{n.ip}, n.region.serverIPs()) }

// Drain has the region empty the node: nothing is offered of it, and its tasks are stopped once the deadline passed, or at once when it
// is zero.
func (n *Node) Drain(deadline time.Duration) {
	n.region.t.Helper()
	drain := &structs.Drain{Deadline: structs.At(time.Now().Add(max(deadline, 1)))}
	n.region.propose(&state.SetDrain{Node: structs.NodeID(n.ID()), Drain: drain})
}

// Undrain has the region use the node again.
func (n *Node) Undrain() {
	n.region.t.Helper()
	n.region.propose(&state.SetDrain{Node: structs.NodeID(n.ID()), Eligible: true})
}

func (r *Region) serverIPs() (all []string) {
	for _, s := range r.servers {
		all = append(all, s.ip)
	}
	return all
}
