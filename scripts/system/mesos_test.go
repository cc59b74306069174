//go:build linux && system

package system

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// scheduler is one of a framework, written against plain HTTP.
type scheduler struct {
	t        *testing.T
	r        *region
	encoding wire.Encoding
	info     wire.FrameworkInfo
	at       *agent // that it asks; nil: a server that follows

	url    string
	stream string // id
	body   io.Closer
	done   chan struct{}

	mu     sync.Mutex
	offers []wire.Offer
	status []wire.TaskStatus
	fault  string // of an ERROR

	operations []wire.OperationStatus
	failures   []wire.Failure // of executors
}

// connect subscribes at any agent, following redirects to the leader.
func (s *scheduler) connect(at *agent) error {
	s.url = at.url() + "/api/v1/scheduler"
	call := &wire.Call{FrameworkID: s.info.ID, Type: new(wire.CallSubscribe), Subscribe: &wire.Subscribe{FrameworkInfo: s.info}}
	for range 3 {
		res, err := s.post(call)
		if err != nil {
			return err
		}
		if res.StatusCode == http.StatusTemporaryRedirect {
			res.Body.Close()
			s.url = "http:" + res.Header.Get("Location")
			continue
		}
		if res.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			return fmt.Errorf("%s: %s", res.Status, text)
		}
		s.stream, s.body = res.Header.Get("Mesos-Stream-Id"), res.Body
		in := bufio.NewReader(res.Body)
		var first wire.Event
		if err := s.next(in, &first); err != nil {
			return err
		}
		if first.Subscribed == nil {
			return fmt.Errorf("the first event is %s", wire.JSON.Marshal(&first))
		}
		s.mu.Lock()
		s.offers, s.status, s.fault = nil, nil, ""
		s.mu.Unlock()
		s.info.ID = &first.Subscribed.FrameworkID
		s.done = make(chan struct{})
		go s.read(in, s.done)
		return nil
	}
	return errors.New("too many redirects")
}

func (s *scheduler) next(in *bufio.Reader, e *wire.Event) error {
	record, err := wire.ReadRecord(in)
	if err != nil {
		return err
	}
	return s.encoding.Unmarshal(record, e)
}

// read takes events until the stream ends.
func (s *scheduler) read(in *bufio.Reader, done chan struct{}) {
	defer close(done)
	for {
		var e wire.Event
		if s.next(in, &e) != nil {
			return
		}
		s.mu.Lock()
		switch {
		case e.Offers != nil:
			s.offers = append(s.offers, e.Offers.Offers...)
		case e.Rescind != nil:
			s.offers = slices.DeleteFunc(s.offers, func(o wire.Offer) bool { return o.ID == e.Rescind.OfferID })
		case e.Update != nil:
			s.status = append(s.status, e.Update.Status)
		case e.OperationNews != nil:
			s.operations = append(s.operations, e.OperationNews.Status)
		case e.Failure != nil && e.Failure.ExecutorID != nil:
			s.failures = append(s.failures, *e.Failure)
		case e.Error != nil:
			s.fault = e.Error.Message
		}
		s.mu.Unlock()
	}
}

// post sends a call as it is.
func (s *scheduler) post(call *wire.Call) (*http.Response, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url, bytes.NewReader(s.encoding.Marshal(call)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", s.encoding.ContentType())
	req.Header.Set("Accept", s.encoding.ContentType())
	if s.r.token != "" {
		req.SetBasicAuth(s.info.Name, s.r.token)
	}
	if *call.Type != wire.CallSubscribe {
		req.Header.Set("Mesos-Stream-Id", s.stream)
	}
	plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return plain.Do(req)
}

// alive subscribes again when the subscription ended: the leader may change at any time.
func (s *scheduler) alive() error {
	if s.done != nil {
		select {
		case <-s.done:
		default:
			return nil
		}
	}
	at := s.at
	if at == nil {
		at = s.r.follower()
	}
	return s.connect(at)
}

// call sends one of the framework until it is taken.
func (s *scheduler) call(call *wire.Call) {
	s.t.Helper()
	await(s.t, "the framework may "+call.Type.String(), func() error {
		if err := s.alive(); err != nil {
			return err
		}
		call.FrameworkID = s.info.ID
		res, err := s.post(call)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusAccepted {
			return fmt.Errorf("%s: %s", res.Status, text)
		}
		return nil
	})
}

// offer returns an offer that is good, and takes it; nil when there is none.
func (s *scheduler) offer(good func(o *wire.Offer) bool) *wire.Offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.offers {
		if o := s.offers[i]; good(&o) {
			s.offers = slices.Delete(s.offers, i, i+1)
			return &o
		}
	}
	return nil
}

