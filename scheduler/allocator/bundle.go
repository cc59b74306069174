package allocator

import (
	"encoding/json"
	"math/bits"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Less CPU or memory than this is a crumb: alone it is of no use.
const (
	crumbCPU    = structs.Milli(10)
	crumbMemory = structs.Bytes(32 << 20)
)

// smallest are the bundles of which an offer has at least one when nobody says otherwise.
func smallest() []*structs.QuotaAmount {
	cpu, memory := crumbCPU, crumbMemory
	return []*structs.QuotaAmount{{CPU: &cpu}, {Memory: &memory}}
}

// floor is the least that an offer has: all that it names.
type floor struct {
	structs.Resources
	key string
}

func floorsOf(bundles []*structs.QuotaAmount) (out []floor) {
	for _, b := range bundles {
		var f floor
		raw, _ := json.Marshal(b) // only numbers: it cannot fail
		f.key = string(raw)
		if b.CPU != nil {
			f.CPU = *b.CPU
		}
		if b.Memory != nil {
			f.Memory = *b.Memory
		}
		if b.Disk != nil {
			f.Disk = *b.Disk
		}
		f.Custom = b.Custom
		out = append(out, f)
	}
	return out
}

// met reports whether what have has beyond used is at least f.
func (f *floor) met(have, used *structs.Resources) bool {
	if have.CPU-used.CPU < f.CPU || have.Memory-used.Memory < f.Memory || have.Disk-used.Disk < f.Disk && f.Disk > 0 {
		return false
	}
	for name, v := range f.Custom {
		if have.Custom[name]-used.Custom[name] < v {
			return false
		}
	}
	return true
}

func anyMet(floors []floor, have, used *structs.Resources) bool {
	for i := range floors {
		if floors[i].met(have, used) {
			return true
		}
	}
	return false
}

// refloor takes note of the least that any framework is offered: what nobody would be offered is not looked at.
func (a *Allocator) refloor() {
	floors := slices.Clone(a.smallest)
	for _, c := range a.offering {
		for _, f := range c.terms.floors {
			if !slices.ContainsFunc(floors, func(o floor) bool { return o.key == f.key }) {
				floors = append(floors, f)
			}
		}
	}
	if slices.EqualFunc(floors, a.floors, func(x, y floor) bool { return x.key == y.key }) {
		return
	}
	a.floors = floors
	for _, n := range a.nodes {
		a.reoffer(n)
	}
}

// floorsFor returns the smallest bundles of a framework in a role.
func (a *Allocator) floorsFor(c *client) []floor {
	if c.terms.floors != nil {
		return c.terms.floors
	}
	return a.smallest
}

// reoffer notes whether a node can be offered.
func (a *Allocator) reoffer(n *node) {
	if a.offerable(n) {
		a.open.add(n.Ord)
	} else {
		a.open.remove(n.Ord)
	}
	if n.spare != nil {
		a.reofferSlack(n)
	}
}

// offerable reports whether the rest of a node may be worth an offer to somebody.
func (a *Allocator) offerable(n *node) bool {
	spec := n.Spec()
	if spec == nil || !spec.Schedulable() {
		return false
	}
	avail, used := n.Available(), n.Used()
	if n.room != nil { // somebody may have what is reserved
		used = used.Sub(n.room.unused)
	}
	cpu, memory := avail.CPU-used.CPU, avail.Memory-used.Memory
	if cpu < 0 || memory < 0 {
		return false
	}
	if n.room == nil && n.crumb(&structs.Resources{CPU: cpu, Memory: memory, Ports: n.FreePortCount()}, nil) {
		return false
	}
	return anyMet(a.floors, &avail, &used)
}

// crumb reports whether what is left of a node beside an offer lacks CPU, memory or ports. It waits until the offer has been
// answered, so that nodes are not offered in crumbs; but nobody waits for what is reserved for them.
func (n *node) crumb(free *structs.Resources, v *view) bool {
	if len(n.offers) == 0 || free.CPU >= crumbCPU && free.Memory >= crumbMemory && (free.Ports > 0 || n.Available().Ports == 0) {
		return false
	}
	return n.visible(v).IsZero()
}

// bundle returns what a framework is offered of a node that has free. What limits cut is first a slice of the node, so
// that the offer and the rest are both of use; who refused the slice is offered all that the limits leave.
func (a *Allocator) bundle(w *wish, n *node, free, most structs.Resources, now structs.Time) (structs.Resources, bool) {
	var none structs.Resources
	floors := a.floorsFor(w.client)
	if !most.Fits(free) {
		if s := slice(free, most); anyMet(floors, &s, &none) && !w.refused(n, s, now) {
			return s, true
		}
	}
	return most, anyMet(floors, &most, &none) && !w.refused(n, most, now)
}

// slice cuts CPU, memory, disk and ports in the proportion in which most cuts the scarcest of the first three, memory and
// disk to whole MiB.
func slice(free, most structs.Resources) structs.Resources {
	num, den := int64(1), int64(1)
	for _, x := range [...][2]int64{{int64(most.CPU), int64(free.CPU)}, {int64(most.Memory), int64(free.Memory)}, {int64(most.Disk), int64(free.Disk)}} {
		if x[0] < x[1] && smaller(x[0], x[1], num, den) {
			num, den = x[0], x[1]
		}
	}
	if num == den {
		return most
	}
	const mib = 1 << 20
	most.CPU = structs.Milli(portion(int64(free.CPU), num, den))
	most.Memory = structs.Bytes(portion(int64(free.Memory), num, den)) / mib * mib
	most.Disk = structs.Bytes(portion(int64(free.Disk), num, den)) / mib * mib
	most.Ports = int(portion(int64(free.Ports), num, den))
	return most
}

// smaller reports whether a/b < c/d, exactly; none is negative, b and d are not 0.
func smaller(a, b, c, d int64) bool {
	xh, xl := bits.Mul64(uint64(a), uint64(d))
	yh, yl := bits.Mul64(uint64(c), uint64(b))
	return xh < yh || xh == yh && xl < yl
}

// portion returns v×num/den, rounded down; num is less than den.
func portion(v, num, den int64) int64 {
	hi, lo := bits.Mul64(uint64(v), uint64(num))
	q, _ := bits.Div64(hi, lo, uint64(den)) // num < den and v < 2^63, so hi < den
	return int64(q)
}

// withinLimits cuts a bundle to what the limits of the role leave. When they leave nothing on any node that the framework
// could be offered, it returns the role whose limit it is.
func (a *Allocator) withinLimits(c *client, r structs.Resources) (structs.Resources, *account) {
	for role := c.account.roleOf(); role != nil; role = role.parent {
		if role.shut() || role.userLimit > 0 && c.of.owner == "" {
			return r, role
		}
		for kind := range a.boundedKinds(role) {
			left, bounded := a.leaves(role, c.of.owner, kind)
			if !bounded {
				continue
			}
			if r = a.atMost(r, kind, left); kind == kindCPU && left < int64(crumbCPU) || kind == kindMemory && left < int64(crumbMemory) {
				return r, role
			}
		}
		if !a.reaches(role, c) {
			return r, role
		}
	}
	return r, nil
}

// boundedKinds returns up to which kind of resource a role may have limits.
func (a *Allocator) boundedKinds(role *account) int {
	if role.parts != nil {
		return max(len(role.limit), len(a.total))
	}
	return len(role.limit)
}

// leaves returns what is left of a resource to an owner in a role, under its limit and what it leaves each owner; false when neither
// names the resource.
func (a *Allocator) leaves(role *account, owner string, kind int) (left int64, bounded bool) {
	limit, bounded := role.limit.at(kind)
	if bounded {
		left = max(0, limit-usedOf(role.used, kind))
	}
	if role.parts == nil {
		return left, bounded
	}
	part, is := a.partLeft(role, owner, kind)
	switch {
	case !is:
		return left, bounded
	case !bounded:
		return part, true
	}
	return min(left, part), true
}

// reaches reports whether the limits of a role leave a framework as much as one of its smallest bundles.
func (a *Allocator) reaches(role *account, c *client) bool {
	kinds, floors := a.boundedKinds(role), a.floorsFor(c)
	if kinds == 0 {
		return true
	}
	for i := range floors {
		enough := true
		for kind := range kinds {
			left, bounded := a.leaves(role, c.of.owner, kind)
			if !bounded {
				continue
			}
			var least int64
			if kind < firstCustom {
				least = floors[i].Amount(usualKinds[kind])
			} else {
				least = int64(floors[i].Custom[a.custom[kind-firstCustom]])
			}
			enough = enough && left >= least
		}
		if enough {
			return true
		}
	}
	return false
}

// offering cuts what is free on a node to what a framework may be offered: without volumes that are not of its role.
func (n *node) offering(c *client, free structs.Resources) structs.Resources {
	if spec := n.Spec(); spec != nil {
		free.Sets = spec.OfferedVolumes(c.account.path, free.Sets)
	}
	return positive(free)
}

// positive cuts what is overdrawn to zero, and leaves out custom resources of which nothing is left.
func positive(r structs.Resources) structs.Resources {
	r.CPU, r.Memory, r.Disk, r.Ports = max(0, r.CPU), max(0, r.Memory), max(0, r.Disk), max(0, r.Ports)
	custom := r.Custom
	r.Custom = nil
	for name, v := range custom {
		if v > 0 {
			if r.Custom == nil {
				r.Custom = make(map[string]structs.Milli, len(custom))
			}
			r.Custom[name] = v
		}
	}
	return r
}
