//go:build system

package system

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// TestRevocable: a service reserves all memory of a node and uses little of it. Best-effort work runs on the rest, until the
// service uses it: then that is taken back, and the service goes on.
func TestRevocable(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	more := r.file("more.hcl", `client {
  resources {
    memory = "200MiB"
  }
  revocable {
    enabled = true
    hold    = "1s"
    decay   = "1s"
    every   = "1s"
  }
}
`)
	a := single(r, "-config", more)
	web := service("web", 1, "until [ -e /tmp/busy ]; do sleep 0.1; done; x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 1000000")
	web = strings.Replace(web, `"16MiB"`, "\"200MiB\"\n        memory_max = \"2GiB\"", 1)
	a.must("job", "run", "-detach", r.file("web.hcl", web))
	one := r.allocs("web", 1)[0]

	scan := strings.Replace(service("scan", 1, "sleep 1000000"), "  group", "  priority = \"best-effort\"\n  group", 1)
	scan = strings.Replace(scan, `"16MiB"`, `"100MiB"`, 1)
	a.must("job", "run", "-detach", r.file("scan.hcl", scan))
	two := r.allocs("scan", 1)[0]
	if two.Revocable == nil || one.Revocable != nil {
		t.Errorf("of web %s is revocable, of scan %s", one.OfSlack(), two.OfSlack())
	}
	if out := a.must("node", "status", "self"); !strings.Contains(out, "revocable work holds memory 100MiB") {
		t.Errorf("%s", out)
	}

	a.must("alloc", "exec", string(one.ID), "touch", "/tmp/busy")
	await(t, "what is used again is taken back", func() error {
		x, _, err := a.api().Allocation(t.Context(), string(two.ID), nil)
		if err != nil {
			return err
		}
		if x.Desired != structs.DesiredStop || !x.Ended() || !strings.Contains(x.DesiredWhy, "taken back") {
			return fmt.Errorf("%s: %s (%s)", x.Status, x.Desired, x.DesiredWhy)
		}
		return nil
	})
	await(t, "it waits again", func() error {
		if out := a.must("job", "explain", "scan"); !strings.Contains(out, "it does not fit with what is reserved and not used either") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if x, _, err := a.api().Allocation(t.Context(), string(one.ID), nil); err != nil || x.Status != structs.AllocRunning || x.Tasks["t"].Restarts > 0 {
		t.Errorf("web: %v, %v", x, err)
	}
}
