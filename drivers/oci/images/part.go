//go:build linux

package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// part is a compressed layer on its way here: a goroutine writes what arrives to a file in parts/, a reader follows it. When the
// connection breaks, or the agent is restarted, the transfer goes on where it was.
type part struct {
	r     *remote
	b     blob
	f     *os.File
	path  string
	count func(int)
	sum   hash.Hash // of the bytes up to have
	stop  context.CancelFunc
	done  chan struct{} // the goroutine has ended

	mu   sync.Mutex
	more *sync.Cond
	have int64
	over error // io.EOF: it is complete and what the digest says

	at int64 // of the reader
}

// blob opens a layer. It may be read while it arrives.
func (r *remote) blob(ctx context.Context, b blob, count func(int)) (io.ReadCloser, error) {
	h, err := registry.Hex(b.digest)
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

// fetch transfers what is missing. io.EOF means that all is here and right.
func (p *part) fetch(ctx context.Context) error {
	from, err := p.r.repo.Blob(ctx, registry.Blob{Digest: p.b.digest, Size: p.b.size}, p.have, p.write)
	if err == nil {
		if "sha256:"+hex.EncodeToString(p.sum.Sum(nil)) == p.b.digest {
			return io.EOF
		}
		p.r.repo.Blame(p.b.digest, from)
		err = structs.Errorf(structs.Unavailable, "layer "+p.b.digest, "what arrived is something else: %w", registry.ErrDigest)
	}
	switch {
	case errors.As(err, new(diskError)) && full(err): // what is there helps nobody, and others need the room
		err = errors.Join(err, p.r.s.remove(p.path))
	case errors.Is(err, registry.ErrDigest):
		if err := p.r.s.remove(p.path); err != nil {
			return err
		}
	}
	return err
}

// diskError is one of the file and not of the registry.
type diskError struct{ error }

func (d diskError) Unwrap() error { return d.error }

func (p *part) write(b []byte) error {
	if err := p.r.s.step("write a part"); err != nil {
		return diskError{err}
	}
	if _, err := p.f.WriteAt(b, p.have); err != nil {
		return diskError{err}
	}
	p.sum.Write(b)
	p.mu.Lock()
	p.have += int64(len(b))
	p.mu.Unlock()
	p.more.Broadcast()
	p.count(len(b))
	return nil
}
