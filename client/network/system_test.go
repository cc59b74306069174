//go:build linux && system

package network

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/structs"
)

// The node of the tests: a link with an address, and another machine behind it.
const (
	node   = "10.77.0.1"
	other  = "10.77.0.2"
	node6  = "fd77::1"
	other6 = "fd77::2"
)

type world struct {
	*testing.T
	dir    string // of Networks
	beside string // namespace of the other machine
	nets   *Networks
}

// newWorld makes a node with a neighbour. At its end, nothing may be left.
func newWorld(t *testing.T) *world {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	w := &world{T: t, dir: filepath.Join(dir, "network"), beside: filepath.Join(dir, "other")}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	must(t, namespaces.Make(namespaces.Net, w.beside))
	fd, err := unix.Open(w.beside, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lan0", PeerNamespace: netlink.NsFd(fd)}))
	unix.Close(fd)
	configure := func(addrs ...string) error {
		l, err := netlink.LinkByName("lan0")
		for _, a := range addrs {
			if err == nil {
				err = address(l, netip.MustParsePrefix(a))
			}
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		return err
	}
	must(t, configure(node+"/24", node6+"/64"))
	must(t, loopback(w.beside))
	must(t, namespaces.Inside(w.beside, func() error { return configure(other+"/24", other6+"/64") }))
	w.nets = w.open()
	before := w.count()
	t.Cleanup(func() {
		w.nets.Close()
		w.nets = w.open()
		must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return false }))
		w.nets.Close()
		if after := w.count(); after != before {
			t.Errorf("before %s\nafter  %s", before, after)
		}
		must(t, w.nets.cut("lan0"))
		must(t, namespaces.Drop(w.beside))
	})
	return w
}

func options(dir string) Options {
	return Options{Dir: dir, Bridge: "pftest0", Subnet: netip.MustParsePrefix("10.78.0.0/24"), Loop: node, CNIConfig: dir + "/../cni",
		CNIPlugins: []string{"/usr/lib/cni", dir + "/../plugins"}}
}

func (w *world) open() *Networks {
	w.Helper()
	n, err := New(options(w.dir))
	must(w, err)
	return n
}

// count is what there is in the kernel and on the disk.
func (w *world) count() string {
	w.Helper()
	links, err := netlink.LinkList()
	must(w, err)
	var names []string
	for _, l := range links {
		name := l.Attrs().Name
		if strings.HasPrefix(name, "veth") { // of a plugin
			name = "veth"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	must(w, err)
	addrs = slices.DeleteFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() })
	c, err := nftables.New()
	must(w, err)
	tables, err := c.ListTables()
	must(w, err)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(w, err)
	spaces := 0 // of others, what was mounted when the tests began goes when it is removed outside
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line); len(at) > 4 && strings.HasPrefix(at[4], filepath.Dir(w.dir)+"/") && strings.Contains(line, " - nsfs ") {
			spaces++
		}
	}
	files := 0
	filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error { files++; return nil })
	return fmt.Sprintf("links %v, %d addresses, %d tables, %d namespaces, %d files", names, len(addrs), len(tables), spaces, files)
}

// need is of an allocation in networks "first+second+…", each a mode, with ports that lead into the last one.
func need(id string, modes string, ports ...structs.AssignedPort) *Need {
	mode, further, several := strings.Cut(modes, "+")
	n := &Need{Alloc: structs.AllocID(id), Ask: &structs.Network{Mode: mode}, Ports: ports}
	if !several {
		return n
	}
	for more := range strings.SplitSeq(further, "+") {
		name, _ := cniName(more)
		n.Ask.Further = append(n.Ask.Further, &structs.FurtherNetwork{Name: name})
		for i := range n.Ports {
			n.Ports[i].Network = name
		}
	}
	n.Ask.Canonicalize()
	return n
}

func (w *world) provide(n *Need) *Given {
	w.Helper()
	g, err := w.nets.Provide(context.Background(), n)
	must(w, err)
	return g
}

