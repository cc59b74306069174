package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/client/remote"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/client/volumes"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/structs"
	"github.com/proffer/proffer/website"
)

// Agent is one running process. Start makes it, Stop ends it.
type Agent struct {
	config  *config.Config // that it started with
	sources *config.Sources
	reload  func() (*config.Config, *config.Sources, error)
	version string
	started time.Time
	id      string // of the member: the Raft id of a server, new at each start otherwise
	logs    *logs
	log     *slog.Logger

	dir       string            // the data folder
	folder    *consensus.Folder // of the server; nil: not a server, or in memory
	keys      *cluster.Keyring
	port      *cluster.Port
	rpc       *rpc.Server
	pool      *rpc.Pool
	gossip    *gossip.Pool
	raftNet   *raft.NetworkTransport
	server    *server.Server     // nil: not a server
	sup       *supervisor.Client // nil: not a client
	client    *client.Client     // nil: not a client
	listener  net.Listener
	executors net.Listener // of the executor API; nil: not a client
	beside    net.Listener // of the executor API, too: a domain socket; nil: there is none
	service   *http.Service
	serving   atomic.Pointer[http.Service] // service, once it can be asked; nil: not yet
	node      *http.NodePort               // nil: not a client
	tunnel    *streamListener              // nil: not a server
	profiles  seccomp.Profiles             // of the node, for its drivers
	metrics   *metrics

	secrets     http.Credentials  // of who uses the APIs of Mesos
	executorKey mesos.ExecutorKey // nil: not a client
	executed    mesos.ExecutorCounts
	askTokens   atomic.Bool // executors must show their tokens
	frameworks  frameworks  // that have something on the node
	passOn      atomic.Bool // calls of schedulers are passed on to the leader

	ctx         context.Context // ends when the agent stops
	end         context.CancelFunc
	work        sync.WaitGroup
	undo        []func(context.Context) // what was started, newest last
	mu          sync.Mutex              // guards live and needRestart
	live        *config.Config          // config with what reloads changed since
	needRestart []string                // settings that a reload could not change
	ended       chan error              // a part cannot go on, and the agent not without it
}

// began registers how to end what was just started.
func (a *Agent) began(end func(context.Context)) { a.undo = append(a.undo, end) }

// start starts everything. The order reads from top to bottom; stop is the reverse of it. After an error, what was
// started has been stopped again.
func (a *Agent) start(ctx context.Context) (err error) {
	a.started = time.Now()
	a.ctx, a.end = context.WithCancel(context.Background())
	a.ended = make(chan error, 1)
	defer func() {
		if err != nil {
			within, cancel := context.WithTimeout(context.Background(), stopWithin)
			defer cancel()
			a.stop(within)
		}
	}()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"open the data folder", a.openFolder},
		{"open the HTTP port", a.openHTTP}, // first of the ports: it is the one most likely to be taken
		{"open the executor port", a.openExecutors},
		{"open the cluster port", a.openCluster},
		{"start gossip", a.startGossip},
		{"start the server", a.startServer},
		{"serve the cluster", a.serveCluster}, // before the client, whose goodbye at the end goes through it
		{"start the client", a.startClient},
		{"serve executors", a.serveExecutors},
		{"serve the HTTP API", a.serveHTTP},
		{"join the cluster", a.join},
	} {
		if ctx.Err() != nil {
			return errors.New("it was told to stop")
		}
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("cannot %s: %w", step.what, err)
		}
	}
	a.work.Go(func() { giveMemoryBack(a.ctx) })
	return nil
}

// stop ends everything in the reverse order, each part within what ctx leaves.
func (a *Agent) stop(ctx context.Context) {
	a.end()
	for i := len(a.undo) - 1; i >= 0; i-- {
		a.undo[i](ctx)
	}
	a.undo = nil
	a.work.Wait()
}

