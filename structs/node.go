package structs

import (
	"maps"
	"slices"
	"strconv"
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
	ReservedFor map[string]*Resources `json:"reserved_for,omitempty"` // of what is shared, set aside for roles: scalars, and ports by their numbers
	PortRange   Range                 `json:"port_range"`
	Hosts       []string              `json:"hosts,omitempty"` // addresses that tasks may use, the advertised one first
	// Networks are addresses that tasks may use by a name (host_network of a port), beside Hosts.
	Networks map[string][]string `json:"networks,omitempty"`
	// HostVolumes are folders of it that tasks may mount, by name.
	HostVolumes map[string]*NodeHostVolume `json:"host_volumes,omitempty"`
	// Disks are places for volumes beside the disk of its data folder, by name.
	Disks map[string]*NodeDisk `json:"disks,omitempty"`
	// Plugins are the storage plugins that run on it, by name.
	Plugins map[string]*NodePlugin `json:"plugins,omitempty"`
	// Problems are what it finds wrong with itself (health checks that fail, its disk), sorted. With any it gets no more work.
	Problems []string `json:"problems,omitempty"`

	// Set by the servers.
	Incarnation uint64     `json:"incarnation"` // one more each time the region takes it back after it was lost
	Session     uint64     `json:"session"`     // number of its newest one: what comes from an older one does not count
	Lease       Duration   `json:"lease"`       // the longest that it may still hold; servers wait that long or longer for it
	Status      NodeStatus `json:"status"`
	Eligible    bool       `json:"eligible"` // the operator lets work be placed here
	Drain       *Drain     `json:"drain,omitempty"`
	DrainIndex  uint64     `json:"drain_index"`      // the Raft index at which Eligible or Drain were last set
	Closed      *Closed    `json:"closed,omitempty"` // why it is not eligible; nil: it is, or its maintenance says why
	Gone        *Closed    `json:"gone,omitempty"`   // who marked it gone: it ends its work, and then it is forgotten; nil: nobody
	Untold      bool       `json:"untold,omitempty"` // it is back, and has not told yet what it runs: that may need the room
	Changed     Time       `json:"changed"`          // of Status
	Reason      string     `json:"reason,omitempty"`
	CreateIndex uint64     `json:"create_index"`
	ModifyIndex uint64     `json:"modify_index"`

	Maintenance *Maintenance `json:"maintenance,omitempty"` // a window in which it will not be there

	// Volumes has the persistent volumes on its disks, by name.
	Volumes map[string]*NodeVolume `json:"volumes,omitempty"`
	// Attached has the volumes of plugins that it may use, by name, with the plugin.
	Attached map[string]string `json:"attached,omitempty"`
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
	Gone     bool `json:"gone,omitempty"`  // once it is empty, it is marked gone
	Kills    bool `json:"kills,omitempty"` // tasks of external frameworks are stopped at once, as a drain of Mesos does
	// MaxGrace is the longest that a task of an external framework may take to end; nil: as long as it asks for.
	MaxGrace *Duration `json:"max_grace,omitempty"`
}

// Closed says who has had a node take no new work, and why.
type Closed struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	Since  Time   `json:"since"`
}

// Schedulable reports whether new work may be placed on n.
func (n *Node) Schedulable() bool {
	return n.Status == NodeReady && !n.Untold && n.Eligible && n.Drain == nil && len(n.Problems) == 0
}

// Forgettable reports whether the region has not heard from n since before t.
func (n *Node) Forgettable(t Time) bool { return n.Status != NodeReady && n.Changed < t }

// NodeHostVolume is a folder of a node that its configuration lets tasks mount.
type NodeHostVolume struct {
	ReadOnly    bool        `json:"read_only,omitempty"`
	Propagation Propagation `json:"propagation,omitempty"` // the most that a mount of it may ask for; empty: private
}

// Clients of Mesos reach a node at UsualAgentPort, unless its attribute AttrAgentPort says otherwise.
const (
	UsualAgentPort = 5051
	AttrAgentPort  = "mesos.port"
)

// AgentPort returns where the node serves what clients of Mesos ask an agent.
func (n *Node) AgentPort() int {
	if port, err := strconv.Atoi(n.Attributes[AttrAgentPort]); err == nil && port > 0 && port <= 65535 {
		return port
	}
	return UsualAgentPort
}

// Available returns what allocations share: without the disk of volumes, and with the volumes themselves.
func (n *Node) Available() Resources {
	r := n.Resources.Sub(n.Reserved)
	if len(n.Volumes) > 0 {
		for _, v := range n.Volumes {
			if v.Pool != "" {
				r = r.Sub(v.MadeOf()).Add(OnDisk(v.Disk, v.Size))
			}
			r = r.Sub(v.Takes())
		}
		for name, left := range r.Custom {
			if _, is := DiskOf(name); is && left < 0 {
				r.Custom[name] = 0 // it is away, with what is on it
			}
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
