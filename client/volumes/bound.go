package volumes

import (
	"path/filepath"
	"slices"

	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/structs"
)

// bound makes the size of a volume on the disk of the data folder the bound of what is in it, where the node has quotas.
func (v *Volumes) bound(id structs.VolumeID, size structs.Bytes) error {
	if v.Limits == nil || v.Limits.Mode() != disk.Quota || size == 0 || filepath.Dir(v.path(id)) != v.dir {
		return nil
	}
	_, err := v.Limits.Bound(v.path(id, dataFolder), "volume "+string(id), size)
	return err
}

// Held is a volume that allocations have for writing, on a disk that others share: that of the data folder, or a path disk. One on a mount
// disk has a file system for itself.
type Held struct {
	Name    string
	Folder  string
	Size    structs.Bytes
	Writers []structs.AllocID
}

// shared are the volumes of those disks. The caller holds mu.
func (v *Volumes) shared() []structs.VolumeID {
	ids := idsIn(v.dir)
	if all := v.disks.Load(); all != nil {
		for _, d := range *all {
			if d.Type == structs.DiskPath {
				ids = append(ids, idsIn(filepath.Join(d.Path, diskFolder))...)
			}
		}
	}
	return ids
}

// Held returns those.
func (v *Volumes) Held() (out []Held) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range v.shared() {
		claims, err := v.claims(id)
		if err != nil || len(claims) == 0 {
			continue
		}
		rec, err := v.record(id)
		if err != nil || rec.Size == 0 {
			continue
		}
		h := Held{Name: rec.Name, Folder: v.path(id, dataFolder), Size: rec.Size}
		for alloc, c := range claims {
			if alloc = allocOf(alloc); !c.Reads && !slices.Contains(h.Writers, alloc) {
				h.Writers = append(h.Writers, alloc)
			}
		}
		if len(h.Writers) > 0 {
			out = append(out, h)
		}
	}
	return out
}
