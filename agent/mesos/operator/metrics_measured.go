package operator

import (
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
)

// percentiles are those that timers of Mesos have.
var percentiles = map[string]float64{"min": 0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "p9999": 0.9999, "max": 1}

// timer has how long something took, in milliseconds: the last time, and of the newest timing.Kept times how many they are and where they lie. As
// in Mesos there is nothing of what never happened.
func (f figures) timer(name string, s timing.Summary) {
	if len(s.Sorted) == 0 {
		return
	}
	f[name], f[name+"/count"] = float64(s.Last)/1e6, float64(len(s.Sorted))
	for at, part := range percentiles {
		f[name+"/"+at] = float64(s.At(part)) / 1e6
	}
}

// registrar has how the state is kept: what Mesos calls its registry is the state that Raft replicates.
func (f figures) registrar(is *consensus.Figures) {
	f.timer("registrar/state_store_ms", is.Commits)
	f["registrar/state_fetch_ms"] = float64(is.Opened) / 1e6
	f["registrar/queued_operations"] = float64(is.Queued)
	f["registrar/registry_size_bytes"] = float64(is.Bytes)
	f["registrar/log/ensemble_size"], f["registrar/log/recovered"] = float64(is.Voters), flag(is.Voters > 0)
}

// allocator has how decisions are made, the shares of roles, and their quotas, by their names in Mesos.
func (f figures) allocator(d *document, is *server.Figures) {
	f["allocator/event_queue_dispatches"], f["allocator/mesos/event_queue_dispatches"] = float64(is.Waiting), float64(is.Waiting)
	f["allocator/mesos/allocation_runs"] = float64(is.Steps.Ever)
	f.timer("allocator/mesos/allocation_run_ms", is.Steps)
	f.timer("allocator/mesos/allocation_run_latency_ms", is.Waits)
	for role, n := range is.Filters {
		f["allocator/mesos/offer_filters/roles/"+mesos.RoleOut(role)+"/active"] = float64(n)
	}
	for r := range d.Roles() {
		name := mesos.RoleOut(r.Name)
		has := usual(d.RoleUse(r.Name).Resources.Add(d.offered.toRole[r.Name]))
		share := 0.0
		for kind, x := range has {
			if total := f["allocator/mesos/resources/"+kind+"/total"]; total > 0 {
				share = max(share, x/total)
			}
		}
		f["allocator/mesos/roles/"+name+"/shares/dominant"] = share
		guaranteed, limited := scalarsOf(r.Guaranteed()), scalarsOf(r.Limited())
		for _, kind := range [...]string{"cpus", "mem", "disk"} {
			at := "allocator/mesos/quota/roles/" + name + "/resources/" + kind + "/"
			if x := guaranteed[kind]; x != nil {
				f[at+"guarantee"] = x.Value
			}
			if x := limited[kind]; x != nil {
				f[at+"limit"] = x.Value
			}
			if guaranteed[kind] != nil || limited[kind] != nil {
				f[at+"offered_or_allocated"] = has[kind]
			}
		}
	}
}
