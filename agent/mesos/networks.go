package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Networks of containers. A port of the node that leads into one is among the ports that its framework was offered: it holds it until
// the end of what has the network.

// mapping is a port of the node that leads to one in a network.
type mapping struct {
	from, to int
	protocol string // tcp or udp; empty: both
	network  string // beside the first one, that it leads into; empty: the first one
}

// mappingsOf adds those of a network to others.
func mappingsOf(out []mapping, all []wire.PortMapping, network string) ([]mapping, error) {
	for _, m := range all {
		protocol := strings.ToLower(wire.TextOf(m.Protocol))
		if protocol != "" && protocol != structs.TCP && protocol != structs.UDP {
			return nil, fmt.Errorf("'%.20s' is no protocol of a mapped port: tcp or udp", *m.Protocol)
		}
		if m.HostPort < 1 || m.HostPort > 65535 || m.ContainerPort < 1 || m.ContainerPort > 65535 {
			return nil, fmt.Errorf("host port %d is mapped to %d: ports are from 1 to 65535", m.HostPort, m.ContainerPort)
		}
		x := mapping{int(m.HostPort), int(m.ContainerPort), protocol, network}
		i := slices.IndexFunc(out, func(o mapping) bool { return o.from == x.from })
		switch {
		case i < 0:
			out = append(out, x)
		case out[i].to != x.to:
			return nil, fmt.Errorf("host port %d is mapped to %d and to %d: it can lead to one port alone", x.from, out[i].to, x.to)
		case out[i].network != x.network:
			return nil, fmt.Errorf("host port %d is mapped into two networks: it can lead into one alone", x.from)
		case out[i].protocol != x.protocol:
			out[i].protocol = ""
		}
	}
	return out, nil
}

// through says of ports which ones lead to others inside; rest are mappings of other ports than these.
func through(ports []structs.AssignedPort, all []mapping) (rest []mapping) {
	for _, m := range all {
		i := slices.IndexFunc(ports, func(p structs.AssignedPort) bool { return p.Port == m.from })
		if i < 0 {
			rest = append(rest, m)
			continue
		}
		ports[i].To, ports[i].Label, ports[i].Protocol, ports[i].Network = m.to, portLabel(m.from), m.protocol, m.network
	}
	return rest
}

// portLabel names a port that is mapped.
func portLabel(port int) string { return fmt.Sprintf("p%d", port) }

func notHeld(m mapping) error {
	return fmt.Errorf("host port %d is mapped and not among the 'ports' of the task: add it to its resources, from an offer that has it", m.from)
}

