package state

import (
	"cmp"
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"github.com/proffer/proffer/structs"
)

// Meta is what the region knows of itself.
type Meta struct {
	Region       string
	Generation   string // changes when an operator restores a snapshot
	FeatureLevel int
	ModifyIndex  uint64
	Gone         *goneNodes `json:",omitempty" codec:",omitempty"` // see Snapshot.Gone
}

// Snapshot is the state at one Raft index. It is immutable and may be used from any goroutine; it costs memory for as
// long as it is kept only for what changed since.
type Snapshot struct {
	index uint64
	now   structs.Time
	trees
	tables [lastTable + 1]uint64 // the index of the last change of each table
}

// trees hold the records and the indexes. Records are in the tree of their table only; indexes hold ids.
type trees struct {
	meta       *Meta
	nodes      *btree.Map[structs.NodeID, *structs.Node]
	jobs       *btree.Map[string, *structs.JobRecord]
	versions   *btree.BTreeG[*structs.JobVersion]
	allocs     *btree.Map[structs.AllocID, *structs.Allocation]
	roles      *btree.Map[string, *structs.Role]
	frameworks *btree.Map[structs.FrameworkID, *structs.Framework]

	reservations *btree.Map[structs.ReservationID, *structs.Reservation]
	byReserved   *btree.Map[structs.NodeID, *nodeReservations]
	volumes      *btree.Map[string, *structs.Volume]
	variables    *btree.Map[string, *structs.Variable]
	variableUse  *btree.Map[string, *structs.VariableUse] // by role or space, without the roles below; "": all
	expiring     *btree.BTreeG[expiringKey]
	regionKeys   *btree.Map[string, *structs.RegionKey]
	operations   *btree.Map[string, *structs.Operation]
	byService    *btree.BTreeG[serviceKey]
	byOutside    *btree.BTreeG[outsideKey]

	byNode    *btree.BTreeG[nodeKey]
	byJob     *btree.BTreeG[slotKey]
	ended     *btree.BTreeG[endedKey]
	endedJobs *btree.BTreeG[endedJobKey]
	ports     *btree.BTreeG[portKey]
	byTask    *btree.BTreeG[taskKey]
	usage     *btree.Map[structs.NodeID, *Usage]
	roleUse   *btree.Map[string, *RoleUse] // without the roles below
	tally     *Tally                       // nil: nothing was counted yet
	counting  *Tally                       // the tally, while it may be changed; see tallied
}

// RoleUse is what a role holds and wants.
type RoleUse struct {
	Usage
	Jobs    int // ended ones too
	Placed  int // allocations of jobs that are to run and did not end
	Wanted  int // what its jobs want, see JobRecord
	Pending int // what is wanted and not placed
}

// Usage is what the allocations on a node, or in a role, that did not end hold.
type Usage struct {
	Resources structs.Resources
	Slack     structs.Slack // what is revocable: on a node beside Resources, in a role among them
	Allocs    int
}

// nodeKey orders allocations by node; those that hold resources come first.
type nodeKey struct {
	node  structs.NodeID
	ended bool
	id    structs.AllocID
}

// slotKey orders allocations by job, group and index, the newest last.
type slotKey struct {
	job, group  string
	index       int
	incarnation uint64
	id          structs.AllocID
}

// taskKey orders the tasks of external frameworks by framework and by what they call them.
type taskKey struct {
	framework structs.FrameworkID
	task      string
	id        structs.AllocID
}

type endedKey struct {
	at uint64 // Raft index at which it ended
	id structs.AllocID
}

type endedJobKey struct {
	at   uint64
	name string
}

type portKey struct {
	node structs.NodeID
	port int
	host string
	id   structs.AllocID
}

