package simulate

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Notice is how long work that is preempted goes on before it ends, in a replay.
const Notice = structs.Duration(5e9)

// epoch is the time at which a replay begins: zero would be "never".
const epoch = structs.Time(1e9)

// step is how many decisions are carried out together.
const step = 4096

// Report is what became of a trace.
type Report struct {
	Took      structs.Duration `json:"took"`  // from its beginning until nothing happened any more
	Nodes     int              `json:"nodes"` // the most at a time
	Submitted int              `json:"submitted"`
	Placed    int              `json:"placed"` // again after preemption or the loss of a node, too
	Finished  int              `json:"finished"`
	Preempted int              `json:"preempted"`
	Lost      int              `json:"lost"`    // with their nodes
	Stopped   int              `json:"stopped"` // with their jobs, also those that waited
	Running   int              `json:"running"` // at the end
	Waiting   int              `json:"waiting"` // at the end
	CPU       Use              `json:"cpu"`
	Memory    Use              `json:"memory"`
	Roles     []*RoleReport    `json:"roles"`
	Unplaced  []*Unplaced      `json:"unplaced"` // the first MostUnplaced jobs that wait at the end
}

// MostUnplaced bounds Report.Unplaced.
const MostUnplaced = 20

// Use is which part of a resource of all nodes was held, in thousandths.
type Use struct {
	Mean structs.Milli `json:"mean"`
	Peak structs.Milli `json:"peak"`
}

// RoleReport is what became of the work of one role, without those below it. A wait is the time from when a slot began to
// wait until it was placed.
type RoleReport struct {
	Role      string           `json:"role"`
	Submitted int              `json:"submitted"`
	Placed    int              `json:"placed"`
	Preempted int              `json:"preempted"`
	Lost      int              `json:"lost"`
	Waiting   int              `json:"waiting"`
	P50       structs.Duration `json:"wait_p50"` // half of what was placed waited no longer
	P99       structs.Duration `json:"wait_p99"`
	Max       structs.Duration `json:"wait_max"`

	waits []structs.Duration
}

// Unplaced is a job that waits at the end.
type Unplaced struct {
	Job     string `json:"job"`
	Role    string `json:"role"`
	Waiting int    `json:"waiting"`
	Because string `json:"because"`
	Why     string `json:"why"` // in a few lines
}

// Replay plays a trace through the allocator, on virtual time: it ends when nothing would happen any more. What is preempted
// or lost begins anew when it is placed again.
func Replay(events []Event) (*Report, error) {
	r := &replay{world: NewWorld(allocator.New(allocator.Options{})), now: epoch, jobs: map[string]*job{}, nodes: map[structs.NodeID]structs.Resources{},
		roles: map[string]*RoleReport{}, running: map[structs.AllocID]*run{}, onNode: map[structs.NodeID]map[structs.AllocID]*run{}, out: &Report{Roles: []*RoleReport{}, Unplaced: []*Unplaced{}}}
	for i := range events {
		e := &events[i]
		if err := r.until(epoch.Add(e.At)); err != nil {
			return nil, err
		}
		if err := r.event(e); err != nil {
			return nil, structs.Errorf(structs.KindOf(err), fmt.Sprintf("event %d at %s", i+1, e.At), "%w", err)
		}
		if i+1 == len(events) || events[i+1].At != e.At {
			if err := r.decide(); err != nil {
				return nil, err
			}
		}
	}
	if err := r.until(1<<63 - 1); err != nil {
		return nil, err
	}
	return r.report(), nil
}

type replay struct {
	world   *World
	now     structs.Time
	jobs    map[string]*job
	nodes   map[structs.NodeID]structs.Resources
	roles   map[string]*RoleReport
	running map[structs.AllocID]*run
	onNode  map[structs.NodeID]map[structs.AllocID]*run
	ends    ends
	out     *Report

	total, used      structs.Resources
	cpu, memory      integral
	submitted, begun int
}

// job is what was submitted.
type job struct {
	*Submission
	since map[int]structs.Time // when each slot that waits began to
	runs  map[structs.AllocID]*run
}

// run is an allocation that runs.
type run struct {
	id    structs.AllocID
	job   *job
	node  structs.NodeID
	at    structs.Time // when it ends
	again bool         // it is preempted, and its slot waits again
	order int          // of equal times
	place int          // in ends; -1
}

// ends orders runs by their end.
type ends []*run

func (h ends) Len() int { return len(h) }
func (h ends) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[j].at), cmp.Compare(h[i].order, h[j].order)) < 0
}
func (h ends) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *ends) Push(x any) {
	r := x.(*run)
	r.place = len(*h)
	*h = append(*h, r)
}

// Pop implements heap.Interface.
func (h *ends) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	r.place = -1
	return r
}

// integral adds up what is held and what there is, over time, for a report.
type integral struct {
	used, total float64
	peak        structs.Milli
}

