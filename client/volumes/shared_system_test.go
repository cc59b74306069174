//go:build linux && system

package volumes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the system tests need root")
	}
}

// Whether mounts reach a task is for the mount that its volume is in to say, and who asks for more is told what to do.
func TestSharedMounts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	folder := filepath.Join(dir, "deep")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	twin := t.TempDir()
	as := func(propagation uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", propagation, ""); err != nil {
			t.Fatal(err)
		}
	}
	check := func(x structs.Propagation, may bool) {
		t.Helper()
		err := shared("volume", folder, x)
		if may && err != nil || !may && (structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "mount --make-shared "+dir)) {
			t.Errorf("%s: %v", x, err)
		}
	}
	as(unix.MS_PRIVATE)
	check(structs.PropagationHostToTask, false)
	check(structs.PropagationBidirectional, false)
	as(unix.MS_SHARED)
	check(structs.PropagationHostToTask, true)
	check(structs.PropagationBidirectional, true)
	if err := unix.Mount(dir, twin, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(twin, unix.MNT_DETACH) })
	as(unix.MS_SLAVE)
	check(structs.PropagationHostToTask, true)
	check(structs.PropagationBidirectional, false)
}
