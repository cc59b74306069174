package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// anyRole is what Mesos calls the role of those that name none; here it has a name like others.
const anyRole = "*"

func roleIn(name string) string {
	if name == anyRole {
		return structs.DefaultRole
	}
	return name
}

func roleOut(name string) string {
	if name == structs.DefaultRole {
		return anyRole
	}
	return name
}

func rolesOf(r *wire.Roles) (out []string) {
	if r != nil {
		for _, name := range r.Roles {
			out = append(out, roleIn(name))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// longestDuration is what Mesos can say of time, in seconds: clients that mean "for ever" go that far.
const longestDuration = float64(math.MaxInt64 / 1e9)

// DomainOf is where something is; nil when that is not known.
func DomainOf(region, zone string) *wire.Domain {
	if region == "" || zone == "" {
		return nil
	}
	return &wire.Domain{Fault: &wire.FaultDomain{Region: wire.DomainName{Name: region}, Zone: wire.DomainName{Name: zone}}}
}

// frameworkOf returns what a framework says of itself.
func (s *Scheduler) frameworkOf(info *wire.FrameworkInfo, suppressed []string, constraints *wire.OfferConstraints) (*structs.Framework, error) {
	f := &structs.Framework{ID: structs.FrameworkID(idOf(info.ID)), Name: info.Name, User: info.User, Principal: wire.TextOf(info.Principal),
		Hostname: wire.TextOf(info.Hostname), WebURL: wire.TextOf(info.WebURL), Labels: info.Labels.Map(), Checkpoint: info.Checkpoint != nil && *info.Checkpoint, Terms: map[string]*structs.OfferTerms{}}
	if f.ID != "" && !structs.ValidOutsideID(string(f.ID)) {
		return nil, fmt.Errorf("Framework id '%.300s' is invalid", f.ID)
	}
	for _, c := range info.Capabilities {
		if c.Type != nil && *c.Type != wire.CapabilityUnknown {
			f.Capabilities = append(f.Capabilities, c.Type.String())
		}
	}
	slices.Sort(f.Capabilities)
	f.Capabilities = slices.Compact(f.Capabilities)
	if t := info.FailoverTimeout; t != nil {
		if math.IsNaN(*t) || *t < 0 || *t > longestDuration {
			return nil, fmt.Errorf("The failover_timeout %v is invalid", *t)
		}
		f.FailoverTimeout = structs.Duration(min(*t, structs.MaxFailover.Std().Seconds()) * 1e9)
	}
	switch many := f.Can(structs.CanHaveRoles); {
	case many && info.Role != nil:
		return nil, fmt.Errorf("You must only use FrameworkInfo.roles if the framework is MULTI_ROLE capable, and not FrameworkInfo.role")
	case !many && len(info.Roles) > 0:
		return nil, fmt.Errorf("You must only use FrameworkInfo.role if the framework is not MULTI_ROLE capable")
	case many:
		for _, role := range info.Roles {
			f.Roles = append(f.Roles, roleIn(role))
		}
	default:
		f.Roles = []string{roleIn(cmp.Or(wire.TextOf(info.Role), anyRole))}
	}
	if err := f.Problems().Err(); err != nil {
		return nil, err
	}
	if err := s.termsOf(f, info, suppressed, constraints); err != nil {
		return nil, err
	}
	return f, nil
}

// termsOf fills in what a framework says of the offers in its roles.
func (s *Scheduler) termsOf(f *structs.Framework, info *wire.FrameworkInfo, suppressed []string, constraints *wire.OfferConstraints) error {
	of := func(role string) (*structs.OfferTerms, error) {
		name := roleIn(role)
		if !slices.Contains(f.Roles, name) {
			return nil, fmt.Errorf("role '%.300s' is not one of the framework's roles", role)
		}
		if f.Terms[name] == nil {
			f.Terms[name] = &structs.OfferTerms{}
		}
		return f.Terms[name], nil
	}
	if len(suppressed) > structs.MaxFrameworkRoles {
		return fmt.Errorf("%d suppressed roles are more than %d", len(suppressed), structs.MaxFrameworkRoles)
	}
	for _, role := range suppressed {
		t, err := of(role)
		if err != nil {
			return fmt.Errorf("Suppressed %w", err)
		}
		t.Suppressed = true
	}
	if !f.Can(structs.CanUseGPUs) {
		for _, role := range f.Roles {
			t, _ := of(role)
			t.Without = []string{"gpus"}
		}
	}
	if f.Can(structs.CanUseRevocable) {
		for _, role := range f.Roles {
			t, _ := of(role)
			t.Revocable = true
		}
	}
	for _, role := range slices.Sorted(maps.Keys(info.OfferFilters)) {
		t, err := of(role)
		if err != nil {
			return fmt.Errorf("Offer filters: %w", err)
		}
		if m := info.OfferFilters[role].Smallest; m != nil {
			for _, q := range m.Quantities {
				amount, err := quantity(q.Quantities)
				if err != nil {
					return fmt.Errorf("Offer filters: %w", err)
				}
				t.Smallest = append(t.Smallest, amount)
			}
		}
	}
	if constraints == nil {
		return nil
	}
	for _, role := range slices.Sorted(maps.Keys(constraints.RoleConstraints)) {
		t, err := of(role)
		if err != nil {
			return fmt.Errorf("Offer constraints: %w", err)
		}
		for _, g := range constraints.RoleConstraints[role].Groups {
			where, err := s.group(g.Constraints)
			if err != nil {
				return fmt.Errorf("Offer constraints: %w", err)
			}
			t.Where = append(t.Where, where)
		}
	}
	return nil
}

func quantity(of map[string]*wire.Scalar) (*structs.QuotaAmount, error) {
	out := &structs.QuotaAmount{}
	for name, x := range of {
		amount, err := milli(x.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		switch name {
		case "cpus":
			out.CPU = new(amount)
		case "mem":
			out.Memory = new(bytes(amount))
		case "disk":
			out.Disk = new(bytes(amount))
		default:
			if out.Custom == nil {
				out.Custom = map[string]structs.Milli{}
			}
			out.Custom[name] = amount
		}
	}
	return out, nil
}

// group turns constraints that a node must meet together into ours.
func (s *Scheduler) group(all []wire.AttributeConstraint) (out []*structs.Constraint, err error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("a group is empty")
	}
	for _, c := range all {
		x := &structs.Constraint{}
		switch {
		case c.Selector.Attribute != nil && structs.ValidName(*c.Selector.Attribute):
			x.Attribute = "${meta." + *c.Selector.Attribute + "}"
		case c.Selector.Pseudo != nil && *c.Selector.Pseudo == wire.PseudoHostname:
			x.Attribute = "${node.name}"
		case c.Selector.Pseudo != nil && *c.Selector.Pseudo == wire.PseudoZone:
			x.Attribute = "${node.datacenter}"
		case c.Selector.Pseudo != nil && *c.Selector.Pseudo == wire.PseudoRegion && s.Name != "":
		default:
			return nil, fmt.Errorf("a selector names nothing that nodes have")
		}
		p := c.Predicate
		switch {
		case p.Exists != nil:
			x.Operator = "is_set"
		case p.NotExists != nil:
			x.Operator = "is_not_set"
		case p.Equals != nil:
			x.Operator, x.Value = "=", p.Equals.Value
		case p.NotEquals != nil:
			x.Operator, x.Value = "!=", p.NotEquals.Value
		case p.Matches != nil:
			x.Operator, x.Value = "regexp", "^(?:"+p.Matches.Regex+")$"
		case p.NotMatches != nil:
			x.Operator, x.Value = "not_regexp", "^(?:"+p.NotMatches.Regex+")$"
		default:
			return nil, fmt.Errorf("a predicate says nothing")
		}
		if strings.Contains(x.Value, "${") {
			return nil, fmt.Errorf("a value with ${ is not taken")
		}
		if x.Attribute == "" { // the region is the same for all nodes
			if x, err = anyOrNone(s.Name, x); err != nil {
				return nil, err
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// anyOrNone returns a constraint that all nodes meet, or none, as x is met by a name.
func anyOrNone(name string, x *structs.Constraint) (*structs.Constraint, error) {
	met := false
	switch x.Operator {
	case "is_set":
		met = true
	case "=", "!=":
		met = (name == x.Value) == (x.Operator == "=")
	case "regexp", "not_regexp":
		is, err := regexp.Compile(x.Value)
		if err != nil {
			return nil, err
		}
		met = is.MatchString(name) == (x.Operator == "regexp")
	}
	return &structs.Constraint{Attribute: "${node.id}", Operator: map[bool]string{true: "is_set", false: "is_not_set"}[met]}, nil
}

// filterOf returns the filter of an answer to offers.
func filterOf(f *wire.Filters) allocator.Filter {
	const usual = float64(allocator.DefaultRefuse) / 1e9
	seconds := usual
	if f != nil && f.RefuseSeconds != nil {
		seconds = *f.RefuseSeconds
	}
	if math.IsNaN(seconds) || seconds < 0 {
		seconds = usual
	}
	return allocator.Filter{Refuse: structs.Duration(min(seconds, float64(allocator.MaxRefuse)/1e9) * 1e9)}
}

// maxWants bounds the requests of a call that count: each is compared with each node that was declined, while nothing else is decided.
const maxWants = 256

func wantsOf(r *wire.Requests) (out []allocator.Want) {
	for _, x := range r.Requests[:min(len(r.Requests), maxWants)] {
		if taken, err := take(x.Resources); err == nil {
			out = append(out, allocator.Want{Node: structs.NodeID(idOf(x.AgentID)), Resources: taken.amount})
		}
	}
	return out
}

// reasons are those that are told, by what we call them.
func reasonOf(name string) *wire.StatusReason {
	for n, is := range wire.StatusReason(0).Names() {
		if is == "REASON_"+name {
			return new(wire.StatusReason(n))
		}
	}
	return nil
}

// states of tasks. Those that only frameworks with PARTITION_AWARE know are lost for the others.
var states = map[structs.TaskStatus]wire.TaskState{
	structs.TaskStaging: wire.TaskStaging, structs.TaskStarting: wire.TaskStarting, structs.TaskRunning: wire.TaskRunning,
	structs.TaskKilling: wire.TaskKilling, structs.TaskFinished: wire.TaskFinished, structs.TaskFailed: wire.TaskFailed,
	structs.TaskKilled: wire.TaskKilled, structs.TaskError: wire.TaskError, structs.TaskLost: wire.TaskLost,
	structs.TaskDropped: wire.TaskDropped, structs.TaskUnreachable: wire.TaskUnreachable, structs.TaskGone: wire.TaskGone, structs.TaskGoneByOperator: wire.TaskGoneByOperator,
	structs.TaskUnknown: wire.TaskUnknown,
}

func statusFrom(f *structs.Framework, n *server.TaskNews) wire.TaskStatus {
	var out wire.TaskStatus
	if n.Status != nil { // an executor's own words, which were read before
		wire.Protobuf.Unmarshal(n.Status, &out)
	}
	out.TaskID, out.State, out.UUID = wire.ID{Value: n.Task}, states[n.State], n.UUID
	out.Timestamp = new(float64(n.Time) / 1e9)
	if n.Status == nil {
		out.Reason, out.Healthy, out.CheckStatus, out.Message = reasonOf(n.Reason), n.Healthy, CheckStatus(n.Check), wire.Optional(n.Message)
		if n.Message == "" && n.State == structs.TaskDropped && n.Reason == "EXECUTOR_TERMINATED" { // which ended well, so that nothing is said of it
			out.Message = new("its executor ended before it was given the task")
		}
	}
	if !f.Can(structs.CanSeePartitions) {
		switch out.State {
		case wire.TaskDropped, wire.TaskUnreachable, wire.TaskGone, wire.TaskGoneByOperator, wire.TaskUnknown:
			out.State = wire.TaskLost
		}
	}
	if n.Node != "" {
		out.AgentID = &wire.ID{Value: string(n.Node)}
	}
	switch {
	case n.Executor != "":
		out.ExecutorID = &wire.ID{Value: n.Executor}
	case n.Alloc != "": // the executor of a command is called like its task
		out.ExecutorID = &wire.ID{Value: n.Task}
	}
	if n.Reason == state.ReasonDraining && out.Reason == nil {
		out.Reason = reasonOf(n.Reason)
	}
	if hit := limitation(n.Limit); hit != nil {
		out.Limitation = hit
	}
	switch {
	case n.Server:
		out.Source = new(wire.SourceMaster)
	case n.Agent:
		out.Source = new(wire.SourceAgent)
	default:
		out.Source = new(wire.SourceExecutor)
	}
	if n.Unreachable != 0 {
		out.UnreachableTime = &wire.TimeInfo{Nanoseconds: int64(n.Unreachable)}
	}
	if n.Alloc != "" {
		if out.ContainerStatus == nil {
			out.ContainerStatus = &wire.ContainerStatus{}
		}
		out.ContainerStatus.ContainerID = &wire.ContainerID{Value: string(n.Alloc)}
		if n.Within != "" {
			out.ContainerStatus.ContainerID = &wire.ContainerID{Value: string(n.Alloc) + "." + n.Within, Parent: &wire.ContainerID{Value: string(n.Alloc)}}
		}
		switch {
		case len(out.ContainerStatus.NetworkInfos) > 0: // as an executor said
		case len(n.Networks) > 0:
			out.ContainerStatus.NetworkInfos = NetworkInfos(n.Networks)
		case n.Host != "":
			out.ContainerStatus.NetworkInfos = OfNode(n.Host)
		}
	}
	return out
}

// limitation is what a task hit; nil: nothing.
func limitation(of structs.Resources) *wire.Limitation {
	scalar := func(name string, n structs.Bytes) *wire.Limitation {
		return &wire.Limitation{Resources: []wire.Resource{{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: megabytes(n)}}}}
	}
	switch {
	case of.Memory > 0:
		return scalar("mem", of.Memory)
	case of.Disk > 0:
		return scalar("disk", of.Disk)
	}
	return nil
}

// OfNode is the network of a node, as tasks in it have it.
func OfNode(host string) []wire.NetworkInfo {
	return NetworkInfos([]*server.TaskNetwork{{Addresses: []string{host}}})
}

// NetworkInfos are the networks of a task, as frameworks and tools are told.
func NetworkInfos(all []*server.TaskNetwork) (out []wire.NetworkInfo) {
	for _, n := range all {
		out = append(out, networkInfo(n))
	}
	return out
}

func networkInfo(n *server.TaskNetwork) wire.NetworkInfo {
	out := wire.NetworkInfo{Name: wire.Optional(n.Name), Groups: n.Groups, Labels: wire.LabelsOf(n.Labels)}
	for i, address := range n.Addresses {
		a := wire.IPAddress{IPAddress: &n.Addresses[i], Protocol: new(wire.IPv4)}
		if strings.Contains(address, ":") {
			a.Protocol = new(wire.IPv6)
		}
		out.IPAddresses = append(out.IPAddresses, a)
	}
	for _, p := range n.Ports {
		out.PortMappings = append(out.PortMappings, wire.PortMapping{HostPort: uint32(p.Port), ContainerPort: uint32(p.Inside()), Protocol: wire.Optional(p.Protocol)})
	}
	return out
}

func inverseOf(x *structs.InverseOffer) wire.InverseOffer {
	return wire.InverseOffer{ID: wire.ID{Value: string(x.ID)}, FrameworkID: wire.ID{Value: string(x.Framework)},
		AgentID: &wire.ID{Value: string(x.Node)}, Unavailability: unavailability(x.Unavailable)}
}

func unavailability(w structs.Window) wire.Unavailability {
	u := wire.Unavailability{Start: wire.TimeInfo{Nanoseconds: int64(w.Start)}}
	if w.Duration > 0 {
		u.Duration = &wire.DurationInfo{Nanoseconds: int64(w.Duration)}
	}
	return u
}

// hostOf returns where a node is reached.
func hostOf(n *structs.Node) string {
	if len(n.Hosts) > 0 {
		return n.Hosts[0]
	}
	if host, _, err := net.SplitHostPort(n.Address); err == nil {
		return host
	}
	return n.Name
}
