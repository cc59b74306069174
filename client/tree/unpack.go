package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Place is a folder into which something is put, and how. Whatever is put there, nothing outside of the folder is touched and no
// link is followed. Only files, folders and symbolic links are made; what comes before something that is refused stays. Files that
// are there are replaced; folders are kept with what is in them.
type Place struct {
	Root     *os.Root
	Into     string // below Root, with slashes; it must be there
	UID, GID int    // whose all of it will be; a negative UID: the agent's
	MaxBytes int64  // of all files together; 0: MaxBytes
	// Lenient takes archives as the world has them: hard links to files of the archive are made, devices and pipes are left out.
	// Otherwise both are refused.
	Lenient bool
}

// Taken is what was put into a place.
type Taken struct {
	Files   int
	Bytes   int64
	LeftOut int // devices and pipes
}

// Unpack takes a tar stream apart into a folder below root. It is Place.Tar without leniency.
func Unpack(ctx context.Context, root *os.Root, into string, uid, gid int, from io.Reader) (files int, size int64, err error) {
	t, err := Place{Root: root, Into: into, UID: uid, GID: gid}.Tar(ctx, from)
	return t.Files, t.Bytes, err
}

// Tar takes a tar stream apart.
func (p Place) Tar(ctx context.Context, from io.Reader) (Taken, error) {
	u, err := p.open(ctx)
	if err != nil {
		return Taken{}, err
	}
	defer u.root.Close()
	err = u.tar(from)
	return u.taken, err
}

func (u *unpacker) tar(from io.Reader) error {
	for in := tar.NewReader(from); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = u.header(h, in)
		} else if !known(err) {
			err = structs.Errorf(structs.Invalid, "tar stream", "it cannot be read: %w", err)
		}
		if err != nil {
			return err
		}
	}
}

// known reports whether an error of a stream comes from who reads it, and not from what is in it.
func known(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*structs.Error)) ||
		errors.As(err, new(*fs.PathError))
}

// File puts one file there, so that others see what was there before or the whole of it.
func (p Place) File(ctx context.Context, name string, mode fs.FileMode, from io.Reader) (Taken, error) {
	u, err := p.open(ctx)
	if err != nil {
		return Taken{}, err
	}
	defer u.root.Close()
	temporary := name + ".proffer-new"
	err = u.entry(entry{name: temporary, kind: file, mode: mode, content: from, size: -1})
	if err == nil {
		err = u.unlessFolder(name)
	}
	if err == nil {
		err = u.root.Rename(temporary, name)
	}
	if err != nil {
		u.root.Remove(temporary)
	}
	return u.taken, err
}

// Folder makes sure that the folder Into is there, with those above it. They belong to UID and are no links.
func (p Place) Folder() error {
	into := path.Clean(p.Into)
	p.Into = "."
	u, err := p.open(context.Background())
	if err != nil {
		return err
	}
	defer u.root.Close()
	if !filepath.IsLocal(filepath.FromSlash(into)) {
		return structs.Errorf(structs.Invalid, into, "it leads out of the folder")
	}
	return u.parent(into)
}

type kind int

const (
	file kind = iota
	folder
	symlink
	hardlink
	nothing // an entry without a file
	other
)

// entry is what an archive has, in whatever form.
type entry struct {
	name    string
	kind    kind
	mode    fs.FileMode
	link    string // target of a link
	size    int64  // of a file; -1: until its end
	content io.Reader
	what    string // of other, for messages
}

func (u *unpacker) header(h *tar.Header, in io.Reader) error {
	e := entry{name: h.Name, mode: fs.FileMode(h.Mode), link: h.Linkname, size: h.Size, content: in, what: describe(h)}
	switch h.Typeflag {
	case tar.TypeReg:
		e.kind = file
	case tar.TypeDir:
		e.kind = folder
	case tar.TypeSymlink:
		e.kind = symlink
	case tar.TypeLink:
		e.kind = hardlink
	case tar.TypeXGlobalHeader:
		e.kind = nothing
	default:
		e.kind = other
	}
	return u.entry(e)
}

type unpacker struct {
	Place
	ctx     context.Context
	root    *os.Root        // Into
	folders map[string]bool // known to be folders, and no links
	entries int
	taken   Taken

	layers map[string]int // which layer put a name there, for an image; nil: it is none
	layer  int            // that is being read, from 1
	names  int            // bytes of those in layers
}

func (p Place) open(ctx context.Context) (*unpacker, error) {
	root, err := p.Root.OpenRoot(p.Into)
	if err != nil {
		return nil, err
	}
	if p.MaxBytes <= 0 {
		p.MaxBytes = MaxBytes
	}
	return &unpacker{Place: p, ctx: ctx, root: root, folders: map[string]bool{".": true}}, nil
}

