package disk

import (
	"context"
	"os"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Provider bounds the folder of each allocation that asks for disk, by quota, before its first task. The bound stays with the folder,
// and whoever removes that releases it.
type Provider struct{ *Limits }

var _ runner.Provider = Provider{}

// Name is for messages.
func (p Provider) Name() string { return "disk" }

// Needs reports whether a quota is to be set. Who is measured needs nothing beforehand.
func (p Provider) Needs(alloc *structs.Allocation, group *structs.Group) bool {
	return p.mode == Quota && group.Ask().Disk > 0
}

// Provide makes the folder and bounds it.
func (p Provider) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	object := "folder " + need.Dir
	err := os.MkdirAll(need.Dir, 0o755)
	if err == nil {
		given.Project, err = p.Bound(need.Dir, string(need.Alloc.ID), need.Group.Ask().Disk)
	}
	if err != nil {
		return drivers.DiskError(object, err)
	}
	return nil
}

// Release leaves the bound: the folder is there until it is collected.
func (p Provider) Release(ctx context.Context, id structs.AllocID) error { return nil }

// Keep has nothing to do: see Open.
func (p Provider) Keep(ctx context.Context, known func(structs.AllocID) bool) {}
