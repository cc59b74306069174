package spec

import (
	"reflect"
	"strings"
	"sync"

	"github.com/proffer/proffer/structs"
)

// shape is how a field is written.
type shape string

const (
	attribute shape = "attribute"
	label     shape = "label"
	block     shape = "block"
	blocks    shape = "blocks" // may be repeated
	names     shape = "map"
	free      shape = "any"
	hidden    shape = "-" // set by servers
)

// tag is what the tags of one struct field say.
type tag struct {
	name   string
	shape  shape
	index  int
	typ    reflect.Type // of the field; of one block for block and blocks
	effect Effect
	doc    string
}

var tagCache sync.Map // reflect.Type to []tag

// tagsOf returns the fields of a struct type in order.
func tagsOf(t reflect.Type) []tag {
	if known, ok := tagCache.Load(t); ok {
		return known.([]tag)
	}
	var tags []tag
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		g := tag{name: name, index: i, typ: f.Type, effect: Effect(f.Tag.Get("change")), doc: f.Tag.Get("doc")}
		switch f.Tag.Get("hcl") {
		case "":
			g.shape = attribute
		case "label":
			g.shape = label
		case "map":
			g.shape = names
		case "any":
			g.shape = free
		case "-":
			g.shape = hidden
		case "block":
			g.shape = block
			if f.Type.Kind() == reflect.Slice {
				g.shape, g.typ = blocks, f.Type.Elem()
			}
			g.typ = g.typ.Elem()
		}
		tags = append(tags, g)
	}
	tagCache.Store(t, tags)
	return tags
}

// labelOf returns the tag of the label of a block type, if it has one.
func labelOf(t reflect.Type) (tag, bool) {
	for _, g := range tagsOf(t) {
		if g.shape == label {
			return g, true
		}
	}
	return tag{}, false
}

func namesOf(tags []tag, want func(tag) bool) (out []string) {
	for _, g := range tags {
		if want(g) {
			out = append(out, g.name)
		}
	}
	return out
}

var (
	milliType    = reflect.TypeFor[structs.Milli]()
	bytesType    = reflect.TypeFor[structs.Bytes]()
	durationType = reflect.TypeFor[structs.Duration]()
)

// typeName is what a reference says of a type.
func typeName(t reflect.Type) string {
	switch t {
	case milliType:
		return "number"
	case bytesType:
		return "size"
	case durationType:
		return "duration"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "whole number"
	case reflect.Bool:
		return "bool"
	case reflect.Slice:
		return "list of " + typeName(t.Elem()) + "s"
	case reflect.Map:
		if t.Elem().Kind() == reflect.Slice {
			return "names to lists of " + typeName(t.Elem().Elem()) + "s"
		}
		return "names to " + typeName(t.Elem()) + "s"
	case reflect.Interface:
		return "value"
	}
	return "string"
}

// join appends a name to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
