package allocator

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// twinInverse is how a framework stands with the window of a node.
type twinInverse struct {
	node      structs.NodeID
	framework structs.FrameworkID
	window    structs.Window
	id        structs.OfferID
	asked     bool
	accepted  bool
	again     structs.Time
}

func drawMaintenance(t *rapid.T) *structs.Maintenance {
	if rapid.IntRange(0, 3).Draw(t, "maintenance") > 0 {
		return nil
	}
	return &structs.Maintenance{Window: structs.Window{Start: structs.Time(rapid.IntRange(0, 6).Draw(t, "start")) * 10e9,
		Duration: structs.Duration(rapid.IntRange(0, 1).Draw(t, "duration")) * 60e9}}
}

func (w *twin) outlasts(n *placement.Node, ask *placement.Ask) bool {
	m := n.Spec().Maintenance
	return m != nil && (ask.MaxRun == 0 || w.now.Add(ask.MaxRun) > m.Start)
}

// avoid lists the nodes that are taken only when no other fits.
func (w *twin) avoid(nodes map[structs.NodeID]*placement.Node, ask *placement.Ask, slot Slot) []structs.NodeID {
	all := slices.Clone(slot.Avoid)
	for id, n := range nodes {
		if w.outlasts(n, ask) {
			all = append(all, id)
		}
	}
	return all
}

// setNode takes a node over; its offers are made again when its window changed.
func (w *twin) setNode(spec *structs.Node) {
	old := w.nodes[spec.ID]
	w.nodes[spec.ID] = spec
	w.settle(spec.ID)
	w.ripe[spec.ID] = true
	var was, now structs.Window
	if old != nil && old.Maintenance != nil {
		was = old.Maintenance.Window
	}
	if spec.Maintenance != nil {
		now = spec.Maintenance.Window
	}
	if was == now && (old != nil && old.Maintenance != nil) == (spec.Maintenance != nil) {
		return
	}
	for _, offers := range [][]*twinHold{w.roomOffers(), w.slackOffers()} {
		for _, o := range slices.Backward(offers) {
			if o.node == spec.ID {
				w.rescind(o)
			}
		}
	}
}

// unaskAll takes the inverse offers of a node back.
func (w *twin) unaskAll(id structs.NodeID) {
	for _, key := range slices.Sorted(maps.Keys(w.inverse)) {
		if w.inverse[key].node == id {
			w.unask(key)
		}
	}
}

func (w *twin) unask(key string) {
	if x := w.inverse[key]; x.asked {
		w.out = append(w.out, "rescind "+string(x.id))
	}
	delete(w.inverse, key)
}

// askToLeave asks every framework with work on a node that has a window, once, and again when what it declined for is over.
func (w *twin) askToLeave(now structs.Time) {
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		holds := map[structs.FrameworkID]structs.Resources{}
		m := w.nodes[id].Maintenance
		for _, h := range w.holds {
			if _, registered := w.frameworks[h.framework]; registered && m != nil && h.node == id && h.decision == 0 && !h.claim {
				holds[h.framework] = holds[h.framework].Add(h.amount)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(w.inverse)) {
			x := w.inverse[key]
			if _, still := holds[x.framework]; x.node == id && (!still || x.window != m.Window) {
				w.unask(key)
			}
		}
		for _, f := range slices.Sorted(maps.Keys(holds)) {
			key := string(id) + " " + string(f)
			x := w.inverse[key]
			if x == nil {
				x = &twinInverse{node: id, framework: f, window: m.Window}
				w.inverse[key] = x
			}
			if x.again <= now {
				x.again = 0
			}
			if x.asked || x.accepted || x.again != 0 {
				continue
			}
			w.lastOffer++
			x.id, x.asked = structs.OfferID(fmt.Sprintf("%016x%016x", 0, w.lastOffer)), true
			w.out = append(w.out, fmt.Sprintf("leave %s %s %s %v %s", x.id, f, id, x.window, holds[f]))
		}
	}
}

// answerInverse answers one inverse offer of a framework, if it has one.
func (w *twin) answerInverse(t *rapid.T, a *Allocator, f structs.FrameworkID) bool {
	for _, key := range slices.Sorted(maps.Keys(w.inverse)) {
		x := w.inverse[key]
		if x.framework != f || !x.asked {
			continue
		}
		x.asked = false
		var err error
		switch rapid.IntRange(0, 2).Draw(t, "inverse") {
		case 0:
			x.accepted = true
			err = a.AcceptInverse(f, []structs.OfferID{x.id}, w.now)
		case 1:
			x.again = never
			err = a.DeclineInverse(f, []structs.OfferID{x.id}, Filter{}, w.now)
		default:
			x.again = w.now.Add(8e9)
			err = a.DeclineInverse(f, []structs.OfferID{x.id}, Filter{8e9}, w.now)
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	return false
}
