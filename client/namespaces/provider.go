// Package namespaces keeps namespaces of the kernel by a file each, and gives allocations those that their tasks share: of processes, and of shared
// memory with a /dev/shm.
package namespaces

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/schema"
	"github.com/proffer/proffer/structs"
)

// Supervisor is what a Provider needs of that of the node: a PID namespace is as long as its first process, which the supervisor keeps as it keeps
// tasks. *supervisor.Client is one.
type Supervisor interface {
	Features(ctx context.Context) (*exec.Features, error)
	Start(ctx context.Context, launch *exec.Launch) (*exec.Status, error)
	Status(ctx context.Context, id string) (*exec.Status, error)
	Stop(ctx context.Context, id string, signal int, grace time.Duration) error
	Forget(ctx context.Context, id string) error
}

// Provider gives allocations what their tasks share. In a folder for each allocation there are the files ipc and pid, at which the namespaces are
// mounted, and shm, a file system in memory. See DESIGN.md.
type Provider struct {
	dir string
	sup Supervisor
	log *slog.Logger
}

var _ runner.Provider = (*Provider)(nil)

// New makes one whose files are in a folder of its own, which may be missing.
func New(dir string, sup Supervisor, log *slog.Logger) *Provider {
	return &Provider{dir: dir, sup: sup, log: log}
}

// HolderID is what the supervisor calls the process that keeps the PID namespace of an allocation.
func HolderID(alloc structs.AllocID) string { return string(alloc) + "/namespace" }

// Name is "namespaces".
func (*Provider) Name() string { return "namespaces" }

// Needs reports whether a task of the group shares one.
func (*Provider) Needs(_ *structs.Allocation, group *structs.Group) bool {
	for _, t := range group.Tasks {
		if t.SharesInAlloc(structs.PIDModeKey) || t.SharesInAlloc(structs.IPCModeKey) {
			return true
		}
	}
	return false
}

// Provide makes what the tasks share. Of the sizes of /dev/shm that they ask for the largest counts, and one with a tmpfs of its own there keeps that.
// Nothing is made for tasks that are not isolated, nor by an agent that is not root: they have what is the node's.
func (p *Provider) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	if !able() {
		return nil
	}
	object := "namespaces of allocation " + structs.Short(need.Alloc.ID)
	// Nobody but root comes by there: anybody may write to the shared memory itself.
	if err := os.MkdirAll(p.folder(need.Alloc.ID), 0o700); err != nil {
		return drivers.DiskError(object, err)
	}
	f, err := p.sup.Features(ctx)
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	processes, size := false, structs.Bytes(0)
	shm := p.path(need.Alloc.ID, "shm")
	for _, t := range need.Group.Tasks {
		if t.Driver == "exec" && !f.Full {
			continue
		}
		processes = processes || t.SharesInAlloc(structs.PIDModeKey)
		if t.SharesInAlloc(structs.IPCModeKey) {
			with := schema.Read("task "+t.Name+".config", t.Config).Namespaces()
			size = max(size, with.Shm)
			if !slices.ContainsFunc(t.Tmpfs, func(f *structs.Tmpfs) bool { return f.Destination == structs.SharedMemory }) {
				given.Mount(t.Name, drivers.Mount{Source: shm, Target: structs.SharedMemory})
			}
		}
	}
	if size > 0 {
		given.Ipcns = p.path(need.Alloc.ID, "ipc")
		if err := memory(given.Ipcns, shm, size); err != nil {
			return structs.Errorf(structs.Unavailable, object, "make its shared memory: %w", err)
		}
	}
	if processes {
		given.Pidns = p.path(need.Alloc.ID, "pid")
		return p.processes(ctx, object, need.Alloc, given.Pidns)
	}
	return nil
}

// processes has the supervisor keep a PID namespace, and mounts it at path. One whose first process has ended is no more, and neither is what was in it.
func (p *Provider) processes(ctx context.Context, object string, alloc *structs.Allocation, path string) error {
	id := HolderID(alloc.ID)
	status, err := p.sup.Status(ctx, id)
	switch {
	case err == nil && status.Exit == nil && Kept(path):
		return nil
	case err == nil && status.Exit != nil:
		if err := p.sup.Forget(ctx, id); err != nil {
			return err
		}
	case err != nil && structs.KindOf(err) != structs.NotFound:
		return structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	if err := Drop(path); err != nil {
		return structs.Errorf(structs.Unavailable, object, "remove the one before: %w", err)
	}
	if err != nil || status.Exit != nil {
		if err := touch(path); err != nil { // so that Keep finds the process
			return drivers.DiskError(object, err)
		}
		status, err = p.sup.Start(ctx, &exec.Launch{ID: id, Full: true, Hold: true, Fenced: alloc.OnLost == "fence"})
		if err != nil {
			return structs.Errorf(structs.Unavailable, object, "%w", err)
		}
	}
	if err := keepOf(status.PID, path); err != nil {
		return structs.Errorf(structs.Unavailable, object, "keep its namespace of processes: %w", err)
	}
	// Were it gone meanwhile, the number could have been another's.
	if status, err = p.sup.Status(ctx, id); err != nil || status.Exit != nil {
		return structs.Errorf(structs.Unavailable, object, "the process that keeps it has ended")
	}
	return nil
}

// Release removes what an allocation has, with all processes that are left in its namespace.
func (p *Provider) Release(ctx context.Context, alloc structs.AllocID) error {
	if _, err := os.Lstat(p.folder(alloc)); os.IsNotExist(err) {
		return nil
	}
	if _, err := os.Lstat(p.path(alloc, "pid")); err == nil {
		id := HolderID(alloc)
		if err := p.sup.Stop(ctx, id, 9, 0); err != nil && structs.KindOf(err) != structs.NotFound {
			return err
		}
		if err := p.sup.Forget(ctx, id); err != nil {
			return err
		}
	}
	if err := remove(p.folder(alloc)); err != nil {
		return structs.Errorf(structs.Unavailable, "namespaces of allocation "+structs.Short(alloc), "remove them: %w", err)
	}
	return nil
}

// keepEvery is how often is looked for what belongs to nobody.
const keepEvery = 10 * time.Minute

// Keep releases what allocations have that nobody knows.
func (p *Provider) Keep(ctx context.Context, known func(structs.AllocID) bool) {
	for {
		entries, err := os.ReadDir(p.dir)
		if err != nil && !os.IsNotExist(err) {
			p.log.Warn("namespaces that belong to nobody cannot be looked for", "err", err)
		}
		for _, e := range entries {
			alloc := structs.AllocID(e.Name())
			if known(alloc) {
				continue
			}
			if err := p.Release(ctx, alloc); err != nil && ctx.Err() == nil {
				p.log.Warn("namespaces that belong to nobody cannot be removed", "alloc", alloc, "err", err)
			}
		}
		select {
		case <-time.After(keepEvery):
		case <-ctx.Done():
			return
		}
	}
}

func (p *Provider) folder(alloc structs.AllocID) string { return filepath.Join(p.dir, string(alloc)) }

func (p *Provider) path(alloc structs.AllocID, name string) string {
	return filepath.Join(p.folder(alloc), name)
}
