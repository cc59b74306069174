package operator

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/structs"
)

// Bounds of what is shown of a node.
const (
	mostEnded      = 500    // allocations that ended
	mostContainers = 10_000 // with statistics
)

// local is what a client shows of its node at one time. It is for one goroutine.
type local struct {
	*lens
	self       About
	node       *structs.Node
	port       int
	master     string // name of the server that the node has a session with; empty: there is none
	known      []client.Known
	frameworks []*localFramework                  // by id
	versions   map[versionKey]*structs.JobVersion // of what has not ended
	remains    map[versionKey]*structs.Job        // of what has: the names of its tasks
}

type versionKey struct {
	job     string
	version uint64
}

// localFramework is a framework with what the node has of it.
type localFramework struct {
	info      *wire.FrameworkInfo
	executors []*client.Known
	completed []*client.Known
}

// live reports whether something of it has not ended.
func (f *localFramework) live() bool { return len(f.executors) > 0 }

// Version is what the lens looks up. Of what ended it has only what is remembered.
func (l *local) Version(job string, version uint64) *structs.JobVersion {
	key := versionKey{job, version}
	if v := l.versions[key]; v != nil {
		return v
	}
	if j := l.remains[key]; j != nil {
		return &structs.JobVersion{Version: version, Job: j}
	}
	return nil
}

// Node is what the lens looks up.
func (l *local) Node(id structs.NodeID) *structs.Node {
	if id == l.node.ID {
		return l.node
	}
	return nil
}

// Gone is what the lens looks up: a node that knows that it is there is not.
func (l *local) Gone(structs.NodeID) bool { return false }

// Framework is what the lens looks up.
func (l *local) Framework(id structs.FrameworkID) *structs.Framework {
	for _, f := range l.frameworks {
		if f.info.ID.Value == string(id) {
			return &structs.Framework{ID: id, Name: f.info.Name, User: f.info.User}
		}
	}
	return nil
}

// now looks at the node.
func (c *Clients) now(ctx context.Context) *local { return c.at(ctx, mostEnded) }

