package operator

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// What is revocable is beside the rest under names of its own, of tasks, executors, offers, nodes and frameworks, and marked where amounts travel
// as objects.
func TestRevocableAmounts(t *testing.T) {
	r := peopled(t)
	slack := structs.Slack{CPU: 2500, Memory: 1 << 30}
	r.slacks = map[structs.NodeID]structs.Slack{"n1": slack}
	pod := r.command("f1", "n1", "soft", structs.Resources{CPU: 1000, Memory: 64 << 20})
	x := pod.Alloc.External
	x.Executor, x.Own, x.OwnRevocable = "x", structs.Resources{CPU: 500, Memory: 32 << 20}, &structs.Slack{CPU: 500}
	x.Tasks[0].Resources, x.Tasks[0].Revocable = pod.Alloc.Resources, &structs.Slack{CPU: 1000, Memory: 64 << 20}
	alloc := *pod.Alloc
	alloc.AddUp()
	pod.Alloc = &alloc
	r.place(pod, structs.AllocRunning, map[string]*structs.TaskState{"soft": {Status: structs.TaskRunning}})
	r.offers = append(r.offers, &structs.Offer{ID: "o2", Framework: "f1", Role: "eng", Node: "n1", Revocable: true, Resources: structs.Resources{CPU: 1000, Memory: 512 << 20}})
	s := r.servers()
	doc := r.tree(s, "/state")
	f := doc.in("frameworks|0")
	for _, task := range f.v.(map[string]any)["tasks"].([]any) {
		if at := (node{t, "task", task}); at.in("id").v == "soft" {
			at.is("resources", `{"cpus":0,"cpus_revocable":1,"disk":0,"gpus":0,"mem":0,"mem_revocable":64}`)
		} else {
			at.is("resources", `{"cpus":1.5,"disk":0,"gpus":0,"mem":64}`)
		}
	}
	f.is("executors|0|resources", `{"cpus":0,"cpus_revocable":0.5,"disk":0,"gpus":0,"mem":32}`)
	f.is("used_resources", `{"cpus":1.5,"cpus_revocable":1.5,"disk":0,"gpus":0,"mem":96,"mem_revocable":64}`)
	f.is("offered_resources", `{"cpus":4,"cpus_revocable":1,"disk":0,"gpus":0,"mem":1024,"mem_revocable":512}`)
	f.is("offers|1|resources", `{"cpus":0,"cpus_revocable":1,"disk":0,"gpus":0,"mem":0,"mem_revocable":512}`)
	n := r.tree(s, "/slaves?slave_id=n1").in("slaves|0")
	n.is("resources", `{"cpus":8,"cpus_revocable":2.5,"disk":102400,"gpus":2,"mem":16384,"mem_revocable":1024,"ports":"[20000-32000]"}`)
	n.is("used_resources|cpus", "1.8")
	n.is("used_resources|cpus_revocable", "1.5")
	n.is("offered_resources|cpus_revocable", "1")
	full := n.in("used_resources_full")
	got := []string{}
	for _, one := range full.v.([]any) {
		at := node{t, "full", one}
		if m := at.v.(map[string]any); m["revocable"] != nil {
			got = append(got, m["name"].(string))
			at.is("scalar|value", map[string]string{"cpus": "1.5", "mem": "64"}[m["name"].(string)])
		}
	}
	if strings.Join(got, " ") != "cpus mem" {
		t.Errorf("revocable of what is used are %v", got)
	}
	roles := r.tree(s, "/roles")
	for _, role := range roles.v.(map[string]any)["roles"].([]any) {
		if at := (node{t, "role", role}); at.in("name").v == "eng" {
			at.is("allocated|cpus_revocable", "1.5")
			at.is("offered|mem_revocable", "512")
		}
	}
	m := r.tree(s, "/metrics/snapshot").v.(map[string]any)
	for name, want := range map[string]float64{"cpus_revocable_total": 2.5, "cpus_revocable_used": 1.5, "cpus_revocable_percent": 0.6, "mem_revocable_total": 1024,
		"mem_revocable_used": 64, "disk_revocable_total": 0, "gpus_revocable_used": 0, "cpus_used": 1.8} {
		if got := m["master/"+name]; got != want {
			t.Errorf("master/%s is %v, want %v", name, got, want)
		}
	}
	// Another slack makes another document.
	r.slacks = map[structs.NodeID]structs.Slack{"n1": {CPU: 500}}
	r.tree(s, "/slaves").is("slaves|0|resources|cpus_revocable", "0.5")
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		var got []string
		out := &wire.OperatorResponse{}
		if err := e.Unmarshal(r.post(s, e, &wire.OperatorCall{Type: new(wire.OperatorGetTasks)}).Body.Bytes(), out); err != nil {
			t.Fatal(err)
		}
		for _, task := range out.Tasks.Tasks {
			for _, x := range task.Resources {
				if x.Revocable != nil {
					got = append(got, task.TaskID.Value+" "+x.Name)
				}
			}
		}
		if strings.Join(got, ", ") != "soft cpus, soft mem" {
			t.Errorf("%s: revocable are %v", e.ContentType(), got)
		}
	}
}
