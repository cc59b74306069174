package frameworktest

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
)

// Server is the machine of one server. What it wrote outlives the process.
type Server struct {
	region *Region
	number int
	ip     string
	disk   *raft.InmemStore
	snaps  *raft.InmemSnapshotStore
	keys   string

	mu   sync.Mutex
	live *process // nil: it is down
}

// process is a server that runs.
type process struct {
	port   *cluster.Port
	rpc    *rpc.Server
	pool   *rpc.Pool
	gossip *gossip.Pool
	net    *raft.NetworkTransport
	server *server.Server
	end    context.CancelFunc // of the HTTP API
	work   sync.WaitGroup
}

func (s *Server) prepare() {
	s.ip = fmt.Sprintf(serverIP, s.number+1)
	s.disk, s.snaps = raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	s.keys = filepath.Join(s.region.t.TempDir(), "keys.json")
}

// address is where its HTTP API is.
func (s *Server) address() string { return s.ip + ":5050" }

func (s *Server) get() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return nil
	}
	return s.live.server
}

// Start boots a server that is down.
func (s *Server) Start() {
	r, log, id := s.region, logger(s.ip), fmt.Sprintf("%032d", s.number+1)
	r.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != nil {
		return
	}
	p := &process{}
	var err error
	host := r.mesh.Host(s.ip)
	p.port, err = cluster.Listen(cluster.Config{Network: host, Bind: s.ip + ":5052", Region: "global", Logger: log})
	r.check(err)
	p.rpc = rpc.NewServer(rpc.Options{Logger: log})
	p.pool = rpc.NewPool(p.port.DialRPC, rpc.Options{Logger: log})
	p.gossip, err = gossip.Start(gossip.Config{Transport: p.port.GossipTransport(), Logger: log, Local: gossip.Member{
		Name: "server" + s.ip, ID: id, Role: gossip.RoleServer, Region: "global", Datacenter: "dc1", Addr: p.port.Addr(),
		FeatureMin: 0, FeatureMax: state.FeatureLevel, Expect: r.config.Servers}})
	r.check(err)
	p.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: p.port.RaftLayer(), MaxPool: 3, Timeout: 10 * time.Second,
		Logger: consensus.RaftLogger(log)})
	p.server, err = server.Start(server.Config{ID: id, Name: s.ip, Region: "global", Datacenter: "dc1", Address: p.port.Addr(), HTTP: s.address(),
		Expect: r.config.Servers, KeyFile: s.keys, Transport: p.net, RPC: p.rpc, Pool: p.pool, Gossip: p.gossip, Logger: log, Replaces: spec.Replaces,
		Raft: func(c *consensus.Config) { c.Logs, c.Stable, c.Snapshots = s.disk, s.disk, s.snaps }})
	r.check(err)
	listener := p.port.Listener(cluster.RPC)
	p.work.Go(func() { p.rpc.Serve(listener) })
	web, err := host.Listen(s.address())
	r.check(err)
	service := http.New(http.Options{Region: &region{p.server}, Token: token, Log: log,
		Mesos: &mesos.Scheduler{Region: p.server, Name: "global", Zone: "dc1", Log: log}})
	var ctx context.Context
	ctx, p.end = context.WithCancel(context.Background())
	p.work.Go(func() {
		if err := service.Serve(ctx, web); err != nil && ctx.Err() == nil && !errors.Is(err, nethttp.ErrServerClosed) {
			log.Error("the HTTP API ended", "err", err)
		}
	})
	var others []string
	for _, o := range r.servers {
		if o != s && o.get() != nil {
			others = append(others, o.ip+":5052")
		}
	}
	if len(others) > 0 {
		joining, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		p.gossip.Join(joining, others)
		cancel()
	}
	s.live = p
}

// Crash ends the process as kill -9 does. Start boots it again, with what it had written.
func (s *Server) Crash() {
	s.mu.Lock()
	p := s.live
	s.live = nil
	s.mu.Unlock()
	if p == nil {
		return
	}
	s.region.mesh.Crash(s.ip)
	p.end()
	p.rpc.Close()
	p.server.Kill()
	p.gossip.Close()
	p.net.Close()
	p.pool.Close()
	p.port.Close()
	p.work.Wait()
}

// StepDown has another server lead, and returns when one does.
func (s *Server) StepDown() {
	s.region.t.Helper()
	ctx, cancel := context.WithTimeout(s.region.ctx, time.Minute)
	defer cancel()
	if x := s.get(); x != nil {
		s.region.check(x.Raft().Transfer(ctx, ""))
	}
	s.region.Until("another server leads", func() bool { return s.region.Leader() != s })
}
