package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Files of the node: by the id of the allocation and the path in its folder. Output is "ID/TASK.STREAM", of which the first 4 bytes are gone.
func (m *machine) find(alloc structs.AllocID, name string) (string, error) {
	if text, ok := m.files[string(alloc)+"/"+name]; ok {
		return text, nil
	}
	return "", structs.Errorf(structs.NotFound, name, "the allocation has no such file")
}

func (m *machine) List(_ context.Context, alloc structs.AllocID, name string) (out []client.File, err error) {
	if strings.HasSuffix(name, "/away") {
		return nil, structs.Errorf(structs.Forbidden, name, "it leads out of the allocation's folder")
	}
	seen := map[string]bool{}
	for at, text := range m.files {
		rest, in := strings.CutPrefix(at, string(alloc)+"/"+name+"/")
		first, _, deeper := strings.Cut(rest, "/")
		if !in || seen[first] {
			continue
		}
		seen[first] = true
		f := client.File{Name: first, Size: structs.Bytes(len(text)), Mode: 0o640, Links: 1, Changed: structs.Time(5e9)}
		if deeper {
			f.Dir, f.Mode = true, fs.ModeDir|0o755
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil, structs.Errorf(structs.NotFound, name, "the allocation has no such file")
	}
	slices.SortFunc(out, func(a, b client.File) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (m *machine) Stat(ctx context.Context, alloc structs.AllocID, name string) (client.File, error) {
	if text, err := m.find(alloc, name); err == nil {
		return client.File{Name: path.Base(name), Size: structs.Bytes(len(text)), Mode: 0o640}, nil
	}
	if strings.HasSuffix(name, "/away") {
		return client.File{Name: "away", Mode: fs.ModeSymlink | 0o777}, nil
	}
	if _, err := m.List(ctx, alloc, name); err != nil && name != "." {
		return client.File{}, err
	}
	return client.File{Name: path.Base(name), Mode: fs.ModeDir | 0o755, Dir: true}, nil
}

func (m *machine) ReadFile(_ context.Context, alloc structs.AllocID, name string, offset, limit int64, w io.Writer) error {
	if strings.HasSuffix(name, "/away") {
		return structs.Errorf(structs.Forbidden, name, "it leads out of the allocation's folder")
	}
	text, err := m.find(alloc, name)
	if err != nil {
		return err
	}
	text = text[min(int(offset), len(text)):]
	if limit > 0 {
		text = text[:min(int(limit), len(text))]
	}
	_, err = io.WriteString(w, text)
	return err
}

const gone = 4 // bytes of output that were removed

func (m *machine) Output(alloc structs.AllocID, task, stream string) (o client.Output, err error) {
	text, err := m.find(alloc, task+"."+stream)
	if err != nil {
		return o, nil // nothing was written
	}
	return client.Output{First: gone, End: gone + int64(len(text)), Changed: structs.Time(7e9)}, nil
}

func (m *machine) ReadOutput(alloc structs.AllocID, task, stream string, offset int64, p []byte) (from int64, n int, o client.Output, err error) {
	o, _ = m.Output(alloc, task, stream)
	text, _ := m.find(alloc, task+"."+stream)
	if from = max(offset, o.First); from < o.End {
		n = copy(p, text[from-gone:])
	}
	return from, n, o, nil
}

// busy is a node with a command, a job of two tasks, a custom executor with two tasks, and a command that ended.
func busy(t *testing.T) *machine {
	framework := wire.Protobuf.Marshal(&wire.FrameworkInfo{User: "ann", Name: "frame", ID: &wire.ID{Value: "f1"}, Role: new("*"), Principal: new("ann-p")})
	running := &structs.TaskState{Status: structs.TaskRunning, Started: structs.Time(90e9)}
	at := func(id structs.AllocID, framework structs.FrameworkID, tasks map[string]*structs.TaskState) *structs.Allocation {
		return &structs.Allocation{ID: id, Framework: framework, Node: "n1", Role: "default", Group: "task", Version: uint64(len(id)), Tasks: tasks,
			Resources: structs.Resources{CPU: 500, Memory: 64 << 20, Disk: 1 << 30}}
	}
	version := func(tasks ...*structs.Task) *structs.JobVersion {
		return &structs.JobVersion{Job: &structs.Job{Groups: []*structs.Group{{Name: "task", Tasks: tasks}}}}
	}
	command := at("c1", "f2", map[string]*structs.TaskState{"t1": running})
	command.External = &structs.External{Tasks: []*structs.ExternalTask{{ID: "t1", Name: "t1"}}}
	shop := at("shop1", "service", map[string]*structs.TaskState{"web": running, "log": {Status: structs.TaskFinished, Ended: structs.Time(95e9)}})
	shop.Job = "shop"
	custom := at("custom1", "f1", map[string]*structs.TaskState{"executor": running, "a": running, "b": {Status: structs.TaskFailed}})
	custom.External = &structs.External{Executor: "x", Custom: true, Framework: framework,
		Info: wire.Protobuf.Marshal(&wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Name: new("the x"), Source: new("src"), Type: new(wire.ExecutorCustom),
			Command: &wire.CommandInfo{User: new("carl")}}),
		Tasks: []*structs.ExternalTask{{ID: "ta", Name: "a", Info: wire.Protobuf.Marshal(&wire.TaskInfo{Name: "task a", TaskID: wire.ID{Value: "ta"}})}, {ID: "tb", Name: "b"}}}
	over := at("old-command", "f1", map[string]*structs.TaskState{"old": {Status: structs.TaskFailed, Ended: structs.Time(80e9)}})
	over.Status, over.External = structs.AllocFailed, &structs.External{Tasks: []*structs.ExternalTask{{ID: "old", Name: "old"}}}
	before := at("before-that", "f1", map[string]*structs.TaskState{"old": {Status: structs.TaskFailed}})
	before.Status, before.External = structs.AllocFailed, over.External
	return &machine{t: t,
		known: []client.Known{
			{Alloc: command, Tasks: []string{"t1"}, Job: version(&structs.Task{Name: "t1", User: "bob"})},
			{Alloc: shop, Tasks: []string{"web", "log"}, Job: version(&structs.Task{Name: "web", User: "www"}, &structs.Task{Name: "log"})},
			{Alloc: custom, Tasks: []string{"executor"}, Job: version(&structs.Task{Name: "executor", User: "carl"})},
			{Alloc: over, Tasks: []string{"old"}, Ended: structs.Time(80e9)},
			{Alloc: before, Tasks: []string{"old"}, Ended: structs.Time(70e9)},
		},
		used: client.Usage{Each: []client.TaskUsage{
			{Alloc: "c1", Task: "t1", Stats: &drivers.Stats{Time: structs.Time(99e9), CPUTime: structs.Duration(2e9), Memory: 1000, Pids: 2}},
			{Alloc: "shop1", Task: "web", Stats: &drivers.Stats{Time: structs.Time(98e9), CPUTime: structs.Duration(1e9), Memory: 10, Pids: 1}},
			{Alloc: "shop1", Task: "log", Stats: &drivers.Stats{Time: structs.Time(99e9), CPUTime: structs.Duration(3e9), Memory: 5, Pids: 1}},
		}},
		files: map[string]string{"c1/t1/local/data": "0123456789", "c1/t1/local/deep/er": "x", "c1/t1/local/stdout": "not this one", "c1/t1/secrets/s": "secret",
			"c1/t1.stdout": "out of t1", "shop1/alloc/both": "of both", "shop1/web/local/page": "p", "shop1/log/local/line": "l", "shop1/web.stderr": "oh"},
	}
}

func (m *machine) get(c *Clients, path string, query ...string) *httptest.ResponseRecorder {
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	w := httptest.NewRecorder()
	c.Serve(w, httptest.NewRequestWithContext(m.t.Context(), http.MethodGet, path+"?"+q.Encode(), nil), mesos.Caller{Actor: "local"})
	return w
}

func (m *machine) tree(c *Clients, path string, query ...string) node {
	m.t.Helper()
	w := m.get(c, path, query...)
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK {
		m.t.Fatalf("%s %v: %d %v: %s", path, query, w.Code, err, w.Body)
	}
	return node{m.t, path, v}
}

const commandDir = "/slaves/n1/frameworks/f2/executors/t1/runs/c1"

// The document of a node has what has been running there, and where its files are.
func TestAgentState(t *testing.T) {
	m := busy(t)
	c := m.clients()
	c.Frameworks = func(_ context.Context, ids []structs.FrameworkID) []*structs.Framework {
		slices.Sort(ids)
		if !slices.Equal(ids, []structs.FrameworkID{"f2", "service"}) {
			t.Errorf("it asks for %v", ids)
		}
		return []*structs.Framework{{ID: "f2", Name: "second", User: "bob", Roles: []string{"eng"}}}
	}
	for _, path := range []string{"/state", "/state.json", "/slave(1)/state"} {
		d := m.tree(c, path)
		d.is("id", `"n1"`)
		d.is("pid", `"slave(1)@10.0.0.1:5099"`)
		d.is("attributes|rack", `"r1"`)
		d.is("domain", domain("dc2"))
		d.is("resources|ports", `"[31000-32000]"`)
		d.is("used_resources|cpus", "1.5")
		d.is("flags|region", `"global"`)
		d.len("completed_frameworks", 0)
		d.len("frameworks", 3)
		f1, f2, jobs := d.in("frameworks|0"), d.in("frameworks|1"), d.in("frameworks|2")
		f1.is("name", `"frame"`)
		f1.is("user", `"ann"`)
		f1.is("principal", `"ann-p"`)
		f1.is("executors|0|id", `"x"`)
		f1.is("executors|0|name", `"the x"`)
		f1.is("executors|0|source", `"src"`)
		f1.is("executors|0|type", `"CUSTOM"`)
		f1.is("executors|0|directory", `"/slaves/n1/frameworks/f1/executors/x/runs/custom1"`)
		f1.is("executors|0|tasks|0|id", `"ta"`)
		f1.is("executors|0|tasks|0|name", `"task a"`)
		f1.is("executors|0|tasks|0|user", `"carl"`)
		f1.is("executors|0|completed_tasks|0|id", `"tb"`)
		f1.is("executors|0|completed_tasks|0|state", `"TASK_FAILED"`)
		f1.len("completed_executors", 2)
		f1.is("completed_executors|0|completed_tasks|0|id", `"old"`)
		f2.is("name", `"second"`)
		f2.is("role", `"eng"`)
		f2.is("executors|0|directory", `"`+commandDir+`"`)
		f2.is("executors|0|container", `"c1"`)
		f2.is("executors|0|tasks|0|state", `"TASK_RUNNING"`)
		f2.is("executors|0|tasks|0|user", `"bob"`)
		jobs.is("id", `"service"`)
		jobs.is("executors|0|name", `"task.shop"`)
		jobs.is("executors|0|tasks|0|id", `"shop1.web"`)
		jobs.is("executors|0|completed_tasks|0|id", `"shop1.log"`)
	}
	m.figures = client.Figures{Ended: 2, Tasks: map[structs.TaskStatus]int{structs.TaskFailed: 2}} // as what is known still
	f := m.tree(c, "/metrics/snapshot")
	f.is("slave/tasks_running", "3")
	f.is("slave/tasks_failed", "3")
	f.is("slave/executors_running", "3")
	f.is("slave/executors_terminated", "2")
	f.is("slave/cpus_used", "1.5")
	if got := m.get(c, "/state", "jsonp", "f").Body.String(); !strings.HasPrefix(got, "f({") || !strings.HasSuffix(got, "});") {
		t.Errorf("with padding: %.20s", got)
	}
}

// The calls answer the same, in both encodings.
func TestAgentStateCalls(t *testing.T) {
	m := busy(t)
	c := m.clients()
	c.Frameworks = func(context.Context, []structs.FrameworkID) []*structs.Framework {
		return []*structs.Framework{{ID: "f2", User: "bob"}}
	}
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		s := m.ask(c, encoding, wire.AgentGetState).State
		if len(s.Tasks.Launched) != 3 || len(s.Tasks.Completed) != 4 || len(s.Executors.Executors) != 3 || len(s.Executors.Completed) != 2 || len(s.Frameworks.Frameworks) != 3 {
			t.Errorf("the state is %s", wire.JSON.Marshal(s))
		}
		if x := m.ask(c, encoding, wire.AgentGetTasks).Tasks.Launched[0]; x.TaskID.Value != "t1" || *x.User != "bob" || x.State != wire.TaskRunning {
			t.Errorf("the first task is %s", wire.JSON.Marshal(&x))
		}
		if x := m.ask(c, encoding, wire.AgentGetExecutors).Executors.Executors[0].Info; x.ExecutorID.Value != "x" || *x.Name != "the x" {
			t.Errorf("the first executor is %s", wire.JSON.Marshal(&x))
		}
		if x := m.ask(c, encoding, wire.AgentGetFrameworks).Frameworks.Frameworks[0].Info; x.Name != "frame" || x.User != "ann" {
			t.Errorf("the first framework is %s", wire.JSON.Marshal(&x))
		}
		if m.ask(c, encoding, wire.AgentGetOperations).Operations == nil {
			t.Error("no operations")
		}
		all := m.ask(c, encoding, wire.AgentGetContainers).Containers.Containers
		if len(all) != 2 || *all[1].Statistics.CPUUser != 4 || *all[1].Statistics.MemRSS != 15 || *all[1].Statistics.Threads != 2 || *all[1].Statistics.CPULimit != 0.5 ||
			all[1].Statistics.Timestamp != 99 || all[1].ContainerID.Value != "shop1" || all[1].ExecutorID.Value != "shop1" || all[1].Status == nil {
			t.Errorf("the containers are %s", wire.JSON.Marshal(&wire.GetContainers{Containers: all}))
		}
		nested := m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentGetContainers), GetContainers: &wire.AskContainers{Nested: new(true)}}, 200, "").Containers.Containers
		if len(nested) != 4 || nested[2].ContainerID.Value != "shop1.web" || nested[2].ContainerID.Parent.Value != "shop1" || *nested[2].Statistics.MemRSS != 10 {
			t.Errorf("with nested ones they are %s", wire.JSON.Marshal(&wire.GetContainers{Containers: nested}))
		}
		i := slices.IndexFunc(m.known, func(k client.Known) bool { return k.Alloc.ID == "shop1" })
		was := m.known[i] // as if it were a container that an operator launched, which is the allocation of a job
		m.known[i].Job = &structs.JobVersion{Version: was.Job.Version, Job: &structs.Job{Name: mesos.ContainerJobName("n1", "plug"),
			Meta: map[string]string{mesos.ContainerMeta: "plug"}, Groups: was.Job.Job.Groups}}
		if some := m.ask(c, encoding, wire.AgentGetContainers).Containers.Containers; len(some) != 1 {
			t.Errorf("without those of operators the containers are %s", wire.JSON.Marshal(&wire.GetContainers{Containers: some}))
		}
		alone := m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentGetContainers), GetContainers: &wire.AskContainers{Standalone: new(true)}}, 200, "").Containers.Containers
		if len(alone) != 2 || alone[1].ContainerID.Value != "plug" || alone[1].FrameworkID != nil || alone[1].ExecutorID != nil || *alone[1].Statistics.MemRSS != 15 {
			t.Errorf("with those of operators they are %s", wire.JSON.Marshal(&wire.GetContainers{Containers: alone}))
		}
		m.known[i] = was
		list := func(path string, status int, why string) *wire.AgentResponse {
			return m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentListFiles), ListFiles: &wire.ListFiles{Path: path}}, status, why)
		}
		files := list(commandDir, 200, "").ListFiles.Files
		if len(files) != 3 || files[0].Path != commandDir+"/data" || *files[0].Size != 10 || *files[0].Mode != 0o100640 || *files[1].Mode != 0o040755 ||
			files[2].Path != commandDir+"/stdout" || *files[2].Size != 13 {
			t.Errorf("the files are %s", wire.JSON.Marshal(&wire.FileInfos{Files: files}))
		}
		list(commandDir+"/none", 404, "No such file")
		list(commandDir+"/../t1/secrets", 400, "'..'")
		read := func(path string, offset uint64, length *uint64, status int, why string) *wire.AgentResponse {
			return m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentReadFile), ReadFile: &wire.ReadFile{Path: path, Offset: offset, Length: length}}, status, why)
		}
		for _, x := range []struct {
			name   string
			offset uint64
			length *uint64
			size   uint64
			want   string
		}{{"data", 3, new(uint64(2)), 10, "34"}, {"data", 8, nil, 10, "89"}, {"data", 10, nil, 10, ""}, {"data", 0, new(uint64(0)), 10, ""}, {"deep/er", 0, nil, 1, "x"},
			{"stdout", 0, nil, 13, "out of t1"}, {"stdout", 8, new(uint64(1 << 40)), 13, "of t1"}, {"stdout", 1 << 40, nil, 13, ""}, {"stderr", 0, nil, 0, ""}} {
			got := read(commandDir+"/"+x.name, x.offset, x.length, 200, "").ReadFile
			if got.Size != x.size || string(got.Data) != x.want {
				t.Errorf("%s at %d: %q of %d", x.name, x.offset, got.Data, got.Size)
			}
		}
		read(commandDir, 0, nil, 400, "no regular file")
		read(commandDir+"/away", 0, nil, 403, "leads out")
		read(commandDir+"/data", 1<<63, nil, 400, "Invalid offset")
		read(commandDir+"/data/x", 0, nil, 404, "No such file")
	}
}

