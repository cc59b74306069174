package runner

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// bind adds to a start what its external framework wants the task to see beside its own folders. The files of its secrets are written.
func (t *task) bind(driver drivers.Driver, scope *taskdir.Scope, spec *drivers.Spec) error {
	binds := spec.Task.Binds
	if len(binds) == 0 {
		return nil
	}
	dir, name := t.alloc.dir, spec.Task.Name
	if err := dir.Create(name, scope.Owner()); err != nil {
		return err
	}
	var also []string
	if d, ok := driver.(drivers.Mounter); ok {
		also = d.HostPaths()
	}
	mounts := spec.Mounts[:len(spec.Mounts):len(spec.Mounts)] // the others are the allocation's
	for _, b := range binds {
		m, err := t.mountOf(b, also, scope)
		switch {
		case err != nil:
		case spec.Task.Driver == "exec":
			err = placeable(&m, b)
		case spec.Task.Driver == "docker":
			err = mayFollow(&m, b, also)
		}
		if err == nil {
			err = land(dir, name, m, scope.Owner())
		}
		if err != nil {
			return err
		}
		if !slices.Contains(mounts, m) {
			mounts = append(mounts, m)
		}
	}
	spec.Mounts = mounts
	return nil
}

// land makes what is mounted over in the working folder of a task.
func land(dir taskdir.Dir, name string, m drivers.Mount, owner taskdir.Owner) error {
	rest, own := strings.CutPrefix(m.Target, "/local/")
	if !own {
		return nil
	}
	return dir.Landing(name, rest, m.Source, owner)
}

// mountOf finds the source of a bind.
func (t *task) mountOf(b *structs.Bind, also []string, scope *taskdir.Scope) (m drivers.Mount, err error) {
	dir, name := t.alloc.dir, t.name
	m = drivers.Mount{Target: b.Destination, ReadOnly: b.ReadOnly}
	switch b.From {
	case structs.BindHost:
		if t.alloc.node.Bind == nil {
			return m, structs.Errorf(structs.Forbidden, "host path "+strconv.Quote(b.Source), "this node lets tasks mount nothing of it")
		}
		return t.alloc.node.Bind(b, also)
	case structs.BindOwn:
		m.Below = filepath.Join(dir.Task(name), "local")
		err = taskdir.MakeBelow(m.Below, b.Source, scope.Owner(), 0o755)
	case structs.BindShared:
		m.Below = dir.Shared()
		err = taskdir.MakeBelow(m.Below, b.Source, scope.Owner(), 0o777)
	case structs.BindSecret:
		m.Below, m.ReadOnly = filepath.Join(dir.Task(name), "secrets"), true
	default:
		return m, structs.Errorf(structs.Invalid, "bind at "+b.Destination, "this node does not know %q", b.From)
	}
	m.Source = filepath.Join(m.Below, filepath.FromSlash(b.Source))
	return m, err
}

// mayFollow refuses what is below a host volume to an engine, which finds it by its path: whoever writes to the volume could put a link there
// meanwhile. What the node lets the driver mount, it lets it mount so.
func mayFollow(m *drivers.Mount, b *structs.Bind, also []string) error {
	allowed := func(dir string) bool { return strings.HasPrefix(b.Source+"/", strings.TrimSuffix(dir, "/")+"/") }
	if b.From != structs.BindHost || m.Source == m.Below || slices.ContainsFunc(also, allowed) {
		return nil
	}
	return structs.Errorf(structs.Forbidden, "host path "+strconv.Quote(b.Source), "the engine follows links that tasks may put into the host volume above it").
		Advise("mount %s, or allow the path with host_paths in the docker block of the node's configuration", m.Below)
}

// placeable makes sure that a file can be mounted in an isolated task without an image: nothing makes a file for it there, so that of a
// secret comes with its folder, where the node has none of that name.
func placeable(m *drivers.Mount, b *structs.Bind) error {
	if strings.HasPrefix(m.Target, "/local/") {
		return nil
	}
	if info, err := os.Stat(m.Source); err != nil || info.IsDir() {
		return nil // the driver says what is wrong with it
	}
	if info, err := os.Stat(m.Target); err == nil && info.Mode().IsRegular() {
		return nil // over that of the node
	}
	folder := path.Dir(m.Target)
	object := "volume at " + m.Target
	if b.From != structs.BindSecret {
		return structs.Errorf(structs.Invalid, object, "a task without an image sees the files of the node, and there is no such one to be mounted over").
			Advise("mount the folder that it is in, use a path below the working folder, or an image")
	}
	if _, err := os.Lstat(folder); err == nil || structs.BadMountTarget(folder) != "" {
		return structs.Errorf(structs.Invalid, object, "%s is a folder of the node, and no file can be added to it", folder).
			Advise("use a path below the working folder, one in a folder that the node does not have, such as /run/secrets-of-app/%s, or an image", path.Base(m.Target))
	}
	m.Source, m.Target = filepath.Dir(m.Source), folder
	if m.Source == m.Below {
		return structs.Errorf(structs.Internal, object, "its file is not in a folder of its own")
	}
	return nil
}
