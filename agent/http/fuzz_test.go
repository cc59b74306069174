package http

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// Whatever is asked of whatever route, the answer is no Internal error. Streams and waits end with their request.
func FuzzRequest(f *testing.F) {
	routes := Routes()
	for i, r := range routes {
		f.Add(i, "web", "", []byte(""), 0)
		if r.Method != "GET" {
			f.Add(i, "web", "key=a", []byte(`{"name":"web","group":[null]}`), 0)
		} else {
			f.Add(i, "b%2f", "filter=name~w&limit=1&after=a&index=1&stale=true", []byte(""), 1)
		}
	}
	f.Add(0, "..", "wait=-1s&index=18446744073709551616", []byte("job \"a\" {}"), 1)
	f.Fuzz(func(t *testing.T, route int, param, query string, body []byte, kind int) {
		r := routes[uint(route)%uint(len(routes))]
		path := pathParam.ReplaceAllLiteralString(r.Path, param)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, r.Method, "http://127.0.0.1:5050"+path+"?"+query, bytes.NewReader(body))
		if err != nil || strings.Contains(r.Path, "exec") {
			return
		}
		if kinds := r.takes(); len(kinds) > 0 {
			request.Header.Set("Content-Type", kinds[uint(kind)%uint(len(kinds))])
		}
		request.RemoteAddr = "127.0.0.1:9"
		service := New(Options{Region: newFakeRegion(), Agent: &fakeAgent{snapshot: "a snapshot"}})
		w := httptest.NewRecorder()
		service.ServeHTTP(w, request)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusGatewayTimeout {
			t.Fatalf("%s %s with %q: %d %s", r.Method, request.URL, body, w.Code, w.Body)
		}
	})
}

// Filters of a list say what is wrong with them.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"name=web", "status!=running", "resources.cpu~1", "meta.a.b=c", "!=", "a.=x", ".=", "~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parseFilters(reflect.TypeFor[*structs.Node](), []string{text})
	})
}
