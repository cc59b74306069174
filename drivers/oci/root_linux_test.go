package oci

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// What a program is found as, before the runtime is asked.
func TestLook(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755, "bin/text": 0o644, "opt/tool": 0o755} {
		os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
		if err := os.WriteFile(filepath.Join(root, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("/bin/tool", filepath.Join(root, "bin/link"))
	os.Symlink("../../../../bin/sh", filepath.Join(root, "bin/out")) // leads nowhere in here
	mounts := []specs.Mount{{Destination: "/local"}, {Destination: "/proc"}}
	for _, x := range []struct {
		program, path, cwd string
		want               int
	}{
		{"/bin/tool", "", "/", 0}, {"/bin/none", "", "/", 127}, {"/bin/text", "", "/", 126}, {"/bin", "", "/", 126},
		{"/bin/link", "", "/", 0}, {"/bin/out", "", "/", 127},
		{"tool", "/bin", "/", 0}, {"tool", "/sbin:/opt", "/", 0}, {"tool", "", "/bin", 127}, {"none", "/bin", "/", 127},
		{"./tool", "", "/bin", 0}, {"bin/tool", "", "/", 0}, {"../bin/tool", "", "/opt", 0},
		{"/local/tool", "", "/", 0}, {"./tool", "", "/local/bin", 0}, {"/localtool", "", "/", 127},
		{"mine", "/local/bin:/bin", "/", 0}, {"mine", "/bin:/local/bin", "/", 0},
	} {
		if got := look(root, mounts, x.program, []string{"PATH=" + x.path}, x.cwd); got != x.want {
			t.Errorf("%s in %s with PATH=%s: %d, not %d", x.program, x.cwd, x.path, got, x.want)
		}
	}
}
