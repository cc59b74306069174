//go:build linux && system

package supervisor_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// TestOCICopiesOnAFullDisk: where there is no overlayfs, the root of a container is a copy of its image. On a disk that is full the start says
// so and leaves no part of a copy; what runs goes on when its own writes fail, and there is a start again once there is room.
func TestOCICopiesOnAFullDisk(t *testing.T) {
	p := newPier(t)
	// Folders of overlayfs are not taken as what it writes to, so that one in it has copies, and the disk below is small.
	disk := filepath.Join(p.dir, "small")
	mount := func(source, at, fs, options string) {
		err := os.MkdirAll(at, 0o711)
		if err == nil {
			err = unix.Mount(source, at, fs, 0, options)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		})
	}
	mount("proffer-test", disk, "tmpfs", "size=7m,nr_inodes=400,mode=755")
	for _, sub := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(disk, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.opts.Dir = filepath.Join(p.dir, "containers")
	mount("overlay", p.opts.Dir, "overlay", "lowerdir="+disk+"/lower,upperdir="+disk+"/upper,workdir="+disk+"/work")
	filler := filepath.Join(disk, "filler")
	fill := func(left int64) {
		var st unix.Statfs_t
		if err := unix.Statfs(disk, &st); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, bytes.Repeat([]byte("x"), int(int64(st.Bavail)*st.Bsize-left)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	// What is full when overlayfs is tried says nothing about overlayfs.
	d := p.driver()
	many := filepath.Join(disk, "many")
	err := os.MkdirAll(filepath.Join(p.opts.Dir, "state"), 0o711)
	if err == nil {
		err = os.Mkdir(many, 0o700)
	}
	for i := 0; err == nil; i++ { // no inode is left
		err = os.WriteFile(filepath.Join(many, strconv.Itoa(i)), nil, 0o600)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if f := d.Fingerprint(t.Context()); f.Healthy || !strings.Contains(f.Why, "no space left") {
		t.Errorf("on a full disk: %+v", f)
	}
	if err := os.RemoveAll(many); err != nil {
		t.Fatal(err)
	}
	if f := d.Fingerprint(t.Context()); !f.Healthy || f.Attributes["root"] != "copy" {
		t.Fatalf("%+v", f)
	}

	s := p.container(`echo up; while [ ! -e /alloc/go ]; do sleep 0.1; done
dd if=/dev/zero of=/tmp/../big bs=65536 count=1000 2>/dev/null || echo full; rm -f /big; echo on >/more && echo there is room`, map[string]any{})
	s.Task.User, s.User = "root", "root"
	for _, left := range []int64{0, 64 << 10, 1 << 20} { // before, at the beginning of, and in the middle of a copy
		fill(left)
		_, err := d.Start(t.Context(), s)
		if structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "are free there") {
			t.Errorf("with %d bytes left: %v", left, err)
		}
		if found, _ := filepath.Glob(p.opts.Dir + "/*/*"); len(found) > 0 {
			t.Errorf("with %d bytes left there is left %v", left, found)
		}
		if _, err := d.Recover(t.Context(), s, nil); structs.KindOf(err) != structs.NotFound {
			t.Errorf("with %d bytes left: %v", left, err)
		}
		free()
	}
	task, err := d.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	fill(0)
	if _, err := d.Start(t.Context(), p.container("true", nil)); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("beside it: %v", err)
	}
	free()
	if err := os.WriteFile(filepath.Join(s.AllocDir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	exit, err := task.Wait(t.Context())
	if out := p.output(s, "stdout"); err != nil || exit.Code != 0 || out != "up\nfull\nthere is room\n" {
		t.Errorf("%+v %v %q", exit, err, out)
	}
	if err := task.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}
