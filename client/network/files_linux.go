package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

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
func (n *Networks) files(need *Need, g *Given) error {
	ask := need.Ask
	content := make(map[string]string)
	if ask.Own() {
		g.Hostname = Hostname(ask, need.Alloc)
		content[hostnameFile] = g.Hostname + "\n"
		content[hostsFile] = hosts(g.Hostname, g.Addresses)
	}
	if ask.Own() || ask.DNS != nil {
		content[resolvFile] = resolv(ask.DNS, ask.Own())
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