func (x *integral) add(used, total int64, d structs.Duration) {
	x.used += float64(used) * float64(d)
	x.total += float64(total) * float64(d)
	if total > 0 && d > 0 {
		x.peak = max(x.peak, structs.Milli(float64(used)/float64(total)*1000))
	}
}

func (x *integral) use() Use {
	if x.total == 0 {
		return Use{Peak: x.peak}
	}
	return Use{structs.Milli(x.used / x.total * 1000), x.peak}
}

// until lets time pass, and all end that ends by then; what ends then, before anything else happens.
func (r *replay) until(t structs.Time) error {
	for {
		next := structs.Time(0)
		if len(r.ends) > 0 {
			next = r.ends[0].at
		}
		if at := r.world.Allocator.WakeAt(); at > r.now && len(r.ends) > 0 {
			next = min(next, at)
		}
		if next == 0 || next > t {
			break
		}
		r.pass(next)
		var again []structs.AllocID
		for len(r.ends) > 0 && r.ends[0].at <= r.now {
			x := r.ends[0]
			r.forget(x)
			if x.again {
				again = append(again, x.id)
				r.wait(x)
				continue
			}
			r.out.Finished++
			r.world.End(x.id)
		}
		if _, err := r.world.Again(again...); err != nil {
			return err
		}
		if err := r.decide(); err != nil {
			return err
		}
	}
	if t != 1<<63-1 {
		r.pass(t)
	}
	return nil
}

func (r *replay) pass(t structs.Time) {
	d := t.Sub(r.now)
	r.cpu.add(int64(r.used.CPU), int64(r.total.CPU), d)
	r.memory.add(int64(r.used.Memory), int64(r.total.Memory), d)
	r.now = t
}

// wait notes that the slot of x, which ends, waits from now on.
func (r *replay) wait(x *run) {
	if p := r.world.Running(x.id); p != nil && x.job.since != nil {
		x.job.since[p.Slot.Index] = r.now
	}
}

// forget takes x out of what runs.
func (r *replay) forget(x *run) {
	if x.place >= 0 {
		heap.Remove(&r.ends, x.place)
	}
	delete(r.running, x.id)
	delete(r.onNode[x.node], x.id)
	delete(x.job.runs, x.id)
	r.used = r.used.Sub(x.job.Resources)
}

// role returns the report of a role.
func (r *replay) role(name string) *RoleReport {
	x := r.roles[name]
	if x == nil {
		x = &RoleReport{Role: name}
		r.roles[name] = x
	}
	return x
}

func (r *replay) event(e *Event) error {
	switch {
	case e.Node != nil:
		return r.join(e)
	case e.Role != nil:
		return r.world.Allocator.SetRole(e.Role)
	case e.Submit != nil:
		return r.submit(e.Submit)
	case e.Leave != "":
		return r.leave(structs.NodeID(e.Leave))
	}
	return r.stop(e.Stop)
}

func (r *replay) join(e *Event) error {
	for i := range e.Count {
		n := *e.Node
		if e.Count > 1 {
			n.Name = fmt.Sprintf("%s-%d", n.Name, i+1)
		}
		n.ID, n.Status, n.Eligible = structs.NodeID(n.Name), structs.NodeReady, true
		n.PortRange = structs.Range{First: 20000, Last: 32000}
		n.Drivers = map[string]*structs.Driver{placement.DefaultDriver: {Healthy: true}}
		if _, is := r.nodes[n.ID]; is {
			return structs.Errorf(structs.Conflict, "node "+n.Name, "it is there already")
		}
		r.nodes[n.ID] = n.Resources
		r.total = r.total.Add(n.Resources)
		r.world.Allocator.SetNode(&n)
	}
	r.out.Nodes = max(r.out.Nodes, len(r.nodes))
	return nil
}

func (r *replay) leave(id structs.NodeID) error {
	had, is := r.nodes[id]
	if !is {
		return structs.Errorf(structs.NotFound, "node "+string(id), "there is none")
	}
	delete(r.nodes, id)
	r.total = r.total.Sub(had)
	r.world.Allocator.RemoveNode(id)
	lost := map[structs.AllocID]*run{}
	for _, x := range r.onNode[id] {
		lost[x.id] = x
		if x.job.Gang { // the others of it are stopped
			maps.Copy(lost, x.job.runs)
		}
	}
	ids := make([]structs.AllocID, 0, len(lost))
	for _, x := range slices.SortedFunc(maps.Values(lost), func(x, y *run) int { return cmp.Compare(x.order, y.order) }) {
		r.forget(x)
		r.wait(x)
		r.out.Lost++
		r.role(x.job.Role).Lost++
		ids = append(ids, x.id)
	}
	_, err := r.world.Again(ids...)
	return err
}