// serve answers on a port of a namespace with name and the address that it sees, over TCP and UDP.
func (w *world) serve(ns, at, name string) {
	w.Helper()
	var l net.Listener
	var u net.PacketConn
	must(w, inOr(ns, func() (err error) {
		if l, err = net.Listen("tcp", at); err == nil {
			u, err = net.ListenPacket("udp", at)
		}
		return err
	}))
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			io.WriteString(c, name+" "+host)
			c.Close()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 100)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			u.WriteTo([]byte(name+" "+host), from)
		}
	}()
	w.Cleanup(func() { l.Close(); u.Close(); <-done; <-done })
}

func inOr(ns string, f func() error) error {
	if ns == "" {
		return f()
	}
	return namespaces.Inside(ns, f)
}

// ask asks what serve answers; "refused" when nothing does.
func (w *world) ask(ns, network, at string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := Dial(ctx, ns, network, at)
	if err != nil {
		return "refused"
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if network == "udp" {
		if _, err := c.Write([]byte("x")); err != nil {
			return "refused"
		}
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		return "refused"
	}
	return string(b[:n])
}

func (w *world) expect(what, got, want string) {
	w.Helper()
	if got != want {
		w.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func at(label string, host string, port, to int, protocol string) structs.AssignedPort {
	return structs.AssignedPort{Label: label, Host: host, Port: port, To: to, Protocol: protocol}
}

// A port of the node leads into the allocation, from the node, from its loopback, from other machines, from the allocation itself and
// from another one; nothing else leads there.
func TestMappedPortsLeadIntoTheAllocation(t *testing.T) {
	w := newWorld(t)
	a := w.provide(need("a", "bridge", at("http", node, 20001, 80, ""), at("six", node6, 20001, 80, ""), at("tcp", node, 53, 5353, "tcp"), at("all", "", 20009, 80, "")))
	b := w.provide(need("b", "bridge", at("http", node, 20002, 0, ""), at("udp", node, 53, 5353, "udp")))
	w.serve(a.Netns, ":80", "a")
	w.serve(a.Netns, ":81", "a, not mapped")
	w.serve(a.Netns, ":5353", "a's")
	w.serve(b.Netns, ":20002", "b")
	w.serve(b.Netns, ":5353", "b's")
	w.serve("", "127.0.0.1:99", "the node's own")
	w.serve("", node+":98", "the node's")
	w.serve(w.beside, ":97", "other machine's")
	for _, network := range []string{"tcp", "udp"} {
		w.expect("node "+network, w.ask("", network, node+":20001"), "a "+node)
		w.expect("node, any address "+network, w.ask("", network, node+":20009"), "a "+node)
		w.expect("loopback "+network, w.ask("", network, "127.0.0.1:20001"), "a 10.78.0.1")
		w.expect("other "+network, w.ask(w.beside, network, node+":20001"), "a "+other)
		w.expect("other, IPv6 "+network, w.ask(w.beside, network, "["+node6+"]:20001"), "a "+other6)
		w.expect("node, IPv6 "+network, w.ask("", network, "["+node6+"]:20001"), "a "+node6)
		w.expect("itself "+network, w.ask(a.Netns, network, node+":20001"), "a 10.78.0.1")
		w.expect("another allocation "+network, w.ask(b.Netns, network, node+":20001"), "a 10.78.0.1")
		w.expect("the port is its own "+network, w.ask(w.beside, network, node+":20002"), "b "+other)
		w.expect("out "+network, w.ask(a.Netns, network, other+":97"), "other machine's "+node)
		w.expect("out, IPv6 "+network, w.ask(a.Netns, network, "["+other6+"]:97"), "other machine's "+node6)
		w.expect("the node from within "+network, w.ask(a.Netns, network, node+":98"), "the node's "+a.Addresses[0])
		w.expect("the node itself "+network, w.ask("", network, a.Addresses[0]+":81"), "a, not mapped 10.78.0.1")
	}
	w.expect("one port, TCP", w.ask(w.beside, "tcp", node+":53"), "a's "+other)
	w.expect("one port, UDP", w.ask(w.beside, "udp", node+":53"), "b's "+other)
	w.expect("not mapped", w.ask(w.beside, "tcp", node+":81"), "refused")
	w.expect("another allocation's address", w.ask(b.Netns, "tcp", a.Addresses[0]+":81"), "refused")
	w.expect("another allocation's address, IPv6", w.ask(b.Netns, "tcp", "["+a.Addresses[1]+"]:81"), "refused")
	// One that knows the way is not let in.
	must(t, namespaces.Inside(w.beside, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("10.78.0.0/24")), Gw: net.ParseIP(node)})
	}))
	w.expect("around the mapping", w.ask(w.beside, "tcp", a.Addresses[0]+":81"), "refused")
	// Nor is one that sends to the node's loopback.
	must(t, namespaces.Inside(a.Netns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetDown(lo)
		}
		eth, err2 := netlink.LinkByName(inner)
		if err == nil {
			err = err2
		}
		if err == nil {
			err = sysctl("ipv4/conf/eth0/route_localnet", "1")
		}
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("127.0.0.1/32")), Gw: net.ParseIP("10.78.0.1"), LinkIndex: eth.Attrs().Index, Table: 77})
		}
		if err == nil {
			rule := netlink.NewRule()
			rule.Table, rule.Priority, rule.Dst = 77, 0, ipNet(netip.MustParsePrefix("127.0.0.1/32"))
			err = netlink.RuleAdd(rule)
		}
		return err
	}))
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if c, err := Dial(short, a.Netns, "tcp", "127.0.0.1:99"); err == nil {
		c.Close()
		t.Error("a task reaches the node's loopback")
	}
}

