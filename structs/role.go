package structs

import (
	"maps"
	"slices"
)

// Role is a named share of the region, hierarchical by slashes ("eng/web").
type Role struct {
	Name              string       `json:"name" hcl:"label" doc:"The role, such as eng or eng/web."`
	Description       string       `json:"description,omitempty" doc:"For people."`
	Owner             string       `json:"owner,omitempty" doc:"Who answers for it, for people."`
	Weight            Milli        `json:"weight,omitempty" doc:"Share against its siblings. Default 1."`
	Quota             *Quota       `json:"quota,omitempty" hcl:"block" doc:"What it is guaranteed and what it may use at most."`
	State             string       `json:"state,omitempty" doc:"open; draining: no new jobs, what is there goes on; closed: nothing is placed any more, what runs stays. Counts for the roles below too. Default open."`
	Sealed            bool         `json:"sealed,omitempty" doc:"Roles below it are made by role apply only, not on first use by a job, a framework or a reservation that names them."`
	DefaultPriority   string       `json:"default_priority,omitempty" doc:"Of jobs that name none. Default batch."`
	MaxPriority       string       `json:"max_priority,omitempty" doc:"The highest priority its work may have. Default batch+100; production and monitoring need it to say so."`
	MaxAsk            *QuotaAmount `json:"max_ask,omitempty" hcl:"block" doc:"The most that one allocation may ask for; resources that are not named are not bounded. Counts for the roles below too."`
	MaxRunning        int          `json:"max_running,omitempty" doc:"How many allocations it may hold at a time, with the roles below; more wait. 0: no bound."`
	MaxPending        int          `json:"max_pending,omitempty" doc:"How many allocations of its jobs may wait, with the roles below: a job that would make it more is refused. 0: no bound."`
	MaxVariables      int          `json:"max_variables,omitempty" doc:"How many variables it may have, with the roles below. 0: no bound."`
	MaxVariableSize   Bytes        `json:"max_variable_size,omitempty" doc:"What its variables may take together, with those of the roles below. 0: no bound."`
	Sorter            string       `json:"sorter,omitempty" doc:"How what is directly below it takes turns: drf (the smallest weighted dominant share), random (by chance, in proportion to the weights), fifo (all work in it and below by level and age), or a policy that was compiled in. Without it, what the role above says; at the top, what the servers are configured with."`
	ShareByOwner      bool         `json:"share_by_owner,omitempty" doc:"Its own work is shared among the owners of the jobs first, and then among the frameworks."`
	UserLimit         Milli        `json:"user_limit,omitempty" doc:"The part of the role, from 0.001 to 1, that the work of one owner may hold in it and below: of each resource, that part of its limit, of the limit of the nearest role above that has one, or of what the region has. More waits. 0: no bound."`
	MaxFrameworkShare Milli        `json:"max_framework_share,omitempty" doc:"The part of the role, measured as user_limit is, that jobs with framework_scheduler may hold together, so that they leave room for the work that they schedule. 0: no bound."`
	PreemptionExempt  bool         `json:"preemption_exempt,omitempty" doc:"Its work, and that of roles below it, is never stopped to make room for others."`
	Placement         string       `json:"placement,omitempty" doc:"pack or spread, for jobs of it and of the roles below that do not say. Without it, what the role above says; at the top, pack."`
	Implicit          bool         `json:"implicit,omitempty" hcl:"-"` // made on first use, and forgotten when nothing uses it any more
	CreateIndex       uint64       `json:"create_index,omitempty" hcl:"-"`
	ModifyIndex       uint64       `json:"modify_index,omitempty" hcl:"-"`
}

// Quota bounds a role.
type Quota struct {
	Guarantee *QuotaAmount `json:"guarantee,omitempty" hcl:"block" doc:"What it can always have."`
	Limit     *QuotaAmount `json:"limit,omitempty" hcl:"block" doc:"What it can have at most; resources that are not named are not limited."`
}

