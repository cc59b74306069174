//go:build linux && system

package network

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// iptables runs it in the network of the test. Its lock is one for the machine.
func (w *world) iptables(args ...string) string {
	w.Helper()
	out, err := exec.Command("iptables", append([]string{"-w", "300"}, args...)...).CombinedOutput()
	if err != nil {
		w.Fatalf("iptables %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// engine does what a Docker engine does to iptables: nothing is passed on that its chains do not accept.
func (w *world) engine() {
	w.Helper()
	if _, err := exec.LookPath("iptables"); err != nil {
		w.Skip(err)
	}
	w.iptables("-P", "FORWARD", "DROP")
	w.iptables("-N", "DOCKER-USER")
	w.iptables("-A", "DOCKER-USER", "-j", "RETURN")
	w.iptables("-I", "FORWARD", "-j", "DOCKER-USER")
	w.Cleanup(func() {
		w.iptables("-F")
		w.iptables("-X")
		w.iptables("-P", "FORWARD", "ACCEPT")
		exec.Command("nft", "delete", "table", "ip", "filter").Run() // iptables made it
	})
}

// A Docker engine's firewall lets the packets of tasks pass, but what people forbid in its chain stays forbidden, and so does what is not
// mapped. What was flushed comes back, and what Proffer put there goes with the bridge.
func TestDockersFirewall(t *testing.T) {
	w := newWorld(t)
	w.engine()
	w.iptables("-I", "DOCKER-USER", "-p", "tcp", "-m", "tcp", "--dport", "5353", "-j", "DROP")
	a := w.provide(need("a", "bridge", at("http", node, 20001, 80, ""), at("forbidden", node, 20002, 5353, "tcp")))
	w.serve(a.Netns, ":80", "a")
	w.serve(a.Netns, ":81", "a, not mapped")
	w.serve(w.beside, ":97", "other machine's")
	reached := func(when string) {
		t.Helper()
		w.expect(when+" in", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
		w.expect(when+" out", w.ask(a.Netns, "tcp", other+":97"), "other machine's "+node)
	}
	reached("at once")
	want := "-N DOCKER-USER\n-A DOCKER-USER -p tcp -m tcp --dport 5353 -j DROP\n-A DOCKER-USER -i pftest0 -m comment --comment proffer -j ACCEPT\n" +
		"-A DOCKER-USER -o pftest0 -m comment --comment proffer -j ACCEPT\n-A DOCKER-USER -j RETURN\n"
	w.expect("the chain", w.iptables("-S", "DOCKER-USER"), want)
	must(t, w.nets.Admit(context.Background()))
	w.expect("the chain, seen again", w.iptables("-S", "DOCKER-USER"), want)
	w.expect("not mapped", w.ask(w.beside, "tcp", a.Addresses[0]+":81"), "refused")
	// An engine that begins anew with an empty chain, without the rule at its end.
	w.iptables("-F", "DOCKER-USER")
	must(t, w.nets.Admit(context.Background()))
	reached("after a flush")
	if said, ok := w.nets.Features()[AttrForward]; ok {
		t.Errorf("%s = %s", AttrForward, said)
	}
	// Without an engine it is somebody's own firewall.
	w.iptables("-F", "FORWARD")
	w.iptables("-F", "DOCKER-USER")
	w.iptables("-X", "DOCKER-USER")
	must(t, w.nets.Admit(context.Background()))
	if said := w.nets.Features()[AttrForward]; !strings.Contains(said, "policy DROP for FORWARD") {
		t.Errorf("%s = %q", AttrForward, said)
	}
	w.iptables("-N", "DOCKER-USER")
	must(t, w.nets.Admit(context.Background()))
	must(t, w.nets.Release(context.Background(), "a"))
	w.expect("the chain at the end", w.iptables("-S", "DOCKER-USER"), "-N DOCKER-USER\n")
}

// dockerd starts an engine in the network of the test, whose firewall is up once it answers, and ends it.
func (w *world) dockerd(dir string) (end func()) {
	w.Helper()
	sock := filepath.Join(dir, "sock")
	cmd := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"-H", "unix://"+sock)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	runtime.LockOSThread() // it dies with the thread that made it
	must(w, cmd.Start())
	end = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		runtime.UnlockOSThread()
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sock)
	}}}
	defer client.CloseIdleConnections()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(5*time.Minute)
	defer tick.Stop()
	for {
		if r, err := client.Get("http://engine/_ping"); err == nil {
			r.Body.Close()
			return end
		}
		select {
		case <-tick.C:
		case <-late:
			end()
			w.Fatalf("the engine does not answer: %s", said.String())
		}
	}
}

