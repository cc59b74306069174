package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/proffer/proffer/structs"
)

// Where a task looks names up.
const (
	hostsFile    = "/etc/hosts"
	hostnameFile = "/etc/hostname"
	resolvFile   = "/etc/resolv.conf"
)

// resolvers are where the node's own DNS servers are written down; the first that names one which a namespace can reach counts.
var resolvers = []string{resolvFile, "/run/systemd/resolve/resolv.conf"}

// files writes what belongs over a task's own files and names them in g.
func (n *Networks) files(need *Need, r *record, g *Given) error {
	ask := need.Ask
	content := make(map[string]string)
	if ask.Own() {
		g.Hostname = Hostname(ask, need.Alloc)
		content[hostnameFile] = g.Hostname + "\n"
		content[hostsFile] = hosts(g.Hostname, g.Addresses)
	}
	if ask.Own() || ask.DNS != nil {
		content[resolvFile] = resolv(r.names(ask.DNS), ask.Own())
	}
	g.Files = make(map[string]string, len(content))
	for path, text := range content {
		name := filepath.Base(path)
		g.Files[path] = filepath.Join(n.folder(need.Alloc), name)
		if old, err := os.ReadFile(g.Files[path]); err == nil && string(old) == text {
			continue // it may be mounted in a task: another file would not be seen there
		}
		if err := n.replace(need.Alloc, name, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// names is how names are looked up: as the group says, and where it says nothing, as the plugins of the first CNI network do that named servers. What
// those leave out is nothing then: the node's search list is for its own servers.
func (r *record) names(ask *structs.DNS) *structs.DNS {
	for _, m := range r.memberships() {
		if m.DNS == nil || len(m.DNS.Servers) == 0 || ask != nil && len(ask.Servers) > 0 {
			continue
		}
		d := structs.DNS{Servers: m.DNS.Servers, Searches: append([]string{}, m.DNS.Searches...), Options: append([]string{}, m.DNS.Options...)}
		if ask != nil && ask.Searches != nil {
			d.Searches = ask.Searches
		}
		if ask != nil && ask.Options != nil {
			d.Options = ask.Options
		}
		return &d
	}
	return ask
}

// dnsOf is what a plugin answered of names, as far as a resolver can read it; nil: no server.
func dnsOf(d types.DNS) *structs.DNS {
	words := func(list []string, most int, good func(string) bool) (out []string) {
		for _, x := range list {
			if f := strings.Fields(x); len(f) == 1 && f[0] == x && len(x) < 256 && len(out) < most && good(x) {
				out = append(out, x)
			}
		}
		return out
	}
	each := func(string) bool { return true }
	servers := words(d.Nameservers, structs.MaxServers, func(x string) bool { _, err := netip.ParseAddr(x); return err == nil })
	if len(servers) == 0 {
		return nil
	}
	if len(d.Search) == 0 && d.Domain != "" {
		d.Search = []string{d.Domain}
	}
	return &structs.DNS{Servers: servers, Searches: words(d.Search, structs.MaxSearches, each), Options: words(d.Options, structs.MaxOptions, each)}
}

func hosts(name string, addresses []string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, a := range addresses {
		fmt.Fprintf(&b, "%s\t%s\n", a, name)
	}
	if len(addresses) == 0 {
		fmt.Fprintf(&b, "127.0.0.1\t%s\n", name)
	}
	return b.String()
}

// resolv makes a resolv.conf of what the group says, and of the node's where it says nothing. A server on the node's loopback cannot be
// reached from another namespace.
func resolv(d *structs.DNS, own bool) string {
	if d == nil {
		d = &structs.DNS{}
	}
	servers, searches, options := d.Servers, d.Searches, d.Options
	for _, path := range resolvers {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var found, search, option []string
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			switch f[0] {
			case "nameserver":
				if a, err := netip.ParseAddr(f[1]); err == nil && !(own && a.IsLoopback()) {
					found = append(found, f[1])
				}
			case "search", "domain":
				search = f[1:]
			case "options":
				option = append(option, f[1:]...)
			}
		}
		if searches == nil {
			searches = search
		}
		if options == nil {
			options = option
		}
		if servers == nil {
			servers = found
		}
		if len(servers) > 0 {
			break
		}
	}
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}
