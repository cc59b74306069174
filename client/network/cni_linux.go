package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/structs"
)

// cniTimeout bounds one call of all plugins of a network.
const cniTimeout = time.Minute

// conflist is a CNI network of the node.
type conflist struct {
	err   error // why it cannot be used
	ports bool  // its plugins lead ports of the node in
}

// conflists are the CNI networks of the node by name.
func (n *Networks) conflists() map[string]conflist {
	files, err := libcni.ConfFiles(n.opts.CNIConfig, []string{".conflist"})
	if err != nil {
		return nil
	}
	slices.Sort(files)
	out := make(map[string]conflist)
	for _, file := range files {
		list, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			n.log.Warn("a CNI network cannot be read", "file", file, "err", err)
			continue
		}
		if _, twice := out[list.Name]; twice || !structs.ValidName(list.Name) {
			continue
		}
		ports := false
		for _, p := range list.Plugins {
			ports = ports || p.Network.Capabilities["portMappings"]
			if _, failed := invoke.FindInPath(p.Network.Type, n.opts.CNIPlugins); failed != nil && err == nil {
				err = fmt.Errorf("the plugin %s is not in %s", p.Network.Type, strings.Join(n.opts.CNIPlugins, ":"))
			}
		}
		out[list.Name] = conflist{err, ports}
	}
	return out
}

// conflist finds a CNI network by name.
func (n *Networks) conflist(name string) (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(n.opts.CNIConfig, []string{".conflist"})
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for _, file := range files {
		if list, err := libcni.NetworkConfFromFile(file); err == nil && list.Name == name {
			return list, nil
		}
	}
	return nil, structs.Errorf(structs.Unavailable, "CNI network "+name, "no *.conflist of %s has it", n.opts.CNIConfig)
}

// cni returns what runs plugins, with the lock of the allocation. What they were called with, and what they answered, is kept with the
// allocation.
func (n *Networks) cni(alloc structs.AllocID, lock *os.File) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(n.opts.CNIPlugins, filepath.Join(n.folder(alloc), "cni"), &plugins{RawExec: &invoke.RawExec{}, lock: lock})
}

// connection is what the plugins of a network are told of an allocation.
func (n *Networks) connection(r *record, m *membership, ns string) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{CapabilityArgs: m.Asked.capabilities(), ContainerID: "proffer-" + string(r.Alloc), IfName: m.link(), NetNS: ns,
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"PROFFER_ALLOC_ID", string(r.Alloc)}}}
	type portMapping struct {
		HostPort      int    `json:"hostPort"`
		ContainerPort int    `json:"containerPort"`
		Protocol      string `json:"protocol"`
		HostIP        string `json:"hostIP,omitempty"`
	}
	var ports []portMapping
	for _, p := range r.portsOf(m) {
		for _, proto := range protocols(p.Protocol) {
			name := structs.TCP
			if proto == unix.IPPROTO_UDP {
				name = structs.UDP
			}
			ports = append(ports, portMapping{p.Port, p.Inside(), name, p.Host})
		}
	}
	if len(ports) > 0 {
		rt.CapabilityArgs["portMappings"] = ports
	}
	return rt
}

// wanted are the memberships that an allocation asks for, in order.
func wanted(ask *structs.Network) (all []*membership) {
	if name, ok := cniName(ask.Mode); ok {
		all = append(all, &membership{Name: name, Asked: asked{ask.Addresses, ask.Groups, ask.Labels}})
	}
	for i, x := range ask.Further {
		all = append(all, &membership{Name: x.Name, Link: ask.Interface(i), Asked: asked{x.Addresses, x.Groups, x.Labels}})
	}
	return all
}

// joinAll adds the namespace to the CNI networks that the allocation asks for, one after the other. When it cannot be in one of them, it is taken
// back from those before: it does not hold what others may wait for, while it waits itself.
func (n *Networks) joinAll(ctx context.Context, need *Need, r *record, ns string) error {
	all := r.memberships()
	for i, as := range wanted(need.Ask)[:len(all)] {
		all[i].Asked = as.Asked
		err := n.join(ctx, i, all[i], need, r, ns)
		if err == nil {
			continue
		}
		if i > 0 {
			if failed := n.leaveAll(ctx, r, ns); failed != nil && ctx.Err() == nil { // they are left before they are joined again, and by Release
				n.warn("an allocation cannot be taken back from its CNI networks now", failed)
			}
		}
		return err
	}
	return nil
}

