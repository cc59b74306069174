package framework_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Leaders and nodes of which each answer is made here.

// leader answers the calls of a scheduler.
type leader func(*http.Request, *wire.Call) (status int, location string, stream io.ReadCloser)

func (l leader) RoundTrip(q *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	c := &wire.Call{}
	if err := wire.Protobuf.Unmarshal(raw, c); err != nil {
		return nil, err
	}
	status, location, stream := l(q, c)
	if stream == nil {
		stream = http.NoBody
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Location": {location}}, Body: stream, Request: q}, nil
}

func subscribed(id string) []byte {
	return wire.AppendRecord(nil, wire.Protobuf.Marshal(&wire.Event{Type: new(wire.EventSubscribed),
		Subscribed: &wire.Subscribed{FrameworkID: wire.ID{Value: id}, HeartbeatInterval: new(15.0)}}))
}

// endless is a stream that ends with its request.
func endless(q *http.Request, first []byte) io.ReadCloser {
	r, w := io.Pipe()
	stop := context.AfterFunc(q.Context(), func() { w.CloseWithError(q.Context().Err()) })
	go func() {
		w.Write(first)
	}()
	return &piped{r, stop}
}

type piped struct {
	*io.PipeReader
	stop func() bool
}

func (p *piped) Close() error {
	p.stop()
	return p.PipeReader.Close()
}

// idle is a scheduler that does nothing.
type idle struct{}

func (idle) Offers(context.Context, []*framework.Offer)      {}
func (idle) Update(context.Context, *framework.Update) error { return nil }

// run runs a scheduler that does nothing, once f has returned.
func run(t *testing.T, l leader, f func(*framework.Driver)) (d *framework.Driver, end func()) {
	d, err := framework.New(framework.Config{Name: "test", Servers: []string{"a:5050", "b:5050"}, Transport: l,
		Jitter: func(max time.Duration) time.Duration { return max / 2 }})
	if err != nil {
		t.Fatal(err)
	}
	f(d)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { d.Run(ctx, idle{}) })
	return d, func() { cancel(); work.Wait() }
}

// A framework whose first stream breaks before its scheduler had time to hear of it is the same one in the next.
func TestTheFirstIDIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var ids []string
		var busy sync.WaitGroup
		_, end := run(t, func(q *http.Request, c *wire.Call) (int, string, io.ReadCloser) {
			if c.Subscribe == nil {
				return 202, "", nil
			}
			mu.Lock()
			defer mu.Unlock()
			id := ""
			if c.FrameworkID != nil {
				id = c.FrameworkID.Value
			}
			if ids = append(ids, id); len(ids) == 1 {
				return 200, "", io.NopCloser(bytes.NewReader(subscribed("one")))
			}
			return 200, "", endless(q, subscribed("one"))
		}, func(d *framework.Driver) {
			busy.Go(func() { d.Do(t.Context(), func() { time.Sleep(time.Minute) }) })
			synctest.Wait()
		})
		busy.Wait()
		time.Sleep(10 * time.Second)
		end()
		if got := strings.Join(ids, ","); got != ",one" {
			t.Errorf("it subscribes as %q", got)
		}
	})
}

// Two servers that each say that the other one leads, once they have been subscribed with, are not asked without a pause.
func TestServersThatPointToEachOtherAreNotStormed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		n := 0
		other := map[string]string{"a:5050": "//b:5050", "b:5050": "//a:5050"}
		_, end := run(t, func(q *http.Request, c *wire.Call) (int, string, io.ReadCloser) {
			if c.Subscribe == nil {
				return 307, other[q.URL.Host], nil
			}
			mu.Lock()
			defer mu.Unlock()
			if n++; n == 1000 {
				t.Error("it subscribes without end")
			}
			if n > 1000 {
				return 401, "", nil
			}
			return 200, "", endless(q, subscribed("one"))
		}, func(*framework.Driver) {})
		time.Sleep(time.Minute)
		end()
		if n < 4 || n > 100 {
			t.Errorf("in a minute it subscribed %d times", n)
		}
	})
}

func TestWhatDoGaveUpIsNotDone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, end := run(t, func(q *http.Request, c *wire.Call) (int, string, io.ReadCloser) { return 503, "", nil }, func(*framework.Driver) {})
		defer end()
		var work sync.WaitGroup
		work.Go(func() { d.Do(t.Context(), func() { time.Sleep(time.Minute) }) })
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := false
		if err := d.Do(ctx, func() { done = true }); err == nil {
			t.Error("it is told that it was done")
		}
		work.Wait()
		if err := d.Do(t.Context(), func() {}); err != nil {
			t.Error(err)
		}
		if done {
			t.Error("it was done after all")
		}
		// What began is waited for.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Do(ctx, func() { time.Sleep(time.Minute); done = true }); err != nil || !done {
			t.Errorf("%v, done %v", err, done)
		}
	})
}

// chatty is an executor that says of each task that it runs before it takes the next one.
type chatty struct {
	t *testing.T
	d *framework.ExecutorDriver
}

func (c *chatty) Launch(ctx context.Context, t *framework.Launched) {
	if err := c.d.Update(ctx, framework.TaskNews{Task: t.ID, State: structs.TaskRunning}); err != nil {
		c.t.Error(err)
	}
}

func (*chatty) Kill(context.Context, string, time.Duration) {}

// An executor that is given more tasks at once than it may have updates under way, and says something when it is given one, goes on:
// its node acknowledges the first of them behind all that it gives it.
func TestAnExecutorIsGivenMoreAtOnceThanItMaySay(t *testing.T) {
	const tasks = 5000
	var stream []byte
	add := func(e *wire.ExecutorEvent) { stream = wire.AppendRecord(stream, wire.Protobuf.Marshal(e)) }
	add(&wire.ExecutorEvent{Type: new(wire.ExecutorEventSubscribed), Subscribed: &wire.ExecutorSubscribed{}})
	for i := range tasks {
		id := string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		add(&wire.ExecutorEvent{Type: new(wire.ExecutorEventLaunch), Launch: &wire.ExecutorLaunch{Task: wire.TaskInfo{Name: "t", TaskID: wire.ID{Value: id}}}})
	}
	said := make(chan *wire.TaskStatus, tasks)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		c := &wire.ExecutorCall{}
		if err := wire.Protobuf.Unmarshal(raw, c); err != nil {
			t.Error(err)
			return
		}
		if c.Update != nil {
			said <- &c.Update.Status
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Write(stream)
		for range tasks {
			select {
			case s := <-said:
				w.Write(wire.AppendRecord(nil, wire.Protobuf.Marshal(&wire.ExecutorEvent{Type: new(wire.ExecutorEventAcknowledged),
					Acknowledged: &wire.ExecutorAcknowledged{TaskID: s.TaskID, UUID: s.UUID}})))
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				t.Error("it stopped in the middle")
				return
			}
		}
		w.Write(wire.AppendRecord(nil, wire.Protobuf.Marshal(&wire.ExecutorEvent{Type: new(wire.ExecutorEventShutdown)})))
	}))
	defer node.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := framework.NewExecutor(framework.ExecutorConfig{Framework: "f", ID: "x", Node: strings.TrimPrefix(node.URL, "http://")})
	if err := d.Run(ctx, &chatty{t, d}); err != nil {
		t.Error(err)
	}
}
