package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Effect is what a change does to running work, from the change tags.
type Effect string

const (
	None    Effect = ""
	InPlace Effect = "in_place" // running work is told; nothing stops
	Reload  Effect = "reload"   // the task is signalled
	Replace Effect = "replace"  // allocations are replaced
)

func (e Effect) rank() int { return slices.Index([]Effect{None, InPlace, Reload, Replace}, e) }

func (e Effect) and(o Effect) Effect {
	if o.rank() > e.rank() {
		return o
	}
	return e
}

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

// GroupDiff is what changes in one group. Kind is "" when nothing in it does. Effect includes what changes in the job's own
// fields.
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
	Groups  []GroupDiff `json:"groups,omitempty"` // all groups of either job, the new job's first
}

// Compare returns what changes from old to new; either may be nil. Defaults are filled in first, so that writing a default
// out is no change; so is another order of constraints and the like. Neither job is changed.
func Compare(old, new *structs.Job) Diff {
	var d Diff
	if old, new = canonical(old), canonical(new); old != nil {
		d.Job, d.Kind = old.Name, Removed
	}
	if new != nil {
		d.Job, d.Kind = new.Name, Added
	}
	var job Effect
	if old != nil && new != nil {
		d.Kind = ""
		var c comparer
		c.structs(reflect.ValueOf(*old), reflect.ValueOf(*new), "", None, "group")
		d.Changes = c.changes
		for _, x := range d.Changes {
			job = job.and(x.Effect)
		}
		if len(d.Changes) > 0 {
			d.Kind = Edited
		}
	}
	for _, g := range groups(new, old) {
		one := compareGroup(find(old, g), find(new, g), job)
		if one.Kind != "" && d.Kind == "" {
			d.Kind = Edited
		}
		d.Groups = append(d.Groups, one)
	}
	return d
}

// Changes returns what differs between two values of a tagged struct type (both values, or both pointers), as they are.
func Changes(old, new any) []Change {
	var c comparer
	c.structs(reflect.Indirect(reflect.ValueOf(old)), reflect.Indirect(reflect.ValueOf(new)), "", None)
	return c.changes
}

// Replaces reports whether going from old to new replaces the running allocations of a group, as a group's removal does.
func Replaces(old, new *structs.Job, group string) bool {
	for _, g := range Compare(old, new).Groups {
		if g.Name == group {
			return g.Effect == Replace
		}
	}
	return false
}

func compareGroup(old, new *structs.Group, job Effect) GroupDiff {
	count := func(g *structs.Group) string { return strconv.Itoa(*g.Count) }
	switch {
	case old == nil:
		return GroupDiff{Name: new.Name, Kind: Added, Changes: []Change{{Path: "count", Kind: Added, New: count(new)}}}
	case new == nil:
		return GroupDiff{Name: old.Name, Kind: Removed, Effect: Replace, Changes: []Change{{Path: "count", Kind: Removed, Old: count(old), Effect: Replace}}}
	}
	var c comparer
	c.structs(reflect.ValueOf(*old), reflect.ValueOf(*new), "", None)
	d := GroupDiff{Name: new.Name, Changes: c.changes, Effect: job}
	for _, x := range c.changes {
		d.Kind, d.Effect = Edited, d.Effect.and(x.Effect)
	}
	return d
}

func canonical(j *structs.Job) *structs.Job {
	if j != nil {
		j = j.Clone()
		j.Canonicalize()
	}
	return j
}

func find(j *structs.Job, group string) *structs.Group {
	if j == nil {
		return nil
	}
	return j.Group(group)
}

func groups(jobs ...*structs.Job) (out []string) {
	for _, j := range jobs {
		if j == nil {
			continue
		}
		for _, g := range j.Groups {
			if !slices.Contains(out, g.Name) {
				out = append(out, g.Name)
			}
		}
	}
	return out
}

// comparer collects the changes between two tagged structs.
type comparer struct{ changes []Change }

func (c *comparer) add(path, kind string, old, new string, e Effect) {
	c.changes = append(c.changes, Change{path, kind, old, new, e})
}

func (c *comparer) structs(old, new reflect.Value, path string, inherited Effect, skip ...string) {
	for _, g := range tagsOf(old.Type()) {
		if g.shape == hidden || slices.Contains(skip, g.name) {
			continue
		}
		effect := g.effect
		if effect == None {
			effect = inherited
		}
		a, b, at := old.Field(g.index), new.Field(g.index), join(path, g.name)
		switch g.shape {
		case block:
			c.block(a, b, at, effect)
		case blocks:
			c.blocks(a, b, g.typ, at, effect)
		case names, free:
			for _, k := range unite(sortedKeys(a), sortedKeys(b)) {
				c.leaf(a.MapIndex(reflect.ValueOf(k)), b.MapIndex(reflect.ValueOf(k)), join(at, k), effect)
			}
		default:
			c.leaf(present(a), present(b), at, effect)
		}
	}
}

func (c *comparer) block(old, new reflect.Value, path string, e Effect) {
	switch {
	case old.IsNil() && new.IsNil():
	case old.IsNil():
		c.add(path, Added, "", inline(new), e)
	case new.IsNil():
		c.add(path, Removed, inline(old), "", e)
	default:
		if b, ok := new.Interface().(interface{ EditClass() string }); ok && b.EditClass() != "" { // the block itself says it
			e = Effect(b.EditClass())
		}
		c.structs(old.Elem(), new.Elem(), path, e)
	}
}

