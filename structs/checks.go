package structs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func checkMeta(p *Problems, at string, meta map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		if !metaName.MatchString(name) {
			p.Add(at+"."+name, "%q is not a name for meta", name).Advise("letters, digits, _ . and -")
		}
		checkText(p, at+"."+name, meta[name])
	}
}

// checkText looks at a value that becomes an environment variable: Linux takes up to 128 KiB, and no NUL.
func checkText(p *Problems, at, s string) {
	if strings.ContainsRune(s, 0) {
		p.Add(at, "a value cannot hold a NUL byte")
	}
	if len(s) >= 128<<10-256 {
		p.Add(at, "a value of %s is more than an environment variable holds (128KiB)", Bytes(len(s)).Human())
	}
}

// checkValue bounds what a driver gets: values as JSON has them, up to 32 deep.
func checkValue(p *Problems, at string, v any, depth int) {
	if depth > 32 {
		p.Add(at, "more than 32 levels deep")
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			checkValue(p, at+"."+name, v[name], depth+1)
		}
	case []any:
		for i, x := range v {
			checkValue(p, index(at, i), x, depth+1)
		}
	}
}

func checkName(p *Problems, at, what, name string) {
	switch {
	case name == "":
		p.Add(at, "%s needs a name", what)
	case !ValidName(name):
		p.Add(at, "%q is not a name", name).Advise("up to 128 letters, digits, - _ and ., a letter or digit first")
	}
}

// names finds what is there twice.
type names map[string]bool

func (n names) check(p *Problems, at, what string, i int, name string) {
	if name == "" {
		checkName(p, index(at, i), what, name)
		return
	}
	checkName(p, at+"."+name, what, name)
	if n[name] {
		p.Add(at+"."+name, "there is %s %q already", what, name)
	}
	n[name] = true
}

func checkOneOf(p *Problems, at, v string, options ...string) {
	if slices.Contains(options, v) {
		return
	}
	list := strings.Join(options[:len(options)-1], ", ") + " or " + options[len(options)-1]
	p.Add(at, "%q is not %s", v, list).didYouMean(v, options, "use "+list)
}

func checkRange(p *Problems, at string, v, low, high int) {
	if v < low || v > high {
		p.Add(at, "%d is out of range (%d to %d)", v, low, high)
	}
}

func checkDuration(p *Problems, at string, d, low, high Duration) {
	if d < low || d > high {
		p.Add(at, "%s is out of range (%s to %s)", d, low, high)
	}
}

// checkSize wants zero, or at least a mebibyte: less is a number whose unit was forgotten.
func checkSize(p *Problems, at string, b Bytes) {
	switch {
	case b < 0 || b > 1<<58:
		p.Add(at, "%s is out of range (up to 256PiB)", b)
	case b != 0 && b < minSize:
		p.Add(at, "%s is less than 1MiB", b).adviseUnit(b)
	}
}

func (e *Error) adviseUnit(b Bytes) *Error {
	if b > 0 && b <= 1<<16 {
		e.Advise("a bare number is bytes; write a unit, such as %q", fmt.Sprintf("%dMiB", b))
	}
	return e
}

func index(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }
