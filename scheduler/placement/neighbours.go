package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// neighbour is a rule about the work that runs on a node, or on all nodes with the same value of an attribute.
type neighbour struct {
	attribute string   // as the user wrote it; empty: the node itself
	where     template // of attribute
	mark      structs.Mark
	key       string // of Work.by
	near      bool   // beside; false: not_beside
	own       bool   // the ask has the mark itself: where nothing else has it, the first one may go anywhere
	kept      bool   // nobody wrote it: it is what running work says of those with mark
	weight    int64  // of a wish; 0: it must hold
	note      string // when it relaxes, or hardened
}

// String is the rule as a user would write it.
func (r *neighbour) String() string {
	s := r.mark.String()
	if !r.kept {
		s = map[bool]string{true: "beside ", false: "not_beside "}[r.near] + s
	}
	if r.attribute != "" {
		s += " within " + r.attribute
	}
	return s + r.note
}

func (r *neighbour) wide() bool { return r.attribute != "" }

// scope says what of Peers counts for r, and the group of it: all, but where a mark names a group of a job.
func (r *neighbour) scope() (scope, string) {
	if r.mark.Group != "" && !r.kept {
		return ofGroup, r.mark.Group
	}
	return ofJob, ""
}

// on returns how many allocations r is about on a node, of those that peers finds.
func (r *neighbour) on(p *Peers, id structs.NodeID) int {
	s, group := r.scope()
	return p.on(id, s, group)
}

// addNeighbour adds a rule of the user; weight 0 is a constraint.
func (a *Ask) addNeighbour(attribute, operator, value string, weight int64, note string) error {
	mark, err := structs.ParseMark(value)
	if err != nil {
		return err
	}
	r := neighbour{attribute: attribute, mark: mark, key: mark.String(), near: operator == "beside", weight: weight, note: note}
	if attribute == "${node.id}" {
		r.attribute = ""
	}
	r.own = r.near && weight == 0 && a.has(mark)
	return a.include(r)
}

func (a *Ask) include(r neighbour) (err error) {
	if !r.wide() {
		a.here = append(a.here, r)
		return nil
	}
	if r.where, err = parseTemplate(r.attribute); err != nil {
		return err
	}
	if _, constant := r.where.constant(); constant {
		return fmt.Errorf("%q is not an attribute such as ${meta.rack}", r.attribute)
	}
	a.unique = a.unique || r.where.unique()
	a.wide = append(a.wide, r)
	return nil
}

// has reports whether allocations of the ask have a mark.
func (a *Ask) has(m structs.Mark) bool {
	if m.Tag != "" {
		return a.Marks != nil && slices.Contains(a.Marks.Tags, m.Tag)
	}
	return m.Job == a.Job && (m.Group == "" || m.Group == a.Group)
}

// marks returns the marks that allocations of the ask have.
func (a *Ask) marks() []string {
	own := []string{structs.Mark{Job: a.Job}.String(), structs.Mark{Job: a.Job, Group: a.Group}.String()}
	if a.Marks != nil {
		for _, tag := range a.Marks.Tags {
			own = append(own, structs.Mark{Tag: tag}.String())
		}
	}
	return own
}

// Marked reports whether allocations of the ask have one of some marks.
func (a *Ask) Marked(marks []string) bool {
	return slices.ContainsFunc(a.marks(), func(m string) bool { return slices.Contains(marks, m) })
}

// MarksOf returns the marks of an allocation, as Wants has them.
func MarksOf(job, group string, marks *structs.Marks) []string {
	return (&Ask{Job: job, Group: group, Marks: marks}).marks()
}

// Wants returns the marks that must be near for the ask to fit: when such work comes, it may fit where it did not before.
func (a *Ask) Wants() (out []string) {
	for _, list := range [][]neighbour{a.here, a.wide} {
		for i := range list {
			if r := &list[i]; r.near && r.weight == 0 {
				out = append(out, r.mark.String())
			}
		}
	}
	return out
}

// Among returns the ask as running work leaves it: what must not be beside it keeps away from its node, and it keeps that
// off in turn (the rule is symmetric). The result is another ask for as long as somebody keeps off work with its marks. What
// Among said already is not said again.
func (a *Ask) Among(w *Work) *Ask {
	if w == nil || len(w.away) == 0 {
		return a
	}
	b := a
	for _, text := range a.marks() {
		for _, attribute := range sortedKeys(w.away[text]) {
			mark, err := structs.ParseMark(text)
			r := neighbour{attribute: attribute, mark: mark, key: awayKey(attribute, text), kept: true}
			if err != nil || strings.Contains(a.kept, "\n"+r.key+"\n") {
				continue
			}
			if b == a {
				clone := *a
				b = &clone
				b.here, b.wide = slices.Clip(a.here), slices.Clip(a.wide)
			}
			if b.include(r) == nil { // else it is not of this version's grammar, and keeps nobody off
				b.kept += "\n" + r.key + "\n"
			}
		}
	}
	if b != a {
		b.finish()
	}
	return b
}

