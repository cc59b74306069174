package agent

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// What tools for Mesos poll is served where the scheduler API is.
func TestToolsForMesos(t *testing.T) {
	a := newAgent(t, t.TempDir())
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.stop(t.Context()) })
	if _, err := a.server.Read(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (doc map[string]any) {
		t.Helper()
		res, err := http.Get("http://" + a.listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, res.Status, err)
		}
		return doc
	}
	state := get("/master/state.json")
	if leader := "master@" + a.httpAddress(); state["leader"] != leader || state["pid"] != leader || state["elected_time"].(float64) < 1e9 {
		t.Errorf("the leader is %v since %v, want %s", state["leader"], state["elected_time"], leader)
	}
	if flags := get("/flags")["flags"].(map[string]any); flags["region"] != a.config.Region || flags["name"] == "" {
		t.Errorf("the flags are %v", flags)
	}
	if m := get("/metrics/snapshot"); m["master/elected"] != 1.0 || m["master/uptime_secs"].(float64) <= 0 || m["master/messages_register_framework"] != 0.0 {
		t.Errorf("the metrics are %v", m)
	}
	res, err := http.Get("http://" + a.listener.Addr().String() + "/health")
	if err != nil || res.StatusCode != http.StatusOK || res.ContentLength != 0 {
		t.Errorf("health: %v, %v", res, err)
	}
	res.Body.Close()
	req, _ := http.NewRequest(http.MethodGet, "http://"+a.listener.Addr().String()+"/state", nil)
	req.Header.Set("Origin", "http://elsewhere.example")
	if res, err = http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusForbidden || !strings.Contains(res.Header.Get("Content-Type"), "json") {
		t.Errorf("a page of another site: %v, %v", res, err)
	}
	res.Body.Close()
	for _, path := range []string{"/api/v1", "/api/v1/", "/api/v1/operator", "/master/api/v1"} {
		res, err := http.Post("http://"+a.listener.Addr().String()+path, "application/json", strings.NewReader(`{"type":"GET_MASTER"}`))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.Contains(string(raw), `"master_info":{"id":"`+a.httpAddress()) {
			t.Errorf("%s: %s: %s", path, res.Status, raw)
		}
	}
}
