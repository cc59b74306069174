package spec

import (
	"reflect"
	"regexp"
)

// Row is one line of a reference.
type Row struct {
	Path    string // of the block it is in: "", "group", "group.task"
	Name    string
	Kind    string // label, attribute, block, blocks (may be repeated), map or any
	Type    string // string, number, whole number, bool, duration, size, list of …, names to …; of a block ""
	Default string // as the doc tag has it, or ""
	Effect  Effect // inherited from the block around it
	Doc     string
}

// Reference returns the fields of a tagged struct (a value or a pointer), each block's after the field that holds it, in the
// order of the structs.
func Reference(v any) []Row {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return reference(t, "", None)
}

var defaultForm = regexp.MustCompile(`Default:? (.+?)[.;](?: |$)`)

func reference(t reflect.Type, path string, inherited Effect) []Row {
	var rows []Row
	for _, g := range tagsOf(t) {
		if g.shape == hidden {
			continue
		}
		row := Row{Path: path, Name: g.name, Kind: string(g.shape), Effect: g.effect, Doc: g.doc}
		if row.Effect == None {
			row.Effect = inherited
		}
		if m := defaultForm.FindStringSubmatch(g.doc); m != nil {
			row.Default = m[1]
		}
		if g.shape != block && g.shape != blocks && g.shape != free {
			row.Type = typeName(g.typ)
		}
		rows = append(rows, row)
		if g.shape == block || g.shape == blocks {
			rows = append(rows, reference(g.typ, join(path, g.name), row.Effect)...)
		}
	}
	return rows
}
