package state

import (
	"github.com/proffer/proffer/structs"
)

// againstUse refuses a bound of a role that is new, or lower than before, and below what is in use.
func (tx *Tx) againstUse(old, r *structs.Role) error {
	if old == nil {
		old = &structs.Role{}
	}
	for _, look := range []func(old, r *structs.Role) error{tx.limitBelowUse, tx.runningBelowUse, tx.jobsBeyond, tx.partsBelowUse} {
		if err := look(old, r); err != nil {
			return err
		}
	}
	return nil
}

// waitForLess is what to do about a bound below what is in use.
const waitForLess = "stop some of its work first, or force it: what runs stays, and nothing is added until enough of it ended"

func (tx *Tx) limitBelowUse(old, r *structs.Role) error {
	for resource, limit := range r.Limited().All() {
		if was, named := old.Limited().Of(resource); named && was <= limit {
			continue
		}
		if used := tx.useBelow(r.Name).Resources.Amount(resource); used > limit {
			most, now := structs.AmountsText(resource, limit, used)
			return structs.Errorf(structs.Conflict, roleText(r.Name), "its limit would be %s %s and %s is in use", resource, most, now).
				Advise(waitForLess)
		}
	}
	return nil
}

func (tx *Tx) runningBelowUse(old, r *structs.Role) error {
	if r.MaxRunning == 0 || old.MaxRunning > 0 && old.MaxRunning <= r.MaxRunning {
		return nil
	}
	if n := tx.useBelow(r.Name).Allocs; n > r.MaxRunning {
		return structs.Errorf(structs.Conflict, roleText(r.Name), "its max_running would be %d and %d allocations run", r.MaxRunning, n).
			Advise(waitForLess)
	}
	return nil
}

// jobsBeyond refuses a max_priority, or a max_ask, that jobs which have not ended are beyond.
func (tx *Tx) jobsBeyond(old, r *structs.Role) error {
	highest := highestOf(r)
	lower := highest.Compare(highestOf(old)) < 0
	narrower := map[string]int64{}
	for resource, most := range r.MaxAsk.All() {
		if was, named := old.MaxAsk.Of(resource); !named || was > most {
			narrower[resource] = most
		}
	}
	if !lower && len(narrower) == 0 {
		return nil
	}
	for j := range from(tx.jobs, "") {
		if j.Ended != 0 || j.Stopped || !structs.RoleWithin(j.Role, r.Name) {
			continue
		}
		if lower && j.Role == r.Name && j.Priority.Compare(highest) > 0 {
			return structs.Errorf(structs.Conflict, roleText(r.Name), "its work could have priority %s at most, and job %q has %s", highest, j.Name, j.Priority).
				Advise("lower the priority of the job first, or force it: the job keeps its priority until it is changed")
		}
		v := tx.version(j.Name, j.Version)
		if v == nil {
			continue
		}
		for _, g := range v.Job.Groups {
			ask := g.Ask()
			for _, resource := range resourcesOf(ask) {
				most, named := narrower[resource]
				if asked := ask.Amount(resource); named && asked > most {
					want, bounded := structs.AmountsText(resource, asked, most)
					return structs.Errorf(structs.Conflict, roleText(r.Name), "its max_ask would be %s %s and an allocation of job %q asks for %s", resource, bounded, j.Name, want).
						Advise("change or stop the job first, or force it: what runs stays")
				}
			}
		}
	}
	return nil
}

// highestOf is the highest priority that work of a role may have.
func highestOf(r *structs.Role) structs.Priority {
	if r != nil && r.MaxPriority != "" {
		if p, err := structs.ParsePriority(r.MaxPriority); err == nil {
			return p
		}
	}
	return DefaultMaxPriority
}

// partsBelowUse refuses a user_limit, or a max_framework_share, that somebody is beyond.
func (tx *Tx) partsBelowUse(old, r *structs.Role) error {
	lower := func(was, is structs.Milli) bool { return is > 0 && (was == 0 || was > is) }
	byUser, byScheduler := lower(old.UserLimit, r.UserLimit), lower(old.MaxFrameworkShare, r.MaxFrameworkShare)
	if !byUser && !byScheduler {
		return nil
	}
	for _, p := range tx.Parts(r) {
		bound, who := "user_limit", "owner "+p.Owner
		if p.Owner == "" {
			bound, who = "max_framework_share", "framework schedulers"
		}
		if p.Owner != "" && !byUser || p.Owner == "" && !byScheduler {
			continue
		}
		for _, resource := range resourcesOf(p.Used) {
			if used, limit := p.Used.Amount(resource), p.Limit.Amount(resource); used > limit {
				most, now := structs.AmountsText(resource, limit, used)
				return structs.Errorf(structs.Conflict, roleText(r.Name), "its %s would leave %s %s to %s, and %s is in use", bound, resource, most, who, now).
					Advise(waitForLess)
			}
		}
	}
	return nil
}
