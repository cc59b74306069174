package fetch

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/compressed"
	"github.com/proffer/proffer/structs"
)

// Order is an artifact that goes into the folder of a task. References in it are resolved.
type Order struct {
	Artifact *structs.Artifact
	Root     *os.Root // the task folder
	UID, GID int      // whose it will be; a negative UID: the agent's
	Say      func(text string)
}

// Deliver fetches an artifact and puts it below the folder. Errors are those of Get, and Exhausted when the disk is full; what was put
// there stays then, and doing it again replaces it.
func (c *Cache) Deliver(ctx context.Context, o Order) error {
	a := o.Artifact
	var problems structs.Problems
	a.Problems(&problems, "artifact")
	if err := problems.Err(); err != nil {
		return err
	}
	u, public, err := parse(a.Source)
	if err != nil {
		return err
	}
	say := func(text string) {
		if o.Say != nil {
			o.Say(public + ": " + text)
		}
	}
	item, err := c.Get(ctx, Want{Source: a.Source, Ref: a.Ref, Checksum: a.Checksum, Headers: a.Headers, Say: say})
	if err != nil {
		return err
	}
	defer item.Release()
	how := "fetched"
	if item.Cached {
		how = "from the cache"
	}
	say(structs.Bytes(item.Size).Human() + ", " + how)
	f, err := os.Open(item.Path)
	if err != nil {
		return drivers.DiskError("artifact", err)
	}
	defer f.Close()
	to := tree.Place{Root: o.Root, Into: path.Clean(a.Destination), UID: o.UID, GID: o.GID, MaxBytes: int64(c.opts.MaxUnpacked), Lenient: true}
	object := "artifact " + public
	if err := to.Folder(); err != nil {
		return c.misplaced(object, placed(to, err))
	}
	mode, err := strconv.ParseUint(a.Mode, 8, 32)
	if err != nil {
		mode = 0o644
	}
	switch {
	case u.Scheme == "oci":
		text, err := o.place(ctx, to, object, fallbackName(u.Path), fs.FileMode(mode), f)
		if err != nil {
			return c.misplaced(object, placed(to, err))
		}
		say(text)
		return nil
	case strings.HasPrefix(u.Scheme, "git+") || a.Unpacked(u.Path):
		taken, err := unpack(ctx, to, io.NewSectionReader(f, 0, item.Size))
		if err != nil {
			return c.misplaced(object, placed(to, err))
		}
		say(said(taken))
		return nil
	}
	name := a.Name
	if name == "" {
		name = path.Base(u.Path)
	}
	_, err = to.File(ctx, name, fs.FileMode(mode), f)
	return c.misplaced(object, placed(to, err))
}

// unpack takes an archive apart: zip by what it begins with, tar otherwise.
func unpack(ctx context.Context, to tree.Place, f *io.SectionReader) (taken tree.Taken, err error) {
	stage, err := to.Stage(ctx)
	if err != nil {
		return taken, err
	}
	defer func() {
		if closed := stage.Close(); err == nil {
			err = closed
		}
	}()
	if err := fill(stage, f); err != nil {
		return taken, err
	}
	return stage.Place()
}

func fill(stage *tree.Stage, f *io.SectionReader) error {
	var magic [4]byte
	f.ReadAt(magic[:], 0) // a shorter one is no zip file
	if string(magic[:]) == "PK\x03\x04" || string(magic[:]) == "PK\x05\x06" {
		return stage.Zip(f, f.Size())
	}
	plain, err := compressed.Open(f)
	if err != nil {
		return structs.Errorf(structs.Invalid, "archive", "%w", err)
	}
	if closer, ok := plain.(io.Closer); ok {
		defer closer.Close()
	}
	return stage.Tar(plain)
}

// placed gives an error of the task folder the path that it is about on the node.
func placed(to tree.Place, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) && !filepath.IsAbs(at.Path) {
		return &fs.PathError{Op: at.Op, Path: filepath.Join(to.Root.Name(), to.Into, at.Path), Err: at.Err}
	}
	return err
}

// misplaced gives what went wrong in the task folder its kind.
func (c *Cache) misplaced(object string, err error) error {
	var known *structs.Error
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return drivers.DiskError(object, err)
	case errors.As(err, &known):
		kind := known.Kind
		if kind == structs.Exhausted || kind == structs.Conflict { // it will not become smaller
			kind = structs.Invalid
		}
		return structs.Errorf(kind, object, "%w", err)
	case strings.Contains(err.Error(), "escapes"):
		return structs.Errorf(structs.Invalid, object, "the path leads out of the task folder")
	}
	return drivers.DiskError(object, err)
}
