package agent

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// newServers starts servers that form one region, with more in their configuration.
func newServers(t *testing.T, n int, more string) (all []*Agent) {
	t.Helper()
	for i := range n {
		dir := t.TempDir()
		a := newAgent(t, dir)
		write(t, filepath.Join(dir, "agent.hcl"), fmt.Sprintf(`
			node_name = "server-%d"
			encrypt   = ["cHJvZmZlciB0ZXN0IGtleSBvZiAzMiBieXRlcyBsb24="]
			server {
				bootstrap_expect = %d
				raft { # so long that a busy machine changes no leader
					heartbeat_timeout = "4s"
					election_timeout  = "4s"
					leader_lease      = "4s"
				}
			}
			%s`, i, n, more))
		cfg, sources, err := a.reload()
		if err != nil {
			t.Fatal(err)
		}
		a.config, a.live, a.sources = cfg, cfg, sources
		if i > 0 {
			a.config.Join = []string{all[0].port.Addr()}
		}
		if err := a.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.stop(t.Context()) })
		all = append(all, a)
	}
	return all
}

// settle waits until one of the agents leads and all others know, and returns it and another one.
func settle(t *testing.T, all []*Agent) (leader, other *Agent) {
	t.Helper()
	for {
		leader, other = nil, nil
		agree := 0
		for _, a := range all {
			switch is := a.server.Raft().Leader(); {
			case is.Self && structs.KindOf(a.server.CheckSubscribed("nobody", "")) == structs.NotFound:
				leader = a
			case is.Address != "":
				other = a
			}
		}
		for _, a := range all {
			if leader != nil && a.server.Raft().Leader().ID == leader.id {
				agree++
			}
		}
		if agree == len(all) && other != nil {
			return leader, other
		}
		select {
		case <-t.Context().Done():
			t.Fatal("nobody leads")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A server that does not lead serves schedulers through the leader: calls, the stream and its id, and who asks. The stream ends with
// the leader's time.
func TestCallsGoThroughToTheLeader(t *testing.T) {
	all := newServers(t, 3, `mesos {
		forward      = true
		authenticate = ["scheduler"]
		principal "ann" { secret = "ann-secret" }
	}`)
	ann := credential("ann", "ann-secret")
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		leader, other := settle(t, all)
		c := &caller{t, "http://" + other.listener.Addr().String() + "/api/v1/scheduler", encoding}
		c.answers(c.post(subscribeCall(asIs)), 401, "principal")
		c.answers(c.post(subscribeCall(asIs), credential("eve", "ann-secret")...), 401, "principal")
		c.answers(c.send("GET", nil, ann...), 405, "POST")
		c.answers(c.send("POST", make([]byte, 9<<20), append([]string{"Content-Type", encoding.ContentType()}, ann...)...), 413, "more than")

		res := c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.FailoverTimeout = new(1000.0) }), ann...)
		for _, once := range []string{"X-Request-Id", "Cache-Control", "Content-Type", "Mesos-Stream-Id"} {
			if got := res.Header.Values(once); len(got) != 1 {
				t.Errorf("%s is %q", once, got)
			}
		}
		s := c.stream(res)
		id := &s.next().Subscribed.FrameworkID
		if f := leader.server.Framework(structs.FrameworkID(id.Value)); f.Principal != "ann" || f.Connection != s.id {
			t.Errorf("the framework is %+v, the stream %s", f, s.id)
		}
		call := func(kind wire.CallType) *http.Response {
			return c.post(&wire.Call{FrameworkID: id, Type: new(kind)}, append([]string{"Mesos-Stream-Id", s.id}, ann...)...)
		}
		res = call(wire.CallRevive)
		if got := res.Header.Get("Content-Type"); got != "" {
			t.Errorf("the answer has the type %q", got)
		}
		c.answers(res, 202, "")
		c.answers(c.post(&wire.Call{FrameworkID: id, Type: new(wire.CallRevive)}, append([]string{"Mesos-Stream-Id", "old"}, ann...)...), 400, "stream id")

		if err := leader.server.TransferLeadership(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := wire.ReadRecord(s.Reader); err != nil {
				break
			}
		}
		settle(t, all)
		c.answers(call(wire.CallRevive), 403, "not subscribed")
		s = c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.ID, f.FailoverTimeout = id, new(1000.0) }), ann...))
		s.next()
		c.answers(call(wire.CallTeardown), 202, "")
		for {
			if _, err := wire.ReadRecord(s.Reader); err != nil {
				break
			}
		}
	}
}

// A scheduler that goes is away for the leader, too, and calls that find no room are sent to the leader.
func TestPassedOnIsBounded(t *testing.T) {
	all := newServers(t, 3, "mesos {\n forward = true\n}")
	leader, other := settle(t, all)
	c := &caller{t, "http://" + other.listener.Addr().String() + "/api/v1/scheduler", wire.JSON}
	s := c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.FailoverTimeout = new(1000.0) })))
	id := structs.FrameworkID(s.next().Subscribed.FrameworkID.Value)
	s.body.Close()
	for leader.server.Framework(id).Connected {
		select {
		case <-t.Context().Done():
			t.Fatal("it is never away")
		case <-time.After(10 * time.Millisecond):
		}
	}
	for range maxPassed {
		if other.service.Leader() == nil { // takes a place, as a call does until it ends
			t.Fatal("there is no room")
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), "POST", c.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != "//"+leader.listener.Addr().String()+"/api/v1/scheduler" {
		t.Errorf("%s, %q", res.Status, res.Header.Get("Location"))
	}
}
