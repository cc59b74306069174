//go:build linux

package images

import (
	"os"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// A hold is a file, so that it survives the agent: an image is not removed while a task that outlived the agent uses it.

func (s *Store) holdPath(id, holder string) (string, error) {
	h, err := registry.Hex(id)
	if err != nil {
		return "", err
	}
	return s.path("holds", h+"."+holderName(holder)), nil
}

// holderName is the part of a hold's name that says whose it is.
func holderName(holder string) string { return sumOf(holder)[:32] }

// hold marks a complete image as used by holder. mu is held.
func (s *Store) hold(id, holder string) (*Image, error) {
	im, err := s.load(id)
	if err != nil {
		return nil, err
	}
	path, err := s.holdPath(id, holder)
	if err != nil {
		return nil, err
	}
	if err := s.step("hold"); err != nil {
		return nil, err
	}
	// The kernel's end ends the tasks too: no sync. It is written before its name is seen, as an empty one is nobody's.
	tmp := s.path("tmp", "hold-"+holderName(holder))
	err = os.WriteFile(tmp, []byte(holder), 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return nil, s.disk(err)
	}
	s.touch(id)
	return im, nil
}

// touch notes that an image is used now.
func (s *Store) touch(id string) {
	now := time.Now()
	if h, err := registry.Hex(id); err == nil && s.step("touch") == nil {
		os.Chtimes(s.path("images", h), now, now)
	}
}

// Release says that holder does not use the image any more. It may be repeated.
func (s *Store) Release(id, holder string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.holdPath(id, holder)
	if err != nil {
		return err
	}
	if err := s.remove(path); err != nil {
		return s.disk(err)
	}
	s.touch(id)
	return nil
}

// Hold is a use of an image.
type Hold struct{ Image, Holder string }

// Holds lists them.
func (s *Store) Holds() ([]Hold, error) {
	entries, err := os.ReadDir(s.path("holds"))
	if err != nil {
		return nil, s.disk(err)
	}
	var out []Hold
	for _, e := range entries {
		id, _, ok := strings.Cut(e.Name(), ".")
		holder, err := os.ReadFile(s.path("holds", e.Name()))
		if ok && err == nil {
			out = append(out, Hold{"sha256:" + id, string(holder)})
		}
	}
	return out, nil
}

// Held returns the image that holder uses, NotFound when it uses none.
func (s *Store) Held(holder string) (string, error) {
	entries, err := os.ReadDir(s.path("holds"))
	if err != nil {
		return "", s.disk(err)
	}
	name := holderName(holder)
	for _, e := range entries {
		if id, who, _ := strings.Cut(e.Name(), "."); who == name {
			return "sha256:" + id, nil
		}
	}
	return "", structs.Errorf(structs.NotFound, "task "+holder, "it uses no image")
}
