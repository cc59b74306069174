package volumes

import (
	"context"
	"fmt"
	"slices"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

var _ runner.Provider = (*Volumes)(nil)

// Name is for messages.
func (v *Volumes) Name() string { return "volumes" }

// Needs reports whether a group has volumes.
func (v *Volumes) Needs(alloc *structs.Allocation, group *structs.Group) bool {
	return len(group.Volumes) > 0 || len(alloc.Volumes) > 0
}

// Provide claims the volumes of an allocation and says what its tasks mount. A volume that an older allocation still has on this
// node, against what the region believes, is waited for: there is no second writer.
func (v *Volumes) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	type source struct {
		path     string
		readOnly bool
		block    bool
	}
	sources := map[string]source{}
	for _, x := range need.Group.Volumes {
		if x.Type != structs.HostVolume && brought(need, x.Name) {
			continue
		}
		var at source
		var err error
		if x.Type == structs.HostVolume {
			at.path, at.readOnly, err = v.hostPath(x, need.Group.Propagation(x.Name))
		} else {
			i := slices.IndexFunc(need.Alloc.Volumes, func(c structs.AllocVolume) bool { return c.Group == x.Name })
			if i < 0 {
				return structs.Errorf(structs.Invalid, fmt.Sprintf("volume %q", x.VolumeName(need.Alloc.Index)), "the region did not give it to the allocation")
			}
			at.path, err = v.claim(ctx, need.Alloc, &need.Alloc.Volumes[i])
		}
		if err != nil {
			return err
		}
		at.readOnly, at.block = at.readOnly || x.ReadOnly, x.Block()
		sources[x.Name] = at
	}
	for _, t := range need.Group.Tasks {
		for _, m := range t.VolumeMounts {
			from, has := sources[m.Volume]
			if !has { // the task brings it
				continue
			}
			if from.block {
				perms := "rw"
				if from.readOnly || m.ReadOnly {
					perms = "r"
				}
				given.Device(t.Name, drivers.Device{Host: from.path, Path: m.Destination, Perms: perms, Volume: m.Volume})
				continue
			}
			given.Mount(t.Name, drivers.Mount{Source: from.path, Target: m.Destination, ReadOnly: from.readOnly || m.ReadOnly, Propagation: m.Propagation})
		}
	}
	return nil
}

// brought reports whether a block of a group is of a volume that one of the tasks brings, or brought.
func brought(need *runner.Need, block string) bool {
	i := slices.IndexFunc(need.Alloc.Volumes, func(c structs.AllocVolume) bool { return c.Group == block })
	if i >= 0 {
		return need.Alloc.Volumes[i].Task != ""
	}
	x := need.Alloc.External
	return x != nil && x.Executor != "" // the task ended, and the region took the claim back
}

// Lend claims the volumes that a task of an executor brings and says where they are to be mounted.
func (v *Volumes) Lend(ctx context.Context, need *runner.Need, task string, mounts []*structs.VolumeMount, given *store.Given) error {
	for i := range need.Alloc.Volumes {
		c := &need.Alloc.Volumes[i]
		if c.Task != task {
			continue
		}
		at, err := v.claim(ctx, need.Alloc, c)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			if m.Volume == c.Group {
				given.Mount(task, drivers.Mount{Source: at, Target: m.Destination, ReadOnly: c.ReadOnly || m.ReadOnly})
			}
		}
	}
	return nil
}

// Release takes the volumes of an allocation back, with those that its tasks brought. Their data stays.
func (v *Volumes) Release(ctx context.Context, id structs.AllocID) error {
	return v.takeBack(ctx, func(holder structs.AllocID) bool { return allocOf(holder) == id })
}

// Return takes back what a task of an executor brought. The data stays.
func (v *Volumes) Return(ctx context.Context, id structs.AllocID, task string) error {
	return v.takeBack(ctx, func(holder structs.AllocID) bool { return holder == holderOf(id, task) })
}
