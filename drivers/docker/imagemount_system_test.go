//go:build linux && system

package docker_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
)

// TestImagesOfTheNodeAreMounted: a container sees what the node mounted after the engine was started, as it does the files of an image, and cannot write
// to what is for reading.
func TestImagesOfTheNodeAreMounted(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"lower", "upper", "work", "rootfs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "lower", "model"), []byte("weights"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "rootfs")
	options := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := unix.Mount("overlay", root, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := spec(t, "cat /models/model; echo x 2>/dev/null >/models/x && echo written; echo y >/own/y && cat /own/model", nil)
	s.Mounts = []drivers.Mount{{Source: root, Target: "/models", ReadOnly: true}, {Source: root, Target: "/own"}}
	wait(t, start(t, driver(t, shared, nil), s))
	if got := text(t, s, "stdout"); got != "weightsweights" {
		t.Errorf("it sees %q: %s", got, text(t, s, "stderr"))
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "upper", "y")); err != nil || string(raw) != "y\n" {
		t.Errorf("what it wrote is %q, %v", raw, err)
	}
}
