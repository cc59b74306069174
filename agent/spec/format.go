package spec

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/proffer/proffer/structs"
)

// FormatHCL writes a job as HCL that ParseJob reads back as the same job (with text in Unicode's form NFC, which HCL reads
// everything as).
func FormatHCL(job *structs.Job) []byte { return formatBlock("job", job) }

// FormatRole writes a role as HCL that ParseRole reads.
func FormatRole(role *structs.Role) []byte { return formatBlock("role", role) }

func formatBlock(name string, v any) []byte {
	var w writer
	w.block(name, reflect.ValueOf(v).Elem())
	return w.Bytes()
}

// writer writes HCL, indented, with the equals signs of neighbours below each other.
type writer struct {
	bytes.Buffer
	depth int
}

func (w *writer) line(s string) {
	w.WriteString(strings.Repeat("  ", w.depth))
	w.WriteString(s)
	w.WriteByte('\n')
}

// assignment is name = value.
type assignment struct {
	name  string
	value reflect.Value
}

// assign writes assignments, those of one line aligned.
func (w *writer) assign(list []assignment) {
	values := make([]string, len(list))
	for i, a := range list {
		values[i] = w.value(a.value)
	}
	for i := 0; i < len(list); {
		end, width := i, 0
		for ; end < len(list) && !strings.Contains(values[end], "\n"); end++ {
			width = max(width, utf8.RuneCountInString(list[end].name))
		}
		for ; i < end; i++ {
			w.line(list[i].name + strings.Repeat(" ", width-utf8.RuneCountInString(list[i].name)) + " = " + values[i])
		}
		if i < len(list) {
			w.line(list[i].name + " = " + values[i])
			i++
		}
	}
}

func (w *writer) block(name string, v reflect.Value) {
	head := name
	var attributes, maps []assignment
	tags := tagsOf(v.Type())
	for _, g := range tags {
		f := v.Field(g.index)
		switch {
		case g.shape == label:
			head += " " + quoteLabel(f.String())
		case g.shape == attribute && !f.IsZero() && !(f.Kind() == reflect.Slice && f.Len() == 0):
			attributes = append(attributes, assignment{g.name, f})
		case (g.shape == names || g.shape == free) && f.Len() > 0 && !bareNames(f):
			maps = append(maps, assignment{g.name, f})
		}
	}
	w.line(head + " {")
	w.depth++
	attributes = append(attributes, maps...)
	w.assign(attributes)
	empty := len(attributes) == 0
	space := func() {
		if !empty {
			w.WriteByte('\n')
		}
		empty = false
	}
	for _, g := range tags {
		f := v.Field(g.index)
		switch g.shape {
		case block:
			if !f.IsNil() {
				space()
				w.block(g.name, f.Elem())
			}
		case blocks:
			for i := range f.Len() {
				if !f.Index(i).IsNil() {
					space()
					w.block(g.name, f.Index(i).Elem())
				}
			}
		case names, free:
			if f.Len() > 0 && bareNames(f) {
				space()
				w.line(g.name + " {")
				w.depth++
				var list []assignment
				for _, k := range sortedKeys(f) {
					list = append(list, assignment{k, f.MapIndex(reflect.ValueOf(k))})
				}
				w.assign(list)
				w.depth--
				w.line("}")
			}
		}
	}
	w.depth--
	w.line("}")
}

// bareNames reports whether a map can be written as a block: whether its names can stand by themselves.
func bareNames(m reflect.Value) bool {
	for _, k := range m.MapKeys() {
		if !hclsyntax.ValidIdentifier(k.String()) {
			return false
		}
	}
	return true
}

