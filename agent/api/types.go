package api

import "github.com/proffer/proffer/structs"

// Self is what an agent says of itself.
type Self struct {
	Name       string            `json:"name"`
	Version    string            `json:"version"`
	Region     string            `json:"region"`
	Datacenter string            `json:"datacenter"`
	Server     bool              `json:"server"`
	Client     bool              `json:"client"`
	Dev        bool              `json:"dev"`
	Node       structs.NodeID    `json:"node,omitempty"`   // of its client
	Leader     string            `json:"leader,omitempty"` // name of the leader, as far as it knows
	Config     map[string]any    `json:"config,omitempty"` // as merged; secrets are replaced by "(set)"
	Stats      map[string]string `json:"stats,omitempty"`  // names and values for people, such as raft.commit_index
}

// Member is one agent in the gossip pool.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address"` // host:port of its cluster port
	HTTP    string `json:"http,omitempty"`
	Role    string `json:"role"`   // server or client
	Status  string `json:"status"` // alive, suspect, left or failed
	Version string `json:"version"`
	Leader  bool   `json:"leader"`
}

// Joined is the answer to a join: how many of the addresses were reached.
type Joined struct {
	Joined int `json:"joined"`
}

// RaftPeer is one member of the Raft group.
type RaftPeer struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Leader  bool   `json:"leader"`
	Healthy bool   `json:"healthy"`
}

// SnapshotInfo says what is in a snapshot.
type SnapshotInfo struct {
	Version    int            `json:"version"` // of its format
	Index      uint64         `json:"index"`
	Region     string         `json:"region"`
	Generation string         `json:"generation,omitempty"`
	Time       structs.Time   `json:"time"`
	Size       structs.Bytes  `json:"size"`
	Records    map[string]int `json:"records"` // by table
	SHA256     string         `json:"sha256"`
}

// Keyring is the gossip keys in use: by key, how many members have it.
type Keyring struct {
	Primary string         `json:"primary"`
	Keys    map[string]int `json:"keys"`
	Members int            `json:"members"`
	// Problems has, by member, why it could not be asked.
	Problems map[string]string `json:"problems,omitempty"`
}

// Reloaded says what a reload changed.
type Reloaded struct {
	Changed []string `json:"changed"` // keys that took effect
	Restart []string `json:"restart"` // changed keys that need a restart of the agent
}

// Explanation says why the groups of a job are where they are, or why they wait.
type Explanation struct {
	Job    string              `json:"job"`
	Dry    bool                `json:"dry"` // of a plan: nothing was changed
	Groups []*GroupExplanation `json:"groups"`
}

// GroupExplanation is about one group.
type GroupExplanation struct {
	Group   string            `json:"group"`
	Ask     structs.Resources `json:"ask"` // of one allocation
	Count   int               `json:"count"`
	Placed  int               `json:"placed"`
	Waiting int               `json:"waiting"`
	Nodes   int               `json:"nodes"`             // all that the region has
	Fit     int               `json:"fit"`               // that would take one more now
	Reasons []*Reason         `json:"reasons"`           // what refused, most nodes first
	Order   string            `json:"order,omitempty"`   // what holds it back beside the nodes, in words
	Placing []*PlacedOn       `json:"placed_on"`         // where its allocations are and why there
	Advice  string            `json:"advice,omitempty"`  // what would help
	Avoided []*Avoided        `json:"avoided,omitempty"` // nodes among Fit that get one only when no other does

	// Of what waits.
	Because  string                `json:"because,omitempty"`  // turn, quota, closed, no_node or bound (enough is being stopped for others)
	Bounds   []*Bound              `json:"bounds,omitempty"`   // limits in its way, and guarantees that are used up
	Role     *structs.RoleStanding `json:"role,omitempty"`     // how its role stands
	Turn     *structs.Turn         `json:"turn,omitempty"`     // its place in the order of service
	Expected *structs.Expected     `json:"expected,omitempty"` // when it has room at the latest
	Help     []*Help               `json:"help,omitempty"`     // Advice, one change each

	// Of a plan: how many of those that wait get room because work of lower bands is stopped, and that work.
	Preempting int        `json:"preempting,omitempty"`
	Stops      []*Stopped `json:"stops,omitempty"`
}

