//go:build linux && system

package system

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
	"github.com/proffer/proffer/website"
)

// inside runs a command in the network of the agent.
func (a *agent) inside(args ...string) string {
	a.region.t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", a.space}, args...)...).CombinedOutput()
	if err != nil {
		a.region.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// TestNetworks: the jobs of the documentation run as it says, in networks of their own that outlive the agent and end with the
// allocation; what the node cannot do is a reason.
func TestNetworks(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.separate()
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	a.inClient = "  host_network \"private\" {\n    interface = \"eth0\"\n  }\n"
	r.startAll()
	before := a.inside("ip", "-o", "-4", "addr")
	page, err := website.Files.ReadFile("docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	jobs := jobExample.FindAllSubmatch(page, -1)
	if len(jobs) != 2 {
		t.Fatalf("%d examples", len(jobs))
	}
	for i, m := range jobs {
		file := r.file(fmt.Sprintf("%d.hcl", i), string(m[1]))
		a.must("job", "validate", file)
		a.must("job", "run", "-detach", file)
	}
	a.must("job", "run", "-detach", r.file("elsewhere.hcl", strings.NewReplacer(`"bridge"`, `"cni/nowhere"`, `"pages"`, `"elsewhere"`).Replace(string(jobs[0][1]))))
	one := r.allocs("pages", 1)[0]
	if len(one.Ports) != 1 || one.Ports[0].To != 8080 || one.Ports[0].Host != a.addr {
		t.Errorf("ports %+v", one.Ports)
	}
	await(t, "the batch job", func() error {
		if s := r.allocOf("lookup"); s.Status != structs.AllocComplete {
			return fmt.Errorf("it is %s: %s", s.Status, s.Why)
		}
		return nil
	})
	out := a.must("alloc", "logs", string(r.allocOf("lookup").ID))
	if !strings.HasPrefix(out, "lookup-1\nnameserver 192.0.2.53\nsearch corp.example\noptions ndots:2\n172.30.64.") {
		t.Errorf("names: %q", out)
	}
	await(t, "the reason of what waits", func() error {
		if out := a.must("job", "explain", "elsewhere"); !strings.Contains(out, "network cni.nowhere missing") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	at := net.JoinHostPort(one.Ports[0].Host, strconv.Itoa(one.Ports[0].Port))
	served := func(what string) {
		t.Helper()
		await(t, what, func() error {
			answer, err := http.Get("http://" + at + "/")
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), "Directory listing") {
				return fmt.Errorf("%s, %v", text, err)
			}
			return nil
		})
	}
	served("a page")
	await(t, "the check inside", func() error {
		if out := a.must("alloc", "status", string(one.ID)); !strings.Contains(out, "answers  ready  passing") || !strings.Contains(out, "Addresses    172.30.64.") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out := a.must("alloc", "exec", string(one.ID), "sh", "-c", "hostname; echo $PROFFER_PORT_http $PROFFER_HOST_ADDR_http"); out != structs.Short(one.ID)+"\n8080 "+at+"\n" {
		t.Errorf("inside: %q", out)
	}
	a.kill()
	served("a page without an agent")
	a.start()
	served("a page of the next agent")
	r.allocs("pages", 1)
	a.must("job", "stop", "pages")
	a.must("job", "stop", "elsewhere")
	await(t, "nothing to be left", func() error {
		if after := a.inside("ip", "-o", "-4", "addr"); after != before {
			return fmt.Errorf("before\n%s\nafter\n%s", before, after)
		}
		return nil
	})
}
