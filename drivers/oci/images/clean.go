//go:build linux

package images

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// Removed is an image that Clean removed, and why.
type Removed struct {
	Image string
	Names []string // that meant it
	Why   string
}

// Usage is what the images of the node take.
type Usage struct {
	Images, Layers, Held int
	Bytes                structs.Bytes // of unpacked layers
}

type kept struct {
	id     string // hexadecimal
	used   time.Time
	layers []string
	held   bool
}

// Clean removes images that no task uses, once they are older than MaxAge or take more than MaxBytes, layers that are of no
// image, and parts that nobody went on with for a day. A failure leaves something for the next time.
func (s *Store) Clean(now time.Time) ([]Removed, error) { return s.clean(now, 0, nil) }

// Prune is Clean, and removes all other images as well that no task uses, but for those with a name that keep has, in whatever spelling.
func (s *Store) Prune(now time.Time, keep []string) ([]Removed, error) {
	names := map[string]bool{}
	for _, text := range keep {
		if ref, err := ParseReference("images", text); err == nil { // no image has a name that is none
			names[ref.key()] = true
		}
	}
	return s.clean(now, 0, func(of []string) bool { return !slices.ContainsFunc(of, func(name string) bool { return names[name] }) })
}

// clean is Clean, and removes further images: until their layers take want bytes, the least recently used first, and those with names that
// prune, if it is not nil, says go.
func (s *Store) clean(now time.Time, want structs.Bytes, prune func(names []string) bool) ([]Removed, error) {
	out, dead, err := s.unlist(now, want, prune)
	for _, dir := range dead { // it takes long, and nobody waits for it
		err = errors.Join(err, s.disk(s.removeAll(dir, true)))
	}
	return out, err
}

// unlist decides what goes, and moves layers away from where they are looked for.
func (s *Store) unlist(now time.Time, want structs.Bytes, prune func([]string) bool) (out []Removed, dead []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	images, err := s.list()
	if err != nil {
		return nil, nil, err
	}
	sizes, err := s.sizes()
	if err != nil {
		return nil, nil, err
	}
	names := s.names()
	users := map[string]int{} // of layers
	for _, im := range images {
		for _, l := range im.layers {
			users[l]++
		}
	}
	free := structs.Bytes(0) // of layers that images of no task have
	inUse := map[string]bool{}
	for _, im := range images {
		for _, l := range im.layers {
			inUse[l] = inUse[l] || im.held
		}
	}
	for l, size := range sizes {
		if !inUse[l] && users[l] > 0 {
			free += size
		}
	}
	for _, im := range images { // the least recently used first
		why := ""
		age := now.Sub(im.used)
		switch {
		case im.held:
			continue
		case age > s.opts.MaxAge:
			why = "no task used it for " + structs.Duration(age.Round(time.Second)).String()
		case free > s.opts.MaxBytes:
			why = "images that no task uses take " + free.String() + ", more than " + s.opts.MaxBytes.String()
		case want > 0:
			why = "the disk has no room for another image"
		case prune != nil && prune(names[im.id]):
			why = "an operator wants images removed that no task uses"
		default:
			continue
		}
		if err := s.remove(s.path("images", im.id)); err != nil {
			return out, dead, s.disk(err)
		}
		out = append(out, Removed{"sha256:" + im.id, names[im.id], why})
		for _, l := range im.layers {
			if users[l]--; users[l] == 0 {
				free -= sizes[l]
				want -= sizes[l]
			}
		}
	}
	for _, r := range s.refs() {
		if h, err := registry.Hex(r.Image); err != nil || !slices.ContainsFunc(images, func(k kept) bool { return k.id == h }) ||
			slices.ContainsFunc(out, func(o Removed) bool { return o.Image == r.Image }) {
			if err := s.remove(s.path("refs", sumOf(r.Name))); err != nil {
				return out, dead, s.disk(err)
			}
		}
	}
	for l := range sizes {
		if users[l] > 0 || s.pins[l] > 0 {
			continue
		}
		dir, err := s.drop(l)
		if err != nil {
			return out, dead, s.disk(err)
		}
		dead = append(dead, dir)
	}
	parts, err := os.ReadDir(s.path("parts"))
	if err != nil {
		return out, dead, s.disk(err)
	}
	for _, p := range parts {
		if info, err := p.Info(); err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			if err := s.remove(s.path("parts", p.Name())); err != nil {
				return out, dead, s.disk(err)
			}
		}
	}
	return out, dead, nil
}

