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

	"github.com/proffer/proffer/structs"
)

// Pack writes a file or folder below root as a tar stream in which it is called name. Links stay links. Sockets, pipes and devices
// are left out, and so is what skip says (its path is that below root, with slashes; nil: nothing); from itself cannot be one. A file that grows
// or shrinks meanwhile has the size that it had at first.
func Pack(ctx context.Context, root *os.Root, from, name string, skip func(string) bool, to io.Writer) error {
	p := &packer{ctx: ctx, root: root, out: tar.NewWriter(to), skip: skip}
	info, err := root.Lstat(from)
	if err != nil {
		return err
	}
	if m := info.Mode(); !m.IsDir() && !m.IsRegular() && m&fs.ModeSymlink == 0 {
		return structs.Errorf(structs.Invalid, from, "it is neither a file nor a folder")
	}
	if err := p.add(from, name, info); err != nil {
		return err
	}
	return p.out.Close()
}

type packer struct {
	ctx     context.Context
	root    *os.Root
	out     *tar.Writer
	skip    func(string) bool
	entries int
}

func (p *packer) add(at, name string, info fs.FileInfo) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if p.skip != nil && p.skip(at) {
		return nil
	}
	if p.entries++; p.entries > MaxEntries {
		return tooMuch(at, "it has more than %d entries", MaxEntries)
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		if err := p.out.WriteHeader(h); err != nil {
			return err
		}
		return p.folder(at, name)
	case info.Mode().IsRegular():
		return p.file(at, h)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := p.root.Readlink(at)
		if err != nil {
			return gone(err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return p.out.WriteHeader(h)
	}
	return nil
}

// folder adds what is in a folder, a thousand entries at a time.
func (p *packer) folder(at, name string) error {
	f, err := Open(p.root, at)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(1000)
		for _, e := range list {
			info, err := p.root.Lstat(path.Join(at, e.Name()))
			if err == nil {
				err = p.add(path.Join(at, e.Name()), name+"/"+e.Name(), info)
			}
			if err := gone(err); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *packer) file(at string, h *tar.Header) error {
	f, err := Open(p.root, at)
	if err != nil {
		return gone(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() { // it was exchanged for something else
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.out, io.LimitReader(f, h.Size))
	if err != nil {
		return err
	}
	if n < h.Size {
		return structs.Errorf(structs.Conflict, at, "it became shorter while it was read").Advise("copy it again")
	}
	return nil
}

// gone makes no error of what is not there any more: folders of tasks change while they are read.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Open opens a file for reading. It never waits: what opens a pipe would, until somebody writes; nor does it follow a link at the end
// of the name.
func Open(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(name, os.O_RDONLY|noWait, 0)
}

// describe says what kind of entry a header is of, for messages.
func describe(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a pipe"
	}
	return fmt.Sprintf("of type %q", h.Typeflag)
}
