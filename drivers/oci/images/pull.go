//go:build linux

package images

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// Want is an image that a task needs.
type Want struct {
	Ref   Reference
	Fresh bool   // ask the registry even if there is an image of that name
	Local string // host folder below which local references are; they cannot leave it
	// Username and Password of the task's own; empty: those that the node has for the registry
	Username, Password string
}

// Progress is how far a pull is, in compressed bytes. Total is 0 until it is known.
type Progress struct{ Done, Total int64 }

// source is where an image comes from.
type source interface {
	// who names the place, and whoever asks there: what it answers to one is what it answers to all of a name.
	who() string
	// image returns the manifest's digest and what the image consists of.
	image(ctx context.Context) (*contents, error)
	// blob opens a compressed layer from its beginning. It checks the digest, where there is one, when the last byte is read:
	// then the reader fails instead of ending.
	blob(ctx context.Context, b blob, count func(n int)) (io.ReadCloser, error)
}

// contents is an image as its source describes it.
type contents struct {
	digest string // of the manifest; empty: it has none
	id     string // of the config
	config []byte
	blobs  []blob // as many as the config has diff ids, in the same order
}

// blob is a layer as it is transferred.
type blob struct {
	digest string // empty: the diff id has to do
	size   int64
	name   string // in an archive
}

// Pulls says how long pulls took that succeeded.
func (s *Store) Pulls() timing.Summary { return s.took.Summary() }

// Ensure returns the image, and marks it as used by holder until Release. It is pulled if it is missing, if Fresh is asked for, and
// if nobody with these credentials has got it before: the registry has to say whether they may have it, and layers that are here
// are not transferred again. What other callers pull at the same time is pulled once. progress may be nil; it is called from other
// goroutines, one at a time.
func (s *Store) Ensure(ctx context.Context, want Want, holder string, progress func(Progress)) (*Image, error) {
	if !want.Fresh || want.Ref.Pinned() {
		if r := s.known(want.Ref); r != nil && r.allows(s.pass(want)) {
			s.mu.Lock()
			im, err := s.hold(r.Image, holder)
			s.mu.Unlock()
			if err == nil {
				im.Digest = r.Digest
				return im, nil
			}
			if structs.KindOf(err) != structs.NotFound {
				return nil, err
			}
		}
	}
	begun := time.Now()
	im, err := s.pull(ctx, want, holder, progress)
	if err == nil {
		s.took.Since(begun)
	} else {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, s.disk(err)
	}
	return im, nil
}

func (s *Store) pull(ctx context.Context, want Want, holder string, progress func(Progress)) (*Image, error) {
	src, err := s.source(want)
	if err != nil {
		return nil, err
	}
	c, err := src.image(ctx)
	if err != nil {
		return nil, err
	}
	_, layers, err := parseConfig(c.id, c.config)
	if err != nil {
		return nil, err
	}
	if len(layers) != len(c.blobs) {
		return nil, structs.Errorf(structs.Invalid, "image "+want.Ref.String(), "its manifest has %d layers, its config %d", len(c.blobs), len(layers))
	}
	defer s.pin(layers)()
	if err := s.layers(ctx, want.Ref.String(), src, c, layers, progress); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := registry.Hex(c.id)
	if err != nil {
		return nil, err
	}
	if err := s.put(s.path("images", h), c.config); err != nil {
		return nil, err
	}
	if !want.Ref.Local() { // a path means whatever is there
		raw, err := json.Marshal(record{Name: want.Ref.key(), Image: c.id, Digest: c.digest, Pulled: structs.At(time.Now()),
			Passes: s.passes(want, c.id)})
		if err != nil {
			return nil, err
		}
		if err := s.put(s.path("refs", sumOf(want.Ref.key())), raw); err != nil {
			return nil, err
		}
	}
	im, err := s.hold(c.id, holder)
	if err != nil {
		return nil, err
	}
	im.Digest = c.digest
	return im, nil
}

// pin keeps layers from being removed until the result is called.
func (s *Store) pin(layers []string) (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		s.pins[l]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range layers {
			if s.pins[l]--; s.pins[l] == 0 {
				delete(s.pins, l)
			}
		}
	}
}

// layers sees to it that all layers are unpacked.
func (s *Store) layers(ctx context.Context, image string, src source, c *contents, layers []string, progress func(Progress)) error {
	total, largest, here := int64(0), int64(0), int64(0)
	missing := map[string]blob{}
	for i, l := range layers {
		if _, again := missing[l]; !again && !s.has(l) {
			missing[l] = c.blobs[i]
			total += c.blobs[i].size
			largest = max(largest, c.blobs[i].size)
			here += s.partOf(c.blobs[i])
		}
	}
	if len(missing) > 0 {
		// Unpacked, layers take no less than what is transferred, and one is there twice before it is through.
		if err := s.room(image, total+largest-here); err != nil {
			return err
		}
	}
	var done atomic.Int64
	var telling sync.Mutex
	tell := func(n int) {
		sum := done.Add(int64(n))
		if progress != nil {
			telling.Lock()
			progress(Progress{sum, total})
			telling.Unlock()
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for l, b := range missing {
		g.Go(func() error {
			counted := atomic.Int64{}
			err := s.pulls.Do(ctx, l, src.who(), func(ctx context.Context) error {
				return s.layer(ctx, src, l, b, func(n int) { counted.Add(int64(n)); tell(n) })
			})
			if err == nil && counted.Load() < b.size { // somebody else pulled it
				tell(int(b.size - counted.Load()))
			}
			return err
		})
	}
	return g.Wait()
}

// partOf is how much of a blob an earlier time left.
func (s *Store) partOf(b blob) int64 {
	h, err := registry.Hex(b.digest)
	if err != nil {
		return 0
	}
	info, err := os.Stat(s.path("parts", h))
	if err != nil {
		return 0
	}
	return min(info.Size(), b.size)
}

// layer brings one layer here and unpacks it.
func (s *Store) layer(ctx context.Context, src source, l string, b blob, count func(n int)) error {
	select {
	case s.lanes <- struct{}{}:
		defer func() { <-s.lanes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for try := 1; !s.has(l); try++ {
		err := s.transfer(ctx, src, l, b, count)
		// A part of an earlier time may be damaged, and another place may have what this one has not.
		if !errors.Is(err, registry.ErrDigest) || try == 3 {
			return err
		}
	}
	return nil
}

func (s *Store) transfer(ctx context.Context, src source, l string, b blob, count func(n int)) error {
	r, err := src.blob(ctx, b, count)
	if err != nil {
		return err
	}
	if err := s.unpack(ctx, l, r); err != nil {
		if structs.KindOf(err) == structs.Invalid && !isCanceled(err) {
			// Perhaps it is not the layer that was asked for. The end of what comes tells.
			if _, wrong := io.Copy(io.Discard, r); wrong != nil {
				err = wrong
			}
		}
		r.Close()
		if h, bad := registry.Hex(b.digest); bad == nil && full(err) {
			err = errors.Join(err, s.remove(s.path("parts", h)))
		}
		return err
	}
	r.Close()
	if h, err := registry.Hex(b.digest); err == nil { // what is unpacked need not be kept compressed
		return s.remove(s.path("parts", h))
	}
	return nil
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
