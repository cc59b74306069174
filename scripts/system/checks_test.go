//go:build linux && system

package system

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// TestChecks: a service is healthy once its tasks answer, which are reached from elsewhere through their agent, and is started
// again when it does not answer any more. What answers in the place of the task is this test.
func TestChecks(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	text := service("web", 1, "exec sleep 1000000")
	text = strings.Replace(text, "    task \"t\" {\n", `    network {
      port "http" {}
    }
    restart {
      delay = "100ms"
    }
    task "t" {
      ready "page" {
        port     = "http"
        path     = "/ready"
        interval = "200ms"
        failures = 1
      }
      ready "command" {
        type    = "exec"
        command = ["/bin/sh", "-c", "test -d /local"]
      }
      live "alive" {
        port     = "http"
        path     = "/alive"
        interval = "200ms"
        failures = 2
        grace    = "1h"
      }
`, 1)
	job := r.file("web.hcl", text)
	a.must("job", "run", "-detach", job)
	one := r.allocs("web", 1)[0]
	await(t, "it says what is amiss", func() error {
		if out := a.must("job", "status", "web"); !strings.Contains(out, `task "t" is not ready: check "page": nothing listens on`) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	l, err := net.Listen("tcp", net.JoinHostPort(one.Ports[0].Host, strconv.Itoa(one.Ports[0].Port)))
	if err != nil {
		t.Fatal(err)
	}
	var alive, asked atomic.Bool
	alive.Store(true)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/alive" {
			asked.Store(true)
			if !alive.Load() {
				http.Error(w, "no more", 500)
			}
			return
		}
		io.WriteString(w, "hello")
	})}
	go server.Serve(l)
	defer server.Close()
	a.proffer("job", "run", job).has(t, "job run", 0, "healthy", "")

	forward := a.prepare("alloc", "port-forward", "-job", "web", "http").start()
	var at string
	await(t, "it says where it listens", func() (err error) {
		if _, err = fmt.Sscanf(forward.out.String(), "127.0.0.1:%s -> port", &at); err != nil {
			return fmt.Errorf("%q, %q: %w", forward.out.String(), forward.errout.String(), err)
		}
		return nil
	})
	for range 3 { // each a connection of its own
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://127.0.0.1:" + at + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(body) != "hello" {
			t.Errorf("%q, %v", body, err)
		}
	}
	forward.cmd.Process.Signal(os.Interrupt)
	if o := forward.wait(); o.code != 130 || o.errout != "" {
		t.Errorf("port-forward: %s", o)
	}
	a.proffer("alloc", "port-forward", "-job", "web", "htp").has(t, "a port that is not there", 3, "", "it has http")

	alive.Store(false)
	await(t, "it is started again", func() error {
		if out := a.must("alloc", "status", string(one.ID)); !strings.Contains(out, `live check "alive" failed: status 500: no more`) || !strings.Contains(out, "start 2") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if !asked.Load() {
		t.Error("nobody asked whether it is alive")
	}
}
