package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Copied is what came into a folder.
type Copied struct {
	Files int           `json:"files"`
	Size  structs.Bytes `json:"size"`
}

// Pack writes a file or folder of an allocation to w as a tar stream in which it is called as; empty: by its own name. A link that is named is
// followed, those in a folder stay links. Secrets are left out.
func (c *Client) Pack(ctx context.Context, alloc structs.AllocID, name, as string, w io.Writer) error {
	root, at, err := c.inside(alloc, name, true)
	if err != nil {
		return err
	}
	defer root.Close()
	if as == "" {
		as = path.Base(path.Clean("/" + name))
	}
	if as == "/" {
		as = "."
	}
	name = at
	if as == "." {
		as = string(alloc)
	}
	return treeError(name, tree.Pack(ctx, root, name, as, isSecret, w))
}

// isSecret reports whether a path below an allocation's folder is the secrets of a task.
func isSecret(name string) bool {
	parts := strings.Split(name, "/")
	return len(parts) > 1 && parts[1] == "secrets" && parts[0] != taskdir.Shared && parts[0] != taskdir.Logs
}

// Unpack takes a tar stream apart into a folder of an allocation that runs, which must be there. What it makes belongs to whom the
// folder does. See tree.Unpack for what is refused.
func (c *Client) Unpack(ctx context.Context, alloc structs.AllocID, name string, r io.Reader) (*Copied, error) {
	if _, err := c.run(alloc); err != nil {
		return nil, err
	}
	root, name, err := c.inside(alloc, name, true)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if top, _, _ := strings.Cut(name, "/"); name == "." || top == taskdir.Logs {
		return nil, structs.Errorf(structs.Forbidden, "/"+strings.TrimPrefix(name, "."), "only the node writes to that folder of an allocation").
			Advise("copy to TASK/local, or to alloc")
	}
	info, err := root.Stat(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	uid, gid := ownerOf(info)
	files, size, err := tree.Unpack(ctx, root, name, uid, gid, r)
	if err != nil {
		return nil, treeError(name, err)
	}
	return &Copied{files, structs.Bytes(size)}, nil
}

// treeError gives errors of the disk their kinds; the others have one.
func treeError(name string, err error) error {
	var known *structs.Error
	var disk *fs.PathError
	switch {
	case err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return drivers.DiskError(name, err)
	case errors.As(err, &disk):
		return fileError(name, err)
	}
	return err
}