// networkOf returns the networks of a container that has some of its own, with the ports that lead into them; nil: it has that of the node.
func networkOf(c *wire.ContainerInfo) (n *structs.Network, mappings []mapping, err error) {
	if c == nil {
		return nil, nil, nil
	}
	for i := range c.Networks {
		info := &c.Networks[i]
		name, err := networkName(info)
		switch {
		case err != nil:
			return nil, nil, err
		case name != "":
		case len(info.PortMappings) > 0 || len(c.Networks) == 1 && c.Hostname != nil || len(info.Groups) > 0 || info.Labels != nil || wishes(info):
			return nil, nil, errors.New("mapped ports, a host name, groups, labels and addresses need a network: set 'name' of 'network_infos', such as bridge or a CNI network of the node")
		default: // the node's, unless others are named
			continue
		}
		leadsInto := ""
		if n == nil {
			n, err = firstNetwork(info, name)
		} else {
			leadsInto, err = name, beside(n, info, name)
		}
		if err == nil {
			mappings, err = mappingsOf(mappings, info.PortMappings, leadsInto)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	switch {
	case n == nil && c.Hostname != nil:
		return nil, nil, errors.New("'ContainerInfo.hostname' needs a network of the container's own: name one in 'network_infos', such as bridge, or leave it out")
	case n == nil:
		return nil, nil, nil
	}
	n.Hostname = wire.TextOf(c.Hostname)
	n.Canonicalize()
	if err := n.Problems().Err(); err != nil {
		return nil, nil, err
	}
	return n, mappings, nil
}

// firstNetwork is what a container has whose first network is called name.
func firstNetwork(info *wire.NetworkInfo, name string) (n *structs.Network, err error) {
	if name != structs.NetworkBridge {
		n = &structs.Network{Mode: structs.NetworkCNI + name}
		n.Addresses, n.Groups, n.Labels, err = pluginsAsked(info)
		return n, err
	}
	if info.Groups != nil || info.Labels != nil || wishes(info) {
		return nil, errors.New("'groups', 'labels' and addresses that are asked for are for the plugins of a CNI network, and the network bridge is the node's own: leave them out")
	}
	return &structs.Network{Mode: name}, nil
}

// beside adds a network to those that a container is in.
func beside(n *structs.Network, info *wire.NetworkInfo, name string) (err error) {
	switch {
	case n.Mode == name || n.Mode == structs.NetworkCNI+name || slices.ContainsFunc(n.Further, func(x *structs.FurtherNetwork) bool { return x.Name == name }):
		return errJoinedTwice(name)
	case name == structs.NetworkBridge:
		return errors.New("the network bridge is the first one of a container: put it first in 'network_infos'")
	}
	x := &structs.FurtherNetwork{Name: name}
	x.Addresses, x.Groups, x.Labels, err = pluginsAsked(info)
	n.Further = append(n.Further, x)
	return err
}

func errJoinedTwice(name string) error {
	return fmt.Errorf("Attempted to join the network '%s' multiple times: name it once in 'network_infos'", name)
}

// wishes reports whether a container asks for an address. One of a protocol alone is what any network gives as it can.
func wishes(info *wire.NetworkInfo) bool {
	return slices.ContainsFunc(info.IPAddresses, func(a wire.IPAddress) bool { return wire.TextOf(a.IPAddress) != "" })
}

// wished are the addresses that a container asks for.
func wished(info *wire.NetworkInfo) (out []string, err error) {
	for _, a := range info.IPAddresses {
		text := wire.TextOf(a.IPAddress)
		if text == "" {
			continue
		}
		is := structs.AddressIn(text)
		if !is.IsValid() {
			return nil, fmt.Errorf("'%.100s' of 'ip_addresses' is no address", text)
		}
		if a.Protocol != nil && (*a.Protocol == wire.IPv6) != is.Is6() {
			return nil, fmt.Errorf("'%.100s' of 'ip_addresses' is no address of its protocol", text)
		}
		out = append(out, text)
	}
	return out, nil
}

// pluginsAsked is what a container says to the plugins of a network.
func pluginsAsked(info *wire.NetworkInfo) (addresses, groups []string, labels map[string]string, err error) {
	if info.Labels != nil {
		if labels = info.Labels.Map(); len(labels) != len(info.Labels.Labels) {
			return nil, nil, nil, errors.New("'NetworkInfo.labels' have a key twice")
		}
	}
	addresses, err = wished(info)
	return addresses, info.Groups, labels, err
}

// networkName is the name of a network.
func networkName(info *wire.NetworkInfo) (string, error) {
	name := wire.TextOf(info.Name)
	if name != "" && !structs.ValidName(name) {
		return "", fmt.Errorf("'%.200s' is no name of a network", name)
	}
	return name, nil
}

// network has a task in a network of its own. In a pod it has that of the executor.
func (b *building) network(c *wire.ContainerInfo) error {
	if b.pod == nil && b.group == nil {
		return nil // an executor, whose network is that of its allocation
	}
	if b.pod != nil {
		if c != nil && (len(c.Networks) > 0 || c.Hostname != nil) {
			return errors.New("tasks of a group have the network and the host name of their executor: set 'network_infos' there")
		}
		return nil
	}
	n, mappings, err := networkOf(c)
	if n == nil || err != nil {
		return err
	}
	if rest := through(b.ports, mappings); len(rest) > 0 {
		return notHeld(rest[0])
	}
	b.group.Network = n
	return nil
}

// assigned are ports that nothing is said of yet.
func assigned(ports []int) (out []structs.AssignedPort) {
	for _, port := range ports {
		out = append(out, structs.AssignedPort{Port: port})
	}
	return out
}
