package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"unicode/utf8"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// Volumes of storage plugins that were made outside: a task names one, and how it is to be used. The region knows it by that name of
// its storage, if somebody registered it; otherwise it is recorded as long as work has it, so that who may use it at the same time is decided in one place.

// outsideVolume is one that a task sees.
type outsideVolume struct {
	wish       *structs.Volume
	references map[string]*structs.Secret // secrets that variables have, by their names among its own
	at         string
	readOnly   bool
}

// accessOf says who may use a volume at the same time, by how it is asked for.
var accessOf = map[wire.CSIMode]structs.VolumeAccess{
	wire.CSISingleNodeWriter: structs.AccessExclusive, wire.CSISingleNodeReaderOnly: structs.AccessExclusive, wire.CSIMultiNodeReaderOnly: structs.AccessShared,
	wire.CSIMultiNodeSingleWriter: structs.AccessSingleWriter, wire.CSIMultiNodeMultiWriter: structs.AccessShared,
}

// outside has the task see what a storage plugin has.
func (b *building) outside(v *wire.Volume) error {
	s := v.Source.CSI
	switch {
	case v.HostPath != nil || v.Image != nil || s == nil:
		return errors.New("its source has no 'csi_volume', or there is a 'host_path' or an 'image', too")
	case s.Static == nil:
		return errors.New("'CSIVolume.static_provisioning' is missing: a volume is one that its storage has")
	}
	x, c := s.Static, s.Static.Capability
	access, known := accessOf[c.Access.Mode]
	readers := c.Access.Mode == wire.CSISingleNodeReaderOnly || c.Access.Mode == wire.CSIMultiNodeReaderOnly
	switch {
	case x.VolumeID == "":
		return errors.New("'static_provisioning.volume_id' is empty")
	case (c.Block == nil) == (c.Mount == nil):
		return errors.New("its 'volume_capability' has neither 'block' nor 'mount', or both")
	case !known:
		return errors.New("its 'access_mode' is not known")
	case readers && v.Mode != wire.VolumeRO:
		return fmt.Errorf("its 'access_mode' is %s: use the mode RO", c.Access.Mode)
	}
	wish := &structs.Volume{Name: "outside", Access: access, Role: b.role, CSI: &structs.CSIVolume{Plugin: s.Plugin, External: x.VolumeID, Block: c.Block != nil, Mode: int64(c.Access.Mode)}}
	if c.Mount != nil {
		wish.CSI.FSType, wish.CSI.MountFlags = wire.TextOf(c.Mount.FSType), c.Mount.Flags
	}
	for name, value := range x.Context {
		if wish.CSI.Context == nil {
			wish.CSI.Context = map[string]string{}
		}
		wish.CSI.Context[name] = *value
	}
	references := map[string]*structs.Secret{}
	for _, o := range []struct {
		call string
		all  map[string]*wire.Secret
	}{{structs.StageCall, x.StageSecrets}, {structs.PublishCall, x.PublishSecrets}} {
		if err := b.callSecrets(o.call, o.all, wish.CSI, references); err != nil {
			return fmt.Errorf("'static_provisioning.node_%s_secrets': %w", o.call, err)
		}
	}
	if err := wish.Problems().Err(); err != nil {
		return err
	}
	var at string
	var err error
	if wish.CSI.Block {
		if at = path.Clean(v.ContainerPath); structs.BadDevicePath(at) != "" {
			return fmt.Errorf("a block device cannot be there: %s", structs.BadDevicePath(at))
		}
	} else if at, err = containerPath(v.ContainerPath); err != nil {
		return err
	}
	b.outsides = append(b.outsides, outsideVolume{wish, references, at, v.Mode == wire.VolumeRO})
	return nil
}

// callSecrets adds the secrets that a call of a plugin is given to those of a volume: values in clear, and what variables have as references.
func (b *building) callSecrets(call string, all map[string]*wire.Secret, to *structs.CSIVolume, references map[string]*structs.Secret) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value, at, err := b.secretOf(all[name])
		switch {
		case err != nil:
			return fmt.Errorf("'%.100s': %w", name, err)
		case at != nil:
			references[call+"/"+name] = at
			continue
		case !utf8.Valid(value):
			return fmt.Errorf("'%.100s': its value is no text in UTF-8, which plugins take alone", name)
		}
		if to.Secrets == nil {
			to.Secrets = structs.Secrets{}
		}
		to.Secrets[call+"/"+name] = string(value)
	}
	return nil
}

// ofStorage reports whether a volume is one of a storage plugin.
func ofStorage(v *wire.Volume) bool {
	return v.Source != nil && v.Source.Type != nil && *v.Source.Type == wire.SourceCSIVolume
}

// holdOutside has a task see volumes of storage plugins. Tasks that name the same one share it.
func holdOutside(l *server.Launch, task *structs.Task, used []outsideVolume) error {
	for _, v := range used {
		held, err := borrow(l, v)
		if err == nil {
			err = mount(task, held.Block, v.at, v.readOnly)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownOutside returns the volumes of storage plugins of a default executor, which are there for all of its tasks and come first in its launch.
func ownOutside(l *server.Launch, role string, pod *wire.ContainerInfo) (out []ownVolume, err error) {
	b := &building{role: role}
	for i := range pod.Volumes {
		if v := &pod.Volumes[i]; ofStorage(v) {
			if err := b.outside(v); err != nil {
				return nil, fmt.Errorf("of the executor: the volume at '%.200s': %w", v.ContainerPath, err)
			}
		}
	}
	for _, v := range b.outsides {
		held, err := borrow(l, v)
		if err != nil {
			return nil, err
		}
		held.Own = true
		out = append(out, ownVolume{taskVolume{at: v.at, readOnly: v.readOnly}, held.Block})
	}
	return out, nil
}

// borrow adds a volume of a storage plugin to what a launch uses, or finds it there.
func borrow(l *server.Launch, v outsideVolume) (*server.LaunchVolume, error) {
	c := v.wish.CSI
	i := slices.IndexFunc(l.Volumes, func(o *server.LaunchVolume) bool {
		return o.Outside != nil && o.Outside.CSI.Plugin == c.Plugin && o.Outside.CSI.External == c.External
	})
	if i < 0 {
		if len(l.Volumes) >= structs.MaxGroupVolumes {
			return nil, fmt.Errorf("more than %d volumes", structs.MaxGroupVolumes)
		}
		i = len(l.Volumes)
		block := &structs.GroupVolume{Name: fmt.Sprintf("volume-%d", i), Type: structs.PersistentVolume, ReadOnly: true}
		l.Volumes = append(l.Volumes, &server.LaunchVolume{Block: block.Name, Outside: v.wish, References: v.references})
		l.Group.Volumes = append(l.Group.Volumes, block)
	}
	is := l.Volumes[i]
	if o := is.Outside; o.Access != v.wish.Access || o.CSI.Mode != c.Mode || o.CSI.Block != c.Block || o.CSI.FSType != c.FSType ||
		!slices.Equal(o.CSI.MountFlags, c.MountFlags) || !maps.Equal(o.CSI.Context, c.Context) || !maps.Equal(o.CSI.Secrets, c.Secrets) ||
		!maps.EqualFunc(is.References, v.references, func(a, b *structs.Secret) bool { return *a == *b }) {
		return nil, fmt.Errorf("volume '%.200s' of plugin '%.64s' is named twice, and to be used in two ways", c.External, c.Plugin)
	}
	block := l.Group.Volume(is.Block)
	if block.ReadOnly = block.ReadOnly && v.readOnly; c.Block {
		block.AccessType = structs.AccessBlock
	}
	return is, nil
}
