//go:build linux

package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// Store is the folder of a node's images:
//
//	images/<id>             the config of an image that is complete; its time of change is that of its last use
//	layers/<diff id>/fs     an unpacked layer; it is there as a whole or not at all
//	refs/<hash of name>     which image a reference meant when it was pulled last
//	holds/<id>.<hash>       a task uses the image
//	parts/<digest>          what has arrived of a compressed layer
//	key                     see Store.pass
//	tmp/                    what is being made or removed; emptied by Open
//
// Its methods may be called from any goroutine.
type Store struct {
	dir  string
	opts Options
	log  *slog.Logger
	lock *os.File

	pulls      flight.Group
	took       timing.Times  // to pull, see Pulls
	lanes      chan struct{} // bounds layers that are pulled and unpacked at the same time
	registries *registry.Client
	key        []byte // see pass

	mu   sync.Mutex     // held while an image is recorded, held or removed
	pins map[string]int // layers of images that are being pulled, by diff id

	dying sync.Mutex // guards dead
	dead  error      // what step said
}

var errUsed = errors.New("another process uses this folder")

// Open opens the store in dir, which it makes when it is missing, and removes what was left half done.
func Open(dir string, opts Options) (*Store, error) {
	if opts.MaxAge == 0 {
		opts.MaxAge = 7 * 24 * time.Hour
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 50 << 30
	}
	if opts.MaxImage == 0 {
		opts.MaxImage = 20 << 30
	}
	if opts.Stall == 0 {
		opts.Stall = 30 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, opts: opts, log: opts.Logger, lanes: make(chan struct{}, 4), pins: map[string]int{},
		registries: registry.New(opts.Registries, opts.Stall)}
	for _, sub := range []string{"", "images", "layers", "refs", "holds", "parts", "tmp"} {
		// Tasks of other users look up their roots through these.
		if err := os.MkdirAll(s.path(sub), 0o711); err != nil {
			return nil, s.disk(err)
		}
	}
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, s.disk(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, structs.Errorf(structs.Conflict, "images in "+dir, "%w", errUsed)
	}
	s.lock = f
	err = s.removeAll(s.path("tmp"), false)
	if err == nil {
		err = s.openKey()
	}
	if err != nil {
		f.Close()
		return nil, s.disk(err)
	}
	return s, nil
}

// Close lets another process use the folder. Nothing may be under way.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// step is called before each change of the disk.
func (s *Store) step(what string) error {
	if s.opts.step == nil {
		return nil
	}
	s.dying.Lock()
	defer s.dying.Unlock()
	if s.dead == nil {
		s.dead = s.opts.step(what)
	}
	return s.dead
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// record is what refs keeps.
type record struct {
	Name   string       `json:"name"`
	Image  string       `json:"image"`            // its id
	Digest string       `json:"digest,omitempty"` // of the manifest
	Pulled structs.Time `json:"pulled"`
	// Passes are whom the registry gave it to, newest last; see Store.pass. Others have to ask it first.
	Passes []string `json:"passes"`
}

// known returns the image that a reference meant when it was pulled last, if it is still complete.
func (s *Store) known(ref Reference) *record {
	raw, err := os.ReadFile(s.path("refs", sumOf(ref.key())))
	if err != nil {
		return nil
	}
	r := new(record)
	if json.Unmarshal(raw, r) != nil || r.Name != ref.key() {
		return nil
	}
	return r
}

// load reads a complete image.
func (s *Store) load(id string) (*Image, error) {
	h, err := registry.Hex(id)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(s.path("images", h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, structs.Errorf(structs.NotFound, "image "+id, "it is not on this node")
	}
	if err != nil {
		return nil, s.disk(err)
	}
	file, layers, err := parseConfig(id, raw)
	if err != nil {
		return nil, err
	}
	im := &Image{ID: id, Config: file.Config}
	for _, l := range layers {
		if !s.has(l) {
			return nil, structs.Errorf(structs.NotFound, "image "+id, "its layer %s is not on this node", l)
		}
		im.Layers = append(im.Layers, s.path("layers", l, "fs"))
	}
	return im, nil
}

// parseConfig checks the config of an image against its id; layers are the hexadecimal diff ids, lowest first.
func parseConfig(id string, raw []byte) (file *v1.ConfigFile, layers []string, err error) {
	sum := sha256.Sum256(raw)
	if "sha256:"+hex.EncodeToString(sum[:]) != id {
		return nil, nil, structs.Errorf(structs.Unavailable, "image "+id, "what should be its config has another digest")
	}
	file = new(v1.ConfigFile)
	if err := json.Unmarshal(raw, file); err != nil {
		return nil, nil, structs.Errorf(structs.Invalid, "image "+id, "its config cannot be read: %w", err)
	}
	if n := len(file.RootFS.DiffIDs); n == 0 || n > maxLayers {
		return nil, nil, structs.Errorf(structs.Invalid, "image "+id, "it has %d layers; from 1 to %d are possible", n, maxLayers)
	}
	for _, d := range file.RootFS.DiffIDs {
		h, err := registry.Hex(d.String())
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, h)
	}
	return file, layers, nil
}

// maxLayers is what overlayfs takes.
const maxLayers = 128

// has reports whether a layer is unpacked.
func (s *Store) has(layer string) bool {
	_, err := os.Lstat(s.path("layers", layer))
	return err == nil
}

// put writes a file that is there as a whole or not at all, and stays after a power failure.
func (s *Store) put(path string, data []byte) error {
	if err := s.step("make a file for " + filepath.Base(filepath.Dir(path))); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.path("tmp"), "file-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.rename(f.Name(), path)
	}
	if err != nil {
		s.remove(f.Name())
	}
	return err
}

// rename moves what is complete to where it is looked for, durably.
func (s *Store) rename(from, to string) error {
	if err := s.step("rename into " + filepath.Base(filepath.Dir(to))); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (s *Store) remove(path string) error {
	if err := s.step("remove from " + filepath.Base(filepath.Dir(path))); err != nil {
		return err
	}
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeAll removes a folder, or what is in it.
func (s *Store) removeAll(path string, itself bool) error {
	if err := s.step("remove from " + filepath.Base(filepath.Dir(path))); err != nil {
		return err
	}
	if itself {
		return forceRemove(path)
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, forceRemove(filepath.Join(path, e.Name())))
	}
	return err
}

// forceRemove removes a tree in which folders may be without permission for their owner.
func forceRemove(path string) error {
	err := os.RemoveAll(path)
	if err == nil || os.Geteuid() == 0 {
		return err
	}
	filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

// full: the disk has no room.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// disk gives an error of the disk its kind.
func (s *Store) disk(err error) error {
	var e *structs.Error
	if err == nil || errors.As(err, &e) || isCanceled(err) {
		return err
	}
	kind, do := structs.Unavailable, ""
	if full(err) {
		kind, do = structs.Exhausted, "free space on the disk of the node's data folder"
	}
	out := structs.Errorf(kind, "images in "+s.dir, "%w", err)
	out.Do = do
	return out
}
