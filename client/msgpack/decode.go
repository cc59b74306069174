package msgpack

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"
	"unsafe"
)

// maxDepth bounds how deep values are in each other.
const maxDepth = 1024

// roomAtOnce is how many bytes are made room for on the word of a length alone.
const roomAtOnce = 64 << 10

// reader is what a value is read from. After the first error it is at its end, and all that is read is nil.
type reader struct {
	b     []byte
	at    int
	depth int
	err   error
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// Decode reads a value that is all of raw into what into points to, and keeps nothing of raw. What is below a pointer, a slice or a map is always
// new: nothing that into shares with others is written. After an error some of it may have been read.
func Decode(raw []byte, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("%T is no pointer to a value", into)
	}
	p, err := planOf(v.Type().Elem())
	if err != nil {
		return err
	}
	r := readers.Get().(*reader)
	*r = reader{b: raw}
	p.decode(r, v.UnsafePointer())
	if r.at != len(raw) {
		r.fail("%d more bytes follow the value", len(raw)-r.at)
	}
	err = r.err
	*r = reader{}
	readers.Put(r)
	return err
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d of %d: %s", r.at, len(r.b), fmt.Sprintf(format, args...))
	}
	r.at = len(r.b)
}

func (r *reader) wrong(first byte, want string) { r.fail("%#x does not begin %s", first, want) }

// deeper goes one level down, from which r.depth-- comes back.
func (r *reader) deeper() bool {
	if r.depth++; r.depth > maxDepth {
		r.fail("values are more than %d deep in each other", maxDepth)
		return false
	}
	return true
}

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail("it is cut off")
		return isNil
	}
	r.at++
	return r.b[r.at-1]
}

