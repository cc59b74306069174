package operator

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/structs"
)

func (r *region) older(s *Servers, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Older(w, httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body)), mesos.Caller{Actor: "op", Principal: "alice"})
	return w
}

// Each path with what is done by it, in order, and with what is wrong of it.
func TestOlderPaths(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	form := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	room := `[{"name":"disk","type":"SCALAR","scalar":{"value":1024},"reservations":[{"type":"DYNAMIC","role":"eng"}]}]`
	much := strings.ReplaceAll(room, "1024", "1e9")
	volume := `[{"name":"disk","type":"SCALAR","scalar":{"value":512},"reservations":[{"type":"DYNAMIC","role":"eng"}],
		"disk":{"persistence":{"id":"data"},"volume":{"container_path":"data","mode":"RW"}}}]`
	window := `{"windows":[{"machine_ids":[{"hostname":"n1"}],"unavailability":{"start":{"nanoseconds":4000000000000000000}}}]}`
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/teardown", "", 405, "'POST'"},
		{"POST", "/teardown", "", 400, "Missing 'frameworkId'"},
		{"POST", "/teardown", "%zz", 400, "Unable to decode"},
		{"POST", "/teardown", form("frameworkId", "nobody"), 400, "No framework found"},
		{"POST", "/master/teardown", form("frameworkId", "f2"), 400, "No framework found"},
		{"POST", "/teardown", form("frameworkId", structs.ServiceJob), 400, "built in"},

		{"POST", "/reserve", form("resources", room), 400, "Missing 'slaveId'"},
		{"POST", "/reserve", form("slaveId", "n1"), 400, "Missing 'resources'"},
		{"POST", "/reserve", form("slaveId", "n1", "resources", "{}"), 400, "JSON array"},
		{"POST", "/reserve", form("slaveId", "n1", "resources", `[]} {`), 400, "JSON array"},
		{"POST", "/reserve", form("slaveId", "n1", "resources", `[{}]`), 400, "name is missing"},
		{"POST", "/reserve", form("slaveId", "n1", "resources", `[]`), 400, "RESERVE"},
		{"POST", "/reserve", form("slaveId", `n1"},"agent_id":{"value":"n1`, "resources", room), 400, "No agent found"},
		{"POST", "/reserve", form("slaveId", "n1", "resources", much), 409, ""},
		{"PUT", "/reserve", form("slaveId", "n1", "resources", room), 405, ""},
		{"POST", "/reserve", form("slaveId", "n1", "resources", room), 202, ""},
		{"POST", "/create-volumes", form("slaveId", "n1", "volumes", room), 400, "persistence"},
		{"POST", "/create-volumes", form("slaveId", "n1", "resources", volume), 400, "Missing 'volumes'"},
		{"POST", "/create-volumes", form("slaveId", "n1", "volumes", volume), 202, ""},
		{"POST", "/unreserve", form("slaveId", "n1", "resources", much), 409, "add up"},
		{"POST", "/destroy-volumes", form("slaveId", "n2", "volumes", volume), 409, "no volume"},
		{"POST", "/master/destroy-volumes", form("slaveId", "n1", "volumes", volume), 202, ""},
		{"POST", "/unreserve", form("slaveId", "n1", "resources", room), 202, ""},

		{"GET", "/quota", "", 200, "{}"},
		{"POST", "/quota", `{"role":"eng"`, 400, "parse"},
		{"POST", "/quota", `{"role":"eng"}`, 400, "guarantees nothing"},
		{"POST", "/quota", `{"role":"eng","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1e6}}]}`, 409, ""},
		{"POST", "/quota", `{"role":"eng","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}}]}`, 200, ""},
		{"GET", "/quota", "", 200, `"role":"eng"`},
		{"POST", "/quota/eng", "{}", 405, "'DELETE'"},
		{"DELETE", "/quota", "", 400, "Expecting '/quota/role'"},
		{"DELETE", "/quota/ops/web", "", 400, "has no quota"},
		{"DELETE", "/master/quota/eng", "", 200, ""},
		{"DELETE", "/quota/eng", "", 400, "has no quota"},

		{"GET", "/weights", "", 200, "["},
		{"POST", "/weights", "[]", 405, "'GET', 'PUT'"},
		{"PUT", "/weights", `{"role":"eng","weight":2}`, 400, "JSON array"},
		{"PUT", "/weights", `[{"role":"eng"}]`, 400, "weight is missing"},
		{"PUT", "/weights", `[{"role":"eng","weight":-2}]`, 400, "not in the range"},
		{"PUT", "/weights", `[{"role":"eng","weight":2.5}]`, 200, ""},
		{"GET", "/master/weights", "", 200, `{"weight":2.5,"role":"eng"}`},

		{"POST", "/machine/down", `[{"hostname":"n1"}]`, 400, "not part of a maintenance schedule"},
		{"POST", "/maintenance/schedule", "[", 400, "parse"},
		{"POST", "/maintenance/schedule", `{"windows":[{"unavailability":{"start":{"nanoseconds":4000000000000000000}}}]}`, 400, "is empty"},
		{"POST", "/maintenance/schedule", window, 200, ""},
		{"GET", "/maintenance/schedule?jsonp=f", "", 200, `f({"windows":[{"machine_ids":[{"hostname":"10.0.0.9"`},
		{"GET", "/maintenance/schedule?jsonp=(", "", 400, "jsonp"},
		{"GET", "/maintenance/status", "", 200, `"draining_machines"`},
		{"POST", "/maintenance/status", "", 405, "'GET'"},
		{"POST", "/machine/up", `[{"hostname":"n9"}]`, 400, "no node"},
		{"POST", "/machine/down", `{"hostname":"n1"}`, 400, "JSON array"},
		{"POST", "/machine/down", `[{"hostname":"n1"}]`, 200, ""},
		{"POST", "/maintenance/schedule", `{}`, 400, "STOP_MAINTENANCE first"},
		{"POST", "/master/machine/up", `[{"hostname":"n1"}]`, 200, ""},

		{"POST", "/teardown", strings.Repeat(" ", mesos.MaxCall+1), 413, ""},
		{"POST", "/teardown", form("frameworkId", "f1"), 200, ""},
		{"POST", "/teardown", form("frameworkId", "f1"), 400, "No framework found"},
	} {
		w := r.older(s, c.method, c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %.200s: %d %s, want %d with %q", c.method, c.path, c.body, w.Code, w.Body, c.status, c.want)
		}
		if changes := c.method != "GET"; w.Code/100 == 2 && (w.Header().Get("Content-Type") == "") != changes {
			t.Errorf("%s %s has the type %q", c.method, c.path, w.Header().Get("Content-Type"))
		}
		if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s does not say what may be", c.method, c.path)
		}
	}
	r.follows.Store(true)
	if w := r.older(s, "POST", "/quota/eng", ""); w.Code != 307 || w.Header().Get("Location") != "//10.0.0.1:5050/quota/eng" {
		t.Errorf("another server answers %d to %q", w.Code, w.Header().Get("Location"))
	}
	r.leader = ""
	if w := r.older(s, "GET", "/weights", ""); w.Code != 503 {
		t.Errorf("without a leader it answers %d", w.Code)
	}
}

// No form, whatever it is, does more than be refused.
func FuzzOlderForm(f *testing.F) {
	f.Add("n1", `[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"eng","reservation":{}}]`)
	f.Add(`"}`, `[]`)
	f.Add("n1", `[{"name":"disk","type":"SCALAR","scalar":{"value":1e308},"disk":{"persistence":{"id":"/"}}}]`)
	f.Fuzz(func(t *testing.T, agent, resources string) {
		r := newRegion(t)
		r.node("n1", nil)
		s := r.servers()
		for _, path := range []string{"/reserve", "/unreserve", "/create-volumes", "/destroy-volumes"} {
			body := url.Values{"slaveId": {agent}, "resources": {resources}, "volumes": {resources}}.Encode()
			if w := r.older(s, "POST", path, body); w.Code != 202 && w.Code != 400 && w.Code != 409 && w.Code != 413 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}
