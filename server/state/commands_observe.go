package state

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Apply records a report.
func (c *Observe) Apply(tx *Tx) (any, error) {
	n, err := tx.node(c.Node)
	if err != nil {
		return nil, err
	}
	if n.Status != structs.NodeReady || n.Incarnation != c.NodeIncarnation {
		return nil, structs.Errorf(structs.Conflict, "node "+string(c.Node),
			"it is %s as incarnation %d and the report is of incarnation %d", n.Status, n.Incarnation, c.NodeIncarnation).
			Advise("register again")
	}
	if err := newestSession(n, c.Session); err != nil {
		return nil, err
	}
	out := &Observed{Index: tx.Index}
	var jobs drafts
	for _, u := range c.Updates {
		if u == nil {
			continue
		}
		changed, refused := tx.observe(n, u, &jobs)
		reports := &tx.tallied().Reports
		switch {
		case changed:
			out.Changed++
			reports.Taken++
		case refused:
			reports.Refused++
		default:
			reports.Again++
		}
	}
	if c.Told && n.Untold {
		old := get(tx.nodes, n.ID) // reports may have changed it
		told := *old
		told.Untold = false
		tx.putNode(old, told)
	}
	for _, d := range jobs.inOrder {
		if d.record != d.old {
			tx.putJob(d.old, *d.record)
		}
		if d.settle {
			tx.settle(d.old.Name)
		}
	}
	return out, nil
}

// observe records one report and tells whether it changed anything, and whether it is not of what the node has. An end is final; only "lost" gives
// way to what the node knows better.
func (tx *Tx) observe(n *structs.Node, u *structs.AllocUpdate, jobs *drafts) (changed, refused bool) {
	a := get(tx.allocs, u.ID)
	if u.Status.Ended() && u.Status != structs.AllocLost && (a == nil || a.Node == n.ID && a.Incarnation == u.Incarnation) {
		tx.fenced(n, u.ID)
	}
	if a == nil || a.Node != n.ID || a.Incarnation != u.Incarnation {
		return false, true
	}
	if a.Ended() && (a.Status != structs.AllocLost || n.Gone != nil) {
		return false, false
	}
	status, known := allocStatus(u.Status)
	if !known {
		return false, true
	}
	if a.Status == structs.AllocLost && !status.Ended() && !tx.welcome(n, a) {
		if a.Desired == structs.DesiredStop {
			return false, false
		}
		next := *a
		next.Desired, next.DesiredWhy, next.WantIndex = structs.DesiredStop, "it was given up while its node was away", tx.Index
		tx.putAlloc(a, next)
		return true, false
	}
	tasks, news := mergeTasks(a.Tasks, u.Tasks, mostTasks(a))
	if status == a.Status && !news && bounded(u.Why) == a.Why && !unheard(a, u.Said) {
		return false, false
	}
	next := *a
	next.Status, next.Why, next.Tasks = status, bounded(u.Why), tasks
	if status == structs.AllocRunning {
		next.Started = steadySince(a, tasks, tx.Now)
	}
	if status == structs.AllocComplete {
		next.Tasks = forgetEvents(tasks)
	}
	if a.Status == structs.AllocLost && !status.Ended() {
		next.WantIndex = tx.Index // the node hears that it goes on
		tx.fenced(n, a.ID)        // it has its claims again
	}
	tx.inform(a, &next, u.Said)
	made := tx.putAlloc(a, next)
	if a.Job != "" {
		tx.account(made, jobs)
	}
	return true, false
}

// steadySince returns from when on all that a runs has run without a restart and was ready; 0: something of it is being
// started again, or is not ready. A service that falls over and over again is not healthy, although it runs between two falls.
func steadySince(a *structs.Allocation, tasks map[string]*structs.TaskState, now structs.Time) structs.Time {
	since := a.Started
	if since == 0 {
		since = now
	}
	for name, t := range tasks {
		if t.Status == structs.TaskStarting && t.Started != 0 || !t.Ready() {
			return 0
		}
		if old := a.Tasks[name]; old != nil && old.Started != 0 && old.Restarts != t.Restarts {
			since = now
		}
	}
	return since
}

