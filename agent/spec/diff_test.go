package spec

import (
	"os"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

func read(t *testing.T, src string) *structs.Job {
	t.Helper()
	job, err := ReadJob("x.hcl", []byte(src), Vars{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

const diffBase = `job "web" {
  priority = "batch"
  meta {
    team = "a"
  }
  constraint {
    attribute = "${attr.a}"
    value     = "1"
  }
  constraint {
    attribute = "${attr.b}"
    value     = "2"
  }
  group "api" {
    count = 2
    network {
      mode = "bridge"
      port "http" {
        to = 80
      }
      cni "a" {
      }
      cni "b" {
      }
    }
    task "server" {
      kill_timeout = "10s"
      env {
        A = "1"
        B = "two words"
      }
      config {
        command = "/bin/x"
        args    = ["a"]
      }
      template {
        destination = "local/a"
        data        = "x"
      }
    }
  }
  group "db" {
    task "pg" {
    }
  }
}
`

// Each edit of diffBase, as plan shows it.
func TestDiff(t *testing.T) {
	for _, x := range []struct {
		name, old, new, want string
		api, db              Effect
	}{
		{"nothing", "", "", `job "web": unchanged
    group "api": unchanged
    group "db": unchanged
`, None, None},
		{"defaults written out", `task "pg" {`, "count = 1\n task \"pg\" {\n driver = \"exec\"\n kill_timeout = \"5s\"\n logs {\n max_files = 10\n }", `job "web": unchanged
    group "api": unchanged
    group "db": unchanged
`, None, None},
		{"priority", `"batch"`, `"batch+10"`, `job "web": edited
  ~ priority: batch -> batch+10 (in place)
  ~ group "api": changed in place
  ~ group "db": changed in place
`, InPlace, InPlace},
		{"job's meta", `team = "a"`, `team = "b"`, `job "web": edited
  ~ meta.team: a -> b (replace)
  ~ group "api": allocations are replaced
  ~ group "db": allocations are replaced
`, Replace, Replace},
		{"order of constraints", "constraint {\n    attribute = \"${attr.a}\"\n    value     = \"1\"\n  }\n  constraint {\n    attribute = \"${attr.b}\"\n    value     = \"2\"\n  }",
			"constraint {\n    attribute = \"${attr.b}\"\n    value     = \"2\"\n  }\n  constraint {\n    attribute = \"${attr.a}\"\n    value     = \"1\"\n  }", `job "web": unchanged
    group "api": unchanged
    group "db": unchanged
`, None, None},
		{"constraint", `"2"`, `"3"`, `job "web": edited
  ~ constraint[1].value: 2 -> 3 (replace)
  ~ group "api": allocations are replaced
  ~ group "db": allocations are replaced
`, Replace, Replace},
		{"count", "count = 2", "count = 5", `job "web": edited
  ~ group "api": changed in place
      ~ count: 2 -> 5 (in place)
    group "db": unchanged
`, InPlace, None},
		{"count and more", "count = 2", "count = 5\n on_lost = \"fence\"\n restart {\n attempts = 7\n }", `job "web": edited
  ~ group "api": changed in place
      ~ count: 2 -> 5 (in place)
      ~ restart.attempts: 2 -> 7 (in place)
      ~ on_lost: replace -> fence (in place)
    group "db": unchanged
`, InPlace, None},
		{"environment", `B = "two words"`, "C = \"\"", `job "web": edited
  ~ group "api": allocations are replaced
      - task.server.env.B: "two words" (replace)
      + task.server.env.C: "" (replace)
    group "db": unchanged
`, Replace, None},
		{"config", `args    = ["a"]`, `args = ["a", "b"]`, `job "web": edited
  ~ group "api": allocations are replaced
      ~ task.server.config.args: ["a"] -> ["a","b"] (replace)
    group "db": unchanged
`, Replace, None},
		{"kill_timeout", `"10s"`, `"5s"`, `job "web": edited
  ~ group "api": changed in place
      ~ task.server.kill_timeout: 10s -> 5s (in place)
    group "db": unchanged
`, InPlace, None},
		{"port", `port "http" {`, "port \"admin\" {\n }\n port \"http\" {", `job "web": edited
  ~ group "api": allocations are replaced
      + network.port.admin: {"name":"admin"} (replace)
    group "db": unchanged
`, Replace, None},
		{"order of networks", "cni \"a\" {\n      }\n      cni \"b\"", "cni \"b\" {\n      }\n      cni \"a\"", `job "web": edited
  ~ group "api": allocations are replaced
      ~ network.cni.a.interface: eth1 -> eth2 (replace)
      ~ network.cni.b.interface: eth2 -> eth1 (replace)
    group "db": unchanged
`, Replace, None},
		{"template", `data        = "x"`, `data = "y"`, `job "web": edited
  ~ group "api": allocations are replaced
      ~ task.server.template[0].data: x -> y (replace)
    group "db": unchanged
`, Replace, None},
		{"task", `task "pg" {`, "task \"side\" {\n }\n task \"pg\" {", `job "web": edited
    group "api": unchanged
  ~ group "db": allocations are replaced
      + task.side: {"name":"side","driver":"exec","kill_timeout":"5s","kill_sig… (replace)
`, None, Replace},
		{"group", `group "db"`, `group "cache"`, `job "web": edited
    group "api": unchanged
  + group "cache": added, count 1
  - group "db": removed, its 1 allocations stop
`, None, Replace},
	} {
		t.Run(x.name, func(t *testing.T) {
			old, new := read(t, diffBase), read(t, strings.Replace(diffBase, x.old, x.new, 1))
			d := Compare(old, new)
			if got := d.Text(); got != x.want {
				t.Errorf("got\n%s\nwant\n%s", got, x.want)
			}
			if changed := !strings.Contains(x.want, `"web": unchanged`); changed != (d.Kind == Edited) {
				t.Errorf("kind %q", d.Kind)
			}
			if Replaces(old, new, "api") != (x.api == Replace) || Replaces(old, new, "db") != (x.db == Replace) {
				t.Errorf("api %v, db %v", Replaces(old, new, "api"), Replaces(old, new, "db"))
			}
			for _, g := range d.Groups {
				if want := map[string]Effect{"api": x.api, "db": x.db}[g.Name]; g.Effect != want {
					t.Errorf("group %s: %q", g.Name, g.Effect)
				}
			}
			// Back again is the same set of paths.
			if back := Compare(new, old); len(back.Changes) != len(d.Changes) || len(back.Groups) != len(d.Groups) {
				t.Errorf("back:\n%s", back.Text())
			}
		})
	}
	job := read(t, diffBase)
	if got := Compare(nil, job).Text(); got != "job \"web\": added\n  + group \"api\": added, count 2\n  + group \"db\": added, count 1\n" {
		t.Error(got)
	}
	if got := Compare(job, nil).Text(); got != "job \"web\": removed\n  - group \"api\": removed, its 2 allocations stop\n  - group \"db\": removed, its 1 allocations stop\n" {
		t.Error(got)
	}
	if d := Compare(nil, nil); d.Kind != "" || d.Groups != nil {
		t.Errorf("%+v", d)
	}
}

// A job whose driver config came over the wire with whole numbers is no other job.
func TestTextOfALongChangeShowsWhereItIs(t *testing.T) {
	c := Change{Path: "config.args", Old: strings.Repeat("a", 500) + "old" + strings.Repeat("b", 500),
		New: strings.Repeat("a", 500) + "new" + strings.Repeat("b", 500), Effect: Replace}
	var b strings.Builder
	c.text(&b, "")
	if got := b.String(); !strings.Contains(got, "aoldb") || !strings.Contains(got, "anewb") || len(got) > 250 {
		t.Errorf("%s", got)
	}
}

func TestDiffOfNumbers(t *testing.T) {
	a, b := read(t, diffBase), read(t, diffBase)
	a.Groups[0].Tasks[0].Config["n"], b.Groups[0].Tasks[0].Config["n"] = 5.0, int64(5)
	if d := Compare(a, b); d.Kind != "" {
		t.Error(d.Text())
	}
}

func TestReference(t *testing.T) {
	var b strings.Builder
	effects := 0
	for _, row := range Reference(&structs.Job{}) {
		if row.Doc == "" || row.Kind == "" || row.Name == "" {
			t.Errorf("%+v", row)
		}
		if row.Effect != None {
			effects++
		} else {
			t.Errorf("%s.%s has no effect", row.Path, row.Name)
		}
		if row.Path == "group.task.resources" || row.Path == "group" && row.Kind == "attribute" {
			b.WriteString(strings.Join([]string{row.Path, row.Name, row.Kind, row.Type, row.Default, string(row.Effect)}, " | ") + "\n")
		}
	}
	const want = `group | count | attribute | whole number | 1 | in_place
group | on_lost | attribute | string | replace | in_place
group | max_run_duration | attribute | duration |  | replace
group | disk | attribute | size |  | replace
group | tags | attribute | list of strings |  | replace
group.task.resources | cpu | attribute | number | 0.1 | replace
group.task.resources | cores | attribute | whole number |  | replace
group.task.resources | cpu_limit | attribute | number |  | replace
group.task.resources | memory | attribute | size | 128MiB | replace
group.task.resources | memory_max | attribute | size |  | replace
group.task.resources | disk | attribute | size |  | replace
group.task.resources | ports | attribute | whole number |  | replace
group.task.resources | custom | map | names to numbers |  | replace
group.task.resources | io | block |  |  | replace
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if rows := Reference(structs.Role{}); len(rows) < 10 || rows[0].Kind != "label" {
		t.Errorf("%+v", rows)
	}
}

// FormatHCL writes HCL as a person would.
func TestFormat(t *testing.T) {
	src, err := os.ReadFile("testdata/formatted.hcl")
	if err != nil {
		t.Fatal(err)
	}
	job, err := ParseJob("formatted.hcl", src, Vars{})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(FormatHCL(job)); got != string(src) {
		t.Errorf("got\n%s", got)
	}
}

func TestDecode(t *testing.T) {
	type inner struct {
		A string            `json:"a,omitempty"`
		M map[string]string `json:"m,omitempty" hcl:"map"`
	}
	type outer struct {
		N     *int     `json:"n,omitempty"`
		L     []string `json:"l,omitempty"`
		Inner *inner   `json:"inner,omitempty" hcl:"block"`
		Many  []*inner `json:"many,omitempty" hcl:"block"`
	}
	var v outer
	places := Positions{}
	for _, src := range []string{"n = 1\nl = [\"a\"]\ninner {\n  a = \"x\"\n  m {\n    k = 1\n    l = 2\n  }\n}\nmany {\n}\nmany {\n}\n",
		`{"l": ["b", "c"], "inner": {"m": {"k": "3"}}, "many": [{"a": "z"}]}`} {
		if err := Decode("f", []byte(src), &v, places); err != nil {
			t.Fatal(err)
		}
	}
	if *v.N != 1 || strings.Join(v.L, "") != "bc" || v.Inner.A != "x" || v.Inner.M["k"] != "3" || v.Inner.M["l"] != "2" || len(v.Many) != 1 {
		t.Errorf("%+v %+v", v, v.Inner)
	}
	for path, want := range map[string]string{"n": "f:1", "inner.m.l": "f:7", "inner.m.k": "f:1", "inner.nothing.at.all": "f:1", "many[0].a": "f:1"} {
		if got := places.At(path); got != want {
			t.Errorf("%s is at %q, not %q", path, got, want)
		}
	}
}
