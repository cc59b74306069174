package structs

import (
	"cmp"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Network is what the tasks of a group share.
type Network struct {
	Mode     string  `json:"mode,omitempty" doc:"host (the network of the node), bridge (one of the allocation's own, with ports of the node mapped into it), none (loopback alone) or cni/NAME (a CNI network of the node). Empty: host."`
	Ports    []*Port `json:"port,omitempty" hcl:"block" doc:"Ports, given to tasks as PROFFER_PORT_name."`
	DNS      *DNS    `json:"dns,omitempty" hcl:"block" doc:"How names are looked up. Without it, as on the node."`
	Hostname string  `json:"hostname,omitempty" doc:"The host name in the tasks, with an own network. Empty: the short id of the allocation."`
	Egress   Bytes   `json:"egress,omitempty" doc:"What the tasks may send, in bytes a second, such as 10MiB; with mode bridge. 0: no limit."`

	Addresses []string          `json:"addresses,omitempty" doc:"Addresses that the allocation wants of its CNI network, such as 10.1.2.3, or 10.1.2.3/24 where the network demands that. It does not start without them."`
	Groups    []string          `json:"groups,omitempty" doc:"Groups of the CNI network that the allocation is in, for plugins that know groups."`
	Labels    map[string]string `json:"labels,omitempty" hcl:"map" doc:"Labels that the plugins of the CNI network are told."`

	Further []*FurtherNetwork `json:"cni,omitempty" hcl:"block" doc:"CNI networks of the node that the tasks are in beside that of mode, which is bridge or cni/NAME. They are joined in this order."`
}

// FurtherNetwork is a CNI network beside the first network of a group.
type FurtherNetwork struct {
	Name      string            `json:"name" hcl:"label" doc:"The name of the CNI network."`
	Interface string            `json:"interface,omitempty" doc:"The name of the interface in the tasks. Empty: eth1 for the first of these networks, eth2 for the second, and so on."`
	Addresses []string          `json:"addresses,omitempty" doc:"Addresses that the allocation wants of this network. It does not start without them."`
	Groups    []string          `json:"groups,omitempty" doc:"Groups of this network that the allocation is in, for plugins that know groups."`
	Labels    map[string]string `json:"labels,omitempty" hcl:"map" doc:"Labels that the plugins of this network are told."`
}

// Port is one port of the host.
type Port struct {
	Label    string `json:"name" hcl:"label" doc:"The name of the port: letters, digits and _."`
	Static   int    `json:"static,omitempty" doc:"A fixed port; otherwise one is chosen."`
	To       int    `json:"to,omitempty" doc:"The port inside the task, where ports are mapped. Without it, the port of the host."`
	Protocol string `json:"protocol,omitempty" doc:"tcp or udp: a fixed port may be given twice, once for each. Empty: both."`
	Host     string `json:"host_network,omitempty" doc:"On which address of the node: the name of a host_network of the node, or a network such as 10.0.0.0/8. Empty: the node's first one."`
	Network  string `json:"network,omitempty" doc:"The name of a cni block of the network: the port leads into that one. Empty: into the network of mode."`
}

// DNS is what a task's resolv.conf says.
type DNS struct {
	Servers  []string `json:"servers,omitempty" doc:"IP addresses of name servers. Without any, those of the node."`
	Searches []string `json:"searches,omitempty" doc:"Domains that are tried behind a short name."`
	Options  []string `json:"options,omitempty" doc:"Options of the resolver, such as ndots:2."`
}

// Modes of a network; that of CNI is followed by a name. Protocols of a port.
const (
	NetworkHost   = "host"
	NetworkBridge = "bridge"
	NetworkNone   = "none"
	NetworkCNI    = "cni/"

	TCP = "tcp"
	UDP = "udp"
)

// Own reports whether allocations of n have a network of their own, beside that of the node.
func (n *Network) Own() bool { return n != nil && n.Mode != "" && n.Mode != NetworkHost }

// Mapped reports whether ports of the node lead to others in the allocation.
func (n *Network) Mapped() bool {
	return n.Own() && n.Mode != NetworkNone
}

// AssignedPort is a port of the host that an allocation holds.
type AssignedPort struct {
	Label    string `json:"label"` // empty for ports without a name
	Host     string `json:"host"`  // address
	Port     int    `json:"port"`
	To       int    `json:"to,omitempty"`
	Protocol string `json:"protocol,omitempty"` // tcp or udp; empty: both
	Network  string `json:"network,omitempty"`  // the further network that it leads into; empty: the first one
}

// JoinedNetwork is what a task has in a network beside its first one.
type JoinedNetwork struct {
	Name      string   `json:"name"`
	Interface string   `json:"interface,omitempty"` // in the task; empty: it is not known
	Addresses []string `json:"addresses,omitempty"` // IPv4 first
}

// AddressesIn returns the addresses in the network of that name among further ones; those of the first network, which has none, are first.
func AddressesIn(network string, first []string, further []JoinedNetwork) []string {
	if network == "" {
		return first
	}
	for _, n := range further {
		if n.Name == network {
			return n.Addresses
		}
	}
	return nil
}

// Inside returns the number of the port in an allocation to which ports are mapped.
func (p AssignedPort) Inside() int {
	if p.To != 0 {
		return p.To
	}
	return p.Port
}

// Collides reports whether p and q are one port of one address, for one protocol at least.
func (p AssignedPort) Collides(q AssignedPort) bool {
	anywhere := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return p.Port == q.Port && (p.Host == q.Host || anywhere(p.Host) || anywhere(q.Host)) &&
		(p.Protocol == q.Protocol || p.Protocol == "" || q.Protocol == "")
}

// Needs returns the attributes, behind "network.", of which a node must say "true".
func (n *Network) Needs() (names []string) {
	if !n.Own() {
		return nil
	}
	if name, ok := strings.CutPrefix(n.Mode, NetworkCNI); ok {
		names = append(names, "cni."+name)
	} else {
		names = append(names, n.Mode)
	}
	for _, x := range n.Further {
		names = append(names, "cni."+x.Name)
	}
	if n.Egress > 0 {
		names = append(names, "egress")
	}
	return names
}

// Bounds of a dns block, as those of resolvers.
const (
	MaxServers  = 3
	MaxSearches = 32
	MaxOptions  = 16
)

var (
	hostLabel   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	dnsName     = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$`)
	dnsOption   = regexp.MustCompile(`^[a-z0-9-]{1,32}(:[0-9]{1,5})?$`)
	networkMode = regexp.MustCompile(`^(|host|bridge|none|cni/[A-Za-z0-9][A-Za-z0-9_.-]{0,62})$`)
	linkName    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,14}$`)
)