func (a *Agent) openFolder(context.Context) error {
	path := a.config.DataDir
	if path == "" { // -dev
		tmp, err := os.MkdirTemp("", "proffer-dev-")
		if err != nil {
			return err
		}
		if err := os.Chmod(tmp, 0o755); err != nil { // tasks of other users live below it
			return err
		}
		path = tmp
		a.began(func(context.Context) {
			if err := os.RemoveAll(tmp); err != nil {
				a.log.Warn("cannot remove the temporary folder", "path", tmp, "err", err)
			}
		})
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return structs.Errorf(structs.Unavailable, "data folder "+path, "it cannot be made: %w", err).
			Advise("make it writable for the agent's user, or choose another with -data-dir")
	}
	a.dir, a.id = path, structs.NewID()
	if !a.config.IsServer() || a.config.Dev {
		return nil
	}
	f, err := consensus.OpenFolder(a.sub("server"), a.config.Region)
	if err != nil {
		return err
	}
	a.folder, a.id = f, f.ID
	a.began(func(context.Context) { f.Close() })
	return nil
}

// sub returns the path of a part of the data folder.
func (a *Agent) sub(name string) string { return filepath.Join(a.dir, name) }

func (a *Agent) openCluster(context.Context) error {
	if len(a.config.Encrypt) > 0 {
		var keys []string
		for _, k := range a.config.Encrypt {
			keys = append(keys, k.Reveal())
		}
		ring, err := cluster.OpenKeyring(a.sub("keyring"), keys...)
		if err != nil {
			return err
		}
		a.keys = ring
	}
	log := a.log.With("part", "cluster")
	port, err := cluster.Listen(cluster.Config{
		Bind: a.config.ClusterAddress(), Advertise: a.config.Advertise,
		Region: a.config.Region, ID: a.id, Keys: a.keys, Logger: log,
	})
	if err != nil {
		return err
	}
	a.port = port
	a.began(func(context.Context) { port.Close() })
	a.pool = rpc.NewPool(port.DialRPC, rpc.Options{Logger: log})
	a.began(func(context.Context) { a.pool.Close() })
	a.rpc = rpc.NewServer(rpc.Options{Logger: log})
	return nil
}

func (a *Agent) startGossip(context.Context) error {
	local := gossip.Member{
		Name: a.config.NodeName, ID: a.id, Role: gossip.RoleClient, Region: a.config.Region,
		Datacenter: a.config.Datacenter, Addr: a.port.Addr(), FeatureMin: 1, FeatureMax: featureLevel, Version: a.version,
	}
	if a.config.IsServer() {
		local.Role = gossip.RoleServer
		if a.config.Server.BootstrapExpect > 1 {
			local.Expect = a.config.Server.BootstrapExpect
		}
	}
	pool, err := gossip.Start(gossip.Config{
		Local: local, Keys: a.keys, Transport: a.port.GossipTransport(), Snapshot: a.sub("peers"),
		Logger: a.log.With("part", "gossip"),
	})
	if err != nil {
		return err
	}
	a.gossip = pool
	a.began(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
		defer cancel()
		if err := pool.Leave(ctx); err != nil {
			a.log.Debug("perhaps not every member knows that this one was stopped", "err", err)
		}
		pool.Close()
	})
	return nil
}

// goodbyeTime bounds how long an agent that stops tells the others of it.
const goodbyeTime = 2 * time.Second

// fatal has the agent stop because of err. It does not block.
func (a *Agent) fatal(err error) {
	select {
	case a.ended <- err:
	default: // it stops already
	}
}

// sharing is what of the sharing of the region can be reloaded.
func sharing(c *config.Server) server.Sharing {
	return server.Sharing{Sorter: c.Sorter, Exclude: c.FairShareExclude, KeepRoomAfter: c.KeepRoomAfter.Std(), Sealed: c.SealedRoles}
}

// offerOptions has the settings of offers as the allocator takes them.
func offerOptions(c *config.Offers) allocator.Options {
	if c == nil {
		return allocator.Options{}
	}
	o := allocator.Options{OfferTimeout: c.Timeout, Smallest: c.Smallest, MostOffers: c.Most, MostOffered: c.MostShare}
	if c.Backoff != nil {
		o.Backoff = *c.Backoff
		if o.Backoff == 0 {
			o.Backoff = -1
		}
	}
	return o
}

// devElection is every time-out of Raft in -dev.
const devElection = 50 * time.Millisecond

