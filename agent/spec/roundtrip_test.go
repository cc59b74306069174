package spec

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// words are texts that are easy to get wrong.
var words = []string{"", "a", "true", "null", "1", "-0", "1e3", "$", "${", "$${", "$$${", "%{", "%%{", "%%%{", "{", "}", `"`, `\`, `\n`, "\n", "\r\n",
	"a\nb\nc\n", "\n\n\n", "EOT\nEOT\n", "<<EOT\nx\nEOT\n", "  indented\n\tx\n", "${attr.kernel.name}", "$${attr.kernel.name}", "${meta.a-b}x${env.HOME}",
	"${PROFFER_PORT_http}", "${attr.}", "${attr", "%{ if true }", "{{ env \"A\" }}", "\x00", "\x7f", "é", "漢", "😀", "\u2028", "#", "//", "/*", "a b", "'", "`",
	"${alloc.index}\n${HOME}\n$${x}\n", "%{for}\n%{endfor}\n\n", "x\n\n${node.id}\n"}

func genText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 4).Draw(t, "text"), "")
}

// genAny draws what a driver's config may hold.
func genAny(t *rapid.T, depth int) any {
	kinds := 6
	if depth > 2 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return genText(t)
	case 1:
		return rapid.Float64().Draw(t, "number")
	case 2:
		return rapid.Bool().Draw(t, "bool")
	case 3:
		return float64(rapid.Int32().Draw(t, "whole"))
	case 4:
		out := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			out = append(out, genAny(t, depth+1))
		}
		return out
	default:
		out := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			out[genText(t)] = genAny(t, depth+1)
		}
		return out
	}
}

// fill draws every field of a tagged struct.
func fill(t *rapid.T, v reflect.Value) {
	for _, g := range tagsOf(v.Type()) {
		if g.shape == hidden || g.shape != label && rapid.IntRange(0, 2).Draw(t, "absent") == 0 {
			continue
		}
		f := v.Field(g.index)
		switch g.shape {
		case block:
			f.Set(reflect.New(g.typ))
			fill(t, f.Elem())
		case blocks:
			for range rapid.IntRange(0, 3).Draw(t, g.name) {
				one := reflect.New(g.typ)
				fill(t, one.Elem())
				f.Set(reflect.Append(f, one))
			}
		default:
			fillValue(t, f)
		}
	}
}

func fillValue(t *rapid.T, f reflect.Value) {
	switch f.Type() {
	case milliType:
		f.SetInt(rapid.Int64Range(0, 1e15).Draw(t, "milli"))
		return
	case bytesType:
		f.SetInt(rapid.Int64Range(0, 1<<60).Draw(t, "bytes"))
		return
	case durationType:
		f.SetInt(rapid.Int64Range(0, 1<<62).Draw(t, "duration"))
		return
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(genText(t))
	case reflect.Int:
		f.SetInt(rapid.Int64Range(-1<<53, 1<<53).Draw(t, "int"))
	case reflect.Bool:
		f.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		fillValue(t, f.Elem())
	case reflect.Slice:
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			one := reflect.New(f.Type().Elem()).Elem()
			fillValue(t, one)
			f.Set(reflect.Append(f, one))
		}
	case reflect.Map:
		f.Set(reflect.MakeMap(f.Type()))
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			one := reflect.New(f.Type().Elem()).Elem()
			if f.Type().Elem().Kind() == reflect.Interface {
				one.Set(reflect.ValueOf(genAny(t, 0)))
			} else {
				fillValue(t, one)
			}
			f.SetMapIndex(reflect.ValueOf(genText(t)), one)
		}
	default:
		t.Fatalf("no way to draw a %s", f.Type())
	}
}

// Any job, valid or not, is the same after HCL and after JSON.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		job := new(structs.Job)
		fill(t, reflect.ValueOf(job).Elem())
		raw, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		fromJSON, err := ParseJSON("job.json", raw)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		text := FormatHCL(fromJSON)
		fromHCL, err := ParseJob("job.hcl", text, Vars{})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		again, err := json.Marshal(fromHCL)
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(raw) {
			t.Fatalf("JSON\n%s\nbecame HCL\n%s\nbecame JSON\n%s", raw, text, again)
		}
		if string(FormatHCL(fromHCL)) != string(text) {
			t.Fatalf("the HCL of the same job differs:\n%s\n%s", text, FormatHCL(fromHCL))
		}
	})
}

// The stream of what HCL reads: a text in quotes and a text as heredoc are read as they were.
func TestTextForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genText(t)
		for _, form := range []string{quote(s), textForm(s)} {
			job, err := ParseJob("x.hcl", []byte("job \"j\" {\n  role = "+form+"\n}\n"), Vars{})
			if err != nil {
				t.Fatalf("%q written as %s: %v", s, form, err)
			}
			if job.Role != s {
				t.Fatalf("%q written as %s was read as %q", s, form, job.Role)
			}
		}
	})
}

