package allocator

import "github.com/proffer/proffer/structs"

// wish is that a framework wants to be offered one kind of room in one role: what is free on nodes, or their slack. Each has filters
// and a back-off of its own.
type wish struct {
	client   *client
	group    *group // its place in the order
	slack    bool   // of what is reserved and not used; only when the terms say that it takes what is revocable
	todo     bitset // nodes to look at, by Ord
	cut      bitset // nodes that a filter covers because a limit cut the bundle
	filters  map[*node][]*filter
	refusals int     // how many filters there are
	streaks  streaks // of offers that it left unused
}

// The wishes of a client that wants offers, by place.
const (
	roomWish = iota
	slackWish
)

func newWish(c *client, slack bool) *wish {
	w := &wish{client: c, slack: slack, group: &group{client: c, band: offerPriority.Band, at: -1}}
	if w.group.wish = w; slack {
		w.group.band = structs.BestEffort
	}
	return w
}

// openTo returns the nodes that could be offered for a wish.
func (a *Allocator) openTo(w *wish) bitset {
	switch {
	case !w.slack:
		return a.open
	case w.client.terms.slack:
		return a.slackful
	}
	return nil
}

// free returns what a node has of what is wished for; false when nothing of it is offered now.
func (w *wish) free(n *node) (structs.Resources, bool) {
	if w.slack {
		back := n.spareBack()
		return back, !back.IsZero()
	}
	free := n.freeFor(w.client.view)
	if free.CPU < 0 || free.Memory < 0 || n.crumb(&free, w.client.view) {
		return free, false
	}
	return n.offering(w.client, free), true
}

// pause has a wish wait until there may be something for it.
func (a *Allocator) pause(w *wish) {
	w.group.blocked = true
	a.dequeue(w.group)
}

// wakeWish lets a wish be served when there may be something for it.
func (a *Allocator) wakeWish(w *wish) {
	if w.client.suppressed || w.todo.firstInBoth(a.openTo(w)) < 0 {
		return
	}
	w.group.blocked = false
	a.enqueue(w.group)
}

// wakeSlack lets the frameworks below a role look again whether they may have slack.
func (a *Allocator) wakeSlack(role *account) {
	for _, c := range a.offering {
		if c.account.below(role) {
			a.wakeWish(c.wishes[slackWish])
		}
	}
}

// cutShort notes that a framework does not see a node only because limits cut the bundle: more room below them reopens it.
func (w *wish) cutShort(ord int) {
	w.cut.add(ord)
	for role := w.client.account.roleOf(); role != nil; role = role.parent {
		if role.limit != nil || role.parts != nil {
			role.cut[w] = true
		}
	}
}

// reopenCut lets those look again whose bundles a limit cut.
func (a *Allocator) reopenCut(role *account) {
	for w := range role.cut {
		delete(role.cut, w)
		w.todo.unite(w.cut)
		w.cut = nil
		a.wakeWish(w)
	}
}
