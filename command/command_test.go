package command

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// folder has the golden files; tests change their working folder.
var folder, _ = filepath.Abs("testdata")

// golden compares text with a file beside the tests; -rewrite writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(folder, name)
	if *rewrite {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s differs; -rewrite writes it anew. Got:\n%s", path, text)
	}
}

// shell runs command lines against a server.
type shell struct {
	t      *testing.T
	env    map[string]string
	in     string
	signal chan<- os.Signal // set when a command asks for signals
	term   bool

	mu       sync.Mutex
	out, err bytes.Buffer
}

func newShell(t *testing.T, handler http.Handler) *shell {
	sh := &shell{t: t, env: map[string]string{"USER": "ann"}}
	if handler != nil {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		sh.env["PROFFER_ADDR"] = server.URL
	}
	return sh
}

// locked makes the buffers safe: a command writes from several goroutines.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// now is when all tests happen.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (sh *shell) run(args ...string) (code int, out, errs string) {
	sh.out.Reset()
	sh.err.Reset()
	e := &Environment{In: strings.NewReader(sh.in), Out: locked{&sh.mu, &sh.out}, Err: locked{&sh.mu, &sh.err},
		Getenv: func(k string) string { return sh.env[k] }, Environ: func() []string { return nil }, Terminal: sh.term,
		Signals: func(c chan<- os.Signal) { sh.signal = c }, Version: "1.2.3", Now: func() time.Time { return now }}
	code = Run(args, e, Mains{Agent: func(args []string) int { fmt.Fprintln(e.Out, "agent", args); return 42 },
		Supervisor: func(args []string) int { fmt.Fprintln(e.Out, "supervisor", args); return 43 }})
	return code, sh.out.String(), sh.err.String()
}

// canned answers from a table: path, with method unless it is GET, to what is answered. A *structs.Error is refused.
type canned map[string]any

func (c canned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Path
	if r.Method != "GET" {
		key = r.Method + " " + key
	}
	v, ok := c[key]
	if q, found := c[key+"?"+r.URL.RawQuery]; found {
		v, ok = q, true
	}
	if !ok {
		v = structs.Errorf(structs.NotFound, key, "there is none")
	}
	w.Header().Set("X-Proffer-Index", "7")
	switch v := v.(type) {
	case *structs.Error:
		w.WriteHeader(400)
		json.NewEncoder(w).Encode(v)
	case string:
		io.WriteString(w, v)
	case http.HandlerFunc:
		v(w, r)
	default:
		json.NewEncoder(w).Encode(v)
	}
}

func ago(d time.Duration) structs.Time { return structs.At(now.Add(-d)) }

func id(prefix string) string { return prefix + strings.Repeat("0", 32-len(prefix)) }

