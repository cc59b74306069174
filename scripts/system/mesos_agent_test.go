//go:build linux && system

package system

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// nodePort is where tools ask about a node, as an offer of it says.
type nodePort struct {
	t    *testing.T
	base string // up to the process
}

func portOf(t *testing.T, o *wire.Offer) *nodePort {
	a := o.URL.Address
	return &nodePort{t, o.URL.Scheme + "://" + net.JoinHostPort(*a.Hostname, strconv.Itoa(int(a.Port)))}
}

// get asks for a document or a file.
func (n *nodePort) get(path string, query ...string) (status int, body string) {
	n.t.Helper()
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	req, err := http.NewRequestWithContext(n.t.Context(), "GET", n.base+path+"?"+q.Encode(), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// executor is what /state of a node says of one.
type executor struct {
	ID, Container, Directory string
	Tasks, Completed         []struct{ ID, State, User string }
}

// state returns the executors of a framework, those that live and those that ended, and what the framework is called.
func (n *nodePort) state(framework string) (name string, live, ended []executor) {
	n.t.Helper()
	status, raw := n.get("/slave(1)/state")
	type list []struct {
		ID, Name  string
		Executors []executor
		Completed []executor `json:"completed_executors"`
	}
	var doc struct {
		Frameworks list
		Completed  list `json:"completed_frameworks"`
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil || status != 200 {
		n.t.Fatalf("state: %d %s: %v", status, raw, err)
	}
	for _, f := range append(doc.Frameworks, doc.Completed...) {
		if f.ID == framework {
			name, live, ended = f.Name, append(live, f.Executors...), append(ended, f.Completed...)
		}
	}
	return name, live, ended
}

// call sends a call of the operator API.
func (n *nodePort) call(encoding wire.Encoding, call *wire.AgentCall) *wire.AgentResponse {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), "POST", n.base+"/api/v1", bytes.NewReader(encoding.Marshal(call)))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", encoding.ContentType())
	req.Header.Set("Accept", encoding.ContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	out := &wire.AgentResponse{}
	if err := encoding.Unmarshal(raw, out); err != nil || res.StatusCode != 200 {
		n.t.Fatalf("%s: %s %s: %v", call.Type, res.Status, raw, err)
	}
	return out
}

// TestMesosAgent: what a tool does that shows the files of a task. It goes from an offer to the node, from the state of the node to the
// folder of the task, reads and loads what is there, also after the end of the task and of the agent, and gets nowhere else.
func TestMesosAgent(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	server := r.server("s0", "-bootstrap-expect", "1")
	node := r.client("c0")
	r.startAll()
	s := &scheduler{t: t, r: r, at: server, encoding: wire.JSON, info: wire.FrameworkInfo{User: "root", Name: "reader", FailoverTimeout: new(600.0)}}
	var port *nodePort
	s.launch("talk", wire.TaskRunning, func(o *wire.Offer) bool { port = portOf(t, o); return true }, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{launch(o.AgentID, "talk", "echo hello from talk; echo oops >&2; echo data > file; ln -s /etc/passwd out; ln -s /secrets in; "+
			"echo all is there; while :; do sleep 0.1; done", scalar("cpus", 0.1, ""), scalar("mem", 32, ""))}
	})
	if _, want, _ := net.SplitHostPort(strings.TrimPrefix(port.base, "http://")); want != strconv.Itoa(ports.executor) {
		t.Errorf("the offer leads to %s", port.base)
	}
	framework := s.info.ID.Value
	name, live, ended := port.state(framework)
	if name != "reader" || len(live) != 1 || len(ended) != 0 || live[0].ID != "talk" || len(live[0].Tasks) != 1 || live[0].Tasks[0].State != "TASK_RUNNING" || live[0].Tasks[0].User != "root" {
		t.Fatalf("framework %q has %+v and %+v", name, live, ended)
	}
	dir, alloc := live[0].Directory, live[0].Container
	status, raw := (&nodePort{t, server.url()}).get("/tasks", "task_id", "talk")
	if status != 200 || !strings.Contains(raw, `"user":"root"`) {
		t.Errorf("the server says of the task %d %s", status, raw)
	}

	part := func(file string, offset int) string {
		t.Helper()
		status, raw := port.get("/files/read", "path", dir+"/"+file, "offset", strconv.Itoa(offset))
		var got struct {
			Data   string
			Offset int
		}
		if err := json.Unmarshal([]byte(raw), &got); err != nil || status != 200 || got.Offset != offset {
			t.Fatalf("read %s: %d %s: %v", file, status, raw, err)
		}
		return got.Data
	}
	const out = "hello from talk\nall is there\n"
	await(t, "the output is there", func() error {
		if got := part("stdout", 0); got != out {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
	read := func() {
		t.Helper()
		for file, want := range map[string]string{"stdout": out, "stderr": "oops\n", "file": "data\n"} {
			if got := part(file, 2); got != want[2:] {
				t.Errorf("%s is %q from 2, want %q", file, got, want[2:])
			}
			if status, got := port.get("/files/download", "path", dir+"/"+file); status != 200 || got != want {
				t.Errorf("%s comes as %d %q, want %q", file, status, got, want)
			}
			for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
				got := port.call(encoding, &wire.AgentCall{Type: new(wire.AgentReadFile), ReadFile: &wire.ReadFile{Path: dir + "/" + file}}).ReadFile
				if string(got.Data) != want || got.Size != uint64(len(want)) {
					t.Errorf("%s is %q, %d bytes, in %s", file, got.Data, got.Size, encoding.ContentType())
				}
			}
		}
	}
	read()
	var names []string
	for _, f := range port.call(wire.Protobuf, &wire.AgentCall{Type: new(wire.AgentListFiles), ListFiles: &wire.ListFiles{Path: dir}}).ListFiles.Files {
		names = append(names, strings.TrimPrefix(f.Path, dir+"/"))
	}
	if got := strings.Join(names, " "); got != "file in out stderr stdout" {
		t.Errorf("the folder has %s", got)
	}

	own := filepath.Join(node.dir, "client", "allocs", alloc)
	for path, want := range map[string]int{dir + "/../../../../../../../../etc/passwd": 400, dir + "/..": 400, dir + "/file/../../logs": 400, "/etc/passwd": 404,
		own: 404, own + "/talk/local/file": 404, dir + own: 404, dir + "/secrets": 404, dir + "/talk/secrets": 404, dir + "/out": 403, dir + "/in": 403, dir + "/in/x": 403} {
		for _, how := range []string{"read", "download", "browse"} {
			if status, got := port.get("/files/"+how, "path", path, "offset", "0"); status != want || strings.Contains(got, "root:") {
				t.Errorf("%s of %s: %d %s, want %d", how, path, status, got, want)
			}
		}
	}
	if status, got := port.get("/containers"); status != 200 || !strings.Contains(got, `"container_id":"`+alloc+`"`) || !strings.Contains(got, `"cpus_user_time_secs":`) {
		t.Errorf("containers: %d %s", status, got)
	}

	s.told("talk", wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "talk"}}})
	over := func() error {
		_, live, ended := port.state(framework)
		if len(live) != 0 || len(ended) != 1 || ended[0].Directory != dir || ended[0].ID != "talk" {
			return fmt.Errorf("it has %+v and %+v", live, ended)
		}
		return nil
	}
	await(t, "the node shows the end", over)
	read()
	node.kill()
	node.start()
	if err := over(); err != nil {
		t.Errorf("after a restart of the agent: %v", err)
	}
	read()
	markedGone(t, s, server, node)
}