// What there is stays when it is asked for again, also by another agent.
func TestProvideAgain(t *testing.T) {
	w := newWorld(t)
	ask := need("a", "bridge", at("http", node, 20001, 80, ""))
	first := w.provide(ask)
	w.serve(first.Netns, ":80", "a")
	state := w.count()
	for range 2 {
		again := w.provide(ask)
		if fmt.Sprint(again) != fmt.Sprint(first) || w.count() != state {
			t.Errorf("%v, %s; then %v, %s", first, state, again, w.count())
		}
		w.expect("still", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
		w.nets.Close()
		w.nets = w.open()
		must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return true }))
	}
	// A machine that was started anew has the folders and nothing else.
	must(t, w.nets.cut(linkName("pftest0", "a")))
	must(t, w.nets.unrule())
	must(t, w.nets.cut("pftest0"))
	for namespaces.Kept(first.Netns) {
		must(t, unix.Unmount(first.Netns, unix.MNT_DETACH))
	}
	w.nets.Close()
	w.nets = w.open()
	must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return true }))
	again := w.provide(ask)
	w.serve(again.Netns, ":80", "a anew")
	w.expect("anew", w.ask(w.beside, "tcp", node+":20001"), "a anew "+other)
}

// What is looked at as nobody's stays when its allocation comes in that moment.
func TestKeptForOneThatComes(t *testing.T) {
	w := newWorld(t)
	g := w.provide(need("a", "bridge", at("http", node, 20001, 80, "")))
	w.serve(g.Netns, ":80", "a")
	looks := 0
	must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { looks++; return looks > 1 }))
	w.expect("kept", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
	must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return false }))
	w.expect("released", w.ask(w.beside, "tcp", node+":20001"), "refused")
}

// Another's table is not touched, and rules that somebody removed come back.
func TestOtherRulesStay(t *testing.T) {
	w := newWorld(t)
	c, err := nftables.New()
	must(t, err)
	foreign := c.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
	c.AddChain(&nftables.Chain{Name: "x", Table: foreign})
	must(t, c.Flush())
	g := w.provide(need("a", "bridge", at("http", node, 20001, 80, "")))
	w.serve(g.Netns, ":80", "a")
	must(t, w.nets.unrule())
	must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return true }))
	w.expect("again", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
	must(t, w.nets.Release(context.Background(), "a"))
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	must(t, err)
	if len(chains) != 1 || chains[0].Table.Name != "foreign" {
		t.Errorf("%d chains are left", len(chains))
	}
	c.DelTable(foreign)
	must(t, c.Flush())
}