// region is what the golden tests see.
func region() canned {
	record := structs.JobRecord{Name: "web", Type: "service", Role: "eng/web", Priority: structs.Priority{Band: structs.Production, Level: 5}, Version: 2,
		Status: structs.JobRunning, Submitted: ago(3 * time.Hour), ModifyIndex: 7}
	counts := []*api.GroupCounts{{Group: "api", Wanted: 3, Waiting: 1, Running: 2, Failed: 1}}
	count := 3
	text := &structs.Job{Name: "web", Type: "service", Groups: []*structs.Group{{Name: "api", Count: &count, Tasks: []*structs.Task{{Name: "main", Driver: "mock"}}}}}
	allocs := []*structs.Allocation{
		{ID: structs.AllocID(id("1a2b3c4d")), Job: "web", Version: 2, Group: "api", Index: 0, Node: structs.NodeID(id("aa01")), NodeName: "node-1", Desired: "run", Status: "running", Created: ago(2 * time.Hour)},
		{ID: structs.AllocID(id("1a2b3c4d5")), Job: "web", Version: 2, Group: "api", Index: 1, Node: structs.NodeID(id("aa02")), NodeName: "node-2", Desired: "run", Status: "running", Created: ago(90 * time.Second),
			Why: "a task says \x1b[31mred\x1b[0m\nand more", Role: "eng/web", Priority: structs.Priority{Band: structs.Production},
			Resources: structs.Resources{CPU: 500, Memory: 256 << 20}, Ports: []structs.AssignedPort{{Label: "http", Host: "10.0.0.1", Port: 20001, To: 80}},
			Incarnation: 3, Tasks: map[string]*structs.TaskState{"main": {Status: structs.TaskRunning, Restarts: 1, Checks: []structs.CheckState{
				{Name: "page", Status: structs.CheckFailing, Since: ago(30 * time.Second), Why: "status 503: no\x1b[1m database"},
				{Name: "answers", Live: true, Status: structs.CheckPassing, Since: ago(time.Minute)}}, Events: []structs.TaskEvent{
				{Time: ago(time.Minute), Type: "started", Text: "pid 12"}}},
				"setup": {Status: structs.TaskFailed, ExitCode: 137, Signal: 9, OOM: true}}},
		{ID: structs.AllocID(id("9f")), Job: "web", Version: 1, Group: "api", Index: 1, NodeName: "node-1", Desired: "run", Status: "failed", Created: ago(50 * time.Hour), Why: "exit code 1"},
	}
	nodes := []*structs.Node{
		{ID: structs.NodeID(id("aa01")), Name: "node-1", Datacenter: "dc1", Address: "10.0.0.1:5052", Version: "1.2.3", Status: structs.NodeReady, Eligible: true, Changed: ago(72 * time.Hour),
			Resources: structs.Resources{CPU: 8000, Memory: 16 << 30}, Reserved: structs.Resources{CPU: 500, Memory: 1 << 30},
			Maintenance: &structs.Maintenance{Window: structs.Window{Start: structs.At(now.Add(2 * time.Hour)), Duration: structs.Duration(time.Hour)}, Reason: "new disks"},
			Attributes:  map[string]string{"kernel.name": "linux"}, Meta: map[string]string{"rack": "r1"},
			Drivers: map[string]*structs.Driver{"exec": {Healthy: true}, "docker": {Why: "it is not installed"},
				"oci": {Healthy: true, Images: map[string]structs.Bytes{"docker.io/library/nginx:1.27": 190 << 20, "ghcr.io/acme/web:v7": 2 << 30, "ghcr.io/acme/new:v1": 0}}}},
		{ID: structs.NodeID(id("aa02")), Name: "node-2", Datacenter: "dc1", Status: structs.NodeReady, Eligible: true, Drain: &structs.Drain{}, Changed: ago(time.Minute)},
		{ID: structs.NodeID(id("aa03")), Name: "node-3", Datacenter: "dc2", Status: structs.NodeLost, Reason: "no lease", Changed: ago(30 * time.Minute)},
	}
	guaranteed, memory := structs.Milli(2000), structs.Bytes(4<<30)
	summary := api.JobSummary{JobRecord: record, Groups: counts}
	explained := &api.Explanation{Job: "web", Groups: []*api.GroupExplanation{{Group: "api", Count: 3, Placed: 2, Waiting: 1, Nodes: 3, Fit: 0,
		Ask: structs.Resources{CPU: 4000, Memory: 1 << 30}, Order: "behind nothing in role eng/web", Advice: "ask for less cpu, or add a node",
		Avoided:    []*api.Avoided{{Kind: "maintenance", Nodes: 1, On: "node-1", Start: structs.At(now.Add(2 * time.Hour))}, {Kind: "maintenance", Nodes: 3, On: "node-7", Start: structs.At(now.Add(time.Hour))}},
		Preempting: 1, Stops: []*api.Stopped{{Alloc: "c3ebd4a41234", Job: "sums", Role: "science", Priority: structs.DefaultPriority, NodeName: "node-1"}},
		Because: "no_node", Turn: &structs.Turn{At: 18, Ahead: []*structs.Ahead{{Band: structs.Production, Role: "ops", Slots: 12, CPU: 24000, Memory: 48 << 30},
			{Band: structs.BatchBand, Role: "science", Slots: 5, CPU: 5000, Memory: 1 << 30}},
			Ranks: []*structs.Rank{{Name: "eng", Share: 310, Weight: 2000, At: 2, Of: 3, Behind: "science", BehindShare: 50, BehindWeight: 1000},
				{Name: "framework service", Share: 200, Weight: 1000, At: 1, Of: 1}}},
		Role:     &structs.RoleStanding{Role: "eng/web", Used: structs.Resources{CPU: 9000}, Limit: &structs.QuotaAmount{CPU: &guaranteed}, Waiting: 6},
		Expected: &structs.Expected{At: structs.At(now.Add(2 * time.Hour)), NodeName: "node-1", Why: "what runs there has reached its max_run_duration by then; 17 come before it"},
		Reasons:  []*api.Reason{{What: "cpu", Nodes: 2, Nearest: "4 asked, 3.5 free on node-1"}, {What: "status lost", Nodes: 1}},
		Placing:  []*api.PlacedOn{{Alloc: structs.AllocID(id("1a2b3c4d")), Index: 0, NodeName: "node-1", Score: 0.75, Parts: map[string]float64{"binpack": 0.5, "spread": 0.25}}}}}}
	diff := spec.Compare(nil, text)
	rawDiff, _ := json.Marshal(diff)
	return canned{
		"/v1/jobs":           []*api.JobSummary{&summary, {JobRecord: structs.JobRecord{Name: "a-much-longer-name", Type: "batch", Role: "default", Status: structs.JobDone}}},
		"/v1/job/web":        api.JobDetail{JobSummary: summary, Job: text},
		"/v1/job/web/status": api.JobStatus{JobDetail: api.JobDetail{JobSummary: summary, Job: text}, Allocations: allocs},
		"/v1/job/slow/status": api.JobStatus{JobDetail: api.JobDetail{JobSummary: api.JobSummary{JobRecord: structs.JobRecord{Name: "slow", Type: "service", Version: 1, Status: structs.JobPending},
			Groups: []*api.GroupCounts{{Group: "api", Wanted: 2, Pending: 2}}}}, Allocations: []*structs.Allocation{
			{ID: structs.AllocID(id("5a")), Job: "slow", Version: 1, Group: "api", NodeName: "node-1", Desired: "run", Status: "pending", Created: ago(time.Minute),
				Tasks: map[string]*structs.TaskState{"main": {Status: structs.TaskStarting, Why: "no space left on device"}}},
			{ID: structs.AllocID(id("5b")), Job: "slow", Version: 1, Group: "api", Index: 1, NodeName: "node-2", Desired: "run", Status: "pending", Created: ago(time.Minute)}}},
		"/v1/job/web/explain":                  explained,
		"/v1/job/web/versions":                 []*structs.JobVersion{{Job: text, Version: 2, Time: ago(time.Hour), Actor: "local/ann"}, {Job: text, Version: 1, Time: ago(26 * time.Hour)}},
		"/v1/job/wep/status":                   structs.Errorf(structs.NotFound, `job "wep"`, "there is none").Advise(`did you mean "web"?`),
		"/v1/job/web/allocations":              allocs,
		"DELETE /v1/job/web":                   api.Written{Index: 8},
		"DELETE /v1/job/wep":                   structs.Errorf(structs.NotFound, `job "wep"`, "there is none").Advise(`did you mean "web"?`),
		"POST /v1/job/web/restart":             api.Written{Index: 8},
		"POST /v1/job/web/scale":               api.Written{Index: 8},
		"POST /v1/job/web/revert":              api.JobSubmitted{Name: "web", Version: 3},
		"POST /v1/jobs/plan":                   api.JobPlan{Diff: rawDiff, Text: diff.Text(), Version: 0, Explanation: explained},
		"POST /v1/jobs":                        api.JobSubmitted{Name: "web", Version: 1, Changed: true, Index: 7},
		"/v1/allocations":                      allocs,
		"/v1/allocation/1a2b3c4d5":             api.AllocDetail{Allocation: *allocs[1], TaskNames: []string{"main", "setup"}},
		"/v1/allocation/" + id("1a2b3c4d"):     api.AllocDetail{Allocation: *allocs[0], TaskNames: []string{"main"}},
		"POST /v1/allocation/1a2b3c4d/stop":    api.Written{Index: 8},
		"POST /v1/allocation/1a2b3c4d/restart": api.Written{Index: 8},
		"POST /v1/allocation/1a2b3c4d/signal":  api.Written{Index: 8},
		"/v1/allocation/1a2b3c4d/stats": api.AllocStats{Tasks: map[string]*drivers.Stats{"main": {CPU: 1250, CPUTime: structs.Duration(time.Minute), Memory: 100 << 20, MemoryMax: 120 << 20, Limit: 256 << 20, Pids: 3,
			Disk: 5 << 20, IO: &drivers.IOStats{ReadBytes: 1 << 20, WriteBytes: 3 << 20}, Pressure: &drivers.Pressure{CPU: drivers.Stall{Some: 125}},
			GPUs: []*drivers.GPUStats{{ID: "GPU-5e", Busy: 420, Memory: 1 << 30, MemoryTotal: 40 << 30}}}}},
		"/v1/allocation/1a2b3c4d/fs/stat?path=": api.FileInfo{Name: "/", Dir: true, Mode: "drwxr-xr-x", Time: ago(time.Hour)},
		"/v1/allocation/1a2b3c4d/fs/list?path=": []*api.FileInfo{{Name: "alloc", Dir: true, Mode: "drwxr-xr-x", Time: ago(time.Hour)},
			{Name: "x", Size: 1500, Mode: "-rw-r--r--", Time: ago(time.Hour), Target: "alloc/x"}},
		"/v1/allocation/1a2b3c4d/fs/stat?path=x":          api.FileInfo{Name: "x", Size: 5, Mode: "-rw-r--r--", Time: ago(time.Hour)},
		"/v1/allocation/1a2b3c4d/fs/cat?path=x":           "hello",
		"/v1/allocation/" + id("1a2b3c4d") + "/logs/main": `{"stream":"stdout","data":"b3V0Cg=="}` + "\n" + `{"stream":"stderr","data":"ZXJyCg=="}` + "\n",
		"/v1/nodes":                                    nodes,
		"/v1/nodes?filter=name%3Dnode-1":               nodes[:1],
		"/v1/nodes?filter=name%3Dnode-4":               []*structs.Node{},
		"/v1/node/" + id("aa01"):                       api.NodeDetail{Node: *nodes[0], Used: structs.Resources{CPU: 4000, Memory: 2 << 30}, Allocations: allocs[:1]},
		"POST /v1/node/" + id("aa01") + "/eligibility": api.Written{Index: 8},
		"/v1/node/" + id("aa01") + "/stats": api.NodeStats{Allocs: 2, Tasks: 3, CPU: 1250, Memory: 100 << 20, DiskFree: 5 << 30, DiskTotal: 20 << 30, Pids: 12,
			Resources: structs.Resources{CPU: 8000, Memory: 16 << 30, Disk: 20 << 30}, Held: structs.Resources{CPU: 2000, Memory: 1 << 30, Disk: 1 << 30},
			Throttled: structs.Duration(1500 * time.Millisecond), OOMKills: 1, IO: drivers.IOStats{ReadBytes: 3 << 20, WriteBytes: 1 << 20},
			Pressure: &drivers.Pressure{CPU: drivers.Stall{Some: 120}, Memory: drivers.Stall{Some: 5}, IO: drivers.Stall{Some: 30, Full: 10}},
			GPUs:     []*drivers.GPUStats{{ID: "GPU-1", Busy: 700, Memory: 4 << 30, MemoryTotal: 16 << 30}}},
		"POST /v1/node/" + id("aa01") + "/drain":       api.Written{Index: 8},
		"POST /v1/node/" + id("aa01") + "/maintenance": api.Written{Index: 8},
		"/v1/maintenance": []*structs.NodeMaintenance{{Node: nodes[0].ID, NodeName: "node-1", Maintenance: *nodes[0].Maintenance, State: "scheduled", Allocations: 3,
			Answers: []*structs.InverseOffer{{Framework: structs.FrameworkID(id("fe01")), NodeName: "node-1", Answer: "accepted", Made: ago(time.Hour), Answered: ago(time.Minute), Resources: structs.Resources{CPU: 1000}}}},
			{NodeName: "node-3", Maintenance: structs.Maintenance{Window: structs.Window{Start: ago(time.Minute)}, Began: true}, State: "down"}},
		"POST /v1/node/" + id("aa01") + "/purge": structs.Errorf(structs.Conflict, "node node-1", "it is ready").Advise("drain it and stop its agent first"),
		"/v1/roles":                              []*api.RoleStatus{{Role: structs.Role{Name: "default"}, Jobs: 1}, {Role: structs.Role{Name: "eng/web", Weight: 2500, MaxPriority: "production", Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guaranteed, Memory: &memory}}}, Used: structs.Resources{CPU: 500}, Jobs: 1}},
		"/v1/role/eng/web":                       api.RoleStatus{Role: structs.Role{Name: "eng/web", Description: "the web team"}},
		"/v1/shares": []*structs.RoleStanding{{Role: "default", Weight: 1000, Share: 120, Running: 3, Used: structs.Resources{CPU: 3000}},
			{Role: "eng", Weight: 2000, Share: 310, Waiting: 6, Band: "production", Rank: &structs.Rank{Name: "eng", At: 1, Of: 2}, Used: structs.Resources{CPU: 9000}},
			{Role: "eng/web", Weight: 2500, Share: 310, Waiting: 6, Blocked: "eng", Limit: &structs.QuotaAmount{CPU: &guaranteed}}},
		"/v1/shares?role=eng%2Fweb": []*structs.RoleStanding{{Role: "eng/web", Weight: 2500, Share: 310, Running: 4, Waiting: 6, Band: "batch",
			Used: structs.Resources{CPU: 9000, Memory: memory}, Rank: &structs.Rank{Name: "eng/web", Share: 310, Weight: 2500, At: 2, Of: 2, Behind: "eng/ops", BehindShare: 100, BehindWeight: 1000},
			Frameworks: []*structs.FrameworkStanding{{Framework: "service", Share: 310, Running: 4, Waiting: 6, Used: structs.Resources{CPU: 9000, Memory: memory}}}}},
		"/v1/quota/eng/web": api.QuotaStatus{Role: "eng/web", MaxRunning: 10, Running: 2, Pending: 1, MaxPending: 5, Parts: []*api.QuotaPart{
			{Owner: "ann", Running: 2, Used: structs.Resources{CPU: 500}, Limit: structs.Resources{CPU: 1000, Memory: 4 << 30}},
			{FrameworkScheduler: true, Limit: structs.Resources{CPU: 200, Memory: 1 << 30}}},
			Used: structs.Resources{CPU: 500}, Waiting: structs.Resources{CPU: 250, Memory: memory}, Limit: &structs.QuotaAmount{CPU: &guaranteed}},
		"/v1/quotas": []*api.QuotaStatus{{Role: "default"}, {Role: "eng", Guarantee: &structs.QuotaAmount{CPU: &guaranteed, Memory: &memory},
			Used: structs.Resources{CPU: 500, Custom: map[string]structs.Milli{"gpus": 1000}}, Running: 1}},
		"PUT /v1/roles":           api.Written{Index: 8},
		"DELETE /v1/role/eng/web": api.Written{Index: 8},
		"PUT /v1/var/eng/db":      api.Written{Index: 9},
		"DELETE /v1/var/eng/db":   api.Written{Index: 9},
		"/v1/var/eng/db":          api.VariableDetail{Variable: structs.Variable{Path: "eng/db", Version: 7, Modified: structs.At(now), Actor: "local/ann"}, Items: map[string]string{"host": "db1", "ca": "a\nb"}},
		"/v1/var/eng/pw":          api.VariableDetail{Variable: structs.Variable{Path: "eng/pw", Version: 8, Secret: true, Modified: structs.At(now), Expires: structs.At(now.Add(time.Hour))}, Items: map[string]string{"password": "hunter2"}},
		"/v1/vars":                []*structs.Variable{{Path: "eng/db", Size: 11, Version: 7, Modified: structs.At(now), Actor: "local/ann"}, {Path: "eng/pw", Size: 15, Secret: true, Version: 8, Modified: structs.At(now), Expires: structs.At(now.Add(time.Hour))}},
		"/v1/services":            []*structs.ServiceSummary{{Name: "web", Ready: 1, Allocs: 2, Jobs: []string{"web"}, Tags: []string{"v1"}}},
		"/v1/service/web":         []*structs.ServiceInstance{{Service: "web", Address: "10.0.0.1", Port: 8080, Tags: []string{"v1"}, Alloc: structs.AllocID(id("bb01")), Job: "web", Group: "api", NodeName: "node-1"}},
		"/v1/operator/keys": []*api.RegionKey{{RegionKey: structs.RegionKey{ID: id("5ea1"), Active: true, Made: structs.At(now)}, Variables: 2, Servers: []string{"s1", "s2"}, Asked: 3},
			{RegionKey: structs.RegionKey{ID: id("5ea0"), Made: structs.At(now)}, Variables: 1, Asked: 3}},
		"POST /v1/operator/keys/rotate": api.Done{Done: true},
		"/v1/operator/keys/export":      api.KeyExport{Keys: [][]byte{[]byte("key")}},
		"PUT /v1/operator/keys/import":  api.Done{Done: true},
		"DELETE /v1/operator/key/5ea0":  api.Written{Index: 9},
		"POST /v1/volumes":              api.VolumeMade{ID: "5e", Index: 8},
		"/v1/volumes": []*structs.Volume{
			{Name: "data", ID: "5e", Node: structs.NodeID(id("aa01")), NodeName: "node-1", Size: 10 << 30, Access: structs.AccessExclusive, Role: "eng", Status: structs.VolumeReady, Job: "db"},
			{Name: "old", ID: "5f", Size: 1 << 30, Access: structs.AccessShared, Role: "default", Status: structs.VolumeDeleted, Purge: structs.At(now.Add(time.Hour))}},
		"/v1/volume/data": api.VolumeDetail{Volume: structs.Volume{Name: "data", ID: "5e", Node: structs.NodeID(id("aa01")), NodeName: "node-1", Size: 10 << 30,
			Access: structs.AccessExclusive, Role: "eng", Status: structs.VolumeReady, Job: "db", Made: structs.At(now), Labels: map[string]string{"team": "a"}},
			Claims: []*api.VolumeClaim{{Alloc: structs.AllocID(id("bb01")), Incarnation: 65537, Job: "db", Group: "g", Status: structs.AllocRunning, Alone: true}}},
		"DELETE /v1/volume/data":        api.Written{Index: 8},
		"DELETE /v1/volume/old":         api.Written{Index: 8},
		"DELETE /v1/volume/half":        api.Written{Index: 8},
		"DELETE /v1/volume/none":        api.Written{Index: 8},
		"POST /v1/volume/half/resize":   api.Written{Index: 8},
		"/v1/volume/old":                api.VolumeDetail{Volume: structs.Volume{Name: "old", Status: structs.VolumeDeleted, Purge: structs.At(now.Add(time.Hour))}},
		"/v1/volume/half":               api.VolumeDetail{Volume: structs.Volume{Name: "half", Status: structs.VolumePurging, CSI: &structs.CSIVolume{Plugin: "p", Capacity: 1 << 30}}},
		"POST /v1/volume/data/undelete": api.Written{Index: 8},
		"POST /v1/volume/half/detach":   api.Written{Index: 8},
		"POST /v1/volume/data/resize":   api.Written{Index: 8},
		"POST /v1/reservations":         api.Reserved{ID: structs.ReservationID(id("5e5e")), Index: 8},
		"/v1/reservations": []*structs.Reservation{
			{ID: structs.ReservationID(id("5e5e")), Node: structs.NodeID(id("aa01")), NodeName: "node-1", Role: "eng/web", Refines: "eng", Resources: structs.Resources{CPU: 2000, Memory: 4 << 30},
				Owner: structs.FrameworkID(id("fe01")), Orphaned: ago(time.Hour), Principal: "local/ann", Until: structs.At(now.Add(time.Hour))},
			{ID: structs.ReservationID("static:" + id("aa01") + ":eng"), Node: structs.NodeID(id("aa01")), NodeName: "node-1", Role: "eng", Resources: structs.Resources{CPU: 4000}, Static: true}},
		"DELETE /v1/reservation/5e5e": api.Written{Index: 8},
		"/v1/frameworks":              []*structs.Framework{{ID: "service", Name: "service", BuiltIn: true, Connected: true, Since: ago(time.Hour)}},
		"/v1/framework/service":       api.FrameworkDetail{Framework: structs.Framework{ID: "service", Name: "service", BuiltIn: true, Connected: true, Since: ago(time.Hour)}},
		"/v1/framework/spark": api.FrameworkDetail{Framework: structs.Framework{ID: structs.FrameworkID(id("fe01")), Name: "spark", User: "root", Roles: []string{"eng"}, Connected: true,
			Since: ago(time.Hour), FailoverTimeout: structs.Duration(time.Hour)}, Unacknowledged: 2},
		"/v1/framework/spark/offers": structs.OfferStatus{Framework: structs.FrameworkID(id("fe01")), Outstanding: 2, Share: 562, Held: structs.Resources{CPU: 9000}, Full: true,
			Hoarding: true, Ignored: 12, Unused: 14, Offered: 20, Accepted: 3, Declined: 2, Expired: 12, Rescinded: 1,
			Roles: []*structs.RoleOffers{{Role: "eng", Outstanding: 2, Nodes: 3, Hidden: []*structs.HiddenNodes{{Why: "constraint ${meta.rack} = 1", Nodes: 2, On: "node-2"},
				{Why: "it was declined, and has no more now", Nodes: 1, On: "node-1", Until: structs.At(now.Add(5 * time.Second))}}},
				{Role: "ops", Suppressed: true, Limit: "ops", Nodes: 3}}},
		"/v1/offers":                       []*structs.Offer{{ID: "00000000000000020000000000000031", Framework: structs.FrameworkID(id("fe01")), Role: "eng", NodeName: "node-1", Made: ago(5 * time.Second), Expires: structs.At(now.Add(55 * time.Second)), Resources: structs.Resources{CPU: 1000}}},
		"/v1/servers":                      []*api.Member{{Name: "s1", Address: "10.0.0.1:5052", Role: "server", Status: "alive", Leader: true, Version: "1.2.3"}, {Name: "c1", Address: "10.0.0.2:5052", Role: "client", Status: "failed"}},
		"POST /v1/servers/join":            api.Joined{Joined: 1},
		"POST /v1/servers/force-leave":     api.Done{Done: true},
		"/v1/operator/raft/peers":          []*api.RaftPeer{{ID: "p1", Name: "s1", Address: "10.0.0.1:5052", Voter: true, Leader: true, Healthy: true}},
		"DELETE /v1/operator/raft/peer/p2": api.Done{Done: true},
		"POST /v1/operator/raft/transfer":  api.Done{Done: true},
		"/v1/operator/keyring":             api.Keyring{Primary: "k1", Keys: map[string]int{"k1": 3, "k2": 2}, Members: 3, Problems: map[string]string{"c1": "it does not answer"}},
		"POST /v1/operator/keyring":        api.Keyring{Primary: "k2", Keys: map[string]int{"k1": 3, "k2": 3}, Members: 3},
		"PUT /v1/operator/snapshot":        api.SnapshotInfo{Index: 77},
		"/v1/operator/snapshot":            "snapshot bytes",
		"POST /v1/operator/simulate": api.Simulated{Index: 77, Time: ago(time.Minute), Nodes: 3, Asked: 120, Placed: 97, Waiting: 23, Preempted: 1,
			Groups: []*api.SimulatedGroup{{Job: "sums", Group: "g", Role: "science", Priority: structs.DefaultPriority, Waiting: 23, Because: "no_node", Order: "no node takes it",
				Turn: &structs.Turn{At: 98}, Nodes: 3, Reasons: explained.Groups[0].Reasons, Advice: "fits on 1 node if cpu <= 3.5"},
				{Job: "web", Group: "api", Role: "eng/web", Priority: structs.Priority{Band: structs.Production}, Placed: 97, On: map[string]int{"node-1": 40, "node-2": 20, "node-3": 20, "node-4": 10, "node-5": 7}}},
			Stops: []*api.SimulatedStop{{Stopped: *explained.Groups[0].Stops[0], For: "web"}}},
		"/v1/agent/self":    api.Self{Name: "a1", Version: "1.2.3", Region: "global", Datacenter: "dc1", Server: true, Client: true, Dev: true, Node: structs.NodeID(id("aa01")), Leader: "a1", Stats: map[string]string{"raft.commit_index": "77"}},
		"/v1/agent/health":  api.Health{Healthy: true},
		"/v1/agent/monitor": "level=INFO msg=hello\n",
	}
}

