package images

import (
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/proffer/proffer/structs"
)

// Kinds of places where an image comes from.
const (
	fromRegistry = iota
	fromLayout
	fromArchive
)

// Reference names an image: "nginx:1.27", "registry.example/team/app@sha256:…", "oci:local/image:v1" (an OCI layout) or
// "docker-archive:local/image.tar" (what docker save writes).
type Reference struct {
	text string
	from int
	ref  name.Reference // of a registry
	path string         // of a layout or archive; relative ones are below the task's folder
	tag  string         // in a layout or archive; empty: there is one image
}

// ParseReference reads a reference. It looks at nothing but the text.
func ParseReference(object, text string) (Reference, error) {
	r := Reference{text: text}
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "oci":
		r.from = fromLayout
	case "docker-archive":
		r.from = fromArchive
	default:
		ref, err := name.ParseReference(text)
		if err != nil {
			return r, structs.Errorf(structs.Invalid, object, "image %q: %w", text, err).
				Advise(`write NAME[:TAG], NAME@sha256:DIGEST, oci:PATH[:TAG] or docker-archive:PATH[:TAG]`)
		}
		r.ref = ref
		return r, nil
	}
	r.path, r.tag, _ = strings.Cut(rest, ":")
	if r.path == "" || path.Clean(r.path) != strings.TrimSuffix(r.path, "/") || strings.HasPrefix(r.path, "..") || strings.ContainsRune(text, 0) {
		return r, structs.Errorf(structs.Invalid, object, "image %q: %q is no path in the task's folder", text, r.path).
			Advise(`write such as "oci:local/image" for what an artifact has put there`)
	}
	r.path = path.Clean(r.path)
	return r, nil
}

// String is what was parsed.
func (r Reference) String() string { return r.text }

// Local reports whether the image comes from the node's disk.
func (r Reference) Local() bool { return r.from != fromRegistry }

// Path is that of a local image; relative ones are below the task's folder.
func (r Reference) Path() string { return r.path }

// Pinned reports whether the reference says by digest what the image is, so that it never changes.
func (r Reference) Pinned() bool {
	_, ok := r.ref.(name.Digest)
	return ok
}

// key is the same for references that mean the same: "nginx" and "docker.io/library/nginx:latest".
func (r Reference) key() string {
	if r.ref == nil {
		return r.text
	}
	return r.ref.Name()
}