// welcome reports whether a lost allocation that still runs may go on: nobody took its place and it is still wanted.
func (tx *Tx) welcome(n *structs.Node, a *structs.Allocation) bool {
	if a.Next != "" || a.Desired != structs.DesiredRun || !tx.claimsStand(a) {
		return false
	}
	if a.Job == "" {
		refused, _ := tx.fits(n, a)
		return refused == "" && tx.framework(a.Framework) != nil
	}
	r := get(tx.jobs, a.Job)
	if r == nil || r.Stopped || a.CreateIndex < r.CreateIndex || a.CreateIndex < r.Restart {
		return false
	}
	v := tx.version(a.Job, r.Version)
	if v == nil || v.Job.Group(a.Group) == nil || a.Index >= r.CountOf(v.Job.Group(a.Group)) ||
		structs.HasIndex(r.Finished[a.Group], a.Index) || structs.HasIndex(r.FailedFor[a.Group], a.Index) {
		return false
	}
	for other := range tx.ofIndex(a.Job, a.Group, a.Index) {
		if other.ID != a.ID && (!other.Ended() || other.Incarnation > a.Incarnation) {
			return false
		}
	}
	refused, _ := tx.fits(n, a)
	return refused == ""
}

// account writes to the job what a's new status means for it.
func (tx *Tx) account(a *structs.Allocation, jobs *drafts) {
	d := jobs.of(tx, a.Job)
	if d == nil || a.CreateIndex < d.record.CreateIndex || a.CreateIndex < d.record.Restart {
		return
	}
	switch {
	case a.Status == structs.AllocRunning && d.record.Status == structs.JobPending && !d.record.Stopped:
		r := d.change()
		r.Status, r.Why = structs.JobRunning, ""
	case a.Status == structs.AllocComplete && d.record.Type == structs.BatchJob && a.Version >= d.record.FinishedSince &&
		(a.Desired == structs.DesiredRun || allFinished(a.Tasks)) && (!a.Gang || a.Next == ""):
		if !structs.HasIndex(d.record.Finished[a.Group], a.Index) {
			d.add(&d.change().Finished, &d.ownFinished, a.Group, a.Index)
			d.settle = true
		}
	}
}

func allFinished(tasks map[string]*structs.TaskState) bool {
	for _, t := range tasks {
		if t.Status != structs.TaskFinished {
			return false
		}
	}
	return len(tasks) > 0
}

// drafts are the job records that a report is about, each copied at most once however many of its allocations are in the report.
type drafts struct {
	inOrder []*draft
	last    *draft // most reports are about one job
	name    string // of last, which may be nil
	byName  map[string]*draft
}

func (ds *drafts) of(tx *Tx, name string) *draft {
	if ds.name == name && name != "" {
		return ds.last
	}
	d, known := ds.byName[name]
	if !known {
		if old := get(tx.jobs, name); old != nil {
			d = newDraft(old)
			ds.inOrder = append(ds.inOrder, d)
		}
	}
	if ds.name != "" { // there is more than one
		if ds.byName == nil {
			ds.byName = map[string]*draft{ds.name: ds.last}
		}
		ds.byName[name] = d
	}
	ds.name, ds.last = name, d
	return d
}

// draft is a job record that may be changed: most reports change nothing of it.
type draft struct {
	old, record            *structs.JobRecord // the same until change
	ownFinished, ownFailed map[string]bool    // groups whose ranges are copies already
	settle                 bool
}

func newDraft(old *structs.JobRecord) *draft { return &draft{old: old, record: old} }

// change returns the copy that is being changed.
func (d *draft) change() *structs.JobRecord {
	if d.record == d.old {
		next := *d.old
		d.record = &next
	}
	return d.record
}

// add puts index into the ranges of a group.
func (d *draft) add(ranges *map[string][]structs.Range, own *map[string]bool, group string, index int) {
	if *own == nil {
		*own = make(map[string]bool, 1)
		*ranges = maps.Clone(*ranges)
		if *ranges == nil {
			*ranges = make(map[string][]structs.Range, 1)
		}
	}
	have := (*ranges)[group]
	if !(*own)[group] {
		(*own)[group] = true
		have = append(make([]structs.Range, 0, len(have)+1), have...)
	}
	(*ranges)[group] = insertIndex(have, int64(index))
}

// insertIndex puts n into ascending, disjoint ranges that do not touch, in place.
func insertIndex(ranges []structs.Range, n int64) []structs.Range {
	i, _ := slices.BinarySearchFunc(ranges, n, func(r structs.Range, n int64) int {
		if r.Last < n {
			return -1
		}
		return 1
	})
	if i < len(ranges) && ranges[i].First <= n {
		return ranges
	}
	left := i > 0 && ranges[i-1].Last == n-1
	right := i < len(ranges) && ranges[i].First == n+1
	switch {
	case left && right:
		ranges[i-1].Last = ranges[i].Last
		return slices.Delete(ranges, i, i+1)
	case left:
		ranges[i-1].Last = n
	case right:
		ranges[i].First = n
	default:
		return slices.Insert(ranges, i, structs.Range{First: n, Last: n})
	}
	return ranges
}

