package http

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strings"

	"github.com/proffer/proffer/structs"
)

type seq[T any] = iter.Seq[T]

// maxPage is how many items an answer has at most.
const maxPage = 1000

// page takes what the list parameters ask for out of all, which is ordered by key and begins with the first key that is
// larger than from. It sets X-Proffer-Next when there is more.
func page[T any](c *call, key func(T) string, all func(from string) seq[T]) ([]T, error) {
	limit := maxPage
	if c.query.Has("limit") {
		if n := c.number("limit"); n < 1 || n > maxPage {
			return nil, structs.Errorf(structs.Invalid, `query parameter "limit"`, "it is not 1 to %d", maxPage)
		}
		limit = int(c.number("limit"))
	}
	filters, err := parseFilters(reflect.TypeFor[T](), c.query["filter"])
	if err != nil {
		return nil, err
	}
	prefix, after := c.str("prefix"), c.str("after")
	items := []T{} // never null
	from := max(prefix, after)
	for item := range all(from) {
		k := key(item)
		if !strings.HasPrefix(k, prefix) {
			if k > prefix {
				break
			}
			continue
		}
		if k <= after && after != "" || !matches(reflect.ValueOf(item), filters) {
			continue
		}
		if len(items) == limit {
			c.w.Header().Set("X-Proffer-Next", key(items[limit-1]))
			break
		}
		items = append(items, item)
	}
	return items, nil
}

// filter is one condition on a field of a list's items.
type filter struct {
	path  []string
	op    string // = != or ~
	value string
}

func parseFilters(t reflect.Type, texts []string) ([]filter, error) {
	var filters []filter
	for _, text := range texts {
		i := strings.IndexAny(text, "=!~")
		if i < 1 {
			return nil, badFilter(text, "it is not field=value, field!=value or field~part")
		}
		f := filter{path: strings.Split(text[:i], "."), op: text[i : i+1], value: text[i+1:]}
		if f.op == "!" {
			if !strings.HasPrefix(f.value, "=") {
				return nil, badFilter(text, "it is not field=value, field!=value or field~part")
			}
			f.op, f.value = "!=", f.value[1:]
		}
		if err := checkPath(t, f.path, text); err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

func badFilter(text, format string, args ...any) *structs.Error {
	return structs.Errorf(structs.Invalid, fmt.Sprintf("filter %q", text), format, args...)
}

// checkPath says whether items of type t have such a field.
func checkPath(t reflect.Type, path []string, text string) error {
	for i, name := range path {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch {
		case t.Kind() == reflect.Map:
			t = t.Elem()
		case t.Kind() == reflect.Struct && special[t] == nil:
			names := map[string]reflect.Type{}
			jsonFields(t, names)
			inner, ok := names[name]
			if !ok {
				options := make([]string, 0, len(names))
				for n := range names {
					options = append(options, n)
				}
				e := badFilter(text, "there is no field %q", strings.Join(path[:i+1], "."))
				if near := structs.Nearest(name, options); near != "" {
					e.Advise("did you mean %q?", near)
				}
				return e
			}
			t = inner
		default:
			return badFilter(text, "%q has no fields", strings.Join(path[:i], "."))
		}
	}
	return nil
}

func jsonFields(t reflect.Type, into map[string]reflect.Type) {
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct {
			jsonFields(f.Type, into)
		} else if tag != "" && tag != "-" {
			into[tag] = f.Type
		}
	}
}

func matches(v reflect.Value, filters []filter) bool {
	for _, f := range filters {
		text := textAt(v, f.path)
		ok := text == f.value
		switch f.op {
		case "!=":
			ok = !ok
		case "~":
			ok = strings.Contains(text, f.value)
		}
		if !ok {
			return false
		}
	}
	return true
}

// textAt returns what JSON would show at path below v, without quotes; "" when there is nothing.
func textAt(v reflect.Value, path []string) string {
	for _, name := range path {
		for v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return ""
			}
			v = v.Elem()
		}
		if v.Kind() == reflect.Map {
			v = v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key()))
		} else {
			v = jsonField(v, name)
		}
		if !v.IsValid() {
			return ""
		}
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil || string(raw) == "null" {
		return ""
	}
	return strings.Trim(string(raw), `"`)
}

func jsonField(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name {
			return v.Field(i)
		}
		if f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct {
			if found := jsonField(v.Field(i), name); found.IsValid() {
				return found
			}
		}
	}
	return reflect.Value{}
}

// byPrefix finds the one item whose id is, or begins with, what the path gives. ids yields items from an id on, in order.
func byPrefix[T any](noun, given string, key func(T) string, from func(id string) seq[T]) (T, error) {
	var none, found T
	object := fmt.Sprintf("%s %s", noun, given)
	if len(given) > 32 || strings.Trim(given, structs.IDDigits) != "" {
		hint := "ids are up to 32 digits of 0-9 and a-f"
		if noun == "allocation" { // people have the name of a job, or of a framework's task
			hint += "; proffer alloc status lists them, with their tasks"
		}
		return none, structs.Errorf(structs.Invalid, fmt.Sprintf("%s %.40q", noun, given), "it is not an id").Advise("%s", hint)
	}
	if len(given) < 4 {
		return none, structs.Errorf(structs.Invalid, object, "an id needs at least its first four digits")
	}
	var others []string
	for item := range from(given) {
		id := key(item)
		if !strings.HasPrefix(id, given) {
			break
		}
		if id == given {
			return item, nil
		}
		if others = append(others, id); len(others) == 1 {
			found = item
		}
		if len(others) == 5 {
			break
		}
	}
	switch len(others) {
	case 0:
		return none, structs.Errorf(structs.NotFound, object, "there is none")
	case 1:
		return found, nil
	}
	e := structs.Errorf(structs.Invalid, object, "it is the beginning of several ids: %s", strings.Join(shortest(others), ", "))
	return none, e.Advise("give more digits")
}

// shortest cuts ids to the shortest prefixes, of at least eight digits, that tell them apart.
func shortest(ids []string) []string {
	for n := 8; n < 32; n++ {
		seen := map[string]bool{}
		short := make([]string, len(ids))
		for i, id := range ids {
			short[i] = id[:min(n, len(id))]
			seen[short[i]] = true
		}
		if len(seen) == len(ids) {
			return short
		}
	}
	return ids
}