// blocks matches labelled blocks by label; others first by being equal, then in order.
func (c *comparer) blocks(old, new reflect.Value, t reflect.Type, path string, e Effect) {
	if lt, ok := labelOf(t); ok {
		index := func(list reflect.Value) (m map[string]reflect.Value, order []string) {
			m = map[string]reflect.Value{}
			for i := range list.Len() {
				name := list.Index(i).Elem().Field(lt.index).String()
				m[name] = list.Index(i)
				order = append(order, name)
			}
			return m, order
		}
		before, order := index(old)
		after, names := index(new)
		none := reflect.Zero(reflect.PointerTo(t))
		for _, name := range unite(order, names) {
			a, b := none, none
			if x, ok := before[name]; ok {
				a = x
			}
			if x, ok := after[name]; ok {
				b = x
			}
			c.block(a, b, join(path, name), e)
		}
		return
	}
	var left []int // of new
	for i := range new.Len() {
		left = append(left, i)
	}
	var changed []int // of old
	for i := range old.Len() {
		same := slices.IndexFunc(left, func(k int) bool { return inline(old.Index(i)) == inline(new.Index(k)) })
		if same < 0 {
			changed = append(changed, i)
			continue
		}
		left = slices.Delete(left, same, same+1)
	}
	for n := range max(len(changed), len(left)) {
		switch {
		case n >= len(left):
			c.add(fmt.Sprintf("%s[%d]", path, changed[n]), Removed, inline(old.Index(changed[n])), "", e)
		case n >= len(changed):
			c.add(fmt.Sprintf("%s[%d]", path, left[n]), Added, "", inline(new.Index(left[n])), e)
		default:
			c.block(old.Index(changed[n]), new.Index(left[n]), fmt.Sprintf("%s[%d]", path, left[n]), e)
		}
	}
}

// present returns v, or the invalid Value when v is what an absent attribute is.
func present(v reflect.Value) reflect.Value {
	if v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 {
		return reflect.Value{}
	}
	return v
}

// same compares values themselves: how a secret is written tells nothing. Numbers of a free block are equal when they are
// written alike, whatever types they have.
func same(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	return reflect.DeepEqual(a.Interface(), b.Interface()) || a.Kind() == reflect.Interface && inline(a) == inline(b)
}

// leaf compares values; an invalid one is absent.
func (c *comparer) leaf(old, new reflect.Value, path string, e Effect) {
	a, b := inline(old), inline(new)
	switch {
	case same(old, new):
	case !old.IsValid():
		c.add(path, Added, "", b, e)
	case !new.IsValid():
		c.add(path, Removed, a, "", e)
	default:
		c.add(path, Edited, a, b, e)
	}
}

// inline writes a value as JSON does; text that needs no quotes has none.
func inline(v reflect.Value) string {
	if !v.IsValid() {
		return ""
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Sprint(v.Interface())
	}
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" && strconv.Quote(s) == `"`+s+`"` && !strings.ContainsAny(s, " ,") {
		return s
	}
	return string(raw)
}

func unite(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Text writes d for people, one change a line, each with what it does to running work.
func (d Diff) Text() string {
	var b strings.Builder
	what := d.Kind
	if what == "" {
		what = "unchanged"
	}
	fmt.Fprintf(&b, "job %q: %s\n", d.Job, what)
	for _, c := range d.Changes {
		c.text(&b, "  ")
	}
	for _, g := range d.Groups {
		switch {
		case g.Kind == Added:
			fmt.Fprintf(&b, "  + group %q: added, count %s\n", g.Name, g.Changes[0].New)
			continue
		case g.Kind == Removed:
			fmt.Fprintf(&b, "  - group %q: removed, its %s allocations stop\n", g.Name, g.Changes[0].Old)
			continue
		case g.Effect == None:
			fmt.Fprintf(&b, "    group %q: unchanged\n", g.Name)
		default:
			fmt.Fprintf(&b, "  ~ group %q: %s\n", g.Name, effectText[g.Effect])
		}
		for _, c := range g.Changes {
			c.text(&b, "      ")
		}
	}
	return b.String()
}

var effectText = map[Effect]string{
	None: "no effect", InPlace: "changed in place", Reload: "tasks are signalled", Replace: "allocations are replaced",
}

func (c Change) text(b *strings.Builder, indent string) {
	switch c.Kind {
	case Added:
		fmt.Fprintf(b, "%s+ %s: %s", indent, c.Path, shorten(c.New))
	case Removed:
		fmt.Fprintf(b, "%s- %s: %s", indent, c.Path, shorten(c.Old))
	default:
		old, now := apart(c.Old, c.New)
		fmt.Fprintf(b, "%s~ %s: %s -> %s", indent, c.Path, old, now)
	}
	fmt.Fprintf(b, " (%s)\n", strings.ReplaceAll(string(c.Effect), "_", " "))
}

// apart shortens two texts, so that the place where they begin to differ is seen.
func apart(a, b string) (string, string) {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	if same < 40 || max(len(a), len(b)) <= 64 {
		return shorten(a), shorten(b)
	}
	from := same - 20
	return "…" + shorten(strings.ToValidUTF8(a[from:], "")), "…" + shorten(strings.ToValidUTF8(b[from:], ""))
}
