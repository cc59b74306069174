//go:build linux && (amd64 || arm64)

package supervisor

import (
	"slices"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/structs"
)

// limits are those of a task's group, without where others than it may run.
func limits(rec *record) cgroup.Limits {
	l := rec.Launch
	return cgroup.Limits{CPU: l.CPU, CPULimit: l.CPULimit, Memory: l.Memory, Pids: l.Pids, Cores: l.Cores, IO: l.IO, Unified: l.Guarded}
}

// group is that of a task.
func (h *host) group(rec *record) *cgroup.Group {
	if rec.Launch.Container != "" {
		return h.cgroup.Open(rec.Cgroup)
	}
	return h.cgroup.OpenWith(rec.Cgroup, limits(rec))
}

// create makes it.
func (h *host) create(rec *record) (*cgroup.Group, error) {
	l := limits(rec)
	l.Unified = l.Unified && h.guard != nil
	for what, why := range map[string]string{"cores for itself": h.feats.NoCores, "bounds of its disk use": h.feats.NoIO} {
		if why != "" && (what[0] == 'c' && len(l.Cores) > 0 || what[0] == 'b' && l.IO != nil) {
			return nil, structs.Errorf(structs.Unavailable, "", "it asks for %s: %s", what, why)
		}
	}
	if l.IO != nil {
		var err error
		if l.Disk, err = cgroup.DiskOf(rec.Launch.TaskDir); err != nil {
			return nil, err
		}
	}
	h.pins.RLock()
	defer h.pins.RUnlock()
	l.Rest = h.rest
	return h.cgroup.Create(rec.Cgroup, l)
}

// limit gives the group of a task that runs other limits. Exhausted: it uses more memory than it may from now on. Without control groups
// there is nothing to limit.
func (h *host) limit(rec *record, to drivers.Limits) error {
	if rec.Cgroup == "" || h.cgroup == nil {
		return nil
	}
	return h.group(rec).Limit(cgroup.Limits{CPU: to.CPU, CPULimit: to.CPULimit, Memory: to.Hard()})
}

// relikely has the processes of a task that runs go first for want of memory, or not.
func (h *host) relikely(rec *record, revocable bool) error {
	if rec.Cgroup == "" || h.cgroup == nil {
		return nil
	}
	return relikely(h.group(rec), kind{revocable: !revocable}.likely(), kind{revocable: revocable}.likely())
}

// pin has tasks without cores of their own keep off those that others have. all are the records of tasks that have not ended, others are
// cores that tasks outside have. It is called before a task with cores starts, after one ended, and, for a container, whose group the
// runtime made, once it runs.
func (h *host) pin(all []*record, others []int) {
	if h.cgroup == nil || h.feats.NoCores != "" {
		return
	}
	h.pins.Lock()
	defer h.pins.Unlock()
	taken := slices.Clone(others)
	var paths []string
	for _, rec := range all {
		switch {
		case len(rec.Launch.Cores) > 0:
			taken = append(taken, rec.Launch.Cores...)
		case rec.Cgroup != "" && (h.cgroup.Version == 2 || rec.Launch.Container != ""):
			paths = append(paths, rec.Cgroup)
		}
	}
	rest, err := h.cgroup.Rest(taken)
	if err == nil && (rest != h.rest || rest != "") {
		h.rest = rest
		err = h.cgroup.KeepOff(rest, paths)
	}
	if err != nil {
		h.s.log.Warn("tasks may run on cores that others have for themselves", "why", err)
	}
}
