//go:build linux && system && soak

package system

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// book is what passed between schedulers of one framework and the region, as a proxy between them saw it. Its executors make the UUIDs of what
// they say, new ones for each launch: a task that ran twice has two of its starts, or of its ends.
type book struct {
	t  *testing.T
	id atomic.Pointer[structs.FrameworkID] // that its schedulers claim

	mu    sync.Mutex
	run   int // of the scheduler; ids of tasks begin with it, for each scheduler counts from 1
	tasks map[string]*entry
}

// entry is one task. A status without a UUID is what the servers say, which is said again and may be taken back.
type entry struct {
	said map[string]wire.TaskState // by UUID
	ends []wire.TaskStatus         // with a UUID, each once
	lost bool                      // the servers said that it is lost
	mute bool                      // its executor never says how it ended
}

func is[T comparable](p *T, v T) bool { return p != nil && *p == v }

// call notes what a scheduler launches, and has the ids of its tasks begin with the number of its run.
func (b *book) call(call *wire.Call) (changed bool) {
	if call.Accept == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, op := range call.Accept.Operations {
		if op.Launch == nil {
			continue
		}
		for i := range op.Launch.Tasks {
			task := &op.Launch.Tasks[i]
			task.TaskID.Value, changed = fmt.Sprintf("%d.%s", b.run, task.TaskID.Value), true
			if b.tasks[task.TaskID.Value] != nil {
				b.t.Errorf("the test launches task %s twice", task.TaskID.Value)
			}
			b.tasks[task.TaskID.Value] = &entry{said: map[string]wire.TaskState{}}
		}
	}
	return changed
}

// event notes what a scheduler is told, before it is.
func (b *book) event(e *wire.Event) {
	if e.Subscribed != nil {
		id := structs.FrameworkID(e.Subscribed.FrameworkID.Value)
		if was := b.id.Swap(&id); was != nil && *was != id {
			b.t.Errorf("framework %s is %s now", *was, id)
		}
	}
	if e.Update == nil {
		return
	}
	s := e.Update.Status
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.tasks[s.TaskID.Value]
	switch was, known := x.known(s.UUID); {
	case x == nil:
		b.t.Errorf("of a task that nobody launched it is told %s", wire.JSON.Marshal(&s))
	case s.UUID == nil:
		x.lost = x.lost || s.State == wire.TaskLost
	case known && was == wire.TaskRunning && s.State == wire.TaskFailed: // see silent
		x.said[string(s.UUID)] = s.State
		x.ends = append(x.ends, s)
	case known && was != s.State:
		b.t.Errorf("it was told %s before, and now %s", was, wire.JSON.Marshal(&s))
	case !known:
		if x.said[string(s.UUID)] = s.State; ended(s.State) {
			x.ends = append(x.ends, s)
		}
	}
}

func (x *entry) known(uuid []byte) (state wire.TaskState, known bool) {
	if x != nil {
		state, known = x.said[string(uuid)]
	}
	return state, known
}

// count returns how often a task was told to be so, each time with another UUID.
func (x *entry) count(state wire.TaskState) (n int) {
	for _, s := range x.said {
		if s == state {
			n++
		}
	}
	return n
}

func ended(s wire.TaskState) bool {
	switch s {
	case wire.TaskStaging, wire.TaskStarting, wire.TaskRunning, wire.TaskKilling, wire.TaskUnreachable:
		return false
	}
	return true
}

// proxy passes what schedulers say on, and notes it.
func (b *book) proxy(to string) string {
	target, err := url.Parse(claims(b.t, to, &b.id).URL)
	if err != nil {
		b.t.Fatal(err)
	}
	encoding := func(h http.Header) wire.Encoding {
		if h.Get("Content-Type") == wire.JSON.ContentType() {
			return wire.JSON
		}
		return wire.Protobuf
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		body, err := io.ReadAll(p.In.Body)
		var call wire.Call
		if in := encoding(p.In.Header); err == nil && in.Unmarshal(body, &call) == nil && b.call(&call) {
			body = in.Marshal(&call)
		}
		p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}, ModifyResponse: func(res *http.Response) error {
		switch res.StatusCode {
		case http.StatusTemporaryRedirect: // it would go past this proxy
			res.StatusCode = http.StatusServiceUnavailable
		case http.StatusOK:
			if res.Header.Get("Mesos-Stream-Id") != "" {
				res.Body = b.noted(res.Body, encoding(res.Header))
			}
		}
		return nil
	}}
	s := httptest.NewServer(http.HandlerFunc(proxy.ServeHTTP))
	b.t.Cleanup(s.Close)
	return s.URL
}

