package structs

import (
	"maps"
	"slices"
)

// AttrBoot begins the attributes that say of what boot of its machine a node is: id, time, and interrupted, the number of tasks that
// ran when the one before it ended.
const AttrBoot = "boot."

// Node is a machine that runs a client: what it said of itself, and what the region knows and wants of it.
type Node struct {
	ID          NodeID                `json:"id"`
	Name        string                `json:"name"`
	Datacenter  string                `json:"datacenter"`
	Address     string                `json:"address"` // host:port of its cluster port
	Version     string                `json:"version"` // of Proffer
	Attributes  map[string]string     `json:"attributes,omitempty"`
	Meta        map[string]string     `json:"meta,omitempty"`
	Drivers     map[string]*Driver    `json:"drivers,omitempty"`
	Resources   Resources             `json:"resources"`              // all of it
	Reserved    Resources             `json:"reserved"`               // kept for the system; Resources - Reserved is shared
	ReservedFor map[string]*Resources `json:"reserved_for,omitempty"` // of what is shared, set aside for roles; scalars only
	PortRange   Range                 `json:"port_range"`
	Hosts       []string              `json:"hosts,omitempty"` // addresses that tasks may use, the advertised one first
	// Networks are addresses that tasks may use by a name (host_network of a port), beside Hosts.
	Networks map[string][]string `json:"networks,omitempty"`
	// HostVolumes are folders of it that tasks may mount, by name.
	HostVolumes map[string]*NodeHostVolume `json:"host_volumes,omitempty"`
	// Problems are what it finds wrong with itself (health checks that fail, its disk), sorted. With any it gets no more work.
	Problems []string `json:"problems,omitempty"`

	// Set by the servers.
	Incarnation uint64     `json:"incarnation"` // one more each time the region takes it back after it was lost
	Session     uint64     `json:"session"`     // number of its newest one: what comes from an older one does not count
	Lease       Duration   `json:"lease"`       // the longest that it may still hold; servers wait that long or longer for it
	Status      NodeStatus `json:"status"`
	Eligible    bool       `json:"eligible"` // the operator lets work be placed here
	Drain       *Drain     `json:"drain,omitempty"`
	DrainIndex  uint64     `json:"drain_index"` // the Raft index at which Eligible or Drain were last set
	Changed     Time       `json:"changed"`     // of Status
	Reason      string     `json:"reason,omitempty"`
	CreateIndex uint64     `json:"create_index"`
	ModifyIndex uint64     `json:"modify_index"`

	Maintenance *Maintenance `json:"maintenance,omitempty"` // a window in which it will not be there

	// Volumes has the persistent volumes on its disk, by name, with the disk that they take.
	Volumes map[string]Bytes `json:"volumes,omitempty"`
}

// NodeStatus says whether the region hears from a node.
type NodeStatus string

const (
	NodeReady NodeStatus = "ready" // it has a session and a lease
	NodeLost  NodeStatus = "lost"  // its lease ended, with the margin for drift
	NodeLeft  NodeStatus = "left"  // it said goodbye
)

// Drain is the operator's wish that the node empties itself.
type Drain struct {
	Deadline Time `json:"deadline"` // when what is left is stopped; zero: never
	Started  Time `json:"started"`
}

// Schedulable reports whether new work may be placed on n.
func (n *Node) Schedulable() bool {
	return n.Status == NodeReady && n.Eligible && n.Drain == nil && len(n.Problems) == 0
}

// Forgettable reports whether the region has not heard from n since before t.
func (n *Node) Forgettable(t Time) bool { return n.Status != NodeReady && n.Changed < t }

// NodeHostVolume is a folder of a node that its configuration lets tasks mount.
type NodeHostVolume struct {
	ReadOnly bool `json:"read_only,omitempty"`
}

// Available returns what allocations share: without the disk of volumes, and with the volumes themselves.
func (n *Node) Available() Resources {
	r := n.Resources.Sub(n.Reserved)
	if len(n.Volumes) > 0 {
		for _, size := range n.Volumes {
			r.Disk -= size
		}
		r = r.Add(Resources{Sets: map[string][]string{VolumeSet: slices.Collect(maps.Keys(n.Volumes))}})
	}
	return r
}

// Driver is what a node says of one of its drivers.
type Driver struct {
	Healthy    bool              `json:"healthy"`
	Why        string            `json:"why,omitempty"` // why not
	Attributes map[string]string `json:"attributes,omitempty"`

	// Images that it has, by full name (ImageName), with what they take of the disk; 0: not known. A driver may say more and
	// in any form: BoundImages makes it this.
	Images map[string]Bytes `json:"images,omitempty"`
}