func newTrees() trees {
	options := btree.Options{NoLocks: true}
	return trees{
		meta:       &Meta{},
		nodes:      btree.NewMap[structs.NodeID, *structs.Node](0),
		jobs:       btree.NewMap[string, *structs.JobRecord](0),
		allocs:     btree.NewMap[structs.AllocID, *structs.Allocation](0),
		roles:      btree.NewMap[string, *structs.Role](0),
		frameworks: btree.NewMap[structs.FrameworkID, *structs.Framework](0),
		usage:      btree.NewMap[structs.NodeID, *Usage](0),

		reservations: btree.NewMap[structs.ReservationID, *structs.Reservation](0),
		byReserved:   btree.NewMap[structs.NodeID, *nodeReservations](0),
		volumes:      btree.NewMap[string, *structs.Volume](0),
		variables:    btree.NewMap[string, *structs.Variable](0),
		variableUse:  btree.NewMap[string, *structs.VariableUse](0),
		expiring:     btree.NewBTreeGOptions(expiringKey.less, options),
		regionKeys:   btree.NewMap[string, *structs.RegionKey](0),
		operations:   btree.NewMap[string, *structs.Operation](0),
		byService:    btree.NewBTreeGOptions(serviceKey.less, options),
		byOutside:    btree.NewBTreeGOptions(outsideKey.less, options),

		roleUse: btree.NewMap[string, *RoleUse](0),
		versions: btree.NewBTreeGOptions(func(a, b *structs.JobVersion) bool {
			if c := strings.Compare(a.Job.Name, b.Job.Name); c != 0 {
				return c < 0
			}
			return a.Version < b.Version
		}, options),
		byNode: btree.NewBTreeGOptions(func(a, b nodeKey) bool {
			if a.node != b.node {
				return a.node < b.node
			}
			if a.ended != b.ended {
				return b.ended
			}
			return a.id < b.id
		}, options),
		byJob: btree.NewBTreeGOptions(func(a, b slotKey) bool { return a.compare(b) < 0 }, options),
		byTask: btree.NewBTreeGOptions(func(a, b taskKey) bool {
			if a.framework != b.framework {
				return a.framework < b.framework
			}
			if a.task != b.task {
				return a.task < b.task
			}
			return a.id < b.id
		}, options),
		ended: btree.NewBTreeGOptions(func(a, b endedKey) bool {
			if a.at != b.at {
				return a.at < b.at
			}
			return a.id < b.id
		}, options),
		endedJobs: btree.NewBTreeGOptions(func(a, b endedJobKey) bool {
			if a.at != b.at {
				return a.at < b.at
			}
			return a.name < b.name
		}, options),
		ports: btree.NewBTreeGOptions(func(a, b portKey) bool {
			if a.node != b.node {
				return a.node < b.node
			}
			if a.port != b.port {
				return a.port < b.port
			}
			if a.host != b.host {
				return a.host < b.host
			}
			return a.id < b.id
		}, options),
	}
}

func (a slotKey) compare(b slotKey) int {
	if c := strings.Compare(a.job, b.job); c != 0 {
		return c
	}
	if c := strings.Compare(a.group, b.group); c != 0 {
		return c
	}
	if c := cmp.Compare(a.index, b.index); c != 0 {
		return c
	}
	if c := cmp.Compare(a.incarnation, b.incarnation); c != 0 {
		return c
	}
	return strings.Compare(string(a.id), string(b.id))
}

// Index returns the Raft index of the last entry in it.
func (s *Snapshot) Index() uint64 { return s.index }

// Time returns the time of the last entry in it.
func (s *Snapshot) Time() structs.Time { return s.now }

// TableIndex returns the Raft index of the last change of a table.
func (s *Snapshot) TableIndex(t Table) uint64 { return s.tables[t] }

// Meta returns what the region knows of itself.
func (s *Snapshot) Meta() *Meta { return s.meta }

// Node returns a node, or nil.
func (s *Snapshot) Node(id structs.NodeID) *structs.Node { return get(s.nodes, id) }

// Nodes yields all nodes by id.
func (s *Snapshot) Nodes() iter.Seq[*structs.Node] { return from(s.nodes, "") }

// NodesFrom yields the nodes whose id is at least id: the rest of a page.
func (s *Snapshot) NodesFrom(id structs.NodeID) iter.Seq[*structs.Node] { return from(s.nodes, id) }

