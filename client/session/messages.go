// Package session is the protocol between a node and the server that it is connected to: one yamux stream of msgpack
// messages in each direction. See DESIGN.md for the rules; messages.go has what is sent.
package session

import "github.com/proffer/proffer/structs"

// Version is the version of this protocol. A server refuses a node whose version it does not speak.
const Version = 1

// Hello is the first message of a node.
type Hello struct {
	Version    int
	Region     string
	Node       *structs.Node // its fingerprint; what servers set is empty
	Generation string        // restore generation that its work belongs to; empty on a new node
	Index      uint64        // newest index of desired state that it acted upon
	Work       int           // allocations that it holds and that have not ended
}

// Welcome answers Hello, or refuses with Err.
type Welcome struct {
	Err         *structs.Error
	Gone        *Gone  // with Err: there will be no session any more
	Server      string // name of the server, for messages
	Generation  string // changes when a snapshot is restored; see design "Killing needs proof"
	Servers     []string
	Lease       structs.Duration
	Drift       structs.Duration // margin that servers add
	Incarnation uint64           // of the node
}

// FromServer is one message to a node. Exactly one field is set.
type FromServer struct {
	Desired *Desired
	Renewed *Renewed
	Items   []*Item        // that the node wants and that are news to it
	Bye     *structs.Error // the server closes: it left, or lost its quorum
	Gone    *Gone
}

// Gone says that an operator marked the node gone, which the leader confirmed: it is to end all its work, and never says Hello again
// under its id. A session goes on for as long as the node has ends to tell.
type Gone struct {
	Generation string // of the region, as in Welcome
}

// Desired is what the region wants of the node: changes since the last one, or all of it when Full.
//
// Full is sent after Welcome and says of each allocation that is not in it: the leader does not know it. A node kills an
// allocation on Desired "stop", or on its absence from a Full that is Confirmed, of its generation, and whose Index is
// newer than what made the allocation.
type Desired struct {
	Index     uint64
	Full      bool
	Confirmed bool // the leader confirmed it with its quorum
	Allocs    []*structs.Allocation
	Jobs      []*structs.JobVersion // those that Allocs refer to and that were not sent in this session
	Gone      []structs.AllocID     // ended ones that left the state: their folders may be removed
	Volumes   []*structs.Volume     // on the node: those that changed, or all when Full. One that is purging is to be removed, see FromNode
}

// Renewed grants the lease: it holds for Welcome.Lease, counted by the node from before it sent Renew Seq.
type Renewed struct{ Seq uint64 }

// FromNode is one message to a server. Exactly one field is set.
type FromNode struct {
	Observed *Observed
	Renew    *Renew
	Node     *structs.Node      // a changed fingerprint
	Leave    bool               // the node stops for good; its work was stopped
	Purged   []structs.VolumeID // volumes that were to be purged and whose data is gone
	Wants    *Wants             // other items than before
}

// Observed is what changed on the node, or all of it when Full. The server answers nothing: what a session lost is sent
// again with the Full of the next one, and applying it twice changes nothing.
type Observed struct {
	Full    bool
	Updates []*structs.AllocUpdate
	Seq     uint64
}

// Renew asks for the lease to be renewed. It says each time how much is reserved on the node and not used, so that whoever leads
// learns it; nil as long as the node does not know.
type Renew struct {
	Seq   uint64
	Slack *structs.Slack
}
