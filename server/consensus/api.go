package consensus

import (
	"context"
	"io"

	"github.com/proffer/proffer/server/state"
)

// Node is this server's part of the Raft group. Its methods may be called from any goroutine.
type Node struct{}

// Open starts raft on the stores of cfg.
func Open(cfg Config) (*Node, error) { panic("") }

// Close stops everything that Open started and waits for it. It takes a snapshot when much was applied since the last
// one. Calls that wait get Unavailable or Unknown.
func (n *Node) Close() error { panic("") }

// Propose commits cmd and returns its answer and the Raft index of the change. Errors of the command come as it gave
// them. Other kinds: Unavailable (it did not happen; *NotLeader inside when another server leads), Unknown (it may have
// happened: ask again with the same key), Exhausted (the queue is full), Invalid (it is too large).
func (n *Node) Propose(ctx context.Context, key, actor string, cmd state.Command) (answer any, index uint64, err error) {
	panic("")
}

// ReadIndex returns once this server was the leader after the call began, so that its store has everything that was
// acknowledged before. The index is what another server's store must have reached to be as good: see WaitApplied.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) { panic("") }

// WaitApplied returns once this server's store has reached index.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error { panic("") }

// Lead runs serve once for each term in which this server leads, after a barrier, so that the store has all that earlier
// leaders acknowledged. The term's context ends with it, and Lead waits for serve to return before the next term. A serve
// that returns early is run again after another barrier. Lead returns when ctx ends or the node is closed.
func (n *Node) Lead(ctx context.Context, serve func(term context.Context, number uint64)) { panic("") }

// Leader returns who leads.
func (n *Node) Leader() Leader { panic("") }

// LeaderChanged returns who leads and a channel that is closed when that changes.
func (n *Node) LeaderChanged() (Leader, <-chan struct{}) { panic("") }

// Bootstrap makes the region of these peers, once: it is a conflict when this server has state.
func (n *Node) Bootstrap(peers []Peer) error { panic("") }

// Fresh reports whether this server has no state at all, so that Bootstrap may be called.
func (n *Node) Fresh() (bool, error) { panic("") }

// Peers returns the members of the Raft group.
func (n *Node) Peers() ([]Peer, error) { panic("") }

// AddPeer adds a voter, or gives it its new address. Leader only.
func (n *Node) AddPeer(ctx context.Context, id, address string) error { panic("") }

// RemovePeer removes a member. Leader only.
func (n *Node) RemovePeer(ctx context.Context, id string) error { panic("") }

// Transfer hands leadership to a peer, or to the one that is furthest when id is empty. Leader only.
func (n *Node) Transfer(ctx context.Context, id string) error { panic("") }

// Snapshot takes a Raft snapshot now, which lets the log be shortened.
func (n *Node) Snapshot(ctx context.Context) error { panic("") }

// SaveSnapshot writes an archive of the state to w. Its caller decides whether ReadIndex comes first.
func (n *Node) SaveSnapshot(ctx context.Context, w io.Writer) (Archive, error) { panic("") }

// RestoreSnapshot replaces the region's state by an archive, which is read and verified in full first, and gives the
// region a new generation. Leader only.
func (n *Node) RestoreSnapshot(ctx context.Context, r io.Reader) (Archive, error) { panic("") }

// InspectSnapshot reads and verifies an archive.
func InspectSnapshot(r io.Reader) (Archive, error) { panic("") }

// Archive describes a saved snapshot.
type Archive struct {
	Format       int            `json:"format"`
	Region       string         `json:"region"`
	Generation   string         `json:"generation"`
	FeatureLevel int            `json:"feature_level"`
	Index        uint64         `json:"index"`
	Records      map[string]int `json:"records"` // by table
	Bytes        int64          `json:"bytes"`   // of state, uncompressed
	Checksum     string         `json:"checksum"`
}

// Stats returns figures.
func (n *Node) Stats() Stats { panic("") }
