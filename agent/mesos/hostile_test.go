package mesos_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	agenthttp "github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/structs"
)

// dial opens a plain connection to the HTTP port of the leader.
func (r *region) dial(from string) net.Conn { return r.dialTo(from, r.leader().ip+":5050") }

func (r *region) dialTo(from, address string) net.Conn {
	conn, err := r.mesh.Host(from).Dial(context.Background(), address)
	r.check(err)
	return conn
}

// head is the head of a call to the scheduler API, with more lines.
func head(method string, lines ...string) string {
	return headOf("/api/v1/scheduler", method, lines...)
}

func headOf(path, method string, lines ...string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: 10.0.0.1:5050\r\nAuthorization: Basic " +
		base64.StdEncoding.EncodeToString([]byte("ann:"+token)) + "\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

// quiet waits until there are no more goroutines than there were.
func (r *region) quiet(what string, before int) {
	r.t.Helper()
	for range 1000 {
		if synctest.Wait(); runtime.NumGoroutine() <= before {
			return
		}
		r.pass(time.Second)
	}
	buf := make([]byte, 1<<20)
	r.t.Errorf("%s: %d goroutines where %d were:\n%s", what, runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

// none is a node without executors.
type none struct{}

func (none) Executor(structs.FrameworkID, string) *runner.Executor { return nil }
func (none) Node() *structs.Node                                   { return &structs.Node{} }

// nodePort serves the executor API of a node until the test ends, and returns its address.
func (r *region) nodePort() string {
	const address = "10.0.8.1:5051"
	ln, err := r.mesh.Host("10.0.8.1").Listen(address)
	r.check(err)
	log := logger(address)
	port := agenthttp.NewNodePort(agenthttp.NodePortOptions{Token: token, Log: log, Executors: &mesos.Executors{Node: none{}, Port: 5051, Log: log}})
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		port.Serve(ctx, ln)
	}()
	r.t.Cleanup(func() { end(); <-done })
	return address
}

// What is sent to the APIs that is no call: it has the status that it should have, or ends, within the time that there is for it, and
// leaves nothing behind.
func TestRequestsThatAreWrongSlowOrLeft(t *testing.T) {
	for _, path := range []string{"/api/v1/scheduler", "/api/v1", "/api/v1/executor"} {
		t.Run(path, func(t *testing.T) { wrongSlowOrLeft(t, path) })
	}
}

func wrongSlowOrLeft(t *testing.T, path string) {
	head := func(method string, lines ...string) string { return headOf(path, method, lines...) }
	kind, length := "Content-Type: application/json", func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	// drip writes a byte a second, in a bubble.
	drip := func(text string, n int) func(*region, net.Conn) {
		return func(r *region, c net.Conn) {
			for i := range n {
				if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
					return
				}
				r.pass(time.Second)
			}
		}
	}
	for _, c := range []struct {
		name   string
		first  string
		then   func(*region, net.Conn)
		status int // 0: the connection ends without an answer
		within time.Duration
	}{
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00", nil, 400, time.Minute},
		{"a bad head", "POST " + path + "\r\n\r\n", nil, 400, time.Second},
		{"a head without an end", head("POST", "X-Long: "+strings.Repeat("x", 1<<20)), nil, 431, time.Second},
		{"a head, a byte a second", "POST ", drip("x", 120), 400, 31 * time.Second},
		{"half a head", "POST /api", nil, 400, 31 * time.Second},
		{"nothing", "", nil, 0, 31 * time.Second},
		{"two lengths", head("POST", kind, length(2), length(3)) + "{}", nil, 400, time.Second},
		{"a coding that nobody knows", head("POST", kind, "Transfer-Encoding: gzip") + "0\r\n\r\n", nil, 501, time.Second},
		{"bad chunks", head("POST", kind, "Transfer-Encoding: chunked") + "x\r\n", nil, 400, time.Second},
		{"half a message", head("POST", kind, length(5)) + `{"typ`, nil, 400, time.Second},
		{"a body, a byte a second", head("POST", kind, length(1000)), drip("{", 120), 400, 31 * time.Second},
		{"half a body", head("POST", kind, length(1000)) + "{", nil, 400, 31 * time.Second},
		{"a body that never comes", head("POST", kind, length(10)), nil, 400, 31 * time.Second},
		{"a body that is too large, by its length", head("POST", kind, length(1<<40)), nil, 413, time.Second},
		{"a body that is too large, in chunks", head("POST", kind, "Transfer-Encoding: chunked"), func(_ *region, c net.Conn) {
			for range 10 {
				if _, err := c.Write([]byte("100000\r\n" + strings.Repeat(" ", 1<<20) + "\r\n")); err != nil {
					return
				}
			}
		}, 413, 31 * time.Second},
		{"JSON that lies too deep", head("POST", kind, length(200_002)) + strings.Repeat(`[`, 200_002), nil, 400, time.Second},
		{"protobuf that says more than there is", head("POST", "Content-Type: application/x-protobuf", length(6)) + "\x0a\xff\xff\xff\xff\x07", nil, 400, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 1, 0, func(r *region) {
				address := r.leader().ip + ":5050"
				if path == "/api/v1/executor" {
					address = r.nodePort()
				}
				r.pass(time.Minute)
				synctest.Wait()
				before := runtime.NumGoroutine()
				conn, begun := r.dialTo(home, address), time.Now()
				written := make(chan struct{})
				go func() {
					defer close(written)
					if _, err := io.WriteString(conn, c.first); err == nil && c.then != nil {
						c.then(r, conn)
					}
				}()
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				switch took := time.Since(begun); {
				case took > c.within:
					t.Errorf("it took %s, and may take %s", took, c.within)
				case c.status == 0 && err == nil:
					t.Errorf("it is answered %s", res.Status)
				case c.status != 0 && (err != nil || res.StatusCode != c.status):
					t.Errorf("it is answered %+v, %v, want %d", res, err, c.status)
				}
				if err == nil {
					io.Copy(io.Discard, res.Body)
				}
				conn.SetReadDeadline(time.Now().Add(10 * time.Minute))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection is kept for one who sends nothing more")
				}
				conn.Close()
				<-written
				r.quiet("afterwards", before)
			})
		})
	}
}

