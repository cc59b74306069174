package structs

import (
	"strings"
	"testing"
)

func TestDiskAmounts(t *testing.T) {
	for size, want := range map[Bytes]Milli{0: 0, 1: 1, 1 << 20: 1000, 1<<20 + 1: 1001, 3 << 30: 3072_000, 1 << 50: 1 << 30 * 1000} {
		if got := DiskAmount(size); got != want || DiskSize(got) < size || size&(1<<20-1) == 0 && DiskSize(got) != size {
			t.Errorf("%d bytes are %d, which is %d bytes", size, got, DiskSize(got))
		}
	}
}

// What a node shares is without its volumes; a disk that is away has nothing left, and the amounts of the node are not touched.
func TestAvailableWithoutVolumes(t *testing.T) {
	n := &Node{Resources: OnDisk("a", 4<<20).Add(Resources{Disk: 10}), Volumes: map[string]*NodeVolume{"x": {Size: 1 << 20, Disk: "a", Role: "eng"}, "y": {Size: 4, Role: "ops"}, "z": {Size: 1, Disk: "away", Role: "eng"}}}
	got := n.Available()
	if got.Disk != 6 || got.Custom["disk.a"] != 3000 || got.Custom["disk.away"] != 0 || len(got.Sets[VolumeSet]) != 3 || n.Resources.Custom["disk.a"] != 4000 {
		t.Errorf("%s of %s", got, n.Resources)
	}
	if text := got.String(); !strings.Contains(text, "disk.a 3MiB") {
		t.Error(text)
	}
	held := n.HeldByVolumes([]ReservedRoom{{Role: "eng"}, {Role: "ops"}, {Role: "en"}})
	if held[0].Custom["disk.a"] != 1000 || held[0].Disk != 0 || held[1].Disk != 4 || !held[2].IsZero() {
		t.Errorf("held are %v", held)
	}
}

func TestDisksAreForVolumes(t *testing.T) {
	zero := 1
	j := &Job{Name: "j", Groups: []*Group{{Name: "g", Count: &zero, Tasks: []*Task{{Name: "t", Driver: "exec", Resources: &TaskResources{Custom: map[string]Milli{"disk.a": 1000}}}}}}}
	j.Canonicalize()
	if err := j.Validate(nil); err == nil || !strings.Contains(err.Error(), "a disk is for volumes") {
		t.Error(err)
	}
}