const jobText = `job "web" {
  group "api" {
    count = 3
    task "main" {
      driver = "mock"
    }
  }
}
`

// script runs command lines and writes what they print, as a terminal would show it.
func (sh *shell) script(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		code, out, errs := sh.run(strings.Fields(line)...)
		fmt.Fprintf(&b, "$ proffer %s\n%s", line, out)
		if errs != "" {
			for l := range strings.Lines(errs) {
				b.WriteString(strings.TrimRight("! "+l, " \n") + "\n")
			}
		}
		if code != 0 {
			fmt.Fprintf(&b, "exit %d\n", code)
		}
		b.WriteString("\n")
	}
	text := b.String()
	if address := sh.env["PROFFER_ADDR"]; address != "" {
		text = strings.ReplaceAll(text, strings.TrimPrefix(address, "http://"), "AGENT")
	}
	for _, l := range strings.Split(text, "\n") {
		if strings.HasSuffix(l, " ") || strings.Contains(l, "\x1b") {
			sh.t.Errorf("a line ends with a space or controls the terminal: %q", l)
		}
	}
	return text
}

func TestCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("web.hcl", []byte(jobText), 0o644); err != nil {
		t.Fatal(err)
	}
	os.WriteFile("bad.hcl", []byte(strings.Replace(jobText, "driver", "drivr", 1)), 0o644)
	os.WriteFile("empty.hcl", nil, 0o644)
	os.WriteFile("roles.hcl", []byte("role \"eng/web\" {\n  weight = 2\n}\n"), 0o644)
	os.WriteFile("day.trace", []byte("proffer trace 1\n0s node n count=2 cpu=4 memory=8GiB\n0s submit sums role=science count=10 cpu=1 memory=1GiB run=10m\n"), 0o644)
	sh := newShell(t, region())
	text := sh.script([]string{
		"job status", "job status web", "job status -all web", "job status wep", "job status slow", "job stop wep", "job status -t {{range.}}{{.name}}{{end}}", "job status -json -t x",
		"job status -t {{.nme}} web", "job stauts", "jbo status", "job", "job status web extra", "job stop", "job stop -prge web",
		"job validate web.hcl", "job validate bad.hcl", "job validate empty.hcl", "job validate none.hcl", "job plan -exit-code web.hcl", "job run -dry-run web.hcl",
		"job explain web", "job explain spark", "job history web", "job history -revert 1 web", "job inspect web", "job inspect -version 7 web",
		"job stop web", "job stop -purge web", "job restart web", "job scale web 5", "job scale web api reset", "job scale web many", "job init", "job init",
		"job run -detach web.hcl", "job run -check x web.hcl",
		"alloc status", "alloc status -job web", "alloc status 1a2b3c4d5", "alloc logs -job web", "alloc logs -job -stderr web main", "alloc logs -job web mian", "alloc logs 1a2b3c4d5", "alloc logs 1a2b3c4d5 main",
		"alloc stop 1a2b3c4d", "alloc restart 1a2b3c4d main", "alloc restart -signal SIGHUP 1a2b3c4d", "alloc stats 1a2b3c4d", "alloc stats -job web",
		"alloc exec 1a2b3c4d -task main id", "alloc exec 1a2b3c4d --", "alloc exec 1a2b3c4d5 id", "alloc fs 1a2b3c4d", "alloc fs 1a2b3c4d x", "alloc fs -job web x", "alloc fs -stat 1a2b3c4d x",
		"node status", "node status node-1", "node status -attributes self", "node status node-4", "node eligibility -reason disk node-1 off", "node eligibility node-1 maybe",
		"node drain -off node-1", "node drain -detach node-1", "node drain -deadline -5m node-1", "node purge node-1", "node drain -off -gone node-1", "node drain -off -kill node-1", "node drain -detach -kill -max-grace 1m node-1", "node drain -max-grace 1m node-1", "node stats node-1",
		"node maintenance schedule -in 2h -duration 1h node-1", "node maintenance schedule -start tomorrow node-1", "node maintenance schedule -in 2h -start 2026-11-28T22:00:00Z node-1",
		"node maintenance schedule node-1", "node maintenance schedule -start 2020-01-01T00:00:00Z node-1", "node maintenance schedule -in 2h -duration -1h node-1",
		"node maintenance status", "node maintenance end node-1", "node maintenance",
		"role list", "role status", "role status eng/web", "role apply roles.hcl", "quota status", "quota status eng/web", "role delete eng/web",
		"reservation create node-1 eng/web -cpu 2 -memory 4GiB -custom gpus=1 -label team=a -refines eng -until 2h", "reservation create node-1 eng/web",
		"reservation create node-1 eng/web -cpu 2x", "reservation create node-1 eng/web -cpu 2 -from tomorrow", "reservation create node-1 eng/web -cpu 2 -refines ops",
		"volume create data -size 10GiB -node node-1 -role eng -label team=a", "volume create data -size 1", "volume create data", "volume list", "volume list -deleted", "volume list -role eng",
		"volume status data", "volume resize data 20GiB", "volume resize data x", "volume create books -plugin p -size 1GiB", "volume create books -plugin p -external x -access shared", "volume list -node node-1",
		"volume resize half 20GiB", "volume delete old half none", "volume delete -purge half", "volume delete -keep x data", "volume undelete data", "volume detach half node-1", "volume detach -force half node-1",
		"var put eng/db host=db1", "var put -secret eng/db password=x", "var put -secret eng/db password=@web.hcl", "var put -merge eng/db user=web", "var put eng/pw password=x", "var put -merge eng/pw user=@web.hcl", "var put eng/db a=- b=@-", "var put db x=1", "var put eng/db", "var put eng/db x",
		"var get eng/db", "var get eng/db host", "var get eng/db none", "var get eng/pw", "var get -show eng/pw", "var list", "var rm eng/db", "service list", "service status web",
		"operator key list", "operator key rotate", "operator key export k.json", "operator key export k.json", "operator key import k.json", "operator key import web.hcl", "operator key remove 5ea0", "operator key rotate x", "operator key lost",
		"reservation list", "reservation list -orphans", "reservation list -role ops", "reservation delete 5e5e",
		"framework list", "framework status service", "framework status spark", "offer list", "offer explain spark",
		"server members", "server join 10.0.0.1:5052 10.0.0.2:5052", "server force-leave c1",
		"operator raft list-peers", "operator raft remove-peer p2", "operator raft transfer-leader",
		"operator snapshot save s.snap", "operator snapshot save s.snap", "operator snapshot inspect s.snap", "operator snapshot restore s.snap",
		"operator simulate", "operator simulate -add-nodes 2", "operator simulate -add-nodes 2 -like node-1 -job web.hcl -role roles.hcl", "operator simulate -snapshot s.snap",
		"operator simulate -trace day.trace", "operator simulate -trace roles.hcl", "operator simulate -trace day.trace -job web.hcl",
		"operator keyring", "operator keyring use k2", "operator keyring use", "operator keyring rotate",
		"agent-info", "agent-info -health", "monitor", "version", "-version", "completion csh", "agent -x", "-dev", "supervisor a",
	})
	golden(t, "commands.txt", text)
	if raw, err := os.ReadFile("s.snap"); err != nil || string(raw) != "snapshot bytes" {
		t.Errorf("%q %v", raw, err)
	}
}

