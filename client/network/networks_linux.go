package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/structs"
)

// Networks gives networks to the allocations of one node. Its methods may be called from any goroutine.
type Networks struct {
	opts Options
	log  *slog.Logger
	lock net.Listener // holds the bridge's name in this namespace against other agents; nil: another has it
	mtu  int
	step func(string) // for tests: called after each change

	trying sync.Once
	tried  map[string]string

	turns flight.Turns // of allocations

	mu      sync.Mutex
	records map[structs.AllocID]*record
	pool    *pool
	version uint64 // of the mappings

	building sync.RWMutex // for writing: the bridge and the table go
	ruling   sync.Mutex   // replaces the table
	applied  atomic.Uint64

	admitting sync.Mutex // changes rules of others, see admit
	forward   atomic.Pointer[string]
}

// New reads what is kept in the folder. Nothing in the kernel is changed before Keep or Provide. The error is Unavailable: the folder
// cannot be used.
func New(o Options) (*Networks, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &Networks{opts: o, log: o.Log, records: make(map[structs.AllocID]*record), step: func(string) {}, version: 1}
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, structs.Errorf(structs.Unavailable, "folder "+o.Dir, "it cannot be made: %w", err)
	}
	if err := n.sixth(); err != nil {
		return nil, structs.Errorf(structs.Unavailable, "folder "+o.Dir, "%w", err)
	}
	n.pool = newPool(n.opts.Subnet, n.opts.Subnet6)
	n.lock, _ = net.Listen("unix", "@proffer-network-"+o.Bridge)
	n.mtu = routeMTU()
	ids, err := n.kept()
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "folder "+o.Dir, "%w", err)
	}
	for _, id := range ids {
		if r := n.read(id); r != nil {
			if r.V4.IsValid() && !n.pool.hold(r.V4, id) { // the subnet was changed: it is given again when it is asked for
				r.V4, r.V6 = netip.Addr{}, netip.Addr{}
			}
			r.Mapped = r.V4.IsValid()
			n.records[id] = r
		}
	}
	return n, nil
}

// Close lets another agent have the bridge. What allocations have stays.
func (n *Networks) Close() error {
	if n.lock == nil {
		return nil
	}
	return n.lock.Close()
}

// sixth chooses the IPv6 network of this node once: 40 random bits, as RFC 4193 says.
func (n *Networks) sixth() error {
	// What new links get; a kernel without IPv6 does not have it.
	off, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	if err != nil || strings.TrimSpace(string(off)) == "1" || n.opts.NoIPv6 {
		n.opts.Subnet6 = netip.Prefix{}
		return nil
	}
	if n.opts.Subnet6.IsValid() {
		return nil
	}
	path := filepath.Join(n.opts.Dir, ".subnet6")
	if raw, err := os.ReadFile(path); err == nil {
		if p, err := netip.ParsePrefix(strings.TrimSpace(string(raw))); err == nil && p.Addr().Is6() && p.Bits() <= 96 {
			n.opts.Subnet6 = p
			return nil
		}
	}
	a := [16]byte{0: 0xfd}
	rand.Read(a[1:6])
	n.opts.Subnet6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	return os.WriteFile(path, []byte(n.opts.Subnet6.String()+"\n"), 0o644)
}

// kept are the allocations of which there is a folder.
func (n *Networks) kept() (ids []structs.AllocID, err error) {
	entries, err := os.ReadDir(n.opts.Dir)
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			ids = append(ids, structs.AllocID(e.Name()))
		}
	}
	return ids, err
}

func (n *Networks) warn(what string, err error) { n.log.Warn(what, "err", err) }

// fail makes an error of what the node could not do; it is tried again.
func fail(alloc structs.AllocID, err error) error {
	if structs.KindOf(err) != structs.Internal {
		return err
	}
	return structs.Errorf(structs.Unavailable, "network of allocation "+structs.Short(alloc), "%w", err)
}