// What is left in the middle is forgotten: half a call, a call whose answer nobody reads, a subscription. The framework is away then.
func TestAbandonedRequests(t *testing.T) {
	bubble(t, 1, 1, func(r *region) {
		f := r.framework(home, wire.JSON).begin()
		f.offer("")
		f.close()
		id := f.info.ID.Value
		f.client.CloseIdleConnections()
		r.pass(time.Minute)
		synctest.Wait()
		before := runtime.NumGoroutine()
		subscribe := string(wire.JSON.Marshal(f.subscribeCall()))
		revive := string(wire.JSON.Marshal(&wire.Call{FrameworkID: f.info.ID, Type: new(wire.CallRevive)}))
		lines := func(body string) string {
			return head("POST", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
		}
		for _, text := range []string{"", "POST", lines(subscribe), lines(subscribe) + subscribe[:10], lines(revive) + revive, lines(subscribe) + subscribe} {
			for range 10 {
				conn := r.dial(home)
				io.WriteString(conn, text)
				r.pass(20 * time.Millisecond)
				conn.Close()
			}
			r.quiet(text, before)
		}
		if away := r.snapshot().Framework(structs.FrameworkID(id)); away.Connected || away.Until == 0 {
			r.t.Errorf("nobody reads its stream, and it is %+v", away)
		}
		r.eventually("what it was offered is free", func() bool {
			offers, err := r.leader().server.Offers(context.Background())
			return err == nil && len(offers) == 0
		})
	})
}

// A scheduler that subscribes and takes nothing is cut off when it has more to take than the connection holds; the others are served.
func TestASchedulerThatReadsNothing(t *testing.T) {
	bubble(t, 1, 1, func(r *region) {
		f := r.framework(home, wire.JSON).begin()
		f.close()
		f.client.CloseIdleConnections()
		other := r.framework("10.0.2.2", wire.Protobuf).begin()
		r.pass(time.Minute)
		synctest.Wait()
		before := runtime.NumGoroutine()
		conn := r.dial(home)
		subscribe := string(wire.JSON.Marshal(f.subscribeCall()))
		io.WriteString(conn, head("POST", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(subscribe)))+subscribe)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		r.check(err)
		f.at, f.stream = r.leader(), res.Header.Get("Mesos-Stream-Id")
		names := make([]string, 20_000)
		for i := range names {
			names[i] = fmt.Sprint("task-", i)
		}
		f.call(reconcile(names...))
		r.pass(32 * time.Second)
		f.client.CloseIdleConnections()
		r.quiet("it is cut off", before)
		if away := r.snapshot().Framework(structs.FrameworkID(f.info.ID.Value)); away.Connected {
			r.t.Errorf("it is %+v", away)
		}
		other.call(reconcile("x"))
		other.update("x", wire.TaskLost)
		conn.Close()
	})
}

