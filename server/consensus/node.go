package consensus

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Config is what Open needs. ID, Address, Transport, Logs, Stable, Snapshots and Store are required; the other fields
// have the defaults that their comments name.
type Config struct {
	ID        string        // of this server, stable over restarts and changes of address
	Address   string        // that the other servers dial; the transport's
	Region    string        //
	Store     *state.Store  // empty
	Transport Transport     // owned by the caller, closed after Close
	Logs      raft.LogStore // owned by the caller, closed after Close
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Logger    *slog.Logger // default: slog.Default()

	// BootstrapExpect is 1 for a region of this server alone, which is then made at once when there is no state. Larger
	// regions are made with Bootstrap, by whoever counted the members.
	BootstrapExpect int

	HeartbeatTimeout time.Duration // without a leader for this long, a follower asks for an election; default 500 ms
	ElectionTimeout  time.Duration // of one candidacy; default 500 ms
	LeaseTimeout     time.Duration // a leader without its quorum for this long steps down; default HeartbeatTimeout
	CommitTimeout    time.Duration // followers learn of a commit this late at most; default 10 ms
	DiskTimeout      time.Duration // a leader whose disk takes this long for one write steps down; default 10 s

	QueueBytes    int // of commands that wait to be committed; default 16 MiB
	EntryBytes    int // of commands in one entry; default 512 KiB
	EntryCommands int // default 4,096
	InFlight      int // entries; default 3

	SnapshotBytes   int64         // of entries since the last snapshot that bring the next one; default 64 MiB
	SnapshotEntries uint64        // the same in entries; default 65,536
	TrailingBytes   int64         // of entries that stay in the log behind a snapshot, for followers that are late; default 64 MiB
	TrailingEntries uint64        // the same in entries, whichever is less; default 16,384
	SnapshotEvery   time.Duration // how often that is looked at; default 10 s
	trailingLeast   uint64        // entries that stay in any case; default 128

	// Members, when set, turns on the clean-up of dead servers; it gives what gossip says of the servers, this one too.
	Members func() []Member
	// DeadAfter is how long a server does not answer, as this leader saw it, before it is removed; default 1 min. Never more than a minority goes at a time, and never below MinPeers.
	DeadAfter time.Duration
	MinPeers  int // default 3 when BootstrapExpect is 3 or more, 1 otherwise

	TempDir string // where an archive is unpacked before it is restored; default that of the system

	// Fatal is told once when this server must not go on until it is started again: it met an entry that it cannot read
	// (an older binary in a newer region), or a write to its disk failed, after which nobody knows what the disk holds.
	// It may be called from any goroutine, in Open too, and must not block. Default: panic.
	Fatal func(error)
}

func (c *Config) setDefaults() {
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, 500*time.Millisecond)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, max(500*time.Millisecond, c.HeartbeatTimeout))
	c.LeaseTimeout = cmp.Or(c.LeaseTimeout, c.HeartbeatTimeout)
	c.CommitTimeout = cmp.Or(c.CommitTimeout, 10*time.Millisecond)
	c.DiskTimeout = cmp.Or(c.DiskTimeout, 10*time.Second)
	c.QueueBytes = cmp.Or(c.QueueBytes, 16<<20)
	c.EntryBytes = cmp.Or(c.EntryBytes, DefaultEntryBytes)
	c.EntryCommands = cmp.Or(c.EntryCommands, 4096)
	c.InFlight = cmp.Or(c.InFlight, 3)
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, 64<<20)
	c.TrailingBytes = cmp.Or(c.TrailingBytes, 64<<20)
	c.SnapshotEntries = cmp.Or(c.SnapshotEntries, 65536)
	c.trailingLeast = cmp.Or(c.trailingLeast, 128)
	c.TrailingEntries = cmp.Or(c.TrailingEntries, 16384)
	c.SnapshotEvery = cmp.Or(c.SnapshotEvery, 10*time.Second)
	c.DeadAfter = cmp.Or(c.DeadAfter, time.Minute)
	if c.MinPeers == 0 {
		c.MinPeers = 1
		if c.BootstrapExpect >= 3 {
			c.MinPeers = 3
		}
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(err) }
	}
}

// DefaultEntryBytes bounds an entry when Config does not.
const DefaultEntryBytes = 512 << 10

// Transport is a Raft transport that knows pre-votes, as those of hashicorp/raft do.
type Transport interface {
	raft.Transport
	raft.WithPreVote
}

// Member is what gossip says of a server.
type Member struct {
	ID      string
	Name    string
	Address string
	Status  MemberStatus
	Version string
}

// MemberStatus says whether a member answers.
type MemberStatus string

const (
	MemberAlive  MemberStatus = "alive"
	MemberFailed MemberStatus = "failed"
)

