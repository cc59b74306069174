package operator

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// domain is where something of the region is.
func domain(zone string) string {
	return `{"fault_domain":{"region":{"name":"global"},"zone":{"name":"` + zone + `"}}}`
}

func TestState(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	for _, url := range []string{"/state", "/state.json", "/master/state", "/master/state.json"} {
		doc := r.tree(s, url)
		doc.is("version", `"1.11.0"`)
		doc.is("leader", `"master@10.0.0.1:5050"`)
		doc.is("leader_info|port", "5050")
		doc.is("hostname", `"10.0.0.1"`)
		doc.is("cluster", `"global"`)
		doc.is("domain", domain("dc1"))
		doc.is("leader_info|domain", domain("dc1"))
		doc.is("elected_time", "5")
		doc.is("flags|region", `"global"`)
		doc.is("activated_slaves", "1")
		doc.is("deactivated_slaves", "1")
		doc.is("unreachable_slaves", "1")
		doc.len("orphan_tasks", 0)
	}
}

// A task in a network of its own is shown with what it was given there, and what its plugins were asked for.
func TestNetworksInState(t *testing.T) {
	r := peopled(t)
	p := r.command("f1", "n1", "t4", structs.Resources{CPU: 100, Ports: 2})
	p.Job.Groups[0].Network = &structs.Network{Mode: "cni/lan", Addresses: []string{"10.1.2.3"}, Groups: []string{"shop"}, Labels: map[string]string{"app": "web"}}
	p.Job.Groups[0].Network.Further = []*structs.FurtherNetwork{{Name: "back", Interface: "eth1", Groups: []string{"store"}}}
	p.Alloc.Ports = []structs.AssignedPort{{Label: "p31003", Host: "10.0.0.9", Port: 31003, To: 90, Network: "back"}, {Label: "p31001", Host: "10.0.0.9", Port: 31001, To: 80, Protocol: "tcp"}, {Host: "10.0.0.9", Port: 31002}}
	r.place(p, structs.AllocRunning, map[string]*structs.TaskState{"t4": {Status: structs.TaskRunning, Addresses: []string{"10.1.2.3", "fd00::3"},
		Joined: []structs.JoinedNetwork{{Name: "back", Interface: "eth1", Addresses: []string{"10.2.2.3"}}}}})
	const want = `[{"name":"lan","groups":["shop"],"labels":{"labels":[{"key":"app","value":"web"}]},"ip_addresses":[{"ip_address":"10.1.2.3","protocol":"IPv4"},` +
		`{"ip_address":"fd00::3","protocol":"IPv6"}],"port_mappings":[{"container_port":80,"host_port":31001,"protocol":"tcp"}]},` +
		`{"name":"back","groups":["store"],"ip_addresses":[{"ip_address":"10.2.2.3","protocol":"IPv4"}],"port_mappings":[{"container_port":90,"host_port":31003}]}]`
	same := func(what string, got any) {
		t.Helper()
		var has, wants any
		raw, err := json.Marshal(got)
		if b, is := got.([]byte); is {
			raw, err = b, nil
		}
		if err != nil || json.Unmarshal(raw, &has) != nil || json.Unmarshal([]byte(want), &wants) != nil || !reflect.DeepEqual(has, wants) {
			t.Errorf("%s: %s, want %s", what, raw, want)
		}
	}
	same("/state", r.tree(r.servers(), "/state").in("frameworks|0|tasks|1|statuses|0|container_status|network_infos").v)
	for _, x := range newPicture(r.store.Snapshot()).getTasks().Tasks {
		if x.TaskID.Value == "t4" {
			var all []json.RawMessage
			for _, n := range x.Statuses[0].ContainerStatus.NetworkInfos {
				all = append(all, wire.JSON.Marshal(&n))
			}
			same("GET_TASKS", all)
		}
	}
}

