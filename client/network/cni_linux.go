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

// conflists are the CNI networks of the node by name, with why one cannot be used.
func (n *Networks) conflists() map[string]error {
	files, err := libcni.ConfFiles(n.opts.CNIConfig, []string{".conflist"})
	if err != nil {
		return nil
	}
	slices.Sort(files)
	out := make(map[string]error)
	for _, file := range files {
		list, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			n.log.Warn("a CNI network cannot be read", "file", file, "err", err)
			continue
		}
		if _, twice := out[list.Name]; twice || !structs.ValidName(list.Name) {
			continue
		}
		for _, p := range list.Plugins {
			if _, failed := invoke.FindInPath(p.Network.Type, n.opts.CNIPlugins); failed != nil && err == nil {
				err = fmt.Errorf("the plugin %s is not in %s", p.Network.Type, strings.Join(n.opts.CNIPlugins, ":"))
			}
		}
		out[list.Name] = err
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

// connection is what the plugins are told of an allocation.
func (n *Networks) connection(r *record, ns string) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{CapabilityArgs: r.Asked.capabilities(), ContainerID: "proffer-" + string(r.Alloc), IfName: inner, NetNS: ns,
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"PROFFER_ALLOC_ID", string(r.Alloc)}}}
	type portMapping struct {
		HostPort      int    `json:"hostPort"`
		ContainerPort int    `json:"containerPort"`
		Protocol      string `json:"protocol"`
		HostIP        string `json:"hostIP,omitempty"`
	}
	var ports []portMapping
	for _, p := range r.Ports {
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

// join adds the namespace to a CNI network, once.
func (n *Networks) join(ctx context.Context, name string, need *Need, r *record, ns string) error {
	linked := namespaces.Inside(ns, func() error {
		_, err := netlink.LinkByName(inner)
		return err
	})
	if len(r.Addresses) > 0 && linked == nil {
		return nil
	}
	list, err := n.conflist(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cniTimeout)
	defer cancel()
	r.Ports, r.Asked = need.Ports, askedOf(need.Ask)
	lock, err := n.locked(ctx, r.Alloc)
	if err != nil {
		return err
	}
	defer lock.Close()
	// An agent that was killed may have begun, or the machine was started anew.
	if err := n.leaveLocked(ctx, name, r, ns, lock); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(n.folder(need.Alloc), "cni"), 0o711); err != nil {
		return err
	}
	if err := n.write(r); err != nil {
		return err
	}
	n.step("ports")
	if list, err = r.tell(list); err != nil {
		return plugin("join", name, err)
	}
	answer, err := n.cni(r.Alloc, lock).AddNetworkList(ctx, list, n.connection(r, ns))
	if err != nil {
		return plugin("join", name, err)
	}
	n.step("joined")
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
	if missing := r.Asked.missing(given); missing != "" {
		if err := n.leaveLocked(ctx, name, r, ns, lock); err != nil {
			return err
		}
		return structs.Errorf(structs.Invalid, "CNI network "+name, "it does not give the address %s: it gave %s", missing, strings.Join(given, ", ")).
			Advise("ask for an address that its address plugin may give, of a plugin that reads the capability ips or args.cni.ips, such as host-local or static")
	}
	slices.SortStableFunc(given, func(a, b string) int { return strings.Count(a, ":") - strings.Count(b, ":") })
	r.Addresses = given
	return n.write(r)
}

// leave takes the allocation from its CNI network. It may be repeated, and also take from the network what was added halfway.
func (n *Networks) leave(ctx context.Context, name string, r *record, ns string) error {
	ctx, cancel := context.WithTimeout(ctx, cniTimeout)
	defer cancel()
	lock, err := n.locked(ctx, r.Alloc)
	if err != nil {
		return err
	}
	defer lock.Close()
	return n.leaveLocked(ctx, name, r, ns, lock)
}

func (n *Networks) leaveLocked(ctx context.Context, name string, r *record, ns string, lock *os.File) error {
	if !namespaces.Kept(ns) {
		ns = "" // of a machine that was started anew: the plugins give addresses back
	}
	rt := n.connection(r, ns)
	runs := n.cni(r.Alloc, lock)
	list, err := n.conflist(name)
	if kept, failed := runs.GetCachedAttachments(rt.ContainerID); failed == nil && len(kept) > 0 { // as it was when it joined
		list, err = libcni.NetworkConfFromBytes(kept[0].Config)
	}
	if err != nil {
		if len(r.Addresses) == 0 && structs.KindOf(err) == structs.Unavailable {
			return nil // it never joined
		}
		return err
	}
	if list, err = r.tell(list); err != nil {
		return plugin("leave", name, err)
	}
	if err := runs.DelNetworkList(ctx, list, rt); err != nil {
		return plugin("leave", name, err)
	}
	return nil
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
