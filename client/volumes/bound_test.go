package volumes

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A volume on a path disk is held as one on the data folder's disk.
func TestHeldOnAPathDisk(t *testing.T) {
	top := t.TempDir()
	v := open(t, filepath.Join(top, "volumes"), nil)
	v.SetDisks(map[string]Disk{"p": {Type: structs.DiskPath, Path: top}})
	x := data(structs.AccessExclusive, false)
	x.Disk = "p"
	if _, err := provide(t, v, need("aa", 1, x)); err != nil {
		t.Fatal(err)
	}
	v.Take([]*structs.Volume{{Name: "data", ID: "0a01", Size: 4 << 20, Disk: "p"}}, false)
	held := v.Held()
	if len(held) != 1 || held[0].Size != 4<<20 || held[0].Folder != filepath.Join(top, diskFolder, "0a01", dataFolder) {
		t.Errorf("%+v", held)
	}
}

// A raw disk is shown as it is configured, and no volume is on it.
func TestRawDisk(t *testing.T) {
	v := open(t, filepath.Join(t.TempDir(), "volumes"), nil)
	raw := &structs.NodeDisk{Type: structs.DiskRaw, Size: 1 << 30, Plugin: "p", Parameters: map[string]string{"kind": "ssd"}}
	v.SetDisks(map[string]Disk{"r": {Type: structs.DiskRaw, Raw: raw}})
	if got := v.Disks()["r"]; got == nil || !got.Equal(raw) || got == raw {
		t.Errorf("it is shown as %+v", got)
	}
	x := data(structs.AccessExclusive, false)
	x.Disk = "r"
	if _, err := provide(t, v, need("aa", 1, x)); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("a volume on it: %v", err)
	}
	if held := v.Held(); len(held) != 0 || len(v.dirs()) != 1 {
		t.Errorf("%+v in %v", held, v.dirs())
	}
}

// Those that hold a volume for writing answer for what is in it, by the size that the region gave it last; who only reads does not.
func TestHeld(t *testing.T) {
	v := open(t, filepath.Join(t.TempDir(), "volumes"), nil)
	for alloc, reads := range map[string]bool{"aa": false, "bb": true} {
		if _, err := provide(t, v, need(alloc, 1, data(structs.AccessShared, reads))); err != nil {
			t.Fatal(err)
		}
	}
	v.Take([]*structs.Volume{{Name: "data", ID: "0a01", Size: 4 << 20}}, false)
	held := v.Held()
	if len(held) != 1 || held[0].Name != "data" || held[0].Size != 4<<20 || !slices.Equal(held[0].Writers, []structs.AllocID{"aa"}) ||
		held[0].Folder != v.path("0a01", dataFolder) {
		t.Errorf("%+v", held)
	}
	if err := v.Release(t.Context(), "aa"); err != nil {
		t.Fatal(err)
	}
	if held := v.Held(); len(held) != 0 {
		t.Errorf("without a writer: %+v", held)
	}
}
