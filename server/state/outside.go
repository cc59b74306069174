package state

import (
	"cmp"

	"github.com/proffer/proffer/structs"
)

// outsideKey finds the volume that is what a storage calls by a name. A storage has each in one record at most, see secondRecord.
type outsideKey struct{ plugin, external, volume string }

func (k outsideKey) less(l outsideKey) bool {
	return cmp.Or(cmp.Compare(k.plugin, l.plugin), cmp.Compare(k.external, l.external), cmp.Compare(k.volume, l.volume)) < 0
}

// outsideOf returns the key of a volume; false: no storage has it, or did not say yet what it calls it.
func outsideOf(v any) (outsideKey, bool) {
	volume, _ := v.(*structs.Volume)
	if volume == nil || volume.CSI == nil || volume.CSI.External == "" {
		return outsideKey{}, false
	}
	return outsideKey{volume.CSI.Plugin, volume.CSI.External, volume.Name}, true
}

// indexVolume keeps the index of what storages call volumes.
func (t *trees) indexVolume(old, new any) (d dirty) {
	was, had := outsideOf(old)
	is, has := outsideOf(new)
	if had == has && was == is {
		return 0
	}
	if had {
		t.byOutside.Delete(was)
	}
	if has {
		t.byOutside.Set(is)
	}
	return dirtyByOutside
}

// outside returns the volume that is what a storage calls by that name; nil: there is none.
func (t *trees) outside(plugin, external string) (v *structs.Volume) {
	t.byOutside.Ascend(outsideKey{plugin: plugin, external: external}, func(k outsideKey) bool {
		if external != "" && k.plugin == plugin && k.external == external {
			v = get(t.volumes, k.volume)
		}
		return false
	})
	return v
}

// Outside returns the volume that is what a storage calls by that name, or nil.
func (s *Snapshot) Outside(plugin, external string) *structs.Volume {
	return s.outside(plugin, external)
}