// An operator who follows events and takes none of them is cut off, and nothing of it stays.
func TestAnOperatorWhoReadsNothing(t *testing.T) {
	bubble(t, 1, 1, func(r *region) {
		f := r.framework("10.0.2.2", wire.Protobuf).begin()
		o := f.offer("")
		f.client.CloseIdleConnections()
		r.pass(time.Minute)
		synctest.Wait()
		before := runtime.NumGoroutine()
		conn := r.dial(home)
		subscribe := `{"type":"SUBSCRIBE"}`
		io.WriteString(conn, headOf("/api/v1", "POST", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(subscribe)))+subscribe)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		r.check(err)
		if res.StatusCode != 200 {
			t.Fatalf("it is answered %s", res.Status)
		}
		var tasks []wire.TaskInfo
		for i := range 2000 {
			x := task(o, fmt.Sprint(strings.Repeat("x", 200), i))
			x.Resources = []wire.Resource{scalar("cpus", 0.001), scalar("mem", 1)}
			tasks = append(tasks, x)
		}
		for len(tasks) > 0 {
			f.accept(f.offer(""), 0, launch(tasks[:200]...))
			tasks = tasks[200:]
		}
		r.pass(32 * time.Second)
		f.forget()
		f.client.CloseIdleConnections()
		r.quiet("it is cut off", before)
		f.call(reconcile("x"))
		f.update("x", wire.TaskLost)
		conn.Close()
	})
}

// An executor that takes nothing of what it is told is cut off, and its calls are refused until it subscribes again.
func TestAnExecutorThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := frameworktest.Start(t, frameworktest.Config{})
		began := make(chan *custom, 1)
		r.Program("executor", func(ctx context.Context, p *frameworktest.Process) int {
			began <- &custom{t: t, p: p, encoding: wire.JSON}
			<-ctx.Done()
			return 0
		})
		s := &starter{told: map[string]string{}, tasks: []*sdk.Task{{ID: "one", Resources: structs.Resources{CPU: 100, Memory: 32 << 20},
			Executor: &sdk.ExecutorInfo{ID: "x", Command: &sdk.Command{Args: []string{"executor"}}}}}}
		run := r.Run(sdk.Config{Name: "test"}, func(d *sdk.Driver) sdk.Scheduler { s.d = d; return s })
		x := <-began
		before := runtime.NumGoroutine()
		res := x.post(&wire.ExecutorCall{Type: new(wire.ExecutorCallSubscribe), Subscribe: &wire.ExecutorSubscribe{}})
		if res.StatusCode != 200 {
			t.Fatalf("SUBSCRIBE is answered %s", res.Status)
		}
		for range 100 {
			if err := run.Driver.Message(t.Context(), r.Node(0).ID(), "x", make([]byte, 200<<10)); err != nil {
				t.Fatal(err)
			}
		}
		update := func() int {
			status := x.status("one", wire.TaskRunning)
			res := x.post(&wire.ExecutorCall{Type: new(wire.ExecutorCallUpdate), Update: &wire.Update{Status: status}})
			res.Body.Close()
			return res.StatusCode
		}
		r.Until("it is cut off", func() bool { return update() == 403 })
		res.Body.Close()
		x.p.Transport.(*http.Transport).CloseIdleConnections()
		r.Until("nothing is left of it", func() bool { synctest.Wait(); return runtime.NumGoroutine() <= before })
		x.subscribe(nil, x.status("one", wire.TaskRunning))
		x.acknowledged(r, x.status("one", wire.TaskRunning))
		x.body.Close()
	})
}