// Diff of a job with itself is empty, and with an edited job it is not.
func TestCompareProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := new(structs.Job)
		fill(t, reflect.ValueOf(a).Elem())
		uniqueLabels(a)
		b := a.Clone()
		if d := Compare(a, b); d.Kind != "" {
			t.Fatalf("a job differs from itself:\n%s", d.Text())
		}
		b.Canonicalize()
		if d := Compare(a, b); d.Kind != "" {
			t.Fatalf("defaults are a difference:\n%s", d.Text())
		}
		for _, g := range a.Groups {
			if Replaces(a, b, g.Name) {
				t.Fatal("no change replaces")
			}
		}
	})
}

func uniqueLabels(j *structs.Job) {
	for i, g := range j.Groups {
		g.Name = fmt.Sprint("g", i)
		for k, task := range g.Tasks {
			task.Name = fmt.Sprint("t", k)
		}
		if g.Network != nil {
			for k, p := range g.Network.Ports {
				p.Label = fmt.Sprint("p", k)
			}
		}
		for _, s := range g.Spreads {
			for k, target := range s.Targets {
				target.Value = fmt.Sprint("v", k)
			}
		}
	}
	for _, s := range j.Spreads {
		for k, target := range s.Targets {
			target.Value = fmt.Sprint("v", k)
		}
	}
}

func seeds(f *testing.F) {
	src, err := os.ReadFile("testdata/web.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src)
	for _, s := range []string{
		"", "{", "job", "job \"a\" {}", "job \"\" {\n}\n", wrap(""), wrap("env = { A = null }"), wrap("resources {\n cpu = -1\n}"),
		"locals {\n a = local.a\n}\njob \"j\" {}", "variable \"x\" {\n type = list(\n}", "job \"j\" {\n meta = { x = \"${var}\" }\n}", "job \"j\" {\n meta = var\n}",
		"job \"j\" {\n  dynamic \"group\" {\n    for_each = null\n    labels = null\n    iterator = x\n    content {\n    }\n  }\n}\n",
		"job \"j\" {\n meta = { for k, v in {a = 1} : k => v... }\n}", "job \"j\" {\n meta = [for env in [1]: env][*]\n}",
		"job \"j\" {\n datacenters = [\"a\"][0]\n count = attr[0]\n}", "job \"j\" { group \"g\" { count = 1 } }", "job \"j\" {\n meta = { x = \"%{ for x in [1] ~} ${x} %{ endfor }\" }\n}",
		"job \"j\" {\n meta = try(x, y)\n}", "job \"j\" {\n meta { a = <<E\n${\nE\n }\n}", "\xef\xbb\xbfjob \"j\" {}", "job \"j\" {\n role = \"\\ud800\"\n}", "/*", "# x",
		`{"name":"j","group":[{"name":"g","count":1e3,"task":[{"name":"t","config":{"a":[1,{"b":null}]},"resources":{"cpu":1.5,"memory":"1GiB","custom":{"x":1}}}]}]}`,
		`{"name":1}`, `{"group":[[]]}`, `{"update":{"max_parallel":1e400}}`, `[]`, `{"meta":{"a":"\ud800"}}`, `{"name":"j"}}`, `{"":""}`,
	} {
		f.Add([]byte(s))
	}
}

// Whatever is read: no panic, errors are of the kind Invalid with a message, and what was read is read again from its own form.
func FuzzParseHCL(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		job, err := ParseJob("x.hcl", src, Vars{Flags: []string{}})
		checkParsed(t, job, err)
	})
}

func FuzzParseJSON(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		job, err := ParseJSON("x.json", src)
		checkParsed(t, job, err)
		if err == nil {
			raw, err := json.Marshal(job)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseJSON("again.json", raw)
			if err != nil {
				t.Fatalf("%v\n%s", err, raw)
			}
			if second, _ := json.Marshal(again); string(second) != string(raw) {
				t.Fatalf("%s became %s", raw, second)
			}
		}
	})
}

func checkParsed(t *testing.T, job *structs.Job, err error) {
	if err != nil {
		if structs.KindOf(err) != structs.Invalid || err.Error() == "" {
			t.Fatalf("kind %s: %v", structs.KindOf(err), err)
		}
		return
	}
	job.Canonicalize()
	job.Validate(nil) // must not panic
	Compare(nil, job).Text()
	FormatHCL(job)
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		var job structs.Job
		if err := Decode("x", src, &job, nil); err != nil && structs.KindOf(err) != structs.Invalid {
			t.Fatal(err)
		}
		if _, err := ParseRoles("x", src); err != nil && structs.KindOf(err) != structs.Invalid {
			t.Fatal(err)
		}
	})
}
