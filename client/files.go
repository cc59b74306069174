package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/structs"
)

// File is one entry of an allocation's folder.
type File struct {
	Name    string        `json:"name"`
	Size    structs.Bytes `json:"size"`
	Mode    fs.FileMode   `json:"mode"`
	Dir     bool          `json:"dir"`
	Changed structs.Time  `json:"changed"`
	Target  string        `json:"target,omitempty"` // of a link

	// Of the node's own use: other agents and the HTTP API do not have it.
	Links    int    `json:"-"`
	UID, GID uint32 `json:"-"`
}

// maxEntries bounds a listing.
const maxEntries = 10_000

func fileOf(info fs.FileInfo) File {
	links, uid, gid := linksOf(info)
	return File{Name: info.Name(), Size: structs.Bytes(info.Size()), Mode: info.Mode(), Dir: info.IsDir(), Changed: structs.At(info.ModTime()), Links: links, UID: uid, GID: gid}
}

// dirOf returns the folder of an allocation that is held, or ended and not yet collected.
func (c *Client) dirOf(id structs.AllocID) (taskdir.Dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir := taskdir.At(c.allocRoot(), id)
	e := c.ended[id]
	switch {
	case c.held[id] != nil:
		return dir, nil
	case e == nil:
		return "", notFound(id)
	case !e.folder:
		text := "its folder was removed after its end"
		if e.why != "" {
			text += ": " + e.why
		}
		return "", structs.Errorf(structs.NotFound, "allocation "+structs.Short(id), "%s", text)
	}
	return dir, nil
}

// inside opens the folder of an allocation and returns a path in it with its links followed, those at its end as well when last is set.
// Paths that lead to secrets are Forbidden.
func (c *Client) inside(id structs.AllocID, name string, last bool) (*os.Root, string, error) {
	dir, err := c.dirOf(id)
	if err != nil {
		return nil, "", err
	}
	clean := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(name)), "/")
	if clean == "" {
		clean = "."
	}
	root, err := os.OpenRoot(string(dir))
	if err != nil {
		return nil, "", fileError(clean, err)
	}
	leads := clean
	if !isSecret(clean) {
		leads, err = resolve(root, clean, last)
	}
	if err == nil && isSecret(leads) {
		err = structs.Errorf(structs.Forbidden, clean, "secrets of a task are not shown")
	}
	if err != nil {
		root.Close()
		return nil, "", err
	}
	return root, leads, nil
}

func fileError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return structs.Errorf(structs.NotFound, name, "the allocation has no such file")
	case errors.Is(err, syscall.ELOOP):
		return structs.Errorf(structs.Invalid, name, "its links lead in a circle")
	case errors.Is(err, syscall.ENOTDIR):
		return structs.Errorf(structs.NotFound, name, "the allocation has no such file: a part of it is no folder")
	case errors.Is(err, syscall.ENAMETOOLONG):
		return structs.Errorf(structs.Invalid, name, "no file can have such a name")
	case errors.Is(err, fs.ErrPermission):
		return structs.Errorf(structs.Forbidden, name, "the agent may not read it")
	}
	var in *fs.PathError
	if errors.As(err, &in) && strings.Contains(in.Err.Error(), "escapes") {
		return structs.Errorf(structs.Forbidden, name, "it leads out of the allocation's folder")
	}
	return structs.Errorf(structs.Unavailable, name, "%w", err)
}

// List returns the entries of a folder of an allocation, sorted by name; at most 10,000.
func (c *Client) List(ctx context.Context, alloc structs.AllocID, name string) ([]File, error) {
	root, name, err := c.inside(alloc, name, true)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := open(root, name)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return nil, structs.Errorf(structs.Invalid, name, "it is not a folder")
	}
	entries, err := f.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fileError(name, err)
	}
	files := make([]File, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // it may be gone
			files = append(files, fileOf(info))
			if info.Mode()&fs.ModeSymlink != 0 {
				files[len(files)-1].Target, _ = root.Readlink(path.Join(name, e.Name()))
			}
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// Stat describes one file. Of a link it says where that leads, and describes what is there; a link that cannot be followed, itself.
func (c *Client) Stat(ctx context.Context, alloc structs.AllocID, name string) (File, error) {
	root, at, err := c.inside(alloc, name, false)
	if err != nil {
		return File{}, err
	}
	defer root.Close()
	info, err := root.Lstat(at)
	if err != nil {
		return File{}, fileError(at, err)
	}
	f := fileOf(info)
	if info.Mode()&fs.ModeSymlink == 0 {
		return f, nil
	}
	target, err := root.Readlink(at)
	if err != nil {
		return File{}, fileError(at, err)
	}
	leads, err := resolve(root, at, true)
	if err == nil && !isSecret(leads) {
		if info, err := root.Lstat(leads); err == nil {
			f = fileOf(info)
		}
	}
	f.Name, f.Target = path.Base(at), target
	return f, nil
}

// open never waits: what opens a pipe would, until somebody writes.
func open(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// ReadFile writes limit bytes (0: all) from offset to w. Only regular files are read.
func (c *Client) ReadFile(ctx context.Context, alloc structs.AllocID, name string, offset, limit int64, w io.Writer) error {
	if offset < 0 || limit < 0 {
		return structs.Errorf(structs.Invalid, name, "offset and limit cannot be negative")
	}
	root, name, err := c.inside(alloc, name, true)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := open(root, name)
	if err != nil {
		return fileError(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fileError(name, err)
	}
	if !info.Mode().IsRegular() {
		return structs.Errorf(structs.Invalid, name, "it is not a regular file")
	}
	if limit == 0 {
		limit = max(0, info.Size()-offset) // what is there now: a growing file comes to an end
	}
	if _, err := io.Copy(contextWriter{ctx, w}, io.NewSectionReader(f, offset, limit)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fileError(name, err)
	}
	return nil
}

// contextWriter fails once ctx ended.
type contextWriter struct {
	ctx context.Context
	io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