// Problems returns what is wrong with n, all at once.
func (n *Network) Problems() (p Problems) {
	n.problems(&p, "network")
	return p
}

func (n *Network) problems(p *Problems, at string) {
	checkPorts(p, at, n.Ports)
	if !networkMode.MatchString(n.Mode) {
		p.Add(at+".mode", "%q is not a mode", n.Mode).Advise("there are host, bridge, none and cni/NAME")
		return
	}
	if n.Mode == NetworkNone && len(n.Ports) > 0 {
		p.Add(at+".port", "nothing reaches a port with mode = \"none\"").Advise("leave the ports out, or use mode = \"bridge\"")
	}
	if n.Hostname != "" && !n.Own() {
		p.Add(at+".hostname", "tasks in the network of the node have its name").Advise("leave it out, or use mode = \"bridge\"")
	} else if n.Hostname != "" && !hostLabel.MatchString(n.Hostname) {
		p.Add(at+".hostname", "%q is not a host name", n.Hostname).Advise("letters, digits and -, 63 at most")
	}
	if n.Egress != 0 && n.Mode != NetworkBridge {
		p.Add(at+".egress", "only what a task sends over the bridge can be limited").Advise("use mode = \"bridge\"")
	} else if n.Egress != 0 && (n.Egress < 1<<10 || n.Egress > 1<<40) {
		p.Add(at+".egress", "%s a second is not from 1KiB to 1TiB", n.Egress)
	}
	if !strings.HasPrefix(n.Mode, NetworkCNI) {
		for _, x := range []struct {
			name string
			some int
		}{{"addresses", len(n.Addresses)}, {"groups", len(n.Groups)}, {"labels", len(n.Labels)}} {
			if x.some > 0 {
				p.Add(at+"."+x.name, "there is nothing that reads them but the plugins of a CNI network").Advise("use mode = \"cni/NAME\", or leave them out")
			}
		}
	}
	asksPlugins(p, at, n.Addresses, n.Groups, n.Labels)
	n.furtherProblems(p, at)
	if n.DNS != nil {
		n.DNS.problems(p, at+".dns")
	}
}

// FirstInterface is the name of the interface of a network of an allocation's own.
const FirstInterface = "eth0"

// Canonicalize names the interfaces of further networks.
func (n *Network) Canonicalize() {
	for i, x := range n.Further {
		if x != nil {
			x.Interface = n.Interface(i)
		}
	}
}

// Interface is the name of the interface of the further network at i.
func (n *Network) Interface(i int) string {
	return cmp.Or(n.Further[i].Interface, "eth"+strconv.Itoa(i+1))
}