// join adds the namespace to a CNI network, once. i is its place among those of the record.
func (n *Networks) join(ctx context.Context, i int, m *membership, need *Need, r *record, ns string) error {
	name := m.Name
	linked := namespaces.Inside(ns, func() error {
		_, err := netlink.LinkByName(m.link())
		return err
	})
	if m.joined() && linked == nil {
		return nil
	}
	list, err := n.conflist(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cniTimeout)
	defer cancel()
	if r.Mode != structs.NetworkBridge { // whose ports may be looked at now, for the rules
		r.Ports = need.Ports
	}
	lock, err := n.locked(ctx, r.Alloc)
	if err != nil {
		return err
	}
	defer lock.Close()
	// An agent that was killed may have begun, or the machine was started anew.
	if err := n.leaveLocked(ctx, m, r, ns, lock); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(n.folder(need.Alloc), "cni"), 0o711); err != nil {
		return err
	}
	if err := n.write(r); err != nil {
		return err
	}
	n.step("ports")
	if list, err = m.Asked.tell(list, r.portsOf(m)); err != nil {
		return plugin("join", name, err)
	}
	answer, err := n.cni(r.Alloc, lock).AddNetworkList(ctx, list, n.connection(r, m, ns))
	if err != nil {
		return plugin("join", name, err)
	}
	n.step("joined")
	if m != &r.membership {
		if err := stepBack(ns, m.link(), i+1); err != nil {
			return err
		}
	}
	result, err := current.NewResultFromResult(answer)
	if err != nil {
		return plugin("read the answer of", name, err)
	}
	var given []string
	for _, ip := range result.IPs {
		if ip.Interface != nil && *ip.Interface >= 0 && *ip.Interface < len(result.Interfaces) && result.Interfaces[*ip.Interface].Sandbox == "" {
			continue
		}
		if a := toAddr(ip.Address.IP); a.IsValid() {
			given = append(given, a.String())
		}
	}
	if missing := m.Asked.missing(given); missing != "" {
		if err := n.leaveLocked(ctx, m, r, ns, lock); err != nil {
			return err
		}
		return structs.Errorf(structs.Invalid, "CNI network "+name, "it does not give the address %s: it gave %s", missing, strings.Join(given, ", ")).
			Advise("ask for an address that its address plugin may give, of a plugin that reads the capability ips or args.cni.ips, such as host-local or static")
	}
	slices.SortStableFunc(given, func(a, b string) int { return strings.Count(a, ":") - strings.Count(b, ":") })
	m.Joined, m.Addresses, m.DNS = true, given[:min(len(given), maxGiven)], dnsOf(result.DNS)
	return n.write(r)
}

// maxGiven bounds how many addresses of a network are told.
const maxGiven = 16

// leaveAll takes the allocation from its CNI networks, the last one first. It may be repeated, and also take from them what was added
// halfway.
func (n *Networks) leaveAll(ctx context.Context, r *record, ns string) error {
	all := r.memberships()
	if len(all) == 0 {
		return nil
	}
	lock, err := n.locked(ctx, r.Alloc)
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, m := range slices.Backward(all) {
		if err := n.leave(ctx, m, r, ns, lock); err != nil {
			return err
		}
		n.step("left")
	}
	return nil
}

// leave takes it from one, whose plugins have their time each.
func (n *Networks) leave(ctx context.Context, m *membership, r *record, ns string, lock *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, cniTimeout)
	defer cancel()
	return n.leaveLocked(ctx, m, r, ns, lock)
}

func (n *Networks) leaveLocked(ctx context.Context, m *membership, r *record, ns string, lock *os.File) error {
	name := m.Name
	if !namespaces.Kept(ns) {
		ns = "" // of a machine that was started anew: the plugins give addresses back
	}
	rt := n.connection(r, m, ns)
	runs := n.cni(r.Alloc, lock)
	list, err := n.conflist(name)
	kept, failed := runs.GetCachedAttachments(rt.ContainerID)
	as := slices.IndexFunc(kept, func(k *libcni.NetworkAttachment) bool { return k.Network == name && k.IfName == rt.IfName })
	if failed == nil && as >= 0 { // as it was when it joined
		list, err = libcni.NetworkConfFromBytes(kept[as].Config)
	}
	if err != nil {
		if !m.joined() && structs.KindOf(err) == structs.Unavailable {
			return nil // it never joined
		}
		return err
	}
	if list, err = m.Asked.tell(list, r.portsOf(m)); err != nil {
		return plugin("leave", name, err)
	}
	if err := runs.DelNetworkList(ctx, list, rt); err != nil {
		return plugin("leave", name, err)
	}
	if !m.joined() {
		return nil
	}
	m.Joined, m.Addresses, m.DNS = false, nil, nil
	return n.write(r)
}

// plugin makes an error of what a plugin said.
func plugin(what, name string, err error) error {
	var said *types.Error
	if errors.As(err, &said) {
		return fmt.Errorf("%s the CNI network %s: %s %s", what, name, said.Msg, said.Details)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%s the CNI network %s: a plugin answered what is no JSON: %w", what, name, err)
	}
	return fmt.Errorf("%s the CNI network %s: %w", what, name, err)
}

func toAddr(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