// peers returns where the work is that a rule is about; nil is nowhere.
func (r *neighbour) peers(existing *Peers) *Peers {
	switch w := existing.Work(); {
	case w == nil:
		return nil
	case r.mark.Job != "" && !r.kept:
		return w.jobs[r.mark.Job]
	default:
		return w.by[r.key]
	}
}

// met reports whether the work around n is as r wants it.
func (r *neighbour) met(n *Node, existing *Peers, m *memo) bool {
	p := r.peers(existing)
	scope, group := r.scope()
	if r.near && r.own && m.known(p, scope, group) == 0 {
		if !r.wide() {
			return true
		}
		_, ok := r.where.resolve(n.spec)
		return ok
	}
	if !r.wide() {
		return (r.on(p, n.ID) > 0) == r.near
	}
	value, ok := r.where.resolve(n.spec)
	return (ok && m.with(p, r.where, r.attribute, value, scope, group) > 0) == r.near
}

// who names work that a rule is about around n: "job crunch"; empty when there is none.
func (r *neighbour) who(n *Node, existing *Peers) string {
	p := r.peers(existing)
	if r.mark.Tag == "" && !r.kept {
		return "" // the mark names it
	}
	value, ok := "", true
	if r.wide() {
		value, ok = r.where.resolve(n.spec)
	}
	name := p.first(func(o *Node) bool {
		if !r.wide() {
			return o.ID == n.ID
		}
		if !ok || o.spec == nil {
			return false
		}
		v, known := r.where.resolve(o.spec)
		return known && v == value
	})
	if name == "" {
		return ""
	}
	return "job " + name
}

// reason is what a rule has against a node.
func (r *neighbour) reason(n *Node, existing *Peers) Reason {
	switch {
	case r.kept:
		return Reason{Kind: KeptAway, Subject: r.String(), Have: r.who(n, existing)}
	case r.near:
		return Reason{Kind: NotBeside, Subject: r.String()}
	}
	return Reason{Kind: Beside, Subject: r.String(), Have: r.who(n, existing)}
}

// neighbours checks the rules about other work that must hold, of the node itself or of what reaches further.
func (c *check) neighbours(n *Node, existing *Peers, list []neighbour) bool {
	for i := range list {
		r := &list[i]
		if r.weight != 0 || c.mode == Alone && r.own || r.met(n, existing, c.memo) {
			continue
		}
		if c.mode == All && r.kept && slices.ContainsFunc(list[:i], func(o neighbour) bool {
			return !o.kept && !o.near && o.weight == 0 && o.mark == r.mark && o.attribute == r.attribute && !o.met(n, existing, c.memo)
		}) {
			continue // it says so itself already
		}
		if c.refuse(r.reason(n, existing)) {
			return true
		}
	}
	return false
}

// wish scores the rules about other work that should hold.
func (a *Ask) wish(n *Node, existing *Peers) (sum int64) {
	for _, list := range [][]neighbour{a.here, a.wide} {
		for i := range list {
			if r := &list[i]; r.weight != 0 && r.met(n, existing, nil) {
				sum += r.weight * perAffinity
			}
		}
	}
	return sum
}

// memo remembers counts while many nodes are checked and nothing changes. Nil counts each time.
type memo struct {
	values map[memoKey]map[string]int // by value
	sums   map[memoKey]int            // on all nodes that are known
}

type memoKey struct {
	peers     *Peers
	scope     scope
	group     string
	attribute string // as written; empty in sums
}

func newMemo() *memo { return &memo{map[memoKey]map[string]int{}, map[memoKey]int{}} }

// with is Peers.with.
func (m *memo) with(p *Peers, t template, text, value string, s scope, group string) int {
	if m == nil || p == nil {
		return p.with(t, value, s, group)
	}
	key := memoKey{p, s, group, text}
	counts, ok := m.values[key]
	if !ok {
		counts = map[string]int{}
		for id, on := range p.nodes {
			if on.node.spec == nil {
				continue
			}
			if v, known := t.resolve(on.node.spec); known {
				counts[v] += p.on(id, s, group)
			}
		}
		m.values[key] = counts
	}
	return counts[value]
}

// known is Peers.known.
func (m *memo) known(p *Peers, s scope, group string) int {
	if m == nil || p == nil {
		return p.known(s, group)
	}
	key := memoKey{p, s, group, ""}
	n, ok := m.sums[key]
	if !ok {
		n = p.known(s, group)
		m.sums[key] = n
	}
	return n
}
