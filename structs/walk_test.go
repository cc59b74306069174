package structs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// walk calls visit with each field of a tagged struct type and of the blocks in it.
func walk(t reflect.Type, path string, changes bool, visit func(path string, f reflect.StructField, changes bool)) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		visit(at, f, changes)
		if f.Tag.Get("hcl") == "block" {
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			walk(inner, at, changes || f.Tag.Get("change") != "", visit)
		}
	}
}

// A field of a job or role has a name, a sentence, a shape that can be read, and for jobs a change class of its own or of
// the block that it is in.
func TestEveryFieldIsTagged(t *testing.T) {
	names := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for _, root := range []reflect.Type{reflect.TypeFor[Job](), reflect.TypeFor[Role]()} {
		walk(root, "", false, func(path string, f reflect.StructField, changes bool) {
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			shape := f.Tag.Get("hcl")
			if !names.MatchString(name) || (option != "omitempty" && shape != "label") {
				t.Errorf("%s %s: json tag %q", root.Name(), path, f.Tag.Get("json"))
			}
			if shape == "-" {
				return
			}
			if doc := f.Tag.Get("doc"); doc == "" || !strings.HasSuffix(doc, ".") {
				t.Errorf("%s %s: doc tag %q is not a sentence", root.Name(), path, doc)
			}
			if class := f.Tag.Get("change"); class != "" && !slices.Contains([]string{"in_place", "reload", "replace"}, class) {
				t.Errorf("%s %s: change tag %q", root.Name(), path, class)
			} else if class == "" && !changes && root.Name() == "Job" {
				t.Errorf("%s %s has no change tag", root.Name(), path)
			}
			kind := f.Type.Kind()
			ok := map[string]bool{
				"label": kind == reflect.String,
				"block": kind == reflect.Pointer || kind == reflect.Slice && f.Type.Elem().Kind() == reflect.Pointer,
				"map":   kind == reflect.Map,
				"any":   f.Type == reflect.TypeFor[map[string]any](),
				"":      kind != reflect.Map && kind != reflect.Struct,
			}
			if !ok[shape] {
				t.Errorf("%s %s: hcl tag %q on a %s", root.Name(), path, shape, f.Type)
			}
		})
	}
}

// What a doc tag names after "Default" is what Canonicalize sets.
func TestDocumentedDefaults(t *testing.T) {
	// "Default: …" describes; these are values all the same, or nothing is set.
	described := map[string]string{"role": "default", "priority": "", "datacenters": "", "group.task.user": "", "group.volume.source": "v", "group.on_lost": "fence", "group.task.logs.max_age": ""}
	tree := func(jobType string) map[string]any {
		task := &Task{Name: "t", Lifecycle: &Lifecycle{}, DispatchPayload: &DispatchPayload{}, Artifacts: []*Artifact{{}}, Templates: []*Template{{Wait: &Quiet{}}}, Ready: []*Check{{}}, Live: []*Check{{}}, Tmpfs: []*Tmpfs{{}}, ImageMounts: []*ImageMount{{Auth: &ImageLogin{}}}, CSIPlugin: &CSIPlugin{}}
		group := &Group{Name: "g", Network: &Network{Ports: []*Port{{}}}, Tasks: []*Task{task}, Volumes: []*GroupVolume{{Name: "v"}}, Constraints: []*Constraint{{}},
			Affinities: []*Affinity{{}}, Spreads: []*Spread{{Targets: []*SpreadTarget{{}}}}}
		job := &Job{Name: "j", Type: jobType, Parameterized: &Parameterized{}, Groups: []*Group{group}, Constraints: []*Constraint{{}}, Affinities: []*Affinity{{}}, Spreads: []*Spread{{}}}
		job.Canonicalize()
		return asTree(t, job)
	}
	role := &Role{Name: "r"}
	role.Canonicalize()
	trees := map[string]map[string]any{"": tree(""), BatchJob: tree(BatchJob)}

	value := func(root map[string]any, path string) string {
		var v any = root
		for _, step := range strings.Split(path, ".") {
			if list, ok := v.([]any); ok {
				v = list[0]
			}
			m, _ := v.(map[string]any)
			v = m[step]
		}
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	}
	form := regexp.MustCompile(`Default (\S+?)(?: for service, (\S+?) for batch| for (service|batch)\b[^.]*)?[.;]( |$)`)
	count := 0
	check := func(root reflect.Type, trees map[string]map[string]any) {
		walk(root, "", false, func(path string, f reflect.StructField, _ bool) {
			doc := f.Tag.Get("doc")
			if !strings.Contains(doc, "Default") {
				return
			}
			count++
			if strings.Contains(doc, "Default:") {
				want, ok := described[path]
				if got := value(trees[""], path); !ok || got != want {
					t.Errorf("%s: %q, but it is set to %q", path, doc, got)
				}
				return
			}
			m := form.FindStringSubmatch(doc)
			if m == nil {
				t.Errorf("%s: no default can be read from %q", path, doc)
				return
			}
			for kind, tree := range trees {
				want := m[1]
				if kind == BatchJob && m[2] != "" {
					want = m[2]
				}
				if m[3] == BatchJob && kind != BatchJob || m[3] == ServiceJob && kind == BatchJob {
					continue
				}
				if got := value(tree, path); got != want && !(path == "type" && kind == BatchJob) {
					t.Errorf("%s (%s job): documented %s, set to %q", path, kind, want, got)
				}
			}
		})
	}
	check(reflect.TypeFor[Job](), trees)
	check(reflect.TypeFor[Role](), map[string]map[string]any{"": asTree(t, role)})
	if count < 30 {
		t.Errorf("only %d defaults were found", count)
	}
}

func asTree(t *testing.T, v any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}
