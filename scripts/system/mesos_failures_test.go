//go:build linux && system

package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Clients of Mesos that nobody here wrote, while what they talk to fails, and while they fail themselves.

// foreign runs a program that others wrote, as prepare does ours.
func (r *region) foreign(path string, args ...string) *invocation {
	i := &invocation{t: r.t, cmd: exec.Command(path, args...)}
	i.cmd.Stdout, i.cmd.Stderr, i.cmd.Dir = &i.out, &i.errout, r.dir
	return i
}

// example is mesos-go's example-scheduler, for tasks of so many cores that mesos-go's example-executor runs.
func (r *region) example(scheduler, executor, codec, url, address string, port, tasks int, cores string) *invocation {
	return r.foreign(scheduler, "-url", url+"/api/v1/scheduler", "-executor", executor, "-codec", codec, "-server.address", address,
		"-server.port", strconv.Itoa(port), "-metrics.port", "0", "-user", "root", "-failoverTimeout", "10m", "-timeout", patience.String(), "-maxRefuseSeconds", "100ms",
		"-tasks", strconv.Itoa(tasks), "-cpu", cores, "-memory", "32", "-exec.cpu", "0.01", "-exec.memory", "32")
}

// accomplished waits until the scheduler did all that it wanted. It fails when it is done, too: what it says counts.
func (i *invocation) accomplished() {
	i.t.Helper()
	if o := i.wait(); !strings.Contains(o.errout, "mission accomplished") {
		i.t.Fatalf("the scheduler ended so: %s", o)
	}
}

// progress is how the tasks of an executor are.
type progress struct {
	alloc    *structs.Allocation
	made     int // tasks that were launched
	finished int // of them, as their node says
	known    int // of those, whose end the scheduler acknowledged
	failed   []string
}

func progressOf(a *structs.Allocation) progress {
	p := progress{alloc: a, made: int(a.External.Made)}
	forgotten := p.made - len(a.External.Tasks) // ended well, and the scheduler knows
	p.finished, p.known = forgotten, forgotten
	for _, x := range a.External.Tasks {
		s := a.Tasks[x.Name]
		switch {
		case s == nil || !s.Status.Ended():
			continue
		case s.Status != structs.TaskFinished:
			p.failed = append(p.failed, fmt.Sprintf("%s is %s: %s", x.ID, s.Status, s.Why))
		}
		p.finished++
		if x.Over && len(x.Updates) == 0 {
			p.known++
		}
	}
	return p
}

// executorUntil waits until the tasks of the executor are so, of which there is one at a time. It looks at every change, so that nothing passes by unseen.
func (r *region) executorUntil(c *api.Client, what string, so func(p progress) bool) (p progress) {
	r.t.Helper()
	q := &api.Query{Wait: 10 * time.Second}
	await(r.t, what, func() error {
		for {
			list, meta, err := c.Allocations(r.t.Context(), q)
			switch {
			case err != nil:
				return err
			case q.Index == meta.Index:
				return fmt.Errorf("they are %+v", p)
			}
			var found *structs.Allocation
			for _, a := range list {
				if a.External != nil && a.External.Custom && a.Desired == structs.DesiredRun {
					found = a
				}
			}
			if found != nil {
				if p = progressOf(found); len(p.failed) > 0 {
					r.t.Fatalf("tasks did not end well: %s", p.failed)
				}
				if so(p) {
					return nil
				}
			}
			q.Index = meta.Index
		}
	})
	return p
}

// allFinished demands that one executor ran each task once.
func (r *region) allFinished(before structs.AllocID, tasks int) {
	r.t.Helper()
	p := r.executorUntil(r.api(), "every task is finished", func(p progress) bool { return p.finished == p.made })
	if p.made != tasks || p.alloc.ID != before {
		r.t.Errorf("allocation %s has made %d tasks, want %s and %d", p.alloc.ID, p.made, before, tasks)
	}
}

