package agent

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// credential adds HTTP Basic to what a caller sends.
func credential(principal, secret string) []string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(principal, secret)
	return []string{"Authorization", r.Header.Get("Authorization")}
}

// Who asks proves to be a principal, which is that of the framework; a reload changes who may.
func TestMesosPrincipals(t *testing.T) {
	dir := t.TempDir()
	a := newAgent(t, dir)
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.stop(t.Context()) })
	awaitLoop(t, a)
	reload := func(mesos string) {
		t.Helper()
		write(t, filepath.Join(dir, "agent.hcl"), base+mesos)
		if got, err := (*self)(a).Reload(t.Context()); err != nil || len(got.Restart) != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		c := &caller{t, "http://" + a.listener.Addr().String() + "/api/v1/scheduler", encoding}
		reload("")
		s := c.stream(c.post(subscribeCall(asIs)))
		s.next()

		reload(`mesos {
			authenticate = ["scheduler"]
			principal "ann" { secret = "ann-secret" }
			principal "bob" { secret = "bob-secret" }
		}`)
		res := c.post(subscribeCall(asIs))
		if got := res.Header.Get("WWW-Authenticate"); got != `Basic realm="mesos-master-scheduler"` {
			t.Errorf("the challenge is %q", got)
		}
		c.answers(res, 401, "principal")
		c.answers(c.send("GET", nil), 401, "principal") // before all that is wrong with a call
		c.answers(c.post(subscribeCall(asIs), credential("ann", "bob-secret")...), 401, "principal")
		ann, bob := credential("ann", "ann-secret"), credential("bob", "bob-secret")

		s = c.stream(c.post(subscribeCall(asIs), ann...))
		id := &s.next().Subscribed.FrameworkID
		if f := a.server.Framework(structs.FrameworkID(id.Value)); f.Principal != "ann" {
			t.Errorf("the framework is %+v", f)
		}
		revive := &wire.Call{FrameworkID: id, Type: new(wire.CallRevive)}
		stream := []string{"Mesos-Stream-Id", s.id}
		c.answers(c.post(revive, append(stream, ann...)...), 202, "")
		c.answers(c.post(revive, stream...), 401, "principal")
		c.answers(c.post(revive, append(stream, bob...)...), 400, "Authenticated principal 'bob' does not match principal 'ann'")
		c.answers(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.Principal = new("ann") }), bob...), 400, "Authenticated principal 'bob'")
		c.stream(c.post(subscribeCall(func(f *wire.FrameworkInfo) { f.ID = id }), bob...)).fails("Changing framework's principal is not allowed.")
		update := &wire.Call{FrameworkID: id, Type: new(wire.CallUpdateFramework),
			Update: &wire.UpdateFramework{FrameworkInfo: wire.FrameworkInfo{User: "root", Name: "renamed", ID: id}}}
		c.answers(c.post(update, append(stream, ann...)...), 200, "")
		update.Update.FrameworkInfo.Principal = new("bob")
		c.answers(c.post(update, append(stream, ann...)...), 400, "Authenticated principal 'ann'")

		reload(`mesos {
			authenticate = ["scheduler"]
			principal "ann" { secret = "ann-2" }
		}`)
		c.answers(c.post(revive, append(stream, ann...)...), 401, "principal")
		c.answers(c.post(revive, append(stream, credential("ann", "ann-2")...)...), 202, "")
	}
}