// What is asked for by paths is in sandboxes, and nothing else is.
func TestSandboxes(t *testing.T) {
	m := busy(t)
	c := m.clients()
	names := func(dir string) string {
		var out []string
		for _, x := range m.tree(c, "/files/browse", "path", dir).v.([]any) {
			at := x.(map[string]any)["path"].(string)
			if path.Dir(at) != strings.TrimSuffix(dir, "/") {
				t.Errorf("%s is in %s", at, dir)
			}
			out = append(out, path.Base(at)+" "+x.(map[string]any)["mode"].(string))
		}
		return strings.Join(out, ", ")
	}
	const shopDir = "/frameworks/service/executors/shop1/runs/shop1"
	for dir, want := range map[string]string{
		commandDir:                               "data -rw-r-----, deep drwxr-xr-x, stdout -rw-r--r--",
		commandDir + "/":                         "data -rw-r-----, deep drwxr-xr-x, stdout -rw-r--r--",
		commandDir + "/deep":                     "er -rw-r-----",
		shopDir:                                  "both -rw-r-----, tasks drwxr-xr-x",
		shopDir + "/tasks":                       "log drwxr-xr-x, web drwxr-xr-x",
		shopDir + "/tasks/web":                   "page -rw-r-----, stderr -rw-r--r--",
		shopDir + "/tasks/shop1.log":             "line -rw-r-----",
		"/slaves/n1" + shopDir + "/tasks/web":    "page -rw-r-----, stderr -rw-r--r--",
		"/frameworks/f1/executors/x/runs/latest": "",
	} {
		if got := names(dir); got != want {
			t.Errorf("in %s is %q, want %q", dir, got, want)
		}
	}
	d := m.tree(c, "/files/read", "path", commandDir+"/stdout")
	d.is("data", `""`)
	d.is("offset", "13")
	d = m.tree(c, "/slave(1)/files/read.json", "path", commandDir+"/stdout", "offset", "0", "length", "3")
	d.is("data", `"out"`)
	d.is("offset", "4")
	m.tree(c, "/files/read", "path", commandDir+"/data", "offset", "500").is("offset", "10")
	m.tree(c, "/files/debug").is(commandDir, `"c1"`)
	m.tree(c, "/files/read", "path", "/frameworks/f1/executors/old/runs/latest/stdout").is("offset", "0")
	if k, err := c.run("f1", "old", latest); err != nil || k.Alloc.ID != "old-command" {
		t.Errorf("the latest is %v, %v", k, err)
	}
	for _, x := range []struct{ path, want, name string }{{commandDir + "/stdout", "out of t1", "stdout"}, {commandDir + "/data", "0123456789", "data"},
		{shopDir + "/both", "of both", "both"}, {commandDir + "/stderr", "", "stderr"}} {
		w := m.get(c, "/files/download", "path", x.path)
		if w.Code != 200 || w.Body.String() != x.want || w.Header().Get("Content-Disposition") != `attachment; filename="`+x.name+`"` {
			t.Errorf("%s: %d %q %v", x.path, w.Code, w.Body, w.Header())
		}
	}
	for path, status := range map[string]int{"": 400, "/": 404, "/etc/passwd": 404, "relative": 404, "/slaves/n1": 404, "/slaves/n2" + commandDir[len("/slaves/n1"):]: 404,
		commandDir + "/../../c1": 400, commandDir + "/..": 400, "..": 400, commandDir + "/stdout/..": 400, commandDir + "/%2e%2e": 404, commandDir + "/x\x00": 400,
		"/" + strings.Repeat("x", maxPath): 400, "/frameworks/f1/executors/t1/runs/c1": 404, "/frameworks/f2/executors/t2/runs/c1": 404,
		"/frameworks/f2/executors/t1/runs/c2": 404, "/frameworks/f2/executors/t2/runs/latest": 404, shopDir + "/tasks/none": 404, shopDir + "/tasks/web/none": 404,
		commandDir + "/away": 403, commandDir + "/secrets/s": 404, commandDir + "/t1/secrets/s": 404} {
		for _, how := range []string{"browse", "read", "download"} {
			if w := m.get(c, "/files/"+how, "path", path, "offset", "0"); w.Code != status || strings.Contains(w.Body.String(), "secret\n") {
				t.Errorf("%s of %.100q: %d %s, want %d", how, path, w.Code, w.Body, status)
			}
		}
	}
	for _, bad := range []string{"x", "-2", "1.5", "9223372036854775808"} {
		for _, name := range []string{"offset", "length"} {
			if w := m.get(c, "/files/read", "path", commandDir+"/data", name, bad); w.Code != 400 {
				t.Errorf("%s=%s: %d", name, bad, w.Code)
			}
		}
	}
	if w := m.get(c, "/files/download", "path", shopDir+"/tasks"); w.Code != 400 {
		t.Errorf("a folder of tasks: %d", w.Code)
	}
}

