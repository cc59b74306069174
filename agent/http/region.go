package http

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Region is what handlers need of the server: its state, a way to change it, and the soft state of the leader. All methods
// may be called from any goroutine and return when ctx ends.
type Region interface {
	Sealer
	// Read returns the state: everything that was acknowledged before the call is in it (a follower asks the leader how
	// far it must be and waits for that), or with stale it is what this server has. Unavailable: no leader is known.
	Read(ctx context.Context, stale bool) (*state.Snapshot, error)
	// Store is this server's state, to wait for changes and to follow them.
	Store() *state.Store
	// Propose commits a command, on the leader wherever it is. When it returns, this server's state has the change, so that
	// a read that follows sees it.
	Propose(ctx context.Context, e state.Envelope) state.Result
	// Leadership is what this server knows of the leader.
	Leadership() Leadership
	// Offers returns the outstanding offers; the leader knows them.
	Offers(ctx context.Context) ([]*structs.Offer, error)
	// OfferStatus says how a framework stands with offers; NotFound when it gets none.
	OfferStatus(ctx context.Context, id structs.FrameworkID) (*structs.OfferStatus, error)
	// Slack says what of a node is reserved and not used; nil when nothing on it is or may be revocable. The leader knows it.
	Slack(ctx context.Context, node structs.NodeID) (*structs.SlackStatus, error)
	// Maintenance returns the nodes with windows of maintenance, by id.
	Maintenance(ctx context.Context) ([]*structs.NodeMaintenance, error)
	// Shares says how the roles stand, each followed by those below it; the leader knows it.
	Shares(ctx context.Context) ([]*structs.RoleStanding, error)
	// Explain says why the groups of a stored job are where they are, or why they wait; all groups when group is empty.
	Explain(ctx context.Context, job, group string) (*api.Explanation, error)
	// Plan says what would be placed where if job were submitted now, and changes nothing. The job is validated.
	Plan(ctx context.Context, job *structs.Job) (*api.Explanation, error)
	// Simulate says what the allocator would do with this server's state after a change. Nothing is changed. Exhausted:
	// another simulation runs. The jobs and roles are validated.
	Simulate(ctx context.Context, change *api.SimulateRequest) (*api.Simulated, error)
	// Node returns a way to a node; NotFound, or Unavailable when no server has a session with it.
	Node(ctx context.Context, id structs.NodeID) (Node, error)
}

// Node is what handlers need of the node that holds an allocation, wherever it is: the server routes each call there.
// All methods may be called from any goroutine and return when ctx ends. NotFound: the node knows no such allocation,
// task or file. Unavailable: the node cannot be reached now.
type Node interface {
	// Logs calls emit with pieces of output in order of each stream, until all was sent, or with Follow until the task
	// has ended for good and all was sent. With Follow it waits for a task that has not started, and for an allocation
	// that the region has and the node has not begun. An error of emit ends it and is returned.
	Logs(ctx context.Context, req *api.LogsRequest, emit func(*api.LogFrame) error) error
	// Exec runs a command in a running task; it reads cmd.Stdin and cmd.Resize until the command ended.
	Exec(ctx context.Context, alloc structs.AllocID, task string, cmd drivers.Command) (drivers.Exit, error)
	// Forward connects to a port by its name; the connection ends with ctx, and the caller closes it.
	Forward(ctx context.Context, alloc structs.AllocID, port string) (api.Duplex, error)
	// Signal sends a signal ("SIGHUP") to a task, or to all main tasks when task is empty.
	Signal(ctx context.Context, alloc structs.AllocID, task, signal string) error
	// Stats returns what each running task uses, by name.
	Stats(ctx context.Context, alloc structs.AllocID) (map[string]*drivers.Stats, error)
	// Machine returns what the node uses, all its tasks together. Only what the node itself knows is set.
	Machine(ctx context.Context) (*api.NodeStats, error)
	// List returns the entries of a folder, sorted, at most 10,000. path is relative to the allocation's folder, with
	// slashes; the node refuses (Forbidden) what leads out of it, and secrets.
	List(ctx context.Context, alloc structs.AllocID, path string) ([]*api.FileInfo, error)
	// Stat returns one entry.
	Stat(ctx context.Context, alloc structs.AllocID, path string) (*api.FileInfo, error)
	// Pack writes a file or folder to w as a tar stream in which it is called name (empty: as it is), without secrets.
	Pack(ctx context.Context, alloc structs.AllocID, path, name string, w io.Writer) error
	// Unpack takes a tar stream apart into a folder. What would leave the folder is refused (Invalid).
	Unpack(ctx context.Context, alloc structs.AllocID, path string, r io.Reader) (*api.Copied, error)
	// Read writes limit bytes (all when limit < 0) of a regular file from offset to w.
	Read(ctx context.Context, alloc structs.AllocID, path string, offset, limit int64, w io.Writer) error
}

// Agent is what handlers need of the process that serves them. Its methods may be called from any goroutine.
type Agent interface {
	Self(ctx context.Context) (*api.Self, error)
	// Healthy returns nil when the agent does its work: a server knows a leader, a client has a session.
	Healthy(ctx context.Context) error
	// Metrics writes all metrics as Prometheus text.
	Metrics(ctx context.Context, w io.Writer) error
	// Monitor calls emit with each log line of at least that level, with its newline, until ctx ends. A slow reader loses
	// lines and is told so in the stream.
	Monitor(ctx context.Context, level slog.Level, asJSON bool, emit func(line []byte) error) error
	// Reload does what SIGHUP does.
	Reload(ctx context.Context) (*api.Reloaded, error)

	Members(ctx context.Context) ([]*api.Member, error)
	// Join returns how many of the addresses (host:port of cluster ports) were reached; an error when none was.
	Join(ctx context.Context, addresses []string) (int, error)
	ForceLeave(ctx context.Context, name string) error
	// Keyring lists the gossip keys after doing op (list, install, use or remove) with key on every member.
	Keyring(ctx context.Context, op, key string) (*api.Keyring, error)

	RaftPeers(ctx context.Context) ([]*api.RaftPeer, error)
	RaftRemove(ctx context.Context, id string) error
	// RaftTransfer makes another server the leader: id, or any when it is empty.
	RaftTransfer(ctx context.Context, id string) error
	// SnapshotSave writes a verified snapshot of the region.
	SnapshotSave(ctx context.Context, w io.Writer) error
	// SnapshotRestore replaces the region's state with that of a snapshot; it checks all of it first.
	SnapshotRestore(ctx context.Context, r io.Reader) (*api.SnapshotInfo, error)
	// SnapshotInspect reads a snapshot and changes nothing.
	SnapshotInspect(ctx context.Context, r io.Reader) (*api.SnapshotInfo, error)
}

// Leadership is what a server knows of the leader when it reads.
type Leadership struct {
	Known   bool
	Name    string        // of the leader
	Address string        // its HTTP address, host:port; may be empty
	Contact time.Duration // how long ago this server heard of it; 0 on the leader
}
