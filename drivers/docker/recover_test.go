package docker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// TestAStartThatItsEngineCutOff: an engine that was killed while it started a container says afterwards that it runs, since no time. It never
// will end, so it is removed and counts as never started; one that did start is found.
func TestAStartThatItsEngineCutOff(t *testing.T) {
	const never, once = "0001-01-01T00:00:00Z", "2026-01-02T03:04:05.678901234Z"
	for started, want := range map[string]structs.Kind{never: structs.NotFound, once: ""} {
		var removed atomic.Bool
		engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.44")
			w.Header().Set("Content-Type", "application/json")
			switch {
			case strings.HasSuffix(r.URL.Path, "/_ping"):
			case r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/containers/c1"):
				removed.Store(r.URL.Query().Get("force") != "")
				w.WriteHeader(http.StatusNoContent)
			case strings.HasSuffix(r.URL.Path, "/json"):
				fmt.Fprintf(w, `{"Id":"c1","Config":{"Labels":{%q:"a/t/1"}},"State":{"Status":"running","Running":true,"Pid":7,"StartedAt":%q}}`, labelTask, started)
			default: // of its output
				http.Error(w, `{"message":"there is nothing"}`, http.StatusNotFound)
			}
		}))
		d := New(Options{Endpoint: "tcp://" + strings.TrimPrefix(engine.URL, "http://")})
		_, err := d.Recover(t.Context(), &drivers.Spec{ID: "a/t/1", Task: &structs.Task{Name: "t"}}, []byte("c1"))
		if structs.KindOf(err) != want || removed.Load() != (started == never) {
			t.Errorf("started at %s: %v, removed %v", started, err, removed.Load())
		}
		d.Close()
		engine.Close()
	}
}
