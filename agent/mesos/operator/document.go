package operator

import (
	"net"
	"strconv"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// mesosVersion is what is said to whoever asks for the version of Mesos. Clients in use read it as three numbers, and look for what came
// with them.
const mesosVersion = "1.11.0"

// About is what an agent says of itself.
type About struct {
	Region   string // its name
	Zone     string // of it, in which the agent is
	Name     string // of the agent
	Version  string // of Proffer
	Started  structs.Time
	LogLevel string
	Flags    map[string]string // its configuration, without secrets
}

// document is one answer that is being written.
type document struct {
	*picture
	*encoder
	self    About
	leader  string // host:port of the HTTP API of the leader
	elected structs.Time
	offered *offered
	slacks  map[structs.NodeID]structs.Slack // what is reserved on nodes and not used; only where the leader is asked
	from    *Servers                         // that it is of; nil: of a client

	maintenance []*structs.NodeMaintenance // for GET_MAINTENANCE_STATUS
}

// version writes what is said of a version.
func (d *document) version() {
	d.textAt("version", mesosVersion)
	d.textAt("build_date", "")
	d.key("build_time")
	d.milli(0)
	d.textAt("build_user", "")
	d.textAt("git_sha", "")
	d.textAt("proffer_version", d.self.Version)
}

// hostPort parts an address; what has no port has none.
func hostPort(address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, ""
	}
	return host, port
}

// state writes /state.
func (d *document) state() {
	host, port := hostPort(d.leader)
	process := "master@" + d.leader
	d.open('{')
	d.version()
	d.secondsAt("start_time", d.self.Started)
	d.secondsAt("elected_time", d.elected)
	d.textAt("id", d.masterID())
	d.textAt("pid", process)
	d.textAt("hostname", host)
	d.listOf("capabilities", masterCapabilities)
	up, down, away := d.counts()
	d.intAt("activated_slaves", int64(up))
	d.intAt("deactivated_slaves", int64(down))
	d.intAt("unreachable_slaves", int64(away))
	d.domain(d.self.Region, d.self.Zone)
	d.textAt("leader", process)
	d.key("leader_info")
	d.open('{')
	d.textAt("id", d.masterID())
	d.textAt("pid", process)
	d.textAt("hostname", host)
	if port != "" {
		d.key("port")
		d.raw([]byte(port))
	}
	d.domain(d.self.Region, d.self.Zone)
	d.close('}')
	d.textAt("cluster", d.self.Region)
	d.flags()
	d.slaves(false)
	d.frameworks("", true)
	d.empty("orphan_tasks", "unregistered_frameworks")
	d.close('}')
}

// masterID names the region: frameworks and nodes keep their ids when another server leads.
func (d *document) masterID() string {
	if id := d.Meta().Generation; id != "" {
		return id
	}
	return d.self.Region
}

var masterCapabilities = []string{"AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"}

// domain writes where something is.
func (d *document) domain(region, zone string) {
	if x := mesos.DomainOf(region, zone); x != nil {
		d.key("domain")
		d.raw(wire.JSON.Marshal(x))
	}
}

func (d *document) counts() (up, down, away int) {
	for n := range d.Nodes() {
		switch {
		case n.Status != structs.NodeReady:
			away++
		case deactivated(n):
			down++
		default:
			up++
		}
	}
	return up, down, away
}

func (d *document) flags() {
	d.key("flags")
	d.open('{')
	for _, name := range sorted(d.self.Flags) {
		d.named(name)
		d.text(d.self.Flags[name])
	}
	d.close('}')
}

// slaves writes the members that list nodes.
func (d *document) slaves(full bool) {
	d.key("slaves")
	d.open('[')
	for n := range d.Nodes() {
		if n.Status == structs.NodeReady {
			d.slave(n, full)
		}
	}
	d.close(']')
	d.empty("recovered_slaves")
}

// slavesPage writes /slaves.
func (d *document) slavesPage(id string) {
	d.open('{')
	if id == "" {
		d.slaves(true)
	} else {
		d.key("slaves")
		d.open('[')
		if n := d.Node(structs.NodeID(id)); n != nil && n.Status == structs.NodeReady {
			d.slave(n, true)
		}
		d.close(']')
		d.empty("recovered_slaves")
	}
	d.close('}')
}

