package rpc

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// buffer is memory to encode into.
type buffer struct{ raw []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

const keepBuffer = 64 << 10 // bytes of a buffer that are kept for the next message

func (b *buffer) free() {
	if cap(b.raw) > keepBuffer {
		b.raw = nil
	}
	b.raw = b.raw[:0]
	buffers.Put(b)
}

// message appends v with its length before it.
func (b *buffer) message(v any, limit int, s *Stream) error {
	begin := len(b.raw) + 4
	raw, err := msgpack.Append(binary.BigEndian.AppendUint32(b.raw, 0), v)
	if err != nil {
		return structs.Errorf(structs.Internal, s.object(), "cannot encode a %T: %w", v, err)
	}
	size := len(raw) - begin
	if size > limit {
		return structs.Errorf(structs.Exhausted, s.object(), "the message has %d bytes, more than the %d allowed", size, limit)
	}
	binary.BigEndian.PutUint32(raw[begin-4:], uint32(size))
	b.raw = raw
	return nil
}

// The head of a stream, before its request: the length of the method (1 byte), the method, and the time that the caller
// still has (8 bytes, in nanoseconds; 0: no bound). A duration, because clocks differ.
const maxMethod = 255

func appendHead(to []byte, method string, left time.Duration) []byte {
	to = append(to, byte(len(method)))
	to = append(to, method...)
	return binary.BigEndian.AppendUint64(to, uint64(left))
}

// head reads what appendHead wrote.
func (s *Stream) head() (method string, left time.Duration, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	size, err := s.exactlyLocked(1)
	if err != nil {
		return "", 0, err
	}
	n := int(size[0])
	rest, err := s.exactlyLocked(n + 8)
	if err != nil {
		return "", 0, err
	}
	return string(rest[:n]), time.Duration(binary.BigEndian.Uint64(rest[n:])), nil
}

const maxErrorText = 8 << 10 // bytes of each text of an error that is sent; an error fits a frame

func encodeError(err *structs.Error) []byte {
	sent := structs.Error{Kind: err.Kind, Op: cut(err.Op, 1<<10), Object: cut(err.Object, 1<<10),
		Why: cut(err.Why, maxErrorText), Do: cut(err.Do, maxErrorText)}
	raw, e := msgpack.Append(nil, &sent)
	if e != nil {
		panic(e) // strings only
	}
	return raw
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "…"
}

func decodeError(raw []byte) error {
	e := &structs.Error{}
	if err := msgpack.Decode(raw, e); err != nil || e.Kind == "" {
		return structs.Errorf(structs.Internal, "error of the other side", "cannot be read: %v", err)
	}
	return e
}
