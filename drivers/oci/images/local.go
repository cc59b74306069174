//go:build linux

package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// source finds out where an image comes from.
func (s *Store) source(want Want) (source, error) {
	if want.Ref.from == fromRegistry {
		return s.remote(want)
	}
	dir, sub := want.Local, want.Ref.path
	if path.IsAbs(sub) || dir == "" {
		return nil, structs.Errorf(structs.Forbidden, "image "+want.Ref.String(), "it may only be in the task's folder").
			Advise("let an artifact bring it, and write its path there, such as oci:local/image")
	}
	l := &local{want: want, dir: dir}
	if want.Ref.from == fromLayout {
		return &layout{local: l}, nil
	}
	return &archive{local: l}, nil
}

// local is an image on the node's disk, in a folder that a task may change at any time.
type local struct {
	want Want
	dir  string
}

func (l *local) who() string { return l.dir + "/" + l.want.Ref.String() }

func (l *local) fail(format string, args ...any) error {
	return structs.Errorf(structs.Invalid, "image "+l.want.Ref.String(), format, args...)
}

// open opens a regular file below the folder; links cannot lead out of it.
func (l *local) open(name string) (*os.File, error) {
	root, err := unix.Open(l.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.dir, Err: err}
	}
	defer unix.Close(root)
	fd, err := openIn(root, name, unix.O_RDONLY|unix.O_NONBLOCK) // a pipe in the place of a file holds nobody
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, structs.Errorf(structs.NotFound, "image "+l.want.Ref.String(), "there is no %s in the task's folder", name)
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, l.fail("%s is no file", name)
	}
	return f, nil
}

func (l *local) read(name string) ([]byte, error) {
	f, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, registry.MaxSmall+1))
	if err == nil && len(b) > registry.MaxSmall {
		err = l.fail("%s is larger than %d bytes", name, registry.MaxSmall)
	}
	return b, err
}

// layout is an image of an OCI layout.
type layout struct{ *local }

func (l *layout) blobPath(digest string) (string, error) {
	h, err := registry.Hex(digest)
	return l.want.Ref.path + "/blobs/sha256/" + h, err
}

func (l *layout) get(digest string) ([]byte, error) {
	name, err := l.blobPath(digest)
	if err != nil {
		return nil, err
	}
	b, err := l.read(name)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); "sha256:"+hex.EncodeToString(sum[:]) != digest {
		return nil, l.fail("blob %s has another digest", digest)
	}
	return b, nil
}

func (l *layout) image(context.Context) (*contents, error) {
	raw, err := l.read(l.want.Ref.path + "/index.json")
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, l.fail("its index cannot be read: %w", err)
	}
	list := index.Manifests
	if tag := l.want.Ref.tag; tag != "" {
		list = slices.DeleteFunc(list, func(d v1.Descriptor) bool { return d.Annotations["org.opencontainers.image.ref.name"] != tag })
	}
	if len(list) == 0 {
		return nil, l.fail("the layout has no image of that tag")
	}
	d := &list[0]
	if len(list) > 1 {
		if d, err = registry.Choose("image "+l.want.Ref.String(), list); err != nil {
			return nil, err
		}
	}
	body, err := l.get(d.Digest.String())
	if err != nil {
		return nil, err
	}
	m, _, err := registry.Resolve("image "+l.want.Ref.String(), body, l.get)
	if err != nil {
		return nil, err
	}
	c, err := describe(l.want.Ref.String(), m)
	if err != nil {
		return nil, err
	}
	c.digest = d.Digest.String()
	c.config, err = l.get(c.id)
	return c, err
}

func (l *layout) blob(ctx context.Context, b blob, count func(int)) (io.ReadCloser, error) {
	name, err := l.blobPath(b.digest)
	if err != nil {
		return nil, err
	}
	f, err := l.open(name)
	if err != nil {
		return nil, err
	}
	return &counted{ctx: ctx, Reader: io.LimitReader(f, b.size), Closer: f, count: count}, nil // the diff id says whether it is right
}

// counted counts what is read, and ends with its context.
type counted struct {
	ctx context.Context
	io.Reader
	io.Closer
	count func(int)
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.Reader.Read(b)
	c.count(n)
	return n, err
}

// archive is an image of a file that docker save wrote.
type archive struct{ *local }

// place is where a file is in an archive.
type place struct{ offset, size int64 }

// maxEntries bounds the files in an archive: three for each layer are usual.
const maxEntries = 16 * maxLayers

// index reads where the files are. Links are followed within the archive.
func (a *archive) index(f *os.File) (map[string]place, error) {
	places, links := map[string]place{}, map[string]string{}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, a.fail("the archive cannot be read: %w", err)
		}
		if len(places)+len(links) > maxEntries {
			return nil, a.fail("the archive has more than %d files", maxEntries)
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			places[name] = place{at, h.Size}
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean("/" + h.Linkname)
		}
	}
	for from, to := range links {
		if p, ok := places[to]; ok {
			places[from] = p
		}
	}
	return places, nil
}

func (a *archive) part(f *os.File, places map[string]place, name string) (*io.SectionReader, error) {
	p, ok := places[path.Clean("/"+name)]
	if !ok {
		return nil, a.fail("the archive lacks %s", name)
	}
	return io.NewSectionReader(f, p.offset, p.size), nil
}

func (a *archive) image(context.Context) (*contents, error) {
	f, err := a.open(a.want.Ref.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	places, err := a.index(f)
	if err != nil {
		return nil, err
	}
	read := func(name string) ([]byte, error) {
		r, err := a.part(f, places, name)
		if err != nil {
			return nil, err
		}
		if r.Size() > registry.MaxSmall {
			return nil, a.fail("%s is larger than %d bytes", name, registry.MaxSmall)
		}
		return io.ReadAll(r)
	}
	raw, err := read("manifest.json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, a.fail("its manifest.json cannot be read: %w", err)
	}
	pick := -1
	for i, m := range list {
		tag := a.want.Ref.tag
		if tag == "" && len(list) == 1 || tag != "" && slices.ContainsFunc(m.RepoTags, func(t string) bool {
			return t == tag || strings.HasSuffix(t, ":"+tag)
		}) {
			pick = i
		}
	}
	if pick < 0 {
		var tags []string
		for _, m := range list {
			tags = append(tags, m.RepoTags...)
		}
		return nil, a.fail("which of its %d images is meant? it has the tags %s", len(list), strings.Join(tags, ", "))
	}
	config, err := read(list[pick].Config)
	if err != nil {
		return nil, err
	}
	if len(list[pick].Layers) > maxLayers {
		return nil, a.fail("it has %d layers, more than %d", len(list[pick].Layers), maxLayers)
	}
	sum := sha256.Sum256(config)
	c := &contents{id: "sha256:" + hex.EncodeToString(sum[:]), config: config}
	for _, name := range list[pick].Layers {
		r, err := a.part(f, places, name)
		if err != nil {
			return nil, err
		}
		p := places[path.Clean("/"+name)]
		c.blobs = append(c.blobs, blob{name: fmt.Sprint(p.offset), size: r.Size()})
	}
	return c, nil
}

func (a *archive) blob(ctx context.Context, b blob, count func(int)) (io.ReadCloser, error) {
	f, err := a.open(a.want.Ref.path)
	if err != nil {
		return nil, err
	}
	var offset int64
	fmt.Sscan(b.name, &offset)
	return &counted{ctx: ctx, Reader: io.NewSectionReader(f, offset, b.size), Closer: f, count: count}, nil
}