// at looks at the node, and at no more allocations that ended than it is asked for.
func (c *Clients) at(ctx context.Context, ended int) *local {
	l := &local{self: c.About(), node: c.Client.Node(), port: c.Port, known: c.Client.Known(ended), versions: map[versionKey]*structs.JobVersion{},
		remains: map[versionKey]*structs.Job{}}
	l.lens = newLens(l)
	if server, connected := c.Client.Connected(); connected {
		l.master = server
	}
	byID := map[structs.FrameworkID]*localFramework{}
	for i := range l.known {
		k := &l.known[i]
		a := k.Alloc
		f := byID[a.Framework]
		if f == nil {
			f = &localFramework{}
			byID[a.Framework] = f
		}
		if f.info == nil && a.External != nil && len(a.External.Framework) > 0 {
			info := &wire.FrameworkInfo{}
			if wire.Protobuf.Unmarshal(a.External.Framework, info) == nil {
				f.info = info
			}
		}
		key := versionKey{a.Job, a.Version}
		if k.Ended != 0 {
			f.completed = append(f.completed, k)
			if a.External == nil {
				l.remember(key, k)
			}
			continue
		}
		f.executors = append(f.executors, k)
		l.versions[key] = k.Job
	}
	var unknown []structs.FrameworkID
	for id, f := range byID {
		if f.info == nil {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 && c.Frameworks != nil {
		for _, f := range c.Frameworks(ctx, unknown) {
			if at := byID[f.ID]; at != nil {
				at.info = mesos.FrameworkInfo(f)
			}
		}
	}
	for id, f := range byID {
		if f.info == nil { // no server answers
			f.info = &wire.FrameworkInfo{Name: string(id)}
		}
		f.info.ID = &wire.ID{Value: string(id)}
		l.frameworks = append(l.frameworks, f)
	}
	slices.SortFunc(l.frameworks, func(a, b *localFramework) int { return cmp.Compare(a.info.ID.Value, b.info.ID.Value) })
	return l
}

// remember notes which tasks an allocation had that ended.
func (l *local) remember(of versionKey, k *client.Known) {
	j := l.remains[of]
	if j == nil {
		j = &structs.Job{Name: of.job}
		l.remains[of] = j
	}
	if j.Group(k.Alloc.Group) == nil {
		g := &structs.Group{Name: k.Alloc.Group}
		for _, name := range k.Tasks {
			g.Tasks = append(g.Tasks, &structs.Task{Name: name})
		}
		j.Groups = append(j.Groups, g)
	}
}

// executor says what an allocation is called as an executor, and where that comes from.
func (l *local) executor(k *client.Known) (name, source string) {
	x := k.Alloc.External
	switch {
	case x == nil:
		return k.Alloc.Group + "." + k.Alloc.Job, k.Alloc.Job
	case x.Executor != "":
		info := executorInfo(k.Alloc)
		return cmp.Or(info.name(), x.Executor), wire.TextOf(info.Source)
	}
	return "Command Executor (Task: " + executorOf(k.Alloc) + ")", executorOf(k.Alloc)
}

// executorMessage is an executor as it travels.
func (l *local) executorMessage(k *client.Known) wire.AgentExecutor {
	a := k.Alloc
	if a.External != nil && a.External.Executor != "" {
		return wire.AgentExecutor{Info: wire.ExecutorInfo(*executorInfo(a))}
	}
	name, source := l.executor(k)
	return wire.AgentExecutor{Info: wire.ExecutorInfo{ExecutorID: wire.ID{Value: executorOf(a)}, FrameworkID: new(id(a.Framework)),
		Name: &name, Source: &source, Resources: messages(heldBy(a), rangesOf(a.Ports))}}
}

func (l *local) getExecutors() *wire.GetAgentExecutors {
	out := &wire.GetAgentExecutors{}
	for _, f := range l.frameworks {
		for _, k := range f.executors {
			out.Executors = append(out.Executors, l.executorMessage(k))
		}
		for _, k := range f.completed {
			out.Completed = append(out.Completed, l.executorMessage(k))
		}
	}
	return out
}

func (l *local) getFrameworks() *wire.GetAgentFrameworks {
	out := &wire.GetAgentFrameworks{}
	for _, f := range l.frameworks {
		if f.live() {
			out.Frameworks = append(out.Frameworks, wire.AgentFramework{Info: *f.info})
		} else {
			out.Completed = append(out.Completed, wire.AgentFramework{Info: *f.info})
		}
	}
	return out
}

func (l *local) getTasks() *wire.GetAgentTasks {
	out := &wire.GetAgentTasks{}
	for i := range l.known {
		l.tasks(l.known[i].Alloc, func(t *task) bool {
			if t.place() == completed {
				out.Completed = append(out.Completed, l.taskMessage(t))
			} else {
				out.Launched = append(out.Launched, l.taskMessage(t))
			}
			return true
		})
	}
	return out
}

// held is what the allocations of the node hold together.
func (l *local) held() (sum structs.Resources) {
	for i := range l.known {
		if k := &l.known[i]; k.Ended == 0 {
			sum = sum.Add(heldBy(k.Alloc))
		}
	}
	return sum
}

// parted parts what the allocations of the node hold into what is set aside for roles, which work of these and of those below them uses first,
// and the rest.
func (l *local) parted() (byRole map[string]structs.Resources, rest structs.Resources) {
	byRole = map[string]structs.Resources{}
	for i := range l.known {
		k := &l.known[i]
		if k.Ended != 0 {
			continue
		}
		held := heldBy(k.Alloc).Add(structs.OfPorts(rangesOf(k.Alloc.Ports)))
		for role := k.Alloc.Role; role != ""; role = role[:max(0, strings.LastIndexByte(role, '/'))] {
			if x := l.node.ReservedFor[role]; x != nil {
				part := held.Least(x.Sub(byRole[role]))
				byRole[role], held = byRole[role].Add(part), held.Sub(part)
			}
		}
		rest = rest.Add(held)
	}
	return byRole, rest
}

// state writes the answer to /state.
func (l *local) state(e *encoder) {
	d := &document{encoder: e, self: l.self}
	n, host := l.node, mesos.HostOf(l.node)
	e.open('{')
	d.version()
	e.secondsAt("start_time", l.self.Started)
	e.textAt("id", string(n.ID))
	e.textAt("pid", "slave(1)@"+net.JoinHostPort(host, strconv.Itoa(l.port)))
	e.textAt("hostname", host)
	e.textAt("name", n.Name)
	e.intAt("port", int64(l.port))
	e.listOf("capabilities", agentCapabilities)
	d.domain(l.self.Region, n.Datacenter)
	e.attributes(n.Meta)
	total, held := n.Available(), l.held()
	ports := []structs.Range{n.PortRange}
	e.resources("resources", total, ports)
	rest, unreserved := total, ports
	e.key("reserved_resources")
	e.open('{')
	for _, role := range sorted(n.ReservedFor) {
		e.named(mesos.RoleOut(role))
		e.amount(*n.ReservedFor[role], nil)
		rest, unreserved = rest.Sub(*n.ReservedFor[role]), without(unreserved, *n.ReservedFor[role])
	}
	e.close('}')
	e.resources("unreserved_resources", rest, unreserved)
	e.key("reserved_resources_full")
	e.open('{')
	for _, role := range sorted(n.ReservedFor) {
		e.named(mesos.RoleOut(role))
		e.objects(mesos.Resources(role, *n.ReservedFor[role], nil))
	}
	e.close('}')
	e.key("unreserved_resources_full")
	e.objects(mesos.Resources("", rest, unreserved))
	e.resources("used_resources", held, nil)
	byRole, free := l.parted()
	e.key("reserved_resources_allocated")
	e.open('{')
	for _, role := range sorted(byRole) {
		e.named(mesos.RoleOut(role))
		e.amount(byRole[role], nil)
	}
	e.close('}')
	e.resources("unreserved_resources_allocated", free, nil)
	if l.master != "" {
		e.textAt("master_hostname", l.master)
	}
	d.flags()
	for _, list := range []struct {
		key  string
		live bool
	}{{"frameworks", true}, {"completed_frameworks", false}} {
		e.key(list.key)
		e.open('[')
		for _, f := range l.frameworks {
			if f.live() == list.live {
				l.framework(e, f)
			}
		}
		e.close(']')
	}
	e.close('}')
}

func (l *local) framework(e *encoder, f *localFramework) {
	info := f.info
	e.open('{')
	e.textAt("id", info.ID.Value)
	e.textAt("name", info.Name)
	e.textAt("user", info.User)
	e.key("failover_timeout")
	seconds := 0.0
	if info.FailoverTimeout != nil {
		seconds = *info.FailoverTimeout
	}
	e.comma()
	e.buf = appendNumber(e.buf, seconds)
	e.boolAt("checkpoint", true)
	e.textAt("hostname", wire.TextOf(info.Hostname))
	if info.Principal != nil {
		e.textAt("principal", *info.Principal)
	}
	if info.Role != nil {
		e.textAt("role", *info.Role)
	} else {
		e.listOf("roles", info.Roles)
	}
	for _, list := range []struct {
		key string
		all []*client.Known
	}{{"executors", f.executors}, {"completed_executors", f.completed}} {
		e.key(list.key)
		e.open('[')
		for _, k := range list.all {
			l.executorObject(e, k)
		}
		e.close(']')
	}
	e.close('}')
	e.part()
}

// executorObject writes an executor with its tasks.
func (l *local) executorObject(e *encoder, k *client.Known) {
	a := k.Alloc
	name, source := l.executor(k)
	e.open('{')
	e.textAt("id", executorOf(a))
	e.textAt("name", name)
	e.textAt("source", source)
	e.textAt("container", string(a.ID))
	e.textAt("directory", directory(a))
	e.textAt("role", mesos.RoleOut(a.Role))
	e.resources("resources", heldBy(a), rangesOf(a.Ports))
	if x := a.External; x != nil && x.Executor != "" {
		e.textAt("type", executorType(a))
		if info := executorInfo(a); info.Labels != nil && len(info.Labels.Labels) > 0 {
			e.key("labels")
			e.raw(listJSON(info.Labels))
		}
	}
	for _, list := range []struct {
		key  string
		over bool
	}{{"tasks", false}, {"completed_tasks", true}} {
		e.key(list.key)
		e.open('[')
		l.tasks(a, func(t *task) bool {
			if (t.place() == completed) == list.over {
				page{l.lens, e}.task(t)
			}
			return true
		})
		e.close(']')
	}
	e.empty("queued_tasks")
	e.close('}')
	e.part()
}
