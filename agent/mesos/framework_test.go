package mesos_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// framework is a scheduler on a machine of its own, which speaks plain HTTP.
type framework struct {
	r        *region
	ip       string
	encoding wire.Encoding
	info     wire.FrameworkInfo
	client   *http.Client

	suppressed  []string               // roles, with the next SUBSCRIBE
	constraints *wire.OfferConstraints // likewise
	master      *wire.MasterInfo       // that the newest SUBSCRIBED named

	at     *host  // the server that it is subscribed with
	stream string // id
	header http.Header
	end    func() // ends the stream
	done   chan struct{}

	mu     sync.Mutex
	events []*wire.Event // that were not taken
	raw    []byte        // the newest OFFERS, as it came
	fault  error         // why the stream ended
	heard  time.Time     // when the newest event came
}

// framework adds one, which is not subscribed.
func (r *region) framework(ip string, encoding wire.Encoding, change ...func(*wire.FrameworkInfo)) *framework {
	network := r.mesh.Host(ip)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return network.Dial(ctx, addr) }}
	f := &framework{r: r, ip: ip, encoding: encoding, info: wire.FrameworkInfo{User: "root", Name: "fw-" + ip, FailoverTimeout: new(3600.0)},
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	for _, c := range change {
		c(&f.info)
	}
	r.t.Cleanup(func() { f.close(); transport.CloseIdleConnections() })
	return f
}

func can(capabilities ...wire.CapabilityType) func(*wire.FrameworkInfo) {
	return func(info *wire.FrameworkInfo) {
		for _, c := range capabilities {
			info.Capabilities = append(info.Capabilities, wire.Capability{Type: new(c)})
		}
	}
}

// send makes a request of a server. Headers are pairs; one with an empty value is left out.
func (f *framework) send(ctx context.Context, at *host, method string, body []byte, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+at.ip+":5050/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:"+token)))
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	return f.client.Do(req)
}

// post sends a call; its stream id is that of the subscription, or one that is given.
func (f *framework) post(ctx context.Context, at *host, call *wire.Call, stream string) (*http.Response, error) {
	kind := f.encoding.ContentType()
	return f.send(ctx, at, "POST", f.encoding.Marshal(call), "Content-Type", kind, "Accept", kind, "Mesos-Stream-Id", stream)
}

func (f *framework) subscribeCall() *wire.Call {
	return &wire.Call{FrameworkID: f.info.ID, Type: new(wire.CallSubscribe), Subscribe: &wire.Subscribe{FrameworkInfo: f.info, SuppressedRoles: f.suppressed, OfferConstraints: f.constraints}}
}

// subscribe subscribes with a server and waits for the first event.
func (f *framework) subscribe(at *host) error {
	ctx, cancel := context.WithCancel(context.Background())
	late := time.AfterFunc(20*time.Second, cancel) // when nothing is heard at all
	res, err := f.post(ctx, at, f.subscribeCall(), "")
	if late.Stop(); err != nil {
		cancel()
		return err
	}
	if res.StatusCode != http.StatusOK {
		defer cancel()
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s: %s, Location %s", res.Status, text, res.Header.Get("Location"))
	}
	in := bufio.NewReader(res.Body)
	first, err := f.next(in)
	if err == nil && first.Subscribed == nil {
		err = fmt.Errorf("the first event is %s", wire.JSON.Marshal(first))
	}
	if err != nil {
		cancel()
		res.Body.Close()
		return err
	}
	f.info.ID, f.master = &first.Subscribed.FrameworkID, first.Subscribed.MasterInfo
	f.at, f.stream, f.header, f.done = at, res.Header.Get("Mesos-Stream-Id"), res.Header, make(chan struct{})
	f.end = func() { cancel(); res.Body.Close() }
	f.mu.Lock()
	f.events, f.fault, f.heard = nil, nil, time.Now()
	f.mu.Unlock()
	go func(done chan struct{}) {
		defer close(done)
		for {
			e, err := f.next(in)
			f.mu.Lock()
			if err != nil {
				f.fault = err
				f.mu.Unlock()
				return
			}
			f.events, f.heard = append(f.events, e), time.Now()
			if e.Rescind != nil {
				f.withdraw(e.Rescind.OfferID)
			}
			f.mu.Unlock()
		}
	}(f.done)
	return nil
}

// withdraw drops an offer that waits. The caller holds mu.
func (f *framework) withdraw(id wire.ID) {
	for _, e := range f.events {
		if e.Offers != nil {
			e.Offers.Offers = slices.DeleteFunc(e.Offers.Offers, func(o wire.Offer) bool { return o.ID == id })
		}
	}
}

func (f *framework) next(in *bufio.Reader) (*wire.Event, error) {
	record, err := wire.ReadRecord(in)
	if err != nil {
		return nil, err
	}
	e := &wire.Event{}
	if err := f.encoding.Unmarshal(record, e); err != nil {
		return nil, err
	}
	if e.Offers != nil {
		f.mu.Lock()
		f.raw = record
		f.mu.Unlock()
	}
	return e, nil
}

// begin subscribes with the leader.
func (f *framework) begin() *framework {
	f.r.t.Helper()
	f.r.eventually("framework "+f.info.Name+" is subscribed", func() bool { return f.subscribe(f.r.leader()) == nil })
	return f
}

// close ends the stream, as a scheduler does that is killed.
func (f *framework) close() {
	if f.end != nil {
		f.end()
		<-f.done
		f.end = nil
	}
}

// take removes the first event that is so, or returns nil.
func (f *framework) take(is func(e *wire.Event) bool) *wire.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.events, is)
	if i < 0 {
		return nil
	}
	e := f.events[i]
	f.events = slices.Delete(f.events, i, i+1)
	return e
}