// Provide gives an allocation what it asks for, or finds it. It may be called again. Unavailable and Exhausted: the node is short of
// something, and it may be tried again; Invalid: it never will.
func (n *Networks) Provide(ctx context.Context, need *Need) (*Given, error) {
	end, err := n.turns.Take(ctx, string(need.Alloc))
	if err != nil {
		return nil, fail(need.Alloc, err)
	}
	defer end()
	g, err := n.provide(ctx, need)
	if err != nil {
		return nil, fail(need.Alloc, err)
	}
	return g, nil
}

func (n *Networks) provide(ctx context.Context, need *Need) (*Given, error) {
	ask := need.Ask
	r, err := n.begin(need)
	if err != nil {
		return nil, err
	}
	n.step("record")
	g := &Given{Addresses: r.Addresses}
	if !ask.Own() {
		return g, n.files(need, r, g)
	}
	ns := filepath.Join(n.folder(need.Alloc), nsFile)
	if err := n.renew(ctx, need, r, ns); err != nil {
		return nil, err
	}
	if need.Sandbox != "" {
		err = namespaces.Keep(need.Sandbox, ns)
	} else {
		err = namespaces.Make(namespaces.Net, ns)
	}
	if err != nil {
		return nil, err
	}
	n.step("namespace")
	if err := loopback(ns); err != nil {
		return nil, err
	}
	n.step("loopback")
	g.Netns = ns
	if ask.Mode == structs.NetworkBridge {
		if n.lock == nil {
			return nil, structs.Errorf(structs.Unavailable, "bridge "+n.opts.Bridge, "another agent of this machine has it").
				Advise("give each agent a bridge and a subnet of its own: client.network.bridge")
		}
		if err := n.connect(ctx, r, ns, uint64(ask.Egress)); err != nil {
			return nil, err
		}
		g.Addresses = []string{r.V4.String()}
		if r.V6.IsValid() {
			g.Addresses = append(g.Addresses, r.V6.String())
		}
	}
	if err := n.joinAll(ctx, need, r, ns); err != nil {
		return nil, err
	}
	if _, cni := cniName(ask.Mode); cni {
		g.Addresses = r.Addresses
	}
	for _, m := range r.Further {
		g.Joined = append(g.Joined, structs.JoinedNetwork{Name: m.Name, Interface: m.link(), Addresses: m.Addresses})
	}
	return g, n.files(need, r, g)
}

// renew lets a namespace go whose driver has another one now.
func (n *Networks) renew(ctx context.Context, need *Need, r *record, ns string) error {
	if need.Sandbox == "" || !namespaces.Kept(ns) {
		return nil
	}
	has, err := os.Stat(ns)
	if err != nil {
		return err
	}
	wants, err := os.Stat(need.Sandbox)
	if err != nil || os.SameFile(has, wants) {
		return err
	}
	if err := n.leaveAll(ctx, r, ns); err != nil {
		return err
	}
	if err := n.cut(linkName(n.opts.Bridge, need.Alloc)); err != nil {
		return err
	}
	return namespaces.Drop(ns)
}

// Sandboxed reports whether a driver made the namespace of an allocation.
func (n *Networks) Sandboxed(alloc structs.AllocID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.records[alloc]
	return r != nil && r.Sandbox
}

// connect brings a namespace to the bridge, and the node's ports to it.
func (n *Networks) connect(ctx context.Context, r *record, ns string, egress uint64) error {
	if err := n.unbound(r); err != nil {
		return err
	}
	n.building.RLock()
	defer n.building.RUnlock()
	first := !n.bridgeIsThere()
	if err := n.attach(ctx, r, ns); err != nil {
		return err
	}
	if first { // afterwards Keep sees to it
		if err := n.admit(ctx); err != nil {
			return err
		}
	}
	if egress > 0 {
		if err := limit(ns, inner, egress); err != nil {
			return err
		}
		n.step("egress")
	}
	n.mu.Lock()
	if !r.Mapped {
		r.Mapped = true
		n.version++
	}
	n.mu.Unlock()
	if err := n.apply(); err != nil {
		return err
	}
	n.step("rules")
	return nil
}

