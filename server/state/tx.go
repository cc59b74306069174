package state

import (
	"fmt"
	"iter"
	"runtime/debug"
	"slices"

	"github.com/tidwall/btree"

	"github.com/proffer/proffer/structs"
)

// Tx is what a command reads and changes the state through. It belongs to one entry: commands of one entry see what the
// earlier ones changed. It is used by one goroutine.
type Tx struct {
	Index uint64       // of the entry
	Now   structs.Time // of the entry; it never goes back
	Actor string       // of the command

	*trees
	changes []Change // of the entry, in order
	starts  uint64   // allocations that the entry made
	born    uint64   // volumes that the entry made
	dirty   dirty
}

// dirty has a bit for each table that changed, and more for the indexes of allocations.
type dirty uint32

const (
	dirtyByNode dirty = 1 << (16 + iota)
	dirtyByJob
	dirtyEnded
	dirtyEndedJobs
	dirtyUsage
	dirtyPorts
	dirtyReserved
	dirtyByTask
	dirtyByService
	dirtyByOutside
)

// run applies one command and undoes what it did when it fails. A panic in Apply is the same on every server; it becomes
// an Internal error, whose stack is only its cause: that differs between servers, and the error is remembered.
func (tx *Tx) run(c Command) (answer any, err error) {
	mark, starts, was := len(tx.changes), tx.starts, tx.dirty
	defer func() {
		if p := recover(); p != nil {
			e := structs.Errorf(structs.Internal, c.Kind(), "the command panicked: %v", p)
			e.Err = fmt.Errorf("%v\n%s", p, debug.Stack())
			answer, err = nil, e
		}
		if err != nil {
			answer, err = nil, structs.AsError(err)
			tx.undo(mark)
			tx.starts, tx.dirty = starts, was
		}
	}()
	return c.Apply(tx)
}

func (tx *Tx) undo(mark int) {
	for _, c := range slices.Backward(tx.changes[mark:]) {
		tx.install(c.Table, c.New, c.Old)
	}
	clear(tx.changes[mark:])
	tx.changes = tx.changes[:mark]
}

// put replaces old by new in a table, each a pointer of the table's type or a bare nil, and notes the change.
func (tx *Tx) put(t Table, old, new any) {
	tx.install(t, old, new)
	tx.changes = append(tx.changes, Change{Index: tx.Index, Table: t, Old: old, New: new})
}

func (tx *Tx) install(t Table, old, new any) {
	tx.dirty |= 1<<t | tx.trees.install(t, old, new)
}

// install puts new in the place of old and keeps the indexes. It returns which indexes changed.
func (t *trees) install(table Table, old, new any) (d dirty) {
	switch table {
	case Nodes:
		install(t.nodes, old, new, func(n *structs.Node) structs.NodeID { return n.ID })
		was, _ := old.(*structs.Node)
		is, _ := new.(*structs.Node)
		t.countNode(was, is)
	case Jobs:
		install(t.jobs, old, new, func(r *structs.JobRecord) string { return r.Name })
		d = t.indexJob(old, new)
	case Versions:
		if new != nil {
			t.versions.Set(new.(*structs.JobVersion))
		} else {
			t.versions.Delete(old.(*structs.JobVersion))
		}
		d = t.indexVersion(old, new)
	case Allocs:
		install(t.allocs, old, new, func(a *structs.Allocation) structs.AllocID { return a.ID })
		was, _ := old.(*structs.Allocation)
		is, _ := new.(*structs.Allocation)
		d = t.indexAlloc(was, is)
	case Roles:
		install(t.roles, old, new, func(r *structs.Role) string { return r.Name })
	case Frameworks:
		install(t.frameworks, old, new, func(f *structs.Framework) structs.FrameworkID { return f.ID })
	case Reservations:
		install(t.reservations, old, new, func(r *structs.Reservation) structs.ReservationID { return r.ID })
		d = t.indexReservation(old, new)
	case Volumes:
		install(t.volumes, old, new, func(v *structs.Volume) string { return v.Name })
		d = t.indexVolume(old, new)
	case Variables:
		install(t.variables, old, new, func(v *structs.Variable) string { return v.Path })
		t.countVariable(old, new)
	case RegionKeys:
		install(t.regionKeys, old, new, func(k *structs.RegionKey) string { return k.ID })
	case Operations:
		install(t.operations, old, new, (*structs.Operation).Key)
	case Metas:
		t.meta = new.(*Meta)
	default:
		panic(fmt.Sprintf("table %d", table))
	}
	return d
}

