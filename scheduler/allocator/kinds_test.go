package allocator

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/structs"
)

const mib = 1 << 20

// shelved is a node with a raw disk of 100 MiB, of which disks were made.
func shelved(made map[string]structs.Bytes) *structs.Node {
	n := &structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true, Disks: map[string]*structs.NodeDisk{"fast": {Type: structs.DiskRaw, Size: 100 * mib, Plugin: "p"}},
		Resources: structs.Resources{CPU: 100_000, Memory: 100 << 30, Custom: map[string]structs.Milli{"disk.fast": structs.DiskAmount(100 * mib)}}}
	for name, size := range made {
		if n.Volumes == nil {
			n.Volumes = map[string]*structs.NodeVolume{}
		}
		n.Volumes[name] = &structs.NodeVolume{Size: size, Disk: name, Role: structs.DefaultRole, Pool: "fast", Whole: true}
	}
	return n
}

// A disk that was made of a raw one counts as the part of that which it is: whoever is offered it does not hold all that there is of something.
func TestMadeDisksCountAsRawOnes(t *testing.T) {
	limit := &structs.QuotaAmount{CPU: new(structs.Milli(10_000)), Memory: new(structs.Bytes(10 << 30)), Custom: map[string]structs.Milli{"disk.fast": 50_000}}
	for made, want := range map[structs.Bytes]structs.Resources{
		40 * mib: {Custom: map[string]structs.Milli{"disk.d": 40_000, "disk.fast": 10_000}},
		60 * mib: {Custom: map[string]structs.Milli{"disk.d": 0, "disk.fast": 40_000}}, // it is given whole, or not at all
	} {
		a := New(Options{})
		if err := a.SetRole(&structs.Role{Name: "ops", Weight: 1000, Quota: &structs.Quota{Limit: limit}}); err != nil {
			t.Fatal(err)
		}
		a.SetNode(shelved(map[string]structs.Bytes{"d": made}))
		if err := a.SetFramework(&structs.Framework{ID: "f", Name: "f", Roles: []string{"ops"}, Connected: true}); err != nil {
			t.Fatal(err)
		}
		var got structs.Resources
		for _, d := range a.Step(1, 0) {
			if d.Offer != nil {
				got = d.Offer.Resources
			}
		}
		if got.CPU != 10_000 || got.Custom["disk.d"] != want.Custom["disk.d"] || got.Custom["disk.fast"] != want.Custom["disk.fast"] {
			t.Errorf("%s were made: offered %v within a limit of 50 MiB", made, got)
		}
		if share := a.find("ops").share.Milli(); share > 500 {
			t.Errorf("%s were made: a share of %s", made, share)
		}
	}
}

// What was made and is gone leaves nothing behind, however often that happens.
func TestMadeDisksComeAndGo(t *testing.T) {
	a := New(Options{})
	a.SetNode(shelved(nil))
	kinds := len(a.Kinds())
	for i := range 1000 {
		a.SetNode(shelved(map[string]structs.Bytes{fmt.Sprintf("d%d", i): 40 * mib}))
	}
	if got := len(a.Kinds()); got != kinds || len(a.made) != 1 {
		t.Errorf("%d kinds of resources, and %d before; %d disks", got, kinds, len(a.made))
	}
	if total := a.total[a.kind("disk.fast")]; total != 100_000 {
		t.Errorf("there are %d of the raw disk", total)
	}
	a.RemoveNode("n")
	if len(a.made) != 0 {
		t.Errorf("%d disks of a node that is gone", len(a.made))
	}
}
