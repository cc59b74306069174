package tree

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Unpack takes a tar stream apart into a folder below root, which must be there; what it makes belongs to uid and gid unless uid is
// negative. Files that are there are replaced; folders are kept with what is in them. Only files, folders and symbolic links are
// taken, none of them outside of the folder or through a link: anything else is refused, and what came before it stays.
func Unpack(ctx context.Context, root *os.Root, into string, uid, gid int, from io.Reader) (files int, size int64, err error) {
	folder, err := root.OpenRoot(into)
	if err != nil {
		return 0, 0, err
	}
	defer folder.Close()
	u := &unpacker{ctx: ctx, root: folder, in: tar.NewReader(from), uid: uid, gid: gid, folders: map[string]bool{".": true}}
	for {
		h, err := u.in.Next()
		if errors.Is(err, io.EOF) {
			return u.files, u.size, nil
		}
		if err != nil {
			return u.files, u.size, structs.Errorf(structs.Invalid, "tar stream", "it cannot be read: %w", err)
		}
		if err := u.take(h); err != nil {
			return u.files, u.size, err
		}
	}
}

type unpacker struct {
	ctx      context.Context
	root     *os.Root
	in       *tar.Reader
	uid, gid int
	folders  map[string]bool // known to be folders, and no links
	entries  int
	files    int
	size     int64
}

func (u *unpacker) take(h *tar.Header) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	if u.entries++; u.entries > MaxEntries {
		return tooMuch("tar stream", "it has more than %d entries", MaxEntries)
	}
	name := path.Clean(h.Name)
	if !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsRune(name, 0) {
		return structs.Errorf(structs.Invalid, h.Name, "it leads out of the folder that it is copied to")
	}
	if err := u.parent(path.Dir(name)); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode).Perm() // never setuid or setgid
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(name, mode)
	case tar.TypeReg:
		return u.file(name, mode, h)
	case tar.TypeSymlink:
		if err := u.clear(name); err != nil {
			return err
		}
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.own(name)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return structs.Errorf(structs.Invalid, h.Name, "it is %s: only files, folders and symbolic links are copied", describe(h))
}

// parent makes sure that a path consists of folders, and makes those that are missing.
func (u *unpacker) parent(name string) error {
	if u.folders[name] {
		return nil
	}
	if err := u.parent(path.Dir(name)); err != nil {
		return err
	}
	return u.folder(name, 0o755)
}

func (u *unpacker) folder(name string, mode fs.FileMode) error {
	if u.folders[name] {
		return nil
	}
	switch info, err := u.root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
		if err := u.root.Mkdir(name, mode|0o700); err != nil { // what follows goes into it
			return err
		}
		if err := u.own(name); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.IsDir():
		return structs.Errorf(structs.Conflict, name, "there is something else of that name, and it is not a folder")
	}
	u.folders[name] = true
	return nil
}

func (u *unpacker) file(name string, mode fs.FileMode, h *tar.Header) error {
	if u.size += h.Size; h.Size < 0 || u.size > MaxBytes {
		return tooMuch("tar stream", "it has more than %s", structs.Bytes(MaxBytes).Human())
	}
	if err := u.clear(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, &cancelled{u.ctx, u.in}); err == nil {
		err = errors.Join(u.own(name), f.Chmod(mode))
	}
	u.files++
	return errors.Join(err, f.Close())
}

// clear removes a file or link, which a program that runs may have open: it is not written over.
func (u *unpacker) clear(name string) error {
	info, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return structs.Errorf(structs.Conflict, name, "there is a folder of that name")
	}
	return u.root.Remove(name)
}

func (u *unpacker) own(name string) error {
	if u.uid < 0 {
		return nil
	}
	return u.root.Lchown(name, u.uid, u.gid)
}

// cancelled fails once ctx ended.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c *cancelled) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(b)
}