// What mesos-dns and load balancers look for.
func TestTasksInState(t *testing.T) {
	r := peopled(t)
	doc := r.tree(r.servers(), "/state")
	doc.len("frameworks", 2)
	f := doc.in("frameworks|0")
	f.is("id", `"f1"`)
	f.is("name", `"spark \"s\""`)
	f.is("active", "true")
	f.is("failover_timeout", "90")
	f.is("roles", `["eng","*"]`)
	f.is("used_resources|cpus", "1.5")
	f.is("offered_resources|cpus", "4")
	f.is("resources|cpus", "5.5")
	f.len("tasks", 1)
	f.is("tasks|0|id", `"t1"`)
	f.is("tasks|0|slave_id", `"n1"`)
	f.is("tasks|0|executor_id", `""`)
	f.is("tasks|0|name", `"number one"`)
	f.is("tasks|0|user", `"nobody"`)
	f.is("completed_tasks|0|user", `"root"`) // the framework's
	f.is("tasks|0|labels", `[{"key":"tier","value":"gold"}]`)
	f.is("tasks|0|discovery|name", `"ones"`)
	f.is("tasks|0|state", `"TASK_RUNNING"`)
	f.is("tasks|0|resources", `{"cpus":1.5,"disk":0,"gpus":0,"mem":64}`)
	f.is("tasks|0|statuses|0|container_status|container_id|value", `"alloc-t1"`)
	f.is("tasks|0|statuses|0|container_status|network_infos|0|ip_addresses|0|ip_address", `"10.0.0.9"`)
	f.len("completed_tasks", 1)
	f.is("completed_tasks|0|state", `"TASK_FAILED"`)
	f.len("offers", 1)
	f.is("offers|0|resources|mem", "1024")

	built := doc.in("frameworks|1")
	built.is("roles", `["eng"]`)
	built.len("tasks", 2)
	built.is("tasks|0|id", `"alloc-web.server"`)
	built.is("tasks|0|name", `"server.g.web"`)
	built.is("tasks|0|user", `"www"`)
	built.is("tasks|0|executor_id", `"alloc-web"`)
	built.is("tasks|0|resources|ports", `"[20001-20001]"`)
	built.is("tasks|0|discovery|name", `"shop"`)
	built.is("tasks|0|discovery|ports|ports|0|number", "20001")
	built.is("tasks|0|labels", `[{"key":"team","value":"a"}]`)
	built.is("tasks|0|statuses|0|timestamp", "90")
	built.is("tasks|0|statuses|0|container_status|container_id|parent|value", `"alloc-web"`)
	built.is("tasks|1|state", `"TASK_STARTING"`)
	built.is("used_resources|ports", `"[20001-20001]"`)
	doc.len("completed_frameworks", 1)
	doc.is("completed_frameworks|0|id", `"f2"`)
}

func TestSlaves(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	doc := r.tree(s, "/slaves")
	doc.len("slaves", 2)
	n := doc.in("slaves|0")
	n.is("id", `"n1"`)
	n.is("hostname", `"10.0.0.9"`)
	n.is("pid", `"slave(1)@10.0.0.9:5051"`)
	n.is("attributes", `{"rack":"r1","unit":7}`)
	n.is("domain", domain("dc2"))
	n.is("active", "true")
	n.is("resources", `{"cpus":8,"disk":102400,"gpus":2,"mem":16384,"ports":"[20000-32000]"}`)
	n.is("used_resources|cpus", "1.8")
	n.is("used_resources|ports", `"[20001-20001]"`)
	n.is("offered_resources|cpus", "4")
	n.is("reserved_resources|eng|cpus", "2")
	n.is("unreserved_resources|cpus", "6")
	n.is("reserved_resources_full|eng|0|role", `"eng"`)
	n.is("reserved_resources_full|eng|0|reservations|0|role", `"eng"`)
	n.is("unreserved_resources_full|0|scalar|value", "6")
	doc.is("slaves|1|deactivated", "true")
	doc.is("slaves|1|port", "6051")
	doc.is("slaves|1|pid", `"slave(1)@10.0.0.9:6051"`)
	doc.is("slaves|1|drain_info|state", `"DRAINED"`)
	r.tree(s, "/slaves?slave_id=n2").is("slaves|0|id", `"n2"`)
	r.tree(s, "/slaves?slave_id=none").len("slaves", 0)
}

