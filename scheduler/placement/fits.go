package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Reason is one thing that speaks against a node. What is numeric is in thousandths (CPU and custom resources), bytes
// (memory and disk) or pieces (ports).
type Reason struct {
	Kind    ReasonKind `json:"kind"`
	Subject string     `json:"subject"`         // the resource, the constraint as written, the driver, the port
	Have    string     `json:"have,omitempty"`  // the node's value, for constraints and the like; empty when it has none
	Asked   int64      `json:"asked,omitempty"` // of a resource
	Free    int64      `json:"free,omitempty"`  // of a resource; may be negative on a node that shrank
}

// ReasonKind is the class of a reason.
type ReasonKind string

const (
	NodeNotReady     ReasonKind = "node_not_ready"    // lost or left, or it is back and has not told what it runs
	NodeIneligible   ReasonKind = "node_ineligible"   // by the operator
	NodeDraining     ReasonKind = "node_draining"     //
	NodeUnhealthy    ReasonKind = "node_unhealthy"    // by what it says of itself
	WrongDatacenter  ReasonKind = "datacenter"        //
	DriverMissing    ReasonKind = "driver_missing"    //
	DriverUnhealthy  ReasonKind = "driver_unhealthy"  //
	ConstraintUnmet  ReasonKind = "constraint"        //
	DistinctHosts    ReasonKind = "distinct_hosts"    // the job or group is on the node already
	DistinctProperty ReasonKind = "distinct_property" // the value of the property is used up
	ResourceShort    ReasonKind = "resource"          //
	Beside           ReasonKind = "beside"            // work is there that must not be (not_beside)
	NotBeside        ReasonKind = "not_beside"        // work is not there that must be (beside)
	KeptAway         ReasonKind = "kept_away"         // work there must not be beside this one
	PortTaken        ReasonKind = "port_taken"        // a static port
	PortReserved     ReasonKind = "port_reserved"     // a static port, for a role that the work is not of
	PortsShort       ReasonKind = "ports"             // dynamic ports of the node's range
	NoAddress        ReasonKind = "host_network"      // the node has no address for a port
	NetworkMissing   ReasonKind = "network"           // what the group's network needs
	ProfileMissing   ReasonKind = "seccomp_profile"   // that a task names
	VolumeUnmet      ReasonKind = "volume"            // it is not there, or not on the node
	VolumeHeld       ReasonKind = "volume_held"       // another allocation has it alone
)

// String tells the reason in the words of job explain: "memory: 2GiB asked, 1.5GiB free".
func (r Reason) String() string {
	switch r.Kind {
	case ResourceShort, PortsShort:
		return r.Subject + ": " + r.Miss()
	}
	if miss := r.Miss(); miss != "" {
		return r.Title() + ": " + miss
	}
	return r.Title()
}

// Miss is what the node has instead: "2GiB asked, 1.5GiB free"; empty when there is nothing to say.
func (r Reason) Miss() string {
	switch r.Kind {
	case ResourceShort, PortsShort:
		asked, free := formatAmount(r.Subject, r.Asked), formatAmount(r.Subject, max(0, r.Free))
		if isSize(r.Subject) {
			asked, free = structs.Apart(structs.Bytes(r.Asked), structs.Bytes(max(0, r.Free)))
		}
		return asked + " asked, " + free + " free"
	case ConstraintUnmet, WrongDatacenter, DistinctProperty:
		if r.Have == "" {
			return "it has none"
		}
		return "it has " + r.Have
	}
	return r.Have
}

// Title names what was not met, without the node's value.
func (r Reason) Title() string {
	switch r.Kind {
	case NodeNotReady:
		return "node not ready"
	case NodeIneligible:
		return "node not eligible"
	case NodeDraining:
		return "node drains"
	case NodeUnhealthy:
		return "node not healthy"
	case WrongDatacenter:
		return "datacenter " + r.Subject
	case DriverMissing:
		return "driver " + r.Subject + " missing"
	case DriverUnhealthy:
		return "driver " + r.Subject + " not healthy"
	case DistinctHosts:
		return "distinct_hosts"
	case DistinctProperty:
		return "distinct_property " + r.Subject
	case KeptAway:
		return "kept away as " + r.Subject
	case PortTaken:
		return "port " + r.Subject + " taken"
	case PortReserved:
		return "port " + r.Subject + " reserved for another role"
	case NoAddress:
		return "no address in host_network " + r.Subject
	case NetworkMissing:
		return "network " + r.Subject + " missing"
	case ProfileMissing:
		return "seccomp profile " + r.Subject + " missing"
	case ConstraintUnmet:
		return "constraint " + r.Subject
	case VolumeHeld:
		return fmt.Sprintf("volume %q is held by another allocation", r.Subject)
	}
	return r.Subject
}

func isSize(subject string) bool { return subject == "memory" || subject == "disk" }

// formatAmount writes an amount exactly, so that it may be copied.
func formatAmount(subject string, n int64) string {
	switch {
	case isSize(subject):
		return structs.Bytes(n).String()
	case subject == "ports":
		return fmt.Sprint(n)
	}
	return structs.Milli(n).String()
}

