package structs

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// ImageKey is the key of a task's config that names the image of the task, for every driver whose tasks run from images.
const ImageKey = "image"

// Bounds of what a driver says of images: the largest ones are those that are worth a node.
const (
	MaxImages    = 64  // of one driver of one node
	MaxImageName = 512 // bytes
)

// Image returns the full name of the image from which t runs, as ImageName has it. It is empty when t names none, and when the
// name depends on what is known on the node only.
func (t *Task) Image() string {
	name, _ := t.Config[ImageKey].(string)
	if name == "" || strings.Contains(name, "${") {
		return ""
	}
	return ImageName(name)
}

// ImageName returns the full form of a reference to an image of a registry: with host and path, and with tag or digest. "nginx"
// is "docker.io/library/nginx:latest"; a tag beside a digest says nothing and goes. Paths and addresses (/a, ./a, x://a) stay as
// they are.
func ImageName(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, ".") || strings.Contains(ref, "://") {
		return ref
	}
	path, digest, digested := strings.Cut(ref, "@")
	tag := "latest"
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path, tag = path[:i], path[i+1:]
	}
	switch host, rest, deeper := strings.Cut(path, "/"); {
	case !deeper:
		path = "docker.io/library/" + path
	case host == "index.docker.io":
		path = "docker.io/" + rest
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		path = "docker.io/" + path
	}
	if rest, ok := strings.CutPrefix(path, "docker.io/"); ok && !strings.Contains(rest, "/") {
		path = "docker.io/library/" + rest
	}
	if digested {
		return path + "@" + digest
	}
	return path + ":" + tag
}

// BoundImages returns images with their full names, the largest MaxImages of them and of equal ones those whose names come
// first; nil for none. What is passed is not changed.
func BoundImages(found map[string]Bytes) map[string]Bytes {
	all := make(map[string]Bytes, len(found))
	for name, size := range found {
		if name = ImageName(name); name != "" && len(name) <= MaxImageName {
			all[name] = max(size, all[name], 0)
		}
	}
	if len(all) == 0 {
		return nil
	}
	if len(all) <= MaxImages {
		return all
	}
	names := slices.SortedFunc(maps.Keys(all), func(x, y string) int {
		return cmp.Or(cmp.Compare(all[y], all[x]), strings.Compare(x, y))
	})
	for _, name := range names[MaxImages:] {
		delete(all, name)
	}
	return all
}
