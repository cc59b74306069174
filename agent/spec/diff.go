package spec

import "github.com/proffer/proffer/structs"

// Effect is what a change does to running work, from the change tags. Larger is more.
type Effect string

const (
	None    Effect = ""
	InPlace Effect = "in_place" // running work is told; nothing stops
	Reload  Effect = "reload"   // the task is signalled
	Replace Effect = "replace"  // allocations are replaced
)

// Kinds of a change.
const (
	Added   = "added"
	Removed = "removed"
	Edited  = "edited"
)

// Change is one changed field or block.
type Change struct {
	Path   string `json:"path"` // such as task.web.resources.cpu; from the job or, in a GroupDiff, from the group
	Kind   string `json:"kind"` // added, removed or edited
	Old    string `json:"old,omitempty"`
	New    string `json:"new,omitempty"`
	Effect Effect `json:"effect"`
}

// GroupDiff is what changes in one group. Kind is "" when nothing does. Effect includes what changes in the job's own fields.
type GroupDiff struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind,omitempty"`
	Effect  Effect   `json:"effect,omitempty"`
	Changes []Change `json:"changes,omitempty"`
}

// Diff is what changes from one job to another.
type Diff struct {
	Job     string      `json:"job"`
	Kind    string      `json:"kind,omitempty"` // "" when nothing changes
	Changes []Change    `json:"changes,omitempty"`
	Groups  []GroupDiff `json:"groups,omitempty"`
}

// Compare returns what changes from old to new; either may be nil. Defaults are filled in first, so that writing a default
// out is no change. Neither job is changed.
func Compare(old, new *structs.Job) Diff { return Diff{} }

// Text writes d for people, one change a line.
func (d Diff) Text() string { return "" }

// Replaces reports whether going from old to new replaces the running allocations of a group.
func Replaces(old, new *structs.Job, group string) bool { return false }
