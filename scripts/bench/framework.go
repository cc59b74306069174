//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
)

// scheduler is one of a framework, over plain HTTP with protobuf. Its calls go over one connection that stays, in their order.
type scheduler struct {
	url    string
	client *http.Client
	info   wire.FrameworkInfo
	stream string // id
	in     *bufio.Reader
	body   io.Closer
}

func newScheduler(url, name string) *scheduler {
	return &scheduler{url: url + "/api/v1/scheduler", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		info: wire.FrameworkInfo{User: "root", Name: name, FailoverTimeout: new(3600.0)}}
}

func (s *scheduler) post(ctx context.Context, call *wire.Call) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", s.url, bytes.NewReader(wire.Protobuf.Marshal(call)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", wire.Protobuf.ContentType())
	req.Header.Set("Accept", wire.Protobuf.ContentType())
	if *call.Type != wire.CallSubscribe {
		req.Header.Set("Mesos-Stream-Id", s.stream)
	}
	return s.client.Do(req)
}

// subscribe begins the stream. It lasts as long as ctx.
func (s *scheduler) subscribe(ctx context.Context) error {
	res, err := s.post(ctx, &wire.Call{FrameworkID: s.info.ID, Type: new(wire.CallSubscribe), Subscribe: &wire.Subscribe{FrameworkInfo: s.info}})
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		return fmt.Errorf("SUBSCRIBE: %s %s", res.Status, text)
	}
	s.stream, s.body, s.in = res.Header.Get("Mesos-Stream-Id"), res.Body, bufio.NewReader(res.Body)
	first, err := s.next()
	if err == nil && first.Subscribed == nil {
		err = fmt.Errorf("the first event is %s", wire.JSON.Marshal(first))
	}
	if err != nil {
		res.Body.Close()
		return err
	}
	s.info.ID = &first.Subscribed.FrameworkID
	return nil
}

func (s *scheduler) close() {
	if s.body != nil {
		s.body.Close()
	}
	s.client.CloseIdleConnections()
}

func (s *scheduler) next() (*wire.Event, error) {
	record, err := wire.ReadRecord(s.in)
	if err != nil {
		return nil, err
	}
	e := &wire.Event{}
	return e, wire.Protobuf.Unmarshal(record, e)
}

func (s *scheduler) call(ctx context.Context, call *wire.Call) error {
	call.FrameworkID = s.info.ID
	res, err := s.post(ctx, call)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s: %s %s", call.Type, res.Status, text)
	}
	return nil
}

func (s *scheduler) acknowledge(ctx context.Context, x *wire.TaskStatus) error {
	return s.call(ctx, &wire.Call{Type: new(wire.CallAcknowledge), Acknowledge: &wire.Acknowledge{AgentID: *x.AgentID, TaskID: x.TaskID, UUID: x.UUID}})
}

func (s *scheduler) accept(ctx context.Context, offer wire.ID, refuse float64, tasks ...wire.TaskInfo) error {
	return s.call(ctx, &wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{offer}, Filters: &wire.Filters{RefuseSeconds: &refuse},
		Operations: []wire.Operation{{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: tasks}}}}})
}

// commandTask is a task of a hundredth of a core, for a second.
func commandTask(agent wire.ID, id string) wire.TaskInfo {
	program := "/bin/sleep"
	amount := func(name string, x float64) wire.Resource {
		return wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: x}}
	}
	return wire.TaskInfo{Name: id, TaskID: wire.ID{Value: id}, AgentID: agent, Resources: []wire.Resource{amount("cpus", 0.01), amount("mem", 1)},
		Command: &wire.CommandInfo{Value: &program, Shell: new(false), Arguments: []string{program, "1"}}}
}

