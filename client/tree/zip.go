package tree

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/proffer/proffer/structs"
)

// Bounds of a zip file: what its directory takes, which is read into memory, and the target of a link.
const (
	maxDirectory = 64 << 20
	maxTarget    = 4096
)

// Zip takes a zip file apart.
func (p Place) Zip(ctx context.Context, from io.ReaderAt, size int64) (Taken, error) {
	u, err := p.open(ctx)
	if err != nil {
		return Taken{}, err
	}
	defer u.root.Close()
	err = u.zip(from, size)
	return u.taken, err
}

func (u *unpacker) zip(from io.ReaderAt, size int64) error {
	in := &bounded{from: from}
	in.left.Store(maxDirectory)
	z, err := zip.NewReader(in, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are looked at below
		if in.left.Load() < 0 {
			return tooMuch("zip file", "its directory takes more than %s", structs.Bytes(maxDirectory).Human())
		}
		return structs.Errorf(structs.Invalid, "zip file", "it cannot be read: %w", err)
	}
	in.open.Store(true)
	for _, f := range z.File {
		if err := u.zipped(f); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) zipped(f *zip.File) error {
	e := entry{name: f.Name, mode: f.Mode(), size: -1, kind: file}
	switch kind := f.Mode().Type(); {
	case kind == fs.ModeDir:
		e.kind = folder
		return u.entry(e)
	case kind != 0 && kind != fs.ModeSymlink:
		e.kind, e.what = other, "a device or pipe"
		return u.entry(e)
	}
	content, err := f.Open()
	if err != nil {
		return structs.Errorf(structs.Invalid, f.Name, "it cannot be read: %w", err)
	}
	defer content.Close()
	if f.Mode()&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(io.LimitReader(content, maxTarget+1))
		if err != nil || len(target) > maxTarget {
			return structs.Errorf(structs.Invalid, f.Name, "it is a link whose target cannot be read")
		}
		e.kind, e.link = symlink, string(target)
		return u.entry(e)
	}
	e.content = content
	return u.entry(e)
}

// bounded gives at most left bytes until it is open.
type bounded struct {
	from io.ReaderAt
	left atomic.Int64
	open atomic.Bool
}

func (b *bounded) ReadAt(p []byte, at int64) (int, error) {
	if !b.open.Load() && b.left.Add(-int64(len(p))) < 0 {
		return 0, errors.New("the directory is too large")
	}
	return b.from.ReadAt(p, at)
}
