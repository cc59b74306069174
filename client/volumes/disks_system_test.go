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

// Volumes are on the disk that the region says. A file system that is not mounted is no disk: nothing is written where it would be,
// and what is on it is not taken for gone.
func TestDisks(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	whole, parts := filepath.Join(top, "whole"), filepath.Join(top, "parts")
	for _, dir := range []string{whole, parts} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount := func() {
		t.Helper()
		if err := unix.Mount("proffer-test", whole, "tmpfs", 0, "size=16m"); err != nil {
			t.Fatal(err)
		}
	}
	v := open(t, filepath.Join(top, "volumes"), nil)
	v.SetDisks(map[string]Disk{"w": {Type: structs.DiskMount, Path: whole}, "p": {Type: structs.DiskPath, Path: parts}, "gone": {Type: structs.DiskPath, Path: filepath.Join(top, "gone")}})
	on := func(disk, id string) structs.AllocVolume {
		x := data(structs.AccessExclusive, false)
		x.Disk, x.ID = disk, structs.VolumeID(id)
		return x
	}
	if _, err := provide(t, v, need("aa", 1, on("w", "01"))); structs.KindOf(err) != structs.Unavailable {
		t.Fatalf("on what is not mounted: %v", err)
	}
	if left, _ := os.ReadDir(whole); len(left) != 0 {
		t.Errorf("below it are %v", left)
	}
	mount()
	t.Cleanup(func() { unix.Unmount(whole, unix.MNT_DETACH) })
	all := v.Disks()
	if w, p := all["w"], all["p"]; w.Size != 16<<20 || w.Problem != "" || w.Type != structs.DiskMount || p.Size == 0 || p.Problem != "" || all["gone"].Problem == "" || all["gone"].Size != 0 {
		t.Errorf("they are %+v, %+v, %+v", w, p, all["gone"])
	}
	for disk, dir := range map[string]string{"w": whole, "p": parts, "": filepath.Join(top, "volumes")} {
		mounts, err := provide(t, v, need("alloc"+disk, 1, on(disk, "0"+disk)))
		if err != nil || !strings.HasPrefix(mounts[0].Source, dir+"/") {
			t.Fatalf("on %q: %v, %v", disk, mounts, err)
		}
		if err := os.WriteFile(filepath.Join(mounts[0].Source, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := v.Disk(); got != 1<<20 {
		t.Errorf("of the node's own disk they take %s", got)
	}
	for _, disk := range []string{"w", "p", ""} {
		if err := v.Release(t.Context(), structs.AllocID("alloc"+disk)); err != nil {
			t.Fatal(err)
		}
	}
	// The region wants it gone while the disk is away.
	var told []structs.VolumeID
	v.Told = func(ids []structs.VolumeID) { told = append(told, ids...) }
	if err := unix.Unmount(whole, 0); err != nil {
		t.Fatal(err)
	}
	if v.Disks()["w"].Problem == "" {
		t.Error("nothing is said of what is not mounted")
	}
	v.Take([]*structs.Volume{{ID: "0w", Disk: "w", Size: 1 << 20, Status: structs.VolumePurging}, {ID: "0p", Disk: "p", Size: 1 << 20, Status: structs.VolumePurging}}, false)
	v.removePurged()
	if len(told) != 1 || told[0] != "0p" {
		t.Errorf("gone are %v", told)
	}
	if left, _ := os.ReadDir(filepath.Join(parts, diskFolder)); len(left) != 0 {
		t.Errorf("there are %v still", left)
	}
	mount() // a new one: the data is lost, and the region hears so
	v.removePurged()
	if len(told) != 2 {
		t.Errorf("gone are %v", told)
	}
}