func (a *Agent) startServer(context.Context) error {
	if !a.config.IsServer() {
		return nil
	}
	log := a.log.With("part", "server")
	if a.config.Dev {
		log = calm(log)
	}
	a.raftNet = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: a.port.RaftLayer(), MaxPool: 3, Timeout: 10 * time.Second, Logger: consensus.RaftLogger(log),
		ServerAddressProvider: server.Addresses{Gossip: a.gossip, Region: a.config.Region, Self: a.id},
	})
	a.began(func(context.Context) { a.raftNet.Close() })
	c := a.config.Server
	keys := ""
	if a.folder != nil {
		keys = filepath.Join(a.sub("server"), "keys.json")
	}
	s, err := server.Start(server.Config{
		KeyFile: keys,
		ID:      a.id, Name: a.config.NodeName, Region: a.config.Region, Datacenter: a.config.Datacenter,
		Address: a.port.Addr(), HTTP: a.httpAddress(), Folder: a.folder, Expect: c.BootstrapExpect,
		Transport: a.raftNet, RPC: a.rpc, Pool: a.pool, Gossip: a.gossip,
		Lease: a.config.Lease.Std(), MaxFinished: c.MaxFinished, MaxAge: c.FinishedAge.Std(), NodeAge: c.NodeAge.Std(), MaxJobs: c.MaxJobs,
		OrphanAge: c.OrphanAge.Std(), Offers: offerOptions(c.Offers), Sharing: sharing(c), Policies: policies,
		Replaces: spec.Replaces,
		Raft: func(r *consensus.Config) {
			r.Fatal = a.fatal
			if a.config.Dev {
				// Nobody else can lead, so nobody need be waited for.
				r.HeartbeatTimeout, r.ElectionTimeout, r.LeaseTimeout = devElection, devElection, devElection
				r.SnapshotBytes, r.TrailingBytes = 8<<20, 1<<20 // its log is in memory
			} else if c.Raft != nil {
				r.HeartbeatTimeout = c.Raft.HeartbeatTimeout.Std()
				r.ElectionTimeout = c.Raft.ElectionTimeout.Std()
				r.LeaseTimeout = c.Raft.LeaderLease.Std()
				r.SnapshotEntries = uint64(c.Raft.SnapshotThreshold)
				r.SnapshotEvery = c.Raft.SnapshotInterval.Std()
				r.TrailingEntries = uint64(c.Raft.TrailingLogs)
			}
		},
		Logger: log,
	})
	if err != nil {
		return err
	}
	a.server = s
	a.began(func(context.Context) {
		if err := s.Close(); err != nil {
			a.log.Warn("the server did not stop in order", "err", err)
		}
	})
	return nil
}

