package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Volumes of containers. What a task sees of its node is a bind, which the node resolves when the task starts: it alone knows what of
// itself it lets tasks see.

// volumes has the task see what a container says.
func (b *building) volumes(c *wire.ContainerInfo) error {
	if b.pod != nil && (c == nil || c.Mesos == nil || c.Mesos.Image == nil) {
		// A task without an image has the files of its executor, so also what that one mounts among them.
		for i := range b.pod.Volumes {
			if v := &b.pod.Volumes[i]; path.IsAbs(v.ContainerPath) && !ofStorage(v) {
				if err := b.volume(v, true); err != nil {
					return fmt.Errorf("of the executor: %w", err)
				}
			}
		}
		for _, v := range b.own {
			if v.below() != "" {
				continue
			}
			if err := mount(b.task, v.block, v.at, v.readOnly); err != nil {
				return fmt.Errorf("of the executor: %w", err)
			}
		}
	}
	if c == nil {
		return nil
	}
	for i := range c.Volumes {
		if err := b.volume(&c.Volumes[i], false); err != nil {
			return err
		}
	}
	return nil
}

// volume is volumes for one; ofPod: it is one of the executor, whose sandbox is what the tasks of the pod share.
func (b *building) volume(v *wire.Volume, ofPod bool) error {
	if v.Mode != wire.VolumeRW && v.Mode != wire.VolumeRO {
		return fmt.Errorf("the volume at '%.200s' has no mode: RW or RO", v.ContainerPath)
	}
	if ofStorage(v) {
		if err := b.outside(v); err != nil {
			return fmt.Errorf("the volume at '%.200s': %w", v.ContainerPath, err)
		}
		return nil
	}
	at, err := containerPath(v.ContainerPath)
	if err != nil {
		return err
	}
	if v.Source != nil && v.Source.Type != nil && *v.Source.Type == wire.SourceDockerVolume {
		return b.dockerVolume(v, at)
	}
	if b.task.Driver == "docker" && b.task.Config["volume_driver"] != nil && v.HostPath != nil && v.Source == nil && !path.IsAbs(*v.HostPath) {
		// As "docker run" has it: with a driver, what is no path names a volume of it.
		named := *v
		named.HostPath, named.Source = nil, &wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: *v.HostPath}}
		return b.dockerVolume(&named, at)
	}
	if v.Image != nil {
		if err := b.imageMount(v, at, ofPod); err != nil {
			return fmt.Errorf("the volume at '%.200s': %w", v.ContainerPath, err)
		}
		return nil
	}
	if own, err := b.ownAt(v); own != nil || err != nil {
		if err == nil {
			err = mount(b.task, own.block, at, own.readOnly || v.Mode == wire.VolumeRO)
		}
		return err
	}
	x := &structs.Bind{Destination: at, ReadOnly: v.Mode == wire.VolumeRO}
	if err := b.source(x, v, ofPod); err != nil {
		return fmt.Errorf("the volume at '%.200s': %w", v.ContainerPath, err)
	}
	return b.see(x)
}

// ownVolume is a persistent volume of an executor, or one of a storage plugin, in a volume block of its allocation.
type ownVolume struct {
	taskVolume
	block string
}

// below is where it is below the sandbox of the executor; empty: it is somewhere else.
func (v *ownVolume) below() string {
	rest, is := strings.CutPrefix(v.at, "/local/")
	if !is {
		return ""
	}
	return rest
}

// ownAt returns the volume block of its executor that a task sees by a path of the executor's sandbox; nil: it is none.
func (b *building) ownAt(v *wire.Volume) (*ownVolume, error) {
	if v.HostPath != nil || v.Source == nil || v.Source.SandboxPath == nil || v.Source.SandboxPath.Type == nil || *v.Source.SandboxPath.Type != wire.SandboxParent {
		return nil, nil
	}
	at := path.Clean(v.Source.SandboxPath.Path)
	for i := range b.own {
		below := b.own[i].below()
		switch {
		case below == "":
		case at == below:
			return &b.own[i], nil
		case strings.HasPrefix(at, below+"/"):
			return nil, fmt.Errorf("the volume at '%.200s': '%.200s' is below the volume '%.200s' of the executor: name that", v.ContainerPath, at, below)
		}
	}
	return nil, nil
}

