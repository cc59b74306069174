package placement

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// hostPorts counts the holders of each port of each host address. Two holders of one port, unless one has it for TCP and the other
// for UDP, are a fault of whoever recorded them; counting keeps the books right when one of them goes.
type hostPorts struct {
	in    structs.Range   // the node's range for dynamic ports
	named []structs.Range // which of all ports are reserved: they are not dynamic, and given to those who name them
	mine  []structs.Range // of these, what those may name who see the node like this
	size  int             // dynamic ports
	hosts []*hostPort
}

type hostPort struct {
	host   string
	ports  map[int]portHolders
	within int // dynamic ports that are held
	beyond int // holders of other ports
	named  int // of these, holders of reserved ports of the range
	low    int // every dynamic port below it is held here
}

// portHolders are how many hold a port for both protocols, for TCP and for UDP.
type portHolders struct{ both, tcp, udp int8 }

func (h portHolders) held() bool { return h != portHolders{} }

// of returns those that hold a port for a protocol.
func (h portHolders) of(protocol string) int8 {
	switch protocol {
	case structs.TCP:
		return h.both + h.tcp
	case structs.UDP:
		return h.both + h.udp
	}
	return h.both + h.tcp + h.udp
}

// plus returns h with one more or one less.
func (h portHolders) plus(protocol string, by int8) portHolders {
	switch protocol {
	case structs.TCP:
		h.tcp = max(0, h.tcp+by)
	case structs.UDP:
		h.udp = max(0, h.udp+by)
	default:
		h.both = max(0, h.both+by)
	}
	return h
}