// awaitOffer waits for one.
func (s *scheduler) awaitOffer(good func(o *wire.Offer) bool) (out *wire.Offer) {
	s.t.Helper()
	await(s.t, "there is an offer", func() error {
		if err := s.alive(); err != nil {
			return err
		}
		if out = s.offer(good); out == nil {
			return errors.New("there is none")
		}
		return nil
	})
	return out
}

// find takes a status of a task; nil when there is none.
func (s *scheduler) find(task string, is func(wire.TaskState) bool) *wire.TaskStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.status {
		if x.TaskID.Value == task && is(x.State) {
			s.status = slices.Delete(s.status, i, i+1)
			return &x
		}
	}
	return nil
}

func always(wire.TaskState) bool { return true }

// launch does operations with good offers until it is told that the task is so, and acknowledges that.
func (s *scheduler) launch(task string, is wire.TaskState, good func(o *wire.Offer) bool, ops func(o *wire.Offer) []wire.Operation) (out *wire.TaskStatus) {
	s.t.Helper()
	sent, done := false, s.done
	await(s.t, "task "+task+" is "+is.String(), func() error {
		if err := s.alive(); err != nil {
			return err
		}
		if s.done != done { // what became of it?
			done = s.done
			s.call(&wire.Call{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{Tasks: []wire.ReconcileTask{{TaskID: wire.ID{Value: task}}}}})
		}
		if s.find(task, func(x wire.TaskState) bool { return x == wire.TaskDropped || x == wire.TaskUnknown }) != nil {
			sent = false
		}
		for x := s.find(task, always); x != nil; x = s.find(task, always) {
			if x.UUID == nil {
				continue
			}
			if s.acknowledge(x); x.State == is {
				out = x
				return nil
			}
		}
		if sent {
			return errors.New("it was accepted")
		}
		o := s.offer(good)
		if o == nil {
			return errors.New("there is no offer")
		}
		s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: ops(o)}})
		sent = true
		return errors.New("it is accepted")
	})
	return out
}

func (s *scheduler) acknowledge(x *wire.TaskStatus) {
	s.call(&wire.Call{Type: new(wire.CallAcknowledge), Acknowledge: &wire.Acknowledge{AgentID: *x.AgentID, TaskID: x.TaskID, UUID: x.UUID}})
}

// told asks until it is told so of a task, and acknowledges it when that is due.
func (s *scheduler) told(task string, state wire.TaskState, ask *wire.Call) (out *wire.TaskStatus) {
	s.t.Helper()
	done := s.done
	s.call(ask)
	await(s.t, "task "+task+" is "+state.String(), func() error {
		if err := s.alive(); err != nil {
			return err
		}
		if s.done != done {
			done = s.done
			s.call(ask)
		}
		for x := s.find(task, always); x != nil; x = s.find(task, always) {
			if x.UUID != nil {
				s.acknowledge(x)
			}
			if x.State == state {
				out = x
				return nil
			}
		}
		return errors.New("it was not told so")
	})
	return out
}

func scalar(name string, x float64, role string) wire.Resource {
	r := wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: x}}
	if role != "" {
		r.Role, r.Reservation = &role, &wire.Reservation{Labels: &wire.Labels{Labels: []wire.Label{{Key: "for", Value: new("disks")}}}}
	}
	return r
}

func launch(agent wire.ID, task, script string, resources ...wire.Resource) wire.Operation {
	return wire.Operation{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: []wire.TaskInfo{{Name: task, TaskID: wire.ID{Value: task},
		AgentID: agent, Resources: resources, Command: &wire.CommandInfo{Value: &script}}}}}
}

func reservesCPU(o *wire.Offer) float64 {
	for _, r := range o.Resources {
		if r.Name == "cpus" && r.Role != nil && *r.Role == "eng" {
			return r.Scalar.Value
		}
	}
	return 0
}

