package network

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
)

// inner is the name of the link in a namespace.
const inner = "eth0"

// sysctl writes a setting of the network that the calling thread is in, unless it has the value. A kernel without it is left alone.
func sysctl(path, value string) error {
	path = filepath.Join("/proc/sys/net", path)
	now, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(now)) == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0)
	}
	return err
}

// prefixes are the networks of the bridge: IPv6 last, where there is one.
func (n *Networks) prefixes() []netip.Prefix {
	all := []netip.Prefix{n.opts.Subnet}
	if n.opts.Subnet6.IsValid() {
		all = append(all, n.opts.Subnet6)
	}
	return all
}

// bridge makes the node's bridge what it shall be, and lets the node pass packets on. It may be repeated.
func (n *Networks) bridge() (netlink.Link, error) {
	link, err := netlink.LinkByName(n.opts.Bridge)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = n.opts.Bridge, n.mtu
		// An address of its own: otherwise it changes with the links that come and go.
		sum := sha256.Sum256([]byte(n.opts.Dir))
		attrs.HardwareAddr = append(net.HardwareAddr{2}, sum[:5]...)
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return nil, fmt.Errorf("make the bridge %s: %w", n.opts.Bridge, err)
		}
		link, err = netlink.LinkByName(n.opts.Bridge)
	}
	if err != nil {
		return nil, fmt.Errorf("look for the bridge %s: %w", n.opts.Bridge, err)
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("there is a link %s already that is no bridge but a %s", n.opts.Bridge, link.Type())
	}
	for _, p := range n.prefixes() {
		if err := address(link, netip.PrefixFrom(gateway(p), p.Bits())); err != nil {
			return nil, err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set %s up: %w", n.opts.Bridge, err)
	}
	// What comes from 127.0.0.1 of the node may go to a task; the rules let nothing come from a task to 127.0.0.1.
	err = errors.Join(sysctl("ipv4/conf/"+n.opts.Bridge+"/route_localnet", "1"), sysctl("ipv4/ip_forward", "1"))
	if n.opts.Subnet6.IsValid() {
		err = errors.Join(err, forward6(), loop6(link))
	}
	if err != nil {
		return nil, fmt.Errorf("let the node pass packets on: %w", err)
	}
	return link, nil
}

// forward6 lets the node pass IPv6 packets on. A node that does has its own routes from router advertisements only where it is told so.
func forward6() error {
	const all = "ipv6/conf/all/forwarding"
	if now, err := os.ReadFile("/proc/sys/net/" + all); err != nil || strings.TrimSpace(string(now)) == "1" {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	for _, file := range dirs {
		if now, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(now)) == "1" {
			if err := os.WriteFile(file, []byte("2"), 0); err != nil {
				return err
			}
		}
	}
	return sysctl(all, "1")
}

// behind is the metric of a route that is the last one looked at.
const behind = 1 << 30

// loop6 lets answers to what came from [::1] of the node in by the bridge: for that address the kernel asks for a local route of the link
// that a packet came by, once the rules have put it back into the packet. A packet that comes with it is dropped before that.
func loop6(link netlink.Link) error {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(netip.IPv6Loopback(), 128)), Table: unix.RT_TABLE_LOCAL,
		Type: unix.RTN_LOCAL, Priority: behind}
	if err := netlink.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("let answers to ::1 in by %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// address gives a link an address that may be used at once; one that it has is no error.
func address(link netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give %s the address %s: %w", link.Attrs().Name, p, err)
	}
	return nil
}

// routeMTU is that of the link which the node's default route goes through, or 1500.
func routeMTU() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 1500
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU >= 1280 {
				return link.Attrs().MTU
			}
		}
	}
	return 1500
}

// filtered reports whether packets that only pass the bridge go through the rules, too.
func filtered() bool {
	raw, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && strings.TrimSpace(string(raw)) == "1"
}

