// Package schema reads the config of a task, which comes as free names and values, and collects everything that is wrong with
// it. A driver asks for each setting that it has; what was not asked for is a mistake.
package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Block is a block of settings being read. Its readers return the zero value where a setting is missing or wrong; wrong ones
// are in the problems. Not for use by several goroutines.
type Block struct {
	object   string
	raw      map[string]any
	known    []string
	problems *structs.Problems
}

// Read begins to read a config; object names the place for messages.
func Read(object string, raw map[string]any) *Block {
	return &Block{object: object, raw: raw, problems: &structs.Problems{}}
}

// Err is all that is wrong, once every setting was asked for. what names who has the settings: "the docker driver".
func (b *Block) Err(what string) error {
	b.Close(what)
	return b.problems.Err()
}

// Close reports settings that nobody asked for.
func (b *Block) Close(what string) {
	for _, key := range slices.Sorted(maps.Keys(b.raw)) {
		if slices.Contains(b.known, key) {
			continue
		}
		p := b.problems.Add(b.object+"."+key, "%s has no such setting", what)
		if near := structs.Nearest(key, b.known); near != "" {
			p.Advise("did you mean %q?", near)
		} else {
			slices.Sort(b.known)
			p.Advise("it has %s", strings.Join(b.known, ", "))
		}
	}
}

// Has reports whether a setting is there.
func (b *Block) Has(key string) bool { _, ok := b.raw[key]; return ok }

// Problem notes something that is wrong with a setting.
func (b *Block) Problem(key, format string, args ...any) *structs.Error {
	return b.problems.Add(b.at(key), format, args...)
}

func (b *Block) at(key string) string { return b.object + "." + key }

func (b *Block) value(key string) (any, bool) {
	b.known = append(b.known, key)
	v, ok := b.raw[key]
	return v, ok
}

// Refers reports whether a text has references, so that what it says is known at the start of the task only.
func Refers(text string) bool { return strings.Contains(text, "${") }

// Text reads a string. NUL, which no program can be given, is refused.
func (b *Block) Text(key string) string {
	v, ok := b.value(key)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok || strings.ContainsRune(s, 0) {
		b.Problem(key, "it must be a string, not %s", Describe(v))
		return ""
	}
	return s
}

// Optional reads a string that may be empty; nil: it is not there.
func (b *Block) Optional(key string) *string {
	if s := b.Text(key); b.Has(key) {
		return &s
	}
	return nil
}

// Required reads a string that must be there; example is advice.
func (b *Block) Required(key, example string) string {
	s := b.Text(key)
	if v, ok := b.raw[key]; !ok || v == "" {
		b.Problem(key, "it is missing").Advise("write such as %s", example)
	}
	return s
}

// OneOf reads one of some words; the first is the default.
func (b *Block) OneOf(key string, words ...string) string {
	s := b.Text(key)
	if s == "" || Refers(s) || slices.Contains(words, s) {
		if s == "" {
			return words[0]
		}
		return s
	}
	p := b.Problem(key, `it must be "%s", not %q`, strings.Join(words, `" or "`), s)
	if near := structs.Nearest(s, words); near != "" {
		p.Advise("did you mean %q?", near)
	}
	return words[0]
}

// Bool reads true or false.
func (b *Block) Bool(key string) bool {
	v, ok := b.value(key)
	if !ok {
		return false
	}
	yes, ok := v.(bool)
	if !ok {
		b.Problem(key, "it must be true or false, not %s", Describe(v))
	}
	return yes
}

// Whole reads a whole number between two bounds; missing is otherwise.
func (b *Block) Whole(key string, low, high, otherwise int64) int64 {
	v, ok := b.value(key)
	if !ok {
		return otherwise
	}
	n, ok := Whole(v)
	if !ok || n < low || n > high {
		b.Problem(key, "it must be a whole number from %d to %d, not %s", low, high, Describe(v))
		return otherwise
	}
	return n
}

