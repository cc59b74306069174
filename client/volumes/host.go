package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Folders of the host that its operator lets jobs mount.

// HostVolume is a folder of the host that jobs may mount.
type HostVolume struct {
	Path     string // absolute
	ReadOnly bool

	Propagation structs.Propagation // the most that a mount of it may ask for; empty: host-to-task, and private with ReadOnly
}

func (h HostVolume) most() structs.Propagation {
	if h.Propagation == "" && !h.ReadOnly {
		return structs.PropagationHostToTask
	}
	return h.Propagation
}

// SetHost replaces the host volumes. What runs keeps what it has.
func (v *Volumes) SetHost(host map[string]HostVolume) {
	for name, h := range host {
		if err := isFolder(h.Path); err != nil {
			v.log.Warn("a host volume cannot be used", "volume", name, "path", h.Path, "err", err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.host = host
}

func isFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no folder")
	}
	return err
}

// Host returns the host volumes that are there.
func (v *Volumes) Host() map[string]*structs.NodeHostVolume {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out map[string]*structs.NodeHostVolume
	for name, h := range v.host {
		if isFolder(h.Path) != nil {
			continue
		}
		if out == nil {
			out = map[string]*structs.NodeHostVolume{}
		}
		out[name] = &structs.NodeHostVolume{ReadOnly: h.ReadOnly, Propagation: h.most()}
	}
	return out
}

// hostPath returns the folder of a host volume, without links in it.
func (v *Volumes) hostPath(x *structs.GroupVolume, spread structs.Propagation) (at string, readOnly bool, err error) {
	object := fmt.Sprintf("host volume %q", x.Source)
	v.mu.Lock()
	h, has := v.host[x.Source]
	v.mu.Unlock()
	if !has || h.ReadOnly && !x.ReadOnly {
		return "", false, structs.Errorf(structs.NotFound, object, "the node does not have it, or not for writing").
			Advise("its configuration names host volumes")
	}
	if at, err = filepath.EvalSymlinks(h.Path); err == nil {
		err = isFolder(at)
	}
	if err != nil {
		return "", false, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	if !spread.Within(h.most()) {
		return "", false, structs.Errorf(structs.Forbidden, object, "the node does not let it be mounted %s", spread).
			Advise("its host_volume block allows that with propagation = %q", spread)
	}
	if spread.Shares() {
		err = shared(object, at, spread)
	}
	return at, h.ReadOnly, err
}

// Bind says how a task mounts a path of the host: one of a host volume or below it, as that allows, or of one of the folders in also, which
// the driver of the task lets it mount.
func (v *Volumes) Bind(b *structs.Bind, also []string) (m drivers.Mount, err error) {
	object := "host path " + strconv.Quote(b.Source)
	m = drivers.Mount{Target: b.Destination, ReadOnly: b.ReadOnly, Propagation: b.Propagation}
	top, rest, refused := "", "", error(nil)
	v.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(v.host)) {
		h := v.host[name]
		path := filepath.Clean(h.Path)
		below, is := within(b.Source, path)
		switch {
		case !is || len(path) < len(top):
		case h.ReadOnly && !b.ReadOnly:
			refused = structs.Errorf(structs.Forbidden, object, "the node lets tasks read host volume %q, and not write to it", name).Advise("mount it with the mode RO")
		case !b.Propagation.Within(h.most()):
			refused = structs.Errorf(structs.Forbidden, object, "the node does not let host volume %q be mounted %s", name, b.Propagation).
				Advise("its host_volume block allows that with propagation = %q", b.Propagation)
		default:
			top, rest = path, below
		}
	}
	v.mu.Unlock()
	if b.Propagation.Shares() && top != "" && rest != "." {
		return m, structs.Errorf(structs.Forbidden, object, "mounts are seen below a host volume as a whole, which is %s", top).
			Advise("mount that one, or leave mount_propagation out")
	}
	for _, dir := range also {
		if below, is := within(b.Source, dir); is && top == "" && !b.Propagation.Shares() {
			top, rest = dir, below
		}
	}
	switch {
	case top == "" && refused != nil:
		return m, refused
	case top == "":
		return m, structs.Errorf(structs.Forbidden, object, "the configuration of the node does not let tasks mount it").
			Advise("a block host_volume NAME { path = %q } in its client block does, or host_paths of the docker or oci block for tasks of that driver", b.Source)
	}
	if m.Below, err = filepath.EvalSymlinks(top); err == nil {
		m.Source = filepath.Join(m.Below, rest)
	}
	if err == nil && rest != "." {
		err = noLinks(m.Below, rest)
	}
	if err != nil {
		return m, structs.Errorf(structs.Invalid, object, "%w", err).Advise("make it on the node; links below what the node lets tasks mount are not followed")
	}
	if b.Propagation.Shares() {
		err = shared(object, m.Source, b.Propagation)
	}
	return m, err
}

// within returns what a clean path is below a folder: "." when it is that.
func within(path, dir string) (rest string, is bool) {
	if path == dir {
		return ".", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// noLinks says that a part of a path below a folder is a link.
func noLinks(dir, rest string) error {
	for part := range strings.SplitSeq(rest, "/") {
		dir = filepath.Join(dir, part)
		if info, err := os.Lstat(dir); err != nil {
			return err
		} else if info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link", dir)
		}
	}
	return nil
}
