package spec

import (
	"math"
	"reflect"
	"strconv"

	"github.com/proffer/proffer/structs"
)

// filler puts nodes into tagged structs.
type filler struct {
	complaints
	strict bool // JSON: a string is a string, a number a number
	places Positions
}

// structure fills v, a struct, from an object. What v holds already is kept where n says nothing: maps and single blocks
// merge, everything else is replaced.
func (f *filler) structure(v reflect.Value, n node, path string) {
	f.places[path] = n.pos
	if n.kind != object {
		f.wants(n, path, "an object")
		return
	}
	tags := tagsOf(v.Type())
	byName := make(map[string]tag, len(tags))
	for _, g := range tags {
		byName[g.name] = g
	}
	for _, x := range n.fields {
		g, ok := byName[x.name]
		if !ok {
			e := f.add(x.pos, join(path, x.name), "there is no %q here", x.name)
			suggest(e, x.name, namesOf(tags, func(g tag) bool { return g.shape != hidden }))
			continue
		}
		if x.kind == null || g.shape == hidden {
			continue
		}
		at := join(path, g.name)
		f.places[at] = x.pos
		dst := v.Field(g.index)
		switch g.shape {
		case block:
			if dst.IsNil() {
				dst.Set(reflect.New(g.typ))
			}
			f.structure(dst.Elem(), x.node, at)
		case blocks:
			f.blocks(dst, g, x.node, at)
		default:
			f.value(dst, x.node, at)
		}
	}
}

func (f *filler) blocks(dst reflect.Value, g tag, n node, path string) {
	if n.kind != list {
		f.wants(n, path, "a list of objects")
		return
	}
	lt, labelled := labelOf(g.typ)
	dst.Set(reflect.MakeSlice(dst.Type(), 0, len(n.list)))
	for i, x := range n.list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if labelled {
			for _, field := range x.fields {
				if field.name == lt.name && field.kind == text && field.text != "" {
					at = join(path, field.text)
				}
			}
		}
		one := reflect.New(g.typ)
		f.structure(one.Elem(), x, at)
		dst.Set(reflect.Append(dst, one))
	}
}

// value sets dst, which is no block, from n, which is not null.
func (f *filler) value(dst reflect.Value, n node, path string) {
	n.hidden = n.hidden || secret(dst.Type())
	switch dst.Type() {
	case milliType:
		f.quantity(dst, n, path, "a number such as 2 or 0.5", number, func(s string) (int64, error) {
			v, err := structs.ParseMilli(s)
			return int64(v), err
		})
		return
	case bytesType:
		f.quantity(dst, n, path, `a size such as "256MiB"`, text, func(s string) (int64, error) {
			v, err := structs.ParseBytes(s)
			return int64(v), err
		})
		return
	case durationType:
		if n.kind == number {
			f.wants(n, path, `a duration such as "30s"`)
			return
		}
		f.quantity(dst, n, path, `a duration such as "30s"`, text, func(s string) (int64, error) {
			v, err := structs.ParseDuration(s)
			return int64(v), err
		})
		return
	}
	switch dst.Kind() {
	case reflect.Pointer:
		v := reflect.New(dst.Type().Elem())
		f.value(v.Elem(), n, path)
		dst.Set(v)
	case reflect.String:
		switch {
		case n.kind == text:
			dst.SetString(n.text)
		case !f.strict && n.kind == number:
			dst.SetString(n.text)
		case !f.strict && n.kind == boolean:
			dst.SetString(strconv.FormatBool(n.yes))
		case n.kind == number || n.kind == boolean:
			f.wants(n, path, "a string").Advise("write it in quotes")
		default:
			f.wants(n, path, "a string")
		}
	case reflect.Int:
		f.whole(dst, n, path)
	case reflect.Bool:
		switch {
		case n.kind == boolean:
			dst.SetBool(n.yes)
		case !f.strict && n.kind == text && (n.text == "true" || n.text == "false"):
			dst.SetBool(n.text == "true")
		default:
			f.wants(n, path, "true or false")
		}
	case reflect.Slice:
		if n.kind != list {
			e := f.wants(n, path, "a list")
			switch {
			case n.hidden:
				e.Advise("write it in [ ]")
			case n.kind == text:
				e.Advise("write [%s]", n.show())
			}
			return
		}
		out := reflect.MakeSlice(dst.Type(), len(n.list), len(n.list))
		for i, x := range n.list {
			f.element(out.Index(i), x, path+"["+strconv.Itoa(i)+"]")
		}
		dst.Set(out)
	case reflect.Map:
		f.names(dst, n, path)
	case reflect.Interface:
		if v := f.any(n, path); v != nil {
			dst.Set(reflect.ValueOf(v))
		}
	default:
		panic("spec: no way to read a " + dst.Type().String())
	}
}

