package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// Volumes of storage plugins that were made outside: a task names one, and how it is to be used. The region knows it by that name of
// its storage, if somebody registered it; otherwise it is recorded as long as work has it, so that who may use it at the same time is decided in one place.

// outsideVolume is one that a task sees.
type outsideVolume struct {
	wish     *structs.Volume
	at       string
	readOnly bool
}

// accessOf says who may use a volume at the same time, by how it is asked for.
var accessOf = map[wire.CSIMode]structs.VolumeAccess{
	wire.CSISingleNodeWriter: structs.AccessExclusive, wire.CSISingleNodeReaderOnly: structs.AccessExclusive, wire.CSIMultiNodeReaderOnly: structs.AccessShared,
	wire.CSIMultiNodeSingleWriter: structs.AccessSingleWriter, wire.CSIMultiNodeMultiWriter: structs.AccessShared,
}

// outside has the task see what a storage plugin has.
func (b *building) outside(v *wire.Volume, ofPod bool) error {
	s := v.Source.CSI
	switch {
	case v.HostPath != nil || v.Image != nil || s == nil:
		return errors.New("its source has no 'csi_volume', or there is a 'host_path' or an 'image', too")
	case s.Static == nil:
		return errors.New("'CSIVolume.static_provisioning' is missing: a volume is one that its storage has")
	case ofPod:
		return errors.New("a volume of a storage plugin that an executor mounts for its tasks is not served: name it in the volumes of each task")
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
	case len(x.StageSecrets)+len(x.PublishSecrets) > 0:
		return errors.New("secrets of a volume are not taken with a task: register it with 'volume create -plugin ID -external VOLUME -secrets FILE', and leave them out here")
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
	b.outsides = append(b.outsides, outsideVolume{wish, at, v.Mode == wire.VolumeRO})
	return nil
}

// holdOutside adds the volumes of storage plugins that a task sees to what its launch uses. Tasks that name the same one share it.
func holdOutside(l *server.Launch, task *structs.Task, used []outsideVolume) error {
	for _, v := range used {
		c := v.wish.CSI
		i := slices.IndexFunc(l.Volumes, func(o *server.LaunchVolume) bool {
			return o.Outside != nil && o.Outside.CSI.Plugin == c.Plugin && o.Outside.CSI.External == c.External
		})
		if i < 0 {
			if len(l.Volumes) >= structs.MaxGroupVolumes {
				return fmt.Errorf("more than %d volumes", structs.MaxGroupVolumes)
			}
			i = len(l.Volumes)
			block := &structs.GroupVolume{Name: fmt.Sprintf("volume-%d", i), Type: structs.PersistentVolume, ReadOnly: true}
			l.Volumes = append(l.Volumes, &server.LaunchVolume{Block: block.Name, Outside: v.wish})
			l.Group.Volumes = append(l.Group.Volumes, block)
		}
		is := l.Volumes[i]
		if o := is.Outside; o.Access != v.wish.Access || o.CSI.Mode != c.Mode || o.CSI.Block != c.Block || o.CSI.FSType != c.FSType ||
			!slices.Equal(o.CSI.MountFlags, c.MountFlags) || !maps.Equal(o.CSI.Context, c.Context) {
			return fmt.Errorf("volume '%.200s' of plugin '%.64s' is named twice, and to be used in two ways", c.External, c.Plugin)
		}
		block := l.Group.Volume(is.Block)
		if block.ReadOnly = block.ReadOnly && v.readOnly; c.Block {
			block.AccessType = structs.AccessBlock
		}
		if err := mount(task, is.Block, v.at, v.readOnly); err != nil {
			return err
		}
	}
	return nil
}