// none has loopback alone, and a group in the node's network only its own resolver.
func TestNoneAndHost(t *testing.T) {
	w := newWorld(t)
	g := w.provide(need("a", "none"))
	w.serve(g.Netns, "127.0.0.1:80", "a")
	w.expect("loopback", w.ask(g.Netns, "tcp", "127.0.0.1:80"), "a 127.0.0.1")
	w.expect("out", w.ask(g.Netns, "tcp", node+":22"), "refused")
	must(t, namespaces.Inside(g.Netns, func() error {
		links, err := netlink.LinkList()
		if len(links) != 1 {
			t.Errorf("%d links", len(links))
		}
		return err
	}))
	h := w.provide(&Need{Alloc: "h", Ask: &structs.Network{DNS: &structs.DNS{Servers: []string{"192.0.2.53"}, Searches: []string{"corp"}, Options: []string{"ndots:2"}}}})
	raw, err := os.ReadFile(h.Files["/etc/resolv.conf"])
	must(t, err)
	w.expect("resolv.conf", string(raw), "nameserver 192.0.2.53\nsearch corp\noptions ndots:2\n")
	if h.Netns != "" || len(h.Files) != 1 {
		t.Errorf("%+v", h)
	}
	raw, err = os.ReadFile(g.Files["/etc/hostname"])
	must(t, err)
	w.expect("hostname", string(raw), "a\n")
	must(t, w.nets.Release(context.Background(), "a"))
	must(t, w.nets.Release(context.Background(), "h"))
	must(t, w.nets.Release(context.Background(), "never was"))
}

// A port that a process of the node has is not taken from it.
func TestPortOfTheNode(t *testing.T) {
	w := newWorld(t)
	w.serve("", node+":20001", "the node's")
	_, err := w.nets.Provide(context.Background(), need("a", "bridge", at("http", node, 20001, 80, "")))
	if structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), node+":20001 is taken by a process of the node") {
		t.Errorf("%v", err)
	}
	must(t, w.nets.Release(context.Background(), "a"))
}

func TestEgress(t *testing.T) {
	w := newWorld(t)
	n := need("a", "bridge")
	n.Ask.Egress = 1 << 20
	g := w.provide(n)
	w.provide(n)
	var sum int
	l, err := net.Listen("tcp", node+":0")
	must(t, err)
	defer l.Close()
	got := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- 0
			return
		}
		n, _ := io.Copy(io.Discard, c)
		got <- int(n)
	}()
	c, err := Dial(context.Background(), g.Netns, "tcp", l.Addr().String())
	must(t, err)
	begin := time.Now()
	block := make([]byte, 64<<10)
	for range 16 {
		n, err := c.Write(block)
		must(t, err)
		sum += n
	}
	c.Close()
	if n := <-got; n != sum {
		t.Errorf("%d bytes of %d came", n, sum)
	}
	// 1 MiB at 1 MiB/s, with what may go at once.
	if took := time.Since(begin); took < 700*time.Millisecond {
		t.Errorf("%d bytes took %s", sum, took)
	}
}

// A second agent of the machine does not get the bridge, and says so.
func TestOneAgentHasTheBridge(t *testing.T) {
	w := newWorld(t)
	second, err := New(options(t.TempDir()))
	must(t, err)
	defer second.Close()
	if f := second.Features(); f[AttrBridge] != "no: another agent of this machine has the bridge pftest0" || f[AttrNone] != "true" {
		t.Errorf("%v", f)
	}
	if f := w.nets.Features(); f[AttrBridge] != "true" || f[AttrNone] != "true" || f[AttrEgress] != "true" {
		t.Errorf("%v", f)
	}
	if _, err := second.Provide(context.Background(), need("a", "bridge")); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("%v", err)
	}
	must(t, second.Release(context.Background(), "a"))
}

// act is what a process that is killed does.
type act struct {
	Dir     string
	Need    *Need
	Release bool
	Die     int // before which change, from 0
}

