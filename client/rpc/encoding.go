package rpc

import (
	"encoding/binary"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/proffer/proffer/structs"
)

// handle is the msgpack of this package. Strings and bytes are told apart (WriteExt), and a string read into an any is a
// string. Maps must hold pointers to structs: the decoder reads all values of a map into one variable.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.RawToString = true
	h.MapType = reflect.TypeFor[map[string]any]() // free values, such as a driver's config, have names at every depth
	return h
}()

// buffer is memory to encode into, with its encoder.
type buffer struct {
	raw []byte
	out []byte // where the encoder writes
	enc *codec.Encoder
}

var buffers = sync.Pool{New: func() any {
	b := &buffer{}
	b.enc = codec.NewEncoderBytes(&b.out, handle)
	return b
}}

const keepBuffer = 64 << 10 // bytes of a buffer that are kept for the next message

func (b *buffer) free() {
	if cap(b.raw) > keepBuffer {
		b.raw = nil
	}
	b.raw = b.raw[:0]
	if cap(b.out) > keepBuffer {
		b.out = nil
	}
	buffers.Put(b)
}

// message appends v with its length before it.
func (b *buffer) message(v any, limit int, s *Stream) error {
	b.out = b.out[:0]
	b.enc.ResetBytes(&b.out)
	if err := b.enc.Encode(v); err != nil {
		return structs.Errorf(structs.Internal, s.object(), "cannot encode a %T: %w", v, err)
	}
	if len(b.out) > limit {
		return structs.Errorf(structs.Exhausted, s.object(), "the message has %d bytes, more than the %d allowed",
			len(b.out), limit)
	}
	b.raw = binary.BigEndian.AppendUint32(b.raw, uint32(len(b.out)))
	b.raw = append(b.raw, b.out...)
	return nil
}

var decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nil, handle) }}

func decode(raw []byte, into any) error {
	d := decoders.Get().(*codec.Decoder)
	d.ResetBytes(raw)
	err := d.Decode(into)
	d.ResetBytes(nil)
	decoders.Put(d)
	return err
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
	var raw []byte
	if e := codec.NewEncoderBytes(&raw, handle).Encode(&sent); e != nil {
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
	if err := decode(raw, e); err != nil || e.Kind == "" {
		return structs.Errorf(structs.Internal, "error of the other side", "cannot be read: %v", err)
	}
	return e
}