func TestHelp(t *testing.T) {
	sh := newShell(t, nil)
	e := &Environment{Getenv: func(string) string { return "" }}
	var lines []string
	for name := range Commands(e, Mains{}) {
		if name != "agent" {
			lines = append(lines, name+" -help")
		}
	}
	sort.Strings(lines)
	text := sh.script(append([]string{"-help", "help exit-codes"}, lines...))
	golden(t, "help.txt", text)
	for _, l := range strings.Split(text, "\n") {
		if len(l) > 160 {
			t.Errorf("a line of help is too long: %q", l)
		}
	}
}

func TestKindsBecomeExitCodes(t *testing.T) {
	for kind, want := range map[structs.Kind]int{structs.NotFound: 3, structs.Invalid: 4, structs.Conflict: 5, structs.Forbidden: 6, structs.Exhausted: 9, structs.Internal: 1} {
		sh := newShell(t, canned{"/v1/jobs": structs.Errorf(kind, "region", "no").Advise("try this")})
		if code, out, errs := sh.run("job", "status"); code != want || out != "" || errs != "Error: region: no\nHint: try this\n" {
			t.Errorf("%s: %d %q %q", kind, code, out, errs)
		}
	}
	seen := map[int]bool{}
	for _, row := range exitTable {
		if seen[row.code] || row.text == "" {
			t.Errorf("code %d is there twice or says nothing", row.code)
		}
		seen[row.code] = true
	}
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitNotPlaced, exitUnhealthy, exitTimeout, exitStopped, exitProffer, exitInterrupt} {
		if !seen[code] {
			t.Errorf("code %d is not in the table", code)
		}
	}
}