func actor(text string) {
	var a act
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		panic(err)
	}
	n, err := New(options(a.Dir))
	if err == nil {
		steps := 0
		n.step = func(string) {
			if steps++; steps > a.Die {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
		if a.Release {
			err = n.Release(context.Background(), a.Need.Alloc)
		} else {
			_, err = n.Provide(context.Background(), a.Need)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// killed runs an act in a process that dies; false: it came to its end.
func (w *world) killed(a act) bool {
	w.Helper()
	raw, err := json.Marshal(a)
	must(w, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "PROFFER_TEST_ACT="+string(raw))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.Fatalf("%v: %s", err, out)
	}
	return true
}

// An agent that is killed after any change leaves nothing that the next one does not use, or remove.
func TestKilledAfterEachChange(t *testing.T) {
	for _, mode := range []string{"bridge+cni/back", "none", "cni/test+cni/back"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			w.conflist()
			if strings.Contains(mode, "cni/") { // what the plugins make once
				w.provide(need("first", mode, at("http", node, 20001, 80, "")))
				must(t, w.nets.Release(context.Background(), "first"))
			}
			empty := w.count()
			n := need("a", mode, at("http", node, 20001, 80, ""))
			n.Ports = append(n.Ports, at("first", node, 20002, 81, ""))
			n.Ask.Egress = 1 << 30
			all := func(structs.AllocID) bool { return true }
			nobody := func(structs.AllocID) bool { return false }
			full := ""
			for release := range 2 {
				for die := 0; ; die++ {
					w.nets.Close()
					if release == 1 {
						w.nets = w.open()
						w.provide(n)
						w.nets.Close()
					}
					died := w.killed(act{Dir: w.dir, Need: n, Release: release == 1, Die: die})
					w.nets = w.open()
					if release == 0 { // one time it goes on, another time it does not
						must(t, w.nets.Keep(context.Background(), all))
						g := w.provide(n)
						if mode != "none" {
							w.Run(fmt.Sprint("die ", die), func(t *testing.T) {
								inner := *w
								inner.T = t
								inner.serve(g.Netns, ":80", "a")
								inner.serve(g.Netns, ":81", "first")
								inner.expect("mapped", inner.ask(w.beside, "tcp", node+":20001"), "a "+other)
								inner.expect("mapped into the first", inner.ask(w.beside, "tcp", node+":20002"), "first "+other)
							})
						}
						if full == "" {
							full = w.count()
						}
						w.expect("full", w.count(), full)
						must(t, w.nets.Release(context.Background(), "a"))
						w.expect("released", w.count(), empty)
						w.nets.Close()
						w.killed(act{Dir: w.dir, Need: n, Die: die})
						w.nets = w.open()
					}
					must(t, w.nets.Keep(context.Background(), nobody))
					w.expect(fmt.Sprintf("release %d, killed after %d", release, die), w.count(), empty)
					if !died {
						if die < 2 {
							t.Errorf("only %d changes", die)
						}
						break
					}
				}
			}
		})
	}
}

// What is provided takes packets at once: one that is dropped is sent again after a second.
func TestReadyAtOnce(t *testing.T) {
	w := newWorld(t)
	var slowest time.Duration
	for i := range 5 {
		id := fmt.Sprint("a", i)
		g := w.provide(need(id, "bridge", at("http", node, 20001, 80, "")))
		links, err := netlink.LinkList()
		must(t, err)
		for _, l := range links {
			if name := l.Attrs().Name; (name == "pftest0" || name == linkName("pftest0", structs.AllocID(id))) && l.Attrs().OperState != netlink.OperUp {
				t.Errorf("%s is %s", name, l.Attrs().OperState)
			}
		}
		w.serve(g.Netns, ":80", id)
		for _, to := range append(g.Addresses, node+":20001") {
			begin := time.Now()
			if from := g.Netns; strings.HasSuffix(to, ":20001") {
				w.expect("out", w.ask(from, "tcp", to), id+" 10.78.0.1")
			} else if got := w.ask("", "tcp", net.JoinHostPort(to, "80")); !strings.HasPrefix(got, id) {
				t.Errorf("%s: %s", to, got)
			}
			slowest = max(slowest, time.Since(begin))
		}
		must(t, w.nets.Release(context.Background(), structs.AllocID(id)))
	}
	t.Logf("the slowest first connection took %s", slowest)
}

// A plugin outlives the agent that started it. What it adds then is taken back all the same.
func TestAPluginOutlivesItsAgent(t *testing.T) {
	w := newWorld(t)
	state, config, programs := t.TempDir(), options(w.dir).CNIConfig, options(w.dir).CNIPlugins[1]
	for _, dir := range []string{config, programs} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.WriteFile(config+"/20-late.conflist", []byte(`{"cniVersion": "0.4.0", "name": "late", "plugins": [{"type": "late"}]}`), 0o644))
	must(t, os.WriteFile(programs+"/late", []byte(`#!/bin/sh
cd `+state+`
case $CNI_COMMAND in
ADD)
	kill -9 $PPID
	touch begun
	while [ ! -e left ] && [ $((i = i + 1)) -lt 20 ]; do sleep 0.05; done
	touch added over
	;;
DEL) [ ! -e begun ] || touch left; rm -f added ;;
esac
`), 0o755))
	if !w.killed(act{Dir: w.dir, Need: need("a", "cni/late"), Die: 1000}) {
		t.Fatal("the agent was not killed")
	}
	w.nets.Close()
	w.nets = w.open()
	must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return false }))
	if _, err := os.Stat(state + "/over"); err != nil {
		t.Fatalf("Keep did not wait for the plugin: %v", err)
	}
	if _, err := os.Stat(state + "/added"); err == nil {
		t.Error("what the plugin added is there")
	}
}

