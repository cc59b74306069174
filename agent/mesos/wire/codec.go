package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Encoding is how a message travels.
type Encoding int

const (
	JSON Encoding = iota
	Protobuf
)

// ContentType returns the media type of an encoding.
func (e Encoding) ContentType() string {
	if e == Protobuf {
		return "application/x-protobuf"
	}
	return "application/json"
}

// Marshal encodes a message: a pointer to a struct of this package. A nil one is the empty message.
func (e Encoding) Marshal(message any) []byte {
	v := reflect.ValueOf(message)
	if v.IsNil() {
		v = reflect.New(v.Type().Elem())
	}
	v = v.Elem()
	if e == Protobuf {
		return appendMessage(nil, v)
	}
	return appendObject(nil, v)
}

// Unmarshal decodes a message into a pointer to a zero struct of this package. The error says what is wrong, and where.
func (e Encoding) Unmarshal(raw []byte, message any) error {
	v := reflect.ValueOf(message).Elem()
	if e == Protobuf {
		return readMessage(raw, v, "", 0)
	}
	return readJSON(raw, v)
}

// Enum is a named number.
type Enum interface {
	~int32
	// Names returns the names of all values.
	Names() map[int32]string
}

// maxDepth bounds how deep messages may lie in messages.
const maxDepth = 64

// field is what the tag of one says.
type field struct {
	index    int
	name     string
	number   uint64
	required bool
	preset   *string // the default, as JSON writes it when it is not set
	kind     kind
	many     bool         // a slice
	pointer  bool         // of a single value
	elem     reflect.Type // of the value, of one in a slice, or in a map
	names    map[int32]string
	values   map[string]int32
}

type kind int

const (
	text kind = iota
	blob
	boolean
	double
	signed   // int32 and int64
	unsigned // uint32 and uint64
	enum
	message
	dictionary // of messages, or of texts, by text
)

// layout is the fields of a message in the order of the type.
type layout struct {
	fields   []*field
	byName   map[string]*field
	byNumber map[uint64]*field
}

var layouts sync.Map // reflect.Type → *layout

// layoutOf reads the tags of a type; a wrong one is a fault of the program.
func layoutOf(t reflect.Type) *layout {
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	l := &layout{byName: map[string]*field{}, byNumber: map[uint64]*field{}}
	for i := range t.NumField() {
		f := fieldOf(t, i)
		if l.byName[f.name] != nil || l.byNumber[f.number] != nil {
			panic(fmt.Sprintf("wire: %s: field %s or its number twice", t, f.name))
		}
		l.fields, l.byName[f.name], l.byNumber[f.number] = append(l.fields, f), f, f
	}
	layouts.Store(t, l)
	return l
}

func fieldOf(t reflect.Type, i int) *field {
	f := t.Field(i)
	parts := strings.Split(f.Tag.Get("w"), ",")
	fault := func(what string) { panic(fmt.Sprintf("wire: %s.%s: %s", t, f.Name, what)) }
	if len(parts) < 2 {
		fault("it has no tag with a name and a number")
	}
	out := &field{index: i, name: parts[0]}
	var err error
	if out.number, err = strconv.ParseUint(parts[1], 10, 29); err != nil || out.number == 0 {
		fault("bad number")
	}
	for _, p := range parts[2:] {
		if p == "required" {
			out.required = true
		} else if preset, ok := strings.CutPrefix(p, "def="); ok {
			out.preset = &preset
		} else {
			fault("unknown option " + p)
		}
	}
	typ := f.Type
	switch {
	case typ.Kind() == reflect.Map:
		if typ.Key().Kind() != reflect.String || typ.Elem().Kind() != reflect.Pointer {
			fault("a map is of text to messages or to texts, by pointers")
		}
		out.kind, out.elem = dictionary, typ.Elem().Elem()
		return out
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8:
		out.many, typ = true, typ.Elem()
		if typ.Kind() == reflect.Pointer {
			fault("a slice holds values")
		}
	case typ.Kind() == reflect.Pointer:
		out.pointer, typ = true, typ.Elem()
	}
	if out.required == (out.pointer || out.many) && typ.Kind() != reflect.Slice {
		fault("a plain value is required, and all else is not")
	}
	out.elem = typ
	if names := typ.Kind() == reflect.Int32 && typ.PkgPath() != ""; names {
		out.kind = enum
		out.names = reflect.Zero(typ).Interface().(interface{ Names() map[int32]string }).Names()
		out.values = make(map[string]int32, len(out.names))
		for n, name := range out.names {
			out.values[name] = n
		}
		return out
	}
	switch typ.Kind() {
	case reflect.String:
		out.kind = text
	case reflect.Slice:
		out.kind = blob
	case reflect.Bool:
		out.kind = boolean
	case reflect.Float64:
		out.kind = double
	case reflect.Int32, reflect.Int64:
		out.kind = signed
	case reflect.Uint32, reflect.Uint64:
		out.kind = unsigned
	case reflect.Struct:
		out.kind = message
	default:
		fault("it has a type that does not travel")
	}
	return out
}

// set reports whether a value is there.
func (f *field) set(v reflect.Value) bool {
	switch {
	case f.many || f.kind == dictionary:
		return v.Len() > 0
	case f.kind == blob && !f.required:
		return !v.IsNil()
	case f.pointer:
		return !v.IsNil()
	}
	return true
}

// seen notes which fields of a message came.
type seen []uint64

func (s *seen) add(number uint64) {
	if !slices.Contains(*s, number) {
		*s = append(*s, number)
	}
}

// missing returns the error for the first required field that did not come.
func (l *layout) missing(s seen, at string) error {
	for _, f := range l.fields {
		if f.required && !slices.Contains(s, f.number) {
			return fmt.Errorf("%s is missing", join(at, f.name))
		}
	}
	return nil
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// place returns where a single value of f is stored, or a new one at the end of a slice.
func (f *field) place(v reflect.Value) reflect.Value {
	switch {
	case f.many:
		v.Set(reflect.Append(v, reflect.Zero(f.elem)))
		return v.Index(v.Len() - 1)
	case f.pointer:
		if v.IsNil() {
			v.Set(reflect.New(f.elem))
		}
		return v.Elem()
	}
	return v
}