// slave writes one node.
func (d *document) slave(n *structs.Node, full bool) {
	d.open('{')
	d.slaveMembers(n)
	if full {
		d.fullResources(n)
	}
	d.close('}')
	d.part()
}

var agentCapabilities = []string{"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "RESIZE_VOLUME", "AGENT_OPERATION_FEEDBACK",
	"AGENT_DRAINING", "TASK_RESOURCE_LIMITS"}

func (d *document) slaveMembers(n *structs.Node) {
	host := mesos.HostOf(n)
	d.textAt("id", string(n.ID))
	d.textAt("hostname", host)
	d.textAt("name", n.Name)
	d.intAt("port", int64(n.AgentPort()))
	d.textAt("pid", "slave(1)@"+net.JoinHostPort(host, strconv.Itoa(n.AgentPort())))
	d.attributes(n.Meta)
	d.domain(d.self.Region, n.Datacenter)
	d.secondsAt("registered_time", n.Changed)
	d.boolAt("active", !deactivated(n))
	d.boolAt("deactivated", deactivated(n))
	d.textAt("version", mesosVersion)
	d.textAt("proffer_version", n.Version)
	d.listOf("capabilities", agentCapabilities)
	total := n.Available()
	d.resources("resources", beside(total, d.slacks[n.ID]), []structs.Range{n.PortRange})
	used := usedOn(d.Usage(n.ID))
	var held []structs.AssignedPort
	if used.Ports > 0 {
		for a := range d.HeldOnNode(n.ID) {
			held = append(held, a.Ports...)
		}
	}
	d.resources("used_resources", used, rangesOf(held))
	d.resources("offered_resources", d.offered.onNode[n.ID], nil)
	byRole, rest, ports := d.reserved(n)
	d.key("reserved_resources")
	d.open('{')
	for _, role := range sorted(byRole) {
		d.named(mesos.RoleOut(role))
		d.amount(byRole[role], nil)
	}
	d.close('}')
	d.resources("unreserved_resources", rest, ports)
	if n.Drain != nil {
		d.drain(n)
	}
}

// reserved parts what a node has into what is set aside for roles and the rest.
func (d *document) reserved(n *structs.Node) (byRole map[string]structs.Resources, rest structs.Resources, ports []structs.Range) {
	rest, ports = n.Available(), []structs.Range{n.PortRange}
	if len(n.ReservedFor) == 0 && len(d.ReservedOn(n.ID)) == 0 {
		return nil, rest, ports
	}
	byRole = map[string]structs.Resources{}
	for _, x := range d.RoomsOn(n) {
		byRole[x.Role] = byRole[x.Role].Add(x.Reserved)
		rest, ports = rest.Sub(x.Reserved), without(ports, x.Reserved)
	}
	return byRole, rest, ports
}

// without returns ports without those of an amount.
func without(ports []structs.Range, r structs.Resources) []structs.Range {
	return structs.OfPorts(ports).Sub(structs.OfPorts(r.PortRanges())).PortRanges()
}

func (d *document) drain(n *structs.Node) {
	is := "DRAINED"
	if d.draining(n) {
		is = "DRAINING"
	}
	d.key("drain_info")
	d.open('{')
	d.textAt("state", is)
	d.key("config")
	d.open('{')
	if n.Drain.Deadline != 0 {
		d.key("max_grace_period")
		d.open('{')
		d.intAt("nanoseconds", int64(max(0, n.Drain.Deadline.Sub(n.Drain.Started))))
		d.close('}')
	}
	d.boolAt("mark_gone", n.Drain.Gone)
	d.close('}')
	d.close('}')
	d.secondsAt("estimated_drain_start_time", n.Drain.Started)
}

// frameworks writes the members that list frameworks. With an id only that one is in them.
func (d *document) frameworks(id string, withTasks bool) {
	for _, list := range []struct {
		key   string
		ended bool
	}{{"frameworks", false}, {"completed_frameworks", true}} {
		d.key(list.key)
		d.open('[')
		for f := range d.Frameworks() {
			if (f.Ended != 0) == list.ended && (id == "" || id == string(f.ID)) {
				d.framework(f, withTasks)
			}
		}
		d.close(']')
	}
}

