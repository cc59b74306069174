package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Explanation says why an ask fits where it fits and not elsewhere.
type Explanation struct {
	Nodes   int       `json:"nodes"`             // looked at
	Fits    int       `json:"fits"`              // of them
	Reasons []Refusal `json:"reasons,omitempty"` // most nodes first
	Help    []Help    `json:"help,omitempty"`    // most nodes first
}

// Refusal is one reason and how many nodes it holds for. A node may be counted under several.
type Refusal struct {
	Kind    ReasonKind `json:"kind"`
	Subject string     `json:"subject"`
	Nodes   int        `json:"nodes"`
	// Nearest is the reason of the node that misses least: the most free for a resource, the fewest other reasons
	// otherwise; then the lowest name.
	Nearest Reason `json:"nearest"`
	On      string `json:"on"` // name of that node
}

// Help is one change that would make the ask fit on more nodes, each of which refuses for this reason alone.
type Help struct {
	Kind    ReasonKind `json:"kind"`
	Subject string     `json:"subject"`
	AtMost  int64      `json:"at_most,omitempty"` // of a resource, in the unit of Reason; rounded down to whole MiB
	Nodes   int        `json:"nodes"`
}

// Explain evaluates every check of ask on every node.
func Explain(nodes []*Node, existing *Peers, ask *Ask) Explanation {
	type found struct {
		Refusal
		reasons int // of the nearest node
	}
	type key struct {
		kind    ReasonKind
		subject string
	}
	out, memo := Explanation{}, newMemo()
	refusals, alone := map[key]*found{}, map[key][]int64{}
	for _, n := range nodes {
		if n == nil || n.spec == nil {
			continue
		}
		out.Nodes++
		v := check{mode: All, memo: memo}
		if v.run(n, existing, ask); !v.failed {
			out.Fits++
			continue
		}
		for _, r := range v.reasons {
			k := key{r.Kind, r.Subject}
			f := refusals[k]
			if f == nil {
				f = &found{Refusal: Refusal{Kind: r.Kind, Subject: r.Subject, Nearest: r, On: n.Name()}, reasons: len(v.reasons)}
				refusals[k] = f
			}
			f.Nodes++
			nearer := cmp.Or(cmp.Compare(r.Free, f.Nearest.Free), cmp.Compare(f.reasons, len(v.reasons)), cmp.Compare(f.On, n.Name()))
			if nearer > 0 {
				f.Nearest, f.On, f.reasons = r, n.Name(), len(v.reasons)
			}
			if len(v.reasons) == 1 {
				alone[k] = append(alone[k], r.Free)
			}
		}
	}
	for k, f := range refusals {
		out.Reasons = append(out.Reasons, f.Refusal)
		if h, ok := help(k.kind, k.subject, alone[k]); ok {
			out.Help = append(out.Help, h)
		}
	}
	slices.SortFunc(out.Reasons, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	slices.SortFunc(out.Help, func(a, b Help) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

func help(kind ReasonKind, subject string, free []int64) (Help, bool) {
	if len(free) == 0 {
		return Help{}, false
	}
	h := Help{Kind: kind, Subject: subject, Nodes: len(free)}
	if kind == ResourceShort || kind == PortsShort {
		h.AtMost = roundDown(subject, slices.Max(free))
		h.Nodes = 0
		for _, f := range free {
			if f >= h.AtMost {
				h.Nodes++
			}
		}
		return h, h.AtMost > 0
	}
	return h, true
}

// roundDown gives an amount that a person would write.
func roundDown(subject string, n int64) int64 {
	const mib = 1 << 20
	if isSize(subject) && n > mib {
		return n / mib * mib
	}
	return n
}

// String is one line for the sum, one a reason and one for each thing that helps; no line break at the end.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "fits on %d of %d nodes", e.Fits, e.Nodes)
	width := 0
	for _, r := range e.Reasons {
		width = max(width, len(r.String()))
	}
	for _, r := range e.Reasons {
		fmt.Fprintf(&b, "\n  %-*s  %d of %d nodes", width, r, r.Nodes, e.Nodes)
	}
	for _, h := range e.Help {
		fmt.Fprintf(&b, "\n  %s", h)
	}
	return b.String()
}

// String tells the reason with the nearest miss: "memory: 2GiB asked, at most 1.5GiB free on node b".
func (r Refusal) String() string {
	switch r.Kind {
	case ResourceShort, PortsShort:
		free := roundDown(r.Subject, max(0, r.Nearest.Free))
		return fmt.Sprintf("%s: %s asked, at most %s free on node %s", r.Subject, formatAmount(r.Subject, r.Nearest.Asked),
			formatAmount(r.Subject, free), r.On)
	}
	return fmt.Sprintf("%s (node %s)", r.Nearest, r.On)
}

// String says what would help: "fits on 3 nodes if memory <= 1.5GiB".
func (h Help) String() string {
	nodes := fmt.Sprintf("%d nodes", h.Nodes)
	if h.Nodes == 1 {
		nodes = "1 node"
	}
	if h.Kind == ResourceShort || h.Kind == PortsShort {
		return fmt.Sprintf("fits on %s if %s <= %s", nodes, h.Subject, formatAmount(h.Subject, h.AtMost))
	}
	return fmt.Sprintf("fits on %s but for: %s", nodes, Reason{Kind: h.Kind, Subject: h.Subject}.Title())
}

// Books builds the nodes and the peers of one job, among all work that its rules may look at, from records, for an explanation from a snapshot. Ended allocations
// hold nothing.
func Books(specs []*structs.Node, allocs []*structs.Allocation, job *structs.Job) ([]*Node, *Peers) {
	byID := make(map[structs.NodeID]*Node, len(specs))
	nodes, work := make([]*Node, len(specs)), NewWork()
	work.only = jobsOf(job)
	for i, spec := range specs {
		nodes[i] = NewNode(spec.ID, spec)
		nodes[i].Ord = i
		byID[spec.ID] = nodes[i]
	}
	for _, a := range allocs {
		n := byID[a.Node]
		if n == nil || !a.Holds() {
			continue
		}
		n.Hold(a.Resources, a.Ports)
		work.Add(n, a.Job, a.Group, a.Marks, 1)
	}
	return nodes, work.Job(job.Name)
}