// What a real engine does when it starts, and starts again: tasks are reached all the while.
func TestDockersFirewallByDocker(t *testing.T) {
	w := newWorld(t)
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		must(t, w.nets.cut("docker0"))
		for _, family := range []string{"ip", "ip6"} {
			for _, table := range []string{"filter", "nat", "raw", "mangle"} {
				exec.Command("nft", "delete", "table", family, table).Run() // what it left; most are not there
			}
		}
	})
	// An engine drops what is passed on when it was the one to switch that on.
	must(t, sysctl("ipv4/ip_forward", "0"))
	dir := t.TempDir()
	end := w.dockerd(dir)
	defer func() { end() }()
	if chain := w.iptables("-S", "FORWARD"); !strings.Contains(chain, "-P FORWARD DROP") || !strings.Contains(chain, "-j DOCKER-USER") {
		t.Skipf("this engine drops nothing: %s", chain)
	}
	a := w.provide(need("a", "bridge", at("http", node, 20001, 80, "")))
	w.serve(a.Netns, ":80", "a")
	w.expect("with an engine", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
	chain := w.iptables("-S", "DOCKER-USER")
	end()
	end = w.dockerd(dir)
	w.expect("with the engine started again", w.ask(w.beside, "tcp", node+":20001"), "a "+other)
	w.expect("its chain", w.iptables("-S", "DOCKER-USER"), chain)
	must(t, w.nets.Release(context.Background(), "a"))
	if chain := w.iptables("-S", "DOCKER-USER"); strings.Contains(chain, "pftest0") {
		t.Errorf("left there: %s", chain)
	}
}

// [::1] of the node leads to mapped ports of its first address as 127.0.0.1 does, unless the kernel filters what is bridged.
func TestLoopback6(t *testing.T) {
	w := newWorld(t)
	const filters = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
	if raw, err := os.ReadFile(filters); err == nil && strings.TrimSpace(string(raw)) == "1" {
		if said := w.nets.Features()[AttrLoopback6]; !strings.Contains(said, "bridge-nf-call-ip6tables") {
			t.Errorf("%s = %q", AttrLoopback6, said)
		}
		must(t, os.WriteFile(filters, []byte("0"), 0))
		t.Cleanup(func() { os.WriteFile(filters, []byte("1"), 0) })
	}
	a := w.provide(need("a", "bridge", at("http", node, 20001, 80, ""), at("all", "", 20009, 80, ""), at("six", node6, 20003, 80, "")))
	w.serve(a.Netns, ":80", "a")
	w.serve("", "[::1]:99", "the node's own")
	gateway6 := w.nets.opts.Subnet6.Addr().Next().String()
	for _, network := range []string{"tcp", "udp"} {
		w.expect("first address "+network, w.ask("", network, "[::1]:20001"), "a "+gateway6)
		w.expect("any address "+network, w.ask("", network, "[::1]:20009"), "a "+gateway6)
		w.expect("IPv6 "+network, w.ask("", network, "["+node6+"]:20003"), "a "+node6)
		w.expect("the node's own "+network, w.ask("", network, "[::1]:99"), "the node's own ::1")
	}
	w.expect("another address alone", w.ask("", "tcp", "[::1]:20003"), "refused")
	if said := w.nets.Features()[AttrLoopback6]; said != "true" {
		t.Errorf("%s = %q", AttrLoopback6, said)
	}
	must(t, w.nets.Release(context.Background(), structs.AllocID("a")))
}
