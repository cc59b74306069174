package server

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/server/seal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Config is what a server needs. The agent owns the network parts and closes them after the server.
type Config struct {
	ID         string // Raft id: stable over restarts and changes of address
	Name       string
	Region     string
	Datacenter string
	Address    string            // of the cluster port, as others dial it
	HTTP       string            // address of the HTTP API, told to other servers
	Folder     *consensus.Folder // owned by the caller; nil: everything in memory (tests, -dev)
	Expect     int               // bootstrap_expect
	KeyFile    string            // where the keys are kept that variables are sealed with; empty: in memory

	Transport consensus.Transport
	RPC       *rpc.Server
	Pool      *rpc.Pool
	Gossip    Gossip

	Lease       time.Duration // of nodes; 0: 15 s
	Drift       time.Duration // what servers add to it; 0: a tenth of the lease
	MaxFinished int           // ended allocations and jobs kept in state; 0: state.DefaultMaxFinished
	MaxAge      time.Duration // of ended work in state; 0: 24 h
	NodeAge     time.Duration // how long nodes that are lost or left stay in state; 0: 72 h
	MaxJobs     int           // jobs that have not ended, as long as this server leads; 0: no bound
	Raft        func(*consensus.Config)
	Offers      allocator.Options // how offers are made; nothing else in it is looked at

	// OrphanAge is how long reservations stay whose framework was removed; 0: 24 h.
	OrphanAge time.Duration
	Sharing   Sharing                     // see SetSharing
	Policies  map[string]allocator.Policy // that roles may name as their sorter, beside those that there always are

	// Replaces says whether work of a group must be replaced when its job changes from old to new, or is changed in place.
	Replaces func(old, new *structs.Job, group string) bool

	Logger *slog.Logger
}

// Gossip is what a server needs of the pool of members.
type Gossip interface {
	Members() []gossip.Member
	Subscribe() (events <-chan gossip.Event, cancel func())
	Update(change func(*gossip.Member)) error
}

// Server is one server of a region. Its methods may be called from any goroutine.
type Server struct {
	config Config
	log    *slog.Logger
	store  *state.Store
	raft   *consensus.Node
	logs   *wal.Log // nil in memory

	entryBytes int // the most that one entry takes

	sessions   sessions
	renewals   *renewals
	retention  atomic.Pointer[retention]
	maxJobs    atomic.Int64
	maxUntold  atomic.Int64 // see MaxUntold
	heedWithin atomic.Int64 // see HeedWithin; nanoseconds
	offering   atomic.Pointer[allocator.Options]
	shared     atomic.Pointer[Sharing]
	loop       offerLoop    // of this server's term, when it leads
	elected    atomic.Int64 // since when it leads; 0: it does not
	counts     counts       // see Figures

	ring      *seal.Ring
	rotating  sync.Mutex // held while a key is made
	candidate []byte     // the key that is being made; under rotating
	items     items

	simulating sync.Mutex // held by the simulation that runs

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup
}

// Start opens the state and begins to take part in the region. The order of what is started reads from top to bottom;
// Close is the reverse.
func Start(c Config) (*Server, error) {
	c.defaults()
	s := &Server{config: c, log: c.Logger, store: state.New()}
	if err := s.SetSharing(c.Sharing); err != nil {
		return nil, err
	}
	ring, err := seal.Open(c.KeyFile)
	if err != nil {
		return nil, err
	}
	s.ring = ring
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.renewals = newRenewals(s)
	s.SetRetention(c.MaxFinished, c.MaxAge, c.NodeAge, c.OrphanAge)
	s.SetMaxJobs(c.MaxJobs)
	s.maxUntold.Store(MaxUntold)
	s.heedWithin.Store(int64(HeedWithin))
	s.offering.Store(&c.Offers)
	if err := s.open(); err != nil {
		s.stop()
		return nil, err
	}
	s.serveRPC()
	s.work.Go(s.bootstrap)
	s.work.Go(s.renewals.run)
	s.work.Go(s.keepKeys)
	s.work.Go(func() { s.raft.Lead(s.ctx, s.lead) })
	return s, nil
}

