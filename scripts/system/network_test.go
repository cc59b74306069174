//go:build linux && system

package system

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// network is a bridge with a network namespace for each agent. The tests reach every namespace, whatever is cut.
type network struct {
	t      *testing.T
	number int
	net    string // the first three bytes of its addresses
	bridge string
}

// namespaces lists the named network namespaces of the machine.
func namespaces() (names []string) {
	out, _ := exec.Command("ip", "netns", "list").Output()
	for line := range strings.Lines(string(out)) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %s", strings.Join(args, " "), out)
	}
	return nil
}

// bridgePrefix begins the names of this run's bridges, which are 15 characters at most.
func bridgePrefix(dir string) string {
	name := strings.TrimPrefix(filepath.Base(dir), "prf-")
	return "prf" + name[max(0, len(name)-7):] + "-"
}

func bridgesOf(dir string) (names []string) {
	paths, _ := filepath.Glob("/sys/class/net/" + bridgePrefix(dir) + "*")
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

// separate gives each agent of r a network namespace.
func (r *region) separate() *network {
	n := &network{t: r.t, number: r.number, bridge: fmt.Sprintf("%s%d", bridgePrefix(root), r.number)}
	r.token = "only-this-test-has-this-token" // the addresses are not loopback ones
	n.ip("link", "add", n.bridge, "type", "bridge")
	r.t.Cleanup(func() { ip("link", "del", n.bridge) })
	n.claim()
	n.ip("link", "set", n.bridge, "up")
	r.network = n
	return n
}

// claiming is held by who looks for a net that nobody has.
var claiming sync.Mutex

// claim gives the bridge an address in a net of its own, out of those for benchmarks between networks (RFC 2544), which no machine has:
// two bridges in one net, of tests side by side, would take each other's packets.
func (n *network) claim() {
	n.t.Helper()
	claiming.Lock()
	defer claiming.Unlock()
	taken, err := net.InterfaceAddrs()
	if err != nil {
		n.t.Fatal(err)
	}
	for i := range 512 {
		at := (os.Getpid()*16 + i) % 512
		n.net = fmt.Sprintf("198.%d.%d.", 18+at/256, at%256)
		if !slices.ContainsFunc(taken, func(a net.Addr) bool { return strings.HasPrefix(a.String(), n.net) }) {
			n.ip("addr", "add", n.address(250)+"/24", "dev", n.bridge)
			return
		}
	}
	n.t.Fatal("every net of 198.18.0.0/15 is taken: ip addr")
}

func (n *network) address(place int) string { return n.net + strconv.Itoa(place) }

func (n *network) ip(args ...string) {
	n.t.Helper()
	if err := ip(args...); err != nil {
		n.t.Fatal(err)
	}
}

// join makes the namespace of an agent and returns its name and address.
func (n *network) join(place int) (space, address string) {
	n.t.Helper()
	space, address = fmt.Sprintf("%s-%d-%d", filepath.Base(root), n.number, place), n.address(place)
	outside := fmt.Sprintf("%s%d%c", bridgePrefix(root), n.number, 'a'+place)
	n.ip("netns", "add", space)
	n.t.Cleanup(func() { ip("netns", "del", space) })
	n.ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
	n.ip("link", "set", outside, "master", n.bridge, "up")
	n.ip("-n", space, "addr", "add", address+"/24", "dev", "eth0")
	n.ip("-n", space, "link", "set", "eth0", "address", mac(place), "up")
	n.ip("-n", space, "link", "set", "lo", "up")
	return space, address
}

func mac(place int) string { return fmt.Sprintf("02:70:72:66:00:%02x", place) }

// cut makes everything vanish that from sends to to; it is sent to a device that nobody has. What to sends arrives.
func (n *network) cut(from, to *agent) {
	n.t.Helper()
	n.ip("-n", from.space, "neigh", "replace", to.addr, "lladdr", "02:70:72:66:ff:ff", "dev", "eth0", "nud", "permanent")
}

// mend is the end of cut.
func (n *network) mend(from, to *agent) {
	n.t.Helper()
	n.ip("-n", from.space, "neigh", "del", to.addr, "dev", "eth0")
}

// between calls do for both directions between two sets.
func between(some, others []*agent, do func(from, to *agent)) {
	for _, a := range some {
		for _, b := range others {
			do(a, b)
			do(b, a)
		}
	}
}

// toward calls do for one direction.
func toward(some, others []*agent, do func(from, to *agent)) {
	for _, a := range some {
		for _, b := range others {
			do(a, b)
		}
	}
}