// TestMesosFramework: a scheduler subscribes at a follower, reserves and launches on what it reserved, kills, survives a change of
// leader and its own end, and is torn down.
func TestMesosFramework(t *testing.T) {
	t.Parallel()
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		t.Run(encoding.ContentType(), func(t *testing.T) {
			t.Parallel()
			r := newRegion(t)
			for i := range 3 {
				r.server(fmt.Sprintf("s%d", i), "-bootstrap-expect", "3")
			}
			client := r.client("c0")
			r.startAll()
			s := &scheduler{t: t, r: r, encoding: encoding, info: wire.FrameworkInfo{User: "root", Name: "disks", Role: new("eng"),
				FailoverTimeout: new(600.0), Capabilities: []wire.Capability{{Type: new(wire.CapabilityPartitionAware)}}}}
			any := func(*wire.Offer) bool { return true }
			await(t, "the scheduler is subscribed", s.alive)
			if o := s.awaitOffer(any); o.Hostname != client.addr {
				t.Errorf("the offer is of %q, and the node is %s", o.Hostname, client.addr)
			} else {
				s.call(&wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: []wire.ID{o.ID}, Filters: &wire.Filters{RefuseSeconds: new(0.0)}}})
			}
			// Two cores and 64 MB are reserved, and a part of that is used at once.
			mine := []wire.Resource{scalar("cpus", 2, "eng"), scalar("mem", 64, "eng")}
			running := s.launch("one", wire.TaskRunning, any, func(o *wire.Offer) []wire.Operation {
				return []wire.Operation{{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: mine}},
					launch(o.AgentID, "one", "echo ${0##*/} $$ is up; while :; do sleep 0.1; done", scalar("cpus", 1, "eng"), scalar("mem", 32, "eng"))}
			})
			if len(running.UUID) != 16 || running.ContainerStatus == nil {
				t.Fatalf("it is told %+v", running)
			}
			alloc := running.ContainerStatus.ContainerID.Value
			await(t, "its output is there", func() error {
				if out := r.up()[0].must("alloc", "logs", alloc); !strings.HasPrefix(out, "sh ") || !strings.Contains(out, " is up") {
					return fmt.Errorf("%q", out)
				}
				return nil
			})
			await(t, "its status says what its framework knows", func() error {
				if out := r.up()[0].must("alloc", "status", alloc); !strings.Contains(out, `"one": its framework acknowledged`) || !strings.Contains(out, s.info.ID.Value) {
					return fmt.Errorf("it says\n%s", out)
				}
				return nil
			})
			if out := r.up()[0].must("alloc", "exec", alloc, "echo", "in it"); !strings.Contains(out, "in it") {
				t.Errorf("alloc exec says %q", out)
			}

			// The leader goes; the scheduler comes back, and its task is still the same.
			leader := r.leader()
			leader.kill()
			all := &wire.Call{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{}}
			if x := s.told("one", wire.TaskRunning, all); x.UUID != nil || *x.Reason != wire.ReasonReconciliation || x.ContainerStatus.ContainerID.Value != alloc {
				t.Errorf("it is told %+v", x)
			}
			rest := s.awaitOffer(func(o *wire.Offer) bool { return reservesCPU(o) == 1 })
			leader.start()

			// The scheduler itself goes; another one takes over. What was offered to the first is worth nothing.
			s.body.Close()
			<-s.done
			dead := &wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{rest.ID},
				Operations: []wire.Operation{launch(rest.AgentID, "two", "true", scalar("cpus", 1, ""), scalar("mem", 32, ""))}}}
			if x := s.told("two", wire.TaskDropped, dead); x.UUID != nil || *x.Reason != wire.ReasonInvalidOffers {
				t.Errorf("an offer of before: %+v", x)
			}
			s.told("one", wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "one"}}})
			failed := s.launch("three", wire.TaskFailed, func(o *wire.Offer) bool { return reservesCPU(o) == 2 }, func(o *wire.Offer) []wire.Operation {
				return []wire.Operation{{Type: new(wire.OperationUnreserve), Unreserve: &wire.Unreserve{Resources: mine}},
					launch(o.AgentID, "three", "exit 7", scalar("cpus", 1, ""), scalar("mem", 32, ""))}
			})
			if failed.Message == nil || !strings.Contains(*failed.Message, "7") {
				t.Errorf("it is told %+v", failed)
			}
			if list, _, err := r.api().Reservations(t.Context(), nil); err != nil || len(list) != 0 {
				t.Errorf("%d reservations are left (%v)", len(list), err)
			}
			await(t, "its status says how its offers stand", func() error {
				if err := s.alive(); err != nil {
					return err
				}
				status := r.up()[0].must("framework", "status", "disks")
				for _, want := range []string{"Offers ", "Connected         yes"} {
					if !strings.Contains(status, want) {
						return fmt.Errorf("it lacks %q:\n%s", want, status)
					}
				}
				return nil
			})
			r.up()[0].must("framework", "teardown", "disks")
			if <-s.done; s.fault != "Framework has been removed" && s.fault != "" {
				t.Errorf("the stream ended with %q", s.fault)
			}
			await(t, "it cannot come back", func() error {
				if err := s.connect(r.follower()); err == nil || !strings.Contains(err.Error(), "Framework has been removed") {
					return fmt.Errorf("it is told %v", err)
				}
				return nil
			})
			if out := r.up()[0].must("framework", "list"); !strings.Contains(out, "removed") {
				t.Errorf("framework list says\n%s", out)
			}
		})
	}
}