// front passes connections on to the server that leads, as a name or an address does that follows it. mesos-go follows a redirect for its
// SUBSCRIBE alone: its other calls go where it was told at first.
func (r *region) front() (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var passing sync.WaitGroup
	r.t.Cleanup(func() { ln.Close(); passing.Wait() })
	at := map[string]string{} // of servers
	var eyes []*api.Client
	for _, a := range r.agents {
		at[a.name] = net.JoinHostPort(a.addr, strconv.Itoa(r.http))
		eyes = append(eyes, a.api())
	}
	ctx := r.t.Context()
	pass := func(client net.Conn) {
		defer client.Close()
		for _, c := range eyes {
			asking, cancel := context.WithTimeout(ctx, 5*time.Second)
			l, err := c.Leader(asking)
			cancel()
			if err != nil || at[l.Name] == "" {
				continue
			}
			server, err := net.Dial("tcp", at[l.Name])
			if err != nil {
				continue
			}
			defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
			var answers sync.WaitGroup
			answers.Go(func() {
				io.Copy(client, server)
				client.Close()
			})
			io.Copy(server, client)
			server.Close()
			answers.Wait()
			return
		}
	}
	passing.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { pass(client) })
		}
	})
	return ln.Addr().String()
}

// TestMesosLeaderKilled: a scheduler with its executor gets its tasks done although the leader is killed while it acknowledges them, in both
// encodings; and a client that begins while nobody leads finds the next leader.
func TestMesosLeaderKilled(t *testing.T) {
	t.Parallel()
	scheduler, executor, msh := mesosClient(t, "example-scheduler"), mesosClient(t, "example-executor"), mesosClient(t, "msh")
	r := newRegion(t)
	for i := range 3 {
		r.server(fmt.Sprintf("s%d", i), "-bootstrap-expect", "3")
	}
	client := r.client("c0")
	r.startAll()
	r.eyes = client
	front := r.front()
	const tasks = 100
	for _, codec := range []string{"protobuf", "json"} {
		run := r.example(scheduler, executor, codec, "http://"+front, client.addr, anotherPort(t), tasks, "0.1").start()
		p := r.executorUntil(r.api(), "the scheduler knows of some ends", func(p progress) bool { return p.known >= 5 })
		if p.known == tasks {
			t.Fatal("it knew of all of them before the leader could be killed")
		}
		leader := r.leader()
		leader.kill()
		run.accomplished()
		r.allFinished(p.alloc.ID, tasks)
		client.must("framework", "teardown", string(p.alloc.Framework))
		leader.start()
	}
	r.leader().kill()
	o := r.foreign(msh, "-master", front, "-user", "root", "-cpus", "0.1", "-memory", "32", "--", "true").run()
	if o.code != 0 {
		t.Errorf("msh, begun without a leader: %s", o)
	}
}

// gate passes requests on to a server. Who holds calls has those that were on their way answered, and none goes through but a SUBSCRIBE.
type gate struct {
	url   string
	calls sync.RWMutex
}

func newGate(t *testing.T, to string) *gate {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Mesos-Stream-Id") != "" {
			g.calls.RLock()
			defer g.calls.RUnlock()
		}
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

