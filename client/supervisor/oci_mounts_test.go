//go:build linux && system

package supervisor_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// TestMountedImages: tasks of both drivers see the files of an image, to read or with what they write themselves apart from others. Nothing
// that cleans up takes the image while they run, and after the start nothing is left; of a start that the agent did not live to end,
// the next one finds it.
func TestMountedImages(t *testing.T) {
	p := newPier(t)
	d := p.driver()
	run := func(s *drivers.Spec) (drivers.Task, error) {
		s.Task.ImageMounts = []*structs.ImageMount{{Image: p.image, Destination: "/fixed"}, {Image: p.image, Destination: "/own", Writable: true}}
		if err := d.PullImages(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		mounts, err := d.MountImages(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		s.Mounts = mounts
		if s.Task.Driver == "exec" {
			return exec.New(p.client, exec.Options{}).Start(t.Context(), s)
		}
		return d.Start(t.Context(), s)
	}
	const script = `/fixed/bin/busybox echo shown && ! echo x 2>/dev/null >/fixed/bin/x && head -c 300000 /dev/zero >/own/big && ls /own && echo ok; read x </local/wait`
	plain, contained := p.spec(script), p.container(script, nil)
	plain.User, plain.Task.User, contained.User, contained.Task.Driver = "root", "root", "0", "oci"
	for _, s := range []*drivers.Spec{plain, contained} {
		if err := s.MakeFolders(0, 0); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(s.TaskDir, "local/wait"), 0o600); err != nil {
			t.Fatal(err)
		}
		task, err := run(s)
		if err != nil {
			t.Fatal(s.Task.Driver, err)
		}
		if out := p.until(s, "ok\n"); !strings.HasPrefix(out, "shown\nbig\nbin\netc\n") {
			t.Errorf("%s: it sees %q", s.Task.Driver, out)
		}
		if n, err := d.WrittenToImages(t.Context(), s, false, func(_ context.Context, dir string) (structs.Bytes, error) {
			size, _, err := disk.Sizes(t.Context(), dir)
			return size, err
		}); err != nil || n < 300000 || n > 600000 {
			t.Errorf("%s: it wrote %d, %v", s.Task.Driver, n, err)
		}
		// The agent died: what cleans up finds a start that it does not know, and whose task runs.
		d = p.driver()
		if err := d.Sweep(t.Context(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
		if err := d.Prune(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if names, err := p.store.Names(); err != nil || len(names) != 1 {
			t.Errorf("%s: of images in use there are left %v, %v", s.Task.Driver, names, err)
		}
		if err := os.WriteFile(filepath.Join(s.TaskDir, "local/wait"), []byte("\n"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := task.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s == plain {
			err = d.UnmountImages(s)
		} else { // nobody lived to do that
			err = d.Sweep(t.Context(), func(string) bool { return false })
		}
		if left, _ := filepath.Glob(filepath.Join(p.opts.Dir, "*", "id")); err != nil || len(left) > 0 {
			t.Errorf("%s: left are %v, %v", s.Task.Driver, left, err)
		}
	}
	if gone, err := p.store.Prune(time.Now(), nil); err != nil || len(gone) != 1 {
		t.Errorf("images that nothing uses any more: %v went, %v", gone, err)
	}
	bad := p.spec("true")
	bad.Task.ImageMounts = []*structs.ImageMount{{Image: p.image, Destination: "/a"}, {Image: p.image + "-none", Destination: "/b"}}
	if _, err := d.MountImages(t.Context(), bad); structs.KindOf(err) != structs.NotFound {
		t.Errorf("an image that is not there: %v", err)
	}
}
