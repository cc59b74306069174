package operator

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// Each member of the documents that tools of Mesos read is there, where there is something to say.
func TestMembersOfDocuments(t *testing.T) {
	r := peopled(t)
	m := busy(t)
	servers, clients := r.servers(), m.clients()
	for url, members := range map[string]map[string]string{
		"/state": {
			"": "version build_date build_time build_user start_time elected_time id pid hostname capabilities activated_slaves deactivated_slaves unreachable_slaves domain leader " +
				"leader_info cluster flags slaves recovered_slaves frameworks completed_frameworks orphan_tasks unregistered_frameworks",
			"slaves|0": "id hostname port attributes domain pid registered_time resources used_resources offered_resources reserved_resources unreserved_resources active deactivated " +
				"version capabilities",
			"slaves|1": "drain_info",
			"frameworks|0": "id name used_resources offered_resources resources capabilities labels hostname webui_url active connected recovered user failover_timeout checkpoint " +
				"registered_time unregistered_time roles tasks unreachable_tasks completed_tasks offers executors",
			"frameworks|0|tasks|0":            "id name framework_id executor_id slave_id state resources role statuses user labels discovery",
			"frameworks|0|tasks|0|statuses|0": "state timestamp container_status",
			"frameworks|0|tasks|0|resources":  "cpus gpus mem disk",
			"completed_frameworks|0":          "id name unregistered_time",
		},
		"/slaves":        {"": "slaves recovered_slaves", "slaves|0": "reserved_resources_full unreserved_resources_full used_resources_full offered_resources_full"},
		"/frameworks":    {"": "frameworks completed_frameworks unregistered_frameworks"},
		"/roles":         {"": "roles", "roles|1": "name weight quota resources allocated offered reserved frameworks", "roles|1|quota": "role guarantee limit consumed"},
		"/state-summary": {"": "hostname cluster slaves frameworks", "slaves|0": "TASK_STAGING TASK_RUNNING TASK_UNREACHABLE framework_ids", "frameworks|0": "TASK_FAILED TASK_LOST slave_ids"},
		"/version":       {"": "version build_date build_time build_user"},
		"/flags":         {"": "flags"},
	} {
		doc := r.tree(servers, url)
		for at, names := range members {
			has(t, doc, at, names)
		}
	}
	for url, members := range map[string]map[string]string{
		"/state": {
			"": "version build_date build_time build_user start_time id pid hostname capabilities domain resources reserved_resources unreserved_resources reserved_resources_full " +
				"unreserved_resources_full reserved_resources_allocated unreserved_resources_allocated attributes master_hostname flags frameworks completed_frameworks",
			"frameworks|0":             "id name user failover_timeout checkpoint hostname principal role executors completed_executors",
			"frameworks|0|executors|0": "id name source container directory resources type tasks queued_tasks completed_tasks",
		},
		"/monitor/statistics": {"0": "container_id executor_id executor_name framework_id source statistics status"},
		"/containers":         {"0": "container_id executor_id executor_name framework_id source statistics status"},
	} {
		doc := m.tree(clients, url)
		for at, names := range members {
			has(t, doc, at, names)
		}
	}
}

// What the work of a node holds is told apart by for whom it was set aside: of a role, and of those below it, first.
func TestAllocatedOfReserved(t *testing.T) {
	m := busy(t)
	m.reserved = map[string]*structs.Resources{"eng": {CPU: 700, Memory: 1 << 30}, "ops": {CPU: 100}}
	for i, role := range []string{"eng", "eng/web", "default"} { // each has half a core and 64 MiB
		m.known[i].Alloc.Role = role
	}
	doc := m.tree(m.clients(), "/state")
	doc.is("reserved_resources_allocated|eng|cpus", "0.7")
	doc.is("reserved_resources_allocated|eng|mem", "128")
	doc.is("unreserved_resources_allocated|cpus", "0.8")
	doc.is("unreserved_resources_allocated|mem", "64")
	doc.is("master_hostname", `"s1"`)
	if _, there := doc.in("reserved_resources_allocated").v.(map[string]any)["ops"]; there {
		t.Error("a role that has no work there holds something")
	}
}

// has demands that an object of a document has members.
func has(t *testing.T, doc node, at, names string) {
	t.Helper()
	if at != "" {
		doc = doc.in(at)
	}
	object, is := doc.v.(map[string]any)
	if !is {
		t.Errorf("%s %s is no object", doc.at, at)
	}
	for name := range strings.FieldsSeq(names) {
		if _, there := object[name]; !there {
			t.Errorf("%s %s has no %s", doc.at, at, name)
		}
	}
}
