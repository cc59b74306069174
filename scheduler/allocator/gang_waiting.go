package allocator

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
)

// GangWaiting says how far a gang is from being placed.
type GangWaiting struct {
	ID     string `json:"id"`
	Slots  int    `json:"slots"`            // that wait
	Fit    int    `json:"fit"`              // of them, at a time
	Within string `json:"within,omitempty"` // the attribute of which all get one value
	Value  string `json:"value,omitempty"`  // of it, that Fit is about
}

// String says how many would fit; no line break at the end.
func (w *GangWaiting) String() string {
	where := ""
	switch {
	case w.Within != "" && w.Value == "":
		where = fmt.Sprintf(": no node that suits has %s", w.Within)
	case w.Within != "":
		where = fmt.Sprintf(" where %s is %s", w.Within, w.Value)
	}
	return fmt.Sprintf("%d of %d of gang %s would fit%s", w.Fit, w.Slots, w.ID, where)
}

// explainGang tries to place the gang of a part in the value with the most room for its largest part, what is offered counted as free,
// and explains one more of the part on the nodes of that value while those are held that fit.
func (a *Allocator) explainGang(part *request) (*GangWaiting, placement.Explanation) {
	g := part.gang
	w := &GangWaiting{ID: g.id, Within: part.Ask.Within}
	defer a.withoutOffers()()
	defer a.liftSpots(g.lead.group)()
	parts := a.largestFirst(g)
	if len(parts) > 0 {
		rooms := a.roomsOf(parts[0], nil)
		for i, value := range slices.Sorted(maps.Keys(rooms)) {
			if i == 0 || rooms[value] > rooms[w.Value] {
				w.Value = value
			}
		}
	}
	var found []landing
	defer func() { a.unland(found) }()
	for _, r := range parts {
		w.Slots += len(r.pending)
		for _, slot := range r.pending {
			f, ok := a.landing(r, slot, w.Value)
			if !ok {
				break
			}
			found = append(found, f)
		}
	}
	w.Fit = len(found)
	var nodes []*placement.Node
	for _, n := range a.byOrd {
		if n.Spec() == nil {
			continue
		}
		if value, ok := part.Ask.ValueOn(n.Spec()); w.Value == "" || ok && value == w.Value {
			nodes = append(nodes, n.seen(part.group.shape.view, false, false))
		}
	}
	return w, placement.Explain(nodes, a.work.Look(part.Ask.Job), a.inForce(part))
}