// NodeCount returns how many nodes there are.
func (s *Snapshot) NodeCount() int { return s.nodes.Len() }

// NodesWithPrefix returns up to max nodes whose id begins with prefix.
func (s *Snapshot) NodesWithPrefix(prefix string, max int) []*structs.Node {
	return withPrefix(s.nodes, structs.NodeID(prefix), max)
}

// Usage returns what is taken on a node. A node without allocations has a zero one; it is never nil.
func (s *Snapshot) Usage(id structs.NodeID) *Usage {
	if u := get(s.usage, id); u != nil {
		return u
	}
	return &Usage{}
}

// RoleUse returns what a role and those below it hold and want.
func (s *Snapshot) RoleUse(name string) RoleUse { return s.useBelow(name) }

// PortTaken returns the allocation that holds a port on one of a node's addresses. An empty host means every address.
func (s *Snapshot) PortTaken(node structs.NodeID, host string, port int) (structs.AllocID, bool) {
	return s.portTaken(node, host, port)
}

func (t *trees) portTaken(node structs.NodeID, host string, port int) (by structs.AllocID, taken bool) {
	t.ports.Ascend(portKey{node: node, port: port}, func(k portKey) bool {
		if k.node != node || k.port != port {
			return false
		}
		if host == "" || k.host == "" || k.host == host {
			by, taken = k.id, true
			return false
		}
		return true
	})
	return by, taken
}

// Job returns what the region knows of a job, or nil.
func (s *Snapshot) Job(name string) *structs.JobRecord { return get(s.jobs, name) }

// Jobs yields all jobs by name.
func (s *Snapshot) Jobs() iter.Seq[*structs.JobRecord] { return from(s.jobs, "") }

// JobsFrom yields the jobs whose name is at least name.
func (s *Snapshot) JobsFrom(name string) iter.Seq[*structs.JobRecord] { return from(s.jobs, name) }

// JobCount returns how many jobs there are.
func (s *Snapshot) JobCount() int { return s.jobs.Len() }

// EndedJobCount returns how many of them ended.
func (s *Snapshot) EndedJobCount() int { return s.endedJobs.Len() }

// JobsWithPrefix returns up to max jobs whose name begins with prefix.
func (s *Snapshot) JobsWithPrefix(prefix string, max int) []*structs.JobRecord {
	return withPrefix(s.jobs, prefix, max)
}

// Version returns one version of a job, or nil.
func (s *Snapshot) Version(job string, version uint64) *structs.JobVersion {
	return s.version(job, version)
}

func (t *trees) version(job string, version uint64) *structs.JobVersion {
	v, _ := t.versions.Get(&structs.JobVersion{Job: &structs.Job{Name: job}, Version: version})
	return v
}

// Current returns the newest version of a job, or nil.
func (s *Snapshot) Current(job string) *structs.JobVersion {
	if r := s.Job(job); r != nil {
		return s.version(job, r.Version)
	}
	return nil
}

// VersionsOf yields the versions of a job that are kept, the oldest first.
func (s *Snapshot) VersionsOf(job string) iter.Seq[*structs.JobVersion] { return s.versionsOf(job) }

func (t *trees) versionsOf(job string) iter.Seq[*structs.JobVersion] {
	return func(yield func(*structs.JobVersion) bool) {
		t.versions.Ascend(&structs.JobVersion{Job: &structs.Job{Name: job}}, func(v *structs.JobVersion) bool {
			return v.Job.Name == job && yield(v)
		})
	}
}

// Alloc returns an allocation, or nil.
func (s *Snapshot) Alloc(id structs.AllocID) *structs.Allocation { return get(s.allocs, id) }

// Allocs yields all allocations by id.
func (s *Snapshot) Allocs() iter.Seq[*structs.Allocation] { return from(s.allocs, "") }

// AllocsFrom yields the allocations whose id is at least id.
func (s *Snapshot) AllocsFrom(id structs.AllocID) iter.Seq[*structs.Allocation] {
	return from(s.allocs, id)
}