// Size reads a size such as "64MiB", or a number of bytes.
func (b *Block) Size(key string) structs.Bytes {
	v, ok := b.value(key)
	if !ok {
		return 0
	}
	if n, ok := Whole(v); ok && n >= 0 {
		return structs.Bytes(n)
	}
	text, ok := v.(string)
	n, err := structs.ParseBytes(text)
	if !ok || err != nil {
		b.Problem(key, `it must be a size such as "64MiB", not %s`, Describe(v))
	}
	return n
}

// Duration reads a duration such as "30s".
func (b *Block) Duration(key string) structs.Duration {
	v, ok := b.value(key)
	if !ok {
		return 0
	}
	text, ok := v.(string)
	d, err := structs.ParseDuration(text)
	if !ok || err != nil {
		b.Problem(key, `it must be a duration such as "30s", not %s`, Describe(v))
	}
	return d
}

// maxItems bounds lists and maps.
const maxItems = 4096

// Texts reads a list of strings.
func (b *Block) Texts(key string) []string {
	v, ok := b.value(key)
	if !ok {
		return nil
	}
	var out []string
	switch list := v.(type) {
	case []string:
		out = list
	case []any:
		for i, item := range list {
			s, ok := item.(string)
			if !ok || strings.ContainsRune(s, 0) {
				b.Problem(fmt.Sprintf("%s[%d]", key, i), "it must be a string, not %s", Describe(item))
			}
			out = append(out, s)
		}
	default:
		b.Problem(key, "it must be a list of strings, not %s", Describe(v))
	}
	if len(out) > maxItems {
		b.Problem(key, "%d entries are more than %d", len(out), maxItems)
		return nil
	}
	return out
}

// Map reads names with values, written as a map or as one block.
func (b *Block) Map(key string) map[string]any {
	v, ok := b.value(key)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if list, isList := v.([]any); isList && len(list) == 1 {
		m, ok = list[0].(map[string]any)
	}
	if !ok {
		b.Problem(key, "it must be a map such as { name = \"value\" }, not %s", Describe(v))
		return nil
	}
	if len(m) > maxItems {
		b.Problem(key, "%d entries are more than %d", len(m), maxItems)
		return nil
	}
	return m
}

// TextMap reads names with strings; numbers and booleans are taken as they are written.
func (b *Block) TextMap(key string) map[string]string {
	m := b.Map(key)
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for name, v := range m {
		switch v := v.(type) {
		case string:
			out[name] = v
		case bool:
			out[name] = fmt.Sprint(v)
		default:
			n, ok := Whole(v)
			if !ok {
				b.Problem(key+"."+name, "it must be a string, not %s", Describe(v))
			}
			out[name] = fmt.Sprint(n)
		}
	}
	return out
}

// Blocks reads a block that may be repeated, or a list of maps. The caller closes each with Close.
func (b *Block) Blocks(key string) (out []*Block) {
	v, ok := b.value(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if one, isMap := v.(map[string]any); isMap {
		list, ok = []any{one}, true
	}
	if maps, isMaps := v.([]map[string]any); isMaps {
		for _, m := range maps {
			list = append(list, m)
		}
		ok = true
	}
	if !ok || len(list) > maxItems {
		b.Problem(key, "it must be a block, not %s", Describe(v))
		return nil
	}
	for i, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			b.Problem(fmt.Sprintf("%s[%d]", key, i), "it must be a block, not %s", Describe(item))
			continue
		}
		out = append(out, &Block{object: fmt.Sprintf("%s.%s[%d]", b.object, key, i), raw: m, problems: b.problems})
	}
	return out
}

// Whole returns the value of any kind of number that a decoder may give, when it is whole.
func Whole(value any) (int64, bool) {
	switch n := value.(type) {
	case int:
		return int64(n), true
	case int8:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return 0, false
}

// Describe names a value for messages.
func Describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", v)
	case []any, []string:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprint(value)
}
