package allocator

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// Scalar resources are numbered, so that accounts are short slices: these three, then custom ones as they are met.
const (
	kindCPU = iota
	kindMemory
	kindDisk
	firstCustom
)

var usualKinds = []string{"cpu", "memory", "disk"}

// Kinds returns the names of scalar resources in the order of a Policy's slices.
func (a *Allocator) Kinds() []string { return append(slices.Clone(usualKinds), a.custom...) }

// kindOf returns the number of a resource.
func (a *Allocator) kindOf(name string) int {
	if kind := slices.Index(usualKinds, name); kind >= 0 {
		return kind
	}
	return a.kind(name)
}

// kind returns the number of a custom resource. A disk that was made of a raw one counts as a part of that: a kind of its own would be held whole by
// whoever is offered it, which no share and no bound means, and there would be one more for each disk that was ever made.
func (a *Allocator) kind(name string) int {
	if raw, made := a.made[name]; made {
		name = raw
	}
	for i, known := range a.custom {
		if known == name {
			return firstCustom + i
		}
	}
	a.custom = append(a.custom, name)
	return firstCustom + len(a.custom) - 1
}

// amount returns the scalars of r by kind.
func (a *Allocator) amount(r structs.Resources) []int64 {
	out := make([]int64, firstCustom, firstCustom+len(r.Custom))
	out[kindCPU], out[kindMemory], out[kindDisk] = int64(r.CPU), int64(r.Memory), int64(r.Disk)
	if len(r.Custom) > 0 {
		for _, name := range r.Names() {
			k := a.kind(name)
			for len(out) <= k {
				out = append(out, 0)
			}
			out[k] += int64(r.Custom[name])
		}
	}
	return out
}

// noteMade takes over of which raw disks those were made that a node has.
func (a *Allocator) noteMade(old, now *structs.Node) {
	if old != nil {
		for _, v := range old.Volumes {
			if v.Pool != "" {
				delete(a.made, structs.DiskResource(v.Disk))
			}
		}
	}
	if now == nil {
		return
	}
	for _, v := range now.Volumes {
		if v.Pool != "" {
			a.made[structs.DiskResource(v.Disk)] = structs.DiskResource(v.Pool)
		}
	}
}

// atMost leaves at most so much of one kind. A disk that was made of a raw one is left whole or not at all.
func (a *Allocator) atMost(r structs.Resources, kind int, most int64) structs.Resources {
	switch kind {
	case kindCPU:
		r.CPU = min(r.CPU, structs.Milli(most))
		return r
	case kindMemory:
		r.Memory = min(r.Memory, structs.Bytes(most))
		return r
	case kindDisk:
		r.Disk = min(r.Disk, structs.Bytes(most))
		return r
	}
	left := structs.Milli(max(most, 0))
	keep := func(whole bool) {
		for _, name := range r.Names() {
			if _, made := a.made[name]; made != whole || a.kind(name) != kind {
				continue
			}
			has := r.Custom[name]
			kept := min(has, left)
			if whole && kept < has {
				kept = 0
			}
			if left -= kept; kept < has {
				r = r.Sub(structs.Resources{Custom: map[string]structs.Milli{name: has - kept}})
			}
		}
	}
	keep(true)
	keep(false)
	return r
}