// An allocation has the address of a CNI network that it asks for, or does not start, and its plugins are told of it what it says, when it
// joins and when it leaves.
func TestWhatPluginsAreAskedFor(t *testing.T) {
	w := newWorld(t)
	w.conflist()
	config, programs, told := options(w.dir).CNIConfig, options(w.dir).CNIPlugins[1], t.TempDir()
	must(t, os.MkdirAll(programs, 0o755))
	must(t, os.WriteFile(programs+"/told", []byte("#!/bin/sh\ncat > "+told+"/$CNI_COMMAND\ncat <<E\n"+
		`{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "x"}], "ips": [{"interface": 0, "address": "10.80.0.9/24"}], "dns": {"nameservers": ["10.80.0.53"], "search": ["told.example"]}}`+"\nE\n"), 0o755))
	must(t, os.WriteFile(config+"/20-told.conflist", []byte(`{"cniVersion": "1.0.0", "name": "told", "plugins": [{"type": "told",
		"capabilities": {"ips": true}, "args": {"cni": {"other": 1}, "mine": true}}]}`), 0o644))
	ask := func(id, name string, addresses ...string) *Need {
		n := need(id, "cni/"+name, at("http", node, 20001, 80, "tcp"))
		n.Ask.Addresses, n.Ask.Groups, n.Ask.Labels = addresses, []string{"shop"}, map[string]string{"app": "web"}
		return n
	}
	a := w.provide(ask("a", "test", "10.79.0.77"))
	w.expect("the address", strings.Join(a.Addresses, " "), "10.79.0.77")
	w.serve(a.Netns, ":80", "a")
	w.expect("there", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
	// Another one may not have it as well.
	if _, err := w.nets.Provide(context.Background(), ask("b", "test", "10.79.0.77")); structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "10.79.0.77") {
		t.Errorf("taken: %v", err)
	}
	must(t, w.nets.Release(context.Background(), "b"))
	// One that is not given ends what was asked for.
	if _, err := w.nets.Provide(context.Background(), ask("c", "told", "10.80.0.8/24")); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "the address 10.80.0.8: it gave 10.80.0.9") {
		t.Errorf("another one: %v", err)
	}
	for _, verb := range []string{"ADD", "DEL"} {
		raw, err := os.ReadFile(filepath.Join(told, verb))
		must(t, err)
		var got struct {
			Args          any `json:"args"`
			RuntimeConfig any `json:"runtimeConfig"`
		}
		must(t, json.Unmarshal(raw, &got))
		is, err := json.Marshal(got)
		must(t, err)
		w.expect(verb, string(is), `{"args":{"cni":{"ips":["10.80.0.8/24"],"labels":[{"key":"app","value":"web"}],"other":1},"mine":true,`+
			`"org.apache.mesos":{"network_info":{"groups":["shop"],"ip_addresses":[{"ip_address":"10.80.0.8","protocol":"IPv4"}],`+
			`"labels":{"labels":[{"key":"app","value":"web"}]},"name":"told","port_mappings":[{"container_port":80,"host_port":20001,"protocol":"tcp"}]}}},`+
			`"runtimeConfig":{"ips":["10.80.0.8/24"]}}`)
	}
	must(t, w.nets.Release(context.Background(), "c"))
	must(t, w.nets.Release(context.Background(), "a"))
	// Names are looked up as it says.
	d := w.provide(ask("d", "told", "10.80.0.9/24"))
	raw, err := os.ReadFile(d.Files["/etc/resolv.conf"])
	must(t, err)
	w.expect("resolv.conf", string(raw), "nameserver 10.80.0.53\nsearch told.example\n")
	must(t, w.nets.Release(context.Background(), "d"))
	has := w.nets.Features()
	w.expect("networks that lead ports in", has["network.ports.test"]+", "+has["network.ports.told"], "true, ")
}

