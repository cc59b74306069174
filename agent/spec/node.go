package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// pos is a line of a named text.
type pos struct {
	file string
	line int
}

func (p pos) String() string {
	if p.line == 0 {
		return p.file
	}
	return p.file + ":" + strconv.Itoa(p.line)
}

// node is a value with its place, read from HCL or JSON and not yet in a struct. Both languages become nodes, so that one
// decoder serves both.
type node struct {
	pos    pos
	kind   kind
	text   string  // of a string or number
	yes    bool    // of a boolean
	list   []node  // of a list
	fields []field // of an object, in the order of the text
	block  bool    // an HCL block, not an expression
	hidden bool    // it is a secret: no message shows it
}

type field struct {
	name string
	pos  pos
	node
}

type kind int

const (
	null kind = iota
	text
	number
	boolean
	list
	object
)

func (k kind) String() string {
	return [...]string{"null", "a string", "a number", "a boolean", "a list", "an object"}[k]
}

// show writes a scalar as a user would, shortened.
func (n node) show() string {
	if n.hidden {
		return "what is written here"
	}
	switch n.kind {
	case text:
		return strconv.Quote(shorten(n.text))
	case number:
		return shorten(n.text)
	case boolean:
		return strconv.FormatBool(n.yes)
	}
	return n.kind.String()
}

func shorten(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// Positions says where each value of a decoded struct was written, by path such as group.api.task.web.kill_timeout. Paths of
// labelled blocks hold the label, those of other repeated blocks an index from 0: constraint[1].value.
type Positions map[string]pos

// At returns file:line of a path, or of the nearest block around it; "" when nothing is known.
func (p Positions) At(path string) string {
	if at, ok := p.find(path); ok {
		return at.String()
	}
	return ""
}

// Set notes that a value came from somewhere else than a text, such as a flag.
func (p Positions) Set(path, where string) { p[path] = pos{file: where} }

func (p Positions) find(path string) (pos, bool) {
	for {
		if at, ok := p[path]; ok {
			return at, true
		}
		if path == "" {
			return pos{}, false
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// Locate returns problems, whose objects are paths, with file:line put before each, in the order of the text, as one error.
// Nil when there are none.
func (p Positions) Locate(problems structs.Problems) error {
	var c complaints
	for _, e := range problems {
		at, _ := p.find(e.Object)
		c.list = append(c.list, complaint{at, e})
	}
	return c.err()
}

// complaints collects problems with their places.
type complaints struct {
	list []complaint
	seen map[string]bool
}

type complaint struct {
	pos pos
	err *structs.Error
}

// add notes a problem about object, a path or "".
func (c *complaints) add(at pos, object, format string, args ...any) *structs.Error {
	e := structs.Errorf(structs.Invalid, object, format, args...)
	c.list = append(c.list, complaint{at, e})
	return e
}

// maxComplaints bounds how many problems one error lists.
const maxComplaints = 50

func (c *complaints) err() error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, func(a, b complaint) int {
		return cmp.Or(strings.Compare(a.pos.file, b.pos.file), cmp.Compare(a.pos.line, b.pos.line))
	})
	var all structs.Problems
	seen := map[string]bool{}
	for _, x := range c.list {
		e := *x.err
		if at := x.pos.String(); at != "" && e.Object != "" {
			e.Object = at + ": " + e.Object
		} else if at != "" {
			e.Object = at
		}
		if line := e.Error(); !seen[line] {
			seen[line] = true
			all = append(all, &e)
		}
	}
	if more := len(all) - maxComplaints; more > 0 {
		all = append(all[:maxComplaints], &structs.Error{Kind: structs.Invalid, Why: fmt.Sprintf("and %d more", more)})
	}
	return all.Err()
}

// suggest advises the option that name was probably meant to be, or lists up to a dozen.
func suggest(e *structs.Error, name string, options []string) {
	if near := structs.Nearest(name, options); near != "" {
		e.Advise("did you mean %q?", near)
		return
	}
	switch n := len(options); {
	case n == 0:
	case n <= 12:
		e.Advise("known here: %s", strings.Join(options, ", "))
	default:
		e.Advise("known here: %s, …", strings.Join(options[:12], ", "))
	}
}
