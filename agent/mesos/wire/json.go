package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

func appendObject(to []byte, v reflect.Value) []byte {
	to = append(to, '{')
	first := true
	for _, f := range layoutOf(v.Type()).fields {
		x := v.Field(f.index)
		if !f.set(x) && f.preset == nil {
			continue
		}
		if !first {
			to = append(to, ',')
		}
		first = false
		to = append(to, '"')
		to = append(to, f.name...)
		to = append(to, '"', ':')
		switch {
		case !f.set(x):
			to = append(to, *f.preset...)
		case f.kind == dictionary:
			to = appendDictionary(to, x)
		case f.many:
			to = append(to, '[')
			for i := range x.Len() {
				if i > 0 {
					to = append(to, ',')
				}
				to = f.appendJSON(to, x.Index(i))
			}
			to = append(to, ']')
		case f.pointer:
			to = f.appendJSON(to, x.Elem())
		default:
			to = f.appendJSON(to, x)
		}
	}
	return append(to, '}')
}

func appendDictionary(to []byte, v reflect.Value) []byte {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	to = append(to, '{')
	for i, key := range keys {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendText(to, key.String()), ':')
		if value := v.MapIndex(key).Elem(); value.Kind() == reflect.String {
			to = appendText(to, value.String())
		} else {
			to = appendObject(to, value)
		}
	}
	return append(to, '}')
}

func (f *field) appendJSON(to []byte, v reflect.Value) []byte {
	switch f.kind {
	case text:
		return appendText(to, v.String())
	case blob:
		return append(base64.StdEncoding.AppendEncode(append(to, '"'), v.Bytes()), '"')
	case boolean:
		return strconv.AppendBool(to, v.Bool())
	case double:
		return appendDouble(to, v.Float())
	case signed:
		return strconv.AppendInt(to, v.Int(), 10)
	case unsigned:
		return strconv.AppendUint(to, v.Uint(), 10)
	case enum:
		return appendText(to, f.names[int32(v.Int())])
	}
	return appendObject(to, v)
}

// appendDouble writes whole numbers with a fraction, as Mesos does, and what is no number as text.
func appendDouble(to []byte, x float64) []byte {
	switch {
	case math.IsInf(x, 1):
		return append(to, `"Infinity"`...)
	case math.IsInf(x, -1):
		return append(to, `"-Infinity"`...)
	case math.IsNaN(x):
		return append(to, `"NaN"`...)
	}
	at := len(to)
	to = strconv.AppendFloat(to, x, 'f', -1, 64)
	if !slices.Contains(to[at:], '.') {
		to = append(to, '.', '0')
	}
	return to
}

func appendText(to []byte, s string) []byte {
	raw, _ := json.Marshal(s) // text always can be written
	return append(to, raw...)
}

// readJSON decodes one object and nothing behind it.
func readJSON(raw []byte, v reflect.Value) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the object")
	}
	return readObject(tree, v, "", 0)
}

func readObject(tree any, v reflect.Value, at string, depth int) error {
	object, ok := tree.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no object", cmpOr(at, "it"))
	}
	if depth > maxDepth {
		return fmt.Errorf("%s lies too deep", at)
	}
	l := layoutOf(v.Type())
	var came seen
	for _, f := range l.fields {
		value, ok := object[f.name]
		if !ok || value == nil {
			continue
		}
		set, err := f.readField(value, v.Field(f.index), join(at, f.name), depth+1)
		if err != nil {
			return err
		}
		if set {
			came.add(f.number)
		}
	}
	return l.missing(came, at)
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (f *field) readField(value any, v reflect.Value, at string, depth int) (set bool, err error) {
	switch {
	case f.kind == dictionary:
		object, ok := value.(map[string]any)
		if !ok {
			return false, fmt.Errorf("%s is no object", at)
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(object)))
		for key, value := range object {
			x := reflect.New(f.elem)
			if text, is := value.(string); f.elem.Kind() != reflect.String {
				if err := readObject(value, x.Elem(), at+"."+key, depth); err != nil {
					return false, err
				}
			} else if !is {
				return false, fmt.Errorf("%s.%s is no string", at, key)
			} else {
				x.Elem().SetString(text)
			}
			v.SetMapIndex(reflect.ValueOf(key), x)
		}
		return true, nil
	case f.many:
		list, ok := value.([]any)
		if !ok {
			list = []any{value} // one is taken for a list of it
		}
		for i, value := range list {
			if value == nil {
				continue // as if it were not there, in a list too
			}
			x := reflect.New(f.elem).Elem()
			set, err := f.readValue(value, x, fmt.Sprintf("%s[%d]", at, i), depth)
			if err != nil {
				return false, err
			}
			if set {
				v.Set(reflect.Append(v, x))
			}
		}
		return true, nil
	}
	x := reflect.New(f.elem).Elem()
	if set, err = f.readValue(value, x, at, depth); set && err == nil {
		f.place(v).Set(x)
	}
	return set, err
}

// readValue reads one value; it is not set when it is the name of an enum that nobody knows.
func (f *field) readValue(value any, v reflect.Value, at string, depth int) (set bool, err error) {
	bad := func(what string) (bool, error) { return false, fmt.Errorf("%s is no %s", at, what) }
	number, isNumber := value.(json.Number)
	words, isText := value.(string)
	if isText {
		number = json.Number(words)
	}
	switch f.kind {
	case message:
		return true, readObject(value, v, at, depth)
	case text:
		if !isText {
			return bad("text")
		}
		v.SetString(words)
	case blob:
		raw, err := base64.StdEncoding.DecodeString(words)
		if !isText || err != nil {
			return bad("base64")
		}
		v.SetBytes(raw)
	case boolean:
		b, ok := value.(bool)
		if !ok {
			return bad("boolean")
		}
		v.SetBool(b)
	case double:
		x, err := strconv.ParseFloat(string(number), 64)
		if !isNumber && !isText || err != nil {
			return bad("number")
		}
		v.SetFloat(x)
	case signed:
		x, err := strconv.ParseInt(whole(number), 10, v.Type().Bits())
		if !isNumber && !isText || err != nil {
			return bad("whole number")
		}
		v.SetInt(x)
	case unsigned:
		x, err := strconv.ParseUint(whole(number), 10, v.Type().Bits())
		if !isNumber && !isText || err != nil {
			return bad("whole number")
		}
		v.SetUint(x)
	case enum:
		if !isText {
			return bad("name of a value")
		}
		x, known := f.values[words]
		if !known {
			return false, nil
		}
		v.SetInt(int64(x))
	}
	return true, nil
}

// whole takes 3.0 for 3.
func whole(n json.Number) string { return strings.TrimSuffix(string(n), ".0") }