// begin finds or makes the record of an allocation.
func (n *Networks) begin(need *Need) (*record, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.records[need.Alloc]
	mode, further := need.Ask.Mode, wanted(need.Ask)
	if _, cni := cniName(mode); cni {
		further = further[1:]
	}
	bridged := mode == structs.NetworkBridge
	if r != nil && r.Mode == mode && len(r.Further) == len(further) && (!bridged || r.V4.IsValid()) {
		return r, nil
	}
	if r != nil {
		n.pool.free(r.V4)
	}
	r = &record{Alloc: need.Alloc, Mode: mode, Sandbox: need.Sandbox != "", Further: further}
	if bridged {
		v4, v6, err := n.pool.take(need.Alloc)
		if err != nil {
			return nil, err
		}
		r.V4, r.V6, r.Ports = v4, v6, need.Ports
	}
	if err := n.write(r); err != nil {
		n.pool.free(r.V4)
		return nil, err
	}
	n.records[need.Alloc] = r
	return r, nil
}

// unbound looks whether a process of the node has a port that is to be mapped: it would not be reached any more.
func (n *Networks) unbound(r *record) error {
	n.mu.Lock()
	mapped := r.Mapped
	n.mu.Unlock()
	if mapped {
		return nil
	}
	for _, p := range r.Ports {
		at := net.JoinHostPort(p.Host, fmt.Sprint(p.Port))
		var err error
		for _, proto := range protocols(p.Protocol) {
			if err != nil {
				break
			}
			if proto == unix.IPPROTO_TCP {
				var l net.Listener
				if l, err = net.Listen("tcp", at); err == nil {
					l.Close()
				}
			} else {
				var l net.PacketConn
				if l, err = net.ListenPacket("udp", at); err == nil {
					l.Close()
				}
			}
		}
		if errors.Is(err, unix.EADDRINUSE) {
			return structs.Errorf(structs.Exhausted, fmt.Sprintf("port %q", p.Label), "%s is taken by a process of the node", at).
				Advise("end that process, or keep its port out of client.port_range")
		}
	}
	return nil
}

// apply brings the table to the newest mappings. Those who come while it is replaced have it done by one of them.
func (n *Networks) apply() error {
	n.mu.Lock()
	wanted := n.version
	n.mu.Unlock()
	n.ruling.Lock()
	defer n.ruling.Unlock()
	if n.applied.Load() >= wanted {
		return nil
	}
	n.mu.Lock()
	now := n.version
	var all []*record
	for _, r := range n.records {
		if r.Mapped {
			all = append(all, r)
		}
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b *record) int { return strings.Compare(string(a.Alloc), string(b.Alloc)) })
	if err := n.rules(n.mappings(all)); err != nil {
		return err
	}
	n.applied.Store(now)
	return nil
}

// Release takes back all that an allocation has. It may be called again, and for one that never had anything.
func (n *Networks) Release(ctx context.Context, alloc structs.AllocID) error {
	end, err := n.turns.Take(ctx, string(alloc))
	if err != nil {
		return fail(alloc, err)
	}
	defer end()
	return n.releaseNow(ctx, alloc)
}

// releaseUnknown does it unless the allocation is known now: it may have come, and have begun to be given what an agent left that was
// killed.
func (n *Networks) releaseUnknown(ctx context.Context, alloc structs.AllocID, known func(structs.AllocID) bool) error {
	end, err := n.turns.Take(ctx, string(alloc))
	if err != nil {
		return fail(alloc, err)
	}
	defer end()
	if known(alloc) {
		return nil
	}
	return n.releaseNow(ctx, alloc)
}

func (n *Networks) releaseNow(ctx context.Context, alloc structs.AllocID) error {
	if err := n.release(ctx, alloc); err != nil {
		return fail(alloc, err)
	}
	return nil
}

