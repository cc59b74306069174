package allocator

import (
	"strings"

	"github.com/proffer/proffer/structs"
)

// tag says in which parts of its roles something counts.
type tag struct {
	owner     string // of its job; nobody's work is in no part
	scheduler bool   // it is the scheduler of a framework
}

// compare orders tags in some way.
func (t tag) compare(o tag) int {
	if t.owner == o.owner && t.scheduler != o.scheduler {
		if t.scheduler {
			return 1
		}
		return -1
	}
	return strings.Compare(t.owner, o.owner)
}

// part is what a role may bound to a share of itself: what one owner holds in it and below, or the schedulers of frameworks.
type part tag

func (p part) String() string {
	if p.scheduler {
		return "framework schedulers"
	}
	return "owner " + p.owner
}

// bounded returns the bounded parts of a role that something counts in, each with the share that it may have.
func (role *account) bounded(t tag) (parts [2]part, shares [2]structs.Milli, n int) {
	if role.userLimit > 0 && t.owner != "" {
		parts[n], shares[n] = part{owner: t.owner}, role.userLimit
		n++
	}
	if role.schedulerLimit > 0 && t.scheduler {
		parts[n], shares[n] = part{scheduler: true}, role.schedulerLimit
		n++
	}
	return parts, shares, n
}

// setParts takes over which parts of a role are bounded, and counts what they hold.
func (a *Allocator) setParts(role *account, userLimit, schedulerLimit structs.Milli) {
	if role.userLimit == userLimit && role.schedulerLimit == schedulerLimit {
		return
	}
	role.userLimit, role.schedulerLimit, role.parts = userLimit, schedulerLimit, nil
	if userLimit == 0 && schedulerLimit == 0 {
		return
	}
	role.parts = map[part][]int64{}
	count := func(h *hold) {
		if h.client.account.below(role) {
			role.countPart(h, 1)
		}
	}
	for _, h := range a.allocs {
		count(h)
	}
	for _, h := range a.decisions {
		count(h)
	}
	for _, placing := range a.placing {
		for _, h := range placing {
			if h.decision == 0 { // a claim
				count(h)
			}
		}
	}
}

// countParts adds what h holds to the parts that it counts in.
func (a *Allocator) countParts(h *hold, sign int64) {
	for role := h.client.account.roleOf(); role != nil; role = role.parent {
		if role.parts != nil {
			role.countPart(h, sign)
		}
	}
}

func (role *account) countPart(h *hold, sign int64) {
	parts, _, n := role.bounded(h.tag)
	for _, p := range parts[:n] {
		used := role.parts[p]
		addTo(&used, h.amount, sign)
		if role.parts[p] = used; sign < 0 && allZero(used) {
			delete(role.parts, p)
		}
	}
}

func allZero(amount []int64) bool {
	for _, v := range amount {
		if v != 0 {
			return false
		}
	}
	return true
}

// partBound is what a part of a role may have of a resource: its share of the role's limit, of that of the nearest role
// above that has one, or of what the region has.
func (a *Allocator) partBound(role *account, share structs.Milli, kind int) int64 {
	for x := role; x != nil; x = x.parent {
		if limit, named := x.limit.at(kind); named {
			return structs.PartOf(limit, share)
		}
	}
	return structs.PartOf(usedOf(a.total, kind), share)
}

// overPart returns the first role, from the leaf up, of which a part would be over its bound with an amount more of a group; nil
// for none.
func (a *Allocator) overPart(g *group, amount []int64) *account {
	for role := g.client.account.roleOf(); role != nil; role = role.parent {
		if role.parts != nil && len(a.partsShort(role, g.tag, amount)) > 0 {
			return role
		}
	}
	return nil
}

// partsShort returns the bounds of parts of one role that an amount more with a tag would be over.
func (a *Allocator) partsShort(role *account, t tag, amount []int64) (out []QuotaShort) {
	parts, shares, n := role.bounded(t)
	for i, p := range parts[:n] {
		for kind, v := range amount {
			if v == 0 {
				continue
			}
			used, bound := usedOf(role.parts[p], kind), a.partBound(role, shares[i], kind)
			if used+v > bound {
				out = append(out, QuotaShort{Role: role.path, Part: p.String(), Resource: a.Kinds()[kind], Bound: bound, Used: used, Asked: v})
			}
		}
	}
	return out
}

// partLeft is what the parts of a role leave an owner of a resource; false when they do not bound it.
func (a *Allocator) partLeft(role *account, owner string, kind int) (left int64, bounded bool) {
	parts, shares, n := role.bounded(tag{owner: owner})
	for i, p := range parts[:n] {
		left, bounded = max(0, a.partBound(role, shares[i], kind)-usedOf(role.parts[p], kind)), true
	}
	return left, bounded
}
