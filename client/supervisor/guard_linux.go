//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"maps"
	"slices"

	"github.com/proffer/proffer/drivers/exec/guard"
	"github.com/proffer/proffer/structs"
)

// openGuard has the kernel keep the ports of tasks for them; after an error it does as far as an earlier supervisor had it do so.
func (h *host) openGuard(in structs.Range, live map[uint64]*record) error {
	if in == (structs.Range{}) {
		return errors.New("no range of ports is given out")
	}
	dir, err := h.cgroup.UnifiedBase()
	if err != nil {
		return err
	}
	if dir == "" {
		return errors.New("cgroup version 2 is not mounted")
	}
	var tasks []guard.Task
	for _, seq := range slices.Sorted(maps.Keys(live)) {
		rec := live[seq]
		if rec.Exit != nil || rec.PID == 0 { // whoever was starting it has not begun with its program, or it is ended
			continue
		}
		tasks = append(tasks, h.guarded(rec))
	}
	h.guard, err = guard.Open(dir, in, tasks)
	return err
}

// guarded is a task for the guard. Its group is that of version 2, which one that was started by an earlier supervisor may lack.
func (h *host) guarded(rec *record) guard.Task {
	t := guard.Task{Name: rec.Launch.ID, Alloc: rec.alloc(), Ports: rec.ports()}
	if rec.Launch.Guarded {
		t.Group, _ = guard.ID(h.cgroup.Unified(rec.Cgroup))
	}
	return t
}

// take has the guard look at a task, whose groups are made, before its program runs.
func (h *host) take(rec *record) error {
	if h.guard == nil || !rec.Launch.Guarded && len(rec.Launch.Ports) == 0 {
		return nil
	}
	t := h.guarded(rec)
	if rec.Launch.Guarded && t.Group == 0 {
		return structs.Errorf(structs.Unavailable, "task "+rec.Launch.ID, "its cgroup %s is not there", h.cgroup.Unified(rec.Cgroup))
	}
	return h.guard.Take(t)
}

// give says which ports an allocation has.
func (h *host) give(alloc string, ports []structs.AssignedPort) error {
	if h.guard == nil {
		return nil
	}
	return h.guard.Give(alloc, ports)
}

// leave has the guard forget a task that has ended.
func (h *host) leave(rec *record) {
	if h.guard != nil {
		h.guard.Leave(rec.Launch.ID)
	}
}
