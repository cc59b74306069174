package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// source is one way to get files.
type source interface {
	// fixed reports whether what is wanted can never change.
	fixed(w *Want) bool
	// fetch fills the part, going on where it is if it can; unchanged: what is known is still right.
	fetch(ctx context.Context, j *job, p *part) (unchanged bool, err error)
}

func (c *Cache) allSources() map[string]source {
	web := newWeb(c.opts.Stall)
	git := &git{folders: c.opts.Folders, tmp: c.path("tmp")}
	return map[string]source{"http": web, "https": web, "file": &files{c.opts.Folders}, "git+https": git, "git+http": git, "git+file": git,
		"s3": &s3{web, c.opts.Stores}, "oci": &fromRegistry{registry.New(c.opts.Registries, c.opts.Stall)}}
}

// parse reads an address. public is what may be shown of it.
func parse(text string) (u *url.URL, public string, err error) {
	s, err := structs.ParseSource(text)
	if err != nil {
		return nil, "", err
	}
	if u, err = url.Parse(text); err != nil || u.Opaque != "" || u.Host != s.Host {
		return nil, "", structs.Errorf(structs.Invalid, "source "+s.String(), "it is no address")
	}
	if strings.Contains(u.Path, "\x00") || u.Host == "" && path.Clean(u.Path) != u.Path {
		return nil, "", structs.Errorf(structs.Invalid, "source "+s.String(), "it is no path of a file")
	}
	return u, s.String(), nil
}

// files are those below some folders of the node.
type files struct{ folders []string }

func (*files) fixed(*Want) bool { return false }

// within finds the allowed folder of a path, and the path below it.
func within(folders []string, path string) (folder, rest string, ok bool) {
	for _, f := range folders {
		if rel, err := filepath.Rel(f, path); err == nil && rel != "." && filepath.IsLocal(rel) {
			return f, rel, true
		}
	}
	return "", "", false
}

func (s *files) fetch(ctx context.Context, j *job, p *part) (unchanged bool, err error) {
	folder, rel, ok := within(s.folders, j.url.Path)
	if !ok {
		return false, structs.Errorf(structs.Forbidden, j.object, "this node lets no job read it").
			Advise("client.artifact.folders of the node's configuration names folders that jobs may read")
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return false, structs.Errorf(structs.NotFound, j.object, "%w", err)
	}
	defer root.Close()
	f, err := tree.Open(root, rel)
	if err != nil {
		return false, structs.Errorf(structs.NotFound, j.object, "%w", errors.Unwrap(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, structs.Errorf(structs.Invalid, j.object, "it is no file").Advise("pack a folder as a tar archive")
	}
	e := entry{Modified: info.ModTime().UTC().Format(time.RFC3339Nano) + " " + strconv.FormatInt(info.Size(), 10)}
	if j.known != nil && j.known.Modified == e.Modified {
		return true, nil
	}
	if err := p.restart(e); err != nil {
		return false, err
	}
	_, err = io.Copy(p, &following{ctx: ctx, from: f, p: p, whole: info.Size()})
	return false, err
}

// following tells of progress, and ends with ctx.
type following struct {
	ctx   context.Context
	from  io.Reader
	p     *part
	whole int64
}

func (f *following) Read(b []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	f.p.progress.at(f.p.have, f.whole)
	return f.from.Read(b)
}

// hint shortens what a program or server said, for a message.
func hint(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return fmt.Sprintf("%q", s)
}
