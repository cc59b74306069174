package state

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// putRoles stores roles, all of them or none. The tree that comes of it must not contradict itself, may promise no more
// than there is, and has no bound below what is in use; the last two with force all the same.
func (tx *Tx) putRoles(roles []*structs.Role, force bool) (any, error) {
	if len(roles) == 0 {
		return nil, structs.Errorf(structs.Invalid, "roles", "there are none")
	}
	seen := make(map[string]bool, len(roles))
	for _, r := range roles {
		if r == nil || !structs.ValidRole(r.Name) {
			return nil, structs.Errorf(structs.Invalid, "role", "its name is not valid")
		}
		if seen[r.Name] {
			return nil, structs.Errorf(structs.Invalid, roleText(r.Name), "it is there twice")
		}
		seen[r.Name] = true
		checked := *r
		checked.Canonicalize()
		if err := checked.Validate(); err != nil {
			return nil, structs.Errorf(structs.Invalid, roleText(r.Name), "%w", err)
		}
	}
	before := tx.promises()
	var changed, old []*structs.Role
	for _, role := range roles {
		r, was := *role, get(tx.roles, role.Name)
		r.Implicit, r.CreateIndex, r.ModifyIndex = false, tx.Index, tx.Index
		if was != nil {
			r.CreateIndex = was.CreateIndex
			tx.put(Roles, was, &r)
		} else {
			tx.put(Roles, nil, &r)
		}
		changed, old = append(changed, &r), append(old, was)
	}
	after := tx.promises()
	if err := tx.contradiction(after); err != nil {
		return nil, err
	}
	if force {
		return tx.receipt(), nil
	}
	if err := tx.tooMuchPromised(before, after); err != nil {
		return nil, err
	}
	for i, r := range changed {
		if err := tx.againstUse(old[i], r); err != nil {
			return nil, err
		}
	}
	return tx.receipt(), nil
}

func roleText(name string) string { return fmt.Sprintf("role %q", name) }

// promises are guaranteed amounts by resource, of each role; "" is the region.
type promises struct {
	of    map[string]map[string]int64 // of a role: its own guarantee, or the sum of those below where it names none
	below map[string]map[string]int64 // the sum of those directly below
}

// promises adds up what the roles are guaranteed.
func (tx *Tx) promises() promises {
	p := promises{of: map[string]map[string]int64{}, below: map[string]map[string]int64{}}
	all := slices.Collect(from(tx.roles, ""))
	for _, r := range slices.Backward(all) { // what is below a role comes behind it
		of := maps.Clone(p.below[r.Name])
		for resource, v := range r.Guaranteed().All() {
			if of == nil {
				of = map[string]int64{}
			}
			of[resource] = v
		}
		if len(of) == 0 {
			continue
		}
		p.of[r.Name] = of
		above := ""
		for name := range upwards(r.Name) {
			if name != r.Name && get(tx.roles, name) != nil {
				above = name
				break
			}
		}
		sum := p.below[above]
		if sum == nil {
			sum = map[string]int64{}
			p.below[above] = sum
		}
		for resource, v := range of {
			sum[resource] += min(v, math.MaxInt64-sum[resource])
		}
	}
	return p
}

// contradiction finds a role whose guarantee is less than those below it add up to, or whose limit is less than what is
// guaranteed in it.
func (tx *Tx) contradiction(p promises) error {
	for r := range from(tx.roles, "") {
		for resource, v := range r.Guaranteed().All() {
			if sum := p.below[r.Name][resource]; sum > v {
				own, theirs := structs.AmountsText(resource, v, sum)
				return structs.Errorf(structs.Conflict, roleText(r.Name), "its guarantee of %s %s is less than the %s that the roles below it are guaranteed",
					resource, own, theirs).
					Advise("raise it, or lower theirs in the same change")
			}
		}
		for resource, v := range r.Limited().All() {
			if sum := p.of[r.Name][resource]; sum > v {
				limit, promised := structs.AmountsText(resource, v, sum)
				return structs.Errorf(structs.Conflict, roleText(r.Name), "its limit of %s %s is less than the %s that is guaranteed in it",
					resource, limit, promised)
			}
		}
	}
	return nil
}

// tooMuchPromised refuses guarantees that were raised above what the ready nodes have. Those that were above it before,
// because nodes went, stand in the way of nothing else.
func (tx *Tx) tooMuchPromised(before, after promises) error {
	raised := slices.DeleteFunc(slices.Sorted(maps.Keys(after.below[""])), func(resource string) bool {
		return after.below[""][resource] <= before.below[""][resource]
	})
	if len(raised) == 0 {
		return nil
	}
	var have structs.Resources
	for n := range from(tx.nodes, "") {
		if n.Status == structs.NodeReady {
			have = have.Add(n.Available())
		}
	}
	for _, resource := range raised {
		if sum := after.below[""][resource]; sum > have.Amount(resource) {
			promised, there := structs.AmountsText(resource, sum, have.Amount(resource))
			return structs.Errorf(structs.Conflict, "roles", "all guarantees together would be %s %s and the ready nodes have %s",
				resource, promised, there).
				Advise("guarantee less, add nodes, or force it")
		}
	}
	return nil
}