func TestContainersOfANode(t *testing.T) {
	m := busy(t)
	c := m.clients()
	for _, path := range []string{"/containers", "/monitor/statistics", "/slave(1)/monitor/statistics.json"} {
		d := m.tree(c, path)
		d.is("0|container_id", `"c1"`)
		d.is("0|executor_id", `"t1"`)
		d.is("0|framework_id", `"f2"`)
		d.is("0|source", `"t1"`)
		d.is("0|statistics|mem_rss_bytes", "1000")
		d.is("0|statistics|mem_limit_bytes", "67108864")
		d.is("0|status|container_id|value", `"c1"`)
		d.is("1|executor_name", `"task.shop"`)
	}
}

func TestModes(t *testing.T) {
	for mode, want := range map[fs.FileMode]string{0o644: "-rw-r--r--", fs.ModeDir | fs.ModeSticky | 0o777: "drwxrwxrwt", fs.ModeSymlink | 0o777: "lrwxrwxrwx",
		fs.ModeSetuid | 0o755: "-rwsr-xr-x", fs.ModeSetgid | 0o640: "-rw-r-S---", fs.ModeNamedPipe | 0o600: "prw-------", fs.ModeDevice | fs.ModeCharDevice | 0o660: "crw-rw----",
		fs.ModeDevice | 0o660: "brw-rw----", fs.ModeSocket | 0o700: "srwx------"} {
		if got := modeText(unixMode(mode)); got != want {
			t.Errorf("%v is %s, want %s", mode, got, want)
		}
	}
}