func (a *Agent) startClient(ctx context.Context) error {
	if !a.config.IsClient() {
		return nil
	}
	log := a.log.With("part", "client")
	c := a.config.Client
	sup, err := supervisor.Connect(ctx, supervisor.Options{
		Dir: a.sub("supervisor"), Hide: a.hidden(), Logger: log, HostPaths: c.HostPaths, CgroupParent: c.CgroupParent,
		Ports: c.Ports(),
	})
	if err != nil {
		return err
	}
	a.sup = sup
	a.began(func(context.Context) { sup.Close() })
	if _, err := a.readProfiles(c.Profiles); err != nil {
		return err
	}
	drivers, err := a.drivers(log)
	if err != nil {
		return err
	}
	hosts := c.Hosts
	if len(hosts) == 0 {
		if host, _, err := net.SplitHostPort(a.port.Addr()); err == nil {
			hosts = []string{host}
		}
	}
	networks, err := a.networks(hosts, log)
	if err != nil {
		return err
	}
	storage, err := volumes.Open(filepath.Join(a.sub("client"), "volumes"), hostVolumes(c.HostVolumes), log)
	if err != nil {
		return err
	}
	limits, err := disk.Open(a.sub("client"), disk.Mode(c.DiskLimit), log)
	if err != nil {
		return err
	}
	a.began(func(context.Context) { limits.Close() })
	plugins, err := csi.Open(filepath.Join(a.sub("client"), "csi"), log)
	if err != nil {
		return err
	}
	if a.executorKey, err = executorKey(filepath.Join(a.sub("client"), "executor-key")); err != nil {
		return err
	}
	storage.SetDisks(disks(c.Disks))
	storage.Limits = limits
	node, err := client.New(ctx, client.Config{
		DataDir: a.sub("client"), Region: a.config.Region, Name: a.config.NodeName,
		Datacenter: a.config.Datacenter, Address: a.port.Addr(), Version: a.version,
		Meta: c.Meta, Attributes: c.Attributes, Resources: c.Resources.Amount(), Reserved: c.Reserved.Amount(), ReservedFor: c.ReservedFor(),
		PortRange: c.Ports(), Hosts: hosts, HostNetwork: c.HostNetworks(), Drivers: drivers,
		Networks: networks.Features, Providers: []runner.Provider{network.Provider{Networks: networks, Sandboxes: sandboxes(drivers)},
			namespaces.New(filepath.Join(a.sub("client"), "namespaces"), sup, log), storage, plugins, disk.Provider{Limits: limits}},
		Volumes: storage, Plugins: plugins, Limits: limits,
		Fencers: []client.Fencer{sup}, Connect: a.connect, Log: log, GC: gc(c.GC), Health: c.HealthChecks(), Revocable: revocable(c.Revocable), Fetch: fetching(c.Artifact, registryHosts(c.OCI)), AllowIsolationNone: c.IsolationNone,
		GPUs: fingerprint.NVIDIA{Root: c.GPURoot}, Executors: a.addressOf(a.executors), ExecutorSocket: a.socketOfExecutors(), ExecutorToken: a.executorKey.Token,
	})
	if err != nil {
		return err
	}
	a.client = node
	remote.Serve(a.rpc, node)
	a.takeMessages()
	csi.Serve(a.rpc, plugins)
	if err = a.openExecutorSocket(); err == nil {
		err = node.Start(ctx)
	}
	if err != nil {
		return errors.Join(err, node.Stop(ctx))
	}
	a.began(func(ctx context.Context) {
		// Tasks outlive the agent, but not the temporary folder of -dev.
		end := node.Stop
		if a.config.Dev {
			end = node.Leave
		}
		if err := end(ctx); err != nil {
			a.log.Warn("the client did not stop in order", "err", err)
		}
		if err := sup.Release(ctx); err != nil {
			a.log.Warn("the supervisor was not told that the agent stops", "err", err)
		}
	})
	return nil
}

func disks(list []*config.Disk) map[string]volumes.Disk {
	out := make(map[string]volumes.Disk, len(list))
	for _, d := range list {
		if structs.DiskType(d.Type) == structs.DiskRaw {
			out[d.Name] = volumes.Disk{Type: structs.DiskRaw, Raw: &structs.NodeDisk{Type: structs.DiskRaw, Size: d.Size >> 20 << 20, Plugin: d.Plugin, FSType: d.FSType, Parameters: d.Parameters}}
			continue
		}
		out[d.Name] = volumes.Disk{Type: structs.DiskType(d.Type), Path: filepath.Clean(d.Path)}
	}
	return out
}

func hostVolumes(list []*config.HostVolume) map[string]volumes.HostVolume {
	out := make(map[string]volumes.HostVolume, len(list))
	for _, v := range list {
		out[v.Name] = volumes.HostVolume{Path: v.Path, ReadOnly: v.ReadOnly, Propagation: v.Propagation}
	}
	return out
}

// hidden are the paths that no task may see: what the agent keeps and what it was configured with.
func (a *Agent) hidden() []string {
	paths := []string{"/etc/proffer.d", "/etc/proffer", a.sub("")}
	for _, file := range a.sources.Files {
		if abs, err := filepath.Abs(file); err == nil {
			paths = append(paths, abs)
		}
	}
	secrets := []string{a.config.TokenFile, a.config.EncryptFile}
	if c := a.config.Client; c != nil && c.Artifact != nil {
		for _, s := range c.Artifact.S3 {
			secrets = append(secrets, s.SecretKeyFile)
		}
	}
	for _, file := range secrets {
		if file != "" {
			paths = append(paths, file)
		}
	}
	return paths
}

func revocable(c *config.Revocable) client.Revocable {
	if c == nil || !c.Enabled {
		return client.Revocable{}
	}
	return client.Revocable{Enabled: true, Margin: c.Margin, Hold: c.Hold.Std(), Decay: c.Decay.Std(), Every: c.Every.Std()}
}

func gc(c *config.GC) client.GC {
	if c == nil {
		return client.GC{}
	}
	return client.GC{MaxAge: c.MaxAge.Std(), MaxCount: c.MaxAllocs, MaxDiskUsed: c.DiskUse, DiskFull: c.DiskFull, Every: c.Interval.Std()}
}

