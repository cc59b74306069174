//go:build unix

package supervisor_test

import (
	"fmt"
	"hash/fnv"
	"path/filepath"
)

// swept checks that no cgroup of the node's supervisor is left.
func (n *node) swept() {
	sum := fnv.New32a()
	sum.Write([]byte(n.opts.Dir))
	left, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/proffer/%08x", sum.Sum32()))
	if unified, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/proffer/%08x", sum.Sum32())); len(left)+len(unified) > 0 {
		n.t.Errorf("cgroups are left: %v %v", left, unified)
	}
}
