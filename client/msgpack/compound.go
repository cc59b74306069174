package msgpack

import (
	"math/bits"
	"reflect"
	"unsafe"
)

// Plans of what is made of other values: how they are written, beside how they are read.

func (m planner) pointer(p *plan, t reflect.Type) error {
	elem, err := m.plan(t.Elem())
	if err != nil {
		return err
	}
	p.encode = func(w *writer, at unsafe.Pointer) {
		if to := *(*unsafe.Pointer)(at); to != nil {
			elem.encode(w, to)
		} else {
			w.b = append(w.b, isNil)
		}
	}
	p.decode = func(r *reader, at unsafe.Pointer) {
		if r.isNil() {
			*(*unsafe.Pointer)(at) = nil
			return
		}
		to := reflect.New(t.Elem()).UnsafePointer()
		elem.decode(r, to)
		*(*unsafe.Pointer)(at) = to
	}
	return nil
}

func (m planner) slice(p *plan, t reflect.Type) error {
	elem, err := m.plan(t.Elem())
	if err != nil {
		return err
	}
	size := t.Elem().Size()
	p.encode = func(w *writer, at unsafe.Pointer) {
		first, n := *(*unsafe.Pointer)(at), *(*int)(unsafe.Add(at, unsafe.Sizeof(uintptr(0))))
		if first == nil {
			w.b = append(w.b, isNil)
			return
		}
		w.b = appendLength(w.b, fixArray, array16, n)
		for i := range n {
			elem.encode(w, unsafe.Add(first, uintptr(i)*size))
		}
	}
	p.decode = func(r *reader, at unsafe.Pointer) { r.slice(reflect.NewAt(t, at).Elem(), at, elem, size) }
	return nil
}

func (m planner) array(p *plan, t reflect.Type) error {
	n, size := t.Len(), t.Elem().Size()
	if t.Elem() == reflect.TypeFor[byte]() {
		p.encode = func(w *writer, at unsafe.Pointer) {
			w.b = append(appendLengthBytes(w.b, n), unsafe.Slice((*byte)(at), n)...)
		}
		p.decode = func(r *reader, at unsafe.Pointer) {
			if b := r.text(); r.err == nil && len(b) > n {
				r.fail("%d bytes are more than %d", len(b), n)
			} else {
				to := unsafe.Slice((*byte)(at), n)
				clear(to[copy(to, b):])
			}
		}
		return nil
	}
	elem, err := m.plan(t.Elem())
	if err != nil {
		return err
	}
	p.encode = func(w *writer, at unsafe.Pointer) {
		w.b = appendLength(w.b, fixArray, array16, n)
		for i := range n {
			elem.encode(w, unsafe.Add(at, uintptr(i)*size))
		}
	}
	p.decode = func(r *reader, at unsafe.Pointer) {
		reflect.NewAt(t, at).Elem().SetZero()
		has, ok := r.length(fixArray, array16, "an array")
		if !ok {
			return
		}
		if has > n {
			r.fail("an array of %d is longer than %d", has, n)
		}
		for i := 0; i < has && r.err == nil; i++ {
			elem.decode(r, unsafe.Add(at, uintptr(i)*size))
		}
	}
	return nil
}

func (m planner) mapping(p *plan, t reflect.Type) error {
	key, err := m.plan(t.Key())
	if err != nil {
		return err
	}
	elem, err := m.plan(t.Elem())
	if err != nil {
		return err
	}
	pointers := t.Elem().Kind() == reflect.Pointer
	p.encode = func(w *writer, at unsafe.Pointer) {
		if *(*unsafe.Pointer)(at) == nil {
			w.b = append(w.b, isNil)
			return
		}
		all := reflect.NewAt(t, at).Elem()
		w.b = appendLength(w.b, fixMap, map16, all.Len())
		if all.Len() == 0 {
			return
		}
		k := reflect.New(t.Key()).Elem()
		var v reflect.Value
		if !pointers {
			v = reflect.New(t.Elem()).Elem()
		}
		for i := all.MapRange(); i.Next(); {
			k.SetIterKey(i)
			key.encode(w, k.Addr().UnsafePointer())
			if pointers {
				to := i.Value().UnsafePointer()
				elem.encode(w, unsafe.Pointer(&to))
				continue
			}
			v.SetIterValue(i)
			elem.encode(w, v.Addr().UnsafePointer())
		}
	}
	p.decode = func(r *reader, at unsafe.Pointer) { r.mapping(reflect.NewAt(t, at).Elem(), key, elem) }
	return nil
}

func (m planner) structure(p *plan, t reflect.Type) error {
	fields, err := m.fields(t)
	if err != nil {
		return err
	}
	var may uint64 // be left out
	index := make(map[string]int, len(fields))
	for i := range fields {
		index[fields[i].name] = i
		if fields[i].omitempty {
			may |= 1 << i
		}
	}
	p.encode = func(w *writer, at unsafe.Pointer) {
		var without uint64
		for left := may; left != 0; left &= left - 1 {
			if i := bits.TrailingZeros64(left); fields[i].isEmpty(at) {
				without |= 1 << i
			}
		}
		w.b = appendLength(w.b, fixMap, map16, len(fields)-bits.OnesCount64(without))
		for i := range fields {
			if without&(1<<i) == 0 {
				f := &fields[i]
				w.b = append(w.b, f.key...)
				f.plan.encode(w, unsafe.Add(at, f.at))
			}
		}
	}
	p.decode = func(r *reader, at unsafe.Pointer) {
		if r.isNil() {
			reflect.NewAt(t, at).Elem().SetZero()
			return
		}
		n, _ := r.length(fixMap, map16, "a struct")
		if !r.deeper() {
			return
		}
		next := 0
		for ; n > 0 && r.err == nil; n-- {
			name := r.text()
			i := next
			for i < len(fields) && fields[i].name != string(name) { // they come in our order
				i++
			}
			if i == len(fields) {
				var known bool
				if i, known = index[string(name)]; !known {
					r.skip()
					continue
				}
			}
			fields[i].plan.decode(r, unsafe.Add(at, fields[i].at))
			next = i + 1
		}
		r.depth--
	}
	return nil
}