// allocStatus returns the constant for a status that came from outside, so that the text of the report is not kept.
func allocStatus(s structs.AllocStatus) (structs.AllocStatus, bool) {
	switch s {
	case structs.AllocPending:
		return structs.AllocPending, true
	case structs.AllocRunning:
		return structs.AllocRunning, true
	case structs.AllocComplete:
		return structs.AllocComplete, true
	case structs.AllocFailed:
		return structs.AllocFailed, true
	}
	return "", false
}

// maxTasks bounds the tasks of one allocation that are kept.
const maxTasks = 64

func mostTasks(a *structs.Allocation) int {
	if a.External != nil {
		return 2 * structs.MaxExternalTasks
	}
	return maxTasks
}

// mergeTasks returns old with what news has, and whether that is different.
func mergeTasks(old, news map[string]*structs.TaskState, most int) (merged map[string]*structs.TaskState, changed bool) {
	if covers(news, old, most) {
		return news, true
	}
	merged = old
	for _, name := range slices.Sorted(maps.Keys(news)) { // in order: which ones find room is the same on every server
		t := news[name]
		if t == nil || sameTask(old[name], t) || old[name] == nil && len(merged) >= most {
			continue
		}
		if !changed {
			changed = true
			merged = make(map[string]*structs.TaskState, max(len(old), len(news)))
			maps.Copy(merged, old)
		}
		merged[name] = boundedTask(t)
	}
	return merged, changed
}

// covers reports whether news has all there is to know, changed and within bounds, so that it can be kept as it is.
func covers(news, old map[string]*structs.TaskState, most int) bool {
	if len(news) == 0 || len(news) < len(old) || len(news) > most {
		return false
	}
	for name, t := range news {
		was, known := old[name]
		if t == nil || !known && len(old) > 0 || known && sameTask(was, t) || boundedTask(t) != t {
			return false
		}
	}
	return true
}

func sameTask(a, b *structs.TaskState) bool {
	return a != nil && a.Status == b.Status && a.Why == bounded(b.Why) && a.ExitCode == b.ExitCode && a.Signal == b.Signal &&
		a.OOM == b.OOM && a.Restarts == b.Restarts && a.Started == b.Started && a.Ended == b.Ended &&
		a.Reason == b.Reason && slices.Equal(a.Events, b.Events) && slices.Equal(a.Checks, b.Checks) && a.Answer.Equal(b.Answer)
}

// boundedTask cuts what a node may have sent too much of.
func boundedTask(t *structs.TaskState) *structs.TaskState {
	long := len(t.Events) > structs.MaxTaskEvents || bounded(t.Why) != t.Why
	for _, e := range t.Events {
		long = long || bounded(e.Text) != e.Text || len(e.Type) > 64
	}
	long = long || len(t.Checks) > structs.MaxChecks || len(t.Reason) > 64 || t.Answer != nil && len(t.Answer.Type) > 16
	for _, c := range t.Checks {
		long = long || bounded(c.Why) != c.Why || len(c.Name) > 128 || len(c.Status) > 16
	}
	if !long {
		return t
	}
	cut := *t
	cut.Why, cut.Reason = bounded(t.Why), t.Reason[:min(len(t.Reason), 64)]
	cut.Events = slices.Clone(t.Events[max(0, len(t.Events)-structs.MaxTaskEvents):])
	for i := range cut.Events {
		e := &cut.Events[i]
		e.Text = bounded(e.Text)
		e.Type = e.Type[:min(len(e.Type), 64)]
	}
	if a := t.Answer; a != nil {
		cut.Answer = &structs.CheckAnswer{Type: a.Type[:min(len(a.Type), 16)], Code: a.Code}
	}
	cut.Checks = slices.Clone(t.Checks[:min(len(t.Checks), structs.MaxChecks)])
	for i := range cut.Checks {
		c := &cut.Checks[i]
		c.Name, c.Status, c.Why = c.Name[:min(len(c.Name), 128)], c.Status[:min(len(c.Status), 16)], bounded(c.Why)
	}
	return &cut
}

// forgetEvents keeps of tasks that ended well only how they ended: there are many of them.
func forgetEvents(tasks map[string]*structs.TaskState) map[string]*structs.TaskState {
	short := make(map[string]*structs.TaskState, len(tasks))
	for name, t := range tasks {
		if t.Status == structs.TaskFinished && len(t.Events)+len(t.Checks) > 0 {
			end := *t
			end.Events, end.Checks = nil, nil
			t = &end
		}
		short[name] = t
	}
	return short
}
