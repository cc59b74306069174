package structs

import (
	"slices"
	"strings"
)

// Service is a name under which the allocations of a group are found while they run and are ready.
type Service struct {
	Name string   `json:"name" hcl:"label" doc:"The name, which groups of several jobs may share."`
	Port string   `json:"port,omitempty" doc:"The name of a port of the network block. Without it, an address alone is told."`
	Tags []string `json:"tags,omitempty" doc:"Names to tell some of its allocations from others by."`
	// AddressMode is one of the modes below; empty: auto.
	AddressMode string `json:"address_mode,omitempty" doc:"Which address is told: host (that of the node, with the port of the node), alloc (that of the allocation in the network of the port, with the port there) or auto (host where a port of the node leads to the allocation, else alloc), which is what counts without it."`
}

// Which address of a service is told.
const (
	AddressAuto  = "auto"
	AddressHost  = "host"
	AddressAlloc = "alloc"
)

// AttrPorts, with the name of a CNI network behind it, is the attribute of a node that is true when the plugins of that network lead ports of the node in.
const AttrPorts = "network.ports."

// At returns where an allocation of g gives a service: p is the port of that name, nil: it has none; n is its node, which may be nil.
func (s *Service) At(g *Group, a *Allocation, p *AssignedPort, n *Node) (address string, port int) {
	network := ""
	if n != nil && len(n.Hosts) > 0 {
		address = n.Hosts[0]
	}
	if p != nil {
		network, port = p.Network, p.Port
		if p.Host != "" {
			address = p.Host
		}
	}
	if s.AddressMode == AddressHost || s.AddressMode != AddressAlloc && leadsIn(g.Network, p, n) {
		return address, port
	}
	for _, t := range g.Tasks {
		state := a.Tasks[t.Name]
		if state == nil {
			continue
		}
		if own := AddressesIn(network, state.Addresses, state.Joined); len(own) > 0 {
			if p != nil {
				port = p.Inside()
			}
			return own[0], port
		}
	}
	return address, port
}

// leadsIn reports whether the address of a node leads to an allocation with that network.
func leadsIn(network *Network, p *AssignedPort, n *Node) bool {
	if !network.Own() {
		return true
	}
	name, cni := strings.CutPrefix(network.Mode, NetworkCNI)
	if p != nil && p.Network != "" {
		name, cni = p.Network, true
	}
	return !cni || p != nil && n != nil && n.Attributes[AttrPorts+name] == "true"
}

// MaxServices bounds the services of a group.
const MaxServices = 16

// ServiceInstance is an allocation that gives a service now.
type ServiceInstance struct {
	Service    string   `json:"service"`
	Address    string   `json:"address"`
	Port       int      `json:"port,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Alloc      AllocID  `json:"alloc"`
	Index      int      `json:"index"`
	Job        string   `json:"job"`
	Group      string   `json:"group"`
	Role       string   `json:"role"`
	Node       NodeID   `json:"node"`
	NodeName   string   `json:"node_name"`
	Datacenter string   `json:"datacenter,omitempty"`
	Since      Time     `json:"since"`
}

// ServiceSummary is a service and how many allocations give it.
type ServiceSummary struct {
	Name   string   `json:"name"`
	Ready  int      `json:"ready"` // allocations that run and are ready
	Allocs int      `json:"allocs"`
	Jobs   []string `json:"jobs"`
	Tags   []string `json:"tags,omitempty"`
}

// Provides reports whether an allocation can be told to those that look for its services.
func (a *Allocation) Provides() bool {
	return a.Status == AllocRunning && a.Desired == DesiredRun && a.Started != 0
}

// serviceProblems adds what is wrong with the services of a group.
func (g *Group) serviceProblems(p *Problems, at string) {
	if len(g.Services) > MaxServices {
		p.Add(at+".service", "%d services are more than %d", len(g.Services), MaxServices)
	}
	seen := names{}
	for i, s := range g.Services {
		if s == nil {
			p.Add(index(at+".service", i), "a service is missing (null)")
			continue
		}
		seen.check(p, at+".service", "a service", i, s.Name)
		object := at + ".service." + s.Name
		if s.Port != "" && (g.Network == nil || !slices.ContainsFunc(g.Network.Ports, func(q *Port) bool { return q != nil && q.Label == s.Port })) {
			p.Add(object+".port", "the group has no port %q", s.Port).Advise("write port %q {} in its network block", s.Port)
		}
		switch s.AddressMode {
		case "", AddressAuto, AddressHost, AddressAlloc:
		default:
			p.Add(object+".address_mode", "%.100q is not an address mode", s.AddressMode).Advise("there are auto, host and alloc")
		}
		if len(s.Tags) > MaxServices {
			p.Add(object+".tags", "%d tags are more than %d", len(s.Tags), MaxServices)
		}
		for k, tag := range s.Tags {
			if tag == "" || len(tag) > 128 {
				p.Add(index(object+".tags", k), "a tag has 1 to 128 bytes")
			}
		}
	}
}