// Avoided is nodes that are taken only when no other does, for one reason.
type Avoided struct {
	Kind  string       `json:"kind"`            // maintenance: it starts before an allocation that is placed now would end
	Nodes int          `json:"nodes"`           // how many
	On    string       `json:"on"`              // name of the one where it starts first
	Start structs.Time `json:"start,omitempty"` // there
}

// Stopped is an allocation that would be stopped to make room.
type Stopped struct {
	Alloc    structs.AllocID  `json:"alloc"`
	Job      string           `json:"job"`
	Role     string           `json:"role"`
	Priority structs.Priority `json:"priority"`
	Node     structs.NodeID   `json:"node"`
	NodeName string           `json:"node_name"`
}

// Reason is one constraint or resource that refused nodes. Numbers are in thousandths (CPU and custom resources), bytes or
// pieces (ports).
type Reason struct {
	What    string `json:"what"`              // "memory", "constraint ${attr.kernel.name} = linux", "driver docker"
	Nodes   int    `json:"nodes"`             // how many it refused
	Nearest string `json:"nearest,omitempty"` // the nearest miss: "1GiB asked, 512MiB free on node a"
	Kind    string `json:"kind"`              // resource, ports, port_taken, constraint, distinct_hosts, distinct_property, datacenter, driver_missing, …
	Subject string `json:"subject,omitempty"` // the resource, the constraint as written, the driver, the port
	Asked   int64  `json:"asked,omitempty"`   // of a resource
	Free    int64  `json:"free,omitempty"`    // of a resource, at the nearest node
	Have    string `json:"have,omitempty"`    // the nearest node's value, for constraints and the like
	On      string `json:"on,omitempty"`      // name of the nearest node
}

// Help is one change that would make one more fit on nodes that refuse for this reason alone.
type Help struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject,omitempty"`
	AtMost  int64  `json:"at_most,omitempty"` // of a resource, in the unit of Reason
	Nodes   int    `json:"nodes"`
}

// Bound is a bound of a role that is in the way of one more allocation.
type Bound struct {
	Role     string `json:"role"`
	Kind     string `json:"kind"`           // limit or guarantee
	Part     string `json:"part,omitempty"` // of the role that is bounded; empty: all of it
	Resource string `json:"resource"`       // or max_running
	Bound    int64  `json:"bound"`
	Used     int64  `json:"used"`
	Asked    int64  `json:"asked"`
}

// PlacedOn says where an allocation is, and what the node would score for it as all else is now: of the nodes on which it
// fits, the one with the highest score is taken. A node that it fills to the brim has 1 from packing.
type PlacedOn struct {
	Alloc    structs.AllocID    `json:"alloc"`
	Index    int                `json:"index"`
	Node     structs.NodeID     `json:"node"`
	NodeName string             `json:"node_name"`
	Score    float64            `json:"score"`
	Parts    map[string]float64 `json:"parts,omitempty"`
	Why      string             `json:"why,omitempty"` // why it does not run, or is not ready
}

// LogFrame is a piece of a task's output.
type LogFrame struct {
	Stream string `json:"stream"` // stdout or stderr
	Offset int64  `json:"offset"` // of Data's first byte, from the start of the stream, over rotated files
	Data   []byte `json:"data"`   // at most 64 KiB
	// Skipped is how many bytes before Data were lost to rotation.
	Skipped int64 `json:"skipped,omitempty"`
	// Err is why the stream ends here: it is the last frame, and it is set by the API only.
	Err *structs.Error `json:"error,omitempty"`
}

// LogsRequest asks for output.
type LogsRequest struct {
	Alloc  structs.AllocID `json:"alloc"`
	Task   string          `json:"task"`
	Stdout bool            `json:"stdout"`
	Stderr bool            `json:"stderr"`
	Follow bool            `json:"follow"` // go on until the task has ended for good
	Offset int64           `json:"offset"` // where to start; of both streams
	Tail   int64           `json:"tail"`   // at most so many bytes before the end; 0: from Offset
}

// Copied is what came into a folder.
type Copied struct {
	Files int           `json:"files"`
	Size  structs.Bytes `json:"size"`
}

// FileInfo is one entry of an allocation's folder.
type FileInfo struct {
	Name   string       `json:"name"`
	Dir    bool         `json:"dir"`
	Size   int64        `json:"size"`
	Mode   string       `json:"mode"` // as ls writes it
	Time   structs.Time `json:"time"`
	Target string       `json:"target,omitempty"` // of a symbolic link
}