func TestNoAgent(t *testing.T) {
	sh := newShell(t, nil)
	sh.env["PROFFER_ADDR"] = "127.0.0.1:1"
	code, _, errs := sh.run("job", "status")
	if code != exitUnavailable || !strings.Contains(errs, "cannot be reached") || !strings.Contains(errs, "Hint: start one with proffer agent -dev") {
		t.Errorf("%d %s", code, errs)
	}
	sh.env["PROFFER_ADDR"] = "ftp://x"
	if code, _, errs := sh.run("job", "status"); code != exitInvalid {
		t.Errorf("%d %s", code, errs)
	}
}

func TestContexts(t *testing.T) {
	var token string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("Authorization")
		io.WriteString(w, "[]")
	}))
	defer server.Close()
	home := t.TempDir()
	config := filepath.Join(home, ".config", "proffer")
	os.MkdirAll(config, 0o700)
	write := func(name, text string) { os.WriteFile(filepath.Join(config, name), []byte(text), 0o600) }
	sh := newShell(t, nil)
	sh.env["HOME"] = home
	write("config.json", fmt.Sprintf(`{"context": "here", "at": {"here": {"address": %q, "token": "t0"}}}`, server.URL))
	if code, _, errs := sh.run("job", "status"); code != 0 || token != "Bearer t0" {
		t.Errorf("%d %q %s", code, token, errs)
	}
	write("config.hcl", fmt.Sprintf("at \"prod\" {\n  address = %q\n  token = \"t1\"\n}\n", server.URL))
	if code, _, errs := sh.run("job", "status", "-context", "prod"); code != 0 || token != "Bearer t1" {
		t.Errorf("%d %q %s", code, token, errs)
	}
	sh.env["PROFFER_CONTEXT"] = "prod"
	sh.env["PROFFER_TOKEN"] = "mine"
	if code, _, errs := sh.run("job", "status"); code != 0 || token != "Bearer mine" {
		t.Errorf("%d %q %s", code, token, errs)
	}
	if code, _, errs := sh.run("job", "status", "-context", "pord"); code != exitNotFound || !strings.Contains(errs, `did you mean "prod"?`) {
		t.Errorf("%d %s", code, errs)
	}
	write("config.hcl", "at \"prod\" {\n  adress = \"x\"\n}\n")
	if code, _, errs := sh.run("job", "status"); code != exitInvalid || !strings.Contains(errs, "config.hcl") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestCompletion(t *testing.T) {
	server := httptest.NewServer(region())
	defer server.Close()
	e := &Environment{Getenv: func(k string) string { return map[string]string{"PROFFER_ADDR": server.URL}[k] }}
	if got := jobStatus(e).predict.Predict(predictArgs("w")); !strings.Contains(fmt.Sprint(got), "web") {
		t.Error(got)
	}
	if got := allocStop(e).predict.Predict(predictArgs("1a")); len(got) != 3 {
		t.Error(got)
	}
	if _, ok := jobStop(e).AutocompleteFlags()["-purge"]; !ok {
		t.Error("the flags of job stop lack -purge")
	}
	sh := newShell(t, nil)
	for _, of := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := sh.run("completion", of); code != 0 || !strings.Contains(out, "proffer") {
			t.Errorf("%s: %d %q", of, code, out)
		}
	}
}

