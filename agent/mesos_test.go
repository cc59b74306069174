package agent

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// caller sends calls of the scheduler API as they are.
type caller struct {
	t        *testing.T
	url      string
	encoding wire.Encoding
}

func (c *caller) send(method string, body []byte, header ...string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *caller) post(call *wire.Call, header ...string) *http.Response {
	c.t.Helper()
	return c.send("POST", c.encoding.Marshal(call), append([]string{"Content-Type", c.encoding.ContentType(), "Accept", c.encoding.ContentType()}, header...)...)
}

// answers demands a status and a text in the body, and says what it is about.
func (c *caller) answers(res *http.Response, status int, want string) {
	c.t.Helper()
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != status || !strings.Contains(string(text), want) {
		c.t.Errorf("%s: %q, want %d with %q", res.Status, text, status, want)
	}
}

// stream is what a SUBSCRIBE is answered.
type eventStream struct {
	*bufio.Reader
	c    *caller
	id   string
	body io.Closer
}

func (c *caller) stream(res *http.Response) *eventStream {
	c.t.Helper()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != c.encoding.ContentType() || fmt.Sprint(res.TransferEncoding) != "[chunked]" {
		c.t.Fatalf("%s: type %q, %v", res.Status, res.Header.Get("Content-Type"), res.TransferEncoding)
	}
	c.t.Cleanup(func() { res.Body.Close() })
	return &eventStream{bufio.NewReader(res.Body), c, res.Header.Get("Mesos-Stream-Id"), res.Body}
}

// next returns the next event that is no heartbeat: those come whenever the machine is slow.
func (s *eventStream) next() *wire.Event {
	s.c.t.Helper()
	for {
		if e := s.any(); *e.Type != wire.EventHeartbeat {
			return e
		}
	}
}

func (s *eventStream) any() *wire.Event {
	s.c.t.Helper()
	record, err := wire.ReadRecord(s.Reader)
	if err != nil {
		s.c.t.Fatal(err)
	}
	e := &wire.Event{}
	if err := s.c.encoding.Unmarshal(record, e); err != nil {
		s.c.t.Fatal(err)
	}
	return e
}

// fails demands that the stream says why it was refused, and ends.
func (s *eventStream) fails(want string) {
	s.c.t.Helper()
	if e := s.next(); e.Error == nil || !strings.Contains(e.Error.Message, want) {
		s.c.t.Errorf("the event is %s, want an error with %q", wire.JSON.Marshal(e), want)
	}
	if _, err := wire.ReadRecord(s.Reader); err != io.EOF {
		s.c.t.Errorf("after it comes %v", err)
	}
}