// TestMesosAgentKilled: a scheduler with its executor gets its tasks done although the agent of the node is killed and started again
// between them. The executor lives on. The scheduler is stopped meanwhile, for the executor takes an update that it cannot send for a failure,
// and what it sent before has arrived: tasks that are on their way to an executor when the agent dies are lost, which it takes for one, too.
func TestMesosAgentKilled(t *testing.T) {
	t.Parallel()
	scheduler, executor := mesosClient(t, "example-scheduler"), mesosClient(t, "example-executor")
	r := newRegion(t)
	r.server("s0", "-bootstrap-expect", "1")
	client := r.client("c0")
	r.startAll()
	r.eyes = r.agents[0]
	g := newGate(t, r.eyes.url())
	const tasks = 60 // six at a time
	for _, codec := range []string{"protobuf", "json"} {
		run := r.example(scheduler, executor, codec, g.url, r.eyes.addr, anotherPort(t), tasks, "10").start()
		r.executorUntil(r.api(), "some tasks are finished", func(p progress) bool { return p.finished >= 6 && p.made <= tasks })
		g.calls.Lock()
		open := sync.OnceFunc(g.calls.Unlock)
		defer open() // of a test that failed
		unix.Kill(run.cmd.Process.Pid, unix.SIGSTOP)
		p := r.executorUntil(r.api(), "what was launched is finished", func(p progress) bool { return p.finished == p.made })
		if p.made == tasks {
			t.Fatal("all were finished before the agent could be killed")
		}
		client.kill()
		client.start()
		open()
		unix.Kill(run.cmd.Process.Pid, unix.SIGCONT)
		run.accomplished()
		r.allFinished(p.alloc.ID, tasks)
		r.eyes.must("framework", "teardown", string(p.alloc.Framework))
	}
}

// claims passes requests on to a server. It has every SUBSCRIBE claim the framework id that it holds, if any: example-scheduler keeps its
// id in memory alone.
func claims(t *testing.T, to string, id *atomic.Pointer[structs.FrameworkID]) *httptest.Server {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		claimed := id.Load()
		if claimed == nil {
			return
		}
		encoding := wire.Protobuf
		if p.In.Header.Get("Content-Type") == wire.JSON.ContentType() {
			encoding = wire.JSON
		}
		body, _ := io.ReadAll(p.In.Body)
		var call wire.Call
		if err := encoding.Unmarshal(body, &call); err == nil && call.Subscribe != nil {
			call.FrameworkID = &wire.ID{Value: string(*claimed)}
			call.Subscribe.FrameworkInfo.ID = call.FrameworkID
			body = encoding.Marshal(&call)
		}
		p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		p.Out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}}
	s := httptest.NewServer(http.HandlerFunc(proxy.ServeHTTP))
	t.Cleanup(s.Close)
	return s
}

// TestMesosSchedulerKilled: a scheduler that is killed while it acknowledges is started again with its id, takes over what it did not know
// the end of, and learns of every one.
func TestMesosSchedulerKilled(t *testing.T) {
	t.Parallel()
	scheduler, executor := mesosClient(t, "example-scheduler"), mesosClient(t, "example-executor")
	r := newRegion(t)
	a := single(r)
	const tasks = 100
	for _, codec := range []string{"protobuf", "json"} {
		var id atomic.Pointer[structs.FrameworkID]
		proxy := claims(t, a.url(), &id)
		port := anotherPort(t)
		first := r.example(scheduler, executor, codec, proxy.URL, a.addr, port, tasks, "0.1").start()
		p := r.executorUntil(r.api(), "the scheduler knows of some ends", func(p progress) bool { return p.known >= 5 })
		unix.Kill(first.cmd.Process.Pid, unix.SIGKILL)
		first.wait()
		await(t, "the framework is away", func() error {
			f, _, err := r.api().Framework(t.Context(), string(p.alloc.Framework), nil)
			if err == nil && f.Connected {
				err = fmt.Errorf("it is connected")
			}
			return err
		})
		p = r.executorUntil(r.api(), "every task is finished", func(p progress) bool { return p.finished == tasks })
		if p.known == tasks {
			t.Fatal("it knew of all of them before it could be killed")
		}
		// The second one launches nothing, for no node has so many cores: what it hears is of the first one's tasks.
		id.Store(&p.alloc.Framework)
		r.example(scheduler, executor, codec, proxy.URL, a.addr, port, tasks-p.known, "1000").start().accomplished()
		r.executorUntil(r.api(), "every end is known", func(p progress) bool { return p.known == tasks })
		r.allFinished(p.alloc.ID, tasks)
		a.must("framework", "teardown", string(p.alloc.Framework))
	}
}