// Verdict is the answer of Fits.
type Verdict struct {
	OK      bool
	Reasons []Reason // all of them in mode All, none in the other modes
}

// Mode says how thorough Fits is.
type Mode uint8

const (
	All   Mode = iota // every check, with reasons
	First             // stops at the first failure, without reasons
	// Alone is First without what depends on other nodes: distinct_property, beside and not_beside within an attribute, and
	// whether other work with a mark of its own is anywhere. Index answers that, see Index.Open.
	Alone
)

// Fits is the decision: whether one allocation of ask fits on a node beside what the node holds and the other allocations
// of its job. It is pure.
func Fits(node *Node, existing *Peers, ask *Ask, mode Mode) Verdict {
	c := check{mode: mode}
	c.run(node, existing, ask)
	return Verdict{OK: !c.failed, Reasons: c.reasons}
}

type check struct {
	mode    Mode
	memo    *memo // of an explanation; nil: none
	failed  bool
	reasons []Reason
}

// refuse records a reason and reports whether the check is over.
func (c *check) refuse(r Reason) bool {
	c.failed = true
	if c.mode != All {
		return true
	}
	c.reasons = append(c.reasons, r)
	return false
}

func (c *check) run(n *Node, existing *Peers, a *Ask) {
	if c.state(n) || n.spec == nil {
		return
	}
	if c.amounts(n, a) || c.static(n.spec, a) || c.assigned(n, a) {
		return
	}
	c.others(n, existing, a)
}

// Suits reports whether a node would do for an ask if there were room on it, and new work might be placed.
func Suits(node *Node, existing *Peers, ask *Ask) bool {
	c := check{mode: First}
	return node.spec != nil && !c.static(node.spec, ask) && !c.others(node, existing, ask)
}

// others checks what depends on where other work is.
func (c *check) others(n *Node, existing *Peers, a *Ask) bool {
	if a.hosts != nothing && existing.on(n.ID, a.hosts, a.Group) > 0 {
		if c.refuse(Reason{Kind: DistinctHosts, Subject: "distinct_hosts"}) {
			return true
		}
	}
	if c.neighbours(n, existing, a.here) || c.mode == Alone || c.neighbours(n, existing, a.wide) {
		return c.failed && c.mode != All
	}
	for i := range a.properties {
		p := &a.properties[i]
		value, ok := p.value.resolve(n.spec)
		if !ok || c.memo.with(existing, p.value, p.text, value, p.scope, a.Group) >= p.limit {
			if c.refuse(Reason{Kind: DistinctProperty, Subject: p.text, Have: value}) {
				return true
			}
		}
	}
	return false
}

// state checks whether new work may be placed at all.
func (c *check) state(n *Node) bool {
	spec := n.spec
	switch {
	case spec == nil:
		return c.refuse(Reason{Kind: NodeNotReady, Have: "not known"})
	case spec.Schedulable():
		return false
	}
	if spec.Status != structs.NodeReady && c.refuse(Reason{Kind: NodeNotReady, Have: string(spec.Status)}) {
		return true
	}
	if spec.Untold && c.refuse(Reason{Kind: NodeNotReady, Have: "back, and has not told yet what it runs"}) {
		return true
	}
	if spec.Drain != nil && c.refuse(Reason{Kind: NodeDraining, Have: drainWhy(spec)}) {
		return true
	}
	if len(spec.Problems) > 0 && c.refuse(Reason{Kind: NodeUnhealthy, Have: strings.Join(spec.Problems, "; ")}) {
		return true
	}
	return !spec.Eligible && c.refuse(Reason{Kind: NodeIneligible, Have: spec.Reason})
}

// drainWhy says for what a node drains, when that is known.
func drainWhy(spec *structs.Node) string {
	m := spec.Maintenance
	switch {
	case m == nil || !m.Began:
		return ""
	case m.Reason == "":
		return "for its maintenance"
	}
	return "for its maintenance (" + m.Reason + ")"
}

// static checks what depends on the class of the node only.
func (c *check) static(spec *structs.Node, a *Ask) bool {
	if len(a.datacenters) > 0 && !slices.ContainsFunc(a.datacenters, func(d string) bool { return inDatacenter(spec.Datacenter, d) }) {
		if c.refuse(Reason{Kind: WrongDatacenter, Subject: strings.Join(a.datacenters, ","), Have: spec.Datacenter}) {
			return true
		}
	}
	for _, name := range a.Drivers {
		switch d := spec.Drivers[name]; {
		case d == nil:
			if c.refuse(Reason{Kind: DriverMissing, Subject: name}) {
				return true
			}
		case !d.Healthy:
			if c.refuse(Reason{Kind: DriverUnhealthy, Subject: name, Have: d.Why}) {
				return true
			}
		}
	}
	for _, name := range a.networks {
		if have := spec.Attributes["network."+name]; have != "true" {
			if c.refuse(Reason{Kind: NetworkMissing, Subject: name, Have: strings.TrimPrefix(have, "no: ")}) {
				return true
			}
		}
	}
	for i := range a.constraints {
		if cond := &a.constraints[i]; !cond.met(spec) {
			r := Reason{Kind: ConstraintUnmet, Subject: cond.text}
			switch {
			case cond.profile:
				r.Kind = ProfileMissing
			case cond.storage:
				if r.Kind = VolumeUnmet; cond.operator == pluginOf {
					r.Have = cond.unreachable(spec)
				}
			default:
				r.Have, _ = cond.left.resolve(spec)
			}
			if c.refuse(r) {
				return true
			}
		}
	}
	return false
}