func TestExampleIsValid(t *testing.T) {
	job, err := spec.ReadJob("example.hcl", fmt.Appendf(nil, example, "example.hcl"), spec.Vars{}, nil)
	if err != nil || job.Name != "example" {
		t.Errorf("%+v %v", job, err)
	}
}

func TestJSONIsWhatTheAPISends(t *testing.T) {
	sh := newShell(t, region())
	_, out, _ := sh.run("job", "status", "-json")
	var jobs []*api.JobSummary
	if err := json.Unmarshal([]byte(out), &jobs); err != nil || len(jobs) != 2 || jobs[0].Groups[0].Running != 2 {
		t.Errorf("%v: %s", err, out)
	}
	if code, out, errs := sh.run("alloc", "status", "-t", `{{range .}}{{short .id}} {{.status}} {{json .version}}{{"\n"}}{{end}}`); code != 0 || !strings.HasPrefix(out, "1a2b3c4d running 2\n") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

func TestCleanTextOnly(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "\x1b[31mred": "\uFFFD[31mred", "a\rb": "a\uFFFDb", "bell\a": "bell\uFFFD", "é ü": "é ü",
		"\u202egnp": "\uFFFDgnp", "bad\xff": "bad\uFFFD", "two\nlines": "two\nlines", "c1\u009b31m": "c1\uFFFD31m"} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := cell("two\nlines\tand"); got != "two lines and" {
		t.Errorf("%q", got)
	}
}