// bytes returns the next n bytes of the input itself; nil when there are fewer.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b)-r.at {
		r.fail("it is cut off: %d bytes more are missing", n-(len(r.b)-r.at))
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// number reads a number of 1, 2, 4 or 8 bytes.
func (r *reader) number(size int) uint64 {
	switch b := r.bytes(size); len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// isNil skips a nil.
func (r *reader) isNil() bool {
	if r.at < len(r.b) && r.b[r.at] == isNil {
		r.at++
		return true
	}
	return r.at >= len(r.b) && r.byte() == isNil // with the error that it is cut off
}

// int reads a number; nil is 0.
func (r *reader) int() int64 {
	switch b := r.byte(); {
	case b < fixMap || b >= fixMinus:
		return int64(int8(b))
	case b == int8_:
		return int64(int8(r.number(1)))
	case b == int16_:
		return int64(int16(r.number(2)))
	case b == int32_:
		return int64(int32(r.number(4)))
	case b == int64_:
		return int64(r.number(8))
	case b >= uint8_ && b <= uint64_:
		n := r.number(1 << (b - uint8_))
		if n > math.MaxInt64 {
			r.fail("%d does not fit a number with a sign", n)
		}
		return int64(n)
	case b == isNil:
		return 0
	default:
		r.wrong(b, "a number")
		return 0
	}
}

func (r *reader) uint() uint64 {
	if r.at < len(r.b) && r.b[r.at] == uint64_ {
		r.at++
		return r.number(8)
	}
	n := r.int()
	if n < 0 {
		r.fail("%d is below 0", n)
		return 0
	}
	return uint64(n)
}

func (r *reader) float() float64 {
	if r.at < len(r.b) {
		switch r.b[r.at] {
		case float32_:
			r.at++
			return float64(math.Float32frombits(uint32(r.number(4))))
		case float64_:
			r.at++
			return math.Float64frombits(r.number(8))
		}
	}
	return float64(r.int())
}

// text returns a string, or bytes, as the input has it; nil for nil.
func (r *reader) text() []byte {
	switch b := r.byte(); {
	case b >= fixStr && b < isNil:
		return r.bytes(int(b - fixStr))
	case b == str8 || b == bin8:
		return r.bytes(int(r.number(1)))
	case b == str16 || b == bin16:
		return r.bytes(int(r.number(2)))
	case b == str32 || b == bin32:
		return r.bytes(int(r.number(4)))
	case b == isNil:
		return nil
	default:
		r.wrong(b, "a string")
		return nil
	}
}

// length begins an array or a map, see appendLength; false: it is nil, or wrong.
func (r *reader) length(fix, long byte, what string) (n int, ok bool) {
	switch b := r.byte(); {
	case b&0xf0 == fix:
		return int(b & 0x0f), true
	case b == long:
		n = int(r.number(2))
	case b == long+1:
		n = int(r.number(4))
	case b == isNil:
		return 0, false
	default:
		r.wrong(b, what)
	}
	if n < 0 { // where an int has 32 bits
		r.fail("%s is too long", what)
	}
	return n, r.err == nil
}

func decodeBool(r *reader, p unsafe.Pointer) {
	switch b := r.byte(); b {
	case isTrue, isFalse, isNil:
		*(*bool)(p) = b == isTrue
	default:
		r.wrong(b, "a bool")
	}
}

func decodeFloat32(r *reader, p unsafe.Pointer) { *(*float32)(p) = float32(r.float()) }
func decodeFloat64(r *reader, p unsafe.Pointer) { *(*float64)(p) = r.float() }
func decodeString(r *reader, p unsafe.Pointer)  { *(*string)(p) = string(r.text()) }
func decodeAny(r *reader, p unsafe.Pointer)     { *(*any)(p) = r.any() }

func decodeBytes(r *reader, p unsafe.Pointer) {
	b := r.text()
	if b == nil {
		*(*[]byte)(p) = nil
		return
	}
	*(*[]byte)(p) = append(make([]byte, 0, len(b)), b...)
}

// slice reads one to v, which is at an address.
func (r *reader) slice(v reflect.Value, at unsafe.Pointer, elem *plan, size uintptr) {
	v.SetZero()
	n, ok := r.length(fixArray, array16, "an array")
	if !ok || !r.deeper() {
		return
	}
	if n == 0 {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // and not nil
	}
	for have := 0; have < n && r.err == nil; have = v.Len() {
		v.Grow(room(n-have, size)) // to twice as many at least
		v.SetLen(min(n, v.Cap()))
		first := *(*unsafe.Pointer)(at)
		for i := have; i < v.Len() && r.err == nil; i++ {
			elem.decode(r, unsafe.Add(first, uintptr(i)*size))
		}
	}
	r.depth--
}

// room is for how many of n elements there is some from the beginning.
func room(n int, size uintptr) int { return min(n, max(16, roomAtOnce/int(max(size, 1)))) }

func (r *reader) mapping(to reflect.Value, key, elem *plan) {
	to.SetZero()
	n, ok := r.length(fixMap, map16, "a map")
	if !ok || !r.deeper() {
		return
	}
	t := to.Type()
	to.Set(reflect.MakeMapWithSize(t, room(n, t.Key().Size()+t.Elem().Size())))
	k, v := reflect.New(t.Key()), reflect.New(t.Elem())
	for ; n > 0 && r.err == nil; n-- {
		k.Elem().SetZero()
		v.Elem().SetZero()
		key.decode(r, k.UnsafePointer())
		elem.decode(r, v.UnsafePointer())
		to.SetMapIndex(k.Elem(), v.Elem())
	}
	r.depth--
}

// any reads a value of any type.
func (r *reader) any() any {
	if r.at >= len(r.b) {
		r.byte()
		return nil
	}
	switch b := r.b[r.at]; {
	case b < fixMap || b >= fixMinus || b >= int8_ && b <= int64_:
		return r.int()
	case b >= uint8_ && b <= uint64_:
		return int64(r.uint())
	case b == float32_ || b == float64_:
		return r.float()
	case b >= fixStr && b < isNil || b >= bin8 && b <= bin32 || b >= str8 && b <= str32:
		return string(r.text())
	case b == isTrue || b == isFalse:
		r.at++
		return b == isTrue
	case b == isNil:
		r.at++
		return nil
	case b&0xf0 == fixArray || b == array16 || b == array32:
		n, _ := r.length(fixArray, array16, "an array")
		if !r.deeper() {
			return nil
		}
		out := make([]any, 0, room(n, unsafe.Sizeof(any(nil))))
		for ; n > 0 && r.err == nil; n-- {
			out = append(out, r.any())
		}
		r.depth--
		return out
	case b&0xf0 == fixMap || b == map16 || b == map32:
		n, _ := r.length(fixMap, map16, "a map")
		if !r.deeper() {
			return nil
		}
		out := make(map[string]any, room(n, 2*unsafe.Sizeof("")))
		for ; n > 0 && r.err == nil; n-- {
			key := string(r.text())
			out[key] = r.any()
		}
		r.depth--
		return out
	default:
		r.wrong(b, "a value")
		return nil
	}
}

// skip reads a value that nobody wants, with all in it.
func (r *reader) skip() {
	for left := 1; left > 0 && r.err == nil; left-- {
		switch b := r.byte(); {
		case b < fixMap || b >= fixMinus || b == isNil || b == isFalse || b == isTrue:
		case b < fixArray:
			left += 2 * int(b&0x0f)
		case b < fixStr:
			left += int(b & 0x0f)
		case b < isNil:
			r.bytes(int(b & 0x1f))
		case b >= bin8 && b <= bin32:
			r.bytes(int(r.number(1 << (b - bin8))))
		case b >= ext8 && b <= ext32:
			r.bytes(1 + int(r.number(1<<(b-ext8))))
		case b == float32_:
			r.bytes(4)
		case b == float64_:
			r.bytes(8)
		case b >= uint8_ && b <= uint64_:
			r.bytes(1 << (b - uint8_))
		case b >= int8_ && b <= int64_:
			r.bytes(1 << (b - int8_))
		case b >= fixExt1 && b <= fixExt16:
			r.bytes(1 + 1<<(b-fixExt1))
		case b >= str8 && b <= str32:
			r.bytes(int(r.number(1 << (b - str8))))
		case b == array16 || b == array32:
			left += int(r.number(2 << (b - array16)))
		case b == map16 || b == map32:
			left += 2 * int(r.number(2<<(b-map16)))
		default: // 0xc1
			r.wrong(b, "a value")
		}
	}
}
