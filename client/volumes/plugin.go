package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// pluginFile says which plugin mounts a volume, instead of what a volume on the node's own disk has.
const pluginFile = "plugin.json"

// attachTime is how long an allocation waits for a volume to be attached before it says what it waits for.
const attachTime = 10 * time.Second

// plugged reports whether a volume is one of a plugin.
func (v *Volumes) plugged(id structs.VolumeID) bool {
	_, err := os.Lstat(v.path(id, pluginFile))
	return err == nil
}

// plug gives an allocation a volume of a plugin: it notes the claim, waits until the region has attached the volume to the node, and has it
// mounted. What it notes first is what unplug goes by, so that an agent may be killed at any moment.
func (v *Volumes) plug(ctx context.Context, object string, holder structs.AllocID, c *structs.AllocVolume, mine claim) (string, error) {
	if v.Plugins == nil || !structs.ValidName(c.Plugin) {
		return "", structs.Errorf(structs.Invalid, object, "the node has no storage plugins")
	}
	is, at, err := v.attached(ctx, object, c)
	if err != nil {
		return "", err
	}
	end, err := v.begin(ctx, object, c.ID)
	if err != nil {
		return "", err
	}
	defer end()
	v.mu.Lock()
	err = v.enter(is)
	if err == nil {
		err = v.note(object, holder, c.ID, mine)
	}
	v.mu.Unlock()
	if err != nil {
		return "", err
	}
	return v.Plugins.Publish(ctx, is, at, holder, c.ReadOnly)
}

// enter makes the folders of a volume of a plugin. The caller holds mu.
func (v *Volumes) enter(x *structs.Volume) error {
	raw, err := json.Marshal(&csi.Mounted{Plugin: x.CSI.Plugin, External: x.CSI.External, ID: x.ID})
	if err == nil {
		err = os.MkdirAll(v.path(x.ID, claimsFolder), 0o700)
	}
	at := v.path(x.ID, pluginFile)
	if err == nil {
		err = os.WriteFile(at+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(at+".new", at)
	}
	if err != nil {
		return drivers.DiskError("volume "+x.Name, err)
	}
	return nil
}

// attached waits until the region says that a volume is attached to the node.
func (v *Volumes) attached(ctx context.Context, object string, c *structs.AllocVolume) (*structs.Volume, *structs.Attachment, error) {
	limit := time.NewTimer(attachTime)
	defer limit.Stop()
	for {
		v.mu.Lock()
		x, news := v.region[c.ID], v.news
		v.mu.Unlock()
		at := x.AttachedTo(v.Self())
		if at != nil && at.State == structs.Attached {
			return x, at, nil
		}
		select {
		case <-news:
		case <-limit.C:
			why := "the region has not said that it is attached to the node"
			if at != nil {
				why = "it is " + string(at.State)
			}
			if x != nil && x.CSI != nil && x.CSI.Error != "" {
				why += ": " + x.CSI.Error
			}
			return nil, nil, structs.Errorf(structs.Unavailable, object, "%s", why)
		case <-ctx.Done():
			return nil, nil, structs.Errorf(structs.Unavailable, object, "%w", context.Cause(ctx))
		}
	}
}

// begin waits until nothing else is done with a volume. The caller calls end.
func (v *Volumes) begin(ctx context.Context, object string, id structs.VolumeID) (end func(), err error) {
	end, err = v.turns.Take(ctx, string(id))
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	return end, nil
}

// unplug takes the volumes of plugins back that some have: from tasks, and, when they are the last ones, from the node. A claim goes after what
// it stands for.
func (v *Volumes) unplug(ctx context.Context, from func(holder structs.AllocID) bool) error {
	for _, id := range v.ids() {
		if !v.plugged(id) {
			continue
		}
		for _, holder := range v.holders(id) {
			if !from(holder) {
				continue
			}
			if err := v.unplugOne(ctx, id, holder); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *Volumes) unplugOne(ctx context.Context, id structs.VolumeID, holder structs.AllocID) error {
	object := "volume " + string(id)
	end, err := v.begin(ctx, object, id)
	if err != nil {
		return err
	}
	defer end()
	raw, err := os.ReadFile(v.path(id, pluginFile))
	m := &csi.Mounted{}
	if err == nil {
		err = json.Unmarshal(raw, m)
	}
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "what mounted it cannot be read: %w", err)
	}
	if err := v.Plugins.Unpublish(ctx, m, holder); err != nil {
		return err
	}
	others, err := os.ReadDir(v.path(id, claimsFolder))
	if err != nil {
		return drivers.DiskError(object, err)
	}
	last := !slices.ContainsFunc(others, func(e os.DirEntry) bool { return e.Name() != string(holder) })
	if last {
		if err := v.Plugins.Unstage(ctx, m); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err = os.Remove(v.path(id, claimsFolder, string(holder))); errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody else was faster
	}
	if last && err == nil {
		err = os.RemoveAll(v.path(id))
	}
	if err != nil {
		return drivers.DiskError(object, err)
	}
	return nil
}

// unclaimed removes the folder of a volume of a plugin when nothing has it: an agent was killed before it noted a claim, or after it removed
// the last one. Nothing of the volume is mounted then.
func (v *Volumes) unclaimed(ctx context.Context, id structs.VolumeID) error {
	end, err := v.begin(ctx, "volume "+string(id), id)
	if err != nil {
		return err
	}
	defer end()
	v.mu.Lock()
	defer v.mu.Unlock()
	if entries, err := os.ReadDir(v.path(id, claimsFolder)); len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(v.path(id))
}

// tidy takes back what allocations have that the node does not know any more.
func (v *Volumes) tidy(ctx context.Context) {
	for _, id := range v.ids() {
		if !v.plugged(id) {
			continue
		}
		entries, err := os.ReadDir(v.path(id, claimsFolder))
		if len(entries) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			if err := v.unclaimed(ctx, id); err != nil {
				v.log.Warn("the folder of a volume that nothing uses any more cannot be removed yet", "volume", id, "err", err)
			}
		}
		for _, e := range entries {
			if holder := structs.AllocID(e.Name()); !v.known(allocOf(holder)) {
				if err := v.unplugOne(ctx, id, holder); err != nil {
					v.log.Warn("a volume that nothing uses any more cannot be taken back yet", "volume", id, "alloc", allocOf(holder), "err", err)
				}
			}
		}
	}
}