// inside runs a command in a namespace, and returns what it says.
func (w *world) inside(ns string, args ...string) string {
	w.Helper()
	var out []byte
	must(w, namespaces.Inside(ns, func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	}))
	return strings.TrimSpace(string(out))
}

// An allocation is in several networks, each with an interface and addresses of its own, the first one with the default route; ports lead
// into the network that they name. It is found again by the next agent, and leaves nothing.
func TestSeveralNetworks(t *testing.T) {
	for first, told := range map[string]string{"bridge": "10.78.0.", "cni/test": "10.79.0."} {
		t.Run(first, func(t *testing.T) {
			w := newWorld(t)
			w.conflist()
			n := need("a", first+"+cni/back", at("back", node, 20001, 80, "tcp"))
			n.Ask.Further[0].Interface, n.Ask.Further[0].Addresses = "back0", []string{"10.81.0.44"}
			n.Ports = append(n.Ports, at("first", node, 20002, 81, "tcp"))
			g := w.provide(n)
			if len(g.Addresses) == 0 || !strings.HasPrefix(g.Addresses[0], told) || len(g.Joined) != 1 || len(g.Joined[0].Addresses) != 2 {
				t.Fatalf("it is given %+v", g)
			}
			in := g.Joined[0]
			w.expect("told", fmt.Sprint(in.Name, " ", in.Interface, " ", in.Addresses[0]), "back back0 10.81.0.44")
			for link, has := range map[string][]string{"eth0": g.Addresses, "back0": in.Addresses} {
				got := w.inside(g.Netns, "ip", "-o", "addr", "show", "dev", link, "scope", "global")
				for _, a := range has {
					if !strings.Contains(got, a+"/") || strings.Count(got, "\n") != len(has)-1 {
						t.Errorf("%s has %s, want %v", link, got, has)
					}
				}
			}
			for family, ways := range map[string]int{"-4": 2, "-6": len(g.Addresses)} { // test has no IPv6
				got := strings.Split(w.inside(g.Netns, "ip", family, "route", "show", "default"), "\n")
				if len(got) != ways || !strings.Contains(got[len(got)-1], "dev back0") || ways == 2 && !strings.Contains(got[0], "dev eth0") {
					t.Errorf("default routes: %q", got)
				}
			}
			w.serve(g.Netns, net.JoinHostPort(in.Addresses[0], "80"), "back")
			w.serve(g.Netns, net.JoinHostPort(g.Addresses[0], "81"), "first")
			w.expect("its port", w.ask(w.beside, "tcp", node+":20001"), "back "+other)
			w.expect("the port of the first", w.ask(w.beside, "tcp", node+":20002"), "first "+other)
			if hosts := w.inside(g.Netns, "cat", g.Files["/etc/hosts"]); strings.Contains(hosts, "10.81.") || !strings.Contains(hosts, g.Addresses[0]) {
				t.Errorf("the host name is %s", hosts)
			}
			full := w.count()
			w.nets.Close()
			w.nets = w.open()
			must(t, w.nets.Keep(context.Background(), func(structs.AllocID) bool { return true }))
			again := w.provide(n)
			w.expect("again", fmt.Sprint(again.Addresses, again.Joined, w.count()), fmt.Sprint(g.Addresses, g.Joined, full))
			// As after a start of the machine.
			for _, link := range []string{"eth0", "back0"} { // the kernel does it sooner or later
				must(t, namespaces.Inside(g.Netns, func() error { return w.nets.cut(link) }))
			}
			must(t, namespaces.Drop(g.Netns))
			anew := w.provide(n)
			w.expect("the wish", anew.Joined[0].Addresses[0], "10.81.0.44")
			must(t, w.nets.Release(context.Background(), "a"))
			if left, err := filepath.Glob(options(w.dir).CNIConfig + "/state/*/10.*"); err != nil || len(left) > 0 {
				t.Errorf("held: %v, %v", left, err)
			}
		})
	}
}

