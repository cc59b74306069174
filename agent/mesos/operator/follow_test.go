package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func named(all ...string) (out []wire.ID) {
	for _, x := range all {
		out = append(out, wire.ID{Value: x})
	}
	return out
}

// news makes something happen to each thing that there is. Its events are those of newsAll.
func (r *region) news() {
	r.node("n4", nil)
	r.must(&state.ConnectFramework{Framework: &structs.Framework{ID: "f3", Name: "new", User: "root", Roles: []string{"ops/db"}, Connection: "c3", FailoverTimeout: 9e9}})
	r.place(r.command("f1", "n4", "t8", structs.Resources{CPU: 100}), structs.AllocRunning, map[string]*structs.TaskState{"t8": {Status: structs.TaskRunning}})
	p := r.command("f3", "n1", "t9", structs.Resources{CPU: 100})
	p.Alloc.Role = "ops/db"
	r.place(p, structs.AllocRunning, map[string]*structs.TaskState{"t9": {Status: structs.TaskRunning}})
	r.must(&state.SetNodeStatus{Node: "n4", Status: structs.NodeLost, Why: "test"})
}

var newsAll = []string{"AGENT_ADDED n4", "FRAMEWORK_ADDED f3", "TASK_ADDED t8 TASK_STAGING", "TASK_UPDATED t8 TASK_RUNNING",
	"TASK_ADDED t9 TASK_STAGING", "TASK_UPDATED t9 TASK_RUNNING", "AGENT_REMOVED n4", "TASK_UPDATED t8 TASK_UNREACHABLE"}

// A filter bounds the state and what follows, by each kind of thing, in both encodings.
func TestEventsThatAreChosen(t *testing.T) {
	for i, c := range []struct {
		want                      wire.Follow
		frameworks, agents, tasks int // in the state
		told                      []string
	}{
		{wire.Follow{}, 2, 2, 3, newsAll},
		{wire.Follow{Types: []string{"TASK_ADDED", "AGENT_REMOVED"}}, 2, 2, 3, []string{newsAll[2], newsAll[4], newsAll[6]}},
		{wire.Follow{Frameworks: named("f3", "f1")}, 1, 0, 1, append(slices.Clone(newsAll[1:6]), newsAll[7])},
		{wire.Follow{Frameworks: named("f3")}, 0, 0, 0, []string{newsAll[1], newsAll[4], newsAll[5]}},
		{wire.Follow{Roles: []string{"ops"}}, 0, 0, 0, []string{newsAll[1], newsAll[4], newsAll[5]}},
		{wire.Follow{Roles: []string{"op"}}, 0, 0, 0, nil},
		{wire.Follow{Roles: []string{"*"}}, 1, 0, 0, nil},
		{wire.Follow{Agents: named("n4")}, 0, 0, 0, []string{newsAll[0], newsAll[2], newsAll[3], newsAll[6], newsAll[7]}},
		{wire.Follow{Agents: named("n1", "n4"), Frameworks: named("f3")}, 0, 0, 0, newsAll[4:6]},
		{wire.Follow{Agents: named("n1"), Types: []string{"TASK_UPDATED"}}, 0, 1, 3, newsAll[5:6]},
	} {
		encoding := wire.Encoding(i % 2)
		r := peopled(t)
		w := r.follow(r.servers(), encoding, &c.want)
		st := w.next().Subscribed.State
		if len(st.Frameworks.Frameworks) != c.frameworks || len(st.Agents.Agents) != c.agents || len(st.Tasks.Tasks) != c.tasks {
			t.Errorf("%s: the state is %s", wire.JSON.Marshal(&c.want), wire.JSON.Marshal(st))
		}
		r.news()
		for _, want := range c.told {
			w.is(want)
		}
		// And nothing else: this is told to all that follow its types.
		r.must(&state.ConnectFramework{Framework: &structs.Framework{ID: "f3", Name: "newer", User: "root", Roles: []string{"ops/db"}, Connection: "c4", FailoverTimeout: 9e9}})
		if f, err := followOf(&c.want); err != nil || f.wants("f3", "", "ops/db") && f.types == nil {
			w.is("FRAMEWORK_UPDATED f3 true")
		}
	}
}

