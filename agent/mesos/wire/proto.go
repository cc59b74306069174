package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Types of fields on the wire.
const (
	varint   = 0
	fixed64  = 1
	sized    = 2
	fixed32  = 5
	mapKey   = 1
	mapValue = 2
)

func appendMessage(to []byte, v reflect.Value) []byte {
	for _, f := range layoutOf(v.Type()).fields {
		x := v.Field(f.index)
		switch {
		case !f.set(x):
		case f.kind == dictionary:
			keys := x.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, key := range keys {
				entry := appendSized(nil, mapKey, []byte(key.String()))
				if value := x.MapIndex(key).Elem(); value.Kind() == reflect.String {
					entry = appendSized(entry, mapValue, []byte(value.String()))
				} else {
					entry = appendSized(entry, mapValue, appendMessage(nil, value))
				}
				to = appendSized(to, f.number, entry)
			}
		case f.many:
			for i := range x.Len() {
				to = f.appendProto(to, x.Index(i))
			}
		case f.pointer:
			to = f.appendProto(to, x.Elem())
		default:
			to = f.appendProto(to, x)
		}
	}
	return to
}

func appendKey(to []byte, number uint64, wireType uint64) []byte {
	return binary.AppendUvarint(to, number<<3|wireType)
}

func appendSized(to []byte, number uint64, content []byte) []byte {
	to = binary.AppendUvarint(appendKey(to, number, sized), uint64(len(content)))
	return append(to, content...)
}

func (f *field) appendProto(to []byte, v reflect.Value) []byte {
	switch f.kind {
	case text:
		return appendSized(to, f.number, []byte(v.String()))
	case blob:
		return appendSized(to, f.number, v.Bytes())
	case boolean:
		b := uint64(0)
		if v.Bool() {
			b = 1
		}
		return binary.AppendUvarint(appendKey(to, f.number, varint), b)
	case double:
		return binary.LittleEndian.AppendUint64(appendKey(to, f.number, fixed64), math.Float64bits(v.Float()))
	case signed, enum:
		return binary.AppendUvarint(appendKey(to, f.number, varint), uint64(v.Int()))
	case unsigned:
		return binary.AppendUvarint(appendKey(to, f.number, varint), v.Uint())
	}
	return appendSized(to, f.number, appendMessage(nil, v))
}

var errCut = errors.New("it is cut off")

// piece is one field as it is on the wire.
type piece struct {
	number   uint64
	wireType uint64
	value    uint64 // of varint, fixed64 and fixed32
	content  []byte // of sized
}

// next takes the first field off raw.
func next(raw []byte) (p piece, rest []byte, err error) {
	key, n := binary.Uvarint(raw)
	if n <= 0 {
		return p, nil, errCut
	}
	p.number, p.wireType, raw = key>>3, key&7, raw[n:]
	if p.number == 0 || p.number > 1<<29-1 {
		return p, nil, errors.New("it has a field with no valid number")
	}
	switch p.wireType {
	case varint:
		if p.value, n = binary.Uvarint(raw); n <= 0 {
			return p, nil, errCut
		}
		return p, raw[n:], nil
	case fixed64:
		if len(raw) < 8 {
			return p, nil, errCut
		}
		p.value = binary.LittleEndian.Uint64(raw)
		return p, raw[8:], nil
	case fixed32:
		if len(raw) < 4 {
			return p, nil, errCut
		}
		p.value = uint64(binary.LittleEndian.Uint32(raw))
		return p, raw[4:], nil
	case sized:
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) {
			return p, nil, errCut
		}
		p.content = raw[n : n+int(size)]
		return p, raw[n+int(size):], nil
	}
	return p, nil, fmt.Errorf("it has a field of type %d", p.wireType)
}

func readMessage(raw []byte, v reflect.Value, at string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s lies too deep", at)
	}
	l := layoutOf(v.Type())
	var came seen
	for len(raw) > 0 {
		p, rest, err := next(raw)
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", cmpOr(at, "it"), err)
		}
		raw = rest
		f := l.byNumber[p.number]
		if f == nil {
			continue
		}
		set, err := f.readPiece(p, v.Field(f.index), join(at, f.name), depth+1)
		if err != nil {
			return err
		}
		if set {
			came.add(f.number)
		}
	}
	return l.missing(came, at)
}

// readPiece stores a field. What has another type on the wire than f is passed over, as an unknown field is.
func (f *field) readPiece(p piece, v reflect.Value, at string, depth int) (set bool, err error) {
	if f.many && p.wireType == sized && f.wireType() != sized { // packed
		for rest := p.content; len(rest) > 0; {
			one := piece{number: p.number, wireType: f.wireType()}
			if one.wireType == fixed64 {
				if len(rest) < 8 {
					return false, fmt.Errorf("%s is cut off", at)
				}
				one.value, rest = binary.LittleEndian.Uint64(rest), rest[8:]
			} else {
				value, n := binary.Uvarint(rest)
				if n <= 0 {
					return false, fmt.Errorf("%s is cut off", at)
				}
				one.value, rest = value, rest[n:]
			}
			if _, err := f.readPiece(one, v, at, depth); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	if p.wireType != f.wireType() {
		return false, nil
	}
	switch f.kind {
	case dictionary:
		return f.readEntry(p.content, v, at, depth)
	case text:
		if !utf8.Valid(p.content) {
			return false, fmt.Errorf("%s is no UTF-8", at)
		}
		f.place(v).SetString(string(p.content))
	case blob:
		f.place(v).SetBytes(append([]byte{}, p.content...))
	case boolean:
		f.place(v).SetBool(p.value != 0)
	case double:
		f.place(v).SetFloat(math.Float64frombits(p.value))
	case signed:
		f.place(v).SetInt(int64(p.value))
	case unsigned:
		f.place(v).SetUint(p.value)
	case enum:
		if _, known := f.names[int32(p.value)]; !known {
			return false, nil
		}
		f.place(v).SetInt(int64(int32(p.value)))
	case message:
		// One that comes twice is merged, which only its parts that come twice can tell.
		return true, readMessage(p.content, f.place(v), at, depth)
	}
	return true, nil
}

func (f *field) wireType() uint64 {
	switch f.kind {
	case boolean, signed, unsigned, enum:
		return varint
	case double:
		return fixed64
	}
	return sized
}

func (f *field) readEntry(raw []byte, v reflect.Value, at string, depth int) (bool, error) {
	key, x := "", reflect.New(f.elem)
	var content []byte
	for len(raw) > 0 {
		p, rest, err := next(raw)
		if err != nil {
			return false, fmt.Errorf("%s cannot be read: %w", at, err)
		}
		raw = rest
		switch {
		case p.wireType != sized:
		case p.number == mapKey:
			key = string(p.content)
		case p.number == mapValue:
			content = p.content
		}
	}
	if !utf8.ValidString(key) {
		return false, fmt.Errorf("%s has a key that is no UTF-8", at)
	}
	switch {
	case f.elem.Kind() != reflect.String:
		if err := readMessage(content, x.Elem(), at+"."+key, depth); err != nil {
			return false, err
		}
	case !utf8.Valid(content):
		return false, fmt.Errorf("%s.%s is no UTF-8", at, key)
	default:
		x.Elem().SetString(string(content))
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	v.SetMapIndex(reflect.ValueOf(key), x)
	return true, nil
}