func TestTasksPages(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	r.tree(s, "/tasks").is("tasks|0|id", `"t2"`) // the newest first
	r.tree(s, "/tasks").len("tasks", 4)
	r.tree(s, "/tasks?order=asc").is("tasks|0|id", `"alloc-web.server"`)
	page := r.tree(s, "/tasks?order=asc&limit=2&offset=1")
	page.len("tasks", 2)
	page.is("tasks|0|id", `"alloc-web.proxy"`)
	page.is("tasks|1|id", `"t1"`)
	r.tree(s, "/tasks?limit=0").len("tasks", 0)
	r.tree(s, "/master/tasks.json?task_id=t2").len("tasks", 1)
	r.tree(s, "/tasks?task_id=alloc-web.proxy").is("tasks|0|name", `"proxy.g.web"`)
	r.tree(s, "/tasks?framework_id=f1").len("tasks", 2)
	r.tree(s, "/tasks?framework_id=none").len("tasks", 0)
	for _, bad := range []string{"limit=-1", "offset=x", "order=up"} {
		if w := r.ask(s, http.MethodGet, "/tasks?"+bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
}

func TestSummaryFrameworksAndRoles(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	doc := r.tree(s, "/state-summary")
	doc.is("slaves|0|TASK_RUNNING", "2")
	doc.is("slaves|0|framework_ids", `["f1","service"]`)
	doc.is("slaves|1|framework_ids", `[]`)
	doc.is("frameworks|0|TASK_FAILED", "1")
	doc.is("frameworks|0|slave_ids", `["n1"]`)

	r.tree(s, "/frameworks").len("frameworks", 2)
	one := r.tree(s, "/frameworks?framework_id=f1")
	one.len("frameworks", 1)
	one.len("completed_frameworks", 0)

	r.must(&state.PutRole{Role: &structs.Role{Name: "eng", Weight: 2500, Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: new(structs.Milli(4000))}}}, Force: true})
	roles := r.tree(s, "/roles")
	roles.is("roles|0|name", `"*"`)
	roles.is("roles|0|weight", "1")
	for _, kind := range []wire.OperatorCallType{wire.OperatorGetRoles, wire.OperatorGetWeights} {
		if said := r.post(s, wire.JSON, &wire.OperatorCall{Type: &kind}).Body.String(); strings.Contains(said, `"weight":0.0`) {
			t.Errorf("a role weighs nothing: %s", said)
		}
	}
	eng := roles.in("roles|1")
	eng.is("weight", "2.5")
	eng.is("quota|limit", `{"cpus":4}`)
	eng.is("quota|guarantee", `{}`)
	eng.is("allocated|cpus", "1.8")
	eng.is("reserved|cpus", "2")
	eng.is("frameworks", `["f1","service"]`)
}