// measureAccept launches tasks on an agent, one after the other, and counts from the ACCEPT to TASK_RUNNING at the scheduler.
func measureAccept(ctx context.Context, b *bench) error {
	a, err := b.devAgent(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s := newScheduler(a.Address(), "accept")
	if err := s.subscribe(ctx); err != nil {
		return err
	}
	defer s.close()
	before := a.cost()
	var times spread
	var begun time.Time
	var offer *wire.Offer // that is good
	waits := false        // for the task that was launched last
	for len(times) < b.samples {
		e, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case e.Offers != nil:
			offer = &e.Offers.Offers[len(e.Offers.Offers)-1]
		case e.Rescind != nil && offer != nil && offer.ID == e.Rescind.OfferID:
			offer = nil
		case e.Update != nil:
			x := &e.Update.Status
			switch x.State {
			case wire.TaskRunning:
				times, waits = append(times, time.Since(begun)), false
			case wire.TaskLost: // the offer was taken back meanwhile
				waits = false
			case wire.TaskStarting, wire.TaskFinished:
			default:
				return fmt.Errorf("a task is told %s", wire.JSON.Marshal(x))
			}
			if x.UUID != nil {
				if err := s.acknowledge(ctx, x); err != nil {
					return err
				}
			}
		}
		if offer != nil && !waits {
			id, on := offer.ID, offer.AgentID
			begun, waits, offer = time.Now(), true, nil
			if err := s.accept(ctx, id, 0, commandTask(on, fmt.Sprint("task-", len(times)))); err != nil {
				return err
			}
		}
	}
	b.add(figure{What: "ACCEPT to TASK_RUNNING at the scheduler, p50", Unit: "ms", Must: 25, Aim: 10, Got: ms(times.at(0.5)),
		Note: fmt.Sprintf("%d command tasks, one after the other, p99 %.1f ms; %s", len(times), ms(times.at(0.99)), a.cost().since(before, len(times), "task"))})
	return s.call(ctx, &wire.Call{Type: new(wire.CallTeardown)})
}

// serveSchedulers serves the scheduler API of a server on a port of loopback, until the returned function is called.
func serveSchedulers(s *server.Server) (url string, end func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	api := &mesos.Scheduler{Region: s, Log: slog.New(slog.DiscardHandler)}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.Serve(w, r, mesos.Caller{Actor: "bench"}) })}
	var serving sync.WaitGroup
	serving.Go(func() { web.Serve(ln) })
	return "http://" + ln.Addr().String(), func() { web.Close(); serving.Wait() }, nil
}

// openStream opens a region with nodes whose leader serves schedulers at url, until the returned function is called.
func (b *bench) openStream(ctx context.Context, name string, nodes int) (url string, end func(), err error) {
	r, leader, err := b.openSessions(ctx, name, nodes)
	if err != nil {
		return "", nil, err
	}
	url, served, err := serveSchedulers(leader)
	if err != nil {
		r.close()
		return "", nil, err
	}
	return url, func() { served(); r.close() }, nil
}

