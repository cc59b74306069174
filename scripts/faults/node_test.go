//go:build linux && system

package faults

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// What an allocation is given: a network of its own, a port of the node, a folder of the host, and a volume for it alone.
const (
	nodeAddress = "10.77.0.1"
	volumeID    = "c0110000-0000-0000-0000-000000000000"
)

// networkOptions are those of an agent. Its node is a network namespace of its own, so that the names are nobody else's.
func networkOptions(dir string) network.Options {
	return network.Options{Dir: filepath.Join(dir, "network"), Bridge: "pffault0", Subnet: netip.MustParsePrefix("10.78.0.0/24"), Loop: nodeAddress,
		CNIConfig: filepath.Join(dir, "cni"), CNIPlugins: []string{"/usr/lib/cni"}}
}

// conflist is a network of Debian's plugins.
func conflist(dir string) error {
	cni := filepath.Join(dir, "cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(cni, "10-test.conflist"), []byte(`{"cniVersion": "0.4.0", "name": "test", "plugins": [
		{"type": "bridge", "bridge": "cnifault0", "isGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "`+cni+`/state",
			"ranges": [[{"subnet": "10.79.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`), 0o644)
}

func ip(args ...string) error {
	if out, err := osexec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %s", strings.Join(args, " "), out)
	}
	return nil
}

// The network of a machine: its name, and where it is.
func (m *machine) space() string { return filepath.Base(m.dir) }
func (m *machine) netns() string { return filepath.Join("/run/netns", m.space()) }

// boot makes the network of a machine that was switched on.
func (m *machine) boot() error {
	at := m.space()
	err := first(ip("netns", "add", at), ip("-n", at, "link", "set", "lo", "up"), ip("-n", at, "link", "add", "lan0", "type", "veth", "peer", "name", "lan1"),
		ip("-n", at, "addr", "add", nodeAddress+"/24", "dev", "lan0"), ip("-n", at, "link", "set", "lan0", "up"), ip("-n", at, "link", "set", "lan1", "up"))
	if err != nil {
		return err
	}
	var l net.Listener
	if err := namespaces.Inside(m.netns(), func() (err error) { l, err = net.Listen("tcp", hubAddress); return err }); err != nil {
		return err
	}
	images, err := hub()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	m.hub = &httptest.Server{Listener: l, Config: &http.Server{Handler: images}}
	m.hub.Start()
	return nil
}

// unplug ends it.
func (m *machine) unplug() error {
	if m.hub != nil {
		m.hub.Close()
	}
	return ip("netns", "del", m.space())
}

// hubAddress is where each machine's network has a registry with an image of busybox.
const hubAddress = "127.0.0.1:5000"

var hub = sync.OnceValues(func() (http.Handler, error) {
	all := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(all)
	defer s.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(s.URL, "http://") + "/busybox:1")
	if err == nil {
		err = remote.Write(ref, dockertest.Busybox())
	}
	return all, err
})

// links lists what an allocation could leave in the machine's network and in the folders of what gives networks: links, addresses,
// rules, and who has which address.
func (m *machine) links() (all []string, err error) {
	err = namespaces.Inside(m.netns(), func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			all = append(all, "link "+l.Attrs().Name)
		}
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				all = append(all, "address "+a.IPNet.String())
			}
		}
		fd, err := unix.Open(m.netns(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		c, err := nftables.New(nftables.WithNetNSFd(fd))
		if err != nil {
			return err
		}
		chains, err := c.ListChains()
		if err != nil {
			return err
		}
		for _, chain := range chains {
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				return err
			}
			all = append(all, fmt.Sprintf("chain %s/%s with %d rules", chain.Table.Name, chain.Name, len(rules)))
		}
		return nil
	})
	for _, pattern := range []string{"network/[^.]*", "cni/state/*/10.*", "client/volumes/*/claims/*"} {
		found, _ := filepath.Glob(filepath.Join(m.dir, pattern))
		for _, f := range found {
			all = append(all, "file "+strings.TrimPrefix(f, m.dir+"/"))
		}
	}
	slices.Sort(all)
	return all, err
}

// kept is what CNI plugins make once and keep, whoever comes and goes.
func kept(what string) bool {
	return strings.Contains(what, "cnifault0") || strings.HasPrefix(what, "address 10.79.0.1/") ||
		strings.HasPrefix(what, "chain ") && !strings.Contains(what, "/CNI-DN-") && !strings.Contains(what, "pffault0")
}

// connected is an error when something of a network or a volume is left.
func (m *machine) connected() error {
	now, err := m.links()
	if err != nil {
		return err
	}
	var chains []string
	for _, what := range now {
		switch {
		case kept(what) && strings.HasPrefix(what, "chain "):
			chains = append(chains, what)
		case !kept(what) && !slices.Contains(m.wired, what):
			return fmt.Errorf("there is %s", what)
		}
	}
	// Of the plugins' rules there are always as many.
	if rules := strings.Join(chains, ", "); m.rules == nil {
		return nil
	} else if *m.rules == "" {
		*m.rules = rules
	} else if rules != *m.rules {
		return fmt.Errorf("there is %s, and there was %s", rules, *m.rules)
	}
	return nil
}

// given makes a job ask for all that an allocation can be given.
func (m *machine) given(g *structs.Group) {
	g.Network = &structs.Network{Mode: m.network, Ports: []*structs.Port{{Label: "http", To: 8080}}}
	if m.network == structs.NetworkBridge {
		g.Network.Egress = 1 << 30
	}
	if m.fenced {
		g.OnLost = "fence"
	}
	g.Volumes = []*structs.GroupVolume{{Name: "data", Source: "data", Size: 1 << 20, Access: structs.AccessExclusive}, {Name: "shelf", Type: structs.HostVolume, Source: "shelf"}}
	g.Tasks[0].VolumeMounts = []*structs.VolumeMount{{Volume: "data", Destination: "/kept"}, {Volume: "shelf", Destination: "/shelf"}}
}

// claims is what the region gave the allocation.
func claims(a *structs.Allocation, g *structs.Group) {
	a.OnLost = g.OnLost
	a.Ports = []structs.AssignedPort{{Label: "http", Host: nodeAddress, Port: 20001, To: 8080}}
	a.Volumes = []structs.AllocVolume{{Group: "data", Name: "data", ID: volumeID, Size: 1 << 20, Access: structs.AccessExclusive}}
}

// written are the starts that the volume for the allocation alone has marks of.
func (m *machine) written() int {
	raw, _ := os.ReadFile(filepath.Join(m.dir, "client/volumes", volumeID, "data/marks"))
	return strings.Count(string(raw), "start")
}
