package csi

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// callTime bounds one call that mounts or unmounts.
const callTime = 2 * time.Minute

// abandonAfter (Plugins.Abandon, when that is set) is how long a plugin may be gone from the node before what it mounted is unmounted without it: a job that is replaced
// is back by then, one that was purged is not.
const abandonAfter = 2 * time.Minute

// Mounted is one volume of a plugin on the node.
type Mounted struct {
	Plugin   string
	External string // as the storage calls it
	ID       structs.VolumeID
}

func (p *Plugins) place(m *Mounted, last string) string {
	return filepath.Join(p.dir, mountsFolder, m.Plugin, string(m.ID), last)
}

// valid looks at the names that make a path: those of the volume, and who has it, which may be a task: ALLOC@TASK.
func (m *Mounted) valid(holder structs.AllocID) error {
	names := append(strings.Split(string(holder), "@"), m.Plugin, string(m.ID))
	if slices.ContainsFunc(names, func(name string) bool { return !structs.ValidName(name) }) {
		return structs.Errorf(structs.Invalid, fmt.Sprintf("volume %q", m.ID), "its names are no names")
	}
	return nil
}

// Publish mounts a volume that is attached to the node for an allocation and returns where. It may be repeated.
func (p *Plugins) Publish(ctx context.Context, v *structs.Volume, at *structs.Attachment, alloc structs.AllocID, readOnly bool) (string, error) {
	c := v.CSI
	m := &Mounted{c.Plugin, c.External, v.ID}
	if err := m.valid(alloc); err != nil {
		return "", err
	}
	stage, target := "", p.place(m, string(alloc))
	said, s, err := p.server(c.Plugin, true)
	if err != nil {
		if is, _ := mounted(target); is {
			return target, nil // a task that is started again need not wait for it
		}
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if said.node.Stages {
		stage = p.place(m, stageFolder)
		if err := os.MkdirAll(stage, 0o700); err != nil {
			return "", drivers.DiskError("volume "+v.Name, err)
		}
		var r message
		r.text(1, c.External)
		r.texts(2, at.Context)
		r.text(3, stage)
		r.bytes(4, use(v.Access, c))
		r.texts(5, c.SecretsOf(structs.StageCall))
		r.texts(6, c.Context)
		if _, err := s.call(ctx, "Node/NodeStageVolume", r); err != nil {
			return "", again(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return "", drivers.DiskError("volume "+v.Name, err)
	}
	var r message
	r.text(1, c.External)
	r.texts(2, at.Context)
	r.text(3, stage)
	r.text(4, target)
	r.bytes(5, use(v.Access, c))
	r.flag(6, readOnly)
	r.texts(7, c.SecretsOf(structs.PublishCall))
	r.texts(8, c.Context)
	if _, err := s.call(ctx, "Node/NodePublishVolume", r); err != nil {
		return "", again(err)
	}
	if c.Block {
		if info, err := os.Lstat(target); err != nil || info.Mode().Type() != os.ModeDevice {
			return "", structs.Errorf(structs.Unavailable, "volume "+v.Name, "plugin %q says that it is published, and no block device is at %s", c.Plugin, target).
				Advise("its task must see the mounts and the devices of the host: see the log of the plugin")
		}
	} else if is, err := mounted(target); err != nil || !is {
		return "", structs.Errorf(structs.Unavailable, "volume "+v.Name, "plugin %q says that it is mounted, and nothing is at %s", c.Plugin, target).
			Advise("its task must see the mounts of the host: see the log of the plugin")
	}
	if said.node.Expands && c.Capacity > 0 {
		if err := p.grow(ctx, s, v, target, stage); err != nil {
			return "", err
		}
	}
	return target, nil
}

// Grow has a mounted volume take the capacity that it has. Where it is not mounted, it is done when it is.
func (p *Plugins) Grow(ctx context.Context, v *structs.Volume, alloc structs.AllocID) error {
	m := &Mounted{v.CSI.Plugin, v.CSI.External, v.ID}
	said, s, err := p.server(m.Plugin, true)
	if err != nil || !said.node.Expands {
		return err
	}
	stage := ""
	if said.node.Stages {
		stage = p.place(m, stageFolder)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return p.grow(ctx, s, v, p.place(m, string(alloc)), stage)
}

func (p *Plugins) grow(ctx context.Context, s *socket, v *structs.Volume, target, stage string) error {
	var r message
	r.text(1, v.CSI.External)
	r.text(2, target)
	r.bytes(3, capacity(v.CSI.Capacity))
	r.text(4, stage)
	r.bytes(5, use(v.Access, v.CSI))
	_, err := s.call(ctx, "Node/NodeExpandVolume", r)
	return again(err)
}

// again makes what a plugin says a shortage, except what it will always say.
func again(err error) error {
	if structs.KindOf(err) == structs.Conflict {
		return structs.Errorf(structs.Unavailable, "volume", "%w", err)
	}
	return err
}

// Unpublish takes back what Publish gave an allocation. It may be repeated.
func (p *Plugins) Unpublish(ctx context.Context, m *Mounted, alloc structs.AllocID) error {
	if err := m.valid(alloc); err != nil {
		return err
	}
	return p.unmount(ctx, m, p.place(m, string(alloc)), "Node/NodeUnpublishVolume")
}

// Unstage takes a volume off the node that no allocation there has any more. It may be repeated.
func (p *Plugins) Unstage(ctx context.Context, m *Mounted) error {
	if err := m.valid("x"); err != nil {
		return err
	}
	at := p.place(m, stageFolder)
	if _, err := os.Lstat(at); err == nil {
		if err := p.unmount(ctx, m, at, "Node/NodeUnstageVolume"); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Dir(at)); err != nil && !os.IsNotExist(err) {
		return drivers.DiskError("volume "+string(m.ID), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(m.Plugin)
	return nil
}

// unmount has the plugin undo what it did at a path, and removes that. When the plugin is gone for good it is unmounted without it.
func (p *Plugins) unmount(ctx context.Context, m *Mounted, at, method string) error {
	object := "volume " + string(m.ID)
	_, s, err := p.server(m.Plugin, true)
	if err != nil {
		if _, there := os.Lstat(at); os.IsNotExist(there) {
			return nil // the plugin has done its part, or never got that far
		}
	}
	switch {
	case err == nil:
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		var r message
		r.text(1, m.External)
		r.text(2, at)
		if _, err = s.call(ctx, method, r); structs.KindOf(err) == structs.NotFound {
			err = nil
		}
	case p.abandoned(m.Plugin):
		p.log.Warn("a volume is unmounted without its plugin, which is gone", "volume", m.ID, "plugin", m.Plugin, "path", at)
		err = unmount(at)
	}
	if err != nil {
		return structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	if is, err := mounted(at); err != nil && !os.IsNotExist(err) || is {
		return structs.Errorf(structs.Unavailable, object, "plugin %q says that it is unmounted, and it is still mounted at %s", m.Plugin, at)
	}
	if err := os.Remove(at); err != nil && !os.IsNotExist(err) {
		return drivers.DiskError(object, err)
	}
	return nil
}

// abandoned reports whether no task of a plugin has been on the node for long.
func (p *Plugins) abandoned(plugin string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tasks {
		if t.Plugin == plugin && t.Node {
			return false
		}
	}
	since, noted := p.gone[plugin]
	if !noted {
		p.gone[plugin] = time.Now()
	}
	return noted && time.Since(since) >= cmp.Or(p.Abandon, abandonAfter)
}