// see adds a bind.
func (b *building) see(x *structs.Bind) error {
	if err := untaken(b.task, x.Destination); err != nil {
		return err
	}
	b.task.Binds = append(b.task.Binds, x)
	return nil
}

// untaken refuses a path at which a task sees something already, and more than it may see.
func untaken(t *structs.Task, at string) error {
	if slices.ContainsFunc(t.Binds, func(o *structs.Bind) bool { return o.Destination == at }) ||
		slices.ContainsFunc(t.VolumeMounts, func(o *structs.VolumeMount) bool { return o.Destination == at }) ||
		slices.ContainsFunc(t.ImageMounts, func(o *structs.ImageMount) bool { return o.Destination == at }) {
		return fmt.Errorf("Container path '%.200s' is used twice", at)
	}
	if len(t.Binds) >= structs.MaxMounts || t.Mounts() >= structs.MaxMounts {
		return fmt.Errorf("more than %d volumes", structs.MaxMounts)
	}
	return nil
}

// imageMount has the task see the files of an image.
func (b *building) imageMount(v *wire.Volume, at string, ofPod bool) error {
	i := v.Image
	switch {
	case v.HostPath != nil || v.Source != nil:
		return errors.New("it has an 'image', and a 'host_path' or a 'source': leave one out")
	case i.Type != wire.ImageDocker || i.Docker == nil || i.Docker.Name == "":
		return errors.New("only images of the type DOCKER are served")
	case ofPod && v.Mode != wire.VolumeRO:
		return errors.New("an 'image' that an executor mounts for its tasks is for reading, since each of them would write to one of its own: use the mode RO, or a volume of the task")
	}
	m := &structs.ImageMount{Image: i.Docker.Name, Destination: at, Writable: v.Mode == wire.VolumeRW, ForcePull: i.Cached != nil && !*i.Cached}
	if err := untaken(b.task, at); err != nil {
		return err
	}
	b.task.ImageMounts = append(b.task.ImageMounts, m)
	return b.imageSecret(i.Docker, at)
}

// source fills in what is seen.
func (b *building) source(x *structs.Bind, v *wire.Volume, ofPod bool) error {
	switch {
	case v.Image != nil:
		return errors.New("an 'image' of an executor has no folder in its sandbox: name it in the volumes of the task")
	case v.HostPath != nil && v.Source != nil:
		return errors.New("it has a 'host_path' and a 'source': leave one out")
	case v.HostPath != nil:
		return hostPath(x, *v.HostPath, nil, ofPod)
	case v.Source == nil || v.Source.Type == nil:
		return errors.New("it has neither a 'host_path' nor a 'source' with a type")
	}
	missing := func(what string) error { return fmt.Errorf("its source has no '%s'", what) }
	switch s := v.Source; *s.Type {
	case wire.SourceHostPath:
		if s.HostPath == nil {
			return missing("host_path")
		}
		if !path.IsAbs(s.HostPath.Path) {
			return fmt.Errorf("'%.200s' is not an absolute path of the node", s.HostPath.Path)
		}
		return hostPath(x, s.HostPath.Path, s.HostPath.Propagation, ofPod)
	case wire.SourceSandboxPath:
		if s.SandboxPath == nil {
			return missing("sandbox_path")
		}
		return b.sandboxPath(x, s.SandboxPath, ofPod)
	case wire.SourceSecret:
		if s.Secret == nil {
			return missing("secret")
		}
		return b.secretFile(x, s.Secret)
	default:
		return fmt.Errorf("a source of the type %s is not known", s.Type)
	}
}

// hostPath is a path of the node; one that is not absolute is below the sandbox.
func hostPath(x *structs.Bind, at string, p *wire.MountPropagation, ofPod bool) error {
	if !path.IsAbs(at) {
		x.From, x.Source = sandboxOf(ofPod), path.Clean(at)
		return below(at)
	}
	if strings.ContainsRune(at, 0) || len(at) > 1024 {
		return fmt.Errorf("%.200q is no path", at)
	}
	x.From, x.Source = structs.BindHost, path.Clean(at)
	if p == nil || p.Mode == nil {
		return nil
	}
	switch *p.Mode {
	case wire.PropagationHostToContainer:
		x.Propagation = structs.PropagationHostToTask
	case wire.PropagationBidirectional:
		x.Propagation = structs.PropagationBidirectional
	case wire.PropagationUnknown:
	default:
		return fmt.Errorf("its mount_propagation is not known: HOST_TO_CONTAINER or BIDIRECTIONAL")
	}
	if x.ReadOnly && x.Propagation == structs.PropagationBidirectional {
		return errors.New("it is read-only, and mounts that are made in it are to be seen by the node: use the mode RW")
	}
	return nil
}