func (n *Networks) release(ctx context.Context, alloc structs.AllocID) error {
	dir := n.folder(alloc)
	n.mu.Lock()
	r := n.records[alloc]
	changed := r != nil && r.Mapped
	if changed {
		r.Mapped = false
		n.version++
	}
	n.mu.Unlock()
	if r == nil {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	ns := filepath.Join(dir, nsFile)
	if r != nil {
		if err := n.leaveAll(ctx, r, ns); err != nil {
			return err
		}
		if r.Mode == structs.NetworkBridge && n.lock != nil && n.bridgeIsThere() { // without the bridge there is no table
			if err := n.apply(); err != nil {
				return err
			}
			n.step("unruled")
			for _, a := range []netip.Addr{r.V4, r.V6} {
				if a.IsValid() && len(r.Ports) > 0 {
					forget(a)
				}
			}
		}
	}
	if err := n.cut(linkName(n.opts.Bridge, alloc)); err != nil {
		return err
	}
	n.step("cut")
	if err := namespaces.Drop(ns); err != nil {
		return err
	}
	n.step("dropped")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() != recordFile {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	n.mu.Lock()
	if r != nil {
		n.pool.free(r.V4)
	}
	delete(n.records, alloc)
	n.mu.Unlock()
	return n.tidy()
}

// tidy removes the bridge and the table when no allocation has them.
func (n *Networks) tidy() error {
	if n.lock == nil || n.bridged() {
		return nil
	}
	n.building.Lock()
	defer n.building.Unlock()
	if n.bridged() {
		return nil
	}
	if !n.bridgeIsThere() {
		return nil // it goes last
	}
	n.ruling.Lock()
	defer n.ruling.Unlock()
	if err := n.unrule(); err != nil {
		return fmt.Errorf("remove the nft table %s: %w", n.opts.Bridge, err)
	}
	n.applied.Store(0)
	n.step("untabled")
	if err := n.expel(context.Background()); err != nil { // not of a task that is waited for: it goes with the bridge
		return fmt.Errorf("remove the rules of the bridge %s from %s: %w", n.opts.Bridge, userChain, err)
	}
	return n.cut(n.opts.Bridge)
}

func (n *Networks) bridgeIsThere() bool {
	_, err := net.InterfaceByName(n.opts.Bridge)
	return err == nil
}

// bridged reports whether an allocation is on the bridge.
func (n *Networks) bridged() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.records {
		if r.Mode == structs.NetworkBridge {
			return true
		}
	}
	return false
}

// Admit does again what others may have undone: a Docker engine that was installed, or a firewall that was loaded, since.
func (n *Networks) Admit(ctx context.Context) error {
	if n.lock == nil || !n.bridged() {
		return nil
	}
	n.building.RLock()
	defer n.building.RUnlock()
	if !n.bridged() || !n.bridgeIsThere() {
		return nil
	}
	return n.admit(ctx)
}

// Keep takes back what belongs to no allocation that is known, and makes the rules what they shall be. It is called once before the
// first Provide, and may be later.
func (n *Networks) Keep(ctx context.Context, known func(structs.AllocID) bool) error {
	ids, err := n.kept()
	if err != nil {
		return structs.Errorf(structs.Unavailable, "folder "+n.opts.Dir, "%w", err)
	}
	var errs []error
	for _, id := range ids {
		if !known(id) {
			errs = append(errs, n.releaseUnknown(ctx, id, known))
		}
	}
	if n.lock == nil {
		return errors.Join(errs...)
	}
	links, err := n.links()
	errs = append(errs, err)
	if len(links) > 0 {
		ours := make(map[string]bool)
		n.mu.Lock()
		for id := range n.records {
			ours[linkName(n.opts.Bridge, id)] = true
		}
		n.mu.Unlock()
		for _, name := range links {
			if !ours[name] {
				errs = append(errs, n.cut(name))
			}
		}
	}
	if !n.bridged() {
		return errors.Join(append(errs, n.tidy())...)
	}
	n.building.RLock()
	defer n.building.RUnlock()
	if _, err := n.bridge(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, n.admit(ctx))
	n.mu.Lock()
	n.version++ // somebody may have removed the table
	n.mu.Unlock()
	return errors.Join(append(errs, n.apply())...)
}
