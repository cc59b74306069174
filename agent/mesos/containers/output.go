package containers

import (
	"context"
	"io"
	"sync"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// Bounds of what waits for its readers.
const (
	maxWaiting = 64 << 10 // bytes of a container
	maxPiece   = 16 << 10 // bytes that travel at once
)

// output is what a container writes, on its way to whoever reads it. While nobody does, the end of it is kept. A reader that is slow slows the
// container, as a pipe would; whoever serves the reader ends it when it takes nothing for too long.
type output struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
	pieces  []piece
	first   int // the number of pieces[0], of all pieces so far
	size    int // bytes in pieces
	readers map[*reader]bool
	over    bool // there will be no more
}

// piece is not changed once it is there.
type piece struct {
	stream wire.ProcessDataType
	data   []byte
}

// reader reads an output; one goroutine calls next, then close.
type reader struct {
	of *output
	at int // the number of the piece that is next
}

func newOutput() *output {
	return &output{changed: make(chan struct{}), readers: map[*reader]bool{}}
}

// notify wakes all who wait. The caller holds mu.
func (o *output) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// read returns a reader, which begins with the oldest that is kept.
func (o *output) read() *reader {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &reader{o, o.first}
	o.readers[r] = true
	return r
}

// writer returns where a stream is written. Its Write fails once ctx ended.
func (o *output) writer(ctx context.Context, stream wire.ProcessDataType) io.Writer {
	return writer{ctx, o, stream}
}

type writer struct {
	ctx    context.Context
	to     *output
	stream wire.ProcessDataType
}

func (w writer) Write(p []byte) (n int, err error) {
	for n < len(p) {
		data := p[n:min(len(p), n+maxPiece)]
		if err := w.to.add(w.ctx, piece{w.stream, append([]byte(nil), data...)}); err != nil {
			return n, err
		}
		n += len(data)
	}
	return n, nil
}

// add waits until there is room, which is as soon as nobody needs the oldest piece any more.
func (o *output) add(ctx context.Context, p piece) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.size+len(p.data) > maxWaiting {
		if o.needed() {
			changed := o.changed
			o.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			o.mu.Lock()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		o.size -= len(o.pieces[0].data)
		o.pieces[0] = piece{}
		o.pieces, o.first = o.pieces[1:], o.first+1
	}
	o.pieces, o.size = append(o.pieces, p), o.size+len(p.data)
	o.notify()
	return nil
}

// needed reports whether some reader has not taken the oldest piece. The caller holds mu.
func (o *output) needed() bool {
	for r := range o.readers {
		if r.at == o.first {
			return true
		}
	}
	return false
}

// end says that there will be no more.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.notify()
}

// next waits for the next piece; io.EOF after the last one.
func (r *reader) next(ctx context.Context) (piece, error) {
	for {
		r.of.mu.Lock()
		if i := r.at - r.of.first; i < len(r.of.pieces) {
			p := r.of.pieces[i]
			r.at++
			r.of.notify()
			r.of.mu.Unlock()
			return p, nil
		}
		over, changed := r.of.over, r.of.changed
		r.of.mu.Unlock()
		if over {
			return piece{}, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return piece{}, ctx.Err()
		}
	}
}

func (r *reader) close() {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	delete(r.of.readers, r)
	r.of.notify()
}
