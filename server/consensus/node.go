package consensus

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/state"
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
	LeaseTimeout     time.Duration // a leader without its quorum for this long steps down; default 250 ms
	CommitTimeout    time.Duration // followers learn of a commit this late at most; default 10 ms
	DiskTimeout      time.Duration // a leader whose disk takes this long for one write steps down; default 10 s

	QueueBytes    int // of commands that wait to be committed; default 16 MiB
	EntryBytes    int // of commands in one entry; default 512 KiB
	EntryCommands int // default 4,096
	InFlight      int // entries; default 3

	SnapshotBytes   int64         // of entries since the last snapshot that bring the next one; default 64 MiB
	SnapshotEntries uint64        // the same in entries; default 65,536
	SnapshotEvery   time.Duration // how often that is looked at; default 10 s

	// Members, when set, turns on the clean-up of dead servers; it gives what gossip says of the servers, this one too.
	Members func() []Member
	// DeadAfter is how long a server is failed before it is removed; default 1 min. Never below a quorum's majority.
	DeadAfter time.Duration
}

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
	MemberLeft   MemberStatus = "left"
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

var _ = context.Background
var _ io.Reader
