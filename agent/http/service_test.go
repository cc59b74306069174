package http

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// ask makes a request by hand and returns status, header and body.
func (w *world) ask(method, path, contentType, body string, header ...string) (int, http.Header, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(raw)
}

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares text with a file beside the tests; -rewrite writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
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

var hexID = regexp.MustCompile(`"request_id":"[0-9a-f]{16}"`)

func TestErrorsAreClear(t *testing.T) {
	w := newWorld(t)
	n := w.node("aa01", "n1")
	w.node("aa02", "n2")
	w.submit(job("web", 1))
	w.place("bb01", n, "web", 0)
	asJSON := "application/json"
	cases := []struct{ name, method, path, kind, body string }{
		{"no such path", "GET", "/v1/jobz", "", ""},
		{"wrong method", "PATCH", "/v1/jobs", "", ""},
		{"not a clean path", "GET", "/v1//jobs", "", ""},
		{"no such job", "GET", "/v1/job/wep", "", ""},
		{"a job name with a slash", "GET", "/v1/job/a%2Fb", "", ""},
		{"a job name of dots", "GET", "/v1/job/%2e%2e", "", ""},
		{"unknown query parameter", "GET", "/v1/jobs?stael", "", ""},
		{"query parameter twice", "GET", "/v1/jobs?index=1&index=2", "", ""},
		{"index is not a number", "GET", "/v1/jobs?index=-1", "", ""},
		{"wait is not a duration", "GET", "/v1/jobs?index=1&wait=5", "", ""},
		{"limit out of range", "GET", "/v1/jobs?limit=0", "", ""},
		{"filter without a field", "GET", "/v1/jobs?filter=web", "", ""},
		{"filter on no such field", "GET", "/v1/jobs?filter=statsu=running", "", ""},
		{"filter below a value", "GET", "/v1/jobs?filter=name.x=1", "", ""},
		{"bad query", "GET", "/v1/jobs?a=%zz", "", ""},
		{"id too short", "GET", "/v1/node/aa0", "", ""},
		{"id not hex", "GET", "/v1/allocation/web", "", ""},
		{"id too long", "GET", "/v1/allocation/" + strings.Repeat("a", 40), "", ""},
		{"no such allocation", "GET", "/v1/allocation/cccc", "", ""},
		{"no such task", "GET", "/v1/allocation/bb01/logs/mian", "", ""},
		{"no body type", "POST", "/v1/jobs", "", "{}"},
		{"wrong body type", "POST", "/v1/jobs", "text/plain", "{}"},
		{"not JSON", "POST", "/v1/jobs", asJSON, "job web {}"},
		{"JSON ends", "POST", "/v1/job/web/scale", asJSON, `{"count":`},
		{"JSON with a wrong type", "POST", "/v1/job/web/scale", asJSON, "{\n  \"count\": \"many\"}"},
		{"JSON with an unknown field", "POST", "/v1/job/web/scale", asJSON, `{"cuont": 1}`},
		{"JSON with more", "POST", "/v1/job/web/scale", asJSON, `{"count": 1} {}`},
		{"count is missing", "POST", "/v1/job/web/scale", asJSON, `{"group": "web"}`},
		{"no such group", "POST", "/v1/job/web/scale", asJSON, `{"group": "wbe", "count": 1}`},
		{"no such version", "POST", "/v1/job/web/revert", asJSON, `{"version": 9}`},
		{"another version", "POST", "/v1/jobs?check=7", asJSON, `{"name": "web", "group": [{"name": "web", "task": [{"name": "main", "driver": "mock"}]}]}`},
		{"no such role", "GET", "/v1/role/eng/web", "", ""},
		{"not a role", "GET", "/v1/role/eng//web", "", ""},
		{"a path out of the folder", "GET", "/v1/allocation/bb01/fs/cat?path=../../etc/passwd", "", ""},
		{"no such file", "GET", "/v1/allocation/bb01/fs/cat?path=alloc/x", "", ""},
		{"no command", "GET", "/v1/allocation/bb01/exec/main", "", ""},
		{"no such topic", "GET", "/v1/events?topic=jobs", "", ""},
		{"no such level", "GET", "/v1/agent/monitor?level=loud", "", ""},
		{"no such operation", "POST", "/v1/operator/keyring", asJSON, `{"op": "list"}`},
		{"no addresses", "POST", "/v1/servers/join", asJSON, `{"addresses": []}`},
	}
	var b strings.Builder
	for _, c := range cases {
		status, header, body := w.ask(c.method, c.path, c.kind, c.body)
		if header.Get("Content-Type") != "application/json" || header.Get("X-Request-Id") == "" {
			t.Errorf("%s: header %v", c.name, header)
		}
		if !strings.Contains(body, header.Get("X-Request-Id")) {
			t.Errorf("%s: the body does not have the request's id", c.name)
		}
		fmt.Fprintf(&b, "%s: %s %s\n%d %s\n", c.name, c.method, c.path, status, hexID.ReplaceAllString(body, `"request_id":"…"`))
	}
	golden(t, "errors.txt", b.String())
}