// frameworksPage writes /frameworks.
func (d *document) frameworksPage(id string) {
	d.open('{')
	d.frameworks(id, true)
	d.empty("unregistered_frameworks")
	d.close('}')
}

func (d *document) framework(f *structs.Framework, withTasks bool) {
	d.open('{')
	d.frameworkMembers(f)
	if withTasks {
		executors := d.frameworkTasks(f)
		d.offers(f)
		d.executors(executors)
	}
	d.close('}')
	d.part()
}

// frameworkTasks writes the lists of tasks of a framework, and returns the allocations that are executors. Most tasks live: the others are
// looked for only where one was.
func (d *document) frameworkTasks(f *structs.Framework) (executors []*structs.Allocation) {
	var others [completed + 1][]*structs.Allocation
	d.key("tasks")
	d.open('[')
	d.walk(d.workOf(f.ID).allocs, func(a *structs.Allocation) {
		if a.External != nil && a.External.Executor != "" && !a.Ended() {
			executors = append(executors, a)
		}
		d.tasks(a, func(t *task) bool {
			is := t.place()
			if is == live {
				d.task(t)
			} else if n := len(others[is]); n == 0 || others[is][n-1] != a {
				others[is] = append(others[is], a)
			}
			return true
		})
	})
	d.close(']')
	for is, key := range map[place]string{unreachable: "unreachable_tasks", completed: "completed_tasks"} {
		d.key(key)
		d.open('[')
		for _, a := range others[is] {
			d.tasks(a, func(t *task) bool {
				if t.place() == is {
					d.task(t)
				}
				return true
			})
		}
		d.close(']')
	}
	return executors
}

func (d *document) frameworkMembers(f *structs.Framework) {
	d.textAt("id", string(f.ID))
	d.textAt("name", f.Name)
	d.textAt("hostname", f.Hostname)
	d.textAt("webui_url", f.WebURL)
	d.textAt("user", f.User)
	if f.Principal != "" {
		d.textAt("principal", f.Principal)
	}
	d.labels(f.Labels)
	d.listOf("capabilities", f.Capabilities)
	d.boolAt("active", f.Connected)
	d.boolAt("connected", f.Connected)
	d.boolAt("recovered", false)
	d.boolAt("checkpoint", true)
	d.key("failover_timeout")
	d.milli(int64(f.FailoverTimeout) / 1e6)
	d.secondsAt("registered_time", f.Since)
	d.secondsAt("unregistered_time", f.Ended)
	roles := d.rolesIn(f)
	if f.BuiltIn || f.Can(structs.CanHaveRoles) {
		d.listOf("roles", roles)
	} else if len(roles) > 0 {
		d.textAt("role", roles[0])
	}
	used := d.workOf(f.ID).used
	var ports []structs.AssignedPort
	if used.Ports > 0 {
		for _, a := range d.workOf(f.ID).allocs {
			if a.Holds() {
				ports = append(ports, a.Ports...)
			}
		}
	}
	offers := d.offered.toFramework[f.ID]
	d.resources("used_resources", used, rangesOf(ports))
	d.resources("offered_resources", offers, nil)
	d.resources("resources", used.Add(offers), rangesOf(ports))
}

func (d *document) offers(f *structs.Framework) {
	d.key("offers")
	d.open('[')
	for _, o := range d.offered.all {
		if o.Framework != f.ID {
			continue
		}
		d.open('{')
		d.textAt("id", string(o.ID))
		d.textAt("framework_id", string(f.ID))
		d.textAt("slave_id", string(o.Node))
		d.key("allocation_info")
		d.open('{')
		d.textAt("role", mesos.RoleOut(o.Role))
		d.close('}')
		d.resources("resources", offerOf(o), nil)
		d.close('}')
	}
	d.close(']')
}

func (d *document) executors(of []*structs.Allocation) {
	d.key("executors")
	d.open('[')
	for _, a := range of {
		d.open('{')
		d.textAt("executor_id", a.External.Executor)
		d.textAt("framework_id", string(a.Framework))
		d.textAt("slave_id", string(a.Node))
		d.textAt("name", executorInfo(a).name())
		d.textAt("type", executorType(a))
		d.resources("resources", shown(a.External.Own, a.External.OwnRevocable.Amount()), nil)
		d.close('}')
	}
	d.close(']')
}