func install[K ~string, V any](tree *btree.Map[K, *V], old, new any, key func(*V) K) {
	if new != nil {
		v := new.(*V)
		tree.Set(key(v), v)
		return
	}
	tree.Delete(key(old.(*V)))
}

func (t *trees) indexJob(old, new any) (d dirty) {
	if r, ok := old.(*structs.JobRecord); ok && r.Ended != 0 {
		t.endedJobs.Delete(endedJobKey{r.ModifyIndex, r.Name})
		d = dirtyEndedJobs
	}
	if r, ok := new.(*structs.JobRecord); ok && r.Ended != 0 {
		t.endedJobs.Set(endedJobKey{r.ModifyIndex, r.Name})
		d = dirtyEndedJobs
	}
	was, _ := old.(*structs.JobRecord)
	is, _ := new.(*structs.JobRecord)
	if was != nil && is != nil && was.Role == is.Role && was.Wanted == is.Wanted {
		return d
	}
	if is != nil { // first, so that what both use does not vanish in between
		t.useRole(is.Role, func(u *RoleUse) { u.Jobs++; u.Wanted += is.Wanted })
	}
	if was != nil {
		t.useRole(was.Role, func(u *RoleUse) { u.Jobs--; u.Wanted -= was.Wanted })
	}
	return d | dirtyUsage
}

func (t *trees) indexAlloc(old, new *structs.Allocation) (d dirty) {
	if new == nil {
		t.countForgotten(old, nil)
	}
	if old == nil || new == nil || old.Ended() != new.Ended() {
		if old != nil {
			t.byNode.Delete(nodeKey{old.Node, old.Ended(), old.ID})
		}
		if new != nil {
			t.byNode.Set(nodeKey{new.Node, new.Ended(), new.ID})
		}
		d |= dirtyByNode
	}
	if old == nil && new.Job != "" {
		t.byJob.Set(slotKey{new.Job, new.Group, new.Index, new.Incarnation, new.ID})
		d |= dirtyByJob
	} else if new == nil && old.Job != "" {
		t.byJob.Delete(slotKey{old.Job, old.Group, old.Index, old.Incarnation, old.ID})
		d |= dirtyByJob
	}
	if old == nil && new.External != nil {
		for _, x := range new.External.Tasks {
			t.byTask.Set(taskKey{new.Framework, x.ID, new.ID})
		}
		d |= dirtyByTask
	} else if new == nil && old.External != nil {
		for _, x := range old.External.Tasks {
			t.byTask.Delete(taskKey{old.Framework, x.ID, old.ID})
		}
		d |= dirtyByTask
	} else if old != nil && new != nil && new.External != nil && !sameTasks(old.External, new.External) {
		t.countForgotten(old, new.External)
		for _, x := range old.External.Tasks {
			t.byTask.Delete(taskKey{old.Framework, x.ID, old.ID})
		}
		for _, x := range new.External.Tasks {
			t.byTask.Set(taskKey{new.Framework, x.ID, new.ID})
		}
		d |= dirtyByTask
	}
	if old != nil && old.Ended() {
		t.ended.Delete(endedKey{old.ModifyIndex, old.ID})
		d |= dirtyEnded
	}
	if new != nil && new.Ended() {
		t.ended.Set(endedKey{new.ModifyIndex, new.ID})
		d |= dirtyEnded
	}
	held, holds := old != nil && old.Holds(), new != nil && new.Holds()
	if held && !holds {
		d |= t.hold(old, -1)
	} else if holds && !held {
		d |= t.hold(new, 1)
	} else if holds && new.External != nil && !new.HoldsAs(old) {
		d |= t.hold(old, -1) | t.hold(new, 1)
	}
	if placed(old) != placed(new) {
		by, a := 1, new
		if a == nil || !placed(a) {
			by, a = -1, old
		}
		t.useRole(a.Role, func(u *RoleUse) { u.Placed += by })
		d |= dirtyUsage
	}
	return d
}

// sameTasks reports whether two versions of an allocation have the same tasks.
func sameTasks(x, y *structs.External) bool {
	return x == y || x.Made == y.Made && len(x.Tasks) == len(y.Tasks)
}