// Whoever comes back with the id of the last event that it took is told what it missed, each thing once, whatever it was the last.
func TestEventsGoOn(t *testing.T) {
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		r := peopled(t)
		s := r.servers()
		w := r.follow(s, encoding, &wire.Follow{})
		var ids []string
		id := func(e *wire.OperatorEvent) string {
			if e.ID == nil {
				t.Fatalf("it has no id: %s", wire.JSON.Marshal(e))
			}
			return *e.ID
		}
		for e := w.any(); ; e = w.any() { // the state, one beat as always, and one that says where the stream is
			if e.ID != nil {
				ids = append(ids, id(e))
				break
			}
		}
		r.news()
		// Two tasks begin in one entry: there are events in the middle of it.
		p := &state.Place{}
		for _, name := range []string{"t20", "t21"} {
			one := r.command("f1", "n1", name, structs.Resources{CPU: 10})
			one.NodeIncarnation = 1
			p.Placements = append(p.Placements, one)
		}
		r.must(p)
		all := append(append([]string{}, newsAll...), "TASK_ADDED t20 TASK_STAGING", "TASK_ADDED t21 TASK_STAGING")
		for range all {
			ids = append(ids, id(w.next()))
		}
		for i, after := range ids {
			again := r.follow(s, encoding, &wire.Follow{After: &after})
			if first := again.any(); first.Subscribed == nil || first.Subscribed.State != nil || *first.Subscribed.HeartbeatInterval != 15 {
				t.Fatalf("the first event is %s", wire.JSON.Marshal(first))
			}
			if beat := again.any(); id(beat) != after {
				t.Errorf("it goes on behind %s, not %s", *beat.ID, after)
			}
			for k, want := range all[i:] {
				e := again.next()
				if got := said(e); got != want || id(e) != ids[i+k+1] {
					t.Errorf("behind %s it is told %q with id %s, want %q with %s", after, got, id(e), want, ids[i+k+1])
				}
			}
			if i == 2 { // what is chosen makes no difference to ids
				chosen := r.follow(s, encoding, &wire.Follow{After: &after, Types: []string{"AGENT_REMOVED"}})
				if e := chosen.next(); e.Subscribed == nil || id(chosen.next()) != ids[7] {
					t.Error("another filter has other ids")
				}
			}
		}
	}
}

// Clients that say nothing of it meet no field that Mesos does not have.
func TestEventsHaveNoIDUnasked(t *testing.T) {
	r := peopled(t)
	w := r.watch(r.servers(), wire.JSON)
	r.news()
	for range len(newsAll) + 2 {
		if e := w.any(); e.ID != nil {
			t.Errorf("it is told %s", wire.JSON.Marshal(e))
		}
	}
}

func TestFollowsThatAreRefused(t *testing.T) {
	r := peopled(t)
	s := r.servers()
	beyond := fmt.Sprint(r.store.Snapshot().Index() + 1)
	for _, c := range []struct {
		what   wire.Follow
		status int
		want   string
	}{
		{wire.Follow{Types: []string{"TASK_LOST"}}, 400, "no event 'TASK_LOST'"},
		{wire.Follow{Types: []string{"UNKNOWN"}}, 400, "no event"},
		{wire.Follow{Roles: []string{"a//b"}}, 400, "invalid"},
		{wire.Follow{Agents: make([]wire.ID, mostNamed+1)}, 400, "more than 1000"},
		{wire.Follow{After: new("")}, 400, "no event"},
		{wire.Follow{After: new("0")}, 400, "no event"},
		{wire.Follow{After: new("-1")}, 400, "no event"},
		{wire.Follow{After: new("7.1")}, 400, "no event"},
		{wire.Follow{After: new("7.0.1")}, 400, "no event"},
		{wire.Follow{After: new("99999999999999999999")}, 400, "no event"},
		{wire.Follow{After: &beyond}, 410, "subscribe without 'after'"},
	} {
		for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
			w := r.post(s, encoding, &wire.OperatorCall{Type: new(wire.OperatorSubscribe), Subscribe: &c.what})
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%s: %d %s, want %d with %q", wire.JSON.Marshal(&c.what), w.Code, w.Body, c.status, c.want)
			}
		}
	}
	// What is not kept any more is gone.
	old := fmt.Sprint(r.store.Snapshot().Index())
	for i := range 5000 {
		r.must(&state.SetEligibility{Node: "n1", Eligible: i%2 == 1})
	}
	if w := r.post(s, wire.JSON, &wire.OperatorCall{Type: new(wire.OperatorSubscribe), Subscribe: &wire.Follow{After: &old}}); w.Code != 410 {
		t.Errorf("what is not kept is answered %d %s", w.Code, w.Body)
	}
}
