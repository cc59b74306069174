package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent"
	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
	"github.com/proffer/proffer/website"
)

// TestReference: the generated pages are those that the program as it is now would write.
func TestReference(t *testing.T) {
	for name, want := range references() {
		got, err := website.Files.ReadFile("docs/reference/" + name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("website/docs/reference/%s is not up to date (%v): go run ./scripts/docs", name, err)
		}
		if len(want) < 2000 {
			t.Errorf("%s has only %d bytes", name, len(want))
		}
	}
}

var fence = regexp.MustCompile("(?ms)^```([a-z-]+)\n(.*?)^```$")

// block is a fenced block of a page.
type block struct{ page, kind, text string }

func blocks(t *testing.T) (all []block) {
	t.Helper()
	pages, err := website.Pages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if n := bytes.Count(p.Text, []byte("\n```")); n%2 != 0 {
			t.Errorf("%s: a block is not closed", p.Name)
		}
		for _, m := range fence.FindAllSubmatch(p.Text, -1) {
			all = append(all, block{p.Name, string(m[1]), string(m[2])})
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d blocks found", len(all))
	}
	return all
}

// TestExamples reads every example as the program would.
func TestExamples(t *testing.T) {
	seen := map[string]int{}
	for _, b := range blocks(t) {
		seen[b.kind]++
		if err := example(b); err != nil {
			t.Errorf("%s: %s example: %v\n%s", b.page, b.kind, err, b.text)
		}
	}
	for _, kind := range []string{"hcl", "hcl-agent", "hcl-role", "json", "sh"} {
		if seen[kind] == 0 {
			t.Errorf("there is no %s example", kind)
		}
	}
	files, err := fs.Glob(website.Files, "examples/*.hcl")
	if err != nil || len(files) < 2 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, name := range files {
		text, err := website.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := example(block{name, "hcl", string(text)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// example checks a block by its kind: hcl is a job or a part of one, hcl-agent a configuration, hcl-role roles, sh
// commands to type. What a command prints (text) and code (go) are for readers.
func example(b block) error {
	switch b.kind {
	case "hcl":
		return job(b.text)
	case "hcl-agent":
		return agentConfig(b.text)
	case "hcl-role":
		_, err := spec.ParseRoles(b.page, []byte(b.text))
		return err
	case "json":
		if !json.Valid([]byte(b.text)) {
			return fmt.Errorf("it is not JSON")
		}
		if strings.Contains(b.text, `"group"`) {
			_, err := spec.ReadJob(b.page, []byte(b.text), spec.Vars{}, nil)
			return err
		}
		return nil
	case "sh":
		for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
			if err := typed(line); err != nil {
				return err
			}
		}
		return nil
	case "text", "go", "scenario": // the allocator's tests run scenarios
		return nil
	}
	return fmt.Errorf("unknown kind")
}

// job reads a job. A part of one is put where it belongs: a group, a task, or blocks that a task or a group may have.
func job(text string) error {
	const task = "task \"t\" {\nconfig {\ncommand = \"/bin/true\"\n}\n}"
	wrapped := []string{text}
	for _, form := range []string{
		"job \"j\" {\n%s\n}", "job \"j\" {\n%s\ngroup \"g\" {\n" + task + "\n}\n}",
		"job \"j\" {\ngroup \"g\" {\n%s\n}\n}", "job \"j\" {\ngroup \"g\" {\n%s\n" + task + "\n}\n}",
		"job \"j\" {\ngroup \"g\" {\ntask \"t\" {\n%s\n}\n}\n}",
		"job \"j\" {\ngroup \"g\" {\ntask \"t\" {\nconfig {\ncommand = \"/bin/true\"\n}\n%s\n}\n}\n}",
	} {
		wrapped = append(wrapped, fmt.Sprintf(form, text))
	}
	if strings.Contains(text, "job \"") {
		wrapped = wrapped[:1]
	}
	var first error
	for _, w := range wrapped {
		_, err := spec.ReadJob("example", []byte(w), spec.Vars{}, agent.Validators())
		if err == nil {
			return nil
		}
		if first == nil || strings.HasPrefix(w, "job \"j\" {\ngroup \"g\" {\n"+text) {
			first = err
		}
	}
	return first
}

func agentConfig(text string) error {
	var c config.Config
	return spec.Decode("example", []byte(text), &c, nil)
}

var proffer = regexp.MustCompile(`(?:^|[ |(;&]|\./)proffer ((?:[a-z-]+ ?)*)(.*)`)

// typed checks a line that a reader types: the command exists and has the flags.
func typed(line string) error {
	line, _, _ = strings.Cut(strings.TrimSpace(line), " # ")
	m := proffer.FindStringSubmatch(line)
	if m == nil || strings.HasPrefix(line, "#") {
		return nil
	}
	words := strings.Fields(line[strings.Index(line, "proffer ")+len("proffer "):])
	if len(words) == 0 || words[0] == "help" {
		return nil
	}
	name := words[0]
	if slices.Contains([]string{"-server", "-client", "-dev"}, name) {
		name, words = "agent", append([]string{"agent"}, words...)
	}
	list := commandList()
	n := 1
	for n < len(words) && !strings.HasPrefix(words[n], "-") && list[strings.Join(words[:n+1], " ")] != nil {
		n++
		name = strings.Join(words[:n], " ")
	}
	if list[name] == nil {
		return fmt.Errorf("there is no command %q", name)
	}
	text, own := help(name)
	if !own {
		return fmt.Errorf("%q is only a group of commands", name)
	}
	for _, word := range words[n:] {
		if word == "--" || strings.ContainsAny(word, "|;&>") {
			break
		}
		flag, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if strings.HasPrefix(word, "-") && word != "-" && flag != "help" && !strings.Contains(text+"\n", "\n  -"+flag+"\n") && !strings.Contains(text, "\n  -"+flag+" ") {
			return fmt.Errorf("%q has no flag -%s", name, flag)
		}
	}
	return nil
}

// TestChecks shows the checks an example that each must refuse.
func TestChecks(t *testing.T) {
	for _, b := range []block{
		{"", "hcl", "job \"a\" {\n  groop \"b\" {}\n}\n"},
		{"", "hcl", "count = \"many\"\n"},
		{"", "hcl-agent", "bind_address = \"x\"\n"},
		{"", "hcl-role", "role \"a\" {\n  wait = 3\n}\n"},
		{"", "json", "{"},
		{"", "sh", "proffer job go\n"},
		{"", "sh", "proffer job\n"},
		{"", "sh", "proffer agent -devel\n"},
		{"", "sh", "./proffer job status -foo\n"},
		{"", "yaml", "a: b\n"},
	} {
		if example(b) == nil {
			t.Errorf("accepted: %s: %s", b.kind, b.text)
		}
	}
	for _, b := range []block{
		{"", "sh", "proffer -dev -http-port 5060 & # starts\nproffer job run -detach x.hcl | cat\nproffer run -- ls -foo\n"},
		{"", "hcl", "restart {\n  attempts = 3\n}\n"},
		{"", "hcl", "env {\n  A = \"1\"\n}\n"},
	} {
		if err := example(b); err != nil {
			t.Errorf("%s: %v", b.text, err)
		}
	}
	if _, err := spec.ParseJob("x", []byte("job \"x\" {}"), spec.Vars{}); structs.KindOf(err) == structs.Internal {
		t.Error(err)
	}
}
