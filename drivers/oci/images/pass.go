//go:build linux

package images

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"slices"
)

// maxPasses bounds how many of an image are remembered: whoever was forgotten asks the registry once more.
const maxPasses = 64

// nobody is the pass of who has no credentials: an image that it got is public.
const nobody = "-"

// login returns what the registry of an image is asked with: the task's own, or else the node's.
func (s *Store) login(want Want) (username, password string) {
	if want.Username != "" {
		return want.Username, want.Password
	}
	conf := s.registries.Host(want.Ref.ref.Context().RegistryStr())
	return conf.Username, conf.Password
}

// pass stands for the credentials that an image is asked for with: the same for the same ones, and useless to learn them by without
// the store's key.
func (s *Store) pass(want Want) string {
	if want.Ref.Local() {
		return nobody
	}
	username, password := s.login(want)
	if username == "" {
		return nobody
	}
	mac := hmac.New(sha256.New, s.key)
	for _, part := range []string{want.Ref.ref.Context().RegistryStr(), username, password} {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// allows reports whether the registry gave the image to that pass before, or to everybody.
func (r *record) allows(pass string) bool {
	return slices.Contains(r.Passes, pass) || slices.Contains(r.Passes, nobody)
}

// passes are those of an image that was got just now, with those for which its reference meant the same image before. mu is held.
func (s *Store) passes(want Want, id string) (all []string) {
	if r := s.known(want.Ref); r != nil && r.Image == id {
		all = r.Passes
	}
	all = append(slices.DeleteFunc(all, func(p string) bool { return p == s.pass(want) }), s.pass(want))
	return all[max(0, len(all)-maxPasses):]
}

// openKey reads the store's key, or makes it. Without the old one all ask the registries once more.
func (s *Store) openKey() error {
	key, err := os.ReadFile(s.path("key"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(key) != sha256.Size {
		key = make([]byte, sha256.Size)
		rand.Read(key)
		if err := s.put(s.path("key"), key); err != nil {
			return err
		}
	}
	s.key = key
	return nil
}
