package operator

import (
	"cmp"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// What the calls that ask for something are answered, from the same picture as the documents.

func id[T ~string](s T) wire.ID { return wire.ID{Value: string(s)} }

func timeInfo(t structs.Time) *wire.TimeInfo {
	if t == 0 {
		return nil
	}
	return &wire.TimeInfo{Nanoseconds: int64(t)}
}

// taskMessage is a task as it travels.
func (p *lens) taskMessage(t *task) wire.Task {
	out := wire.Task{Name: t.name, TaskID: id(t.id), FrameworkID: id(t.alloc.Framework), AgentID: id(t.alloc.Node), State: mesos.TaskState(t.state),
		Resources: messages(t.holds(), rangesOf(t.ports())), Statuses: []wire.TaskStatus{p.statusMessage(t)}}
	if x := t.executor(); x != "" {
		out.ExecutorID = new(id(x))
	}
	info := t.info()
	if user := p.user(t, info); user != "" {
		out.User = &user
	}
	if t.external == nil {
		out.Labels = wire.LabelsOf(labelsIn(t))
		if len(t.group.Services) > 0 && t.first {
			out.Discovery = discoveryMessage(t)
		}
		return out
	}
	if info != nil {
		out.Name, out.Labels, out.Discovery, out.Container, out.HealthCheck = t.name, info.Labels, info.Discovery, info.Container, info.HealthCheck
	}
	return out
}

func discoveryMessage(t *task) *wire.DiscoveryInfo {
	d := &wire.DiscoveryInfo{Visibility: wire.VisibleCluster, Name: &t.group.Services[0].Name, Ports: &wire.Ports{}}
	for _, p := range t.alloc.Ports {
		port := wire.Port{Number: uint32(p.Port)}
		if p.Label != "" {
			port.Name = new(p.Label)
		}
		if p.Protocol != "" {
			port.Protocol = new(p.Protocol)
		}
		d.Ports.Ports = append(d.Ports.Ports, port)
	}
	return d
}

func (p *lens) statusMessage(t *task) wire.TaskStatus {
	container := t.container()
	out := wire.TaskStatus{TaskID: id(t.id), State: mesos.TaskState(t.state), AgentID: new(id(t.alloc.Node)), Healthy: t.healthy(),
		Timestamp: new(float64(t.since()) / 1e9), ContainerStatus: &wire.ContainerStatus{ContainerID: &container}}
	if x := t.executor(); x != "" {
		out.ExecutorID = new(id(x))
	}
	if t.said != nil && t.said.Why != "" {
		out.Message = new(t.said.Why)
	}
	if t.said != nil {
		out.CheckStatus = mesos.CheckStatus(t.said.Answer)
	}
	out.ContainerStatus.NetworkInfos = p.networks(t)
	return out
}

// getTasks returns all tasks.
func (p *picture) getTasks() *wire.GetTasks {
	out := &wire.GetTasks{}
	for a := range p.Allocs() {
		p.tasks(a, func(t *task) bool {
			list := t.place().list(out)
			*list = append(*list, p.taskMessage(t))
			return true
		})
	}
	return out
}

// list returns the list of an answer in which tasks of the place are.
func (is place) list(of *wire.GetTasks) *[]wire.Task {
	switch is {
	case unreachable:
		return &of.Unreachable
	case completed:
		return &of.Completed
	}
	return &of.Tasks
}

func (p *picture) getExecutors() *wire.GetExecutors {
	out := &wire.GetExecutors{}
	for a := range p.Allocs() {
		if a.External != nil && a.External.Executor != "" && !a.Ended() {
			out.Executors = append(out.Executors, wire.Executor{Info: wire.ExecutorInfo(*executorInfo(a)), AgentID: id(a.Node)})
		}
	}
	return out
}

// agentInfo is what a node of a region is.
func agentInfo(n *structs.Node, region string) wire.AgentInfo {
	return wire.AgentInfo{Domain: mesos.DomainOf(region, n.Datacenter), Hostname: mesos.HostOf(n), Port: new(int32(n.AgentPort())), ID: new(id(n.ID)), Attributes: mesos.AttributesOf(n.Meta),
		Resources: mesos.Resources("", n.Available(), []structs.Range{n.PortRange})}
}

// agentMessage is a node as it travels. Without offers, what is offered of it is not said.
func (p *picture) agentMessage(n *structs.Node, o *offered) wire.Agent {
	info := agentInfo(n, p.Meta().Region)
	out := wire.Agent{Info: info,
		Active: !deactivated(n), Deactivated: new(deactivated(n)), Version: mesosVersion, PID: new("slave(1)@" + net.JoinHostPort(info.Hostname, strconv.Itoa(n.AgentPort()))),
		Registered: timeInfo(n.Changed), Total: info.Resources, Allocated: messages(usedOn(p.Usage(n.ID)), nil)}
	if o != nil {
		out.Offered = messages(o.onNode[n.ID], nil)
	}
	for number, name := range wire.AgentCapabilityType(0).Names() {
		if slices.Contains(agentCapabilities, name) {
			out.Capabilities = append(out.Capabilities, wire.AgentCapability{Type: new(wire.AgentCapabilityType(number))})
		}
	}
	slices.SortFunc(out.Capabilities, func(a, b wire.AgentCapability) int { return int(*a.Type - *b.Type) })
	if n.Drain != nil {
		d := &wire.DrainInfo{State: wire.Drained}
		if p.draining(n) {
			d.State = wire.Draining
		}
		if n.Drain.Gone {
			d.Config.MarkGone = new(true)
		}
		switch {
		case n.Drain.MaxGrace != nil:
			d.Config.MaxGrace = &wire.DurationInfo{Nanoseconds: int64(*n.Drain.MaxGrace)}
		case n.Drain.Deadline != 0:
			d.Config.MaxGrace = &wire.DurationInfo{Nanoseconds: int64(max(0, n.Drain.Deadline.Sub(n.Drain.Started)))}
		}
		out.Drain, out.DrainStarted = d, timeInfo(n.Drain.Started)
	}
	return out
}

// draining reports whether a node that is drained has work still. One that is to be marked gone goes when it has none, and is never DRAINED.
func (p *picture) draining(n *structs.Node) bool {
	for range p.HeldOnNode(n.ID) {
		return true
	}
	return n.Drain.Gone
}

func (p *picture) getAgents(o *offered) *wire.GetAgents {
	out := &wire.GetAgents{}
	for n := range p.Nodes() {
		if n.Status == structs.NodeReady {
			out.Agents = append(out.Agents, p.agentMessage(n, o))
		}
	}
	return out
}

// frameworkMessage is a framework as it travels. Without offers, what is offered to it is not said.
func (p *picture) frameworkMessage(f *structs.Framework, o *offered) wire.Framework {
	out := wire.Framework{Info: *p.frameworkInfo(f), Active: f.Connected, Connected: f.Connected, Registered: timeInfo(f.Since), Unregistered: timeInfo(f.Ended)}
	if o == nil {
		return out
	}
	out.Allocated = messages(p.workOf(f.ID).used, nil)
	out.Offered = messages(o.toFramework[f.ID], nil)
	for _, x := range o.all {
		if x.Framework != f.ID {
			continue
		}
		host := x.NodeName
		if n := p.Node(x.Node); n != nil {
			host = mesos.HostOf(n)
		}
		out.Offers = append(out.Offers, wire.Offer{ID: id(x.ID), FrameworkID: id(f.ID), AgentID: id(x.Node), Hostname: host,
			Resources: messages(offerOf(x), nil), Allocation: &wire.AllocationInfo{Role: new(mesos.RoleOut(x.Role))}})
	}
	return out
}

// frameworkInfo is what is said of a framework; the roles of a built-in one are not looked for.
func (p *picture) frameworkInfo(f *structs.Framework) *wire.FrameworkInfo {
	info := mesos.FrameworkInfo(f)
	if f.BuiltIn {
		info.Roles, info.Role = nil, nil
	}
	return info
}

func (p *picture) getFrameworks(o *offered) *wire.GetFrameworks {
	out := &wire.GetFrameworks{}
	for f := range p.Frameworks() {
		if f.Ended != 0 {
			out.Completed = append(out.Completed, p.frameworkMessage(f, o))
		} else {
			out.Frameworks = append(out.Frameworks, p.frameworkMessage(f, o))
		}
	}
	return out
}

func (p *picture) getOperations() *wire.GetOperations {
	out := &wire.GetOperations{}
	for o := range p.Operations() {
		out.Operations = append(out.Operations, mesos.DecidedOperation(o))
	}
	return out
}

func (p *picture) getRoles() *wire.GetRoles {
	in := map[string][]wire.ID{}
	for f := range p.Frameworks() {
		if f.Ended == 0 {
			for _, role := range p.rolesIn(f) {
				in[role] = append(in[role], id(f.ID))
			}
		}
	}
	out := &wire.GetRoles{}
	for r := range p.Roles() {
		name := mesos.RoleOut(r.Name)
		out.Roles = append(out.Roles, wire.Role{Name: name, Weight: float64(weightOf(r)) / 1000, Frameworks: in[name],
			Resources: messages(usedIn(p.RoleUse(r.Name)), nil)})
	}
	return out
}

// weightOf is what a role counts: one that nobody made has no weight of its own.
func weightOf(r *structs.Role) structs.Milli { return cmp.Or(r.Weight, 1000) }

func (p *picture) getWeights() *wire.Weights {
	out := &wire.Weights{}
	for r := range p.Roles() {
		out.Weights = append(out.Weights, wire.WeightInfo{Weight: float64(weightOf(r)) / 1000, Role: new(mesos.RoleOut(r.Name))})
	}
	return out
}

func (p *picture) getQuota() *wire.GetQuota {
	out := &wire.GetQuota{}
	for r := range p.Roles() {
		guaranteed, limited := r.Guaranteed(), r.Limited()
		if guaranteed == nil && limited == nil {
			continue
		}
		name := mesos.RoleOut(r.Name)
		out.Status.Configs = append(out.Status.Configs, wire.QuotaConfig{Role: name, Guarantees: scalarsOf(guaranteed), Limits: scalarsOf(limited)})
		if guaranteed != nil {
			info := wire.QuotaInfo{Role: &name}
			amounts := scalarsOf(guaranteed)
			for _, resource := range sorted(amounts) {
				info.Guarantee = append(info.Guarantee, wire.Resource{Name: resource, Type: wire.ValueScalar, Scalar: amounts[resource]})
			}
			out.Status.Infos = append(out.Status.Infos, info)
		}
	}
	return out
}

// scalarsOf returns what a quota names, by the names and in the units of Mesos.
func scalarsOf(q *structs.QuotaAmount) map[string]*wire.Scalar {
	out := map[string]*wire.Scalar{}
	for name, amount := range q.All() {
		switch name {
		case "cpu":
			out["cpus"] = &wire.Scalar{Value: float64(amount) / 1000}
		case "memory":
			out["mem"] = &wire.Scalar{Value: float64(mebibytes(structs.Bytes(amount))) / 1000}
		case "disk":
			out["disk"] = &wire.Scalar{Value: float64(mebibytes(structs.Bytes(amount))) / 1000}
		default:
			out[name] = &wire.Scalar{Value: float64(amount) / 1000}
		}
	}
	return out
}

// machineOf names the machine that a node is: as its AgentInfo does, for tools look up the one by the other.
func machineOf(n *structs.Node) wire.MachineID {
	return wire.MachineID{Hostname: new(mesos.HostOf(n)), IP: new(mesos.HostOf(n))}
}

// getSchedule returns the windows of nodes; those at the same time are one.
func (p *picture) getSchedule() *wire.MaintenancePlan {
	byWindow := map[structs.Window][]wire.MachineID{}
	for n := range p.Nodes() {
		if n.Maintenance != nil {
			byWindow[n.Maintenance.Window] = append(byWindow[n.Maintenance.Window], machineOf(n))
		}
	}
	out := &wire.MaintenancePlan{}
	for _, w := range slices.SortedFunc(maps.Keys(byWindow), func(a, b structs.Window) int {
		if a.Start != b.Start {
			return int(max(-1, min(1, a.Start-b.Start)))
		}
		return int(max(-1, min(1, a.Duration-b.Duration)))
	}) {
		u := wire.Unavailability{Start: wire.TimeInfo{Nanoseconds: int64(w.Start)}}
		if w.Duration > 0 {
			u.Duration = &wire.DurationInfo{Nanoseconds: int64(w.Duration)}
		}
		out.Schedule.Windows = append(out.Schedule.Windows, wire.Window{Machines: byWindow[w], Unavailability: u})
	}
	return out
}

// maintenanceStatus says which machines are emptied and which are down, with what frameworks say to it.
func maintenanceStatus(p *picture, all []*structs.NodeMaintenance) *wire.MaintenanceStatus {
	out := &wire.MaintenanceStatus{}
	for _, m := range all {
		n := p.Node(m.Node)
		switch {
		case n == nil:
		case m.State == structs.MaintenanceDown:
			out.Status.Down = append(out.Status.Down, machineOf(n))
		default:
			d := wire.DrainingMachine{ID: machineOf(n)}
			for _, a := range m.Answers {
				is := map[string]wire.InverseAnswer{structs.InverseAccepted: wire.InverseAccepted, structs.InverseDeclined: wire.InverseDeclined}[a.Answer]
				if is != 0 {
					d.Statuses = append(d.Statuses, wire.InverseStatus{Status: is, FrameworkID: id(a.Framework), Timestamp: wire.TimeInfo{Nanoseconds: int64(a.Answered)}})
				}
			}
			out.Status.Draining = append(out.Status.Draining, d)
		}
	}
	return out
}

func metricsMessage(f figures) *wire.Metrics {
	out := &wire.Metrics{}
	for _, name := range sorted(f) {
		if x := f[name]; !math.IsNaN(x) && !math.IsInf(x, 0) {
			out.Metrics = append(out.Metrics, wire.Metric{Name: name, Value: &x})
		}
	}
	return out
}

func flagsMessage(flags map[string]string) *wire.Flags {
	out := &wire.Flags{}
	for _, name := range sorted(flags) {
		out.Flags = append(out.Flags, wire.Flag{Name: name, Value: new(flags[name])})
	}
	return out
}
