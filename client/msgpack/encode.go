package msgpack

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"sync"
	"unsafe"
)

// The first bytes of values. Small lengths and numbers are in them.
const (
	fixMap   = 0x80
	fixArray = 0x90
	fixStr   = 0xa0
	isNil    = 0xc0
	isFalse  = 0xc2
	isTrue   = 0xc3
	bin8     = 0xc4
	bin16    = 0xc5
	bin32    = 0xc6
	ext8     = 0xc7
	ext16    = 0xc8
	ext32    = 0xc9
	float32_ = 0xca
	float64_ = 0xcb
	uint8_   = 0xcc
	uint16_  = 0xcd
	uint32_  = 0xce
	uint64_  = 0xcf
	int8_    = 0xd0
	int16_   = 0xd1
	int32_   = 0xd2
	int64_   = 0xd3
	fixExt1  = 0xd4
	fixExt16 = 0xd8
	str8     = 0xd9
	str16    = 0xda
	str32    = 0xdb
	array16  = 0xdc
	array32  = 0xdd
	map16    = 0xde
	map32    = 0xdf
	fixMinus = 0xe0 // from here on, small negative numbers
)

// writer is where a value is written.
type writer struct {
	b   []byte
	err error
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// Append appends a value to to. It reads all that the value points to. On an error, which is about a type that cannot be written, to is as it was.
func Append(to []byte, v any) ([]byte, error) {
	w := writers.Get().(*writer)
	w.b, w.err = to, nil
	w.any(v)
	out, err := w.b, w.err
	w.b = nil
	writers.Put(w)
	if err != nil {
		return to, err
	}
	return out, nil
}

// any writes what is in an interface.
func (w *writer) any(v any) {
	switch v := v.(type) {
	case nil:
		w.b = append(w.b, isNil)
	case bool:
		encodeBool(w, unsafe.Pointer(&v))
	case int:
		w.b = appendInt(w.b, int64(v))
	case int64:
		w.b = appendInt(w.b, v)
	case float64:
		encodeFloat64(w, unsafe.Pointer(&v))
	case string:
		w.b = appendString(w.b, v)
	case []any:
		if v == nil {
			w.b = append(w.b, isNil)
			return
		}
		w.b = appendLength(w.b, fixArray, array16, len(v))
		for _, one := range v {
			w.any(one)
		}
	case map[string]any:
		if v == nil {
			w.b = append(w.b, isNil)
			return
		}
		w.b = appendLength(w.b, fixMap, map16, len(v))
		for key, one := range v {
			w.b = appendString(w.b, key)
			w.any(one)
		}
	default:
		w.other(reflect.ValueOf(v))
	}
}

// other writes what needs a plan.
func (w *writer) other(v reflect.Value) {
	var at unsafe.Pointer
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		if v.IsNil() {
			w.b = append(w.b, isNil)
			return
		}
		at, t = v.UnsafePointer(), t.Elem()
	} else {
		copied := reflect.New(t)
		copied.Elem().Set(v)
		at = copied.UnsafePointer()
	}
	p, err := planOf(t)
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	p.encode(w, at)
}

func encodeAny(w *writer, p unsafe.Pointer) { w.any(*(*any)(p)) }

func encodeBool(w *writer, p unsafe.Pointer) {
	if *(*bool)(p) {
		w.b = append(w.b, isTrue)
	} else {
		w.b = append(w.b, isFalse)
	}
}

func encodeFloat32(w *writer, p unsafe.Pointer) {
	w.b = binary.BigEndian.AppendUint32(append(w.b, float32_), math.Float32bits(*(*float32)(p)))
}

func encodeFloat64(w *writer, p unsafe.Pointer) {
	w.b = binary.BigEndian.AppendUint64(append(w.b, float64_), math.Float64bits(*(*float64)(p)))
}

func encodeString(w *writer, p unsafe.Pointer) { w.b = appendString(w.b, *(*string)(p)) }

func encodeBytes(w *writer, p unsafe.Pointer) {
	if b := *(*[]byte)(p); b == nil {
		w.b = append(w.b, isNil)
	} else {
		w.b = append(appendLengthBytes(w.b, len(b)), b...)
	}
}

// integer is a plan of the numbers of one size.
func integer[T int | int8 | int16 | int32 | int64]() plan {
	return plan{
		encode: func(w *writer, p unsafe.Pointer) { w.b = appendInt(w.b, int64(*(*T)(p))) },
		decode: func(r *reader, p unsafe.Pointer) {
			n := r.int()
			if int64(T(n)) != n {
				r.fail("%d does not fit a %T", n, T(0))
				return
			}
			*(*T)(p) = T(n)
		},
	}
}

func natural[T uint | uint8 | uint16 | uint32 | uint64]() plan {
	return plan{
		encode: func(w *writer, p unsafe.Pointer) { w.b = appendUint(w.b, uint64(*(*T)(p))) },
		decode: func(r *reader, p unsafe.Pointer) {
			n := r.uint()
			if uint64(T(n)) != n {
				r.fail("%d does not fit a %T", n, T(0))
				return
			}
			*(*T)(p) = T(n)
		},
	}
}

var (
	signed = map[reflect.Kind]plan{reflect.Int: integer[int](), reflect.Int8: integer[int8](), reflect.Int16: integer[int16](),
		reflect.Int32: integer[int32](), reflect.Int64: integer[int64]()}
	unsigned = map[reflect.Kind]plan{reflect.Uint: natural[uint](), reflect.Uint8: natural[uint8](), reflect.Uint16: natural[uint16](),
		reflect.Uint32: natural[uint32](), reflect.Uint64: natural[uint64]()}
)

// appendInt writes a number with a sign, in as few bytes as such ones need.
func appendInt(b []byte, n int64) []byte {
	switch {
	case n >= -32 && n <= math.MaxInt8:
		return append(b, byte(n))
	case n >= math.MinInt8 && n < 0:
		return append(b, int8_, byte(n))
	case n >= math.MinInt16 && n <= math.MaxInt16:
		return binary.BigEndian.AppendUint16(append(b, int16_), uint16(n))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return binary.BigEndian.AppendUint32(append(b, int32_), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, int64_), uint64(n))
}

func appendUint(b []byte, n uint64) []byte {
	switch {
	case n <= math.MaxInt8:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, uint8_, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, uint16_), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, uint32_), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, uint64_), n)
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, fixStr|byte(n))
	case n <= math.MaxUint8:
		b = append(b, str8, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, str16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, str32), uint32(n))
	}
	return append(b, s...)
}

// appendLengthBytes begins bytes.
func appendLengthBytes(b []byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, bin8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, bin16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, bin32), uint32(n))
}

// appendLength begins a map or an array; long is the first of the two forms for many.
func appendLength(b []byte, fix, long byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, fix|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, long), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, long+1), uint32(n))
}