// A drain that waits says what each allocation waits for.
func TestADrainThatWaitsSaysWhy(t *testing.T) {
	defer func(was time.Duration) { drainPatience = was }(drainPatience)
	drainPatience = 0
	looks := 0
	answers := region()
	node := api.NodeDetail{Node: structs.Node{ID: structs.NodeID(id("aa01")), Name: "node-1", Status: structs.NodeReady, Drain: &structs.Drain{}}}
	answers["/v1/node/"+id("aa01")] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		looks++
		n := node
		if looks < 4 {
			n.Allocations = []*structs.Allocation{
				{ID: structs.AllocID(id("1a2b3c4d")), Job: "web", Group: "api", Index: 2, Desired: structs.DesiredRun, Status: structs.AllocRunning},
				{ID: structs.AllocID(id("3a2b3c4d")), Job: "web", Group: "api", Index: 1, Desired: structs.DesiredRun, Status: structs.AllocRunning,
					Next: structs.AllocID(id("4a2b3c4d"))},
				{ID: structs.AllocID(id("2a2b3c4d")), Job: "web", Group: "api", Index: 3, Desired: structs.DesiredStop, Status: structs.AllocRunning},
			}
		}
		json.NewEncoder(w).Encode(n)
	})
	answers["/v1/allocation/"+id("4a2b3c4d")] = api.AllocDetail{Allocation: structs.Allocation{ID: structs.AllocID(id("4a2b3c4d")), Status: structs.AllocPending}}
	answers["/v1/job/web/explain"] = api.Explanation{Job: "web", Groups: []*api.GroupExplanation{{Group: "api", Nodes: 2, Count: 3, Reasons: []*api.Reason{
		{What: "node drains", Nodes: 1, Nearest: "on node-1"}, {What: "memory", Nodes: 1, Nearest: "2GiB asked, 1.5GiB free on node-2"}}}}}
	code, out, errs := newShell(t, answers).run("node", "drain", "-deadline", "0", "node-1")
	want := `Node node-1 is being drained.
  3 allocations left
  ALLOCATION  JOB  GROUP   WAITS BECAUSE
  1a2b3c4d    web  api[2]  no other node would take it: memory: 2GiB asked, 1.5GiB free on node-2
  3a2b3c4d    web  api[1]  the one in its place, 4a2b3c4d, has to be healthy first
  2a2b3c4d    web  api[3]  it is being stopped
  Hint: the drain has no deadline; proffer node drain -off node-1 ends the drain
Node node-1 is empty.
`
	if code != exitOK || out != want || errs != "" {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

func TestASnapshotIsDescribed(t *testing.T) {
	var b bytes.Buffer
	writeSnapshot(&b, &api.SnapshotInfo{Version: 1, Index: 77, Region: "global", Time: ago(time.Hour), Size: 5 << 20,
		Records: map[string]int{"jobs": 2, "nodes": 3}, SHA256: "abc"})
	want := `Region   global
Index    77
Time     2026-03-01 11:00:00
Format   1
Size     5MiB
SHA-256  abc

Records
TABLE  RECORDS
jobs   2
nodes  3
`
	if b.String() != want {
		t.Error(b.String())
	}
}

func TestAValueThatIsNoneOfAFlag(t *testing.T) {
	code, _, errs := newShell(t, region()).run("alloc", "logs", "-tail", "x", "1a2b3c4d")
	if code != exitUsage || !strings.HasPrefix(errs, `proffer alloc logs: -tail: "x" is not a valid BYTES`) {
		t.Errorf("%d: %s", code, errs)
	}
}

// A node that is back takes no work before it told what it runs, and says so.
func TestANodeThatHasNotTold(t *testing.T) {
	n := structs.Node{ID: structs.NodeID(id("aa01")), Name: "node-1", Status: structs.NodeReady, Eligible: true, Untold: true}
	var list, one bytes.Buffer
	writeNodes(&list, []*structs.Node{&n}, time.Unix(0, 0))
	writeNode(&one, &api.NodeDetail{Node: n}, false, time.Unix(0, 0))
	for _, said := range []string{list.String(), one.String()} {
		if !strings.Contains(said, "untold") {
			t.Errorf("it says\n%s", said)
		}
	}
}
