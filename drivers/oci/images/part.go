//go:build linux

package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// part is a compressed layer on its way here: a goroutine writes what arrives to a file in parts/, a reader follows it. When the
// connection breaks, or the agent is restarted, the transfer goes on where it was.
type part struct {
	r     *registry
	b     blob
	f     *os.File
	path  string
	count func(int)
	sum   hash.Hash // of the bytes up to have
	stop  context.CancelFunc
	done  chan struct{} // the goroutine has ended

	mu      sync.Mutex
	more    *sync.Cond
	have    int64
	resumed bool  // some of it was there before
	over    error // io.EOF: it is complete and what the digest says

	at int64 // of the reader
}

// errDigest: somebody sent something else than was asked for.
var errDigest = errors.New("the digest does not match")

// blob opens a layer. It may be read while it arrives.
func (r *registry) blob(ctx context.Context, b blob, count func(int)) (io.ReadCloser, error) {
	h, err := hexOf(b.digest)
	if err != nil {
		return nil, err
	}
	if err := r.s.step("open a part"); err != nil {
		return nil, err
	}
	p := &part{r: r, b: b, path: r.s.path("parts", h), count: count, sum: sha256.New(), done: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	if p.f, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if p.have, err = io.Copy(p.sum, io.LimitReader(p.f, b.size+1)); err != nil {
		p.f.Close()
		return nil, err
	}
	if p.have > b.size { // it is not what its name says
		p.sum.Reset()
		p.have = 0
		if err := p.f.Truncate(0); err != nil {
			p.f.Close()
			return nil, err
		}
	}
	p.resumed = p.have > 0
	count(int(p.have))
	ctx, p.stop = context.WithCancel(ctx)
	go func() {
		defer close(p.done)
		err := p.fetch(ctx)
		p.mu.Lock()
		p.over = err
		p.mu.Unlock()
		p.more.Broadcast()
	}()
	return p, nil
}

// Read gives what has arrived. Its end comes only after the digest was checked.
func (p *part) Read(b []byte) (int, error) {
	p.mu.Lock()
	for p.at == p.have && p.over == nil {
		p.more.Wait()
	}
	have, over := p.have, p.over
	p.mu.Unlock()
	if over != nil && over != io.EOF {
		return 0, over
	}
	if p.at == have {
		return 0, io.EOF
	}
	n, err := p.f.ReadAt(b[:min(int64(len(b)), have-p.at)], p.at)
	p.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Close ends the transfer. What has arrived stays for the next try.
func (p *part) Close() error {
	p.stop()
	<-p.done
	return p.f.Close()
}

// patience is how many tries in a row may bring nothing.
const patience = 6

// fetch transfers what is missing. io.EOF means that all is here and right.
func (p *part) fetch(ctx context.Context) error {
	var errs []error
	for p.have < p.b.size {
		before := p.have
		places := p.r.good(p.b.digest)
		if len(places) == 0 {
			if err := p.r.s.remove(p.path); err != nil {
				return err
			}
			return structs.Errorf(structs.Unavailable, "layer "+p.b.digest, "every registry sent something else: %w", errDigest)
		}
		e := places[len(errs)%len(places)]
		err := p.from(ctx, e)
		if p.have > before {
			errs = nil
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		case errors.As(err, new(diskError)):
			if full(err) { // what is there helps nobody, and others need the room
				err = errors.Join(err, p.r.s.remove(p.path))
			}
			return err
		}
		errs = append(errs, err)
		final := len(errs) >= patience
		if kind := structs.KindOf(err); kind == structs.Forbidden || kind == structs.NotFound {
			final = len(errs) >= len(places)
		}
		if final {
			return err
		}
		if len(errs) < len(places) {
			continue // another place need not be spared
		}
		select {
		case <-time.After(p.r.s.pause(len(errs))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if "sha256:"+hex.EncodeToString(p.sum.Sum(nil)) == p.b.digest {
		return io.EOF
	}
	if err := p.r.s.remove(p.path); err != nil {
		return err
	}
	return structs.Errorf(structs.Unavailable, "layer "+p.b.digest, "what arrived is something else: %w", errDigest)
}

// pause is the time before try n.
func (s *Store) pause(n int) time.Duration { return min(s.opts.Stall/300<<n, s.opts.Stall) }

// diskError is one of the file and not of the registry.
type diskError struct{ error }

func (d diskError) Unwrap() error { return d.error }

// from transfers from one place, until the end or until it breaks.
func (p *part) from(ctx context.Context, e *endpoint) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := p.r.s.opts.Stall
	stalled := structs.Errorf(structs.Unavailable, "layer "+p.b.digest, "nothing came from %s for %v", e.repo.RegistryStr(), stall)
	timer := time.AfterFunc(2*stall, func() { cancel(stalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && context.Cause(ctx) == error(stalled) {
			err = stalled
		}
	}()
	begin := p.have
	resp, err := e.get(ctx, "blobs", p.b.digest, begin)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent && begin > 0 { // it cannot resume
		if _, err := io.CopyN(io.Discard, &watched{resp.Body, timer, stall}, begin); err != nil {
			return e.explain(p.b.digest, err)
		}
	}
	body := &watched{resp.Body, timer, stall}
	buf := make([]byte, 256<<10)
	for p.have < p.b.size {
		n, err := body.Read(buf[:min(int64(len(buf)), p.b.size-p.have)])
		if n > 0 {
			if err := p.write(buf[:n]); err != nil {
				return diskError{err}
			}
		}
		if err == io.EOF && p.have < p.b.size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && p.have < p.b.size {
			return e.explain(p.b.digest, err)
		}
	}
	if begin == 0 && !p.resumed { // all of it came from there
		sum := p.sum.Sum(nil)
		if "sha256:"+hex.EncodeToString(sum) != p.b.digest {
			p.r.blame(p.b.digest, e)
		}
	}
	return nil
}

func (p *part) write(b []byte) error {
	if err := p.r.s.step("write a part"); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(b, p.have); err != nil {
		return err
	}
	p.sum.Write(b)
	p.mu.Lock()
	p.have += int64(len(b))
	p.mu.Unlock()
	p.more.Broadcast()
	p.count(len(b))
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