// attach connects the namespace of a record with the bridge: a pair of links, of which one end is there with the record's
// addresses. It may be repeated.
func (n *Networks) attach(ctx context.Context, r *record, ns string) error {
	bridge, err := n.bridge()
	if err != nil {
		return err
	}
	n.step("bridge")
	name := linkName(n.opts.Bridge, r.Alloc)
	outer, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		fd, err := unix.Open(ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: ns, Err: err}
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, n.mtu
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: inner, PeerMTU: uint32(n.mtu), PeerNamespace: netlink.NsFd(fd)})
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("make the pair of links %s: %w", name, err)
		}
		n.step("links")
		outer, err = netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("look for the link %s: %w", name, err)
		}
	} else if err != nil {
		return fmt.Errorf("look for the link %s: %w", name, err)
	}
	if outer.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetMaster(outer, bridge); err != nil {
			return fmt.Errorf("connect %s with %s: %w", name, bridge.Attrs().Name, err)
		}
	}
	// A mapped port leads a task back to itself. Tasks reach each other by mapped ports alone: the rules see to that, and the bridge,
	// where it does not have to send on what the rules redirected while it passed.
	if err := netlink.LinkSetHairpin(outer, true); err != nil {
		return fmt.Errorf("let %s send back: %w", name, err)
	}
	if !filtered() {
		if err := netlink.LinkSetIsolated(outer, true); err != nil {
			return fmt.Errorf("keep %s apart: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(outer); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	n.step("bridged")
	if err := namespaces.Inside(ns, func() error { return n.inside(r) }); err != nil {
		return err
	}
	return errors.Join(carries(ctx, name), carries(ctx, n.opts.Bridge)) // in this order: the bridge is on with its first link
}

// carryLimit bounds how long is waited for a link, which a task may have switched off.
const carryLimit = time.Second

// carries waits until a link takes packets. The kernel switches it on by itself, a moment after its other end; what is sent before is
// dropped, and whoever sent it tries again after a second.
func carries(ctx context.Context, name string) error {
	limit, tick := time.NewTimer(carryLimit), time.NewTicker(time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("look for the link %s: %w", name, err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inside makes the task's end of the pair what it shall be.
func (n *Networks) inside(r *record) error {
	link, err := netlink.LinkByName(inner)
	if err != nil {
		return fmt.Errorf("look for the link %s: %w", inner, err)
	}
	addrs := []netip.Addr{r.V4}
	if r.V6.IsValid() {
		addrs = append(addrs, r.V6)
	}
	// The node sends back on the bridge what came from it, and tells the sender of a shorter way, which does not exist.
	for _, path := range []string{"ipv4/conf/all", "ipv4/conf/" + inner, "ipv6/conf/" + inner} {
		if err := sysctl(path+"/accept_redirects", "0"); err != nil {
			return err
		}
	}
	// An engine may have switched IPv6 off where it gave no address of it.
	if r.V6.IsValid() {
		for _, name := range []string{"lo", inner} {
			if err := sysctl("ipv6/conf/"+name+"/disable_ipv6", "0"); err != nil {
				return err
			}
		}
	}
	// All that is not the task itself is reached through the node, other tasks of the bridge, too.
	for _, a := range addrs {
		if err := address(link, netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", inner, err)
	}
	for i, p := range n.prefixes()[:len(addrs)] {
		via := gateway(p)
		to := ipNet(netip.PrefixFrom(via, via.BitLen()))
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route to %s: %w", via, err)
		}
		everywhere := ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
		if i > 0 {
			everywhere = ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		}
		// It exists, behind that of another network, when an agent died that joined one: that is left, and joined anew.
		err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everywhere, Gw: via.AsSlice()})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("default route through %s: %w", via, err)
		}
	}
	n.step("addresses")
	return nil
}

// everywhere reports whether a route is a default one.
func everywhere(r *netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	bits, _ := r.Dst.Mask.Size()
	return bits == 0
}

// stepBack puts the default routes of a network behind those of the networks before it, of which there are fewer than place. A plugin adds its own
// before or beside all that are there.
func stepBack(ns, name string, place int) error {
	return namespaces.Inside(ns, func() error {
		link, err := netlink.LinkByName(name)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return nil // a plugin may give none
		}
		if err != nil {
			return fmt.Errorf("look for the link %s: %w", name, err)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list the routes: %w", err)
		}
		for _, r := range routes {
			if !everywhere(&r) {
				continue
			}
			ways := r.MultiPath // of IPv6 routes that are alike the kernel makes one
			if len(ways) == 0 {
				ways = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
			}
			for _, way := range ways {
				if way.LinkIndex != link.Attrs().Index {
					continue
				}
				old := r
				old.MultiPath, old.LinkIndex, old.Gw = nil, way.LinkIndex, way.Gw
				later := old
				later.Priority += place << 16
				if err := netlink.RouteAdd(&later); err != nil && !errors.Is(err, unix.EEXIST) {
					return fmt.Errorf("put the default route of %s behind others: %w", name, err)
				}
				if err := netlink.RouteDel(&old); err != nil {
					return fmt.Errorf("put the default route of %s behind others: %w", name, err)
				}
			}
		}
		return nil
	})
}

// loopback sets lo up in the namespace at path.
func loopback(path string) error {
	return namespaces.Inside(path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		return nil
	})
}

// limit bounds what leaves the namespace, in bytes a second; 0 takes the bound away.
func limit(ns, link string, rate uint64) error {
	return namespaces.Inside(ns, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return fmt.Errorf("look for the link %s: %w", link, err)
		}
		return shape(l, rate)
	})
}

// shape lets a link send at a rate, in bytes a second, with what it may send at once: 10 ms of it, and a packet of the largest size at
// least. What is queued waits 50 ms at most.
func shape(l netlink.Link, rate uint64) error {
	burst := max(rate/100, 64<<10)
	q := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate: rate, Limit: uint32(min(burst+rate/20, 1<<31)), Buffer: netlink.Xmittime(rate, uint32(min(burst, 1<<31)))}
	if err := netlink.QdiscReplace(q); err != nil {
		return fmt.Errorf("limit what %s sends: %w", l.Attrs().Name, err)
	}
	return nil
}

// cut removes the link of an allocation, and with it the other end.
func (n *Networks) cut(name string) error {
	l, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the link %s: %w", name, err)
	}
	return nil
}

// links returns the names of the links of this bridge's tasks.
func (n *Networks) links() (names []string, err error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range all {
		if name := l.Attrs().Name; len(name) == 15 && strings.HasPrefix(name, linkPrefix(n.opts.Bridge)) && l.Type() == "veth" {
			names = append(names, name)
		}
	}
	return names, nil
}

// forget drops what the kernel remembers of connections to an address that is free now: they would be sent on to its next holder.
func forget(a netip.Addr) {
	family := netlink.InetFamily(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	f := &netlink.ConntrackFilter{}
	if f.AddIP(netlink.ConntrackReplyAnyIP, a.AsSlice()) == nil {
		netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f) // best effort: a kernel may not have it
	}
}
