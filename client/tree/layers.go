package tree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Names of an archive that is a layer of an image and hides something of the layers below.
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// maxNames bounds the memory for the names of what layers put there.
const maxNames = 128 << 20

// staging is where something is put together before it goes into its place.
const staging = ".proffer-new"

// Stage takes archives apart in a folder of its own, beside the place: what is in the place changes once all is there, and what failed
// leaves nothing. Of one stage, either Tar and Zip are used, or Layer.
type Stage struct {
	u    *unpacker // of the folder of its own
	into *unpacker
}

// Stage begins one. The caller closes it.
func (p Place) Stage(ctx context.Context) (*Stage, error) {
	into, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	err = into.root.RemoveAll(staging) // of an earlier time
	if err == nil {
		err = into.root.Mkdir(staging, 0o700)
	}
	if err == nil {
		p.Root, p.Into = into.root, staging
		var u *unpacker
		if u, err = p.open(ctx); err == nil {
			return &Stage{u, into}, nil
		}
	}
	return nil, errors.Join(err, into.root.Close())
}

// Tar adds what a tar stream has.
func (s *Stage) Tar(from io.Reader) error { return s.u.tar(from) }

// Zip adds what a zip file has.
func (s *Stage) Zip(from io.ReaderAt, size int64) error { return s.u.zip(from, size) }

// Layer puts the next layer of an image, a tar stream, on top of those before it.
func (s *Stage) Layer(from io.Reader) error {
	if s.u.layers == nil {
		s.u.layers = map[string]int{}
	}
	s.u.layer++
	return s.u.tar(from)
}

// Place puts all of it where it belongs.
func (s *Stage) Place() (Taken, error) { return s.u.taken, s.merge(".") }

// Close removes what was not placed.
func (s *Stage) Close() error {
	return errors.Join(s.u.root.Close(), s.into.root.RemoveAll(staging), s.into.root.Close())
}

// merge moves what is in a folder of the stage into the folder of that name.
func (s *Stage) merge(dir string) error {
	return each(s.u.ctx, s.u.root, dir, func(d fs.DirEntry) error {
		name := path.Join(dir, d.Name())
		if d.IsDir() {
			if _, err := s.into.root.Lstat(name); err == nil {
				if err := s.into.folder(name, 0); err != nil { // it may be a link
					return err
				}
				return s.merge(name)
			}
		} else if err := s.into.unlessFolder(name); err != nil {
			return err
		}
		return s.into.root.Rename(path.Join(staging, name), name)
	})
}

// each calls do for what is in a folder.
func each(ctx context.Context, root *os.Root, dir string, do func(fs.DirEntry) error) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	for _, d := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(d); err != nil {
			return err
		}
	}
	return err
}

// layered does what an entry of a layer means beyond being there: it hides, or takes the place of something of another kind.
func (u *unpacker) layered(name string, e entry) (done bool, err error) {
	dir, base := path.Split(name)
	switch hidden, is := strings.CutPrefix(base, whiteout); {
	case base == whiteoutOpaque:
		return true, u.hideBelow(path.Clean("./" + dir))
	case is && (hidden == "" || hidden == "." || hidden == ".."):
		return true, structs.Errorf(structs.Invalid, e.name, "it hides nothing that can be there")
	case is:
		return true, u.hide(path.Join(dir, hidden))
	}
	if info, err := u.root.Lstat(name); u.layers[name] < u.layer && err == nil && info.IsDir() != (e.kind == folder) {
		if err := u.drop(name); err != nil {
			return true, err
		}
	}
	return false, u.note(name)
}

// note remembers which layer put a name there, and the folders above it.
func (u *unpacker) note(name string) error {
	for ; name != "."; name = path.Dir(name) {
		had, known := u.layers[name]
		if known && had == u.layer {
			return nil
		}
		if !known {
			if u.names += len(name); u.names > maxNames {
				return tooMuch("image", "the names of its files take more than %s", structs.Bytes(maxNames).Human())
			}
		}
		u.layers[name] = u.layer
	}
	return nil
}

// hide removes what the layers below put under a name. What is of this layer stays: it is meant to be seen.
func (u *unpacker) hide(name string) error {
	switch of, known := u.layers[name]; {
	case !known:
		return nil
	case of < u.layer:
		return u.drop(name)
	}
	return u.hideBelow(name)
}

// hideBelow removes what the layers below put into a folder.
func (u *unpacker) hideBelow(name string) error {
	if info, err := u.root.Lstat(name); err != nil || !info.IsDir() {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := u.real(name); err != nil {
		return err
	}
	return each(u.ctx, u.root, name, func(d fs.DirEntry) error { return u.hide(path.Join(name, d.Name())) })
}

// drop removes a name with all below it.
func (u *unpacker) drop(name string) error {
	if err := u.real(path.Dir(name)); err != nil {
		return err
	}
	clear(u.folders)
	u.folders["."] = true
	delete(u.layers, name)
	return u.root.RemoveAll(name)
}