func sortedKeys(m reflect.Value) []string {
	keys := make([]string, 0, m.Len())
	for _, k := range m.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

// bareKey may be the key of an object expression without quotes.
var bareKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// value returns the text of a value. Lines of it after the first are indented as the writer is now.
func (w *writer) value(v reflect.Value) string {
	switch v.Type() {
	case milliType:
		return structs.Milli(v.Int()).String()
	case bytesType:
		return strconv.Quote(structs.Bytes(v.Int()).String())
	case durationType:
		return strconv.Quote(structs.Duration(v.Int()).String())
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "null"
		}
		return w.value(v.Elem())
	case reflect.String:
		return textForm(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		f := v.Float()
		form := byte('f')
		if a := math.Abs(f); a != 0 && (a >= 1e18 || a < 1e-6) {
			form = 'e'
		}
		return strconv.FormatFloat(f, form, -1, 64)
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			if parts[i] = w.value(v.Index(i)); strings.HasPrefix(parts[i], "<<") {
				parts[i] = quote(v.Index(i).Interface().(string)) // a heredoc ends its line
			}
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		inner := writer{depth: w.depth + 1}
		var list []assignment
		for _, k := range sortedKeys(v) {
			key := k
			if !bareKey.MatchString(k) || slices.Contains([]string{"for", "null", "true", "false"}, k) {
				key = quote(k)
			}
			list = append(list, assignment{key, v.MapIndex(reflect.ValueOf(k))})
		}
		inner.assign(list)
		return "{\n" + inner.String() + strings.Repeat("  ", w.depth) + "}"
	}
	panic("spec: no way to write a " + v.Type().String())
}

// textForm writes text of several lines as a heredoc where that reads back the same, anything else in quotes.
func textForm(s string) string {
	if strings.Count(s, "\n") < 2 || !strings.HasSuffix(s, "\n") || strings.Contains(s, "$${") || strings.Contains(s, "%%{") ||
		strings.ContainsFunc(s, func(c rune) bool { return c != '\n' && c != '\t' && !unicode.IsPrint(c) }) {
		return quote(s)
	}
	marker := "EOT"
	for strings.Contains(s, marker) {
		marker += "_"
	}
	var b strings.Builder
	b.WriteString("<<" + marker + "\n")
	escapeTemplate(&b, s, func(s string) { b.WriteString(strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s)) })
	b.WriteString(marker)
	return b.String()
}

// known matches the references that are read back as they are.
var known = regexp.MustCompile(`\$\{(?:(?:attr|meta|node|env|alloc)(?:\.[A-Za-z_][A-Za-z0-9_-]*)+|PROFFER_[A-Za-z0-9_]+)\}`)

// escapeTemplate keeps references of run time and passes the text between them through escape.
func escapeTemplate(b *strings.Builder, s string, escape func(string)) {
	at := 0
	for _, m := range known.FindAllStringIndex(s, -1) {
		if m[0] > 0 && s[m[0]-1] == '$' {
			continue // after a dollar it would be an escape
		}
		escape(s[at:m[0]])
		b.WriteString(s[m[0]:m[1]])
		at = m[1]
	}
	escape(s[at:])
}

// quote writes s in quotes, as an expression.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	escapeTemplate(&b, s, func(s string) { escapeText(&b, s, false) })
	b.WriteByte('"')
	return b.String()
}

// quoteLabel writes s in quotes, as a label, where no template may begin.
func quoteLabel(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	escapeText(&b, s, true)
	b.WriteByte('"')
	return b.String()
}

// escapeText writes s so that it is read as it is. What would begin a template has its first character doubled, or written by
// its number where that would not do: in a label, and after the same character.
func escapeText(b *strings.Builder, s string, label bool) {
	for i, c := range s {
		switch {
		case (c == '$' || c == '%') && strings.HasPrefix(s[i+1:], "{"):
			if label || i > 0 && s[i-1] == byte(c) {
				fmt.Fprintf(b, `\u%04x`, c)
			} else {
				b.WriteRune(c)
				b.WriteRune(c)
			}
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case !unicode.IsPrint(c) && c > 0xffff:
			fmt.Fprintf(b, `\U%08x`, c)
		case !unicode.IsPrint(c):
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
}
