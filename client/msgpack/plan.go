package msgpack

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// plan is how values of a type are written and read. Both take the address of one, which is of that type: nobody but this package makes them.
type plan struct {
	encode func(w *writer, p unsafe.Pointer)
	decode func(r *reader, p unsafe.Pointer)
}

var (
	plans    sync.Map // of reflect.Type to *plan: those that are whole
	planning sync.Mutex
)

func planOf(t reflect.Type) (*plan, error) {
	if p, done := plans.Load(t); done {
		return p.(*plan), nil
	}
	planning.Lock()
	defer planning.Unlock()
	made := planner{}
	p, err := made.plan(t)
	if err != nil {
		return nil, err
	}
	for t, p := range made {
		plans.Store(t, p)
	}
	return p, nil
}

// planner is what was begun of a type and of those in it, which may be in themselves.
type planner map[reflect.Type]*plan

func (m planner) plan(t reflect.Type) (*plan, error) {
	if p, done := plans.Load(t); done {
		return p.(*plan), nil
	}
	if p := m[t]; p != nil {
		return p, nil
	}
	p := &plan{}
	m[t] = p
	return p, m.fill(p, t)
}

var marshaler = reflect.TypeFor[encoding.BinaryMarshaler]()

func (m planner) fill(p *plan, t reflect.Type) (err error) {
	if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return fmt.Errorf("%s writes itself", t) // as time.Time does
	}
	switch kind := t.Kind(); kind {
	case reflect.Bool:
		p.encode, p.decode = encodeBool, decodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*p = signed[kind]
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*p = unsigned[kind]
	case reflect.Float32:
		p.encode, p.decode = encodeFloat32, decodeFloat32
	case reflect.Float64:
		p.encode, p.decode = encodeFloat64, decodeFloat64
	case reflect.String:
		p.encode, p.decode = encodeString, decodeString
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%s is an interface with methods", t)
		}
		p.encode, p.decode = encodeAny, decodeAny
	case reflect.Pointer:
		return m.pointer(p, t)
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[byte]() {
			p.encode, p.decode = encodeBytes, decodeBytes
			return nil
		}
		return m.slice(p, t)
	case reflect.Array:
		return m.array(p, t)
	case reflect.Map:
		return m.mapping(p, t)
	case reflect.Struct:
		return m.structure(p, t)
	default:
		return fmt.Errorf("%s has no values that can be written", t)
	}
	return nil
}

// field is one of a struct.
type field struct {
	name      string
	key       []byte // the name, written
	at        uintptr
	plan      *plan
	omitempty bool
	empty     emptiness
	typ       reflect.Type
}

// maxFields bounds those of a struct.
const maxFields = 64

// fields lists those of a struct, sorted by name.
func (m planner) fields(t reflect.Type) (out []field, err error) {
	if err := m.add(&out, t, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	slices.SortFunc(out, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	for i := 1; i < len(out); i++ {
		if out[i-1].name == out[i].name {
			return nil, fmt.Errorf("%s: two fields are called %s", t, out[i].name)
		}
	}
	switch {
	case len(out) > maxFields:
		return nil, fmt.Errorf("%s has more than %d fields", t, maxFields)
	case len(out) == 0 && t.NumField() > 0:
		return nil, fmt.Errorf("nothing of %s can be written", t)
	}
	return out, nil
}

// add adds the fields of a struct that begins at an offset of another one.
func (m planner) add(out *[]field, t reflect.Type, at uintptr) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("codec")
		if tag == "" {
			tag = f.Tag.Get("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			if f.Type.Kind() != reflect.Struct {
				return fmt.Errorf("%s is embedded and no struct", f.Type)
			}
			if err := m.add(out, f.Type, at+f.Offset); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		p, err := m.plan(f.Type)
		if err != nil {
			return err
		}
		*out = append(*out, field{name: name, key: appendString(nil, name), at: at + f.Offset, plan: p, typ: f.Type,
			omitempty: slices.Contains(strings.Split(options, ","), "omitempty"), empty: emptinessOf(f.Type)})
	}
	return nil
}

// emptiness is how the values of a type are empty.
type emptiness int

const (
	never emptiness = iota
	zero1           // so many bytes that are 0
	zero2
	zero4
	zero8
	zeroFloat32 // which has a negative one
	zeroFloat64
	noLength // a string or slice
	noPointer
	noEntries // a map
	saysSo    // it has the method IsZero
	zeroAll   // of a struct that can be compared
)

type zeroer interface{ IsZero() bool }

func emptinessOf(t reflect.Type) emptiness {
	switch t.Kind() {
	case reflect.Float32:
		return zeroFloat32
	case reflect.Float64:
		return zeroFloat64
	case reflect.String, reflect.Slice:
		return noLength
	case reflect.Pointer, reflect.Interface: // the first word of an interface is its type
		return noPointer
	case reflect.Map:
		return noEntries
	case reflect.Array:
		return never
	case reflect.Struct:
		switch {
		case reflect.PointerTo(t).Implements(reflect.TypeFor[zeroer]()):
			return saysSo
		case t.Comparable():
			return zeroAll
		}
		return never
	}
	return map[uintptr]emptiness{1: zero1, 2: zero2, 4: zero4, 8: zero8}[t.Size()]
}

// isEmpty reports whether the field of the struct at p is left out.
func (f *field) isEmpty(p unsafe.Pointer) bool {
	p = unsafe.Add(p, f.at)
	switch f.empty {
	case zero1:
		return *(*uint8)(p) == 0
	case zero2:
		return *(*uint16)(p) == 0
	case zero4:
		return *(*uint32)(p) == 0
	case zero8:
		return *(*uint64)(p) == 0
	case zeroFloat32:
		return *(*float32)(p) == 0
	case zeroFloat64:
		return *(*float64)(p) == 0
	case noLength:
		return *(*int)(unsafe.Add(p, unsafe.Sizeof(uintptr(0)))) == 0
	case noPointer:
		return *(*unsafe.Pointer)(p) == nil
	case noEntries:
		return *(*unsafe.Pointer)(p) == nil || reflect.NewAt(f.typ, p).Elem().Len() == 0
	case saysSo:
		return reflect.NewAt(f.typ, p).Interface().(zeroer).IsZero()
	case zeroAll:
		return reflect.NewAt(f.typ, p).Elem().IsZero()
	}
	return false
}