func (r *replay) submit(s *Submission) error {
	if r.jobs[s.Job] != nil {
		return structs.Errorf(structs.Conflict, "job "+s.Job, "it was submitted and not stopped")
	}
	spec := &structs.Job{Name: s.Job, Placement: s.Placement}
	group := &structs.Group{Name: "g", Constraints: s.If, MaxRunDuration: s.MaxRun, Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{
		CPU: s.Resources.CPU, Memory: s.Resources.Memory, Disk: s.Resources.Disk, Ports: s.Resources.Ports, Custom: s.Resources.Custom}}}}
	if s.Gang {
		spec.Gang = &structs.Gang{Within: s.Within}
	}
	if s.Spread != "" {
		spec.Spreads = []*structs.Spread{{Attribute: s.Spread}}
	}
	ask, err := placement.Compile(spec, group)
	if err != nil {
		return err
	}
	r.submitted++
	framework := structs.FrameworkID(structs.BatchJob)
	if s.Run == 0 {
		framework = structs.ServiceJob
	}
	j := &job{Submission: s, since: make(map[int]structs.Time, s.Count), runs: map[structs.AllocID]*run{}}
	request := allocator.Request{ID: s.Job, Framework: framework, Role: s.Role, Priority: s.Priority, Seq: uint64(r.submitted), Ask: ask,
		Slots: make([]allocator.Slot, s.Count)}
	for i := range s.Count {
		request.Slots[i].Index = i
		j.since[i] = r.now
	}
	r.jobs[s.Job] = j
	r.out.Submitted += s.Count
	r.role(s.Role).Submitted += s.Count
	if s.Gang {
		return r.world.Ask(Request{request, s.Job})
	}
	return r.world.Ask(Request{Request: request})
}

func (r *replay) stop(name string) error {
	j := r.jobs[name]
	if j == nil {
		return structs.Errorf(structs.NotFound, "job "+name, "there is none")
	}
	r.out.Stopped += len(j.runs) + r.world.Waiting(name)
	r.world.Withdraw(name)
	for _, x := range slices.SortedFunc(maps.Values(j.runs), func(x, y *run) int { return cmp.Compare(x.order, y.order) }) {
		r.forget(x)
		r.world.End(x.id)
	}
	j.since = nil
	delete(r.jobs, name)
	return nil
}

// decide has the allocator decide all that it can now.
func (r *replay) decide() error {
	for {
		placed, victims, err := r.world.Step(r.now, step)
		if err != nil || len(placed) == 0 && len(victims) == 0 {
			return err
		}
		for _, p := range placed {
			r.began(p)
		}
		for _, v := range victims {
			x := r.running[v.ID]
			if x == nil {
				continue
			}
			r.out.Preempted++
			r.role(x.job.Role).Preempted++
			if at := r.now.Add(Notice); x.place < 0 || at < x.at {
				x.again = true
				r.ending(x, at)
			}
		}
	}
}

// began notes that a placement runs.
func (r *replay) began(p *Placed) {
	j := r.jobs[p.Job]
	r.begun++
	x := &run{id: p.ID, job: j, node: p.Node, order: r.begun, place: -1}
	r.running[p.ID], j.runs[p.ID] = x, x
	if r.onNode[p.Node] == nil {
		r.onNode[p.Node] = map[structs.AllocID]*run{}
	}
	r.onNode[p.Node][p.ID] = x
	r.used = r.used.Add(j.Resources)
	if run := j.Run; run > 0 || j.MaxRun > 0 {
		if j.MaxRun > 0 && (run == 0 || run > j.MaxRun) {
			run = j.MaxRun
		}
		r.ending(x, r.now.Add(run))
	}
	r.out.Placed++
	role := r.role(j.Role)
	role.Placed++
	role.waits = append(role.waits, r.now.Sub(j.since[p.Slot.Index]))
	delete(j.since, p.Slot.Index)
}

// ending has x end at a time.
func (r *replay) ending(x *run, at structs.Time) {
	x.at = at
	if x.place < 0 {
		heap.Push(&r.ends, x)
	} else {
		heap.Fix(&r.ends, x.place)
	}
}

func (r *replay) report() *Report {
	out := r.out
	out.Took, out.Running = r.now.Sub(epoch), len(r.running)
	out.CPU, out.Memory = r.cpu.use(), r.memory.use()
	for _, name := range slices.Sorted(maps.Keys(r.jobs)) {
		j := r.jobs[name]
		n := r.world.Waiting(name)
		if n == 0 {
			continue
		}
		out.Waiting += n
		r.role(j.Role).Waiting += n
		if len(out.Unplaced) < MostUnplaced {
			w, _ := r.world.Allocator.Explain(name)
			out.Unplaced = append(out.Unplaced, &Unplaced{name, j.Role, n, string(w.Because), w.String()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.roles)) {
		x := r.roles[name]
		slices.Sort(x.waits)
		x.P50, x.P99, x.Max = rank(x.waits, 50), rank(x.waits, 99), rank(x.waits, 100)
		out.Roles = append(out.Roles, x)
	}
	return out
}

// rank returns the smallest of sorted waits that so many percent do not exceed.
func rank(sorted []structs.Duration, percent int) structs.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