func TestWhoMayAsk(t *testing.T) {
	open, closed := newGuard("", []string{"node1"}), newGuard("s3cret", []string{"node1"})
	cases := []struct {
		name   string
		guard  *guard
		remote string
		host   string
		header map[string]string
		want   string // actor, or the status
	}{
		{"this machine", open, "127.0.0.1:1", "127.0.0.1:5050", nil, "local"},
		{"this machine, by name", open, "[::1]:1", "localhost:5050", nil, "local"},
		{"this machine, with an actor", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"X-Proffer-Actor": "ann@pc"}, "local/ann@pc"},
		{"an actor with a line break", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"X-Proffer-Actor": "a b"}, "400"},
		{"our own name", open, "127.0.0.1:1", "Node1:5050", nil, "local"},
		{"another machine", open, "10.0.0.9:1", "127.0.0.1:5050", nil, "403"},
		{"DNS rebinding", open, "127.0.0.1:1", "evil.example:5050", nil, "403"},
		{"a foreign address as host", open, "127.0.0.1:1", "10.0.0.1:5050", nil, "403"},
		{"no host", open, "127.0.0.1:1", "", nil, "403"},
		{"a page of another site", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Origin": "https://evil.example"}, "403"},
		{"a page without an origin", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Origin": "null"}, "403"},
		{"a page of another port", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Origin": "http://127.0.0.1:8080"}, "403"},
		{"our own page", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Origin": "http://127.0.0.1:5050", "Sec-Fetch-Site": "same-origin"}, "local"},
		{"an image in another page", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Sec-Fetch-Site": "cross-site"}, "403"},
		{"a link in another page", open, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "403"},
		{"without the token", closed, "127.0.0.1:1", "127.0.0.1:5050", nil, "401"},
		{"with a wrong token", closed, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"X-Proffer-Token": "s3cre"}, "401"},
		{"with an empty bearer", closed, "127.0.0.1:1", "127.0.0.1:5050", map[string]string{"Authorization": "Bearer "}, "401"},
		{"with the token", closed, "10.0.0.9:1", "10.0.0.1:5050", map[string]string{"Authorization": "Bearer s3cret"}, "token"},
		{"with the token in our header", closed, "10.0.0.9:1", "node1:5050", map[string]string{"X-Proffer-Token": "s3cret"}, "token"},
		{"with the token, by a foreign name", closed, "10.0.0.9:1", "evil.example", map[string]string{"Authorization": "Bearer s3cret"}, "403"},
		{"with the token, from a page", closed, "10.0.0.9:1", "10.0.0.1:5050", map[string]string{"Authorization": "Bearer s3cret", "Origin": "https://evil.example"}, "403"},
	}
	for _, c := range cases {
		r := httptest.NewRequest("GET", "/v1/jobs", nil)
		r.RemoteAddr, r.Host = c.remote, c.host
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		who, err := c.guard.identify(r, "")
		got := who.actor
		if err != nil {
			recorder := httptest.NewRecorder()
			writeError(recorder, "", err)
			got = fmt.Sprint(recorder.Code)
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), not %s", c.name, got, err, c.want)
		}
	}
}

func TestTokenIsDemandedEverywhere(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Token = "s3cret"; o.Docs = http.NotFoundHandler() })
	for _, r := range Routes() {
		path := pathParam.ReplaceAllString(r.Path, "x")
		if status, _, body := w.ask(r.Method, path, "", ""); status != http.StatusUnauthorized {
			t.Errorf("%s %s: %d %s", r.Method, path, status, body)
		}
	}
	for _, path := range []string{"/", "/docs/", "/x"} {
		status, header, _ := w.ask("GET", path, "", "")
		if status != http.StatusUnauthorized || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%s: %d %v", path, status, header)
		}
	}
	if _, _, err := w.client.Jobs(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// A body that is too large is refused from its header alone: this client never sends any of it.
func TestLargeBodyIsRefusedUnread(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	var body ErrorBody
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusRequestEntityTooLarge || body.Kind != structs.Exhausted || !response.Close {
		t.Errorf("%s, close %t: %+v", response.Status, response.Close, body)
	}
}

// A body whose size nobody says is read up to its bound and no further.
func TestEndlessBodyIsCutOff(t *testing.T) {
	w := newWorld(t)
	endless := io.MultiReader(strings.NewReader(`{"name":"`), letters{})
	r, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v1/jobs", endless)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return // the sender may see that the connection is cut before it can read the answer, which is as good
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Error(response.Status)
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// Whatever is sent to whatever route, it is never an Internal error.
func TestGarbageIsNeverInternal(t *testing.T) {
	w := newWorld(t)
	n := w.node("aa01", "n1")
	w.submit(job("web", 1))
	w.place("bb01", n, "web", 0)
	bodies := []string{"", "{", "null", "[]", `"x"`, "0", "\x00\xff\xfe", `{"name":`, `{"count":1e400}`, `{"version":-1}`, strings.Repeat("[", 10_000),
		`{"name":"web","group":[null]}`, `{"name":"web","group":[{"name":"g","task":[null]}]}`, `{"name":"../x"}`, `{"deadline":"-1s"}`, "job {", `job "a" { group "b" { count = 1e99 } }`}
	paths := map[string]string{"name": "web", "id": "bb01", "task": "main"}
	for _, r := range Routes() {
		if r.Method == "GET" || strings.HasSuffix(r.Path, "snapshot") {
			continue
		}
		for _, kind := range r.takes() {
			for _, body := range bodies {
				path := pathParam.ReplaceAllStringFunc(r.Path, func(s string) string { return paths[strings.Trim(s, "{.}")] })
				if status, _, answer := w.ask(r.Method, path, kind, body); status >= 500 {
					t.Errorf("%s %s with %.40q as %s: %d %s", r.Method, path, body, kind, status, answer)
				}
			}
		}
	}
	if _, _, err := w.client.Jobs(t.Context(), nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestPanicIsAnsweredWithItsRequest(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)); o.Agent = nil })
	status, header, body := w.ask("GET", "/v1/agent/self", "", "")
	if status != http.StatusInternalServerError || !strings.Contains(body, header.Get("X-Request-Id")) || strings.Contains(body, "nil pointer") {
		t.Errorf("%d %s", status, body)
	}
	if !strings.Contains(log.String(), header.Get("X-Request-Id")) || !strings.Contains(log.String(), "nil pointer") {
		t.Errorf("the log does not have it: %s", log.String())
	}
}