func inDatacenter(have, pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(have, prefix)
	}
	return have == pattern
}

// amounts checks every resource.
func (c *check) amounts(n *Node, a *Ask) bool {
	ask, avail, used := &a.Resources, &n.avail, &n.used
	short := func(subject string, asked, free int64) bool {
		return asked > free && asked > 0 && c.refuse(Reason{Kind: ResourceShort, Subject: subject, Asked: asked, Free: free})
	}
	if short("cpu", int64(ask.CPU), int64(avail.CPU-used.CPU)) ||
		short("memory", int64(ask.Memory), int64(avail.Memory-used.Memory)) ||
		short("disk", int64(ask.Disk), int64(avail.Disk-used.Disk)) {
		return true
	}
	if len(ask.Custom) > 0 {
		for _, name := range ask.Names() {
			if short(name, int64(ask.Custom[name]), int64(avail.Custom[name]-used.Custom[name])) {
				return true
			}
		}
	}
	if len(ask.Ranges) == 0 && len(ask.Sets) == 0 {
		return false
	}
	free := n.Free()
	for _, name := range sortedKeys(ask.Ranges) {
		part := structs.Resources{Ranges: map[string][]structs.Range{name: ask.Ranges[name]}}
		if !free.Fits(part) && c.refuse(Reason{Kind: ConstraintUnmet, Subject: name, Have: structs.Resources{
			Ranges: map[string][]structs.Range{name: free.Ranges[name]}}.String()}) {
			return true
		}
	}
	for _, name := range sortedKeys(ask.Sets) {
		if name == structs.VolumeSet {
			for _, item := range ask.Sets[name] {
				if slices.Contains(avail.Sets[name], item) && !slices.Contains(free.Sets[name], item) && c.refuse(Reason{Kind: VolumeHeld, Subject: item}) {
					return true
				}
			}
			continue
		}
		part := structs.Resources{Sets: map[string][]string{name: ask.Sets[name]}}
		if !free.Fits(part) && c.refuse(Reason{Kind: ConstraintUnmet, Subject: name, Have: strings.Join(free.Sets[name], ",")}) {
			return true
		}
	}
	return false
}

// assigned checks the ports.
func (c *check) assigned(n *Node, a *Ask) bool {
	if len(a.ports) == 0 && a.unnamed == 0 {
		return false
	}
	var hosts [1]portsAt // usual asks have all their ports on one address
	at := hosts[:0]
	where := func(network string) (*portsAt, bool) {
		host, ok := n.host(network)
		if !ok {
			return nil, c.refuse(Reason{Kind: NoAddress, Subject: network})
		}
		for i := range at {
			if at[i].host == host {
				return &at[i], false
			}
		}
		at = append(at, portsAt{host: host})
		return &at[len(at)-1], false
	}
	wanted := 0
	for i := range a.ports {
		p := &a.ports[i]
		x, stop := where(p.Host)
		if stop {
			return true
		}
		switch {
		case x == nil:
			continue
		case p.Static == 0:
			x.dynamic++
			wanted++
			continue
		}
		if n.ports.dynamic(p.Static) {
			x.static++
		}
		twice := slices.ContainsFunc(a.ports[:i], func(q structs.Port) bool {
			host, _ := n.host(q.Host)
			return q.Static == p.Static && host == x.host && (q.Protocol == p.Protocol || q.Protocol == "" || p.Protocol == "")
		})
		if (twice || n.ports.taken(x.host, p.Static, p.Protocol)) && c.refuse(Reason{Kind: PortTaken, Subject: fmt.Sprint(p.Static)}) {
			return true
		}
		if n.ports.barred(p.Static) && c.refuse(Reason{Kind: PortReserved, Subject: fmt.Sprint(p.Static)}) {
			return true
		}
	}
	if a.unnamed > 0 {
		x, stop := where("")
		if stop {
			return true
		}
		if x != nil {
			x.dynamic += a.unnamed
			wanted += a.unnamed
		}
	}
	if wanted == 0 {
		return false
	}
	// Offers hold ports by count only, so the count is looked at too; ports that are not dynamic are not of it.
	count := n.avail.Ports - n.used.Ports + n.ports.outside()
	for i := range at {
		x := &at[i]
		if x.dynamic == 0 {
			continue
		}
		asked, free := x.dynamic, n.ports.free(x.host)-x.static
		if count-free < wanted-asked { // the count is what is short
			asked, free = wanted, count
		}
		if asked > free {
			return c.refuse(Reason{Kind: PortsShort, Subject: "ports", Asked: int64(asked), Free: int64(free)})
		}
	}
	return false
}

// portsAt is what an ask wants on one address of a node.
type portsAt struct {
	host            string
	static, dynamic int // static ones of the range
}
