package operator

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The older form of the calls about the log: it says the level, takes durations as Mesos writes them, and a bad request changes nothing.
func TestToggle(t *testing.T) {
	m := &machine{t: t}
	c := m.clients()
	ask := func(method, query, site string, status int, says string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, "/logging/toggle"+query, nil)
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		w := httptest.NewRecorder()
		c.Toggle(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s %s: %d %q, want %d with %q", method, query, w.Code, w.Body, status, says)
		}
	}
	ask("GET", "", "", 200, "0\n")
	m.about.LogLevel = "debug"
	ask("GET", "", "cross-site", 200, "1\n")
	for query, want := range map[string]time.Duration{"?level=1&duration=10mins": 10 * time.Minute, "?level=1&duration=1.5hrs": 90 * time.Minute,
		"?level=1&duration=500ms": 500 * time.Millisecond, "?level=0&duration=1secs": 0} {
		for _, method := range []string{"GET", "POST"} {
			m.verbose = 42
			ask(method, query, "", 200, "")
			if m.verbose != want {
				t.Errorf("%s: the log says more for %v", query, m.verbose)
			}
		}
	}
	m.verbose = 42
	for query, says := range map[string]string{"?level=1": "Expecting 'duration=value'", "?duration=1mins": "Expecting 'level=value'",
		"?level=x&duration=1mins": "Invalid level 'x'", "?level=2&duration=1mins": "Invalid level '2'", "?level=1&duration=1": "Invalid duration",
		"?level=1&duration=mins": "Invalid duration", "?level=1&duration=1e300mins": "Invalid duration", "?level=1&duration=25hrs": "Invalid duration",
		"?level=1&duration=99999999999999999999weeks": "Invalid duration", "?level=1&duration=..secs": "Invalid duration", "?level=1&duration=-1secs": "Invalid duration"} {
		ask("POST", query, "", http.StatusBadRequest, says)
	}
	ask("DELETE", "?level=1&duration=1mins", "", http.StatusMethodNotAllowed, "GET")
	ask("GET", "?level=1&duration=1mins", "cross-site", http.StatusForbidden, "another site")
	if m.verbose != 42 {
		t.Errorf("a bad request changed it to %v", m.verbose)
	}
}
