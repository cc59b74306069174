package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// region is a region of one server without Raft, over the real state.
type region struct {
	t       *testing.T
	store   *state.Store
	offers  []*structs.Offer
	slacks  map[structs.NodeID]structs.Slack
	leader  string
	follows atomic.Bool
	actors  []string
	figures server.Figures

	mu    sync.Mutex
	index uint64
	reads int
}

func newRegion(t *testing.T) *region {
	return &region{t: t, store: state.New(), leader: "10.0.0.1:5050"}
}

func (r *region) LeaderHTTP(context.Context) (string, bool, error) {
	return r.leader, !r.follows.Load() && r.leader != "", nil
}

func (r *region) Elected() structs.Time {
	if r.follows.Load() || r.leader == "" {
		return 0
	}
	return structs.Time(5 * time.Second)
}

func (r *region) Read(context.Context, bool) (*state.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	return r.store.Snapshot(), nil
}

func (r *region) Figures() server.Figures { return r.figures }

func (r *region) Store() *state.Store { return r.store }

func (r *region) Offers(context.Context) ([]*structs.Offer, error) { return r.offers, nil }

func (r *region) Slacks(context.Context) map[structs.NodeID]structs.Slack { return r.slacks }

func (r *region) Maintenance(context.Context) (out []*structs.NodeMaintenance, err error) {
	for n := range r.store.Snapshot().Nodes() {
		if n.Maintenance != nil {
			out = append(out, &structs.NodeMaintenance{Node: n.ID, NodeName: n.Name, Maintenance: *n.Maintenance, State: n.Maintenance.State(1),
				Answers: []*structs.InverseOffer{{Framework: "f1", Answer: structs.InverseAccepted, Answered: 7}}})
		}
	}
	return out, nil
}

func (r *region) Propose(_ context.Context, key, actor string, cmd state.Command) (any, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	r.actors = append(r.actors, actor)
	result := r.store.Apply(r.index, &state.Entry{Time: structs.Time(int64(r.index) * int64(time.Second)),
		Envelopes: []state.Envelope{{Key: key, Actor: actor, Command: cmd}}})[0]
	return result.Answer, result.Index, result.Err
}

// must applies commands that must go well, and returns the last answer.
func (r *region) must(commands ...state.Command) (answer any) {
	r.t.Helper()
	for _, c := range commands {
		var err error
		if answer, _, err = r.Propose(r.t.Context(), "", "test", c); err != nil {
			r.t.Fatalf("%s: %v", c.Kind(), err)
		}
	}
	return answer
}

// node registers one of eight cores.
func (r *region) node(name string, change func(*structs.Node)) *structs.Node {
	r.t.Helper()
	n := &structs.Node{ID: structs.NodeID(name), Name: name, Datacenter: "dc2", Hosts: []string{"10.0.0.9"}, PortRange: structs.Range{First: 20000, Last: 32000},
		Resources: structs.Resources{CPU: 8000, Memory: 16 << 30, Disk: 100 << 30, Ports: 12001, Custom: map[string]structs.Milli{"gpus": 2000}}, Version: "1.0"}
	if change != nil {
		change(n)
	}
	r.must(&state.RegisterNode{Node: n})
	return r.store.Snapshot().Node(n.ID)
}

// place puts an allocation on a node and has the node say how its tasks are.
func (r *region) place(p *state.Placement, status structs.AllocStatus, tasks map[string]*structs.TaskState) *structs.Allocation {
	r.t.Helper()
	n := r.store.Snapshot().Node(p.Alloc.Node)
	p.NodeIncarnation = n.Incarnation
	done := r.must(&state.Place{Placements: []*state.Placement{p}}).(*state.Placed)
	if refused := done.Placements[0]; refused.Refused != "" {
		r.t.Fatalf("%s: %s %s", p.Alloc.ID, refused.Refused, refused.Why)
	}
	r.observe(p.Alloc.ID, status, tasks)
	return r.store.Snapshot().Alloc(p.Alloc.ID)
}

func (r *region) observe(id structs.AllocID, status structs.AllocStatus, tasks map[string]*structs.TaskState) {
	r.t.Helper()
	a := r.store.Snapshot().Alloc(id)
	n := r.store.Snapshot().Node(a.Node)
	r.must(&state.Observe{Node: n.ID, NodeIncarnation: n.Incarnation, Session: n.Session, Updates: []*structs.AllocUpdate{{ID: id,
		Incarnation: a.Incarnation, Status: status, Tasks: tasks}}})
}

// command is an allocation of a framework with one task.
func (r *region) command(framework structs.FrameworkID, node, id string, amount structs.Resources) *state.Placement {
	return &state.Placement{Job: &structs.Job{Groups: []*structs.Group{{Name: "task", Tasks: []*structs.Task{{Name: id, User: "nobody"}}}}},
		Alloc: &structs.Allocation{ID: structs.AllocID("alloc-" + id), Framework: framework, Role: "eng", Node: structs.NodeID(node), Group: "task",
			Resources: amount, External: &structs.External{Tasks: []*structs.ExternalTask{{ID: id, Name: id}}}}}
}

