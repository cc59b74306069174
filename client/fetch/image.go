package fetch

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/drivers/compressed"
	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// Annotations that those who put files into registries give them: the name of a file, and whether it is a folder as an archive.
const (
	titleOf  = "org.opencontainers.image.title"
	unpackIt = "io.deis.oras.content.unpack"
)

// nothing is the type of a layer of those that have none.
const nothing = "application/vnd.oci.empty.v1+json"

// layer is one of what a registry had, in the cache.
type layer struct {
	v1.Descriptor
	title   string
	archive bool // it is taken apart
	content *io.SectionReader
}

// place puts what a registry had below the folder: files by their titles, archives and the layers of images taken apart.
func (o *Order) place(ctx context.Context, to tree.Place, object, fallback string, mode fs.FileMode, f *os.File) (text string, err error) {
	image, layers, err := o.layers(object, f)
	if err != nil {
		return "", err
	}
	var files, archives int
	for i := range layers {
		if l := &layers[i]; l.archive {
			archives++
		} else if files++; l.title == "" {
			l.title = fallback
		}
	}
	if name := o.Artifact.Name; name != "" && files != 1 {
		return "", structs.Errorf(structs.Invalid, object, "it has %d files, and name is for one", files)
	}
	var total tree.Taken
	count := func(t tree.Taken) {
		total.Files, total.Bytes, total.LeftOut = total.Files+t.Files, total.Bytes+t.Bytes, total.LeftOut+t.LeftOut
		to.MaxBytes = max(to.MaxBytes-t.Bytes, 1) // 0 would be the default
	}
	if image && archives > 0 {
		taken, err := takeApart(ctx, to, layers)
		if err != nil {
			return "", err
		}
		count(taken)
	}
	named := map[string]bool{}
	for _, l := range layers {
		var taken tree.Taken
		switch {
		case l.archive && image:
			continue
		case l.archive:
			taken, err = unpack(ctx, to, l.content)
		case named[l.title]:
			err = structs.Errorf(structs.Invalid, object, "two of its files are %.200q", l.title).Advise("give them titles (%s)", titleOf)
		default:
			named[l.title] = true
			taken, err = to.File(ctx, l.title, mode, l.content)
		}
		if err != nil {
			return "", err
		}
		count(taken)
	}
	return said(total), nil
}

// layers reads what is kept of an artifact of a registry.
func (o *Order) layers(object string, f *os.File) (image bool, all []layer, err error) {
	damaged := func(err error) error {
		return structs.Errorf(structs.Internal, object, "what the cache has of it cannot be read: %w", err)
	}
	in := tar.NewReader(f)
	next := func() (*io.SectionReader, error) {
		h, err := in.Next()
		if err != nil {
			return nil, err
		}
		at, err := f.Seek(0, io.SeekCurrent)
		return io.NewSectionReader(f, at, h.Size), err
	}
	r, err := next()
	if err != nil {
		return false, nil, damaged(err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, registry.MaxSmall))
	m := &v1.Manifest{}
	if err == nil {
		err = json.Unmarshal(raw, m)
	}
	if err != nil {
		return false, nil, damaged(err)
	}
	image = m.Config.MediaType.IsConfig()
	for _, d := range m.Layers {
		l := layer{Descriptor: d, title: d.Annotations[titleOf]}
		if l.content, err = next(); err != nil {
			return false, nil, damaged(err)
		}
		unpack := o.Artifact.Unpack
		switch {
		case string(d.MediaType) == nothing:
			continue
		case l.title != "":
			l.archive = d.Annotations[unpackIt] == "true" || o.Artifact.Unpacked(l.title)
		case unpack != nil:
			l.archive = *unpack
		default:
			l.archive = image || isArchive(string(d.MediaType))
		}
		if o.Artifact.Name != "" && !l.archive {
			l.title = o.Artifact.Name
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return false, nil, structs.Errorf(structs.Invalid, object, "it has no files")
	}
	return image, all, nil
}

// isArchive says so by the media type, such as application/vnd.oci.image.layer.v1.tar+gzip.
func isArchive(mediaType string) bool {
	last := mediaType[strings.LastIndexByte(mediaType, '.')+1:]
	kind, _, _ := strings.Cut(last, "+")
	return kind == "tar" || strings.Contains(mediaType, ".tar.")
}

// takeApart puts the layers of an image on top of each other.
func takeApart(ctx context.Context, to tree.Place, layers []layer) (taken tree.Taken, err error) {
	stack, err := to.Stage(ctx)
	if err != nil {
		return taken, err
	}
	defer func() {
		if closed := stack.Close(); err == nil {
			err = closed
		}
	}()
	for _, l := range layers {
		if !l.archive {
			continue
		}
		plain, err := compressed.Open(l.content)
		if err != nil {
			return taken, structs.Errorf(structs.Invalid, "layer "+l.Digest.String(), "%w", err)
		}
		err = stack.Layer(plain)
		if closer, ok := plain.(io.Closer); ok {
			closer.Close()
		}
		if err != nil {
			return taken, err
		}
	}
	return stack.Place()
}

// fallbackName is what a file without a title is called: as the last part of its repository.
func fallbackName(sourcePath string) string {
	name := path.Base(sourcePath)
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// said is what was put into the folder, for people.
func said(t tree.Taken) string {
	text := fmt.Sprintf("%d files, %s unpacked", t.Files, structs.Bytes(t.Bytes).Human())
	if t.LeftOut > 0 {
		text += fmt.Sprintf(", %d devices and pipes left out", t.LeftOut)
	}
	return text
}
