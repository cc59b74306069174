//go:build linux && system

package supervisor_test

import (
	"os"
	"strings"
	"testing"
)

// A task has namespaces of its own, that of the network only when it asks for one.
func TestNamespacesOfItsOwn(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	kinds := []string{"pid", "mnt", "ipc", "net"}
	of := func(change ...option) map[string]string {
		_, out := n.run(n.spec(`for k in `+strings.Join(kinds, " ")+`; do readlink /proc/self/ns/$k; done`, change...))
		lines := strings.Fields(out)
		if len(lines) != len(kinds) {
			t.Fatalf("got %q", out)
		}
		found := map[string]string{}
		for i, k := range kinds {
			found[k] = lines[i]
		}
		return found
	}
	host := map[string]string{}
	for _, k := range kinds {
		host[k], _ = os.Readlink("/proc/self/ns/" + k)
	}
	task, apart := of(), of(config("network", "none"))
	for _, k := range kinds {
		if shared := task[k] == host[k]; shared != (k == "net") {
			t.Errorf("%s: the task has %s, the host %s", k, task[k], host[k])
		}
		if apart[k] == host[k] {
			t.Errorf("%s: with network = none the task has that of the host, %s", k, host[k])
		}
	}
}
