package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/structs"
)

// Network configures the networks that allocations have of their own.
type Network struct {
	Bridge     string   `json:"bridge,omitempty" doc:"Name of the bridge that tasks are connected with, and of the nft table; 15 letters at most. Each agent of a machine needs its own. Default proffer0."`
	Subnet     string   `json:"subnet,omitempty" doc:"IPv4 addresses of the bridge, as 172.30.64.0/20; the first one is the node's. Default 172.30.64.0/20."`
	Subnet6    string   `json:"subnet6,omitempty" doc:"IPv6 addresses of the bridge, a /64 or larger. Default: a network of fd00::/8 that is chosen once by chance."`
	IPv4Only   bool     `json:"ipv4_only,omitempty" doc:"The bridge has no IPv6, and the node need not pass any on."`
	CNIConfig  string   `json:"cni_config,omitempty" doc:"Folder with the CNI networks of the node, *.conflist. Default /etc/cni/net.d."`
	CNIPlugins []string `json:"cni_plugins,omitempty" doc:"Folders in which CNI plugins are looked for. Default: /opt/cni/bin and /usr/lib/cni."`
}

// HostNetwork is addresses of the node that ports may ask for by a name.
type HostNetwork struct {
	Name      string `json:"name" hcl:"label" doc:"The name, as in host_network of a port."`
	CIDR      string `json:"cidr,omitempty" doc:"The addresses of the node within this network, such as 10.0.0.0/8."`
	Interface string `json:"interface,omitempty" doc:"The addresses of this interface; with cidr, those of them that are within it."`
}

func (n *Network) defaults() {
	setDefault(&n.Bridge, network.DefaultBridge)
	setDefault(&n.Subnet, network.DefaultSubnet)
	setDefault(&n.CNIConfig, network.DefaultConfig)
	if n.CNIPlugins == nil {
		n.CNIPlugins = filepath.SplitList(network.DefaultPlugins)
	}
}

// Prefixes returns the networks of the bridge. It is valid after Finish; one that is not said is not valid.
func (n *Network) Prefixes() (v4, v6 netip.Prefix) {
	v4, _ = netip.ParsePrefix(n.Subnet)
	v6, _ = netip.ParsePrefix(n.Subnet6)
	return v4, v6
}

// HostNetworks returns the addresses of the node by the name of a host_network.
func (l *Client) HostNetworks() map[string][]string {
	out := make(map[string][]string, len(l.HostNetwork))
	for _, h := range l.HostNetwork {
		within, _ := netip.ParsePrefix(h.CIDR)
		out[h.Name] = fingerprint.AddressesOf(h.Interface, within)
	}
	return out
}

var linkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)

func (l *Client) validateNetworks(p *structs.Problems) {
	if n := l.Network; n != nil {
		if !linkName.MatchString(n.Bridge) {
			p.Add("client.network.bridge", "%q is not the name of a link: 15 letters, digits, _ . and - at most", n.Bridge)
		}
		if s, err := netip.ParsePrefix(n.Subnet); err != nil || !s.Addr().Is4() || s.Bits() < 8 || s.Bits() > 29 {
			p.Add("client.network.subnet", "%q is not an IPv4 network from /8 to /29", n.Subnet)
		}
		if s, err := netip.ParsePrefix(n.Subnet6); n.Subnet6 != "" && (err != nil || !s.Addr().Is6() || s.Addr().Is4In6() || s.Bits() > 64) {
			p.Add("client.network.subnet6", "%q is not an IPv6 network of /64 or larger", n.Subnet6)
		}
		if n.IPv4Only && n.Subnet6 != "" {
			p.Add("client.network.subnet6", "it has no use with ipv4_only")
		}
		for i, dir := range append([]string{n.CNIConfig}, n.CNIPlugins...) {
			at := "client.network.cni_config"
			if i > 0 {
				at = fmt.Sprintf("client.network.cni_plugins[%d]", i-1)
			}
			if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
				p.Add(at, "%q is not an absolute path", dir)
			}
		}
	}
	seen := map[string]bool{}
	for _, h := range l.HostNetwork {
		at := "client.host_network." + h.Name
		if !structs.ValidName(h.Name) {
			p.Add(at, "%q is not a name", h.Name)
		}
		if seen[h.Name] {
			p.Add(at, "there are two of this name")
		}
		seen[h.Name] = true
		if _, err := netip.ParsePrefix(h.CIDR); h.CIDR != "" && err != nil {
			p.Add(at+".cidr", "%q is not a network such as 10.0.0.0/8", h.CIDR)
		}
		if h.CIDR == "" && h.Interface == "" {
			p.Add(at, "it names no address").Advise("write cidr or interface")
		}
	}
}