// What breaks off in the middle must not look whole.
func TestBrokenStreamIsSeen(t *testing.T) {
	w := newWorld(t)
	w.agent.broken = true
	body, err := w.client.SaveSnapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if raw, err := io.ReadAll(body); err == nil {
		t.Errorf("read %q as if it were whole", raw)
	}
}

// pipes is a listener for connections in memory, which work in a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5050} }

// inBubble serves a world on pipes, with a fake clock, and checks that nothing is left when it stops.
func inBubble(t *testing.T, test func(t *testing.T, w *world, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, region: newFakeRegion(), agent: &fakeAgent{}}
		w.service = New(Options{Region: w.region, Agent: w.agent})
		p := newPipes()
		client, err := api.New(api.Config{Address: "127.0.0.1", Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(), nil }, DisableKeepAlives: true}})
		if err != nil {
			t.Fatal(err)
		}
		w.client = client
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- w.service.Serve(ctx, p) }()
		test(t, w, p)
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestSlowReaderIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *pipes) {
		n := w.node("aa01", "n1")
		w.propose(mustSubmit(job("web", 1)))
		a := w.place("bb01", n, "web", 0)
		w.region.nodes[n.ID].frames = []*api.LogFrame{{Stream: "stdout", Data: make([]byte, 64<<10)}, {Stream: "stdout", Data: make([]byte, 64<<10)}}
		conn := p.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET /v1/allocation/%s/logs/main?follow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", a.ID)
		begun := time.Now()
		one := make([]byte, 1)
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatal(err)
		}
		<-time.After(slowWrite + time.Second) // of the bubble: it reads no more
		synctest.Wait()
		raw, err := io.ReadAll(conn)
		if err == nil && strings.HasSuffix(string(raw), "0\r\n\r\n") {
			t.Error("it got the whole answer")
		}
		if took := time.Since(begun); took > slowWrite+2*time.Second {
			t.Errorf("it was cut off only after %s", took)
		}
	})
}