// NotLeader is the cause in errors of calls that only the leader can serve. Address and ID are empty when no leader is
// known. Find it with errors.As; the error around it is Unavailable.
type NotLeader struct{ ID, Address string }

func (e *NotLeader) Error() string {
	if e.ID == "" {
		return "no leader is known"
	}
	return "the leader is " + e.ID + " at " + e.Address
}

// Peer is a member of the Raft group.
type Peer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Leader  bool   `json:"leader"`
}

// Leader is who leads, as far as this server knows.
type Leader struct {
	ID      string // empty: nobody
	Address string
	Self    bool // this server leads, and its barrier is passed
}

// Stats is what this server knows of its part in Raft.
type Stats struct {
	State         string        `json:"state"` // leader, follower, candidate, shutdown
	Term          uint64        `json:"term"`
	LastIndex     uint64        `json:"last_index"`
	LastTerm      uint64        `json:"last_term"`
	CommitIndex   uint64        `json:"commit_index"`
	AppliedIndex  uint64        `json:"applied_index"` // of the store: commands only
	SnapshotIndex uint64        `json:"snapshot_index"`
	LastContact   time.Duration `json:"last_contact"` // with the leader; 0 for the leader, negative: never
	Queued        int           `json:"queued"`       // commands that wait
	InFlight      int           `json:"in_flight"`    // entries that are being committed
	Stalled       bool          `json:"stalled"`      // its disk hangs
}

// Node is this server's part of the Raft group. Its methods may be called from any goroutine.
type Node struct {
	cfg   Config
	log   *slog.Logger
	raft  *raft.Raft
	store *state.Store
	logs  *guardedLogs
	gate  *gate
	fsm   *fsm

	trailing atomic.Uint64 // see SetTrailing

	queue queue
	reads reads
	lead  leadership

	commits timing.Times  // see Figures
	opened  time.Duration // likewise

	stop   context.CancelFunc // ends the goroutines of background
	ctx    context.Context
	own    sync.WaitGroup // goroutines that end when ctx does
	calls  calls
	again  chan struct{} // a token when watchLeadership shall look at the disk
	closed atomic.Bool
	failed atomic.Bool // see fail
	once   sync.Once
}

// Open starts raft on the stores of cfg.
func Open(cfg Config) (*Node, error) {
	if cfg.ID == "" || cfg.Store == nil || cfg.Transport == nil || cfg.Logs == nil || cfg.Stable == nil || cfg.Snapshots == nil {
		return nil, structs.Errorf(structs.Internal, "consensus", "id, store, transport, logs, stable and snapshots are required")
	}
	cfg.setDefaults()
	n := &Node{cfg: cfg, log: cfg.Logger, store: cfg.Store}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.gate = &gate{Transport: cfg.Transport}
	n.logs = &guardedLogs{LogStore: cfg.Logs, snapshots: cfg.Snapshots, node: n}
	stable := &guardedStable{StableStore: cfg.Stable, node: n}
	snapshots := &guardedSnapshots{SnapshotStore: cfg.Snapshots, logs: cfg.Logs, node: n}
	n.fsm = &fsm{store: cfg.Store, node: n}
	n.again = make(chan struct{}, 1)
	n.trailing.Store(cfg.TrailingEntries)
	n.queue.init(&n.cfg)
	n.lead.init()

	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(cfg.ID)
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaseTimeout
	rc.CommitTimeout = cfg.CommitTimeout
	rc.MaxAppendEntries = 32 // of up to EntryBytes each
	rc.ShutdownOnRemove = false
	rc.SnapshotThreshold = 1 << 62 // snapshots are taken by snapshotLoop
	rc.Logger = newRaftLogger(cfg.Logger.With("component", "raft"))
	rc.NoLegacyTelemetry = true
	notify := make(chan bool, 64)
	rc.NotifyCh = notify

	if err := abandonBootstrap(cfg.Logs, cfg.Stable, snapshots); err != nil {
		n.stop()
		return nil, structs.Errorf(structs.Internal, "consensus", "cannot read the stores: %w", err)
	}
	if cfg.BootstrapExpect == 1 {
		exists, err := raft.HasExistingState(n.logs, cfg.Stable, snapshots)
		if err == nil && !exists {
			err = raft.BootstrapCluster(rc, n.logs, cfg.Stable, snapshots, n.gate, raft.Configuration{
				Servers: []raft.Server{{ID: rc.LocalID, Address: n.gate.LocalAddr()}}})
		}
		if err != nil {
			n.stop()
			return nil, structs.Errorf(structs.Internal, "consensus", "cannot begin a region: %w", err)
		}
	}
	begun := time.Now()
	r, err := raft.NewRaft(rc, n.fsm, n.logs, stable, snapshots, n.gate)
	n.opened = time.Since(begun)
	if err == nil && n.failed.Load() {
		err = errors.Join(errFailed, r.Shutdown().Error())
	}
	if err != nil {
		n.stop()
		return nil, structs.Errorf(structs.Internal, "consensus", "raft does not start: %w", err)
	}
	n.raft = r
	applied := r.AppliedIndex
	n.logs.applied.Store(&applied)
	n.own.Go(func() { n.watchLeadership(notify) })
	n.own.Go(n.watchLeader)
	n.own.Go(n.watchDisk)
	n.own.Go(n.commit)
	n.own.Go(n.snapshotLoop)
	return n, nil
}

