package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// mayHoldPart refuses a group of which one allocation asks for more than a role leaves to one owner, or to the schedulers of
// frameworks, and a job without an owner where owners are bounded. Bounds that follow from what the region has are not
// looked at: it may grow.
func (t *trees) mayHoldPart(j *structs.Job, g *structs.Group, role string) error {
	ask := g.Ask()
	for name := range upwards(role) {
		r := get(t.roles, name)
		if r == nil {
			continue
		}
		if r.UserLimit > 0 && j.Owner == "" {
			return structs.Errorf(structs.Invalid, jobText(j.Name), "it has no owner, and role %q has a user_limit", name).
				Advise("set owner in the job")
		}
		for _, part := range []struct {
			name   string
			share  structs.Milli
			counts bool
		}{{"user_limit", r.UserLimit, true}, {"max_framework_share", r.MaxFrameworkShare, j.FrameworkScheduler}} {
			if part.share == 0 || !part.counts {
				continue
			}
			for _, resource := range resourcesOf(ask) {
				limit, named := t.limitOf(name, resource)
				if most := structs.PartOf(limit, part.share); named && ask.Amount(resource) > most {
					want, bounded := structs.AmountsText(resource, ask.Amount(resource), most)
					return structs.Errorf(structs.Exhausted, fmt.Sprintf("%s: group %q", jobText(j.Name), g.Name),
						"an allocation asks for %s %s and the %s of role %q leaves %s: it could never run", resource, want, part.name, name, bounded).
						Advise("ask for less, or use another role")
				}
			}
		}
	}
	return nil
}

// resourcesOf names the resources of which r has some, as quotas name them.
func resourcesOf(r structs.Resources) (names []string) {
	for _, name := range append([]string{"cpu", "memory", "disk"}, slices.Sorted(maps.Keys(r.Custom))...) {
		if r.Amount(name) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// limitOf returns the limit of a role for a resource, or of the nearest role above that has one.
func (t *trees) limitOf(role, resource string) (int64, bool) {
	for name := range upwards(role) {
		if r := get(t.roles, name); r != nil {
			if limit, named := r.Limited().Of(resource); named {
				return limit, true
			}
		}
	}
	return 0, false
}

// Part is what one owner, or the schedulers of frameworks together, hold in a role and below it, and what they may.
type Part struct {
	Owner   string            `json:"owner,omitempty"` // empty: the schedulers of frameworks
	Running int               `json:"running"`
	Used    structs.Resources `json:"used"`
	Limit   structs.Resources `json:"limit"` // of each resource that is used, and of cpu and memory
}

// Parts returns the parts of a role that are bounded: of each owner that holds something, in order of name, then of
// framework schedulers. It costs a look at every allocation where a role bounds a part, and at every node.
func (t *trees) Parts(r *structs.Role) (out []*Part) {
	if r.UserLimit == 0 && r.MaxFrameworkShare == 0 {
		return nil
	}
	owners, schedulers := map[string]*Part{}, &Part{}
	for a := range from(t.allocs, "") {
		if !a.Holds() || a.Role != r.Name && !strings.HasPrefix(a.Role, r.Name+"/") {
			continue
		}
		if a.FrameworkScheduler {
			schedulers.add(a)
		}
		if a.Owner != "" {
			if owners[a.Owner] == nil {
				owners[a.Owner] = &Part{Owner: a.Owner}
			}
			owners[a.Owner].add(a)
		}
	}
	var have structs.Resources
	for n := range from(t.nodes, "") {
		if n.Status == structs.NodeReady {
			have = have.Add(n.Available())
		}
	}
	bound := func(p *Part, share structs.Milli) {
		for _, resource := range append([]string{"cpu", "memory"}, resourcesOf(p.Used)...) {
			limit, named := t.limitOf(r.Name, resource)
			if !named {
				limit = have.Amount(resource)
			}
			p.Limit = p.Limit.With(resource, structs.PartOf(limit, share))
		}
		out = append(out, p)
	}
	if r.UserLimit > 0 {
		for _, name := range slices.Sorted(maps.Keys(owners)) {
			bound(owners[name], r.UserLimit)
		}
	}
	if r.MaxFrameworkShare > 0 {
		bound(schedulers, r.MaxFrameworkShare)
	}
	return out
}

func (p *Part) add(a *structs.Allocation) {
	p.Running++
	p.Used = p.Used.Add(a.Resources)
}