// peopled is a region with a bit of everything.
func peopled(t *testing.T) *region {
	r := newRegion(t)
	r.must(&state.Initialize{Region: "global", Generation: "g1", Level: state.FirstFeatureLevel},
		&state.PutFramework{Framework: &structs.Framework{ID: structs.ServiceJob, Name: structs.ServiceJob, BuiltIn: true, Connected: true}},
		&state.ConnectFramework{Framework: &structs.Framework{ID: "f1", Name: `spark "s"`, User: "root", Roles: []string{"eng", structs.DefaultRole},
			Capabilities: []string{structs.CanHaveRoles}, FailoverTimeout: 90e9, Hostname: "h", WebURL: "http://h/", Labels: map[string]string{"team": "data"}, Connection: "c1"}},
		&state.ConnectFramework{Framework: &structs.Framework{ID: "f2", Name: "gone", User: "root", Roles: []string{structs.DefaultRole}, Connection: "c2"}},
		&state.RemoveFramework{ID: "f2", Why: "test"})
	r.node("n1", func(n *structs.Node) {
		n.Meta = map[string]string{"rack": "r1", "unit": "7"}
		n.ReservedFor = map[string]*structs.Resources{"eng": {CPU: 2000}}
	})
	r.node("n2", func(n *structs.Node) { n.Attributes = map[string]string{structs.AttrAgentPort: "6051"} })
	r.node("n3", nil)
	r.must(&state.SetDrain{Node: "n2", Drain: &structs.Drain{}}, &state.SetNodeStatus{Node: "n3", Status: structs.NodeLost, Why: "test"})
	web := &structs.Job{Name: "web", Type: structs.ServiceJob, Role: "eng", Meta: map[string]string{"team": "a"}, Groups: []*structs.Group{{Name: "g",
		Services: []*structs.Service{{Name: "shop", Port: "http"}},
		Network:  &structs.Network{Ports: []*structs.Port{{Label: "http"}}},
		Tasks:    []*structs.Task{{Name: "server", Driver: "mock", User: "www"}, {Name: "proxy", Driver: "mock"}}}}}
	web.Canonicalize()
	r.must(&state.SubmitJob{Job: web})
	running := &structs.TaskState{Status: structs.TaskRunning, Started: structs.Time(90e9)}
	r.place(&state.Placement{Alloc: &structs.Allocation{ID: "alloc-web", Framework: structs.ServiceJob, Job: "web", Version: 1, Group: "g", Node: "n1",
		Resources: structs.Resources{CPU: 300, Memory: 256 << 20, Ports: 1}, Ports: []structs.AssignedPort{{Label: "http", Host: "10.0.0.9", Port: 20001}}}},
		structs.AllocRunning, map[string]*structs.TaskState{"server": running, "proxy": {Status: structs.TaskStarting}})
	one := r.command("f1", "n1", "t1", structs.Resources{CPU: 1500, Memory: 64 << 20})
	one.Alloc.External.Tasks[0].About = wire.Protobuf.Marshal(&wire.TaskInfo{Name: "number one", TaskID: wire.ID{Value: "t1"}, AgentID: wire.ID{Value: "n1"},
		Command:   &wire.CommandInfo{User: new("nobody")},
		Labels:    &wire.Labels{Labels: []wire.Label{{Key: "tier", Value: new("gold")}}},
		Discovery: &wire.DiscoveryInfo{Visibility: wire.VisibleCluster, Name: new("ones")}})
	r.place(one, structs.AllocRunning, map[string]*structs.TaskState{"t1": running})
	r.place(r.command("f1", "n1", "t2", structs.Resources{CPU: 100}), structs.AllocFailed,
		map[string]*structs.TaskState{"t2": {Status: structs.TaskFailed, ExitCode: 1, Ended: structs.Time(95e9)}})
	r.offers = []*structs.Offer{{ID: "o1", Framework: "f1", Role: "eng", Node: "n1", Resources: structs.Resources{CPU: 4000, Memory: 1 << 30}}}
	return r
}

func (r *region) servers() *Servers {
	return NewServers(r, func() About {
		return About{Region: "global", Zone: "dc1", Name: "s1", Version: "0.1", Started: structs.Time(1e9), LogLevel: "info", Flags: map[string]string{"region": "global"}}
	}, slog.New(slog.DiscardHandler))
}

// ask sends a request as the service would, and returns the answer.
func (r *region) ask(s *Servers, method, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Serve(w, httptest.NewRequestWithContext(r.t.Context(), method, url, nil), mesos.Caller{Actor: "local"})
	return w
}

// tree asks for a document and returns it.
func (r *region) tree(s *Servers, url string) node {
	r.t.Helper()
	w := r.ask(s, http.MethodGet, url)
	raw, _ := io.ReadAll(w.Body)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		r.t.Fatalf("%s: %d %q: %s", url, w.Code, w.Header().Get("Content-Type"), raw)
	}
	if got := w.Header().Get("Content-Length"); got != fmt.Sprint(len(raw)) {
		r.t.Errorf("%s: it says %s bytes and has %d", url, got, len(raw))
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		r.t.Fatalf("%s: %v: %s", url, err, raw)
	}
	return node{r.t, url, v}
}

// node is a place in a tree of JSON.
type node struct {
	t  *testing.T
	at string
	v  any
}

// in goes to a place: names of members, and numbers of a list.
func (n node) in(path string) node {
	n.t.Helper()
	for step := range strings.SplitSeq(path, "|") {
		n.at += "|" + step
		switch v := n.v.(type) {
		case map[string]any:
			var there bool
			if n.v, there = v[step]; !there {
				n.t.Fatalf("%s is not there: %v", n.at, v)
			}
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(v) {
				n.t.Fatalf("%s is not there: %d members", n.at, len(v))
			}
			n.v = v[i]
		default:
			n.t.Fatalf("%s: %v has no members", n.at, v)
		}
	}
	return n
}

// is demands a value, as JSON.
func (n node) is(path, want string) {
	n.t.Helper()
	x := n.in(path)
	raw, _ := json.Marshal(x.v)
	if string(raw) != want {
		n.t.Errorf("%s is %s, want %s", x.at, raw, want)
	}
}

func (n node) len(path string, want int) {
	n.t.Helper()
	x := n.in(path)
	if list, _ := x.v.([]any); len(list) != want {
		n.t.Errorf("%s has %d members, want %d: %v", x.at, len(list), want, x.v)
	}
}