func anyHost(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func inRange(r structs.Range, port int) bool { return int64(port) >= r.First && int64(port) <= r.Last }

// dynamic reports whether a port is given to those who want any.
func (h *hostPorts) dynamic(port int) bool {
	return inRange(h.in, port) && !structs.HasIndex(h.named, port)
}

// barred reports whether a port is reserved for others than those who see the node like this.
func (h *hostPorts) barred(port int) bool {
	return structs.HasIndex(h.named, port) && !structs.HasIndex(h.mine, port)
}

// setRange says which ports are dynamic: those in a range that are not reserved.
func (h *hostPorts) setRange(in structs.Range, named []structs.Range) {
	h.in, h.named, h.size = in, named, 0
	if in.Last > 0 && in.Last >= in.First {
		h.size = int(in.Last-in.First) + 1 - structs.CountIndexes(structs.CommonRanges([]structs.Range{in}, named))
	}
	for _, x := range h.hosts {
		x.low, x.within, x.beyond, x.named = 0, 0, 0, 0
		for port, by := range x.ports {
			if h.dynamic(port) {
				x.within++
			} else {
				x.count(h, port, int(by.of("")))
			}
		}
	}
}

// count notes more or fewer holders of a port that is not dynamic.
func (x *hostPort) count(h *hostPorts, port, by int) {
	x.beyond += by
	if inRange(h.in, port) {
		x.named += by
	}
}

func (h *hostPorts) add(p *structs.AssignedPort, by int8) {
	var x *hostPort
	for _, y := range h.hosts {
		if y.host == p.Host {
			x = y
		}
	}
	if x == nil {
		if by < 0 {
			return
		}
		x = &hostPort{host: p.Host, ports: make(map[int]portHolders)}
		h.hosts = append(h.hosts, x)
	}
	was := x.ports[p.Port]
	now := was.plus(p.Protocol, by)
	if now.held() {
		x.ports[p.Port] = now
	} else {
		delete(x.ports, p.Port)
	}
	switch {
	case !h.dynamic(p.Port):
		x.count(h, p.Port, int(now.of("")-was.of("")))
	case now.held() && !was.held():
		x.within++
	case was.held() && !now.held():
		x.within--
		x.low = min(x.low, p.Port)
	}
}

// taken reports whether port cannot be bound on host. A holder of all addresses takes it on each.
func (h *hostPorts) taken(host string, port int, protocol string) bool {
	for _, x := range h.hosts {
		if (x.host == host || anyHost(x.host) || anyHost(host)) && x.ports[port].of(protocol) > 0 {
			return true
		}
	}
	return false
}

// only returns the holder when every port that matters to host is held by it: the usual node has one address.
func (h *hostPorts) only(host string) *hostPort {
	if len(h.hosts) == 1 && (h.hosts[0].host == host || anyHost(h.hosts[0].host) || anyHost(host)) {
		return h.hosts[0]
	}
	return nil
}

// free returns how many dynamic ports are free on host.
func (h *hostPorts) free(host string) int {
	n := h.size
	if n <= 0 || len(h.hosts) == 0 {
		return n
	}
	if x := h.only(host); x != nil {
		return n - x.within
	}
	seen := map[int]bool{}
	for _, x := range h.hosts {
		if x.host == host || anyHost(x.host) || anyHost(host) {
			for port := range x.ports {
				seen[port] = seen[port] || h.dynamic(port)
			}
		}
	}
	for _, within := range seen {
		if within {
			n--
		}
	}
	return n
}

// outside returns how many ports are held that are not dynamic.
func (h *hostPorts) outside() (n int) {
	for _, x := range h.hosts {
		n += x.beyond
	}
	return n
}

// reserved returns how many reserved ports of the range are held.
func (h *hostPorts) reserved() (n int) {
	for _, x := range h.hosts {
		n += x.named
	}
	return n
}

// next returns the lowest dynamic port from port on that nobody has for any protocol, or 0.
func (h *hostPorts) next(host string, from int) int {
	if h.in.Last <= 0 {
		return 0
	}
	first, x := max(from, int(h.in.First), 1), h.only(host)
	if x != nil && first < x.low {
		first = x.low
	}
	for port := first; int64(port) <= h.in.Last; port++ {
		if !h.taken(host, port, "") && !structs.HasIndex(h.named, port) {
			if x != nil && from <= int(h.in.First) {
				x.low = port // so the next search is short; a memo, not a change
			}
			return port
		}
	}
	return 0
}

// host returns the address of n that a port with this host_network gets; false: it has none.
func (n *Node) host(network string) (string, bool) {
	if n.spec == nil || network == "" && len(n.spec.Hosts) == 0 {
		return "", network == ""
	}
	found := n.spec.Addresses(network)
	if len(found) == 0 {
		return "", false
	}
	return found[0], true
}

// Static returns the ports of a that it names itself, as it would have them on n.
func (n *Node) Static(a *Ask) (out []structs.AssignedPort) {
	for i := range a.ports {
		if p := &a.ports[i]; p.Static != 0 {
			host, ok := n.host(p.Host)
			if !ok {
				host = unreachable
			}
			out = append(out, structs.AssignedPort{Label: p.Label, Host: host, Port: p.Static, To: p.To, Protocol: p.Protocol, Network: p.Network})
		}
	}
	return out
}

// unreachable is the host of a port for which a node has no address.
const unreachable = "none"

// Assign chooses the ports of an allocation of a on n: static ones as asked, the others the lowest free ones of the
// node's range. False means that a port is taken or none is left; nothing is held by it.
func (n *Node) Assign(a *Ask) ([]structs.AssignedPort, bool) {
	if len(a.ports) == 0 && a.unnamed == 0 {
		return nil, true
	}
	static := n.Static(a)
	for i, p := range static {
		if p.Host == unreachable || n.ports.taken(p.Host, p.Port, p.Protocol) || slices.ContainsFunc(static[:i], p.Collides) {
			return nil, false
		}
	}
	out := append(make([]structs.AssignedPort, 0, len(a.ports)+a.unnamed), static...)
	type place struct {
		host string
		last int
	}
	fixed, places := len(out), make([]place, 0, 1)
	choose := func(p *structs.Port) bool {
		host, ok := n.host(p.Host)
		if !ok {
			return false
		}
		i := 0
		for i < len(places) && places[i].host != host {
			i++
		}
		if i == len(places) {
			places = append(places, place{host: host})
		}
		for {
			port := n.ports.next(host, places[i].last)
			if port == 0 {
				return false
			}
			places[i].last = port + 1
			q := structs.AssignedPort{Label: p.Label, Host: host, Port: port, To: p.To, Protocol: p.Protocol, Network: p.Network}
			free := true
			for j := range out[:fixed] {
				free = free && (out[j].Port != port || out[j].Host != host && !anyHost(host))
			}
			if free {
				out = append(out, q)
				return true
			}
		}
	}
	for i := range a.ports {
		if a.ports[i].Static == 0 && !choose(&a.ports[i]) {
			return nil, false
		}
	}
	for range a.unnamed {
		if !choose(&structs.Port{}) {
			return nil, false
		}
	}
	return out, true
}

// PortFree reports whether nobody holds that port of the node.
func (n *Node) PortFree(p *structs.AssignedPort) bool {
	return !n.ports.taken(p.Host, p.Port, p.Protocol)
}

// SetReserved says which ports of n are reserved, for whomever, and which of them those may name who see n like this. Reserved
// ports are given to nobody who does not name them, and are not among those of which there is a number.
func (n *Node) SetReserved(all, mine []structs.Range) {
	n.ports.setRange(n.ports.in, all)
	n.ports.mine = mine
	n.setAvailable()
}

// ReservedHeld returns which reserved ports somebody holds.
func (n *Node) ReservedHeld() []structs.Range {
	var held []structs.Range
	for _, x := range n.ports.hosts {
		for port := range x.ports {
			if structs.HasIndex(n.ports.named, port) {
				held = append(held, structs.Range{First: int64(port), Last: int64(port)})
			}
		}
	}
	return structs.UniteRanges(nil, held)
}

// Assigned returns ports as somebody would hold them who names them by their numbers alone.
func (n *Node) Assigned(ports []structs.Range) (out []structs.AssignedPort) {
	host, _ := n.host("")
	for _, x := range ports {
		for port := x.First; port <= x.Last; port++ {
			out = append(out, structs.AssignedPort{Host: host, Port: int(port)})
		}
	}
	return out
}

// FreePorts returns the lowest count dynamic ports that nobody holds and that are not among others, as ranges.
func (n *Node) FreePorts(count int, others []structs.Range) []structs.Range {
	in := structs.Range{First: max(n.ports.in.First, 1), Last: n.ports.in.Last}
	if in.Last < in.First || count <= 0 {
		return nil
	}
	taken := structs.OfPorts(others).Add(structs.OfPorts(n.ports.named))
	host, _ := n.host("")
	var held []structs.Range
	for _, x := range n.ports.hosts {
		if x.host == host || anyHost(x.host) || anyHost(host) {
			for port := range x.ports {
				held = append(held, structs.Range{First: int64(port), Last: int64(port)})
			}
		}
	}
	free := structs.OfPorts([]structs.Range{in}).Sub(taken.Add(structs.OfPorts(held))).PortRanges()
	for i, x := range free {
		if size := int(x.Last - x.First + 1); size < count {
			count -= size
			continue
		}
		free[i].Last = x.First + int64(count) - 1
		return free[:i+1]
	}
	return free
}