func sandboxOf(ofPod bool) structs.BindFrom {
	if ofPod {
		return structs.BindShared
	}
	return structs.BindOwn
}

// below refuses a path that is not one below a folder.
func below(at string) error {
	if clean := path.Clean(at); at == "" || path.IsAbs(at) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") ||
		strings.ContainsAny(at, "\x00\\") || len(at) > 512 {
		return fmt.Errorf("'%.200s' is no path below the sandbox", at)
	}
	return nil
}

// sandboxPath is a path below the sandbox of the task, or of the executor that it is a part of.
func (b *building) sandboxPath(x *structs.Bind, s *wire.SandboxPath, ofPod bool) error {
	if err := below(s.Path); err != nil {
		return err
	}
	kind := wire.SandboxUnknown
	if s.Type != nil {
		kind = *s.Type
	}
	x.Source = path.Clean(s.Path)
	switch {
	case kind == wire.SandboxSelf:
		x.From = sandboxOf(ofPod)
		return nil
	case kind != wire.SandboxParent:
		return errors.New("its sandbox_path has no type: SELF or PARENT")
	case b.pod == nil || ofPod:
		return errors.New("a sandbox_path of the type PARENT is for tasks of a group with the default executor: no other one has a parent here")
	}
	// What the executor mounts below its sandbox is there for its tasks, too.
	for i := range b.pod.Volumes {
		v := &b.pod.Volumes[i]
		if path.IsAbs(v.ContainerPath) {
			continue
		}
		rest, is := strings.CutPrefix(x.Source+"/", path.Clean(v.ContainerPath)+"/")
		if !is {
			continue
		}
		own := x.ReadOnly
		x.ReadOnly = v.Mode == wire.VolumeRO
		if err := b.source(x, v, true); err != nil {
			return fmt.Errorf("of the executor: %w", err)
		}
		x.ReadOnly = x.ReadOnly || own
		if rest != "" && x.From == structs.BindSecret {
			return fmt.Errorf("'%.200s' of the executor is a secret, and no folder", v.ContainerPath)
		}
		x.Source = path.Join(x.Source, rest)
		return nil
	}
	x.From = structs.BindShared
	return nil
}

// dockerVolume is a volume of the Docker engine.
func (b *building) dockerVolume(v *wire.Volume, at string) error {
	d := v.Source.Docker
	fault := func(format string, args ...any) error {
		return fmt.Errorf("the volume at '%.200s': "+format, append([]any{v.ContainerPath}, args...)...)
	}
	switch {
	case v.HostPath != nil || v.Image != nil || d == nil:
		return fault("its source has no 'docker_volume', or there is a 'host_path' or an 'image', too")
	case b.task.Driver != "docker":
		return fault("a DOCKER_VOLUME is one of the Docker engine, whose plugins serve its containers alone: run the task in a container of the type DOCKER, " +
			"or use a storage plugin (CSI) that has the volume, with a source of the type CSI_VOLUME")
	case !structs.ValidName(d.Name):
		return fault("'%.200s' is not the name of a volume", d.Name)
	}
	m := map[string]any{"type": "volume", "source": d.Name, "target": at, "read_only": v.Mode == wire.VolumeRO}
	if driver := wire.TextOf(d.Driver); driver != "" {
		m["driver"] = literal(driver)
	}
	if d.Options != nil && len(d.Options.Parameters) > 0 {
		options := map[string]any{}
		for _, o := range d.Options.Parameters {
			if _, twice := options[o.Key]; twice || o.Key == "" {
				return fault("its 'driver_options' have '%.100s' twice, or an option without a name", o.Key)
			}
			options[o.Key] = literal(o.Value)
		}
		m["driver_options"] = options
	}
	b.engineMount(m)
	return nil
}

// engineMount adds a mount block to what the docker driver is told.
func (b *building) engineMount(m map[string]any) {
	list, _ := b.task.Config["mount"].([]any)
	b.task.Config["mount"] = append(list, m)
}
