package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// drawNeighbour makes a rule about other work, hard or soft.
func drawNeighbour(t *rapid.T, job *structs.Job, group *structs.Group) {
	operator := rapid.SampledFrom([]string{"beside", "not_beside"}).Draw(t, "operator")
	attribute := rapid.SampledFrom([]string{"", "", "${node.id}", "${meta.rack}", "${node.datacenter}"}).Draw(t, "within")
	mark := rapid.SampledFrom([]string{"tag=noisy", "tag=noisy", "job=j", "job=k/g"}).Draw(t, "mark")
	if rapid.Bool().Draw(t, "hard") {
		c := &structs.Constraint{Attribute: attribute, Operator: operator, Value: mark}
		if rapid.Bool().Draw(t, "of job") {
			job.Constraints = append(job.Constraints, c)
		} else {
			group.Constraints = append(group.Constraints, c)
		}
		return
	}
	group.Affinities = append(group.Affinities, &structs.Affinity{Attribute: attribute, Operator: operator, Value: mark,
		Weight: rapid.SampledFrom([]int{-70, 30, 100}).Draw(t, "weight")})
}

// running is work as the rule is told: what runs where, and what it said of its neighbours.
type running struct {
	n     *Node
	job   *structs.Job
	group *structs.Group
}

func (r running) has(mark string) bool {
	if tag, ok := strings.CutPrefix(mark, "tag="); ok {
		return slices.Contains(r.job.Tags, tag) || slices.Contains(r.group.Tags, tag)
	}
	return mark == "job="+r.job.Name || mark == "job="+r.job.Name+"/"+r.group.Name
}

// together reports whether two nodes are one, or have the same value of an attribute.
func together(a, b *Node, attribute string) bool {
	switch attribute {
	case "", "${node.id}":
		return a == b
	case "${meta.rack}":
		return a.spec != nil && b.spec != nil && a.spec.Meta["rack"] != "" && a.spec.Meta["rack"] == b.spec.Meta["rack"]
	}
	return a.spec != nil && b.spec != nil && a.spec.Datacenter == b.spec.Datacenter
}

// allowed is the rule: whoever must not be beside something is not, whichever of both comes first, and whoever must be is,
// but for the first of those that must be beside themselves.
func allowed(r running, all []running) bool {
	for _, c := range append(slices.Clone(r.job.Constraints), r.group.Constraints...) {
		near, known := false, false
		for _, o := range all {
			known = known || o.has(c.Value) && o.n.spec != nil
			near = near || o.has(c.Value) && together(r.n, o.n, c.Attribute)
		}
		switch c.Operator {
		case "not_beside":
			if near {
				return false
			}
		case "beside":
			first := r.has(c.Value) && !known && together(r.n, r.n, c.Attribute)
			if !near && !first {
				return false
			}
		}
	}
	for _, o := range all {
		for _, c := range append(slices.Clone(o.job.Constraints), o.group.Constraints...) {
			if c.Operator == "not_beside" && r.has(c.Value) && together(r.n, o.n, c.Attribute) {
				return false
			}
		}
	}
	return true
}

// TestNeighbours: rules about other work hold as they are told, whichever comes first, through work that comes and goes and
// nodes that change; and what a node is refused for is said.
func TestNeighbours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []*Node
		drawSpec := func(i int) *structs.Node {
			if rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
				return nil
			}
			spec := testNode()
			spec.ID, spec.Name, spec.Resources = structs.NodeID(fmt.Sprint("n", i)), fmt.Sprint("n", i), structs.Resources{CPU: 1e6, Memory: 1 << 40}
			spec.Meta = map[string]string{"rack": rapid.SampledFrom([]string{"r1", "r2", ""}).Draw(t, "rack")}
			if spec.Meta["rack"] == "" {
				delete(spec.Meta, "rack")
			}
			spec.Datacenter = rapid.SampledFrom([]string{"dc1", "dc2"}).Draw(t, "datacenter")
			return spec
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			nodes = append(nodes, NewNode(structs.NodeID(fmt.Sprint("n", i)), drawSpec(i)))
		}
		type wish struct {
			job   *structs.Job
			group *structs.Group
			ask   *Ask
		}
		var wishes []wish
		for _, name := range []string{"j", "k", "l"} {
			w := wish{job: &structs.Job{Name: name}, group: &structs.Group{Name: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"), Tasks: []*structs.Task{{Name: "t"}}}}
			if rapid.Bool().Draw(t, "tagged") {
				w.job.Tags = []string{"noisy"}
			}
			for range rapid.IntRange(0, 2).Draw(t, "rules") {
				drawNeighbour(t, w.job, w.group)
			}
			var err error
			if w.ask, err = Compile(w.job, w.group); err != nil {
				t.Fatal(err)
			}
			wishes = append(wishes, w)
		}
		work := NewWork()
		var all []running
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
				nodes[i].SetSpec(drawSpec(i))
			case 1:
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "ends")
					r := all[i]
					all = slices.Delete(all, i, i+1)
					ask, _ := Compile(r.job, r.group)
					work.Add(r.n, r.job.Name, r.group.Name, ask.Marks, -1)
				}
			}
			w := rapid.SampledFrom(wishes).Draw(t, "wish")
			ask, peers := w.ask.Among(work), work.Look(w.job.Name)
			for _, n := range nodes {
				if n.spec == nil {
					continue
				}
				verdict, want := Fits(n, peers, ask, All), allowed(running{n, w.job, w.group}, all)
				if verdict.OK != want || Fits(n, peers, ask, First).OK != want {
					t.Fatalf("%s on %s: fits is %v, the rule says %v", w.job.Name, n.ID, verdict, want)
				}
			}
			if best := Best(nodes, peers, ask, nil); best != nil {
				all = append(all, running{best, w.job, w.group})
				work.Add(best, w.job.Name, w.group.Name, ask.Marks, 1)
			}
		}
		for _, r := range all {
			ask, _ := Compile(r.job, r.group)
			work.Add(r.n, r.job.Name, r.group.Name, ask.Marks, -1)
		}
		for _, w := range wishes {
			work.Trim(w.job.Name)
		}
		if work.Len() != 0 {
			t.Fatalf("when all has ended, this is left: %v %v %v", work.jobs, work.by, work.away)
		}
	})
}
