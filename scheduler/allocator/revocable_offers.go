package allocator

import (
	"fmt"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Offers of slack hold nothing of what is free on a node.

// reofferSlack notes whether the slack of a node can be offered.
func (a *Allocator) reofferSlack(n *node) {
	spec, back, none := n.Spec(), n.spareBack(), structs.Resources{}
	if spec != nil && spec.Schedulable() && anyMet(a.floors, &back, &none) {
		a.slackful.add(n.Ord)
	} else {
		a.slackful.remove(n.Ord)
	}
}

// settleSlack rescinds offers of slack of a node that may not be used, or that has less than is held; the newest first.
func (a *Allocator) settleSlack(n *node) {
	x := n.spare
	if x == nil {
		return
	}
	usable, why := n.Spec() != nil && n.Spec().Schedulable(), "the node takes no new work"
	if usable {
		why = "less is reserved and not used than before"
	}
	size, _ := n.slack()
	for len(x.offers) > 0 && (!usable || !x.held.Add(x.offered).Within(size)) {
		a.rescind(x.offers[len(x.offers)-1], why)
	}
}

// makeSlack rescinds the offers of slack that keep a group from being revocable, as makeRoom does with others.
func (a *Allocator) makeSlack(g *group) bool {
	if a.spares == nil || !g.takesSlack() {
		return false
	}
	peers := a.peersFor(g.shape)
	return a.clearOffers(true, func(n *node) bool {
		books := n.spareBooks(false)
		return books != nil && placement.Fits(books, peers, g.shape.ask, placement.First).OK
	})
}

// slackShown says what there is of slack for a framework that takes it.
func (a *Allocator) slackShown(c *client) string {
	switch {
	case !c.terms.slack:
		return ""
	case c.account.exempts():
		return "nothing: its work is exempt from preemption, and what is revocable may be taken back at any time"
	}
	nodes, offered, declined := 0, 0, 0
	for _, n := range a.byOrd {
		if n.gone || n.spare == nil || !a.slackful.has(n.Ord) && len(n.spare.offers) == 0 || !c.shows(n) {
			continue
		}
		nodes++
		back := n.spareBack()
		switch {
		case len(n.spare.offers) > 0:
			offered++
		case c.wishes[slackWish].refused(n, back, a.now):
			declined++
		}
	}
	if nodes == 0 {
		return "no node has enough that is reserved and not used"
	}
	return fmt.Sprintf("nodes where something is reserved and not used: %d; it is offered on %d and was declined on %d", nodes, offered, declined)
}