// AllocCount returns how many allocations there are, and how many of them ended.
func (s *Snapshot) AllocCount() (all, ended int) { return s.allocs.Len(), s.ended.Len() }

// AllocsWithPrefix returns up to max allocations whose id begins with prefix.
func (s *Snapshot) AllocsWithPrefix(prefix string, max int) []*structs.Allocation {
	return withPrefix(s.allocs, structs.AllocID(prefix), max)
}

// AllocsOnNode yields the allocations of a node: first those that hold resources, then the ended ones.
func (s *Snapshot) AllocsOnNode(id structs.NodeID) iter.Seq[*structs.Allocation] {
	return s.onNode(id, true)
}

// HeldOnNode yields the allocations of a node that did not end.
func (s *Snapshot) HeldOnNode(id structs.NodeID) iter.Seq[*structs.Allocation] {
	return s.onNode(id, false)
}

func (t *trees) onNode(id structs.NodeID, ended bool) iter.Seq[*structs.Allocation] {
	return func(yield func(*structs.Allocation) bool) {
		t.byNode.Ascend(nodeKey{node: id}, func(k nodeKey) bool {
			return k.node == id && (ended || !k.ended) && yield(get(t.allocs, k.id))
		})
	}
}

// AllocsOfJob yields the allocations of a job by group, index and age, the newest of an index last.
func (s *Snapshot) AllocsOfJob(job string) iter.Seq[*structs.Allocation] {
	return s.ofSlot(slotKey{job: job}, func(k slotKey) bool { return k.job == job })
}

// AllocsOfGroup yields the allocations of a group by index and age.
func (s *Snapshot) AllocsOfGroup(job, group string) iter.Seq[*structs.Allocation] {
	return s.ofSlot(slotKey{job: job, group: group}, func(k slotKey) bool { return k.job == job && k.group == group })
}

// AllocsOfIndex yields the allocations of one index of a group by age.
func (s *Snapshot) AllocsOfIndex(job, group string, index int) iter.Seq[*structs.Allocation] {
	return s.ofIndex(job, group, index)
}

func (t *trees) ofIndex(job, group string, index int) iter.Seq[*structs.Allocation] {
	return t.ofSlot(slotKey{job: job, group: group, index: index},
		func(k slotKey) bool { return k.job == job && k.group == group && k.index == index })
}

func (t *trees) ofSlot(first slotKey, in func(slotKey) bool) iter.Seq[*structs.Allocation] {
	return func(yield func(*structs.Allocation) bool) {
		t.byJob.Ascend(first, func(k slotKey) bool { return in(k) && yield(get(t.allocs, k.id)) })
	}
}

// Role returns a role, or nil.
func (s *Snapshot) Role(name string) *structs.Role { return get(s.roles, name) }

// Roles yields all roles by name.
func (s *Snapshot) Roles() iter.Seq[*structs.Role] { return from(s.roles, "") }

// Framework returns a framework, or nil; also one that was removed and is remembered.
func (s *Snapshot) Framework(id structs.FrameworkID) *structs.Framework { return get(s.frameworks, id) }

// Frameworks yields all frameworks by id.
func (s *Snapshot) Frameworks() iter.Seq[*structs.Framework] { return from(s.frameworks, "") }

func get[K ~string, V any](tree *btree.Map[K, *V], key K) *V {
	v, _ := tree.Get(key)
	return v
}

func from[K ~string, V any](tree *btree.Map[K, *V], first K) iter.Seq[*V] {
	return func(yield func(*V) bool) {
		tree.Ascend(first, func(_ K, v *V) bool { return yield(v) })
	}
}

func withPrefix[K ~string, V any](tree *btree.Map[K, *V], prefix K, max int) (found []*V) {
	tree.Ascend(prefix, func(k K, v *V) bool {
		if len(found) >= max || !strings.HasPrefix(string(k), string(prefix)) {
			return false
		}
		found = append(found, v)
		return true
	})
	return found
}