// hold adds what a holds to the usage of its node and its role (sign 1) or takes it away (sign -1).
func (t *trees) hold(a *structs.Allocation, sign int) dirty {
	t.useRole(a.Role, func(u *RoleUse) { u.hold(a.Resources, a.OfSlack(), sign) })
	u := Usage{}
	if old := get(t.usage, a.Node); old != nil {
		u = *old
	}
	u.hold(a.Booked(), a.OfSlack(), sign)
	if u.Allocs == 0 {
		t.usage.Delete(a.Node)
	} else {
		t.usage.Set(a.Node, &u)
	}
	for _, p := range a.Ports {
		k := portKey{a.Node, p.Port, p.Host, a.ID}
		if sign > 0 {
			t.ports.Set(k)
		} else {
			t.ports.Delete(k)
		}
	}
	if len(a.Ports) > 0 {
		return dirtyUsage | dirtyPorts
	}
	return dirtyUsage
}

// publish copies what changed, so that readers keep the state as it is now, and returns it as the next snapshot.
func (tx *Tx) publish(last *Snapshot) *Snapshot {
	s := *last
	s.index, s.now = tx.Index, tx.Now
	d := tx.dirty
	for t := range lastTable + 1 {
		if d&(1<<t) != 0 {
			s.tables[t] = tx.Index
		}
	}
	s.meta, s.tally, tx.counting = tx.meta, tx.tally, nil
	if d&(1<<Nodes) != 0 {
		s.nodes = tx.nodes.Copy()
	}
	if d&(1<<Jobs) != 0 {
		s.jobs = tx.jobs.Copy()
	}
	if d&(1<<Versions) != 0 {
		s.versions = tx.versions.Copy()
	}
	if d&(1<<Allocs) != 0 {
		s.allocs = tx.allocs.Copy()
	}
	if d&(1<<Roles) != 0 {
		s.roles = tx.roles.Copy()
	}
	if d&(1<<Frameworks) != 0 {
		s.frameworks = tx.frameworks.Copy()
	}
	if d&(1<<Reservations) != 0 {
		s.reservations = tx.reservations.Copy()
	}
	if d&(1<<Volumes) != 0 {
		s.volumes = tx.volumes.Copy()
	}
	if d&(1<<Variables) != 0 {
		s.variables, s.variableUse, s.expiring = tx.variables.Copy(), tx.variableUse.Copy(), tx.expiring.Copy()
	}
	if d&(1<<RegionKeys) != 0 {
		s.regionKeys = tx.regionKeys.Copy()
	}
	if d&(1<<Operations) != 0 {
		s.operations = tx.operations.Copy()
	}
	if d&dirtyByService != 0 {
		s.byService = tx.byService.Copy()
	}
	if d&dirtyByOutside != 0 {
		s.byOutside = tx.byOutside.Copy()
	}
	if d&dirtyReserved != 0 {
		s.byReserved = tx.byReserved.Copy()
	}
	if d&dirtyByNode != 0 {
		s.byNode = tx.byNode.Copy()
	}
	if d&dirtyByJob != 0 {
		s.byJob = tx.byJob.Copy()
	}
	if d&dirtyByTask != 0 {
		s.byTask = tx.byTask.Copy()
	}
	if d&dirtyEnded != 0 {
		s.ended = tx.ended.Copy()
	}
	if d&dirtyEndedJobs != 0 {
		s.endedJobs = tx.endedJobs.Copy()
	}
	if d&dirtyUsage != 0 {
		s.usage, s.roleUse = tx.usage.Copy(), tx.roleUse.Copy()
	}
	if d&dirtyPorts != 0 {
		s.ports = tx.ports.Copy()
	}
	return &s
}

// copied returns trees that may be changed while those of t are read.
func (t *trees) copied() trees {
	return trees{
		meta: t.meta, nodes: t.nodes.Copy(), jobs: t.jobs.Copy(), versions: t.versions.Copy(), allocs: t.allocs.Copy(),
		roles: t.roles.Copy(), frameworks: t.frameworks.Copy(), byNode: t.byNode.Copy(), byJob: t.byJob.Copy(),
		ended: t.ended.Copy(), endedJobs: t.endedJobs.Copy(), ports: t.ports.Copy(), usage: t.usage.Copy(),
		roleUse: t.roleUse.Copy(), reservations: t.reservations.Copy(), byReserved: t.byReserved.Copy(),
		byTask: t.byTask.Copy(), volumes: t.volumes.Copy(), variables: t.variables.Copy(), variableUse: t.variableUse.Copy(),
		expiring: t.expiring.Copy(), regionKeys: t.regionKeys.Copy(), operations: t.operations.Copy(), byService: t.byService.Copy(),
		byOutside: t.byOutside.Copy(), tally: t.tally,
	}
}