// What a network refuses is waited for with nothing of the others, and networks are left the other way round.
func TestOneOfSeveralNetworksFails(t *testing.T) {
	w := newWorld(t)
	w.conflist()
	config, programs, said := options(w.dir).CNIConfig, options(w.dir).CNIPlugins[1], t.TempDir()+"/said"
	must(t, os.MkdirAll(programs, 0o755))
	must(t, os.WriteFile(programs+"/says", []byte(`#!/bin/sh
name=$(sed 's/.*"name":"\([a-z]*\)".*/\1/')
echo $CNI_COMMAND $name $CNI_IFNAME >> `+said+`
[ $CNI_COMMAND != ADD ] || [ ! -e `+said+`.$name ] || { echo '{"cniVersion": "0.4.0", "code": 100, "msg": "not now"}'; exit 1; }
[ $CNI_COMMAND != ADD ] || nsenter --net=$CNI_NETNS ip link add $CNI_IFNAME type bridge
[ $CNI_COMMAND != DEL ] || [ ! -e $CNI_NETNS ] || nsenter --net=$CNI_NETNS ip link del $CNI_IFNAME 2>/dev/null || :
echo '{"cniVersion": "0.4.0"}'
`), 0o755))
	for _, name := range []string{"one", "two", "three"} {
		must(t, os.WriteFile(config+"/20-"+name+".conflist", []byte(`{"cniVersion": "0.4.0", "name": "`+name+`", "plugins": [{"type": "says"}]}`), 0o644))
	}
	expect := func(what, want string) {
		t.Helper()
		raw, err := os.ReadFile(said)
		must(t, err)
		w.expect(what, strings.ReplaceAll(strings.TrimSpace(string(raw)), "\n", ", "), want)
		must(t, os.Remove(said))
	}
	n := need("a", "cni/one+cni/two+cni/three")
	must(t, os.WriteFile(said+".three", nil, 0o644))
	if _, err := w.nets.Provide(context.Background(), n); structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "join the CNI network three: not now") {
		t.Errorf("%v", err)
	}
	const joins = "DEL one eth0, ADD one eth0, DEL two eth1, ADD two eth1, DEL three eth2, ADD three eth2"
	const leaves = "DEL three eth2, DEL two eth1, DEL one eth0"
	expect("when the last one fails", joins+", "+leaves)
	must(t, os.Remove(said+".three"))
	g := w.provide(n)
	expect("when none does", joins)
	w.expect("told", fmt.Sprint(g.Addresses, g.Joined), "[] [{two eth1 []} {three eth2 []}]")
	w.provide(n)
	if _, err := os.Stat(said); err == nil {
		t.Error("what is joined is joined again")
	}
	must(t, w.nets.Release(context.Background(), "a"))
	expect("at the end", leaves)
}

// conflist makes the CNI networks test and back with Debian's plugins. Their rules are those of iptables, where there are any.
func (w *world) conflist() {
	w.Helper()
	dir := options(w.dir).CNIConfig
	must(w, os.MkdirAll(dir, 0o755))
	must(w, os.MkdirAll(dir+"/state", 0o755))
	must(w, os.WriteFile(dir+"/10-test.conflist", []byte(`{"cniVersion": "0.4.0", "name": "test", "plugins": [
		{"type": "bridge", "bridge": "cnitest0", "isGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "`+dir+`/state",
			"ranges": [[{"subnet": "10.79.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`), 0o644))
	must(w, os.WriteFile(dir+"/15-back.conflist", []byte(`{"cniVersion": "0.4.0", "name": "back", "plugins": [
		{"type": "bridge", "bridge": "cnitest1", "isDefaultGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "`+dir+`/state",
			"ranges": [[{"subnet": "10.81.0.0/24"}], [{"subnet": "fd81::/64"}]]}},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`), 0o644))
	w.Cleanup(func() { // what the plugins keep
		must(w, w.nets.cut("cnitest0"))
		must(w, w.nets.cut("cnitest1"))
		c, err := nftables.New()
		must(w, err)
		tables, err := c.ListTables()
		must(w, err)
		for _, t := range tables {
			c.DelTable(t)
		}
		must(w, c.Flush())
	})
}