// A client that goes while its command does not read its input ends the command, and one whose port is not read from ends its connection.
func TestClientGoesWhileInputWaits(t *testing.T) {
	for _, path := range []string{"exec/main?command=wait", "forward/stuck"} {
		inBubble(t, func(t *testing.T, w *world, p *pipes) {
			n := w.node("aa01", "n1")
			w.propose(mustSubmit(job("web", 1)))
			w.place("bb01", n, "web", 0)
			conn := p.dial()
			ws, _, err := websocket.Dial(t.Context(), "ws://127.0.0.1/v1/allocation/bb01/"+path, &websocket.DialOptions{HTTPClient: &http.Client{
				Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}})
			if err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, conn)                                                               // a pipe has no room of its own, as a connection has
			if err := ws.Write(t.Context(), websocket.MessageBinary, make([]byte, 1000)); err != nil { // the first byte is ExecStdin
				t.Fatal(err)
			}
			<-time.After(time.Hour) // of the bubble: waiting is no reason to end it
			synctest.Wait()
			if n := w.region.nodes[n.ID].waiting.Load(); n != 1 {
				t.Fatalf("%s: %d wait", path, n)
			}
			conn.Close()
			begun := time.Now()
			w.service.hijacked.Wait()
			if took := time.Since(begun); took > time.Minute || w.region.nodes[n.ID].waiting.Load() != 0 {
				t.Errorf("%s: it went on for %s", path, took)
			}
		})
	}
}

func TestSlowSenderIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *pipes) {
		for _, begin := range []string{
			"GET /v1/jobs HTT",
			"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
			"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{",
			"POST /v1/allocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", // there is GET alone
			"GET /v1/agent/self HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
			"GET /v1/agent/self HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		} {
			conn := p.dial()
			begun := time.Now()
			io.WriteString(conn, begin)
			raw, _ := io.ReadAll(conn) // until the service closes it
			if took := time.Since(begun); took < linger || took > slowRead+time.Minute {
				t.Errorf("%.20q: closed after %s: %s", begin, took, raw)
			}
			conn.Close()
		}
	})
}

func TestConnectionIsClosedWhenIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *pipes) {
		conn := p.dial()
		defer conn.Close()
		io.WriteString(conn, "GET /v1/agent/self HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		begun := time.Now()
		io.ReadAll(conn)
		if took := time.Since(begun); took != idle {
			t.Errorf("closed after %s", took)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		l := newBoundedListener(p, 2)
		accepted := make(chan net.Conn)
		var closed bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					closed = true
					return
				}
				accepted <- c
			}
		}()
		p.dial()
		first := <-accepted
		p.dial()
		<-accepted
		third := make(chan net.Conn)
		go func() { third <- p.dial() }()
		synctest.Wait()
		select {
		case <-accepted:
			t.Fatal("a third connection was accepted")
		case <-third:
			t.Fatal("a third connection was taken")
		default:
		}
		first.Close()
		first.Close() // twice counts once
		(<-third).Close()
		<-accepted
		l.Close()
		<-done
		if !closed {
			t.Error("Accept did not end")
		}
	})
}

func TestStopEndsStreamsAndQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, region: newFakeRegion(), agent: &fakeAgent{}}
		w.service = New(Options{Region: w.region, Agent: w.agent})
		p := newPipes()
		client, _ := api.New(api.Config{Address: "127.0.0.1", Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				select {
				case <-p.done:
					return nil, net.ErrClosed
				default:
					return p.dial(), nil
				}
			}, DisableKeepAlives: true}})
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- w.service.Serve(ctx, p) }()
		asking, give := context.WithCancel(t.Context())
		query, stream := make(chan error, 1), make(chan error, 1)
		go func() {
			_, _, err := client.Jobs(asking, &api.Query{Index: 1})
			query <- err
		}()
		go func() { stream <- client.Events(asking, api.EventQuery{}, func(*api.Events) error { return nil }) }()
		synctest.Wait()
		begun := time.Now()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > shutdown {
			t.Errorf("it took %s", took)
		}
		give()
		<-stream
		if err := <-query; err == nil {
			t.Error("the query was answered")
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.service.long.Store(maxLong)
	for _, path := range []string{"/v1/jobs?index=0", "/v1/events", "/v1/agent/monitor"} {
		if status, _, body := w.ask("GET", path, "", ""); status != http.StatusTooManyRequests || !strings.Contains(body, "4096") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, body := w.ask("GET", "/v1/jobs", "", ""); status != 200 {
		t.Errorf("a short call: %d %s", status, body)
	}
	w.service.long.Store(maxLong - 1)
	for range 3 { // each gives its place back
		if status, _, body := w.ask("GET", "/v1/jobs?index=0&wait=1ms", "", ""); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
}

func TestPassedOnRequestsAreTrusted(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("POST", "/v1/jobs", strings.NewReader(`{"name": "web", "group": [{"name": "web", "task": [{"name": "main", "driver": "mock"}]}]}`))
	r.Host, r.RemoteAddr = "proffer", "10.0.0.9:1"
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	w.service.ServeTrusted(recorder, r, "token/ann", "")
	if recorder.Code != 200 || w.region.actors[0] != "token/ann" {
		t.Errorf("%d %s by %v", recorder.Code, recorder.Body, w.region.actors)
	}
}

func TestHomeShowsTheRegion(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Docs = http.NotFoundHandler() })
	w.node("aa01", "n1")
	status, header, body := w.ask("GET", "/", "", "")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		t.Errorf("%d %v", status, header)
	}
	for _, part := range []string{"a1", "global", "s1", "1, 1 of them ready", "/docs/", "/v1/openapi.json"} {
		if !strings.Contains(body, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
}

func TestWithoutAServer(t *testing.T) {
	passed := ""
	w := newWorld(t, func(o *Options) { o.Region = nil })
	status, _, body := w.ask("GET", "/v1/jobs", "", "")
	if status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
	if _, err := w.client.Self(t.Context()); err != nil {
		t.Errorf("what is local: %v", err)
	}
	var service *Service
	w = newWorld(t, func(o *Options) {
		o.Region = nil
		o.Forward = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = service.Actor(r)
			service.Refuse(w, r, structs.Errorf(structs.Unavailable, "region", "no server answers"))
		})
	})
	service = w.service
	if status, _, body := w.ask("GET", "/v1/jobs", "", "", "X-Proffer-Actor", "ann"); status != 503 || !strings.Contains(body, "no server answers") || passed != "local/ann" {
		t.Errorf("%d %s by %q", status, body, passed)
	}
}