// Readers for commands. Unlike those of a Snapshot they see what the entry has changed so far; what they yield must not
// be changed while they are ranged over: collect first.

func (tx *Tx) node(id structs.NodeID) (*structs.Node, error) {
	if n := get(tx.nodes, id); n != nil {
		return n, nil
	}
	return nil, structs.Errorf(structs.NotFound, "node "+string(id), "there is no such node")
}

func (tx *Tx) job(name string) (*structs.JobRecord, error) {
	if r := get(tx.jobs, name); r != nil {
		return r, nil
	}
	return nil, structs.Errorf(structs.NotFound, fmt.Sprintf("job %q", name), "there is no such job")
}

func (tx *Tx) alloc(id structs.AllocID) (*structs.Allocation, error) {
	if a := get(tx.allocs, id); a != nil {
		return a, nil
	}
	return nil, structs.Errorf(structs.NotFound, "allocation "+string(id), "there is no such allocation")
}

func (tx *Tx) held(id structs.NodeID) []*structs.Allocation {
	return slices.Collect(tx.onNode(id, false))
}

func (tx *Tx) ofJob(name string) iter.Seq[*structs.Allocation] {
	return tx.ofSlot(slotKey{job: name}, func(k slotKey) bool { return k.job == name })
}

func (tx *Tx) receipt() *Receipt { return &Receipt{Index: tx.Index} }

// Writers. Each stores a changed copy; the argument is not kept.

func (tx *Tx) putNode(old *structs.Node, n structs.Node) {
	n.ModifyIndex = tx.Index
	if n.Eligible {
		n.Closed = nil
	}
	if old == nil {
		n.CreateIndex = tx.Index
		tx.put(Nodes, nil, &n)
		return
	}
	tx.put(Nodes, old, &n)
	if n.Status == structs.NodeReady && !n.Available().Fits(old.Available()) {
		tx.shrunk(&n)
	}
}

func (tx *Tx) putJob(old *structs.JobRecord, r structs.JobRecord) {
	r.ModifyIndex, r.Wanted = tx.Index, tx.wants(&r)
	if old == nil {
		r.CreateIndex = tx.Index
		tx.put(Jobs, nil, &r)
		return
	}
	tx.put(Jobs, old, &r)
}

func (tx *Tx) putAlloc(old *structs.Allocation, a structs.Allocation) *structs.Allocation {
	a.Modified, a.ModifyIndex = tx.Now, tx.Index
	if old == nil {
		a.Created, a.CreateIndex, a.WantIndex = tx.Now, tx.Index, tx.Index
		tx.put(Allocs, nil, &a)
		return &a
	}
	tx.put(Allocs, old, &a)
	return &a
}

// stop has a stopped, unless it ended or is being stopped: at once, also when it waits for what replaces it.
func (tx *Tx) stop(a *structs.Allocation, why string) { tx.replace(a, why, 0) }

// replace has a stopped for a version of its job; 0: for nothing. What can be told to no node any more is lost at once.
func (tx *Tx) replace(a *structs.Allocation, why string, by uint64) {
	if a.Ended() || a.Desired == structs.DesiredStop && (a.ReplacedBy == 0 || by != 0) {
		return
	}
	next := *a
	next.Desired, next.DesiredWhy, next.ReplacedBy, next.WantIndex = structs.DesiredStop, bounded(why), by, tx.Index
	if n := get(tx.nodes, a.Node); n == nil || n.Status == structs.NodeLeft {
		next.Status, next.Why = structs.AllocLost, "its node is gone"
	}
	tx.putAlloc(a, next)
}

func (tx *Tx) lose(a *structs.Allocation, why string) {
	if a.Ended() {
		return
	}
	next := *a
	next.Status, next.Why = structs.AllocLost, bounded(why)
	tx.putAlloc(a, next)
	if n := get(tx.nodes, a.Node); n != nil && (n.Status == structs.NodeLost || n.Gone != nil) && a.OnLost != structs.OnLostFence {
		tx.unfenced(a)
	}
}

// bounded cuts texts that come from outside.
func bounded(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