func (u *unpacker) entry(e entry) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	if u.entries++; u.entries > MaxEntries {
		return tooMuch("archive", "it has more than %d entries", MaxEntries)
	}
	name, err := local(e.name)
	if err != nil {
		return err
	}
	if u.layers != nil && e.kind != nothing && name != "." {
		if done, err := u.layered(name, e); done || err != nil {
			return err
		}
	}
	if err := u.parent(path.Dir(name)); err != nil {
		return err
	}
	mode := e.mode.Perm() // never setuid or setgid
	switch {
	case e.kind == nothing:
		return nil
	case e.kind == folder:
		return u.folder(name, mode)
	case e.kind == file:
		return u.file(name, mode, e)
	case e.kind == symlink:
		if err := u.clear(name); err != nil {
			return err
		}
		if err := u.root.Symlink(e.link, name); err != nil {
			return err
		}
		return u.own(name)
	case e.kind == hardlink && u.Lenient:
		return u.hardlink(name, e.link)
	case e.kind == other && u.Lenient:
		u.taken.LeftOut++
		return nil
	}
	return structs.Errorf(structs.Invalid, e.name, "it is %s: only files, folders and symbolic links are copied", e.what)
}

// local returns a name of an archive as a path that cannot lead out.
func local(name string) (string, error) {
	clean := path.Clean(name)
	if !filepath.IsLocal(filepath.FromSlash(clean)) || strings.ContainsRune(clean, 0) {
		return "", structs.Errorf(structs.Invalid, fmt.Sprintf("%.200q", name), "it leads out of the folder that it is copied to")
	}
	deep := 0
	for el := range strings.SplitSeq(clean, "/") {
		if deep++; len(el) > maxElement || deep > maxDepth {
			return "", structs.Errorf(structs.Invalid, fmt.Sprintf("%.200q", name), "it is longer than %d bytes, or deeper than %d folders", maxElement, maxDepth)
		}
	}
	return clean, nil
}

// hardlink makes a second name of a file of the archive.
func (u *unpacker) hardlink(name, to string) error {
	target, err := local(to)
	if err != nil {
		return err
	}
	if name == target {
		return nil
	}
	if err := u.real(path.Dir(target)); err != nil {
		return err
	}
	if info, err := u.root.Lstat(target); err != nil || !info.Mode().IsRegular() {
		return structs.Errorf(structs.Invalid, name, "it is a hard link to %.200q, which is no file of the archive", to)
	}
	if err := u.clear(name); err != nil {
		return err
	}
	return u.root.Link(target, name)
}

// real makes sure that a path consists of folders that are there.
func (u *unpacker) real(name string) error {
	for ; name != "." && !u.folders[name]; name = path.Dir(name) {
		info, err := u.root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return structs.Errorf(structs.Invalid, name, "it is no folder")
		}
	}
	return nil
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

func (u *unpacker) file(name string, mode fs.FileMode, e entry) error {
	if e.size > u.MaxBytes-u.taken.Bytes {
		return u.tooLarge()
	}
	if err := u.clear(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(&cancelled{u.ctx, e.content}, u.MaxBytes-u.taken.Bytes+1))
	u.taken.Bytes += n
	u.taken.Files++
	switch {
	case err != nil && !known(err):
		err = structs.Errorf(structs.Invalid, name, "it cannot be read: %w", err)
	case err == nil && u.taken.Bytes > u.MaxBytes:
		err = u.tooLarge()
	case err == nil:
		err = errors.Join(u.own(name), f.Chmod(mode))
	}
	return errors.Join(err, f.Close())
}

func (u *unpacker) tooLarge() error {
	return tooMuch("archive", "it has more than %s", structs.Bytes(u.MaxBytes).Human())
}

// clear removes a file or link, which a program that runs may have open: it is not written over.
func (u *unpacker) clear(name string) error {
	if err := u.unlessFolder(name); err != nil {
		return err
	}
	err := u.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (u *unpacker) unlessFolder(name string) error {
	if slices.Contains([]string{".", ""}, name) {
		return structs.Errorf(structs.Conflict, name, "it is the folder itself")
	}
	info, err := u.root.Lstat(name)
	if err == nil && info.IsDir() {
		return structs.Errorf(structs.Conflict, name, "there is a folder of that name")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (u *unpacker) own(name string) error {
	if u.UID < 0 {
		return nil
	}
	return u.root.Lchown(name, u.UID, u.GID)
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
