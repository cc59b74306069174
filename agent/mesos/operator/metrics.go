package operator

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// figures are metrics by the names that dashboards for Mesos look for.
type figures map[string]float64

// metrics computes what a server says of itself and of its state. Counters begin anew with the server, as those of a master do.
func (d *document) metrics(leads bool, asked structs.Time) figures {
	f := figures{"master/elected": flag(leads), "master/uptime_secs": asked.Sub(d.self.Started).Std().Seconds()}
	f.nodes(d)
	f.frameworks(d)
	f.tasks(d)
	f.messages(d.calls)
	f.allocator(d)
	f["master/outstanding_offers"] = float64(len(d.offered.all))
	for _, queue := range []string{"messages", "dispatches", "http_requests"} {
		f["master/event_queue_"+queue] = 0 // there are none that grow: what cannot be taken is refused
	}
	f.system()
	return f
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (f figures) nodes(d *document) {
	var total, used structs.Resources
	var size, held structs.Slack // of what is revocable
	var up, down, away int
	for n := range d.Nodes() {
		if n.Status != structs.NodeReady {
			away++
			continue
		}
		if deactivated(n) {
			down++
		} else {
			up++
		}
		u := d.Usage(n.ID)
		total, used = total.Add(n.Available()), used.Add(u.Resources)
		size, held = size.Add(d.slacks[n.ID]), held.Add(u.Slack)
	}
	offered := used
	for _, o := range d.offered.onNode {
		offered = offered.Add(o)
	}
	for name, x := range usual(total) {
		f["allocator/mesos/resources/"+name+"/total"] = x
	}
	for name, x := range usual(offered) {
		f["allocator/mesos/resources/"+name+"/offered_or_allocated"] = x
	}
	f["master/slaves_active"], f["master/slaves_inactive"] = float64(up), float64(down)
	f["master/slaves_connected"], f["master/slaves_disconnected"] = float64(up+down), 0
	f["master/slaves_unreachable"] = float64(away)
	f.share("master/", total, used)
	f.revocable("master/", size, held)
}

// usual returns amounts of what all nodes have, as Mesos counts them.
func usual(r structs.Resources) map[string]float64 {
	return map[string]float64{"cpus": float64(r.CPU) / 1000, "mem": float64(mebibytes(r.Memory)) / 1000, "disk": float64(mebibytes(r.Disk)) / 1000}
}

// messages has the calls of schedulers, by what Mesos called them when they were messages.
func (f figures) messages(calls func(wire.CallType) (all, again uint64)) {
	if calls == nil {
		return
	}
	for kind, name := range map[wire.CallType]string{wire.CallTeardown: "unregister_framework", wire.CallAccept: "launch_tasks",
		wire.CallDecline: "decline_offers", wire.CallRevive: "revive_offers", wire.CallSuppress: "suppress_offers", wire.CallKill: "kill_task",
		wire.CallAcknowledge: "status_update_acknowledgement", wire.CallReconcile: "reconcile_tasks", wire.CallMessage: "framework_to_executor",
		wire.CallRequest: "resource_request", wire.CallReconcileOperations: "reconcile_operations",
		wire.CallAcknowledgeOperationStatus: "operation_status_update_acknowledgement"} {
		n, _ := calls(kind)
		f["master/messages_"+name] = float64(n)
	}
	all, again := calls(wire.CallSubscribe)
	f["master/messages_register_framework"], f["master/messages_reregister_framework"] = float64(all-min(all, again)), float64(again)
}

// allocator has the shares of roles, and their quotas, by their names in Mesos.
func (f figures) allocator(d *document) {
	f["allocator/event_queue_dispatches"], f["allocator/mesos/event_queue_dispatches"] = 0, 0
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

// share has of each usual resource how much there is, how much is used, and the part of it.
func (f figures) share(prefix string, total, used structs.Resources) {
	for _, x := range [...]struct {
		name        string
		total, used float64
	}{
		{"cpus", float64(total.CPU) / 1000, float64(used.CPU) / 1000},
		{"mem", float64(mebibytes(total.Memory)) / 1000, float64(mebibytes(used.Memory)) / 1000},
		{"disk", float64(mebibytes(total.Disk)) / 1000, float64(mebibytes(used.Disk)) / 1000},
		{"gpus", float64(total.Custom["gpus"]) / 1000, float64(used.Custom["gpus"]) / 1000},
	} {
		part := 0.0
		if x.total > 0 {
			part = x.used / x.total
		}
		f[prefix+x.name+"_total"], f[prefix+x.name+"_used"], f[prefix+x.name+"_percent"] = x.total, x.used, part
	}
}

// revocable has the same of what is revocable: what is reserved and not used is all there is.
func (f figures) revocable(prefix string, size, held structs.Slack) {
	all := func(s structs.Slack) structs.Resources { return structs.Resources{CPU: s.CPU, Memory: s.Memory} }
	part := figures{}
	part.share("", all(size), all(held))
	for name, x := range part {
		kind, what, _ := strings.Cut(name, "_")
		f[prefix+kind+"_revocable_"+what] = x
	}
}

func (f figures) frameworks(d *document) {
	var connected, away float64
	for x := range d.Frameworks() {
		switch {
		case x.Ended != 0:
		case x.Connected:
			connected++
		default:
			away++
		}
	}
	f["master/frameworks_active"], f["master/frameworks_inactive"] = connected, away
	f["master/frameworks_connected"], f["master/frameworks_disconnected"] = connected, away
}

func (f figures) tasks(d *document) {
	count := tally{}
	for a := range d.Allocs() {
		d.tasks(a, func(t *task) bool {
			count[t.state]++
			return true
		})
	}
	// What is forgotten stays counted, so that no counter goes back while the server lives.
	gone := d.Tally()
	for status, n := range gone.Tasks {
		if status == structs.TaskUnreachable { // it is not waited for any more
			status = structs.TaskGone
		}
		count[status] += n
	}
	f.tally("master/", count)
	for name, n := range map[string]int{"registrations": gone.Registered, "reregistrations": gone.Returned, "removals": gone.Lost + gone.Left,
		"removals/reason_unhealthy": gone.Lost, "removals/reason_unregistered": gone.Left, "removals/reason_registered": 0,
		"unreachable_scheduled": gone.Lost, "unreachable_completed": gone.Lost, "unreachable_canceled": 0,
		"shutdowns_scheduled": 0, "shutdowns_completed": 0, "shutdowns_canceled": 0} {
		f["master/slave_"+name] = float64(n)
	}
	f["master/recovery_slave_removals"] = 0 // nodes that a new leader does not hear of are lost like others
}

// tally has how many tasks are in each state.
func (f figures) tally(prefix string, count tally) {
	for _, s := range tallied {
		f[prefix+"tasks_"+strings.ToLower(strings.TrimPrefix(stateName(s), "TASK_"))] = float64(count[s])
	}
}

// system has what the machine says of itself, where it says it.
func (f figures) system() {
	f["system/cpus_total"] = float64(runtime.NumCPU())
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		fields := strings.Fields(string(raw))
		for i, name := range [...]string{"1min", "5min", "15min"} {
			if i < len(fields) {
				if x, err := strconv.ParseFloat(fields[i], 64); err == nil {
					f["system/load_"+name] = x
				}
			}
		}
	}
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			name, rest, _ := strings.Cut(line, ":")
			key, wanted := map[string]string{"MemTotal": "system/mem_total_bytes", "MemFree": "system/mem_free_bytes"}[name]
			if fields := strings.Fields(rest); wanted && len(fields) > 0 {
				if kib, err := strconv.ParseFloat(fields[0], 64); err == nil {
					f[key] = kib * 1024
				}
			}
		}
	}
}

// figures writes metrics as one flat object.
func (e *encoder) figures(f figures) {
	e.open('{')
	for _, name := range sorted(f) {
		e.named(name)
		e.comma()
		e.buf = appendNumber(e.buf, f[name])
	}
	e.close('}')
}

func appendNumber(to []byte, x float64) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		x = 0 // JSON has no such number
	}
	at := len(to)
	to = strconv.AppendFloat(to, x, 'f', -1, 64)
	if !strings.Contains(string(to[at:]), ".") {
		to = append(to, '.', '0')
	}
	return to
}

// stats writes what /system/stats.json says.
func (e *encoder) stats() {
	f := figures{}
	f.system()
	e.open('{')
	e.key("cpus_total")
	e.int(int64(runtime.NumCPU()))
	for from, to := range map[string]string{"system/load_1min": "avg_load_1min", "system/load_5min": "avg_load_5min",
		"system/load_15min": "avg_load_15min", "system/mem_total_bytes": "mem_total_bytes", "system/mem_free_bytes": "mem_free_bytes"} {
		if x, there := f[from]; there {
			e.key(to)
			e.comma()
			e.buf = appendNumber(e.buf, x)
		}
	}
	e.close('}')
}

func now() structs.Time { return structs.At(time.Now()) }
