package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Who has a volume: an allocation, or a task that brings it, by a file in the folder of the volume. It outlives the agent.

// holderOf names who has a claim: an allocation, or a task of one.
func holderOf(alloc structs.AllocID, task string) structs.AllocID {
	if task == "" {
		return alloc
	}
	return alloc + "@" + structs.AllocID(task)
}

// allocOf is the allocation of who has a claim.
func allocOf(holder structs.AllocID) structs.AllocID {
	alloc, _, _ := strings.Cut(string(holder), "@")
	return structs.AllocID(alloc)
}

// claim is what an allocation has of a volume.
type claim struct {
	Incarnation uint64
	Alone       bool
	Reads       bool `json:",omitempty"` // and does not write
}

// claim gives an allocation, or the task of one that brings it, a persistent volume, which is made when it is not there yet.
func (v *Volumes) claim(ctx context.Context, alloc *structs.Allocation, c *structs.AllocVolume) (string, error) {
	object := fmt.Sprintf("volume %q", c.Name)
	if !structs.ValidName(string(c.ID)) || !structs.ValidName(string(alloc.ID)) || c.Task != "" && !structs.ValidName(c.Task) {
		return "", structs.Errorf(structs.Invalid, object, "it is claimed under a name that is none")
	}
	holder := holderOf(alloc.ID, c.Task)
	mine := claim{alloc.Incarnation, c.Access.Alone(c.ReadOnly), c.ReadOnly}
	if c.Plugin != "" {
		return v.plug(ctx, object, holder, c, mine)
	}
	end, err := v.begin(ctx, object, c.ID)
	if err != nil {
		return "", err
	}
	defer end()
	size, err := v.hold(object, holder, c, mine)
	if err != nil {
		return "", err
	}
	if err := v.bound(c.ID, size); err != nil { // it may look at each file
		return "", drivers.DiskError(object, err)
	}
	return v.path(c.ID, dataFolder), nil
}

// hold makes a volume that is not there yet, notes a claim, and returns the size.
func (v *Volumes) hold(object string, holder structs.AllocID, c *structs.AllocVolume, mine claim) (structs.Bytes, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.purge[c.ID] {
		return 0, structs.Errorf(structs.NotFound, object, "it was deleted")
	}
	if _, err := v.dirOf(c.Disk); err != nil {
		return 0, err
	}
	size, err := v.make(c)
	if err != nil {
		return 0, drivers.DiskError(object, err)
	}
	return size, v.note(object, holder, c.ID, mine)
}

// note writes a claim, unless it would be beside another one that keeps it away. The caller holds mu.
func (v *Volumes) note(object string, holder structs.AllocID, id structs.VolumeID, mine claim) error {
	others, err := v.claims(id)
	if err != nil {
		return drivers.DiskError(object, err)
	}
	for other, theirs := range others {
		if other != holder && mine.Alone && theirs.Alone {
			return structs.Errorf(structs.Unavailable, object, "allocation %s has it on this node until it has ended", structs.Short(allocOf(other)))
		}
	}
	raw, err := json.Marshal(mine)
	if err == nil {
		err = os.WriteFile(v.path(id, claimsFolder, string(holder)), raw, 0o600)
	}
	if err != nil {
		return drivers.DiskError(object, err)
	}
	return nil
}

// claims reads who has a volume, and forgets those that the node does not know any more. The caller holds mu.
func (v *Volumes) claims(id structs.VolumeID) (map[structs.AllocID]claim, error) {
	entries, err := os.ReadDir(v.path(id, claimsFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[structs.AllocID]claim{}
	for _, e := range entries {
		at := v.path(id, claimsFolder, e.Name())
		if v.known != nil && !v.known(allocOf(structs.AllocID(e.Name()))) && !v.plugged(id) {
			if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		raw, err := os.ReadFile(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		c := claim{Alone: true} // one that cannot be read keeps others away
		if err == nil {
			json.Unmarshal(raw, &c)
		}
		out[structs.AllocID(e.Name())] = c
	}
	return out, nil
}

// takeBack takes volumes back from some who have claims.
func (v *Volumes) takeBack(ctx context.Context, from func(holder structs.AllocID) bool) error {
	if err := v.unplug(ctx, from); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, volume := range v.ids() {
		for _, holder := range v.holders(volume) {
			if !from(holder) {
				continue
			}
			if err := os.Remove(v.path(volume, claimsFolder, string(holder))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return drivers.DiskError("volume "+string(volume), err)
			}
		}
	}
	v.nudge()
	return nil
}

// holders lists who has claims of a volume.
func (v *Volumes) holders(id structs.VolumeID) (out []structs.AllocID) {
	entries, _ := os.ReadDir(v.path(id, claimsFolder))
	for _, e := range entries {
		out = append(out, structs.AllocID(e.Name()))
	}
	return out
}