func (c *Config) defaults() {
	if c.Lease == 0 {
		c.Lease = 15 * time.Second
	}
	if c.Drift == 0 {
		c.Drift = c.Lease / 10
	}
	if c.MaxFinished == 0 {
		c.MaxFinished = state.DefaultMaxFinished
	}
	if c.NodeAge == 0 {
		c.NodeAge = 72 * time.Hour
	}
	if c.OrphanAge == 0 {
		c.OrphanAge = 24 * time.Hour
	}
	if c.MaxAge == 0 {
		c.MaxAge = 24 * time.Hour
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// open starts Raft on the data folder, or in memory.
func (s *Server) open() error {
	cfg := consensus.Config{
		ID: s.config.ID, Address: s.config.Address, Region: s.config.Region,
		Store: s.store, Transport: s.config.Transport, Logger: s.log,
		BootstrapExpect: s.config.Expect, Members: s.raftMembers,
	}
	if s.config.Folder == nil {
		mem := raft.NewInmemStore()
		cfg.Logs, cfg.Stable, cfg.Snapshots = mem, mem, raft.NewInmemSnapshotStore()
	} else {
		logs, snapshots, err := s.config.Folder.OpenStores(wal.Options{Logger: s.log})
		if err != nil {
			return err
		}
		s.logs = logs
		cfg.Logs, cfg.Stable, cfg.Snapshots = logs, logs, snapshots
	}
	if s.config.Raft != nil {
		s.config.Raft(&cfg)
	}
	s.entryBytes = cmp.Or(cfg.EntryBytes, consensus.DefaultEntryBytes)
	node, err := consensus.Open(cfg)
	if err != nil {
		if s.logs != nil {
			s.logs.Close()
		}
		return err
	}
	s.raft, s.loop.entries = node, node
	return nil
}

// Close leaves the region as a machine that is switched off would: the others go on without it, and Start on the same
// data folder takes part again. A leader hands over first.
func (s *Server) Close() error {
	if s.raft.Leader().Self {
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		if peers, err := s.raft.Peers(); err == nil && len(peers) > 1 {
			if err := s.raft.Transfer(ctx, ""); err != nil {
				s.log.Info("no other server took over the lead", "err", err)
			}
		}
		cancel()
	}
	return s.Kill()
}

// Kill is Close without handing over: the other servers find out by themselves that this one is gone.
func (s *Server) Kill() error {
	s.stop()
	s.sessions.closeAll(structs.Errorf(structs.Unavailable, "server "+s.config.Name, "it stops"))
	s.items.close()
	s.work.Wait()
	err := s.raft.Close()
	if s.logs != nil {
		if e := s.logs.Close(); err == nil {
			err = e
		}
	}
	return err
}

// SetRetention changes how much finished work stays in the state, how long nodes stay that are lost or left, and how long
// reservations stay whose framework was removed.
func (s *Server) SetRetention(max int, age, nodes, orphans time.Duration) {
	s.retention.Store(&retention{max, age, nodes, orphans})
}

// SetMaxJobs changes how many jobs that have not ended the region takes while this server leads.
func (s *Server) SetMaxJobs(max int) { s.maxJobs.Store(int64(max)) }

// retention bounds what nobody needs any more in the state.
type retention struct {
	max int // ended allocations, and ended jobs
	age time.Duration

	nodes   time.Duration // how long nodes that are lost or left stay
	orphans time.Duration // how long reservations of removed frameworks stay
}

// Store returns this server's copy of the state.
func (s *Server) Store() *state.Store { return s.store }

// Raft returns this server's part of the Raft group, for the operator's commands.
func (s *Server) Raft() *consensus.Node { return s.raft }