// furtherProblems adds what is wrong with the networks beside the first one, and with the ports that lead into them.
func (n *Network) furtherProblems(p *Problems, at string) {
	if len(n.Further) > MaxNetworks-1 {
		p.Add(at+".cni", "with that of mode, %d networks are more than %d", len(n.Further)+1, MaxNetworks)
	}
	if len(n.Further) > 0 && n.Mode != NetworkBridge && !strings.HasPrefix(n.Mode, NetworkCNI) {
		p.Add(at+".cni", "they are beside a network of the allocation's own").Advise("use mode = \"bridge\", or the first one as mode = \"cni/NAME\"")
	}
	names, links := map[string]bool{strings.TrimPrefix(n.Mode, NetworkCNI): strings.HasPrefix(n.Mode, NetworkCNI)}, map[string]bool{FirstInterface: true, "lo": true}
	for i, x := range n.Further {
		if x == nil {
			p.Add(index(at+".cni", i), "a network is missing (null)")
			continue
		}
		object := at + ".cni." + x.Name
		switch {
		case !ValidName(x.Name):
			p.Add(object, "%.100q is not the name of a CNI network", x.Name)
		case names[x.Name]:
			p.Add(object, "the tasks are in %s already: a network is joined once", x.Name)
		}
		names[x.Name] = true
		switch {
		case x.Interface != "" && !linkName.MatchString(x.Interface):
			p.Add(object+".interface", "%.100q is not the name of an interface", x.Interface).Advise("a letter, and 14 letters, digits, - or _ at most behind it")
		case links[x.Interface]:
			p.Add(object+".interface", "there is an interface %s already", x.Interface)
		}
		links[x.Interface] = x.Interface != ""
		asksPlugins(p, object, x.Addresses, x.Groups, x.Labels)
	}
	for _, port := range n.Ports {
		if port != nil && port.Network != "" && !slices.ContainsFunc(n.Further, func(x *FurtherNetwork) bool { return x != nil && x.Name == port.Network }) {
			p.Add(at+".port."+port.Label+".network", "the network block has no cni %q", port.Network).Advise("name one that it has, or leave it out for the network of mode")
		}
	}
}

// MaxNetworks bounds the networks of an allocation.
const MaxNetworks = 8

// Bounds of what the plugins of a network are asked for.
const (
	maxAddresses     = 8
	maxNetworkGroups = 32
	maxNetworkLabels = 64
	maxNetworkText   = 1024
)

// asksPlugins looks at what the plugins of a CNI network are asked for.
func asksPlugins(p *Problems, at string, addresses, groups []string, labels map[string]string) {
	if len(addresses) > maxAddresses || len(groups) > maxNetworkGroups || len(labels) > maxNetworkLabels {
		p.Add(at, "more than %d addresses, %d groups or %d labels", maxAddresses, maxNetworkGroups, maxNetworkLabels)
	}
	seen := make(map[netip.Addr]bool)
	for i, text := range addresses {
		a := AddressIn(text)
		if !a.IsValid() {
			p.Add(index(at+".addresses", i), "%.100q is not an address, such as 10.1.2.3 or 10.1.2.3/24", text)
		} else if seen[a] {
			p.Add(index(at+".addresses", i), "%s is there twice", a)
		}
		seen[a] = true
	}
	for i, text := range groups {
		if text == "" || len(text) > maxNetworkText {
			p.Add(index(at+".groups", i), "%.100q is not from 1 to %d bytes long", text, maxNetworkText)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if value := labels[key]; key == "" || len(key) > maxNetworkText || len(value) > maxNetworkText {
			p.Add(at+".labels", "the label %.100q has no name, or more than %d bytes", key, maxNetworkText)
		}
	}
}

// AddressIn returns the address in a text that is one, or one with the length of its network; not valid: it is neither.
func AddressIn(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if p, failed := netip.ParsePrefix(text); err != nil && failed == nil {
		a, err = p.Addr(), nil
	}
	if err != nil || a.Zone() != "" || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

func (d *DNS) problems(p *Problems, at string) {
	list := func(name string, values []string, most int, good func(string) bool, what string) {
		if len(values) > most {
			p.Add(at+"."+name, "%d are more than %d", len(values), most)
		}
		for i, v := range values {
			if !good(v) {
				p.Add(index(at+"."+name, i), "%q is not %s", v, what)
			}
		}
	}
	list("servers", d.Servers, MaxServers, func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Zone() == "" }, "an IP address")
	list("searches", d.Searches, MaxSearches, dnsName.MatchString, "a domain")
	list("options", d.Options, MaxOptions, dnsOption.MatchString, "an option of the resolver")
}

// checkHost looks at where a port is to be on a node.
func (port *Port) checkHost(p *Problems, at string) {
	switch {
	case strings.Contains(port.Host, "/"):
		if _, err := netip.ParsePrefix(port.Host); err != nil {
			p.Add(at+".host_network", "%q is not a network such as 10.0.0.0/8", port.Host)
		}
	case port.Host != "" && !ValidName(port.Host):
		p.Add(at+".host_network", "%q is not the name of a host_network", port.Host)
	}
}

// Addresses returns those of the node that a port with this host_network may have, the first one first.
func (n *Node) Addresses(network string) []string {
	if network == "" {
		return n.Hosts[:min(1, len(n.Hosts))]
	}
	if found := n.Networks[network]; len(found) > 0 {
		return found
	}
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return nil
	}
	within := func(list []string) string {
		for _, text := range list {
			if a, err := netip.ParseAddr(text); err == nil && p.Contains(a) {
				return text
			}
		}
		return ""
	}
	best := within(n.Hosts)
	if best == "" {
		for _, name := range slices.Sorted(maps.Keys(n.Networks)) {
			if best = within(n.Networks[name]); best != "" {
				break
			}
		}
	}
	if best == "" {
		return nil
	}
	return []string{best}
}
