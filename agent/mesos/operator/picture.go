package operator

import (
	"slices"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// picture is one state as this API shows it. It is for one goroutine.
type picture struct {
	*state.Snapshot
	*lens
	of map[structs.FrameworkID]*work
}

// work is what a framework has in the region.
type work struct {
	allocs []*structs.Allocation // in the order of their ids
	used   structs.Resources     // of those that hold theirs
}

// lens shows allocations as this API does: a task of one is a task, also of the built-in frameworks. It is for one goroutine.
type lens struct {
	from   source
	groups map[groupKey]*group
	hosts  map[structs.NodeID]string
	one    task // that tasks yields
	seen   int  // by walk, which must look
	users  map[structs.FrameworkID]string

	custom     *structs.Allocation // that customUser is of
	customUser string
}

// source is what a lens looks up beside the allocations themselves.
type source interface {
	Version(job string, version uint64) *structs.JobVersion
	Node(structs.NodeID) *structs.Node
	Framework(structs.FrameworkID) *structs.Framework
	Gone(structs.NodeID) bool // an operator gave the node up
}

type groupKey struct {
	job     string
	version uint64
	group   string
}

// group is what the allocations of one version of a group have in common.
type group struct {
	*structs.Group
	job   *structs.Job
	fixed map[string][]byte // by task: see document.fixed
}

func newPicture(snap *state.Snapshot) *picture {
	return &picture{Snapshot: snap, lens: newLens(snap)}
}

func newLens(from source) *lens {
	return &lens{from: from, groups: map[groupKey]*group{}, hosts: map[structs.NodeID]string{}, users: map[structs.FrameworkID]string{}}
}

// workOf returns what a framework has.
func (p *picture) workOf(id structs.FrameworkID) *work {
	if p.of == nil {
		p.of = map[structs.FrameworkID]*work{}
		for a := range p.Allocs() {
			w := p.of[a.Framework]
			if w == nil {
				w = &work{}
				p.of[a.Framework] = w
			}
			w.allocs = append(w.allocs, a)
			if a.Holds() {
				w.used = w.used.Add(heldBy(a))
			}
		}
	}
	if w := p.of[id]; w != nil {
		return w
	}
	return &work{}
}

// groupOf returns the group of an allocation; one without tasks when its version is gone.
func (p *lens) groupOf(a *structs.Allocation) *group {
	key := groupKey{a.Job, a.Version, a.Group}
	if a.Job != "" { // a version without a name is of one allocation
		if g := p.groups[key]; g != nil {
			return g
		}
	}
	g := &group{Group: &structs.Group{}, job: &structs.Job{}, fixed: map[string][]byte{}}
	if v := p.from.Version(a.Job, a.Version); v != nil {
		g.job = v.Job
		if found := v.Job.Group(a.Group); found != nil {
			g.Group = found
		}
	}
	if a.Job != "" {
		p.groups[key] = g
	}
	return g
}

// host returns the address of a node; empty: it is not known.
func (p *lens) host(id structs.NodeID) string {
	host, known := p.hosts[id]
	if !known {
		if n := p.from.Node(id); n != nil && len(n.Hosts) > 0 {
			host = n.Hosts[0]
		}
		p.hosts[id] = host
	}
	return host
}

// task is one task.
type task struct {
	alloc    *structs.Allocation
	group    *group                // of a built-in framework; nil: it is of another
	spec     *structs.Task         // likewise
	external *structs.ExternalTask // of another one
	said     *structs.TaskState    // by the node; nil: nothing yet
	id       string
	name     string
	state    structs.TaskStatus
	first    bool // of its allocation
	alone    bool // in its allocation
}

// tasks calls yield with each task of an allocation until it returns false. The value is the same each time.
func (p *lens) tasks(a *structs.Allocation, yield func(*task) bool) {
	t := &p.one
	*t = task{alloc: a}
	if x := a.External; x != nil {
		t.alone = x.Executor == ""
		for i, one := range x.Tasks {
			t.external, t.said, t.first = one, a.Tasks[one.Name], i == 0
			t.id, t.name = one.ID, one.Name
			t.state = p.statusOf(a, one, t.said)
			if !yield(t) {
				return
			}
		}
		return
	}
	t.group = p.groupOf(a)
	t.alone = len(t.group.Tasks) == 1
	for i, spec := range t.group.Tasks {
		t.spec, t.said, t.first = spec, a.Tasks[spec.Name], i == 0
		t.id, t.name = taskID(a, spec.Name, t.alone), spec.Name+"."+a.Group+"."+a.Job
		t.state = p.statusOf(a, nil, t.said)
		if !yield(t) {
			return
		}
	}
}

// walk calls yield with each of many allocations. What tasks looks at lies apart in memory, one behind the other: it is looked at for some
// of them first, step by step, so that their memory is waited for at once (of 100,000 tasks, a fifth of the time of /state).
func (p *lens) walk(all []*structs.Allocation, yield func(*structs.Allocation)) {
	for some := range slices.Chunk(all, 32) {
		for _, a := range some {
			p.seen += len(a.Role) + len(a.Status) + len(a.Tasks) + len(a.Ports) + int(a.Modified)
			if a.External != nil {
				p.seen += len(a.External.Tasks)
			}
		}
		for _, a := range some {
			if t := firstOf(a); t != nil {
				p.seen += len(t.Name) + len(t.Info) + len(t.TakenBack) + len(t.Updates)
			}
		}
		for _, a := range some {
			if t := firstOf(a); t != nil {
				if said := a.Tasks[t.Name]; said != nil {
					p.seen += len(said.Status)
				}
			}
		}
		for _, a := range some {
			yield(a)
		}
	}
}

// firstOf returns the first task of an allocation of an external framework; nil: it has none.
func firstOf(a *structs.Allocation) *structs.ExternalTask {
	if a.External == nil || len(a.External.Tasks) == 0 {
		return nil
	}
	return a.External.Tasks[0]
}

// info returns what a framework said of its task, which has the name that it gave it from then on; nil: it said nothing more, or the task is
// of a job.
func (t *task) info() *wire.TaskInfo {
	if t.external == nil {
		return nil
	}
	raw := t.external.Info
	if len(raw) == 0 {
		raw = t.external.About
	}
	info := &wire.TaskInfo{}
	if len(raw) == 0 || wire.Protobuf.Unmarshal(raw, info) != nil {
		return nil
	}
	t.name = info.Name
	return info
}

// taskID is how a task of a built-in framework is called: the id of its allocation, and its name when that has several.
func taskID(a *structs.Allocation, name string, alone bool) string {
	if alone {
		return string(a.ID)
	}
	return string(a.ID) + "." + name
}

// statusOf says how a task is, by what is known now.
func (p *lens) statusOf(a *structs.Allocation, x *structs.ExternalTask, said *structs.TaskState) structs.TaskStatus {
	is := a.TaskIs(x, said)
	switch {
	case is != structs.TaskUnreachable || p.from.Node(a.Node) != nil:
		return is
	case p.from.Gone(a.Node):
		return structs.TaskGoneByOperator
	}
	return structs.TaskGone
}

// since says when a task came into its state, as far as that is known.
func (t *task) since() structs.Time {
	if t.external != nil {
		if n := len(t.external.Updates); n > 0 {
			return t.external.Updates[n-1].Time
		}
	}
	switch {
	case t.said == nil:
	case t.said.Status.Ended() && t.said.Ended != 0:
		return t.said.Ended
	case t.said.Status == structs.TaskRunning && t.said.Started != 0:
		return t.said.Started
	}
	return t.alloc.Modified
}

// healthy says what its checks say; nil: it has none.
func (t *task) healthy() *bool {
	if t.external != nil {
		if n := len(t.external.Updates); n > 0 && t.external.Updates[n-1].Healthy != nil {
			return t.external.Updates[n-1].Healthy
		}
	}
	if t.said == nil || len(t.said.Checks) == 0 {
		return nil
	}
	return new(t.said.Ready())
}

// executor is what the framework calls the executor of the task; empty: it is a command.
func (t *task) executor() string {
	if t.external != nil {
		return t.alloc.External.Executor
	}
	if t.alone {
		return ""
	}
	return string(t.alloc.ID)
}

// holds returns what the task itself holds, as it is shown. What of an allocation with several tasks of a job is revocable is of none of them.
func (t *task) holds() structs.Resources {
	switch {
	case t.external != nil && t.alloc.External.Executor != "":
		return shown(t.external.Resources, t.external.Revocable.Amount())
	case t.alone || t.spec == nil || t.spec.Resources == nil:
		return heldBy(t.alloc)
	}
	r := t.spec.Resources
	cpu := r.CPU
	if r.Cores > 0 {
		cpu = structs.Milli(1000 * r.Cores)
	}
	return structs.Resources{CPU: cpu, Memory: r.Memory, Disk: r.Disk, Custom: r.Custom}
}

// user says as whom a task runs; empty: as whom the node chooses. info is what its framework said of it. The version of an external task is not
// looked at for it: there are as many as tasks.
func (p *lens) user(t *task, info *wire.TaskInfo) string {
	switch {
	case t.spec != nil:
		return t.spec.User
	case info != nil && info.Command != nil && wire.TextOf(info.Command.User) != "":
		return *info.Command.User
	case t.alloc.External.Custom:
		if user := p.executorUser(t.alloc); user != "" {
			return user
		}
	}
	user, known := p.users[t.alloc.Framework]
	if !known {
		if f := p.from.Framework(t.alloc.Framework); f != nil {
			user = f.User
		}
		p.users[t.alloc.Framework] = user
	}
	return user
}

// executorUser says as whom a custom executor runs, and so its tasks; empty: as its framework.
func (p *lens) executorUser(a *structs.Allocation) string {
	if p.custom != a { // its tasks come one after the other
		p.custom, p.customUser = a, ""
		if c := executorInfo(a).Command; c != nil {
			p.customUser = wire.TextOf(c.User)
		}
	}
	return p.customUser
}

// ports returns the ports of the task: those of an allocation are its first task's.
func (t *task) ports() []structs.AssignedPort {
	switch {
	case t.external != nil && t.alloc.External.Executor != "":
		return t.external.Ports
	case t.first:
		return t.alloc.Ports
	}
	return nil
}

// container names what it runs in, as updates of the task do.
func (t *task) container() wire.ContainerID {
	id := string(t.alloc.ID)
	if t.alone || t.alloc.External != nil && t.alloc.External.Custom {
		return wire.ContainerID{Value: id}
	}
	name := ""
	switch {
	case t.external != nil:
		name = t.external.Name
	case t.spec != nil:
		name = t.spec.Name
	}
	return wire.ContainerID{Value: id + "." + name, Parent: &wire.ContainerID{Value: id}}
}

// networks are what a task is in, in order; none: its address is not known.
func (p *lens) networks(t *task) []wire.NetworkInfo {
	if own := p.ownNetworks(t); own != nil {
		return mesos.NetworkInfos(own)
	}
	if host := p.address(t); host != "" {
		return mesos.OfNode(host)
	}
	return nil
}

// ownNetworks are the networks of a task beside that of its node; nil: it has none. The version of an allocation is looked at for those alone that
// have.
func (p *lens) ownNetworks(t *task) []*server.TaskNetwork {
	said := t.said
	if x := t.alloc.External; x != nil && x.Custom {
		said = t.alloc.Tasks[server.ExecutorTask]
	}
	if said == nil || len(said.Addresses)+len(said.Joined) == 0 {
		return nil
	}
	return server.NetworksOf(t.alloc, said, p.groupOf(t.alloc).Group)
}

// address is where a task in the network of its node is reached; empty: it is not known.
func (p *lens) address(t *task) string {
	for _, p := range t.alloc.Ports {
		if p.Host != "" {
			return p.Host
		}
	}
	return p.host(t.alloc.Node)
}

// place says in which of the lists of Mesos a task is: of those that live, of those whose node is away, or of those that ended.
func (t *task) place() place {
	switch {
	case t.state == structs.TaskUnreachable:
		return unreachable
	case t.state.Ended():
		return completed
	}
	return live
}

type place int

const (
	live place = iota
	unreachable
	completed
)

// stateName is a state as Mesos writes it.
func stateName(s structs.TaskStatus) string {
	switch s {
	case structs.TaskRunning: // the usual one
		return "TASK_RUNNING"
	}
	return mesos.TaskState(s).String()
}

// deactivated reports whether an operator takes the node out of use.
func deactivated(n *structs.Node) bool { return !n.Eligible || n.Drain != nil }

// rolesIn returns the roles of a framework as Mesos names them. Those of a built-in one are those of its work.
func (p *picture) rolesIn(f *structs.Framework) (out []string) {
	if !f.BuiltIn {
		for _, r := range f.Roles {
			out = append(out, mesos.RoleOut(r))
		}
		return out
	}
	seen := map[string]bool{}
	last := ""
	for _, a := range p.workOf(f.ID).allocs {
		if a.Role != last && !seen[a.Role] {
			seen[a.Role] = true
			out = append(out, mesos.RoleOut(a.Role))
		}
		last = a.Role
	}
	return out
}
