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

// kind returns the number of a custom resource.
func (a *Allocator) kind(name string) int {
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
			out[k] = int64(r.Custom[name])
		}
	}
	return out
}