// drop takes a layer's name away, so that it is never there in part, and returns the folder to remove.
func (s *Store) drop(layer string) (dead string, err error) {
	if err := s.step("make a folder for a dead layer"); err != nil {
		return "", err
	}
	if dead, err = os.MkdirTemp(s.path("tmp"), "dead-"); err != nil {
		return "", err
	}
	return dead, s.rename(s.path("layers", layer), filepath.Join(dead, "layer"))
}

// room sees to it that the disk can take need bytes more: images that no task uses make place, if there are enough of them.
// Otherwise it is Exhausted: a pull that cannot end would only fill the disk for all others.
func (s *Store) room(image string, need int64) error {
	free, err := s.free()
	if err != nil || need <= free {
		return err
	}
	gone, err := s.clean(time.Now(), structs.Bytes(need-free), nil)
	for _, g := range gone {
		s.log.Info("an image was removed", "image", g.Image, "names", strings.Join(g.Names, " "), "why", g.Why)
	}
	if err != nil {
		return err
	}
	if free, err = s.free(); err != nil || need <= free {
		return err
	}
	return structs.Errorf(structs.Exhausted, "image "+image, "it needs %s of the disk at least, and %s are free", structs.Bytes(need).Human(),
		structs.Bytes(free).Human()).Advise("free space on the disk of the node's data folder")
}

// free is how much the disk of the store can take.
func (s *Store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, s.disk(os.NewSyscallError("statfs", err))
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// list returns the images, the least recently used first. One whose config cannot be read counts as never used.
func (s *Store) list() ([]kept, error) {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return nil, s.disk(err)
	}
	holds, err := s.Holds()
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, h := range holds {
		held[strings.TrimPrefix(h.Image, "sha256:")] = true
	}
	var out []kept
	for _, e := range entries {
		k := kept{id: e.Name(), held: held[e.Name()]}
		raw, err := os.ReadFile(s.path("images", e.Name()))
		if err != nil {
			return nil, s.disk(err)
		}
		if _, layers, err := parseConfig("sha256:"+e.Name(), raw); err == nil {
			k.layers = layers
			if info, err := e.Info(); err == nil {
				k.used = info.ModTime()
			}
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b kept) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return out, nil
}

// sizes returns what each unpacked layer takes.
func (s *Store) sizes() (map[string]structs.Bytes, error) {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return nil, s.disk(err)
	}
	out := map[string]structs.Bytes{}
	for _, e := range entries {
		raw, _ := os.ReadFile(s.path("layers", e.Name(), "size"))
		n, _ := strconv.ParseInt(string(raw), 10, 64)
		out[e.Name()] = structs.Bytes(n)
	}
	return out, nil
}

func (s *Store) refs() (out []record) {
	files, _ := filepath.Glob(s.path("refs", "*"))
	for _, f := range files {
		raw, err := os.ReadFile(f)
		var r record
		if err == nil && json.Unmarshal(raw, &r) == nil {
			out = append(out, r)
		}
	}
	return out
}

// names are the references of each image.
func (s *Store) names() map[string][]string {
	out := map[string][]string{}
	for _, r := range s.refs() {
		if h, err := registry.Hex(r.Image); err == nil {
			out[h] = append(out[h], r.Name)
		}
	}
	return out
}

// Usage says what the images take now.
func (s *Store) Usage() (u Usage, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	images, err := s.list()
	if err != nil {
		return u, err
	}
	sizes, err := s.sizes()
	if err != nil {
		return u, err
	}
	for _, im := range images {
		u.Images++
		if im.held {
			u.Held++
		}
	}
	for _, size := range sizes {
		u.Layers++
		u.Bytes += size
	}
	return u, nil
}

// Names are the references of complete images, with what their layers take; one that several share counts for each.
func (s *Store) Names() (map[string]structs.Bytes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	images, err := s.list()
	if err != nil {
		return nil, err
	}
	sizes, err := s.sizes()
	if err != nil {
		return nil, err
	}
	names, out := s.names(), map[string]structs.Bytes{}
	for _, im := range images {
		size := structs.Bytes(0)
		for _, l := range im.layers {
			size += sizes[l]
		}
		for _, name := range names[im.id] {
			out[name] = size
		}
	}
	return out, nil
}