// closePatience bounds how long Close waits for raft to answer calls that are under way.
const closePatience = 5 * time.Second

// Close hands leadership over, takes a snapshot when much was applied since the last one, stops everything that Open
// started and waits for it. Calls that wait get Unavailable or Unknown.
func (n *Node) Close() error {
	var err error
	n.once.Do(func() {
		n.queue.close()
		n.closed.Store(true)
		if n.raft.State() == raft.Leader && len(n.otherVoters()) > 0 && n.able() {
			if err := n.raft.LeadershipTransfer().Error(); err != nil {
				n.log.Debug("leadership was not handed over", "error", err)
			}
		}
		if n.fsm.entries.Load() > closeSnapshotEntries && n.able() {
			if err := n.takeSnapshot(); err != nil {
				n.log.Warn("no snapshot at the end; the next start replays the log", "error", err)
			}
		}
		// Calls end while raft still runs: it forgets some of those that it shuts down on.
		n.calls.wait(closePatience)
		n.stop()
		done := n.raft.Shutdown()
		n.gate.end()
		err = done.Error()
		if !n.calls.wait(closePatience) {
			n.log.Warn("calls to raft are still open at the end")
		}
		n.own.Wait()
	})
	return err
}

// notLeader is the error of calls that only the leader can serve.
func (n *Node) notLeader(op string) *structs.Error {
	address, id := n.raft.LeaderWithID()
	cause := &NotLeader{ID: string(id), Address: string(address)}
	if cause.ID == n.cfg.ID {
		cause = &NotLeader{}
	}
	return &structs.Error{Kind: structs.Unavailable, Op: op, Why: "this server is not the leader: " + cause.Error(), Err: cause}
}

// fault turns an error of raft into one with a kind: Unavailable when it did not happen, Unknown when it may have.
func (n *Node) fault(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return n.notLeader(op)
	case errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return &structs.Error{Kind: structs.Unavailable, Op: op, Why: err.Error(), Err: err}
	}
	return &structs.Error{Kind: structs.Unknown, Op: op, Why: "it may have happened: " + err.Error(),
		Do: "try again with the same key, or look", Err: err}
}

// Figures is what a server measured since it began.
type Figures struct {
	Commits timing.Summary // of entries, on the leader: from when Raft got them until they were applied
	Opened  time.Duration  // how long it took to read the stores, and the snapshot in them
	Bytes   int64          // of the last snapshot, and of the entries since
	Voters  int            // servers whose votes count
	Queued  int            // commands that wait
}

// Figures returns them.
func (n *Node) Figures() Figures {
	out := Figures{Commits: n.commits.Summary(), Opened: n.opened, Bytes: n.fsm.saved.Load() + n.fsm.bytes.Load()}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			out.Voters++
		}
	}
	out.Queued, _ = n.queue.depth()
	return out
}

// Stats says how this server stands.
func (n *Node) Stats() Stats {
	out := Stats{
		Term:         n.raft.CurrentTerm(),
		LastIndex:    n.raft.LastIndex(),
		CommitIndex:  n.raft.CommitIndex(),
		AppliedIndex: n.store.Snapshot().Index(),
		Stalled:      n.logs.stalled.Load(),
	}
	switch n.raft.State() {
	case raft.Leader:
		out.State = "leader"
	case raft.Candidate:
		out.State = "candidate"
	case raft.Follower:
		out.State = "follower"
	default:
		out.State = "shutdown"
	}
	raw := n.raft.Stats()
	out.LastTerm = number(raw["last_log_term"])
	out.SnapshotIndex = number(raw["last_snapshot_index"])
	if out.State != "leader" {
		out.LastContact = -1
		if at := n.raft.LastContact(); !at.IsZero() {
			out.LastContact = time.Since(at)
		}
	}
	out.Queued, out.InFlight = n.queue.depth()
	return out
}

func number(s string) (v uint64) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0
		}
		v = v*10 + uint64(c-'0')
	}
	return v
}
