package taskdir_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// subject is a task "web" on a node, with its folder made.
func subject(t *testing.T, change func(*taskdir.Subject)) taskdir.Subject {
	t.Helper()
	s := taskdir.Subject{
		Region: "eu",
		Node: &structs.Node{ID: "n1", Name: "rack1-a", Datacenter: "dc1", Hosts: []string{"10.0.0.5"},
			Attributes: map[string]string{"kernel.name": "linux"}, Meta: map[string]string{"rack": "r1"}},
		Alloc: &structs.Allocation{ID: "a1", Job: "shop", Group: "front", Index: 2, Incarnation: 7, Role: "eng",
			Ports: []structs.AssignedPort{{Label: "http", Host: "10.0.0.6", Port: 20001}, {Port: 20002}, {Port: 20003}}},
		Job:   &structs.Job{Name: "shop", Meta: map[string]string{"tier": "job", "own-er": "ann"}},
		Group: &structs.Group{Name: "front", Meta: map[string]string{"tier": "group"}},
		Task: &structs.Task{Name: "web", Resources: &structs.TaskResources{CPU: 1500, Memory: 64 << 20},
			Env: map[string]string{"URL": "http://${PROFFER_ADDR_http}/${meta.tier}", "SHELL_LIKE": "${HOME_SWEET} $${PROFFER_JOB}"}},
		Dir: taskdir.At(t.TempDir(), "a1"),
	}
	if change != nil {
		change(&s)
	}
	must(t, s.Dir.Create(s.Task.Name, taskdir.Owner{}))
	return s
}

func scope(t *testing.T, s taskdir.Subject) *taskdir.Scope {
	t.Helper()
	sc, err := taskdir.NewScope(s)
	must(t, err)
	return sc
}

// TestEnvironment shows all that a task gets.
func TestEnvironment(t *testing.T) {
	s := subject(t, nil)
	s.Owner.Name = "ann"
	dir := string(s.Dir)
	want := []string{
		"HOME=" + dir + "/web/local", "PATH=" + taskdir.DefaultPath,
		"PROFFER_ADDR_http=10.0.0.6:20001", "PROFFER_ALLOC_DIR=" + dir + "/alloc", "PROFFER_ALLOC_ID=a1", "PROFFER_CPU=1.5",
		"PROFFER_DC=dc1", "PROFFER_GROUP=front", "PROFFER_HOST_ADDR_http=10.0.0.6:20001", "PROFFER_HOST_IP_http=10.0.0.6", "PROFFER_HOST_PORT_http=20001",
		"PROFFER_INCARNATION=7", "PROFFER_INDEX=2", "PROFFER_IP=10.0.0.6", "PROFFER_IP_http=10.0.0.6", "PROFFER_JOB=shop",
		"PROFFER_MEMORY=67108864", "PROFFER_META_own_er=ann", "PROFFER_META_tier=group", "PROFFER_NODE_ID=n1",
		"PROFFER_NODE_NAME=rack1-a", "PROFFER_PORTS=20002,20003", "PROFFER_PORT_http=20001", "PROFFER_REGION=eu", "PROFFER_ROLE=eng",
		"PROFFER_SECRETS_DIR=" + dir + "/web/secrets", "PROFFER_TASK=web", "PROFFER_TASK_DIR=" + dir + "/web",
		"SHELL_LIKE=${HOME_SWEET} ${PROFFER_JOB}", "URL=http://10.0.0.6:20001/group", "USER=ann",
	}
	if got := scope(t, s).Env(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestEnvironmentOfAnOwnNetwork: a task is told its own address and port, and, with HOST, those by which others reach it.
func TestEnvironmentOfAnOwnNetwork(t *testing.T) {
	s := subject(t, func(s *taskdir.Subject) {
		s.Group.Network, s.Task.Env = &structs.Network{Mode: structs.NetworkBridge}, nil
		s.Addresses = []string{"172.30.64.2", "fd00::2"}
		s.Joined = []structs.JoinedNetwork{{Name: "store-a", Interface: "eth1", Addresses: []string{"10.1.0.2"}}, {Name: "wire", Interface: "eth2"}}
		s.Alloc.Ports = []structs.AssignedPort{{Label: "http", Host: "10.0.0.6", Port: 20001, To: 80}, {Label: "same", Host: "10.0.0.6", Port: 20002, Network: "store-a"}}
	})
	want := "PROFFER_ADDR_http=172.30.64.2:80 PROFFER_ADDR_same=10.1.0.2:20002 PROFFER_HOST_ADDR_http=10.0.0.6:20001 " +
		"PROFFER_HOST_ADDR_same=10.0.0.6:20002 PROFFER_HOST_IP=10.0.0.6 PROFFER_HOST_IP_http=10.0.0.6 PROFFER_HOST_IP_same=10.0.0.6 " +
		"PROFFER_HOST_PORT_http=20001 PROFFER_HOST_PORT_same=20002 PROFFER_IP=172.30.64.2 PROFFER_IP_http=172.30.64.2 PROFFER_IP_same=10.1.0.2 " +
		"PROFFER_NETWORK_INTERFACE_store_a=eth1 PROFFER_NETWORK_INTERFACE_wire=eth2 PROFFER_NETWORK_IP_store_a=10.1.0.2 " +
		"PROFFER_PORT_http=80 PROFFER_PORT_same=20002"
	got := slices.DeleteFunc(scope(t, s).Env(), func(e string) bool {
		return !strings.HasPrefix(e, "PROFFER_ADDR") && !strings.HasPrefix(e, "PROFFER_HOST") && !strings.HasPrefix(e, "PROFFER_IP") && !strings.HasPrefix(e, "PROFFER_PORT") &&
			!strings.HasPrefix(e, "PROFFER_NETWORK")
	})
	if strings.Join(got, " ") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, " "), want)
	}
	s.Group.Network.Mode, s.Addresses, s.Alloc.Ports = structs.NetworkNone, nil, nil // such as none
	if env := strings.Join(scope(t, s).Env(), " "); strings.Contains(env, "PROFFER_IP") {
		t.Errorf("an address without a network: %s", env)
	}
}