// measureStream has one scheduler launch tasks on 100 nodes as fast as it is told of them: the nodes have real sessions, and begin a task as
// soon as they hear of it.
func measureStream(ctx context.Context, b *bench) error {
	const nodes, tasks, each, writers = 100, 40_000, 100, 64
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	url, end, err := b.openStream(ctx, "stream", nodes)
	if err != nil {
		return err
	}
	defer end()
	s := newScheduler(url, "stream")
	if err := s.subscribe(ctx); err != nil {
		return err
	}
	defer s.close()

	// Calls are made side by side, as a scheduler does that has much to do.
	calls := make(chan func() error, 3*tasks)
	var calling sync.WaitGroup
	var failed atomic.Pointer[error]
	for range writers {
		calling.Go(func() {
			for do := range calls {
				if err := do(); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	begun, used := time.Now(), processorTime()
	launched, running := 0, 0
	for running < tasks && err == nil {
		var e *wire.Event
		if e, err = s.next(); err != nil {
			err = fmt.Errorf("the subscription ended: on a machine that is too busy the leader loses its quorum, and must: %w", err)
			break
		}
		switch {
		case e.Offers != nil:
			for _, o := range e.Offers.Offers {
				var group []wire.TaskInfo
				for len(group) < each && launched < tasks {
					group = append(group, commandTask(o.AgentID, fmt.Sprint("task-", launched)))
					launched++
				}
				calls <- func() error { return s.accept(ctx, o.ID, 0, group...) }
			}
		case e.Update != nil:
			x := e.Update.Status
			switch x.State {
			case wire.TaskStarting:
			case wire.TaskRunning:
				running++
			default:
				err = fmt.Errorf("a task is told %s", wire.JSON.Marshal(&x))
			}
			calls <- func() error { return s.acknowledge(ctx, &x) }
		}
		if p := failed.Load(); p != nil {
			err = *p
		}
	}
	close(calls)
	calling.Wait()
	if p := failed.Load(); p != nil && err == nil {
		err = *p
	}
	if err != nil {
		return err
	}
	took := time.Since(begun)
	used = processorTime() - used
	b.add(figure{What: "tasks through one scheduler stream, 100 nodes", Unit: "tasks/s", Must: 2000, Aim: 10_000, Got: tasks / took.Seconds(), More: true,
		Note: fmt.Sprintf("%d tasks launched, told twice and acknowledged; %.0f µs CPU a task, three servers with fsync, nodes and scheduler in one process",
			tasks, 1e3*ms(used)/tasks)})
	return nil
}

// measureConnected has many schedulers subscribe and do nothing but take their heartbeats.
func measureConnected(ctx context.Context, b *bench) (err error) {
	const count = 10_000
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	a, err := b.startDev(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	url, before := a.Address(), memoryOf(a.cmd.Process.Pid)
	begun := time.Now()
	errs := make(chan error, count)
	all := make([]*scheduler, count)
	var joining sync.WaitGroup
	next := atomic.Int64{}
	for range 64 {
		joining.Go(func() {
			for i := next.Add(1) - 1; i < count; i = next.Add(1) - 1 {
				s := newScheduler(url, fmt.Sprint("f", i))
				if err := s.subscribe(ctx); err != nil {
					errs <- err
					return
				}
				all[i] = s
				if err := s.call(ctx, &wire.Call{Type: new(wire.CallSuppress)}); err != nil {
					errs <- err
					return
				}
				s.client.CloseIdleConnections()
			}
		})
	}
	joining.Wait()
	joined := time.Since(begun)
	defer func() {
		for _, s := range all {
			if s != nil {
				s.close()
			}
		}
	}()
	select {
	case err := <-errs:
		return err
	default:
	}
	// Each must have had two beats more within a bit more than two intervals.
	beating, stop := context.WithTimeout(ctx, 33*time.Second)
	defer stop()
	used := a.cost()
	var lively atomic.Int64
	var reading sync.WaitGroup
	for _, s := range all {
		reading.Go(func() {
			unwatch := context.AfterFunc(beating, s.close)
			defer unwatch()
			for beats := 0; ; {
				e, err := s.next()
				if err != nil {
					return
				}
				if *e.Type == wire.EventHeartbeat {
					if beats++; beats == 3 { // the first came with SUBSCRIBED
						lively.Add(1)
					}
				}
			}
		})
	}
	<-beating.Done()
	idle := a.cost().agent - used.agent
	memory := memoryOf(a.cmd.Process.Pid) - before
	reading.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.add(figure{What: "connected frameworks on one leader, each heartbeating", Unit: "frameworks", Must: 2000, Aim: 10_000, Got: float64(lively.Load()), More: true,
		Note: fmt.Sprintf("of %d, which subscribed within %.1f s; the agent has %.0f KB more memory for each, and uses %.1f%% of a core for all",
			count, joined.Seconds(), 1000*memory/count, 100*float64(idle)/float64(33*time.Second))})
	return nil
}

// measureFirstOffer kills the leader of 10,000 nodes that run 100,000 tasks, and counts until a scheduler that looks for the next one is
// offered a node.
func measureFirstOffer(ctx context.Context, b *bench) error {
	const nodes, each, frameworks = 10_000, 10, 10
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	r, _, err := b.openSessions(ctx, "first-offer", 0)
	if err != nil {
		return err
	}
	defer r.close()
	leader, err := r.filled(ctx, nodes, each, frameworks)
	if err != nil {
		return err
	}
	var survivors []*scheduler
	for _, s := range r.servers {
		if s == leader {
			continue
		}
		url, end, err := serveSchedulers(s)
		if err != nil {
			return err
		}
		defer end()
		one := newScheduler(url, "first")
		defer one.close()
		survivors = append(survivors, one)
	}
	begun := time.Now()
	leader.Kill()
	var tries int
	for ; ctx.Err() == nil; tries++ {
		s := survivors[tries%len(survivors)]
		if s.subscribe(ctx) != nil {
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		subscribed := time.Since(begun)
		for {
			e, err := s.next()
			if err != nil {
				return err
			}
			if e.Offers != nil {
				b.add(figure{What: "leader killed under 10,000 nodes with 100,000 tasks, to the first offer", Unit: "s", Must: 5, Aim: 1, Got: time.Since(begun).Seconds(),
					Note: fmt.Sprintf("subscribed after %.2f s, and %d tries", subscribed.Seconds(), tries)})
				return nil
			}
		}
	}
	return ctx.Err()
}
