package structs

import "slices"

// Migrate says how a drain moves the allocations of a group of a service.
type Migrate struct {
	Order          string   `json:"order,omitempty" doc:"start_first: one is stopped once another runs in its place. stop_first: before. Without it start_first, but stop_first where on_lost is fence or the group has a persistent volume."`
	MaxParallel    int      `json:"max_parallel,omitempty" doc:"How many allocations of the group are moved at a time; without it as update says."`
	MinHealthyTime Duration `json:"min_healthy_time,omitempty" doc:"How long the new one must run before the old one is stopped; without it as update says."`
}

// Orders of a move.
const (
	StartFirst = "start_first"
	StopFirst  = "stop_first"
)

// StartsFirst reports whether a drain starts another allocation before it stops one of the group. What must never run twice stops first, and
// what has its data on the node too.
func (g *Group) StartsFirst() bool {
	switch {
	case g.Migrate != nil && g.Migrate.Order == StopFirst, g.OnLost == OnLostFence:
		return false
	}
	return !slices.ContainsFunc(g.Volumes, func(v *GroupVolume) bool { return v != nil && v.Type == PersistentVolume })
}

func (g *Group) checkMigrate(p *Problems, at, jobType string) {
	m := g.Migrate
	if m == nil {
		return
	}
	at += ".migrate"
	if jobType == BatchJob {
		p.Add(at, "it is for services").Advise("a drain lets batch work finish until its deadline")
	}
	if m.Order != "" {
		checkOneOf(p, at+".order", m.Order, StartFirst, StopFirst)
	}
	if m.MaxParallel != 0 {
		checkRange(p, at+".max_parallel", m.MaxParallel, 1, MaxCount)
	}
	checkDuration(p, at+".min_healthy_time", m.MinHealthyTime, 0, day)
	if m.Order == StartFirst && !g.StartsFirst() {
		p.Add(at+".order", "an allocation of the group must have ended before another one begins").
			Advise("leave it out: with on_lost = \"fence\" and with persistent volumes, a drain stops first")
	}
}
