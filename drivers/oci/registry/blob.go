package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/proffer/proffer/structs"
)

// ErrDigest: somebody sent something else than was asked for.
var ErrDigest = errors.New("the digest does not match")

// patience is how many tries in a row may bring nothing.
const patience = 6

// Blob is what a manifest says of a layer.
type Blob struct {
	Digest string
	Size   int64
}

// writeError is one of whoever takes the bytes.
type writeError struct{ error }

func (w writeError) Unwrap() error { return w.error }

// Blob passes what a blob has from an offset on to write, in order and no more than its size. It goes on where a connection broke, at the
// next place that has it. whole is where all of it came from; nil: from several, or the beginning was here before. The digest is not
// checked: whoever does it calls Blame when it is another. An error of write ends it and is returned as it is.
func (r *Repository) Blob(ctx context.Context, b Blob, from int64, write func([]byte) error) (whole *Endpoint, err error) {
	begin := from
	var errs []error
	for from < b.Size {
		before := from
		places := r.good(b.Digest)
		if len(places) == 0 {
			return nil, structs.Errorf(structs.Unavailable, "layer "+b.Digest, "every registry sent something else: %w", ErrDigest)
		}
		e := places[len(errs)%len(places)]
		err := e.blob(ctx, r.stall, b, from, func(p []byte) error {
			err := write(p)
			if err != nil {
				return writeError{err}
			}
			from += int64(len(p))
			return nil
		})
		if from > before {
			errs, whole = nil, nil
		}
		var w writeError
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &w):
			return nil, w.error
		case err == nil:
			if before == 0 && begin == 0 {
				whole = e
			}
			continue
		}
		errs = append(errs, err)
		final := len(errs) >= patience
		if kind := structs.KindOf(err); kind == structs.Forbidden || kind == structs.NotFound {
			final = len(errs) >= len(places)
		}
		if final {
			return nil, err
		}
		if len(errs) < len(places) {
			continue // another place need not be spared
		}
		select {
		case <-time.After(min(r.stall/300<<len(errs), r.stall)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return whole, nil
}

// good lists the places that did not send anything wrong for a digest.
func (r *Repository) good(digest string) []*Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.endpoints), func(e *Endpoint) bool { return slices.Contains(r.bad[digest], e) })
}

// Blame says that a place sent something else for a digest; nil: nobody did. It is not asked for that again.
func (r *Repository) Blame(digest string, e *Endpoint) {
	if e == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[digest] = append(r.bad[digest], e)
}

// blob transfers from one place, until the end or until it breaks.
func (e *Endpoint) blob(ctx context.Context, stall time.Duration, b Blob, from int64, write func([]byte) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := structs.Errorf(structs.Unavailable, "layer "+b.Digest, "nothing came from %s for %v", e.repo.RegistryStr(), stall)
	timer := time.AfterFunc(2*stall, func() { cancel(stalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && context.Cause(ctx) == error(stalled) {
			err = stalled
		}
	}()
	resp, err := e.get(ctx, Blobs, b.Digest, from)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := &watched{resp.Body, timer, stall}
	if resp.StatusCode != http.StatusPartialContent && from > 0 { // it cannot resume
		if _, err := io.CopyN(io.Discard, body, from); err != nil {
			return e.explain(b.Digest, err)
		}
	}
	buf := make([]byte, 256<<10)
	for from < b.Size {
		n, err := body.Read(buf[:min(int64(len(buf)), b.Size-from)])
		if n > 0 {
			if err := write(buf[:n]); err != nil {
				return err
			}
			from += int64(n)
		}
		if err == io.EOF && from < b.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && from < b.Size {
			return e.explain(b.Digest, err)
		}
	}
	return nil
}

// watched puts the stall timer off with each read that brings something.
type watched struct {
	io.Reader
	timer *time.Timer
	stall time.Duration
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if n > 0 {
		w.timer.Reset(w.stall)
	}
	return n, err
}
