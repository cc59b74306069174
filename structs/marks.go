package structs

import (
	"fmt"
	"slices"
	"strings"
)

// Marks is what an allocation tells those that are placed after it: its tags, and whom it keeps away. Nil says nothing. It
// is set when the allocation is placed and never changed.
type Marks struct {
	Tags []string `json:"tags,omitempty"` // of its job and group, sorted, each once
	Away []Away   `json:"away,omitempty"` // of its constraints with not_beside
}

// Away keeps work off the nodes that have the same value of an attribute as the node of the allocation.
type Away struct {
	Attribute string `json:"attribute,omitempty"` // empty: the node itself
	Of        string `json:"of"`                  // a Mark
}

// Equal reports whether both say the same.
func (m *Marks) Equal(o *Marks) bool {
	if m == nil || o == nil {
		return m == o
	}
	return slices.Equal(m.Tags, o.Tags) && slices.Equal(m.Away, o.Away)
}

// MaxTags bounds the tags of a job and one of its groups together.
const MaxTags = 32

// Mark names running work: what has a tag, or what is of a job or of one of its groups.
type Mark struct{ Tag, Job, Group string }

// ParseMark reads "tag=NAME", "job=NAME" or "job=NAME/GROUP".
func ParseMark(s string) (m Mark, err error) {
	kind, name, _ := strings.Cut(s, "=")
	ok := false
	switch kind {
	case "tag":
		m.Tag, ok = name, ValidName(name)
	case "job":
		group := false
		m.Job, m.Group, group = strings.Cut(name, "/")
		ok = ValidName(m.Job) && (!group || ValidName(m.Group))
	}
	if !ok {
		return Mark{}, fmt.Errorf("%q is not tag=NAME, job=NAME or job=NAME/GROUP", s)
	}
	return m, nil
}

// String is what ParseMark reads.
func (m Mark) String() string {
	switch {
	case m.Tag != "":
		return "tag=" + m.Tag
	case m.Group != "":
		return "job=" + m.Job + "/" + m.Group
	}
	return "job=" + m.Job
}

// TagsOf returns the tags of the allocations of a group: those of the job and its own, sorted, each once.
func (j *Job) TagsOf(g *Group) []string {
	if len(j.Tags)+len(g.Tags) == 0 {
		return nil
	}
	tags := slices.Concat(j.Tags, g.Tags)
	slices.Sort(tags)
	return slices.Compact(tags)
}
