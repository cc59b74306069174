package fingerprint

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCgroupVersion needs no cgroups.
func TestCgroupVersion(t *testing.T) {
	v2, v1 := t.TempDir(), t.TempDir()
	os.WriteFile(filepath.Join(v2, "cgroup.controllers"), nil, 0o600)
	os.Mkdir(filepath.Join(v1, "memory"), 0o700)
	for root, want := range map[string]string{v2: "2", v1: "1", t.TempDir(): "0"} {
		if got := cgroupVersion(root); got != want {
			t.Errorf("%s: %s", root, got)
		}
	}
}
