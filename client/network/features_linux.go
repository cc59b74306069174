package network

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/structs"
)

// Attributes of a node: "true", or "no: " and why not. Those of CNI networks are there for those that can be used.
const (
	AttrBridge = "network.bridge"
	AttrNone   = "network.none"
	AttrEgress = "network.egress"
	AttrCNI    = "network.cni."
	// AttrForward is there when a firewall of the node may drop what the bridge's tasks send and get: "no: " and why.
	AttrForward = "network.bridge.forward"
	// AttrLoopback6 is whether ports of the node are reached by [::1], too.
	AttrLoopback6 = "network.bridge.loopback6"
)

func answer(err error) string {
	if err == nil {
		return "true"
	}
	return "no: " + strings.Join(strings.Fields(err.Error()), " ")
}

// Features says what the node can do, as attributes. All of it is tried for real, once, in a namespace that goes at once; CNI networks
// are looked for each time.
func (n *Networks) Features() map[string]string {
	n.trying.Do(func() { n.tried = n.try() })
	out := maps.Clone(n.tried)
	if said := n.forward.Load(); said != nil && *said != "" {
		out[AttrForward] = *said
	}
	if out[AttrBridge] == "true" {
		out[AttrLoopback6] = answer(n.loopback6())
	}
	for name, is := range n.conflists() {
		out[AttrCNI+name] = answer(is.err)
		if is.ports {
			out[structs.AttrPorts+name] = "true"
		}
		if out[AttrNone] != "true" {
			out[AttrCNI+name] = out[AttrNone]
		}
	}
	return out
}

func (n *Networks) try() map[string]string {
	none := n.tryNamespace()
	bridge, egress := none, none
	if none == nil {
		bridge, egress = n.tryBridge()
	}
	if n.lock == nil {
		bridge = fmt.Errorf("another agent of this machine has the bridge %s", n.opts.Bridge)
	}
	if bridge == nil {
		bridge = n.overlap()
	}
	return map[string]string{AttrNone: answer(none), AttrBridge: answer(bridge), AttrEgress: answer(egress)}
}

// loopback6 says why [::1] does not lead to a port of the bridge.
func (n *Networks) loopback6() error {
	switch raw, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables"); {
	case !n.opts.Subnet6.IsValid():
		return errors.New("the bridge has no IPv6")
	case err == nil && strings.TrimSpace(string(raw)) == "1":
		return errors.New("net.bridge.bridge-nf-call-ip6tables is 1, so the kernel drops the answers")
	}
	return nil
}

// tryNamespace makes a namespace and lets it go.
func (n *Networks) tryNamespace() error {
	if os.Geteuid() != 0 {
		return errors.New("the agent is not root")
	}
	path := filepath.Join(n.opts.Dir, ".probe")
	if err := namespaces.Drop(path); err != nil {
		return err
	}
	err := namespaces.Make(namespaces.Net, path)
	return errors.Join(err, namespaces.Drop(path))
}

// tryBridge makes a bridge, a pair of links, the rules and a limit.
func (n *Networks) tryBridge() (bridge, egress error) {
	namespaces.Apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			bridge, egress = err, err
			return nil
		}
		try := &Networks{opts: n.opts, mtu: 1500, step: n.step}
		bridge = func() error {
			if _, err := try.bridge(); err != nil {
				return err
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "pfprobe"
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: inner}); err != nil {
				return fmt.Errorf("make a pair of links: %w", err)
			}
			r := &record{V4: gateway(n.opts.Subnet).Next(), Ports: []structs.AssignedPort{{Host: "192.0.2.1", Port: 1}, {Port: 1}}}
			return try.rules(try.mappings([]*record{r}))
		}()
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = shape(lo, 1<<20)
		}
		egress = err
		return nil
	})
	return bridge, egress
}

// overlap says which network of the node has addresses of the bridge's.
func (n *Networks) overlap() error {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if link, err := netlink.LinkByIndex(a.LinkIndex); err != nil || link.Attrs().Name == n.opts.Bridge {
			continue
		} else if n.opts.Subnet.Contains(toAddr(a.IP)) || a.IPNet.Contains(n.opts.Subnet.Addr().AsSlice()) {
			return fmt.Errorf("%s of %s is within %s: give the node another client.network.subnet", a.IPNet, link.Attrs().Name, n.opts.Subnet)
		}
	}
	return nil
}