// serveCluster takes calls: those of the servers now, those of the node once it is there. Requests through the tunnel
// wait for the HTTP API.
func (a *Agent) serveCluster(context.Context) error {
	if a.server != nil {
		a.tunnel = newStreamListener(a.listener.Addr())
	}
	a.serveRPC()
	l := a.port.Listener(cluster.RPC)
	a.work.Go(func() {
		if err := a.rpc.Serve(l); err != nil && a.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
			a.log.Error("the cluster port takes no more calls", "err", err)
		}
	})
	a.began(func(context.Context) { a.rpc.Close() })
	return nil
}

func (a *Agent) openHTTP(context.Context) error {
	l, err := net.Listen("tcp", a.config.HTTPListen())
	if err != nil {
		return structs.Errorf(structs.Unavailable, "HTTP port "+a.config.HTTPListen(), "%w", err).
			Advise("another process may have the port: choose another with -http-port")
	}
	a.listener = l
	a.began(func(context.Context) { l.Close() })
	return nil
}

// httpAddress returns where others find the HTTP API: at the address by which they reach this agent, unless it listens on
// another one alone.
func (a *Agent) httpAddress() string { return a.addressOf(a.listener) }

func (a *Agent) addressOf(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(a.port.Addr()); err != nil {
			return ""
		}
	}
	return net.JoinHostPort(host, port)
}

// names are those that the agent answers to, beside addresses and localhost.
func (a *Agent) names() []string { return []string{strings.ToLower(a.config.NodeName)} }

func (a *Agent) serveHTTP(context.Context) error {
	o := http.Options{Agent: (*self)(a), Docs: website.Handler(), Drivers: Validators(), Token: a.config.Token.Reveal(), Secrets: &a.secrets,
		Names: a.names(), Log: a.log.With("part", "http")}
	if a.server != nil {
		o.Region = (*region)(a)
		o.Leader = a.toLeader()
		o.Mesos = &mesos.Scheduler{Region: a.server, Name: a.config.Region, Zone: a.config.Datacenter, Log: a.log.With("part", "mesos")}
		o.Tools = operator.NewServers(a.server, a.about, o.Mesos.Log)
		o.Tools.Verbose, o.Tools.Counts = a.logs.verbose, &o.Mesos.Counts
	} else {
		o.Forward = a.forward()
	}
	a.service = http.New(o)
	a.serving.Store(a.service)
	a.metrics = newMetrics(a)
	ctx, cancel := context.WithCancel(a.ctx)
	done := make(chan struct{})
	a.work.Go(func() {
		defer close(done)
		if err := a.service.Serve(ctx, a.listener); err != nil && ctx.Err() == nil {
			a.fatal(fmt.Errorf("the HTTP API ended: %w", err))
		}
	})
	a.began(func(context.Context) { cancel(); <-done })
	if a.server != nil {
		a.serveTunnel()
	}
	return nil
}

// join contacts the configured and the remembered members. Those that do not answer are tried again for as long as the
// agent is alone.
func (a *Agent) join(context.Context) error {
	a.joinTo(a.config.Join)
	return nil
}

func (a *Agent) joinTo(configured []string) {
	addrs := a.joinAddresses(configured)
	if len(addrs) == 0 {
		return
	}
	a.work.Go(func() {
		for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
			if _, err := a.gossip.Join(a.ctx, addrs); err == nil {
				return
			} else if a.ctx.Err() == nil {
				a.log.Warn("no member answers yet", "addresses", strings.Join(addrs, " "), "err", err, "again_in", wait.String())
			}
			select {
			case <-time.After(wait):
			case <-a.ctx.Done():
				return
			}
			if len(a.gossip.Members()) > 1 {
				return
			}
		}
	})
}

func (a *Agent) joinAddresses(configured []string) []string {
	return append(a.withPorts(configured), a.gossip.Peers()...)
}

// withPorts gives addresses that have no port the one of this agent.
func (a *Agent) withPorts(addrs []string) (out []string) {
	for _, addr := range addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			addr = net.JoinHostPort(addr, strconv.Itoa(a.config.ClusterPort))
		}
		out = append(out, addr)
	}
	return out
}
