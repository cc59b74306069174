package command

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/structs"
)

func allocCp(e *Environment) *command {
	c := newCommand(e, "alloc cp", "FROM TO", "Copy files into an allocation or out of it").remote()
	c.about = "Copy a file or folder; one of FROM and TO is ALLOC:PATH, relative to the allocation's folder, such as 1a2b3c4d:TASK/local.\n" +
		"A link that is named is followed; links in a folder stay links."
	c.min, c.max = 2, 2
	c.predict = predictAllocs(e)
	job := c.flags.Bool("job", false, "JOB:PATH in place of ALLOC:PATH")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		from, inside := remotePath(args[0])
		to, into := remotePath(args[1])
		if inside == into {
			return usagef("one of FROM and TO is a path in an allocation, ALLOC:PATH; a path here that has a colon begins with ./")
		}
		given := &from
		if into {
			given = &to
		}
		a, _, err := targetOf(ctx, client, []string{given.alloc}, *job)
		if err != nil {
			return err
		}
		given.alloc = string(a.ID)
		if into {
			return copyIn(ctx, client, args[0], to)
		}
		return copyOut(ctx, client, from, args[1])
	}
	return c
}

// place is a path in an allocation.
type place struct{ alloc, path string }

// remotePath takes ALLOC:PATH apart; false: it is a path here. C:\x and ./a:b are paths here.
func remotePath(arg string) (p place, remote bool) {
	alloc, rest, found := strings.Cut(arg, ":")
	if !found || len(alloc) < 2 || strings.ContainsAny(alloc, `/\.`) {
		return place{}, false
	}
	return place{alloc, path.Clean("/" + rest)[1:]}, true
}

// copyIn copies a file or folder into an allocation: below to when that is a folder, in its place otherwise.
func copyIn(ctx context.Context, client *api.Client, from string, to place) error {
	abs, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	name, folder := filepath.Base(abs), to.path
	info, err := client.StatFile(ctx, to.alloc, to.path)
	switch {
	case structs.KindOf(err) == structs.NotFound || err == nil && !info.Dir:
		name, folder = path.Base(to.path), path.Dir(to.path)
	case err != nil:
		return err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil { // a link that is named is followed
		return local(from, err)
	}
	root, err := os.OpenRoot(filepath.Dir(abs))
	if err != nil {
		return local(from, err)
	}
	defer root.Close()
	stream, feed := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := tree.Pack(ctx, root, filepath.Base(abs), name, nil, feed)
		feed.CloseWithError(err)
		packed <- err
	}()
	_, err = client.UnpackFiles(ctx, to.alloc, folder, stream)
	stream.CloseWithError(io.ErrClosedPipe) // the packer ends, whatever happened
	if failed := <-packed; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return local(from, failed)
	}
	return err
}

// copyOut copies a file or folder out of an allocation: below to when that is a folder, in its place otherwise.
func copyOut(ctx context.Context, client *api.Client, from place, to string) error {
	folder, name := to, ""
	if info, err := os.Stat(to); err != nil || !info.IsDir() {
		folder, name = filepath.Dir(to), filepath.Base(to)
	}
	stream, err := client.PackFiles(ctx, from.alloc, from.path, name)
	if err != nil {
		return err
	}
	defer stream.Close()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return local(to, err)
	}
	defer root.Close()
	_, _, err = tree.Unpack(ctx, root, ".", -1, -1, stream)
	return local(to, err)
}

// local makes an error of a path here one that says so.
func local(name string, err error) error {
	var known *structs.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	kind := structs.Invalid
	if errors.Is(err, os.ErrNotExist) {
		kind = structs.NotFound
	}
	return structs.Errorf(kind, name, "%w", err)
}
