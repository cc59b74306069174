package http

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/structs"
)

type client struct{ operator.Client }

func (client) Node() *structs.Node { return &structs.Node{ID: "n1", Hosts: []string{"10.0.0.1"}} }

// On the port of a node executors need nothing to get to their API, and whoever asks for more needs what a server demands for the same.
func TestWhoMayAskANode(t *testing.T) {
	secrets := &Credentials{}
	port := NewNodePort(NodePortOptions{Token: "s3cret", Names: []string{"one"}, Secrets: secrets,
		Executors: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the executor API") }),
		Tools: operator.NewClients(operator.ClientOptions{Client: client{}, About: func() operator.About { return operator.About{} },
			Log: slog.New(slog.DiscardHandler)})})
	ask := func(path string, header ...string) (int, string, string) {
		method, url, other := strings.Cut(path, " ")
		if !other {
			method, url = "POST", path
		}
		r := httptest.NewRequestWithContext(t.Context(), method, url, strings.NewReader(`{"type":"GET_HEALTH"}`))
		r.RemoteAddr, r.Host = "10.0.0.9:1", "10.0.0.1:5051"
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Host" {
				r.Host = header[i+1]
			}
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		port.ServeHTTP(w, r)
		return w.Code, w.Header().Get("WWW-Authenticate"), w.Body.String()
	}
	expect := func(name string, status int, challenge, want string) func(int, string, string) {
		return func(got int, by, body string) {
			t.Helper()
			if got != status || by != challenge || !strings.Contains(body, want) {
				t.Errorf("%s: %d, challenge %q, %q; want %d, %q, %q", name, got, by, body, status, challenge, want)
			}
		}
	}
	basic := func(user, password string) []string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	const ours = `Basic realm="Proffer: any user, the token as password"`
	const readWrite = `Basic realm="mesos-agent-readwrite"`
	for _, path := range executorPaths {
		expect(path, 200, "", "the executor API")(ask(path))
	}
	expect("a page of another site", 403, ours, "Origin")(ask("/api/v1/executor", "Origin", "http://elsewhere.example"))
	expect("no such path", 404, "", "no such path")(ask("/nothing", basic("any", "s3cret")...))
	for _, path := range operator.ClientCallPaths {
		expect(path+" without a token", 401, ours, "token")(ask(path))
		expect(path+" with a token", 200, "", `{"type":"GET_HEALTH","get_health":{"healthy":true}}`)(ask(path, basic("any", "s3cret")...))
	}
	get := func(path string, header ...string) (int, string, string) { return ask("GET "+path, header...) }
	for _, path := range operator.ClientPaths() {
		expect(path+" without a token", 401, ours, "token")(get(path))
	}
	for _, path := range operator.ClientOpenPaths() {
		expect(path, 200, "", "")(get(path))
	}
	expect("with a token", 200, "", `"flags":{}`)(get("/slave(1)/flags.json", basic("any", "s3cret")...))
	port.SetToken("another")
	expect("another token", 401, ours, "token")(ask("/api/v1", basic("any", "s3cret")...))
	secrets.Set(map[string]string{"ann": "ann-secret"}, AgentReadWriteRealm, AgentReadOnlyRealm)
	expect("a principal is demanded for /state", 401, `Basic realm="mesos-agent-readonly"`, "principal")(get("/state"))
	expect("a principal is demanded", 401, readWrite, "principal")(ask("/api/v1", basic("any", "another")...))
	expect("a principal", 200, "", "true")(ask("/slave(1)/api/v1", basic("ann", "ann-secret")...))
	secrets.Set(nil)
	port.SetToken("")
	expect("no token, and another machine", 403, ours, "only this machine")(ask("/api/v1", "Host", "127.0.0.1"))
}
