package allocator

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// inverse is how a framework stands with the window of a node on which it has work.
type inverse struct {
	structs.InverseOffer
	node    *node
	asked   bool         // and nothing was answered yet
	again   structs.Time // when it is asked again; 0: never
	againAt int          // in byAgain
}

// window returns the window of a node, or nil.
func (n *node) window() *structs.Maintenance {
	if spec := n.Spec(); spec != nil {
		return spec.Maintenance
	}
	return nil
}

// rewindow takes note of a changed window of a node. Its offers are made again, so that they say it.
func (a *Allocator) rewindow(n *node, old *structs.Maintenance) {
	now := n.window()
	if old == now || old != nil && now != nil && old.Window == now.Window && old.Began == now.Began {
		return
	}
	a.windows = slices.DeleteFunc(a.windows, func(o *node) bool { return o == n })
	if now != nil {
		a.windows = append(a.windows, n)
	}
	a.restate(n)
	if old != nil && now != nil && old.Window == now.Window {
		return
	}
	const why = "the maintenance of the node changed"
	a.rescindAll(n.offers, why)
	if n.spare != nil {
		a.rescindAll(n.spare.offers, why)
	}
}

// avoid returns the nodes on which a slot is placed only when it fits on no other: its own, and those whose window it
// would outlast.
func (a *Allocator) avoid(s *shape, slot Slot) []structs.NodeID {
	if len(a.windows) == 0 {
		return slot.Avoid
	}
	all := slices.Clip(slot.Avoid)
	for _, n := range a.windows {
		if a.outlasts(s, n) {
			all = append(all, n.ID)
		}
	}
	return all
}

// outlasts reports whether what is placed on a node now would still run when its window starts.
func (a *Allocator) outlasts(s *shape, n *node) bool {
	m := n.window()
	return m != nil && m.Outlasts(a.now, s.ask.MaxRun)
}

// restate has the inverse offers of a node looked at in the next Step.
func (a *Allocator) restate(n *node) {
	if !n.stale && (n.window() != nil || len(n.inverse) > 0) {
		n.stale = true
		a.stale = append(a.stale, n)
	}
}

// askToLeave makes the inverse offers that are missing and takes back those that say nothing any more.
func (a *Allocator) askToLeave(now structs.Time) {
	for a.byAgain.len() > 0 && a.byAgain.top().again <= now {
		x := a.byAgain.top()
		a.byAgain.remove(x)
		x.again = 0
		a.restate(x.node)
	}
	stale := a.stale
	a.stale = nil
	slices.SortFunc(stale, func(x, y *node) int { return strings.Compare(string(x.ID), string(y.ID)) })
	for _, n := range stale {
		n.stale = false
		a.ask(n, now)
	}
}

func (a *Allocator) ask(n *node, now structs.Time) {
	holds := map[structs.FrameworkID]structs.Resources{}
	window := n.window()
	if window != nil && !n.gone {
		for _, h := range n.allocs {
			if id := h.client.framework; a.frameworks[id] != nil {
				holds[id] = holds[id].Add(h.resources)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(n.inverse)) {
		if _, still := holds[id]; !still || n.inverse[id].Unavailable != window.Window {
			a.unask(n.inverse[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(holds)) {
		x := n.inverse[id]
		if x != nil && (x.asked || x.again != 0 || x.Answer == structs.InverseAccepted) {
			continue
		}
		if x == nil {
			x = &inverse{node: n, againAt: -1, InverseOffer: structs.InverseOffer{Framework: id, Node: n.ID, NodeName: n.Name(),
				Unavailable: window.Window, Answer: structs.InversePending}}
			if n.inverse == nil {
				n.inverse = map[structs.FrameworkID]*inverse{}
			}
			n.inverse[id] = x
		}
		a.lastOffer++
		x.ID, x.Made, x.Resources, x.asked = a.offerID(), now, holds[id], true
		a.inverse[x.ID] = x
		made := x.InverseOffer
		a.out = append(a.out, Decision{Inverse: &made})
	}
}

// offerID returns the id of the newest offer.
func (a *Allocator) offerID() structs.OfferID {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], a.options.Term)
	binary.BigEndian.PutUint64(raw[8:], a.lastOffer)
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return structs.OfferID(text[:])
}

// unask forgets an inverse offer, and takes it back when it was not answered.
func (a *Allocator) unask(x *inverse) {
	delete(x.node.inverse, x.Framework)
	if x.again != 0 {
		a.byAgain.remove(x)
	}
	if x.asked {
		delete(a.inverse, x.ID)
		a.out = append(a.out, Decision{Rescind: &Rescind{Offer: x.ID, Framework: x.Framework, Why: "the maintenance changed, or nothing is left on the node", Inverse: true}})
	}
}

// restateAll looks at all windows again, because a framework came or went.
func (a *Allocator) restateAll() {
	for _, n := range a.windows {
		a.restate(n)
	}
}

// AcceptInverse and DeclineInverse record what a framework says to inverse offers. Those that ended already are passed over;
// one that was made to another framework is an error, and nothing changes. A declined one is made again after the time of
// the filter, or when the framework revives; without a filter only then.
func (a *Allocator) AcceptInverse(id structs.FrameworkID, offers []structs.OfferID, now structs.Time) error {
	return a.answerInverse(id, offers, structs.InverseAccepted, Filter{}, now)
}

// DeclineInverse: see AcceptInverse.
func (a *Allocator) DeclineInverse(id structs.FrameworkID, offers []structs.OfferID, f Filter, now structs.Time) error {
	return a.answerInverse(id, offers, structs.InverseDeclined, f, now)
}

func (a *Allocator) answerInverse(id structs.FrameworkID, offers []structs.OfferID, answer string, f Filter, now structs.Time) error {
	for _, name := range offers {
		if x := a.inverse[name]; x != nil && x.Framework != id {
			return structs.Errorf(structs.Forbidden, "inverse offer "+string(name), "was made to another framework")
		}
	}
	for _, name := range offers {
		x := a.inverse[name]
		if x == nil {
			continue
		}
		delete(a.inverse, name)
		x.asked, x.Answer, x.Answered = false, answer, now
		if answer == structs.InverseDeclined {
			x.again = never
			if f.Refuse > 0 {
				x.again = now.Add(min(f.Refuse, MaxRefuse))
			}
			a.byAgain.push(x)
		}
	}
	return nil
}

// never is later than any time.
const never = structs.Time(1<<63 - 1)

// askAgain ends the filters on inverse offers of a framework.
func (a *Allocator) askAgain(id structs.FrameworkID) {
	for _, n := range a.windows {
		if x := n.inverse[id]; x != nil && x.again != 0 {
			a.byAgain.remove(x)
			x.again = 0
			a.restate(n)
		}
	}
}

// InverseOffers returns how frameworks stand with the windows of nodes on which they have work, by node and framework.
func (a *Allocator) InverseOffers() []*structs.InverseOffer {
	all := []*structs.InverseOffer{}
	for _, n := range a.windows {
		for _, x := range n.inverse {
			said := x.InverseOffer
			all = append(all, &said)
		}
	}
	slices.SortFunc(all, func(x, y *structs.InverseOffer) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Framework, y.Framework))
	})
	return all
}