// secret reports whether a type, or what it is a list of, keeps its text to itself.
func secret(t reflect.Type) bool {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Implements(reflect.TypeFor[interface{ Reveal() string }]())
}

// element is value for what is in a list or map, where null is no "nothing".
func (f *filler) element(dst reflect.Value, n node, path string) {
	f.places[path] = n.pos
	if n.kind == null && dst.Kind() != reflect.Interface {
		f.add(n.pos, path, "it is null")
		return
	}
	f.value(dst, n, path)
}

// names adds to a map: what is there stays, an equal name is replaced.
func (f *filler) names(dst reflect.Value, n node, path string) {
	if n.kind != object {
		f.wants(n, path, "names with values")
		return
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(n.fields)+dst.Len())
	for it := dst.MapRange(); it.Next(); {
		out.SetMapIndex(it.Key(), it.Value())
	}
	for _, x := range n.fields {
		at := join(path, x.name)
		v := reflect.New(dst.Type().Elem()).Elem()
		f.element(v, x.node, at)
		f.places[at] = x.pos
		out.SetMapIndex(reflect.ValueOf(x.name), v)
	}
	dst.Set(out)
}

// any returns n as encoding/json would have it: numbers are float64.
func (f *filler) any(n node, path string) any {
	f.places[path] = n.pos
	switch n.kind {
	case text:
		return n.text
	case boolean:
		return n.yes
	case number:
		v, err := strconv.ParseFloat(n.text, 64)
		if err != nil || math.IsInf(v, 0) {
			f.add(n.pos, path, "%s is out of range", n.show())
			return 0.0
		}
		return v
	case list:
		out := make([]any, len(n.list))
		for i, x := range n.list {
			out[i] = f.any(x, path+"["+strconv.Itoa(i)+"]")
		}
		return out
	case object:
		out := make(map[string]any, len(n.fields))
		for _, x := range n.fields {
			out[x.name] = f.any(x.node, join(path, x.name))
		}
		return out
	}
	return nil
}

func (f *filler) whole(dst reflect.Value, n node, path string) {
	if n.kind != number && (f.strict || n.kind != text) {
		f.wants(n, path, "a whole number")
		return
	}
	v, err := strconv.ParseFloat(n.text, 64)
	switch {
	case err != nil || v != math.Trunc(v):
		f.wants(n, path, "a whole number")
	case math.Abs(v) > 1<<53:
		f.add(n.pos, path, "%s is out of range", n.show())
	default:
		dst.SetInt(int64(v))
	}
}

// quantity parses the text of a number or string.
func (f *filler) quantity(dst reflect.Value, n node, path, what string, usual kind, parse func(string) (int64, error)) {
	if n.kind != text && n.kind != number {
		f.wants(n, path, what)
		return
	}
	if f.strict && usual == number && n.kind != number {
		f.wants(n, path, what).Advise("write it without quotes")
		return
	}
	s := n.text
	if n.kind == number { // JSON may write 1e3
		if v, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(v) < 1e18 && v == math.Trunc(v) {
			s = strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	if len(s) > 64 {
		f.add(n.pos, path, "%s is not %s", n.show(), what)
		return
	}
	v, err := parse(s)
	if err != nil {
		f.add(n.pos, path, "%s", err)
		return
	}
	dst.SetInt(v)
}

func (f *filler) wants(n node, path, what string) *structs.Error {
	return f.add(n.pos, path, "%s is not %s", n.show(), what)
}
