package structs

import (
	"strings"
	"testing"
)

func form(change func(*Job)) *Job {
	j := &Job{Name: "form", Type: BatchJob, Meta: map[string]string{"a": "own", "b": "own"},
		Parameterized: &Parameterized{MetaRequired: []string{"a"}, MetaOptional: []string{"c"}},
		Groups:        []*Group{{Name: "g", Tasks: []*Task{{Name: "t", Config: map[string]any{"command": "x"}, DispatchPayload: &DispatchPayload{File: "in/put"}}}}}}
	if change != nil {
		change(j)
	}
	j.Canonicalize()
	return j
}

func TestDispatch(t *testing.T) {
	j := form(nil)
	if err := j.Validate(nil); err != nil {
		t.Fatal(err)
	}
	meta := map[string]string{"a": "1", "c": "2"}
	one, err := j.Dispatch(4, "key", meta, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if one.Parameterized != nil || one.Meta["a"] != "1" || one.Meta["b"] != "own" || one.Meta["c"] != "2" || j.Meta["a"] != "own" ||
		one.Dispatched.Parent != "form" || one.Dispatched.Version != 4 || string(one.Dispatched.Payload) != "payload" || !strings.HasPrefix(one.Name, "form.d-") {
		t.Errorf("%+v %+v", one, one.Dispatched)
	}
	if err := one.Validate(nil); err != nil {
		t.Error(err)
	}
	again, _ := j.Dispatch(4, "key", meta, nil)
	other, _ := j.Dispatch(4, "another", meta, nil)
	if again.Name != one.Name || other.Name == one.Name {
		t.Errorf("%s %s %s", one.Name, again.Name, other.Name)
	}
	full := []byte(strings.Repeat("x", MaxPayload))
	for what, c := range map[string]struct {
		job     *Job
		meta    map[string]string
		payload []byte
		says    string
	}{
		"as much as may be":   {j, meta, full, ""},
		"too much":            {j, meta, append(full, 'x'), "payload"},
		"meta is missing":     {j, nil, nil, "meta.a"},
		"meta is not known":   {j, map[string]string{"a": "", "b": ""}, nil, "meta.b"},
		"a payload is needed": {form(func(j *Job) { j.Parameterized.Payload = PayloadRequired }), meta, nil, "needs one"},
		"none is taken":       {form(func(j *Job) { j.Parameterized.Payload = PayloadForbidden }), meta, full, "takes none"},
		"it runs by itself":   {form(func(j *Job) { j.Parameterized = nil }), meta, nil, "not parameterized"},
	} {
		_, err := c.job.Dispatch(1, "key", c.meta, c.payload)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*Job){
		"type = \"batch\"": func(j *Job) { j.Type = ServiceJob },
		"is named twice":   func(j *Job) { j.Parameterized.MetaOptional = []string{"a"} },
		"longer than":      func(j *Job) { j.Name = strings.Repeat("n", 101) },
		"below the local":  func(j *Job) { j.Groups[0].Tasks[0].DispatchPayload.File = "../x" },
		"only a parameter": func(j *Job) { j.Parameterized = nil },
		"forbidden":        func(j *Job) { j.Parameterized.Payload = PayloadForbidden },
	} {
		if err := form(change).Validate(nil); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