// noted is a stream of events that are noted as they pass.
func (b *book) noted(from io.ReadCloser, encoding wire.Encoding) io.ReadCloser {
	out, in := io.Pipe()
	go func() { // until the stream ends, or nobody reads it
		records := bufio.NewReader(from)
		for {
			raw, err := wire.ReadRecord(records)
			if err == nil {
				var e wire.Event
				if err = encoding.Unmarshal(raw, &e); err != nil {
					b.t.Errorf("an event: %v", err)
				} else {
					b.event(&e)
				}
			}
			if err == nil {
				_, err = in.Write(wire.AppendRecord(nil, raw))
			}
			if err != nil {
				in.CloseWithError(err)
				from.Close()
				return
			}
		}
	}()
	return &passed{out, from}
}

type passed struct {
	*io.PipeReader
	from io.Closer
}

func (p *passed) Close() error {
	p.from.Close()
	return p.PipeReader.Close()
}

// left returns the tasks of the framework that have not ended, or of whose end it does not know, but for those whose executors are silent of them.
func (b *book) left(c *api.Client) (left []string, err error) {
	list, _, err := c.Allocations(b.t.Context(), nil)
	for _, a := range list {
		if a.Framework != *b.id.Load() {
			continue
		}
		for _, x := range a.External.Tasks {
			s := a.Tasks[x.Name]
			switch {
			case len(x.Updates) == 0 && a.Status != structs.AllocLost && (a.Ended() || s != nil && s.Status.Ended()):
			case len(x.Updates) == 0 && s != nil && s.Status == structs.TaskRunning && b.silent(c, a, x.ID):
			default:
				left = append(left, x.ID)
			}
		}
	}
	return left, err
}

// silent reports whether an executor could not say that a task runs, for its agent was killed before it answered. mesos-go says then with the same
// UUID that it failed, which is no news to an agent, here as in Mesos: the task never ends.
func (b *book) silent(c *api.Client, a *structs.Allocation, task string) bool {
	var said bytes.Buffer
	err := c.Logs(b.t.Context(), &api.LogsRequest{Alloc: a.ID, Task: "executor", Stderr: true}, func(f *api.LogFrame) error {
		said.Write(f.Data)
		return nil
	})
	if err != nil || !strings.Contains(said.String(), "failed to send TASK_RUNNING for task "+task+":") {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tasks[task].mute = true
	return true
}

// chaos is what becomes of schedulers of a framework while all else is killed, too.
type chaos struct {
	*book
	r       *region
	start   func(url, codec string, tasks int, cores string) *invocation
	url     string
	codec   string
	work    sync.WaitGroup // starts one scheduler after the other
	running atomic.Pointer[invocation]
	ends    map[string]int // of schedulers, by why
}

const (
	soakTasks = 150 // of a scheduler
	soakCores = "8" // of a task: a node has eight of them at a time, at most
)

// one runs one scheduler to its end, and says why it ended.
func (c *chaos) one(cores string) string {
	c.mu.Lock()
	c.run++
	c.mu.Unlock()
	i := c.start(c.url, c.codec, soakTasks, cores)
	c.running.Store(i)
	o := i.wait()
	c.running.Store(nil)
	for _, line := range slices.Backward(strings.Split(o.errout, "\n")) {
		switch _, why, _ := strings.Cut(line, "in an unexpected state "); {
		case strings.Contains(line, "mission accomplished"):
			return "accomplished"
		case why != "":
			return strings.Fields(why)[0]
		}
	}
	if o.code > 0 {
		c.t.Logf("a scheduler ended so: %s", o.errout[max(0, len(o.errout)-2000):])
		return "failed"
	}
	return "killed"
}

func (c *chaos) kill() {
	if i := c.running.Load(); i != nil {
		i.cmd.Process.Kill()
	}
}

// settle has a scheduler that launches nothing learn of all that it does not know yet.
func (c *chaos) settle(api *api.Client) {
	over := make(chan struct{})
	c.work.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				c.one("1000") // it ends with each task that did not end well
			}
		}
	})
	var left []string
	await(c.t, "framework "+string(*c.id.Load())+" knows of all ends", func() (err error) {
		if left, err = c.left(api); err == nil && len(left) > 0 {
			err = fmt.Errorf("not of %v", left)
		}
		return err
	})
	close(over)
	c.endAll()
}

// endAll kills schedulers until nothing starts one any more.
func (c *chaos) endAll() {
	ended := make(chan struct{})
	go func() { c.work.Wait(); close(ended) }()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		c.kill()
		select {
		case <-ended:
			return
		case <-again.C:
		}
	}
}

// check demands that no task ran twice, and that each has ended as it may: it finished; its executor could not say that it runs, or has ended, for
// its agent was killed (mesos-go takes that for a failure); it could not be fetched from a scheduler that was killed; or it never began.
func (c *chaos) check() (finished, gaveUp, never int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, x := range c.tasks {
		if n := x.count(wire.TaskRunning); n > 1 {
			c.t.Errorf("task %s began %d times", id, n)
		}
		if len(x.ends) > 1 {
			c.t.Errorf("task %s ended %d times: %s", id, len(x.ends), wire.JSON.Marshal(&x.ends[0]))
			continue
		}
		began := x.count(wire.TaskRunning) > 0
		if len(x.ends) == 0 {
			switch {
			case x.mute:
				gaveUp++
			case began:
				c.t.Errorf("task %s ran, and has no end", id)
			default:
				never++
			}
			continue
		}
		switch s := x.ends[0]; {
		case s.State == wire.TaskFinished:
			finished++
		case s.State == wire.TaskFailed && is(s.Source, wire.SourceExecutor):
			gaveUp++
		case s.State == wire.TaskFailed && !began && is(s.Reason, wire.ReasonContainerLaunchFailed):
			gaveUp++
		case s.State == wire.TaskLost && !began:
			never++
		default:
			c.t.Errorf("task %s ended so: %s", id, wire.JSON.Marshal(&s))
		}
	}
	return finished, gaveUp, never
}