// useBelow adds up what a role and those below it hold and want.
func (t *trees) useBelow(role string) (sum RoleUse) {
	if u := get(t.roleUse, role); u != nil {
		sum.add(u)
	}
	t.roleUse.Ascend(role+"/", func(name string, u *RoleUse) bool {
		if !strings.HasPrefix(name, role+"/") {
			return false
		}
		sum.add(u)
		return true
	})
	return sum
}

func (u *RoleUse) add(o *RoleUse) {
	u.Allocs += o.Allocs
	u.Resources, u.Slack = u.Resources.Add(o.Resources), u.Slack.Add(o.Slack)
	u.Jobs += o.Jobs
	u.Placed += o.Placed
	u.Wanted += o.Wanted
	u.Pending += max(0, o.Wanted-o.Placed)
}

// useRole changes what a role holds and wants.
func (t *trees) useRole(role string, change func(*RoleUse)) {
	if role == "" {
		return
	}
	u := RoleUse{}
	if old := get(t.roleUse, role); old != nil {
		u = *old
	}
	change(&u)
	if u.Allocs == 0 && u.Jobs == 0 && u.Placed == 0 && u.Wanted == 0 {
		t.roleUse.Delete(role)
	} else {
		t.roleUse.Set(role, &u)
	}
}

// unusedRoles returns up to most of the roles that were made on first use and that nothing uses any more.
func (tx *Tx) unusedRoles(most int) (list []*structs.Role) {
	var named map[string]bool // by frameworks and reservations; made when there is a role to look for
	for r := range from(tx.roles, "") {
		if !r.Implicit || get(tx.roleUse, r.Name) != nil {
			continue
		}
		if named == nil {
			named = tx.namedRoles()
		}
		if named[r.Name] {
			continue
		}
		if list = append(list, r); len(list) == most {
			break
		}
	}
	return list
}

// namedRoles returns the roles that frameworks, reservations, volumes and variables are for.
func (tx *Tx) namedRoles() map[string]bool {
	named := map[string]bool{}
	for v := range from(tx.volumes, "") {
		named[v.Role] = true
	}
	tx.variableUse.Scan(func(owner string, _ *structs.VariableUse) bool {
		named[owner] = true
		return true
	})
	for f := range from(tx.frameworks, "") {
		for _, role := range f.Roles {
			named[role] = true
		}
	}
	for r := range from(tx.reservations, "") {
		named[r.Role] = true
	}
	return named
}

func (u *Usage) hold(amount structs.Resources, slack structs.Slack, sign int) {
	u.Allocs += sign
	if sign > 0 {
		u.Resources, u.Slack = u.Resources.Add(amount), u.Slack.Add(slack)
	} else {
		u.Resources, u.Slack = u.Resources.Sub(amount), u.Slack.Sub(slack)
	}
}

// placed reports whether a takes the place of one that its job wants.
func placed(a *structs.Allocation) bool {
	return a != nil && a.Job != "" && !a.Ended() && a.Desired == structs.DesiredRun
}

// wants counts the allocations that a job should have now.
func (t *trees) wants(r *structs.JobRecord) (n int) {
	if r.Stopped || r.Ended != 0 {
		return 0
	}
	v := t.version(r.Name, r.Version)
	if v == nil {
		return 0
	}
	for _, g := range v.Job.Groups {
		count := r.CountOf(g)
		n += max(0, count-below(r.Finished[g.Name], count)-below(r.FailedFor[g.Name], count))
	}
	return n
}

// upwards yields a role and those above it, the lowest first.
func upwards(role string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for role != "" && yield(role) {
			role = role[:max(0, strings.LastIndexByte(role, '/'))]
		}
	}
}

// WaitingResources returns what the allocations that wait ask for, by role, each with the roles below it. It costs a look at
// the allocations of jobs in roles where something waits.
func (s *Snapshot) WaitingResources() map[string]structs.Resources {
	out := map[string]structs.Resources{}
	for j := range s.Jobs() {
		use := get(s.roleUse, j.Role)
		if j.Wanted == 0 || use == nil || use.Wanted <= use.Placed {
			continue
		}
		v := s.version(j.Name, j.Version)
		if v == nil {
			continue
		}
		for _, g := range v.Job.Groups {
			count := j.CountOf(g)
			n := count - below(j.Finished[g.Name], count) - below(j.FailedFor[g.Name], count)
			for a := range s.AllocsOfGroup(j.Name, g.Name) {
				if placed(a) {
					n--
				}
			}
			if n <= 0 {
				continue
			}
			sum := times(g.Ask(), n)
			for name := range upwards(j.Role) {
				out[name] = out[name].Add(sum)
			}
		}
	}
	return out
}

// times returns n times the scalars of r.
func times(r structs.Resources, n int) structs.Resources {
	out := structs.Resources{CPU: r.CPU * structs.Milli(n), Memory: r.Memory * structs.Bytes(n), Disk: r.Disk * structs.Bytes(n), Ports: r.Ports * n}
	for name, v := range r.Custom {
		if out.Custom == nil {
			out.Custom = make(map[string]structs.Milli, len(r.Custom))
		}
		out.Custom[name] = v * structs.Milli(n)
	}
	return out
}
