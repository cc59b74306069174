package allocator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// SlackWaiting says what there is for work that may be revocable: what others have reserved and do not use.
type SlackWaiting struct {
	Nodes int           `json:"nodes"`               // that have any
	Most  structs.Slack `json:"most"`                // that one of them has left: the most cores, then the most memory
	Name  string        `json:"node_name,omitempty"` // of that one
}

// slackFor returns what there is for a group; nil when it may not be revocable, or no node says what it does not use.
func (a *Allocator) slackFor(g *group) *SlackWaiting {
	if a.spares == nil || !g.takesSlack() {
		return nil
	}
	w := &SlackWaiting{}
	var best *node
	for n := range a.spares.nodes {
		size, ok := n.slack()
		if !ok || size.IsZero() || !n.Spec().Schedulable() {
			continue
		}
		w.Nodes++
		left := size.Beyond(n.spare.held)
		if best == nil || cmp.Or(cmp.Compare(left.CPU, w.Most.CPU), cmp.Compare(left.Memory, w.Most.Memory), strings.Compare(string(best.ID), string(n.ID))) > 0 {
			best, w.Most, w.Name = n, left, n.Name()
		}
	}
	return w
}

// SlackText tells what of others it might have, and why that is not enough.
func (w *Waiting) SlackText() []string {
	if w.Slack == nil || w.Pending == 0 {
		return nil
	}
	if w.Slack.Nodes == 0 {
		return []string{"no node has anything that is reserved and not used"}
	}
	return []string{fmt.Sprintf("it does not fit with what is reserved and not used either: %s on %s is the most", w.Slack.Most, w.Slack.Name)}
}

// Slack says how the nodes stand that have, or had, something revocable, by name.
func (a *Allocator) Slack() (all []*structs.SlackStatus) {
	if a.spares == nil {
		return nil
	}
	for n := range a.spares.nodes {
		if x, ok := n.slackStatus(); ok {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(x, y *structs.SlackStatus) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(string(x.Node), string(y.Node)))
	})
	return all
}

// SlackOf says how a node stands; nil when nothing on it is, or was said to be, revocable.
func (a *Allocator) SlackOf(id structs.NodeID) *structs.SlackStatus {
	if n := a.nodes[id]; n != nil {
		x, _ := n.slackStatus()
		return x
	}
	return nil
}

func (n *node) slackStatus() (*structs.SlackStatus, bool) {
	if n.spare == nil {
		return nil, false
	}
	size, known := n.slack()
	if !known && n.spare.held.IsZero() {
		return nil, false
	}
	return &structs.SlackStatus{Node: n.ID, Name: n.Name(), Known: known, Size: size, Held: n.spare.held, Leaving: n.spare.leaving}, true
}