// grown has a volume that became larger grow on the node, for each allocation that has it. The caller holds mu.
func (v *Volumes) grown(old, x *structs.Volume) {
	if old == nil || old.CSI == nil || x.CSI.Capacity <= old.CSI.Capacity || v.Plugins == nil {
		return
	}
	v.grow[x.ID] = x
}

// resize gives volumes their new size: those of plugins grow where they are mounted, others have another bound. What fails is tried again.
func (v *Volumes) resize(ctx context.Context) {
	v.mu.Lock()
	due := make([]*structs.Volume, 0, len(v.grow))
	for _, x := range v.grow {
		due = append(due, x)
	}
	v.mu.Unlock()
	for _, x := range due {
		if err := v.resizeOne(ctx, x); err != nil {
			v.log.Warn("a volume does not have its new size on the node yet", "volume", x.Name, "err", err)
			continue
		}
		v.mu.Lock()
		if v.grow[x.ID] == x {
			delete(v.grow, x.ID)
		}
		v.mu.Unlock()
	}
}

func (v *Volumes) resizeOne(ctx context.Context, x *structs.Volume) error {
	end, err := v.begin(ctx, "volume "+x.Name, x.ID)
	if err != nil {
		return err
	}
	defer end()
	if x.CSI == nil {
		return v.bound(x.ID, x.Size)
	}
	entries, err := os.ReadDir(v.path(x.ID, claimsFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if err := v.Plugins.Grow(ctx, x, structs.AllocID(e.Name())); err != nil {
			return err
		}
	}
	return err
}