// TestFoldersSeenElsewhere is what a task in a root of its own gets.
func TestFoldersSeenElsewhere(t *testing.T) {
	s := subject(t, nil)
	s.Seen = drivers.View{Shared: "/alloc", Task: "/"}
	env := scope(t, s).Env()
	for _, want := range []string{"PROFFER_ALLOC_DIR=/alloc", "PROFFER_TASK_DIR=/", "PROFFER_SECRETS_DIR=/secrets", "HOME=/local"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is not in %v", want, env)
		}
	}
}

// TestReferences shows what ${} gives, and which ones are faults.
func TestReferences(t *testing.T) {
	sc := scope(t, subject(t, nil))
	for text, want := range map[string]string{
		"plain":                               "plain",
		"${attr.kernel.name}-${node.name}":    "linux-rack1-a",
		"${node.meta.rack}${node.region}":     "r1eu",
		"${alloc.port.http} ${alloc.index}":   "20001 2",
		"${env.PROFFER_JOB}":                  "shop",
		"${PATH_OF_SHELL} ${x:-y} ${} ${open": "${PATH_OF_SHELL} ${x:-y} ${} ${open",
		"$${PROFFER_JOB}":                     "${PROFFER_JOB}",
		"${meta.none}":                        "error: ${meta.none} is not known here",
		"${PROFFER_NONE}":                     "error: ${PROFFER_NONE} is not known here",
		"${alloc.port.none}":                  "error: ${alloc.port.none} is not known here",
		"${attr.none}":                        "error: ${attr.none} is not known here",
		"${node.none}":                        "error: ${node.none} is not known here",
	} {
		got, err := sc.Expand(text)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	config, err := sc.ExpandConfig(map[string]any{"args": []any{"-p", "${PROFFER_PORT_http}", int64(5)}, "sub": map[string]any{"k": "${meta.tier}"}})
	must(t, err)
	if args := config["args"].([]any); args[1] != "20001" || args[2] != int64(5) || config["sub"].(map[string]any)["k"] != "group" {
		t.Errorf("config %v", config)
	}
	if _, err := sc.ExpandConfig(map[string]any{"args": []any{"${meta.none}"}}); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "args") {
		t.Errorf("a bad reference: %v", err)
	}
}

