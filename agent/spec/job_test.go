package spec

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// checks are drivers that accept a string command and nothing else.
var checks = structs.ConfigChecks{
	"exec": {Config: func(object string, config map[string]any) error {
		var p structs.Problems
		for name, v := range config {
			if _, ok := v.(string); name == "command" && !ok {
				p.Add(object+".command", "it is not a string")
			}
		}
		return p.Err()
	}},
	"mock": {Config: func(string, map[string]any) error { return nil }},
}

func TestReadJob(t *testing.T) {
	src, err := os.ReadFile("testdata/web.hcl")
	if err != nil {
		t.Fatal(err)
	}
	job, err := ReadJob("web.hcl", src, Vars{
		Env:   []string{"HOME=/root", "PROFFER_VAR_image=env", "PROFFER_VAR_replicas=4", "PROFFER_VAR_other=1"},
		Files: []File{{"a.vars", []byte("image = \"file\"\nreplicas = 5\n")}, {"b.json", []byte(`{"replicas": 6}`)}},
		Flags: []string{"image=v2"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := job.Group("api")
	task := g.Task("server")
	for _, x := range []struct{ what, got, want any }{
		{"name", job.Name, "web"},
		{"count", *g.Count, 6},
		{"constraint", job.Constraints[0].Attribute, "${attr.kernel.name}"},
		{"operator", job.Constraints[0].Operator, "="},
		{"version", task.Env["VERSION"], "v2"},
		{"listen", task.Env["LISTEN"], "0.0.0.0:${PROFFER_PORT_http}"},
		{"args", task.Config["args"].([]any)[2], "echo ${HOME} ${alloc.index} web-v2"},
		{"mount", task.Config["mount"], []any{map[string]any{"source": "/srv", "options": map[string]any{"ro": true}}}},
		{"ports", len(g.Network.Ports), 2},
		{"port", *g.Network.Ports[1], structs.Port{Label: "admin", To: 8001}},
		{"cpu", task.Resources.CPU, structs.Milli(500)},
		{"memory", task.Resources.Memory, structs.Bytes(256 << 20)},
		{"gpus", task.Resources.Custom["gpus"], structs.Milli(1000)},
		{"template", task.Templates[0].Data, "rack = ${meta.rack}\n{{ env \"PATH\" }}\n"},
		{"kill_timeout", task.KillTimeout.String(), "5s"},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: got %v, want %v", x.what, x.got, x.want)
		}
	}
}

// The same job in JSON is the same job.
func TestJSONIsTheSame(t *testing.T) {
	src, err := os.ReadFile("testdata/web.hcl")
	if err != nil {
		t.Fatal(err)
	}
	a, err := ReadJob("web.hcl", src, Vars{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadJob("web.json", raw, Vars{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("differs:\n%s", Compare(a, b).Text())
	}
}

// wrap puts lines into a task of a job that is valid otherwise. The lines begin at 7.
func wrap(lines string) string {
	return "job \"j\" {\n  group \"g\" {\n    task \"t\" {\n      config {\n        command = \"/bin/true\"\n      }\n" + lines + "\n    }\n  }\n}\n"
}

// What a user sees. Problems in the form and problems of values have lines alike.
func TestErrors(t *testing.T) {
	for _, x := range []struct{ name, src, want string }{
		// Form.
		{"empty", "", `x.hcl: there is no job block (write job "name" { … })`},
		{"two jobs", "job \"a\" {}\njob \"b\" {}\n", `x.hcl:2: job: there is a second job block (one job a file)`},
		{"no label", "job {}\n", `x.hcl:1: job: a job block has one label, its name (write job "name" { … })`},
		{"top level", "jab \"a\" {}\njob \"a\" {}\n", `x.hcl:1: jab: there is no block "jab" here (did you mean "job"?)`},
		{"top attribute", "count = 1\njob \"a\" {}\n", `x.hcl:1: count: there is no attribute outside of a job block`},
		{"unclosed", "job \"a\" {\n", `x.hcl:1: there is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file`},
		{"unknown attribute", wrap("kil_timeout = \"1s\""), `x.hcl:7: group.g.task.t.kil_timeout: there is no "kil_timeout" here (did you mean "kill_timeout"?)`},
		{"unknown attribute, far", wrap("nonsense = 1"), `x.hcl:7: group.g.task.t.nonsense: there is no "nonsense" here (known here: driver, config, env, meta, user, kill_timeout, kill_signal, logs, resources, lifecycle, artifact, template, …)`},
		{"unknown block", wrap("resource {\n}"), `x.hcl:7: group.g.task.t.resource: there is no block "resource" here (did you mean "resources"?)`},
		{"block as attribute", wrap("resources = {}"), `x.hcl:7: group.g.task.t.resources: resources is a block (write resources { … } without the equals sign)`},
		{"attribute as block", wrap("user {\n}"), `x.hcl:7: group.g.task.t.user: user is not a block (write user = …)`},
		{"label as attribute", wrap("name = \"x\""), `x.hcl:7: group.g.task.t.name: name is the label of the block (write it in quotes before the brace)`},
		{"label missing", "job \"j\" {\n  group {\n  }\n}\n", `x.hcl:2: group: a group block has one label, its name (write group "NAME" { … })`},
		{"label too many", wrap("logs \"x\" {\n}"), `x.hcl:7: group.g.task.t.logs: a logs block has no label (write logs { … })`},
		{"twice", wrap("logs {\n}\nlogs {\n}"), `x.hcl:9: group.g.task.t.logs: there is a second logs block (write everything into one)`},
		{"several", wrap("a1b2c3 = 1\nusr = 2\nresources {\n  cpus = 1\n}"), `3 problems:
  x.hcl:7: group.g.task.t.a1b2c3: there is no "a1b2c3" here (known here: driver, config, env, meta, user, kill_timeout, kill_signal, logs, resources, lifecycle, artifact, template, …)
  x.hcl:8: group.g.task.t.usr: there is no "usr" here (did you mean "user"?)
  x.hcl:10: group.g.task.t.resources.cpus: there is no "cpus" here (did you mean "cpu"?)`},

		// Types and quantities.
		{"number", wrap("resources {\n  cpu = \"much\"\n}"), `x.hcl:8: group.g.task.t.resources.cpu: "much" is not a number such as 2 or 0.5`},
		{"decimals", wrap("resources {\n  cpu = 0.1234\n}"), `x.hcl:8: group.g.task.t.resources.cpu: "0.1234" has more than three decimals`},
		{"size", wrap("resources {\n  memory = \"256 megs\"\n}"), `x.hcl:8: group.g.task.t.resources.memory: "256 megs" is not a size such as "256MiB" or "1.5GB"`},
		{"forgotten unit", wrap("resources {\n  memory = 256\n}"), `x.hcl:8: group.g.task.t.resources.memory: 256B is less than 1MiB (a bare number is bytes; write a unit, such as "256MiB")`},
		{"duration", wrap("kill_timeout = \"5 s\""), `x.hcl:7: group.g.task.t.kill_timeout: "5 s" is not a duration such as "30s" or "1h30m"`},
		{"duration as number", wrap("kill_timeout = 5"), `x.hcl:7: group.g.task.t.kill_timeout: 5 is not a duration such as "30s"`},
		{"list", "job \"j\" {\n  datacenters = \"dc1\"\n}\n", `x.hcl:2: datacenters: "dc1" is not a list (write ["dc1"])`},
		{"whole number", "job \"j\" {\n  group \"g\" {\n    count = 1.5\n  }\n}\n", `x.hcl:3: group.g.count: 1.5 is not a whole number`},
		{"absurd number", "job \"j\" {\n  group \"g\" {\n    count = 1e99\n  }\n}\n", `x.hcl:3: group.g.count: 100000000000000000000000000000000000000000000000000000000000… is out of range`},
		{"more absurd number", "job \"j\" {\n  group \"g\" {\n    count = 1e99999999\n  }\n}\n", `x.hcl:3: the number 1e99999999 is out of range`},
		{"null in a map", wrap("env = { A = null }"), `x.hcl:7: group.g.task.t.env.A: it is null`},

		// Expressions.
		{"shell variable", wrap("user = \"${HOME}\""), `x.hcl:7: group.g.task.t.user: there is no variable named "HOME" (text that shall stay as it is has two dollar signs: $${…})`},
		{"function", wrap("user = uper(\"x\")"), `x.hcl:7: group.g.task.t.user: there is no function named "uper" (did you mean "upper"?)`},
		{"file function", wrap("user = file(\"/etc/passwd\")"), `x.hcl:7: group.g.task.t.user: there is no function named "file" (no function reads files: pass the text in a variable)`},
		{"undeclared", wrap("user = var.nam"), `x.hcl:7: there is no variable "nam" (declare it: variable "nam" {})`},
		{"misspelt", "variable \"name\" {\n  default = \"\"\n}\n" + wrap("user = var.nam"), `x.hcl:10: there is no variable "nam" (did you mean "name"?)`},
		{"no value", "variable \"name\" {}\n" + wrap("user = var.name"), `x.hcl:1: variable.name: it has no value (give -var name=VALUE, a line in a -var-file, PROFFER_VAR_name, or a default)`},
		{"default of another type", "variable \"n\" {\n  type = number\n  default = \"x\"\n}\n" + wrap(""), `x.hcl:3: variable.n: the value is not a number: a number is required`},
		{"cycle", "locals {\n  a = local.b\n  b = local.a\n}\n" + wrap(""), `x.hcl:2: locals.a: it refers to itself, by way of other local values perhaps`},
		{"dynamic", "job \"j\" {\n  dynamic \"group\" {\n    for_each = 1\n    labels = [\"x\"]\n    content {\n      cont = 1\n    }\n  }\n}\n", `x.hcl:6: group.cont: there is no "cont" here (did you mean "count"?)`},
		{"dynamic of a number", "job \"j\" {\n  dynamic \"group\" {\n    for_each = 1\n    labels = [\"x\"]\n    content {\n    }\n  }\n}\n", `x.hcl:3: group.for_each: it is not a list, set or map`},
		{"dynamic single", "job \"j\" {\n  dynamic \"update\" {\n    for_each = []\n    content {\n    }\n  }\n}\n", `x.hcl:2: update: only a block that may be repeated can be dynamic`},

		// Values.
		{"no group", "job \"j\" {\n}\n", `x.hcl:1: group: a job needs a group (write group "name" { task "name" { … } })`},
		{"no task", "job \"j\" {\n  group \"g\" {\n  }\n}\n", `x.hcl:2: group.g.task: a group needs a task (write task "name" { driver = "exec" … })`},
		{"name", "job \"a/b\" {\n  group \"g\" {\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:1: name: "a/b" is not a name (up to 128 letters, digits, - _ and ., a letter or digit first)`},
		{"same task", "job \"j\" {\n  group \"g\" {\n    task \"t\" {\n    }\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:5: group.g.task.t: there is a task "t" already`},
		{"driver", wrap("driver = \"exce\""), `x.hcl:7: group.g.task.t.driver: there is no driver "exce" (did you mean "exec"?)`},
		{"driver's config", strings.Replace(wrap(""), `"/bin/true"`, "1", 1), `x.hcl:5: group.g.task.t.config.command: it is not a string`},
		{"signal", wrap("kill_signal = \"SIGTREM\""), `x.hcl:7: group.g.task.t.kill_signal: there is no signal "SIGTREM" (did you mean "SIGTERM"?)`},
		{"hard limit", wrap("resources {\n  memory = \"1GiB\"\n  memory_max = \"512MiB\"\n}"), `x.hcl:9: group.g.task.t.resources.memory_max: 512MiB is less than memory (1GiB) (the limit is at least what is reserved)`},
		{"template", wrap("template {\n  destination = \"../x\"\n}"), `x.hcl:8: group.g.task.t.template[0].destination: "../x" leads out of the task folder (no .. in it)`},
		{"template text", wrap("template {\n  destination = \"local/x\"\n  data = \"{{ if }}\"\n}"), `x.hcl:9: group.g.task.t.template[0].data: template:1: missing value for if`},
		{"environment", wrap("env = { \"A B\" = 1 }"), `x.hcl:7: group.g.task.t.env.A B: "A B" is not a name for an environment variable (letters, digits, _ . - and no digit first)`},
		{"reserved environment", wrap("env {\n  PROFFER_X = 1\n}"), `x.hcl:8: group.g.task.t.env.PROFFER_X: names that begin with PROFFER_ are set by Proffer`},
		{"operator", "job \"j\" {\n  constraint {\n    attribute = \"${attr.x}\"\n    operator = \"regex\"\n    value = \"x\"\n  }\n  group \"g\" {\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:4: constraint[0].operator: there is no operator "regex" (did you mean "regexp"?)`},
		{"attribute", "job \"j\" {\n  constraint {\n    attribute = \"attr.x\"\n    value = \"x\"\n  }\n  group \"g\" {\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:3: constraint[0].attribute: "attr.x" is not an attribute of a node (write "${attr.x}")`},
		{"regexp", "job \"j\" {\n  constraint {\n    attribute = \"${attr.x}\"\n    operator = \"regexp\"\n    value = \"(\"\n  }\n  group \"g\" {\n    task \"t\" {\n    }\n  }\n}\n", "x.hcl:5: constraint[0].value: \"(\" is not a regular expression: missing closing ): `(`"},
		{"lost", "job \"j\" {\n  group \"g\" {\n    on_lost = \"wait(5)\"\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:3: group.g.on_lost: "5" is not a duration such as "30s" or "1h30m"`},
		{"priority", "job \"j\" {\n  priority = \"high\"\n  group \"g\" {\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:2: priority: "high" is not a priority: a band (best-effort, batch, production, monitoring) with an optional level, such as "batch+10"`},
		{"type", "job \"j\" {\n  type = \"cron\"\n  group \"g\" {\n    task \"t\" {\n    }\n  }\n}\n", `x.hcl:2: type: "cron" is not service or batch (use service or batch)`},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := ReadJob("x.hcl", []byte(x.src), Vars{}, checks)
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != x.want {
				t.Errorf("got\n%s\nwant\n%s", err, x.want)
			}
			if structs.KindOf(err) != structs.Invalid {
				t.Errorf("kind %s", structs.KindOf(err))
			}
		})
	}
}

func TestJSONErrors(t *testing.T) {
	const valid = `{
  "name": "j",
  "group": [{
    "name": "g",
    "task": [{
      "name": "t"%s
    }]
  }]
}`
	for _, x := range []struct{ name, src, want string }{
		{"unknown", strings.Replace(valid, "%s", ",\n      \"usr\": \"x\"", 1), `x.json:7: group.g.task.t.usr: there is no "usr" here (did you mean "user"?)`},
		{"twice", strings.Replace(valid, "%s", ",\n      \"user\": \"x\",\n      \"user\": \"y\"", 1), `x.json:8: group[0].task[0].user: "user" is here twice`},
		{"quotes missing", strings.Replace(valid, "%s", ",\n      \"env\": {\"PORT\": 80}", 1), `x.json:7: group.g.task.t.env.PORT: 80 is not a string (write it in quotes)`},
		{"quotes too many", strings.Replace(valid, "%s", ",\n      \"resources\": {\"cpu\": \"2\"}", 1), `x.json:7: group.g.task.t.resources.cpu: "2" is not a number such as 2 or 0.5 (write it without quotes)`},
		{"value", strings.Replace(valid, "%s", ",\n      \"kill_signal\": \"SIGX\"", 1), `x.json:7: group.g.task.t.kill_signal: there is no signal "SIGX" (such as SIGTERM, SIGINT, SIGQUIT or SIGHUP)`},
		{"case", strings.Replace(valid, "%s", ",\n      \"User\": \"x\"", 1), `x.json:7: group.g.task.t.User: there is no "User" here (did you mean "user"?)`},
		{"object for a list", `{"name": "j", "group": {"name": "g"}}`, `x.json:1: group: an object is not a list of objects`},
		{"null block", `{"name": "j", "group": [null]}`, `x.json:1: group[0]: null is not an object`},
		{"syntax", "{\n  \"name\": \"j\",\n}", `x.json:3: invalid character '}' looking for beginning of object key string`},
		{"cut off", "{\n  \"name\": \"j\"", `x.json:2: the text ends too early`},
		{"more", "{\"name\": \"j\"} {}", `x.json:1: something follows the end of the value`},
		{"deep", `{"name":` + strings.Repeat("[", 100_000), `x.json:1: name` + strings.Repeat("[0]", 64) + `: values are nested more than 64 deep`},
		{"not UTF-8", "{\n\"name\": \"\xff\"}", `x.json:2: the text is not valid UTF-8`},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := ReadJob("x.json", []byte(strings.Replace(x.src, "%s", "", 1)), Vars{}, nil)
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != x.want {
				t.Errorf("got\n%s\nwant\n%s", err, x.want)
			}
		})
	}
}

func TestVariableErrors(t *testing.T) {
	const src = `variable "image" {
  type = string
}
variable "ports" {
  type    = list(number)
  default = []
}
` + "job \"j\" {}\n"
	for _, x := range []struct {
		name string
		vars Vars
		want string
	}{
		{"undeclared", Vars{Flags: []string{"image=x", "imge=y"}}, `-var imge: variable.imge: the job declares no variable "imge" (did you mean "image"?)`},
		{"no equals sign", Vars{Flags: []string{"image=x", "image"}}, `-var: "image" has no equals sign (write -var name=value)`},
		{"type", Vars{Flags: []string{"image=x", `ports=["a"]`}}, `-var ports: variable.ports: the value is not a list of number: a number is required`},
		{"expression", Vars{Flags: []string{"image=x", "ports=80,90"}}, `-var ports: variable.ports: an expression was successfully parsed, but extra characters were found after it (write it as in the job, such as '["a", "b"]')`},
		{"file", Vars{Files: []File{{"prod.vars", []byte("\nimag = \"x\"\n")}}}, "2 problems:\n  prod.vars:2: variable.imag: the job declares no variable \"imag\" (did you mean \"image\"?)\n  x.hcl:1: variable.image: it has no value (give -var image=VALUE, a line in a -var-file, PROFFER_VAR_image, or a default)"},
		{"block in a file", Vars{Flags: []string{"image=x"}, Files: []File{{"prod.vars", []byte("job \"x\" {}\n")}}}, "prod.vars:1: job: a file of variables holds assignments, no blocks (write name = value)"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := ParseJob("x.hcl", []byte(src), x.vars)
			if err == nil || err.Error() != x.want {
				t.Errorf("got\n%v\nwant\n%s", err, x.want)
			}
		})
	}
	job, err := ParseJob("x.hcl", []byte(`variable "dcs" {
  type = list(string)
}
variable "n" {
  default = 1
}
variable "free" {}
job "j" {
  datacenters = var.dcs
  meta = { n = var.n + 1, free = var.free }
}
`), Vars{Flags: []string{`dcs=["a", "b"]`, "n=41", "free=[x"}})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(job.Datacenters, []string{"a", "b"}) || job.Meta["n"] != "42" || job.Meta["free"] != "[x" {
		t.Errorf("got %v %v", job.Datacenters, job.Meta)
	}
}

// What is only known when a task runs stays text, and only that.
func TestRuntimeReferences(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{`"${attr.kernel.name}"`, "${attr.kernel.name}"},
		{`"${ attr.kernel.name }"`, "${attr.kernel.name}"},
		{`attr.kernel.name`, "${attr.kernel.name}"},
		{`"${meta["a b"]}-${meta.a}-${meta.a.b}"`, `${meta["a b"]}-${meta.a}-${meta.a.b}`},
		{`"${node.datacenter}/${env.HOME}/${alloc.index}/${PROFFER_PORT_http}"`, "${node.datacenter}/${env.HOME}/${alloc.index}/${PROFFER_PORT_http}"},
		{`upper("x${local.l}")`, "XL"},
		{`join(",", [for x in ["a", "b"] : "${x}=${env.X}"])`, "a=${env.X},b=${env.X}"},
		{`"%{ if true }${env.X}%{ else }no%{ endif }"`, "${env.X}"},
		{`"$${attr.kernel.name} %%{if}"`, "${attr.kernel.name} %{if}"},
		{`true ? env.A : env.B`, "${env.A}"},
		{`try(local.l.nope, "${env.X}")`, "${env.X}"},
		{`{ a = "${env.X}" }["a"]`, "${env.X}"},
	} {
		job, err := ParseJob("x.hcl", []byte("locals {\n  l = \"l\"\n}\njob \"j\" {\n  meta = { x = "+x.in+" }\n}\n"), Vars{})
		if err != nil {
			t.Errorf("%s: %v", x.in, err)
		} else if job.Meta["x"] != x.want {
			t.Errorf("%s: got %s", x.in, job.Meta["x"])
		}
	}
}

func TestFunctions(t *testing.T) {
	for _, x := range []struct{ in, want string }{
		{`cidrhost("10.0.0.0/8", 5)`, "10.0.0.5"},
		{`sha256("")`, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{`sha1("")`, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{`substr(sha512(""), 0, 8)`, "cf83e135"},
		{`base64encode("a")`, "YQ=="},
		{`base64decode("YQ==")`, "a"},
		{`jsonencode({ a = [1, true, null] })`, `{"a":[1,true,null]}`},
		{`jsondecode("{\"a\":[7]}").a[0]`, "7"},
		{`format("%03d-%s", 7, "x")`, "007-x"},
		{`formatlist("%s!", ["a", "b"])[1]`, "b!"},
		{`join("+", sort(distinct(concat(["b"], ["a", "b"]))))`, "a+b"},
		{`lookup({ a = 1 }, "b", 2)`, "2"},
		{`length(range(5))`, "5"},
		{`replace("a.b", ".", "-")`, "a-b"},
		{`regex_replace("a1b2", "[0-9]", "x")`, "axbx"},
		{`regex("[0-9]+", "ab12")`, "12"},
		{`coalesce(null, "x")`, "x"},
		{`tostring(1.5)`, "1.5"},
		{`keys(zipmap(["k"], [1]))[0]`, "k"},
		{`can(tonumber("x"))`, "false"},
		{`merge({ a = 1 }, { a = 2 }).a`, "2"},
		{`formatdate("YYYY", "2026-01-02T00:00:00Z")`, "2026"},
		{`max(1, 5, 3) - min(2, 1)`, "4"},
		{`urlencode("a b")`, "a+b"},
		{`indent(2, "a\nb")`, "a\n  b"},
		{`title(lower("ABC"))`, "Abc"},
	} {
		job, err := ParseJob("x.hcl", []byte("job \"j\" {\n  meta = { x = "+x.in+" }\n}\n"), Vars{})
		if err != nil {
			t.Errorf("%s: %v", x.in, err)
		} else if job.Meta["x"] != x.want {
			t.Errorf("%s: got %s", x.in, job.Meta["x"])
		}
	}
}

// Small texts that would make much data, deep recursion or endless work are refused.
func TestBombs(t *testing.T) {
	job := func(x string) string { return "job \"j\" {\n  meta = { x = " + x + " }\n}\n" }
	double := "locals {\n  a0 = \"0123456789\"\n"
	for i := range 40 {
		double += strings.NewReplacer("N", string(rune('a'+i/10))+string(rune('0'+i%10)), "M", string(rune('a'+(i+1)/10))+string(rune('0'+(i+1)%10))).
			Replace("  M = \"${local.N}${local.N}\"\n")
	}
	double += "}\n"
	nested := "locals {\n  l = range(1000)\n}\n" + job("length([for a in local.l : [for b in local.l : [for c in local.l : [for d in local.l : 1]]]])")
	shared := "locals {\n  a0 = [\"x\"]\n"
	for i := range 30 {
		shared += strings.NewReplacer("N", string(rune('a'+i/10))+string(rune('0'+i%10)), "M", string(rune('a'+(i+1)/10))+string(rune('0'+(i+1)%10))).
			Replace("  M = [local.N, local.N]\n")
	}
	shared += "}\n" + job("jsonencode(local.d0)")
	blocks := "locals {\n  l = range(1000)\n}\njob \"j\" {\n  dynamic \"group\" {\n    for_each = local.l\n    labels = [\"g${group.value}\"]\n    content {\n      dynamic \"task\" {\n        for_each = local.l\n        labels = [\"t${task.value}\"]\n        content {\n        }\n      }\n    }\n  }\n}\n"
	for name, src := range map[string]string{
		"brackets":      job(strings.Repeat("[", 20_000)),
		"parentheses":   job(strings.Repeat("(", 20_000) + "1" + strings.Repeat(")", 20_000)),
		"negations":     job(strings.Repeat("!", 50_000) + "true"),
		"sum":           job("1" + strings.Repeat("+1", 20_000)),
		"conditions":    job(strings.Repeat("true?1:", 20_000) + "1"),
		"indexes":       job("[1]" + strings.Repeat("[0]", 25_000)),
		"templates":     job(`"` + strings.Repeat("%{if true}", 5_000) + `"`),
		"interpolation": job(strings.Repeat(`"${`, 20_000)),
		"blocks":        strings.Repeat("a {\n", 20_000),
		"exponent":      job("1e999999999"),
		"json exponent": job(`"${jsondecode("1e999999999")}"`),
		"width":         job(`format("%999999999d", 1)`),
		"star width":    job(`format("%0999999999d", 1)`),
		"repeats":       "locals {\n  s = \"" + strings.Repeat("x", 60_000) + "\"\n}\n" + job(`format("`+strings.Repeat("%[1]s", 2_000)+`", local.s)`),
		"parts":         "locals {\n  s = \"" + strings.Repeat("x", 60_000) + "\"\n}\n" + job(`"`+strings.Repeat("${local.s}", 5_000)+`"`),
		"doubling":      double + job("local.e0"),
		"nested loops":  nested,
		"shared lists":  shared,
		"dynamic":       blocks,
		"join":          "locals {\n  s = \"" + strings.Repeat("x", 100_000) + "\"\n}\n" + job(`join(local.s, range(1000))`),
		"replace":       "locals {\n  s = \"" + strings.Repeat("x", 100_000) + "\"\n}\n" + job(`replace(local.s, "x", local.s)`),
		"indent":        job(`indent(999999999, "a\nb")`),
		"pow":           job(`pow(10, 1000000000)`),
		"big":           job(`"` + strings.Repeat("x", MaxHCL) + `"`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseJob("x.hcl", []byte(src), Vars{})
			if err == nil {
				t.Fatal("accepted")
			}
			if structs.KindOf(err) != structs.Invalid {
				t.Errorf("kind %s: %.300s", structs.KindOf(err), err)
			}
			if len(err.Error()) > 20_000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestLargeButHonest(t *testing.T) {
	var b strings.Builder
	b.WriteString("job \"j\" {\n")
	for range 300 {
		b.WriteString("  constraint {\n    attribute = \"${attr.x}\"\n    value = \"${upper(\"y\")}\"\n  }\n")
	}
	b.WriteString("}\n")
	job, err := ParseJob("x.hcl", []byte(b.String()), Vars{})
	if err != nil || len(job.Constraints) != 300 {
		t.Errorf("%v", err)
	}
}

func TestRoles(t *testing.T) {
	roles, err := ParseRoles("roles.hcl", []byte(`
role "eng" {
  weight = 2
  quota {
    guarantee {
      cpu = 10
      memory = "64GiB"
      custom {
        gpus = 2
      }
    }
    limit {
      cpu = 20
    }
  }
}
role "eng/web" {
  max_priority = "production"
}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(roles) != 2 || roles[0].Weight != 2000 || *roles[0].Quota.Guarantee.Memory != 64<<30 || roles[1].Weight != 1000 || roles[0].MaxPriority != "batch+100" {
		t.Errorf("got %+v %+v", roles[0], roles[1])
	}
	for _, r := range roles {
		again, err := ParseRole("again.hcl", FormatRole(r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s: %v\n%s", r.Name, err, FormatRole(r))
		}
		raw, _ := json.Marshal(r)
		again, err = ParseRole("again.json", raw)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s: %v\n%s", r.Name, err, raw)
		}
	}
	for _, x := range []struct{ src, want string }{
		{"", `r.hcl: there is no role block (write role "eng/web" { … })`},
		{"role \"a\" {\n  wieght = 1\n}\n", `r.hcl:2: wieght: there is no "wieght" here (did you mean "weight"?)`},
		{"role \"a//b\" {\n}\n", `r.hcl:1: name: "a//b" is not a role (one to eight names joined by slashes, such as eng/web)`},
		{"role \"a\" {\n}\nrole \"a\" {\n}\n", `r.hcl:3: role: there is a second role "a"`},
		{"role \"a\" {\n  quota {\n    guarantee {\n      cpu = 2\n    }\n    limit {\n      cpu = 1\n    }\n  }\n}\n", `r.hcl:7: quota.limit.cpu: 1 is less than the guarantee (2)`},
	} {
		if _, err := ParseRole("r.hcl", []byte(x.src)); err == nil || err.Error() != x.want {
			t.Errorf("got %v\nwant %s", err, x.want)
		}
	}
}