// awaitLoop waits until the agent leads and makes offers.
func awaitLoop(t *testing.T, a *Agent) {
	t.Helper()
	for structs.KindOf(a.server.CheckSubscribed("nobody", "")) == structs.Unavailable {
		select {
		case <-t.Context().Done():
			t.Fatal("nobody leads")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func subscribeCall(change func(*wire.FrameworkInfo)) *wire.Call {
	info := wire.FrameworkInfo{User: "root", Name: "test"}
	change(&info)
	return &wire.Call{FrameworkID: info.ID, Type: new(wire.CallSubscribe), Subscribe: &wire.Subscribe{FrameworkInfo: info}}
}

func asIs(*wire.FrameworkInfo) {}

// Each rule of the scheduler API, in both encodings.
func TestMesosScheduler(t *testing.T) {
	a := newAgent(t, t.TempDir())
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.stop(t.Context()) })
	awaitLoop(t, a)
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		kind := encoding.ContentType()
		rule := func(name string, check func(c *caller)) {
			t.Run(strings.ReplaceAll(kind+" "+name, "/", "-"), func(t *testing.T) {
				check(&caller{t, "http://" + a.listener.Addr().String() + "/api/v1/scheduler", encoding})
			})
		}
		revive := func(id *wire.ID) *wire.Call { return &wire.Call{FrameworkID: id, Type: new(wire.CallRevive)} }
		begin := func(c *caller, change func(*wire.FrameworkInfo)) (s *eventStream, id *wire.ID) {
			s = c.stream(c.post(subscribeCall(change)))
			first := s.next()
			if first.Subscribed == nil || *first.Subscribed.HeartbeatInterval != 15 || s.id == "" {
				c.t.Fatalf("the first event is %s", wire.JSON.Marshal(first))
			}
			return s, &first.Subscribed.FrameworkID
		}

		rule("another method is 405 and says which one", func(c *caller) {
			res := c.send("GET", nil)
			if res.Header.Get("Allow") != "POST" {
				t.Errorf("it allows %q", res.Header.Get("Allow"))
			}
			c.answers(res, 405, "POST")
		})
		rule("a body without a type is 400, of another type 415", func(c *caller) {
			c.answers(c.send("POST", []byte("{}")), 400, "Content-Type")
			c.answers(c.send("POST", []byte("{}"), "Content-Type", "text/plain"), 415, "application/x-protobuf")
		})
		rule("what does not parse, or lacks what is required, is 400", func(c *caller) {
			c.answers(c.send("POST", []byte{0xff}, "Content-Type", kind), 400, "Failed to parse")
			c.answers(c.post(&wire.Call{}), 400, "'type' to be present")
			c.answers(c.post(&wire.Call{Type: new(wire.CallSubscribe)}), 400, "'subscribe' to be present")
			c.answers(c.post(&wire.Call{Type: new(wire.CallRevive)}), 400, "'framework_id' to be present")
			c.answers(c.post(&wire.Call{FrameworkID: &wire.ID{Value: "f"}, Type: new(wire.CallKill)}), 400, "'kill' to be present")
			c.answers(c.post(&wire.Call{FrameworkID: &wire.ID{Value: "f"}, Type: new(wire.CallAcknowledge),
				Acknowledge: &wire.Acknowledge{UUID: []byte("short")}}), 400, "not 16")
		})
		rule("a call that is too large is 413", func(c *caller) {
			c.answers(c.send("POST", make([]byte, 9<<20), "Content-Type", kind), 413, "more than")
		})
		rule("nothing acceptable on SUBSCRIBE is 406, and anything is JSON", func(c *caller) {
			c.answers(c.post(subscribeCall(asIs), "Accept", "text/html"), 406, "Accept")
			c.answers(c.post(subscribeCall(asIs), "Accept", kind+";q=0"), 406, "Accept")
			res := c.post(subscribeCall(asIs), "Accept", "*/*")
			defer res.Body.Close()
			if got := res.Header.Get("Content-Type"); got != wire.JSON.ContentType() {
				t.Errorf("it is %q", got)
			}
		})
		rule("SUBSCRIBE with a stream id is 400", func(c *caller) {
			c.answers(c.post(subscribeCall(asIs), "Mesos-Stream-Id", "x"), 400, "should not include")
		})
		rule("SUBSCRIBED, then HEARTBEAT, at once", func(c *caller) {
			s, id := begin(c, asIs)
			if e := s.any(); *e.Type != wire.EventHeartbeat || id.Value == "" || len(s.id) > 128 {
				t.Errorf("after it comes %s", wire.JSON.Marshal(e))
			}
		})
		rule("the path of the master process and a slash at the end will do", func(c *caller) {
			c.url = strings.Replace(c.url, "/api", "/master/api", 1) + "/"
			begin(c, asIs)
		})
		rule("a bad combination of roles is 200 with an ERROR and the end", func(c *caller) {
			many := []wire.Capability{{Type: new(wire.CapabilityMultiRole)}}
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.Role, f.Capabilities = new("eng"), many }))).fails("MULTI_ROLE")
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.Roles = []string{"eng"} }))).fails("MULTI_ROLE")
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.Roles, f.Capabilities = []string{"eng", "eng"}, many }))).fails("twice")
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.Role = new("a//b") }))).fails("role")
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.ID = &wire.ID{Value: "a/b"} }))).fails("invalid")
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.FailoverTimeout = new(1e300) }))).fails("failover_timeout")
			call := subscribeCall(asIs)
			call.Subscribe.SuppressedRoles = []string{"other"}
			c.stream(c.post(call)).fails("role 'other'")
			call = subscribeCall(asIs)
			call.Subscribe.OfferConstraints = &wire.OfferConstraints{RoleConstraints: map[string]*wire.RoleConstraints{"*": {Groups: []wire.ConstraintGroup{{}}}}}
			c.stream(c.post(call)).fails("empty")
		})
		rule("an unknown framework is 400, an old stream id 400, one that is away 403", func(c *caller) {
			c.answers(c.post(revive(&wire.ID{Value: "nobody"})), 400, "Framework cannot be found")
			s, id := begin(c, func(f *wire.FrameworkInfo) { f.FailoverTimeout = new(1000.0) })
			c.answers(c.post(revive(id)), 400, "stream id")
			c.answers(c.post(revive(id), "Mesos-Stream-Id", "old"), 400, "stream id")
			c.answers(c.post(revive(id), "Mesos-Stream-Id", s.id), 202, "")
			s.body.Close()
			for { // until the server noticed
				res := c.post(revive(id), "Mesos-Stream-Id", s.id)
				if res.StatusCode == 202 {
					res.Body.Close()
					continue
				}
				c.answers(res, 403, "Framework is not subscribed")
				break
			}
		})
		rule("an unknown id subscribes and keeps it; the type UNKNOWN is 501", func(c *caller) {
			want := "made-elsewhere-" + fmt.Sprint(encoding)
			s, id := begin(c, func(f *wire.FrameworkInfo) { f.ID = &wire.ID{Value: want} })
			if id.Value != want {
				t.Errorf("it is %q", id.Value)
			}
			c.answers(c.post(&wire.Call{FrameworkID: id, Type: new(wire.CallUnknown)}, "Mesos-Stream-Id", s.id), 501, "")
			other := subscribeCall(func(f *wire.FrameworkInfo) { f.ID = id })
			other.FrameworkID = &wire.ID{Value: "another"}
			c.answers(c.post(other), 400, "differs")
		})
		rule("a second SUBSCRIBE ends the first stream with an ERROR", func(c *caller) {
			first, id := begin(c, asIs)
			second, _ := begin(c, func(f *wire.FrameworkInfo) { f.ID = id })
			first.fails("Framework failed over")
			c.answers(c.post(revive(id), "Mesos-Stream-Id", first.id), 400, "stream id")
			c.answers(c.post(revive(id), "Mesos-Stream-Id", second.id), 202, "")
		})
		rule("calls with empty or no payloads are 202 without a type", func(c *caller) {
			s, id := begin(c, asIs)
			for _, call := range []*wire.Call{
				{Type: new(wire.CallRevive), Revive: &wire.Roles{}}, {Type: new(wire.CallSuppress)}, {Type: new(wire.CallSuppress), Suppress: &wire.Roles{Roles: []string{"not its own"}}},
				{Type: new(wire.CallDecline), Decline: &wire.Decline{}}, {Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{}},
				{Type: new(wire.CallAcceptInverseOffers), AcceptInverse: &wire.AnswerInverse{}}, {Type: new(wire.CallRequest), Request: &wire.Requests{}},
			} {
				call.FrameworkID = id
				res := c.post(call, "Mesos-Stream-Id", s.id)
				if got := res.Header.Get("Content-Type"); got != "" {
					t.Errorf("%s has the type %q", call.Type, got)
				}
				c.answers(res, 202, "")
			}
		})
		rule("UPDATE_FRAMEWORK is 200 without a type, and 400 for what may not change", func(c *caller) {
			s, id := begin(c, asIs)
			update := func(change func(*wire.UpdateFramework)) *wire.Call {
				u := &wire.UpdateFramework{FrameworkInfo: wire.FrameworkInfo{User: "root", Name: "renamed", ID: id, Role: new("eng")}}
				change(u)
				return &wire.Call{FrameworkID: id, Type: new(wire.CallUpdateFramework), Update: u}
			}
			res := c.post(update(func(*wire.UpdateFramework) {}), "Mesos-Stream-Id", s.id)
			if got := res.Header.Get("Content-Type"); got != "" {
				t.Errorf("it has the type %q", got)
			}
			c.answers(res, 200, "")
			was := a.server.Framework(structs.FrameworkID(id.Value))
			if was.Name != "renamed" || was.Roles[0] != "eng" {
				t.Errorf("it is %+v", was)
			}
			for want, change := range map[string]func(*wire.UpdateFramework){
				"FrameworkInfo.user":       func(u *wire.UpdateFramework) { u.FrameworkInfo.User = "ann" },
				"FrameworkInfo.principal":  func(u *wire.UpdateFramework) { u.FrameworkInfo.Principal = new("ann") },
				"FrameworkInfo.checkpoint": func(u *wire.UpdateFramework) { u.FrameworkInfo.Checkpoint = new(true) },
				"differs":                  func(u *wire.UpdateFramework) { u.FrameworkInfo.ID = nil },
				"not MULTI_ROLE":           func(u *wire.UpdateFramework) { u.FrameworkInfo.Roles = []string{"web"} },
				"role 'web'":               func(u *wire.UpdateFramework) { u.SuppressedRoles = []string{"web"} },
				"a group is empty": func(u *wire.UpdateFramework) {
					u.OfferConstraints = &wire.OfferConstraints{RoleConstraints: map[string]*wire.RoleConstraints{"eng": {Groups: []wire.ConstraintGroup{{}}}}}
				},
			} {
				c.answers(c.post(update(change), "Mesos-Stream-Id", s.id), 400, want)
			}
			c.answers(c.post(&wire.Call{FrameworkID: id, Type: new(wire.CallUpdateFramework)}, "Mesos-Stream-Id", s.id), 400, "'update_framework' to be present")
			c.answers(c.post(update(func(*wire.UpdateFramework) {}), "Mesos-Stream-Id", "old"), 400, "stream id")
			if now := a.server.Framework(structs.FrameworkID(id.Value)); now != was {
				t.Errorf("it became %+v", now)
			}
		})
		rule("ACCEPT of an offer that is not good is 202, and the task is lost", func(c *caller) {
			s, id := begin(c, asIs)
			task := wire.TaskInfo{Name: "t", TaskID: wire.ID{Value: "t"}, AgentID: wire.ID{Value: "a"}, Command: &wire.CommandInfo{Value: new("true")}}
			accept := &wire.Call{FrameworkID: id, Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{{Value: "gone"}},
				Operations: []wire.Operation{{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: []wire.TaskInfo{task}}}}}}
			c.answers(c.post(accept, "Mesos-Stream-Id", s.id), 202, "")
			x := s.next().Update.Status
			if x.State != wire.TaskLost || *x.Reason != wire.ReasonInvalidOffers || *x.Source != wire.SourceMaster || x.UUID != nil || x.AgentID.Value != "a" {
				t.Errorf("it is told %s", wire.JSON.Marshal(&x))
			}
		})
		rule("operations with an id of an ACCEPT that is not good are in ERROR, what is asked of others is UNKNOWN", func(c *caller) {
			s, id := begin(c, asIs)
			name := &wire.ID{Value: "op"}
			volume := wire.Resource{Name: "disk", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 1}, Role: new("eng"),
				Disk: &wire.DiskInfo{Persistence: &wire.Persistence{ID: "v"}, Volume: &wire.Volume{ContainerPath: "data", Mode: wire.VolumeRW}}}
			accept := &wire.Call{FrameworkID: id, Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{{Value: "gone"}},
				Operations: []wire.Operation{{Type: new(wire.OperationCreate), Create: &wire.Volumes{Volumes: []wire.Resource{volume}}},
					{Type: new(wire.OperationDestroy), ID: name, Destroy: &wire.Volumes{Volumes: []wire.Resource{volume}}}}}}
			c.answers(c.post(accept, "Mesos-Stream-Id", s.id), 202, "")
			if x := s.next().OperationNews.Status; x.State != wire.OperationError || x.ID.Value != "op" || x.Message == nil || x.UUID != nil {
				t.Errorf("it is told %s", wire.JSON.Marshal(&x))
			}
			ask := &wire.Call{FrameworkID: id, Type: new(wire.CallReconcileOperations), ReconcileOps: &wire.ReconcileOps{Operations: []wire.ReconcileOp{{OperationID: *name}}}}
			c.answers(c.post(ask, "Mesos-Stream-Id", s.id), 202, "")
			if x := s.next().OperationNews.Status; x.State != wire.OperationNotKnown || x.ID.Value != "op" {
				t.Errorf("it is told %s", wire.JSON.Marshal(&x))
			}
			done := &wire.Call{FrameworkID: id, Type: new(wire.CallAcknowledgeOperationStatus), AckOperation: &wire.AckOperation{OperationID: *name, UUID: make([]byte, 16)}}
			c.answers(c.post(done, "Mesos-Stream-Id", s.id), 202, "")
			done.AckOperation.UUID = []byte("short")
			c.answers(c.post(done, "Mesos-Stream-Id", s.id), 400, "not 16")
		})
		rule("a task that nobody knows is UNKNOWN, and LOST without PARTITION_AWARE", func(c *caller) {
			for want, capabilities := range map[wire.TaskState][]wire.Capability{wire.TaskLost: nil, wire.TaskUnknown: {{Type: new(wire.CapabilityPartitionAware)}}} {
				s, id := begin(c, func(f *wire.FrameworkInfo) { f.Capabilities = capabilities })
				ask := &wire.Call{FrameworkID: id, Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{Tasks: []wire.ReconcileTask{{TaskID: wire.ID{Value: "x"}}}}}
				c.answers(c.post(ask, "Mesos-Stream-Id", s.id), 202, "")
				if x := s.next().Update.Status; x.State != want || *x.Reason != wire.ReasonReconciliation || x.UUID != nil {
					t.Errorf("it is told %s", wire.JSON.Marshal(&x))
				}
			}
		})
		rule("TEARDOWN ends the stream, and the id is not taken again", func(c *caller) {
			s, id := begin(c, asIs)
			c.answers(c.post(&wire.Call{FrameworkID: id, Type: new(wire.CallTeardown)}, "Mesos-Stream-Id", s.id), 202, "")
			for {
				record, err := wire.ReadRecord(s.Reader)
				if err == io.EOF {
					break
				}
				e := &wire.Event{}
				if err != nil || encoding.Unmarshal(record, e) != nil || *e.Type != wire.EventHeartbeat {
					t.Fatalf("after it comes %q, %v", record, err)
				}
			}
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.ID = id }))).fails("Framework has been removed")
			c.answers(c.post(revive(id), "Mesos-Stream-Id", s.id), 400, "Framework cannot be found")
		})
		rule("the principal does not change", func(c *caller) {
			_, id := begin(c, func(f *wire.FrameworkInfo) { f.Principal = new("ann") })
			c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.ID, f.Principal = id, new("bob") }))).fails("Changing framework's principal is not allowed.")
		})
	}
}