// await waits for an event that is so.
func (f *framework) await(what string, is func(e *wire.Event) bool) (found *wire.Event) {
	f.r.t.Helper()
	f.r.eventually(what, func() bool {
		found = f.take(is)
		return found != nil
	})
	return found
}

// forget drops what came and was not taken.
func (f *framework) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = nil
}

// none demands that no event of a kind came.
func (f *framework) none(kind wire.EventType) {
	f.r.t.Helper()
	if e := f.take(func(e *wire.Event) bool { return *e.Type == kind }); e != nil {
		f.r.t.Errorf("it is told %s", wire.JSON.Marshal(e))
	}
}

// offer waits for an offer of a node, any when node is empty. Others of the same event stay.
func (f *framework) offer(node structs.NodeID) (found wire.Offer) {
	f.r.t.Helper()
	f.r.eventually("an offer", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			if e.Offers == nil {
				continue
			}
			for i, o := range e.Offers.Offers {
				if node == "" || o.AgentID.Value == string(node) {
					found = o
					e.Offers.Offers = slices.Delete(e.Offers.Offers, i, i+1)
					return true
				}
			}
		}
		return false
	})
	return found
}

// offered reports whether an offer waits.
func (f *framework) offered() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.events, func(e *wire.Event) bool { return e.Offers != nil && len(e.Offers.Offers) > 0 })
}

// update waits for one of a task in a state. That the task starts, which comes before that, it acknowledges on the way.
func (f *framework) update(task string, state wire.TaskState) (found *wire.TaskStatus) {
	f.r.t.Helper()
	next := func(is func(*wire.TaskStatus) bool) *wire.TaskStatus {
		e := f.take(func(e *wire.Event) bool {
			return e.Update != nil && e.Update.Status.TaskID.Value == task && is(&e.Update.Status)
		})
		if e == nil {
			return nil
		}
		return &e.Update.Status
	}
	f.r.eventually("task "+task+" is "+state.String(), func() bool {
		if found = next(func(s *wire.TaskStatus) bool { return s.State == state }); found == nil {
			if s := next(func(s *wire.TaskStatus) bool { return s.State == wire.TaskStarting && s.UUID != nil }); s != nil {
				f.acknowledge(s)
			}
		}
		return found != nil
	})
	return found
}

// says sends a call and returns its status and text.
func (f *framework) says(call *wire.Call) (int, string) {
	f.r.t.Helper()
	call.FrameworkID = f.info.ID
	return f.answer(f.post(context.Background(), f.at, call, f.stream))
}

// answer reads an answer to its end.
func (f *framework) answer(res *http.Response, err error) (int, string) {
	f.r.t.Helper()
	f.r.check(err)
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

// call sends a call that must be taken.
func (f *framework) call(call *wire.Call) {
	f.r.t.Helper()
	if status, text := f.says(call); status != http.StatusAccepted {
		f.r.t.Fatalf("%s is answered %d %s", call.Type, status, text)
	}
}

func (f *framework) acknowledge(s *wire.TaskStatus) {
	f.r.t.Helper()
	f.call(&wire.Call{Type: new(wire.CallAcknowledge), Acknowledge: &wire.Acknowledge{AgentID: *s.AgentID, TaskID: s.TaskID, UUID: s.UUID}})
}

// told waits for an update, and acknowledges it.
func (f *framework) told(task string, state wire.TaskState) *wire.TaskStatus {
	f.r.t.Helper()
	s := f.update(task, state)
	f.acknowledge(s)
	return s
}

func (f *framework) accept(o wire.Offer, refuse float64, ops ...wire.Operation) {
	f.r.t.Helper()
	f.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: ops,
		Filters: &wire.Filters{RefuseSeconds: &refuse}}})
}

// ended waits until the stream ended and returns the message of its ERROR, or none.
func (f *framework) ended() string {
	f.r.t.Helper()
	<-f.done
	if !errors.Is(f.fault, io.EOF) {
		f.r.t.Errorf("the stream ended with %v", f.fault)
	}
	if e := f.take(func(e *wire.Event) bool { return e.Error != nil }); e != nil {
		return e.Error.Message
	}
	return ""
}

func scalar(name string, amount float64) wire.Resource {
	return wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: amount}}
}

// task is a command of a tenth of a core.
func task(o wire.Offer, id string) wire.TaskInfo {
	return wire.TaskInfo{Name: id, TaskID: wire.ID{Value: id}, AgentID: o.AgentID, Command: &wire.CommandInfo{Value: new("true")},
		Resources: []wire.Resource{scalar("cpus", 0.1), scalar("mem", 32)}}
}

func launch(tasks ...wire.TaskInfo) wire.Operation {
	return wire.Operation{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: tasks}}
}

// guest is a task of a custom executor.
func guest(o wire.Offer, id, executor string) wire.TaskInfo {
	t := task(o, id)
	t.Command = nil
	t.Executor = &wire.ExecutorInfo{Type: new(wire.ExecutorCustom), ExecutorID: wire.ID{Value: executor},
		Command: &wire.CommandInfo{Value: new("./executor")}, Resources: []wire.Resource{scalar("cpus", 0.01), scalar("mem", 32)}}
	return t
}

func reconcile(tasks ...string) *wire.Call {
	c := &wire.Call{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{}}
	for _, t := range tasks {
		id, node, _ := strings.Cut(t, "@")
		ask := wire.ReconcileTask{TaskID: wire.ID{Value: id}}
		if node != "" {
			ask.AgentID = &wire.ID{Value: node}
		}
		c.Reconcile.Tasks = append(c.Reconcile.Tasks, ask)
	}
	return c
}
