package state

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/proffer/proffer/structs"
)

// DefaultMaxPriority is the highest priority of work in a role that does not say otherwise.
var DefaultMaxPriority = structs.Priority{Band: structs.BatchBand, Level: 100}

// Admits says in which role and with which priority a job would run, or why its role does not take it: the role is
// draining or closed and the job would be new, the priority is too high, or an allocation of it, or it as a gang, could never run because it
// asks for more than a limit or max_ask. What waits (max_pending) is not looked at. sealed says that the job makes no role at the top.
func (s *Snapshot) Admits(job *structs.Job, sealed bool) (role string, priority structs.Priority, err error) {
	return s.admits(job, sealed)
}

func (t *trees) admits(j *structs.Job, sealed bool) (string, structs.Priority, error) {
	role := cmp.Or(j.Role, structs.DefaultRole)
	r := get(t.roles, role)
	usual, highest := "", highestOf(r)
	if r != nil {
		usual = r.DefaultPriority
	}
	priority, err := structs.ParsePriority(cmp.Or(j.Priority, usual))
	if err != nil {
		return "", priority, structs.Errorf(structs.Invalid, jobText(j.Name)+": priority", "%w", err)
	}
	if priority.Compare(highest) > 0 {
		return "", priority, structs.Errorf(structs.Forbidden, roleText(role), "its work may have priority %s at most, not %s",
			highest, priority).Advise("set max_priority of the role")
	}
	if old := get(t.jobs, j.Name); old == nil || old.Stopped || old.Ended != 0 || old.Role != role {
		if err := t.takesNew(role, sealed); err != nil {
			return "", priority, err
		}
	}
	for _, g := range j.Groups {
		if err := t.mayEverRun(j, g, role); err != nil {
			return "", priority, err
		}
		if err := t.mayHoldPart(j, g, role); err != nil {
			return "", priority, err
		}
	}
	if err := t.mayEverRunWhole(j, role); err != nil {
		return "", priority, err
	}
	return role, priority, nil
}

// PriorityIn returns the priority of work in a role that names none, as that of external frameworks.
func (t *trees) PriorityIn(role string) structs.Priority {
	if r := get(t.roles, role); r != nil {
		if p, err := structs.ParsePriority(r.DefaultPriority); err == nil {
			return p
		}
	}
	return structs.DefaultPriority
}

// takesNew refuses jobs, frameworks and reservations that are new in a role that drains or is closed, or is below one, or that
// nobody has made below a sealed one, or at the top where that is sealed.
func (t *trees) takesNew(role string, sealed bool) error {
	missing := get(t.roles, role) == nil
	for name := range upwards(role) {
		if r := get(t.roles, name); r != nil && (r.State == structs.RoleDraining || r.State == structs.RoleClosed) {
			return structs.Errorf(structs.Forbidden, roleText(name), "it is %s and takes nothing new", r.State).
				Advise("use another role, or have its state set to open")
		}
		if r := get(t.roles, name); r != nil && r.Sealed && missing {
			return structs.Errorf(structs.Forbidden, roleText(role), "there is none, and below role %q none is made on first use", name).
				Advise("check the name, or have it made with role apply")
		}
	}
	if top, _, _ := strings.Cut(role, "/"); sealed && get(t.roles, top) == nil {
		return structs.Errorf(structs.Forbidden, roleText(top), "there is none, and at the top none is made on first use (server.sealed_roles)").
			Advise("check the name, or have it made with role apply")
	}
	return nil
}

// mayEverRun refuses a group of which one allocation asks for more than a limit or max_ask of its role, or of one above.
func (t *trees) mayEverRun(j *structs.Job, g *structs.Group, role string) error {
	ask := g.Ask()
	for name := range upwards(role) {
		r := get(t.roles, name)
		if r == nil {
			continue
		}
		for _, bound := range []struct {
			name string
			q    *structs.QuotaAmount
		}{{"max_ask", r.MaxAsk}, {"limit", r.Limited()}} {
			for resource, most := range bound.q.All() {
				if asked := ask.Amount(resource); asked > most {
					want, bounded := structs.AmountsText(resource, asked, most)
					return structs.Errorf(structs.Exhausted, fmt.Sprintf("%s: group %q", jobText(j.Name), g.Name),
						"an allocation asks for %s %s and the %s of role %q is %s: it could never run", resource, want, bound.name, name, bounded).
						Advise("ask for less, or use another role")
				}
			}
		}
	}
	return nil
}

// makeRole makes a role on first use.
func (tx *Tx) makeRole(name string) {
	if get(tx.roles, name) == nil {
		tx.put(Roles, nil, &structs.Role{Name: name, Implicit: true, CreateIndex: tx.Index, ModifyIndex: tx.Index})
	}
}

// waiting returns how many allocations wait in a role and those above it that bound it, from the lowest up.
func (tx *Tx) waiting(role string) (n []int) {
	for name := range upwards(role) {
		if r := get(tx.roles, name); r != nil && r.MaxPending > 0 {
			n = append(n, tx.useBelow(name).Pending)
		}
	}
	return n
}

// mayWait refuses what had more allocations wait than a role allows; before is what waiting said before it.
func (tx *Tx) mayWait(role string, before []int) error {
	for name := range upwards(role) {
		r := get(tx.roles, name)
		if r == nil || r.MaxPending == 0 {
			continue
		}
		n := tx.useBelow(name).Pending
		if n > r.MaxPending && n > before[0] {
			return structs.Errorf(structs.Exhausted, roleText(name), "%d allocations wait, with this %d would, and max_pending is %d",
				before[0], n, r.MaxPending).Advise("try again when some of them run, or ask for fewer")
		}
		before = before[1:]
	}
	return nil
}