func TestMetrics(t *testing.T) {
	r := peopled(t)
	r.must(&state.PutRole{Role: &structs.Role{Name: "eng", Quota: &structs.Quota{Limit: &structs.QuotaAmount{CPU: new(structs.Milli(4000))}}}, Force: true})
	doc := r.tree(r.servers(), "/metrics/snapshot?timeout=10secs")
	doc.is("master/elected", "1")
	doc.is("master/cpus_total", "16")
	doc.is("master/cpus_used", "1.8")
	doc.is("master/cpus_percent", "0.1125")
	doc.is("master/slaves_active", "1")
	doc.is("master/slaves_inactive", "1")
	doc.is("master/slaves_unreachable", "1")
	doc.is("master/frameworks_active", "2")
	doc.is("master/tasks_running", "2")
	doc.is("master/tasks_failed", "1")
	doc.is("master/outstanding_offers", "1")
	doc.is("allocator/mesos/resources/cpus/total", "16")
	doc.is("allocator/mesos/resources/cpus/offered_or_allocated", "5.8")
	doc.is("allocator/mesos/resources/mem/offered_or_allocated", "1344")
	doc.is("allocator/mesos/roles/eng/shares/dominant", "0.3625")
	doc.is("allocator/mesos/quota/roles/eng/resources/cpus/limit", "4")
	doc.is("allocator/mesos/quota/roles/eng/resources/cpus/offered_or_allocated", "5.8")
	s := r.servers()
	s.Counts = &mesos.Counts{}
	for _, c := range []*wire.Call{{Type: new(wire.CallSubscribe)}, {Type: new(wire.CallSubscribe), FrameworkID: &wire.ID{Value: "f1"}}, {Type: new(wire.CallSubscribe)},
		{Type: new(wire.CallAccept)}, {Type: new(wire.CallAcknowledge)}, {Type: new(wire.CallAccept)}} {
		s.Counts.Count(c)
	}
	doc = r.tree(s, "/metrics/snapshot")
	doc.is("master/messages_register_framework", "2")
	doc.is("master/messages_reregister_framework", "1")
	doc.is("master/messages_launch_tasks", "2")
	doc.is("master/messages_status_update_acknowledgement", "1")
	doc.is("master/slave_registrations", "3")
	doc.is("master/slave_removals", "1")
	doc.is("master/slave_removals/reason_unhealthy", "1")
	r.must(&state.AcknowledgeUpdates{Framework: "f1", Updates: []state.Acknowledged{{Task: "t2", Node: "n1", UUID: r.Store().Snapshot().Alloc("alloc-t2").External.Tasks[0].Outstanding().UUID}}},
		&state.Collect{MaxFinished: -1})
	if r.Store().Snapshot().Alloc("alloc-t2") != nil {
		t.Fatal("it is not forgotten")
	}
	r.tree(s, "/metrics/snapshot").is("master/tasks_failed", "1") // a counter does not go back
	r.follows.Store(true)
	r.tree(r.servers(), "/metrics/snapshot").is("master/elected", "0")
}

// Only the leader says what the region is; whoever asks another server is sent there.
func TestWhereToAsk(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	at := func(url string, status int, location string) {
		t.Helper()
		w := r.ask(s, http.MethodGet, url)
		if w.Code != status || w.Header().Get("Location") != location {
			t.Errorf("%s: %d %q, want %d %q", url, w.Code, w.Header().Get("Location"), status, location)
		}
	}
	at("/redirect", 307, "//10.0.0.1:5050")
	r.follows.Store(true)
	at("/master/redirect", 307, "//10.0.0.1:5050")
	at("/master/state?x=1", 307, "//10.0.0.1:5050/master/state?x=1")
	at("/tasks", 307, "//10.0.0.1:5050/tasks")
	for _, own := range []string{"/health", "/version", "/flags", "/metrics/snapshot", "/master/health", "/system/stats.json"} {
		at(own, 200, "")
	}
	r.leader = ""
	at("/state", 503, "")
	at("/redirect", 503, "")
	at("/health", 200, "")
	if w := r.ask(s, http.MethodPost, "/state"); w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestPadding(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	w := r.ask(s, http.MethodGet, "/version?jsonp=jQuery.cb_1")
	if text := w.Body.String(); !strings.HasPrefix(text, `jQuery.cb_1({"version":"1.11.0"`) || !strings.HasSuffix(text, "});") ||
		w.Header().Get("Content-Type") != "text/javascript" {
		t.Errorf("%q: %s", w.Header().Get("Content-Type"), text)
	}
	if w := r.ask(s, http.MethodGet, "/version?jsonp=alert(1)//"); w.Code != http.StatusBadRequest {
		t.Errorf("code as a name: %d", w.Code)
	}
}
