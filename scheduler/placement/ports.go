package placement

import "github.com/proffer/proffer/structs"

// hostPorts counts the holders of each port of each host address. Two holders of one port are a fault of whoever
// recorded them; counting keeps the books right when one of them goes.
type hostPorts struct {
	in    structs.Range // the node's range for dynamic ports
	hosts []*hostPort
}

type hostPort struct {
	host   string
	ports  map[int]int8
	within int // ports of the range that are held
	low    int // every port of the range below it is held here
}

func anyHost(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func inRange(r structs.Range, port int) bool { return int64(port) >= r.First && int64(port) <= r.Last }

// setRange says which ports are dynamic.
func (h *hostPorts) setRange(in structs.Range) {
	h.in = in
	for _, x := range h.hosts {
		x.low, x.within = 0, 0
		for port := range x.ports {
			if inRange(in, port) {
				x.within++
			}
		}
	}
}

func (h *hostPorts) add(host string, port int, by int8) {
	var x *hostPort
	for _, y := range h.hosts {
		if y.host == host {
			x = y
		}
	}
	if x == nil {
		if by < 0 {
			return
		}
		x = &hostPort{host: host, ports: make(map[int]int8)}
		h.hosts = append(h.hosts, x)
	}
	was := x.ports[port]
	switch now := was + by; {
	case now > 0:
		x.ports[port] = now
		if was == 0 && inRange(h.in, port) {
			x.within++
		}
	default:
		delete(x.ports, port)
		if was > 0 && inRange(h.in, port) {
			x.within--
			x.low = min(x.low, port)
		}
	}
}

// taken reports whether port cannot be bound on host. A holder of all addresses takes it on each.
func (h *hostPorts) taken(host string, port int) bool {
	for _, x := range h.hosts {
		if (x.host == host || anyHost(x.host) || anyHost(host)) && x.ports[port] > 0 {
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

// free returns how many ports of the range are free on host.
func (h *hostPorts) free(host string) int {
	if h.in.Last <= 0 || h.in.Last < h.in.First {
		return 0
	}
	n := int(h.in.Last-h.in.First) + 1
	if len(h.hosts) == 0 {
		return n
	}
	if x := h.only(host); x != nil {
		return n - x.within
	}
	seen := map[int]bool{}
	for _, x := range h.hosts {
		if x.host == host || anyHost(x.host) || anyHost(host) {
			for port := range x.ports {
				seen[port] = seen[port] || inRange(h.in, port)
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

// outside returns how many ports beyond the range are held.
func (h *hostPorts) outside() (n int) {
	for _, x := range h.hosts {
		n += len(x.ports) - x.within
	}
	return n
}

// next returns the lowest free port of the range from port on, or 0.
func (h *hostPorts) next(host string, from int) int {
	if h.in.Last <= 0 {
		return 0
	}
	first, x := max(from, int(h.in.First), 1), h.only(host)
	if x != nil && first < x.low {
		first = x.low
	}
	for port := first; int64(port) <= h.in.Last; port++ {
		if !h.taken(host, port) {
			if x != nil && from <= int(h.in.First) {
				x.low = port // so the next search is short; a memo, not a change
			}
			return port
		}
	}
	return 0
}

func (n *Node) host() string {
	if n.spec != nil && len(n.spec.Hosts) > 0 {
		return n.spec.Hosts[0]
	}
	return ""
}

// dynamic returns how many ports the node chooses for a.
func (a *Ask) dynamic() int {
	d := a.unnamed
	for _, p := range a.ports {
		if p.Static == 0 {
			d++
		}
	}
	return d
}

// Static returns the ports of a that it names itself, as it would have them on n.
func (n *Node) Static(a *Ask) (out []structs.AssignedPort) {
	for _, p := range a.ports {
		if p.Static != 0 {
			out = append(out, structs.AssignedPort{Label: p.Label, Host: n.host(), Port: p.Static, To: p.To})
		}
	}
	return out
}

// Assign chooses the ports of an allocation of a on n: static ones as asked, the others the lowest free ones of the
// node's range. False means that a port is taken or none is left; nothing is held by it.
func (n *Node) Assign(a *Ask) ([]structs.AssignedPort, bool) {
	if len(a.ports) == 0 && a.unnamed == 0 {
		return nil, true
	}
	host, last := n.host(), 0
	out := append(make([]structs.AssignedPort, 0, len(a.ports)+a.unnamed), n.Static(a)...)
	for _, p := range out {
		if n.ports.taken(host, p.Port) {
			return nil, false
		}
	}
	fixed := len(out)
	choose := func(label string, to int) bool {
		for {
			last = n.ports.next(host, last)
			if last == 0 {
				return false
			}
			port := last
			last++
			free := true
			for _, p := range out[:fixed] {
				free = free && p.Port != port
			}
			if free {
				out = append(out, structs.AssignedPort{Label: label, Host: host, Port: port, To: to})
				return true
			}
		}
	}
	for _, p := range a.ports {
		if p.Static == 0 && !choose(p.Label, p.To) {
			return nil, false
		}
	}
	for range a.unnamed {
		if !choose("", 0) {
			return nil, false
		}
	}
	return out, true
}

// PortFree reports whether nobody holds that port of the node.
func (n *Node) PortFree(host string, port int) bool { return !n.ports.taken(host, port) }
