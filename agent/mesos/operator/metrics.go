package operator

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// figures are metrics by the names that dashboards for Mesos look for. website/docs/tools.md lists them, and a test holds it to that.
type figures map[string]float64

// metrics computes what a server says of itself and of its state. Counters begin anew with the server, as those of a master do.
func (d *document) metrics(leads bool, asked structs.Time) figures {
	f := figures{"master/elected": flag(leads), "master/uptime_secs": asked.Sub(d.self.Started).Std().Seconds()}
	is := d.from.region.Figures()
	f.nodes(d)
	of := d.byState()
	f.frameworks(d, &is, of)
	f.tasks(d, &is, of)
	f.messages(d, &is)
	f.registrar(&is.Consensus)
	f.allocator(d, &is)
	f["master/outstanding_offers"] = float64(len(d.offered.all))
	for _, queue := range []string{"messages", "dispatches", "http_requests"} {
		f["master/event_queue_"+queue] = 0 // there are none that grow: what cannot be taken is refused
	}
	f["master/operator_event_stream_subscribers"] = float64(d.from.subscribers.count())
	f["master/http_cache_hits"] = float64(d.from.hits())
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

// revocable has what of cores and memory is reserved and not used, and what is run on that. Nothing else can be revocable.
func (f figures) revocable(prefix string, total, used structs.Slack) {
	of := func(s structs.Slack) structs.Resources { return structs.Resources{CPU: s.CPU, Memory: s.Memory} }
	all := figures{}
	all.share("", of(total), of(used))
	for name, x := range all {
		kind, what, _ := strings.Cut(name, "_")
		f[prefix+kind+"_revocable_"+what] = x
	}
}

// tasks has what becomes of tasks and nodes. What is forgotten stays counted, so that no counter goes back while the server lives.
func (f figures) tasks(d *document, is *server.Figures, of map[structs.FrameworkID]tally) {
	count, gone := tally{}, d.Tally()
	for _, has := range of {
		for status, n := range has {
			count[status] += n
		}
	}
	for status, n := range gone.Tasks {
		if status == structs.TaskUnreachable { // it is not waited for any more
			status = structs.TaskGone
		}
		count[status] += n
	}
	for end, n := range is.Refused {
		count[end.State] += int(n)
		f.ended(end, "master", float64(n))
	}
	for end, n := range gone.Ends {
		source := "executor"
		if end.Agent {
			source = "slave"
		}
		f.ended(end, source, float64(n))
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

// ended has tasks that ended in one way for one reason.
func (f figures) ended(end state.TaskEnd, source string, n float64) {
	f[strings.ToLower("master/"+stateName(end.State)+"/source_"+source+"/reason_"+end.Reason)] += n
}

// byState counts the tasks of each framework.
func (d *document) byState() map[structs.FrameworkID]tally {
	out := map[structs.FrameworkID]tally{}
	var last structs.FrameworkID
	var of tally
	for a := range d.Allocs() {
		if of == nil || a.Framework != last {
			if last, of = a.Framework, out[a.Framework]; of == nil {
				of = tally{}
				out[a.Framework] = of
			}
		}
		d.tasks(a, func(t *task) bool {
			of[t.state]++
			return true
		})
	}
	return out
}

// short is a state as it is within names.
func short(s structs.TaskStatus) string {
	return strings.ToLower(strings.TrimPrefix(stateName(s), "TASK_"))
}

// tally has how many tasks are in each state.
func (f figures) tally(prefix string, count tally) {
	for _, s := range tallied {
		f[prefix+"tasks_"+short(s)] = float64(count[s])
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

func now() structs.Time { return structs.At(time.Now()) }
