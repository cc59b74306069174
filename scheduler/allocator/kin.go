package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// kin is the committed allocations of one gang: of one job of a framework. They go together when room is made for others.
type kin struct {
	key     kinKey
	holds   []*hold // in no order
	staying int     // of these, the ones that are not being stopped
	amount  []int64 // of those that stay
	stirred bool    // in Allocator.stirred
}

type kinKey struct {
	framework structs.FrameworkID
	job       string
}

// join lists a committed allocation of a gang with the others.
func (a *Allocator) join(h *hold) {
	key := kinKey{h.client.framework, h.job}
	k := a.kin[key]
	if k == nil {
		k = &kin{key: key}
		a.kin[key] = k
	}
	h.kin = k
	k.holds = append(k.holds, h)
	k.stays(h, 1)
	a.stir(k)
}

// part takes an allocation of a gang out.
func (a *Allocator) part(h *hold) {
	k := h.kin
	h.kin = nil
	k.holds = slices.DeleteFunc(k.holds, func(o *hold) bool { return o == h })
	if !h.leaving {
		k.stays(h, -1)
	}
	if len(k.holds) == 0 {
		delete(a.kin, k.key)
	}
	a.stir(k)
}

func (k *kin) stays(h *hold, sign int) {
	k.staying += sign
	addTo(&k.amount, h.amount, int64(sign))
}

// stir notes that what it costs to stop a gang changed on all its nodes.
func (a *Allocator) stir(k *kin) {
	if !k.stirred {
		k.stirred = true
		a.stirred = append(a.stirred, k)
	}
}

// settleStirred has the nodes of gangs looked at again where somebody may wait for them.
func (a *Allocator) settleStirred() {
	for _, k := range a.stirred {
		k.stirred = false
		for _, h := range k.holds {
			h.node.given = false
			if len(a.reclaims)+len(a.blocked)+len(a.asleep) > 0 {
				a.touch(h.node, true)
			}
		}
	}
	a.stirred = a.stirred[:0]
}

// goingWith returns the allocations that go when h does, itself included: the younger first, as on a node.
func (h *hold) goingWith() []*hold {
	if h.kin == nil {
		return []*hold{h}
	}
	all := slices.DeleteFunc(slices.Clone(h.kin.holds), func(o *hold) bool { return o.leaving })
	slices.SortFunc(all, func(x, y *hold) int {
		return cmp.Or(cmp.Compare(y.created, x.created), strings.Compare(string(y.alloc), string(x.alloc)))
	})
	return all
}

// weight is the amount that goes when h does.
func (h *hold) weight() []int64 {
	if h.kin == nil || h.leaving {
		return h.amount
	}
	return h.kin.amount
}

// givesWayAs returns the band that h is protected by: that of the best protected of those that go with it.
func (h *hold) givesWayAs() structs.Band {
	if h.kin == nil || h.leaving {
		return h.reclaimedAs()
	}
	as := structs.BestEffort
	for _, o := range h.kin.holds {
		if !o.leaving {
			as = max(as, o.reclaimedAs())
		}
	}
	return as
}

// spared reports whether h, or what would go with it, is of an exempt role.
func (h *hold) spared() bool {
	if h.kin == nil || h.leaving {
		return !h.leaving && h.exempt()
	}
	return slices.ContainsFunc(h.kin.holds, func(o *hold) bool { return !o.leaving && o.exempt() })
}

// fresh returns what is not being stopped yet of victims, gangs whole, in order.
func fresh(victims []*hold) (out []*hold) {
	for i, h := range victims {
		if h.leaving || h.kin != nil && slices.ContainsFunc(victims[:i], func(o *hold) bool { return o.kin == h.kin && !o.leaving }) {
			continue
		}
		if h.kin == nil {
			out = append(out, h)
		} else {
			out = append(out, h.goingWith()...)
		}
	}
	return out
}

// oneGang reports whether victims are of one gang, and nothing else.
func oneGang(victims []*hold) bool {
	return victims[0].kin != nil && !slices.ContainsFunc(victims, func(h *hold) bool { return h.kin != victims[0].kin })
}
