package spec

// Row is one line of a reference.
type Row struct {
	Path    string // of the block it is in: "", "group", "group.task"
	Name    string
	Kind    string // label, attribute, block, blocks (may be repeated), map or any
	Type    string // string, number, whole number, bool, duration, size, list of …, names to …
	Default string // as the doc tag has it, or ""
	Effect  Effect // inherited from the block around it
	Doc     string
}

// Reference returns the fields of a tagged struct (a value or pointer of it), each block after the one that holds it, in
// the order of the struct.
func Reference(v any) []Row { return nil }