// markedGone marks an agent gone that is there while a task of a framework runs: that is over for the framework at once and ends on the node,
// which stays out when it is started again, and is another one once its file is removed.
func markedGone(t *testing.T, s *scheduler, server, node *agent) {
	s.launch("last", wire.TaskRunning, func(o *wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{launch(o.AgentID, "last", "while :; do sleep 0.1; done", scalar("cpus", 0.1, ""), scalar("mem", 32, ""))}
	})
	was, err := node.api().Self(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	call := wire.JSON.Marshal(&wire.OperatorCall{Type: new(wire.OperatorMarkAgentGone), MarkGone: &wire.NamedAgent{AgentID: wire.ID{Value: string(was.Node)}}})
	res, err := http.Post(server.url()+"/api/v1", wire.JSON.ContentType(), bytes.NewReader(call))
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != 200 {
		t.Fatalf("MARK_AGENT_GONE: %s", res.Status)
	}
	await(t, "the framework hears of it", func() error {
		x := s.find("last", func(is wire.TaskState) bool { return is == wire.TaskLost })
		switch {
		case x == nil:
			return errors.New("no update says that the task is lost")
		case x.Reason == nil || *x.Reason != wire.ReasonAgentRemovedByOperator:
			return fmt.Errorf("the task is lost as %s", wire.JSON.Marshal(x))
		}
		return nil
	})
	out := func(id structs.NodeID) error {
		self, err := node.api().Self(t.Context())
		if err != nil {
			return err
		}
		if pids := node.tasks(); len(pids) > 0 || self.Node != id || self.Stats["client.server"] != "" {
			return fmt.Errorf("node %s has the processes %v and a session with %q", self.Node, pids, self.Stats["client.server"])
		}
		return nil
	}
	await(t, "nothing runs on the node, and it is out", func() error { return out(was.Node) })
	file := filepath.Join(node.dir, "client", "gone")
	await(t, "its file is there", func() error { _, err := os.Stat(file); return err })
	node.kill()
	node.start()
	await(t, "it stays out", func() error { return out(was.Node) })
	node.kill()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	node.start()
	if self, err := node.api().Self(t.Context()); err != nil || self.Node == was.Node {
		t.Errorf("without its file it is %+v: %v", self, err)
	}
}