// TestMesosSoak: schedulers and executors that nobody here wrote run tasks for half an hour (PROFFER_SOAK: another time) while servers, agents,
// supervisors and they themselves are killed. Then they know how each task ended, none ran twice, none is left, and the next scheduler of each
// gets all its tasks done, each once.
func TestMesosSoak(t *testing.T) {
	length := 30 * time.Minute
	if s := os.Getenv("PROFFER_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	scheduler, executor := mesosClient(t, "example-scheduler"), mesosClient(t, "example-executor")
	r := newRegion(t)
	servers, clients := three(r)
	r.eyes = clients[2] // its agent alone is never killed
	eyes := r.eyes.api()
	front := r.front()
	var all []*chaos
	var over atomic.Bool
	for _, codec := range []string{"protobuf", "json"} {
		c := &chaos{book: &book{t: t, tasks: map[string]*entry{}}, r: r, codec: codec, ends: map[string]int{}}
		c.url = c.proxy("http://" + front)
		port := anotherPort(t)
		c.start = func(url, codec string, tasks int, cores string) *invocation {
			return r.example(scheduler, executor, codec, url, "127.0.0.1", port, tasks, cores).start()
		}
		all = append(all, c)
		c.work.Go(func() {
			for !over.Load() && !t.Failed() {
				c.ends[c.one(soakCores)]++
			}
		})
	}
	seed := uint64(time.Now().UnixNano())
	random, kills := rand.New(rand.NewPCG(seed, 1)), map[string]int{}
	t.Logf("seed %d", seed)
	supervised := func(c *agent) {
		await(t, "there is a supervisor of "+c.name, func() error {
			if c.supervisor() == 0 {
				return fmt.Errorf("there is none")
			}
			return nil
		})
	}
	deeds := map[string]func(){
		"leader":   func() { l := r.leader(); l.kill(); r.leader(); l.start() },
		"follower": func() { f := r.follower(); f.kill(); f.start() },
		"servers": func() {
			for _, s := range servers {
				s.kill()
			}
			for _, s := range servers {
				s.launch()
			}
			for _, s := range servers {
				s.await()
			}
		},
		"agent": func() { c := clients[random.IntN(2)]; c.kill(); c.start() },
		"agent, until its node is lost": func() {
			c := clients[random.IntN(2)]
			c.kill()
			r.nodes(structs.NodeLost, 1)
			c.start()
		},
		"supervisor": func() { c := clients[random.IntN(3)]; supervised(c); c.killSupervisor() },
		"agent and supervisor": func() {
			c := clients[random.IntN(2)]
			supervised(c)
			c.kill()
			c.killSupervisor()
			c.start()
		},
		"scheduler": func() { all[random.IntN(len(all))].kill() },
	}
	names := slices.Sorted(maps.Keys(deeds))
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		pause := time.NewTimer(time.Duration(random.IntN(5000)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-t.Context().Done():
		}
		name := names[random.IntN(len(names))]
		kills[name]++
		deeds[name]()
	}
	r.leader()
	r.nodes(structs.NodeReady, 3)
	over.Store(true)
	for _, c := range all {
		c.endAll()
	}
	for _, c := range all {
		c.settle(eyes)
		if why := c.one(soakCores); why != "accomplished" {
			t.Errorf("%s: the last scheduler is %s", c.codec, why)
		}
		number := fmt.Sprintf("%d.", c.run)
		c.settle(eyes)
		finished, gaveUp, never := c.check()
		last := 0
		for id, x := range c.tasks {
			if strings.HasPrefix(id, number) && len(x.ends) == 1 && x.ends[0].State == wire.TaskFinished {
				last++
			}
		}
		t.Logf("%s: %d tasks finished, of %d the executor could not say how they are, %d never began; of %d schedulers %v", c.codec, finished, gaveUp, never, c.run, c.ends)
		if last != soakTasks {
			t.Errorf("%s: of the last scheduler %d tasks finished, want %d", c.codec, last, soakTasks)
		}
		r.eyes.must("framework", "teardown", string(*c.id.Load()))
	}
	t.Logf("killed: %v", kills)
	await(t, "nothing is left", func() error {
		for _, c := range clients {
			if left := c.tasks(); len(left) > 0 {
				return fmt.Errorf("on %s: processes %v", c.name, left)
			}
		}
		return nil
	})
}