// TestTemplates shows what is written, with which mode, and which templates are faults.
func TestTemplates(t *testing.T) {
	file := func(template structs.Template) func(*taskdir.Subject) {
		return func(s *taskdir.Subject) { s.Task.Templates = []*structs.Template{&template} }
	}
	s := subject(t, file(structs.Template{Destination: "local/conf.d/${PROFFER_TASK}.conf", Perms: "0640",
		Data: `{{ env "PROFFER_JOB" }} {{ meta "tier" }} {{ alloc "port.http" }} {{ alloc "node_name" }}{{ range 3 }}.{{ end }}`}))
	must(t, render(scope(t, s)))
	must(t, render(scope(t, s))) // again, as with a restart
	path := s.Dir.Task("web") + "/local/conf.d/web.conf"
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "shop group 20001 rack1-a..." {
		t.Errorf("%q, %v", raw, err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	for name, c := range map[string]struct {
		template structs.Template
		why      string
	}{
		"missing env":      {structs.Template{Destination: "local/a", Data: `{{ env "NONE" }}`}, `no environment variable "NONE"`},
		"missing meta":     {structs.Template{Destination: "local/a", Data: `{{ meta "none" }}`}, `no meta "none"`},
		"missing field":    {structs.Template{Destination: "local/a", Data: `{{ alloc "port.none" }}`}, `no "port.none"`},
		"syntax":           {structs.Template{Destination: "local/a", Data: `{{ env `}, `unclosed action`},
		"unknown function": {structs.Template{Destination: "local/a", Data: `{{ secret "x" }}`}, `"secret" not defined`},
		"climbing out":     {structs.Template{Destination: "../web2/a", Data: "x"}, "not a file below the task folder"},
		"absolute":         {structs.Template{Destination: "/etc/passwd", Data: "x"}, "not a file below the task folder"},
		"climbing by ${}":  {structs.Template{Destination: "${meta.up}/a", Data: "x"}, "not a file below the task folder"},
		"no file":          {structs.Template{Destination: "local/", Data: "x"}, "not a file below the task folder"},
		"mode":             {structs.Template{Destination: "local/a", Data: "x", Perms: "9"}, "not a mode"},
		"for ever":         {structs.Template{Destination: "local/a", Data: `{{ range 1000000000000 }}{{ end }}`}, "more than 100000 steps"},
		"recursion": {structs.Template{Destination: "local/a", Data: `{{ define "a" }}{{ template "b" }}{{ template "b" }}{{ end }}` +
			`{{ define "b" }}{{ template "a" }}{{ end }}{{ template "a" }}`}, "more than 100000 steps"},
		"asking for more": {structs.Template{Destination: "local/a", Data: `{{ range $i := 257 }}{{ service (printf "s%d" $i) }}{{ end }}`}, "more than 256 variables and services"},
		"large":           {structs.Template{Destination: "local/a", Data: `{{ range 90000 }}{{ printf "%1000d" 1 }}{{ end }}`}, "writes more than 4MiB"},
	} {
		s := subject(t, file(c.template))
		s.Task.Meta = map[string]string{"up": ".."}
		err := render(scope(t, s))
		if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTemplatesDoNotFollowLinksOut lets the task, which owns its folder, put a link in the way.
func TestTemplatesDoNotFollowLinksOut(t *testing.T) {
	outside := t.TempDir()
	s := subject(t, func(s *taskdir.Subject) {
		s.Task.Templates = []*structs.Template{{Destination: "local/out/a", Data: "x"}}
	})
	must(t, os.Symlink(outside, s.Dir.Task("web")+"/local/out"))
	if err := render(scope(t, s)); structs.KindOf(err) != structs.Invalid {
		t.Errorf("through a link: %v", err)
	}
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("written outside: %v", entries)
	}
	// A link in place of the file itself is replaced, not followed.
	victim := filepath.Join(outside, "victim")
	must(t, os.WriteFile(victim, []byte("old"), 0o600))
	s.Task.Templates[0].Destination = "local/b"
	must(t, os.Symlink(victim, s.Dir.Task("web")+"/local/b"))
	must(t, render(scope(t, s)))
	if raw, _ := os.ReadFile(victim); string(raw) != "old" {
		t.Errorf("the victim has %q", raw)
	}
}

// TestFolders shows the layout and its modes, and the names that tasks cannot have.
func TestFolders(t *testing.T) {
	s := subject(t, nil)
	for path, mode := range map[string]os.FileMode{"": 0o755, "alloc": 0o777 | os.ModeSticky, "web": 0o755, "web/local": 0o755,
		"web/secrets": 0o700, "web/tmp": 0o700} {
		info, err := os.Stat(filepath.Join(string(s.Dir), path))
		if err != nil || !info.IsDir() || info.Mode()&(os.ModePerm|os.ModeSticky) != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	for _, name := range []string{"alloc", "logs", "..", "a/b", ""} {
		if err := s.Dir.Create(name, taskdir.Owner{}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("task %q: %v", name, err)
		}
	}
	must(t, s.Dir.Remove())
	must(t, s.Dir.Remove())
	if _, err := os.Stat(string(s.Dir)); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := taskdir.OwnerOf("no-such-user"); structs.KindOf(err) != structs.Invalid {
		t.Errorf("an unknown user: %v", err)
	}
}

// TestRemove: whatever is in a folder goes, and nothing that it leads to.
func TestRemove(t *testing.T) {
	for what, fill := range map[string]func(dir, outside string) error{
		"nothing":        func(string, string) error { return nil },
		"a file":         func(dir, _ string) error { return os.WriteFile(dir+"/web/local/f", []byte("x"), 0o600) },
		"a closed one":   func(dir, _ string) error { return os.Mkdir(dir+"/web/secrets/d", 0) },
		"output":         func(dir, _ string) error { return os.MkdirAll(dir+"/logs/web.stdout.0", 0o755) },
		"a link":         func(dir, outside string) error { return os.Symlink(outside, dir+"/other") },
		"a link in it":   func(dir, outside string) error { return os.Symlink(outside, dir+"/web/local/other") },
		"no task folder": func(dir, _ string) error { return os.RemoveAll(dir + "/web") },
	} {
		s, outside := subject(t, nil), t.TempDir()
		for _, sub := range []string{"local", "secrets", "tmp", "keep"} {
			must(t, os.Mkdir(filepath.Join(outside, sub), 0o755))
		}
		must(t, fill(string(s.Dir), outside))
		if err := s.Dir.Remove(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Lstat(string(s.Dir)); !os.IsNotExist(err) {
			t.Errorf("%s: it is still there: %v", what, err)
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) != 4 {
			t.Errorf("%s: outside are %v, %v", what, left, err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// render writes what the templates say now.
func render(sc *taskdir.Scope) error {
	texts, err := sc.Texts()
	if err == nil {
		err = sc.Write(texts)
	}
	return err
}

// TestSource: a template's text may come from a file of the task folder, and from nowhere else.
func TestSource(t *testing.T) {
	s := subject(t, nil)
	dir := s.Dir.Task("web")
	for name, text := range map[string]string{"local/tpl": `{{ node "meta.rack" }} {{ attr "kernel.name" }} {{ node "id" }}`, "local/bad": `{{ node "none" }}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("/etc/passwd", filepath.Join(dir, "local/link"))
	os.Symlink("/etc", filepath.Join(dir, "local/far"))
	from := func(source string) ([]*taskdir.Text, error) {
		s.Task.Templates = []*structs.Template{{Destination: "local/out", Source: source}}
		texts, err := scope(t, s).Texts()
		if err == nil {
			err = scope(t, s).Write(texts)
		}
		return texts, err
	}
	first, err := from("local/tpl")
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(filepath.Join(dir, "local/out")); string(raw) != "r1 linux n1" {
		t.Errorf("%q", raw)
	}
	if same, _ := from("local/tpl"); !first[0].Same(same[0]) {
		t.Error("the same text is another")
	}
	s.Node.Meta["rack"] = "r2"
	if other, _ := from("local/tpl"); first[0].Same(other[0]) {
		t.Error("another text is the same")
	}
	for source, kind := range map[string]structs.Kind{"local/none": structs.NotFound, "local/bad": structs.Invalid, "local/link": structs.NotFound, "local/far/passwd": structs.NotFound,
		"local": structs.Invalid, "../a1/web/local/tpl": structs.NotFound} {
		if _, err := from(source); structs.KindOf(err) != kind {
			t.Errorf("%s: %v", source, err)
		}
	}
}
