package state

import "github.com/proffer/proffer/structs"

// Table names a kind of record.
type Table uint8

const (
	Nodes      Table = iota + 1 // *structs.Node by id
	Jobs                        // *structs.JobRecord by name
	Versions                    // *structs.JobVersion by job and version
	Allocs                      // *structs.Allocation by id
	Roles                       // *structs.Role by name
	Frameworks                  // *structs.Framework by id
	Metas                       // *Meta, one

	answers // what was answered under an idempotency key; in persisted state only

	Reservations // *structs.Reservation by id
	Volumes      // *structs.Volume by name
	Variables    // *structs.Variable by path
	RegionKeys   // *structs.RegionKey by id
	Operations   // *structs.Operation by framework and id

	lastTable = Operations
)

var tableNames = [...]string{"", "nodes", "jobs", "versions", "allocs", "roles", "frameworks", "meta", "answers", "reservations", "volumes", "variables", "keys", "operations"}

func (t Table) String() string {
	if int(t) >= len(tableNames) {
		return "table"
	}
	return tableNames[t]
}

// Key is something that can be watched: a table, one record, or the allocations of one node or job.
type Key struct {
	table Table
	scope scope
	id    string
}

type scope uint8

const (
	wholeTable scope = iota
	oneRecord
	ofNode
	ofJob
	ofService
)

// OfTable is the key of every record in a table.
func OfTable(t Table) Key { return Key{table: t} }

// OfNode is the key of one node.
func OfNode(id structs.NodeID) Key { return Key{Nodes, oneRecord, string(id)} }

// OfJob is the key of one job record.
func OfJob(name string) Key { return Key{Jobs, oneRecord, name} }

// OfVersions is the key of all versions of one job.
func OfVersions(job string) Key { return Key{Versions, ofJob, job} }

// OfAlloc is the key of one allocation.
func OfAlloc(id structs.AllocID) Key { return Key{Allocs, oneRecord, string(id)} }

// OfNodeAllocs is the key of the allocations on one node.
func OfNodeAllocs(id structs.NodeID) Key { return Key{Allocs, ofNode, string(id)} }

// OfJobAllocs is the key of the allocations of one job.
func OfJobAllocs(job string) Key { return Key{Allocs, ofJob, job} }

// OfRole is the key of one role.
func OfRole(name string) Key { return Key{Roles, oneRecord, name} }

// OfFramework is the key of one framework.
func OfFramework(id structs.FrameworkID) Key { return Key{Frameworks, oneRecord, string(id)} }

// OfReservation is the key of one reservation.
func OfReservation(id structs.ReservationID) Key { return Key{Reservations, oneRecord, string(id)} }

// OfVolume is the key of one volume.
func OfVolume(name string) Key { return Key{Volumes, oneRecord, name} }

// OfNodeVolumes is the key of the volumes on one node.
func OfNodeVolumes(id structs.NodeID) Key { return Key{Volumes, ofNode, string(id)} }

// OfVariable is the key of one variable.
func OfVariable(path string) Key { return Key{Variables, oneRecord, path} }

// OfService is the key of the versions of jobs that have a service.
func OfService(name string) Key { return Key{Versions, ofService, name} }

// Change is one record before and after: Old is nil for a new record, New for a removed one. Both are pointers of the
// table's type and immutable.
type Change struct {
	Index uint64
	Table Table
	Old   any
	New   any
}

// Batch is the changes of one Raft index, in the order in which they were made. A record may be in it more than once.
type Batch struct {
	Index   uint64
	Time    structs.Time
	Changes []Change

	last int // while a part for a feed is collected: the position of its last change
}

// keys calls yield for each key that c touches: at most four, and one for each node that a volume is attached to, and for each service of
// a job.
func (c *Change) keys(yield func(Key)) {
	yield(Key{table: c.Table})
	record := c.New
	if record == nil {
		record = c.Old
	}
	switch r := record.(type) {
	case *structs.Node:
		yield(OfNode(r.ID))
	case *structs.JobRecord:
		yield(OfJob(r.Name))
	case *structs.JobVersion:
		yield(OfVersions(r.Job.Name))
		for _, name := range servicesOf(r.Job) {
			yield(OfService(name))
		}
	case *structs.Allocation:
		yield(OfAlloc(r.ID))
		yield(OfNodeAllocs(r.Node))
		if r.Job != "" {
			yield(OfJobAllocs(r.Job))
		}
	case *structs.Role:
		yield(OfRole(r.Name))
	case *structs.Framework:
		yield(OfFramework(r.ID))
	case *structs.Reservation:
		yield(OfReservation(r.ID))
	case *structs.Volume:
		yield(OfVolume(r.Name))
		if r.Node != "" {
			yield(OfNodeVolumes(r.Node))
		}
		if r.CSI != nil {
			for node := range r.CSI.Attached {
				yield(OfNodeVolumes(node))
			}
		}
	case *structs.Variable:
		yield(OfVariable(r.Path))
	}
}