// QuotaAmount names amounts; a nil field says nothing about that resource.
type QuotaAmount struct {
	CPU    *Milli           `json:"cpu,omitempty" doc:"Cores."`
	Memory *Bytes           `json:"memory,omitempty" doc:"Memory."`
	Disk   *Bytes           `json:"disk,omitempty" doc:"Disk."`
	Custom map[string]Milli `json:"custom,omitempty" hcl:"map" doc:"Any other scalar."`
}

// States of a role.
const (
	RoleOpen     = "open"
	RoleDraining = "draining"
	RoleClosed   = "closed"
)

// DefaultRole is the role of jobs that name none.
const DefaultRole = "default"

// ValidRole reports whether s is one to eight valid names joined by slashes.
func ValidRole(s string) bool {
	parts, start := 0, 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '/' {
			if !ValidName(s[start:i]) {
				return false
			}
			parts, start = parts+1, i+1
		}
	}
	return parts <= 8 && len(s) <= 512
}

// Validate reports every problem of a canonical role.
func (r *Role) Validate() error { return r.Problems().Err() }

// Problems is Validate with each problem by itself.
func (r *Role) Problems() Problems {
	var p Problems
	if !ValidRole(r.Name) {
		p.Add("name", "%q is not a role", r.Name).Advise("one to eight names joined by slashes, such as eng/web")
	}
	if len(r.Description) > 4096 {
		p.Add("description", "it is longer than 4096 bytes")
	}
	if r.Weight < 1 || r.Weight > 1e9 {
		p.Add("weight", "%s is out of range (0.001 to 1000000)", r.Weight)
	}
	checkPlacement(&p, r.Placement)
	if len(r.Owner) > 256 {
		p.Add("owner", "it is longer than 256 bytes")
	}
	if r.State != RoleOpen && r.State != RoleDraining && r.State != RoleClosed {
		p.Add("state", "%q is not one of open, draining, closed", r.State)
	}
	highest, err := ParsePriority(r.MaxPriority)
	if err != nil {
		p.Add("max_priority", "%s", err)
	}
	if usual, wrong := ParsePriority(r.DefaultPriority); wrong != nil {
		p.Add("default_priority", "%s", wrong)
	} else if err == nil && usual.Compare(highest) > 0 {
		p.Add("default_priority", "%s is above max_priority (%s)", usual, highest)
	}
	for _, bound := range []struct {
		name string
		n    int
	}{{"max_running", r.MaxRunning}, {"max_pending", r.MaxPending}, {"max_variables", r.MaxVariables}} {
		if bound.n < 0 || bound.n > 1e9 {
			p.Add(bound.name, "%d is out of range (0 to 1000000000; 0: no bound)", bound.n)
		}
	}
	if r.MaxVariableSize < 0 {
		p.Add("max_variable_size", "%s is less than nothing", r.MaxVariableSize)
	}
	r.MaxAsk.problems(&p, "max_ask")
	r.sharingProblems(&p)
	if r.Quota == nil {
		return p
	}
	guarantee, limit := r.Quota.Guarantee, r.Quota.Limit
	guarantee.problems(&p, "quota.guarantee")
	limit.problems(&p, "quota.limit")
	if guarantee == nil || limit == nil {
		return p
	}
	if guarantee.CPU != nil && limit.CPU != nil && *limit.CPU < *guarantee.CPU {
		p.Add("quota.limit.cpu", "%s is less than the guarantee (%s)", *limit.CPU, *guarantee.CPU)
	}
	if guarantee.Memory != nil && limit.Memory != nil && *limit.Memory < *guarantee.Memory {
		p.Add("quota.limit.memory", "%s is less than the guarantee (%s)", *limit.Memory, *guarantee.Memory)
	}
	if guarantee.Disk != nil && limit.Disk != nil && *limit.Disk < *guarantee.Disk {
		p.Add("quota.limit.disk", "%s is less than the guarantee (%s)", *limit.Disk, *guarantee.Disk)
	}
	for _, name := range slices.Sorted(maps.Keys(limit.Custom)) {
		if limit.Custom[name] < guarantee.Custom[name] {
			p.Add("quota.limit.custom."+name, "%s is less than the guarantee (%s)", limit.Custom[name], guarantee.Custom[name])
		}
	}
	return p
}
