package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// fakeRegion is a region of one server without Raft, over the real state.
type fakeRegion struct {
	store *state.Store
	mu    sync.Mutex
	index uint64
	nodes map[structs.NodeID]*fakeNode

	leaderless bool
	actors     []string
	offers     []*structs.Offer
}

func newFakeRegion() *fakeRegion {
	return &fakeRegion{store: state.New(), nodes: map[structs.NodeID]*fakeNode{}}
}

func (r *fakeRegion) Read(ctx context.Context, stale bool) (*state.Snapshot, error) {
	if r.leaderless && !stale {
		return nil, structs.Errorf(structs.Unavailable, "region", "no leader is known").Advise("ask with stale")
	}
	return r.store.Snapshot(), nil
}

func (r *fakeRegion) Store() *state.Store { return r.store }

func (r *fakeRegion) Propose(ctx context.Context, e state.Envelope) state.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaderless {
		return state.Result{Err: structs.Errorf(structs.Unavailable, "region", "no leader is known")}
	}
	r.actors = append(r.actors, e.Actor)
	r.index++
	result := r.store.Apply(r.index, &state.Entry{Time: structs.Time(int64(r.index) * int64(time.Second)), Envelopes: []state.Envelope{e}})[0]
	return result
}

func (r *fakeRegion) PutVariable(ctx context.Context, key, actor, path string, put *api.VariablePut) (uint64, error) {
	if r.store.Snapshot().ActiveKey() == nil {
		r.Propose(ctx, state.Envelope{Command: &state.UseKey{ID: "5ea1"}})
	}
	raw, err := json.Marshal(put.Items)
	if err != nil {
		return 0, err
	}
	result := r.Propose(ctx, state.Envelope{Key: key, Actor: actor, Command: &state.PutVariable{Path: path, Secret: put.Secret, Sealed: structs.Sealed{Key: "5ea1", Data: raw},
		Size: structs.Bytes(len(raw)), TTL: put.TTL, Check: put.Check}})
	return result.Index, result.Err
}

func (r *fakeRegion) OpenVariable(_ context.Context, snap *state.Snapshot, path string) (*structs.Variable, map[string]string, error) {
	v, items := snap.Variable(path), map[string]string{}
	if v == nil {
		return nil, nil, structs.Errorf(structs.NotFound, "variable", "there is none")
	}
	return v, items, json.Unmarshal(v.Sealed.Data, &items)
}

func (r *fakeRegion) RegionKeys(context.Context) (out []*api.RegionKey, err error) {
	for k := range r.store.Snapshot().RegionKeys() {
		out = append(out, &api.RegionKey{RegionKey: *k, Servers: []string{"s1"}, Asked: 1})
	}
	return out, nil
}

func (r *fakeRegion) RotateKey(ctx context.Context) error {
	return r.Propose(ctx, state.Envelope{Command: &state.UseKey{ID: "5ea2", Expect: "5ea1"}}).Err
}

func (r *fakeRegion) ExportKeys(context.Context) ([][]byte, error) {
	return [][]byte{[]byte("key")}, nil
}

func (r *fakeRegion) ImportKeys(context.Context, [][]byte) error { return nil }

func (r *fakeRegion) Leadership() Leadership {
	if r.leaderless {
		return Leadership{Contact: 3 * time.Second}
	}
	return Leadership{Known: true, Name: "s1", Address: "127.0.0.1:5050"}
}

func (r *fakeRegion) Offers(context.Context) ([]*structs.Offer, error) { return r.offers, nil }

func (r *fakeRegion) OfferStatus(_ context.Context, id structs.FrameworkID) (*structs.OfferStatus, error) {
	return &structs.OfferStatus{Framework: id, Outstanding: len(r.offers), Roles: []*structs.RoleOffers{}}, nil
}

func (r *fakeRegion) Slack(context.Context, structs.NodeID) (*structs.SlackStatus, error) {
	return nil, nil
}

func (r *fakeRegion) Maintenance(context.Context) ([]*structs.NodeMaintenance, error) {
	list := []*structs.NodeMaintenance{}
	for n := range r.store.Snapshot().Nodes() {
		if n.Maintenance != nil {
			list = append(list, &structs.NodeMaintenance{Node: n.ID, NodeName: n.Name, Maintenance: *n.Maintenance,
				State: n.Maintenance.State(0), Answers: []*structs.InverseOffer{}})
		}
	}
	return list, nil
}

func (r *fakeRegion) Shares(context.Context) ([]*structs.RoleStanding, error) {
	return []*structs.RoleStanding{{Role: "eng"}, {Role: "eng/web", Share: 500}, {Role: "eng-x"}}, nil
}

func (r *fakeRegion) Simulate(_ context.Context, c *api.SimulateRequest) (*api.Simulated, error) {
	return &api.Simulated{Nodes: c.AddNodes, Asked: len(c.Jobs), Groups: []*api.SimulatedGroup{}, Stops: []*api.SimulatedStop{}}, nil
}

func (r *fakeRegion) Explain(_ context.Context, job, group string) (*api.Explanation, error) {
	return &api.Explanation{Job: job, Groups: []*api.GroupExplanation{{Group: "web", Count: 2, Waiting: 1, Nodes: 3, Fit: 0,
		Reasons: []*api.Reason{{What: "memory", Nodes: 3, Nearest: "1GiB asked, 512MiB free on a"}}}}}, nil
}

func (r *fakeRegion) Plan(_ context.Context, job *structs.Job) (*api.Explanation, error) {
	if r.leaderless {
		return nil, structs.Errorf(structs.Unavailable, "region", "no leader is known")
	}
	return &api.Explanation{Job: job.Name, Dry: true}, nil
}

func (r *fakeRegion) Node(_ context.Context, id structs.NodeID) (Node, error) {
	if n := r.nodes[id]; n != nil {
		return n, nil
	}
	return nil, structs.Errorf(structs.Unavailable, "node "+structs.Short(id), "it has no session")
}

// fakeNode has files and output in memory.
type fakeNode struct {
	frames  []*api.LogFrame
	logsErr error         // after the frames
	hold    chan struct{} // with Follow, Logs waits for it; nil: no
	files   map[string]string
	signals []string
	waiting atomic.Int32 // commands that wait, and connections to the port stuck
}

func (n *fakeNode) Logs(ctx context.Context, req *api.LogsRequest, emit func(*api.LogFrame) error) error {
	for _, f := range n.frames {
		if f.Stream == "stdout" && req.Stdout || f.Stream == "stderr" && req.Stderr {
			if err := emit(f); err != nil {
				return err
			}
		}
	}
	if req.Follow && n.hold != nil {
		select {
		case <-n.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return n.logsErr
}

// stuck is a connection whose other end neither reads nor writes.
type stuck struct {
	net.Conn
	gone func()
}

func (s *stuck) CloseWrite() error { return nil }

func (s *stuck) Close() error {
	s.gone()
	return s.Conn.Close()
}

// Forward knows the port echo, which says hello and sends back what it gets, and then bye, and the port stuck.
func (n *fakeNode) Forward(ctx context.Context, _ structs.AllocID, port string) (api.Duplex, error) {
	if port == "stuck" {
		n.waiting.Add(1)
		ours, _ := net.Pipe()
		return &stuck{ours, sync.OnceFunc(func() { n.waiting.Add(-1) })}, nil
	}
	if port != "echo" {
		return nil, structs.Errorf(structs.NotFound, "allocation bb01", "it has no port %q", port)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		defer l.Close()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "hello ")
		io.Copy(conn, conn)
		io.WriteString(conn, " bye")
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn.(*net.TCPConn), nil
}

// Pack sends the name of what it is asked for; Unpack counts what it gets.
func (n *fakeNode) Pack(_ context.Context, _ structs.AllocID, path, name string, w io.Writer) error {
	if n.files[path] == "" {
		return structs.Errorf(structs.NotFound, path, "the allocation has no such file")
	}
	_, err := io.WriteString(w, path+" as "+name)
	return err
}

func (n *fakeNode) Unpack(_ context.Context, _ structs.AllocID, path string, r io.Reader) (*api.Copied, error) {
	if path == "none" {
		return nil, structs.Errorf(structs.NotFound, path, "the allocation has no such file")
	}
	size, err := io.Copy(io.Discard, r)
	return &api.Copied{Files: 1, Size: structs.Bytes(size)}, err
}

// Exec knows three commands: cat copies its input, size says the terminal's sizes, fail exits with 3.
func (n *fakeNode) Exec(ctx context.Context, _ structs.AllocID, _ string, cmd drivers.Command) (drivers.Exit, error) {
	switch cmd.Args[0] {
	case "cat":
		if _, err := io.Copy(cmd.Stdout, cmd.Stdin); err != nil {
			return drivers.Exit{}, err
		}
		return drivers.Exit{}, nil
	case "size":
		for {
			select {
			case s := <-cmd.Resize:
				fmt.Fprintf(cmd.Stdout, "%dx%d;", s.Rows, s.Cols)
				if s.Rows == 1 {
					return drivers.Exit{}, nil
				}
			case <-ctx.Done():
				return drivers.Exit{}, ctx.Err()
			}
		}
	case "fail":
		io.WriteString(cmd.Stderr, "no\n")
		return drivers.Exit{Code: 3}, nil
	case "wait":
		n.waiting.Add(1)
		defer n.waiting.Add(-1)
		<-ctx.Done()
		return drivers.Exit{Code: 137, Signal: 9}, nil
	}
	return drivers.Exit{}, structs.Errorf(structs.NotFound, "command "+cmd.Args[0], "there is no such file")
}

func (n *fakeNode) Signal(_ context.Context, _ structs.AllocID, task, signal string) error {
	n.signals = append(n.signals, task+":"+signal)
	return nil
}

func (n *fakeNode) Stats(context.Context, structs.AllocID) (map[string]*drivers.Stats, error) {
	return map[string]*drivers.Stats{"main": {CPU: 500, Memory: 1 << 20}}, nil
}

func (n *fakeNode) Machine(context.Context) (*api.NodeStats, error) {
	return &api.NodeStats{Allocs: 1, Tasks: 2, CPU: 500, Memory: 1 << 20}, nil
}

func (n *fakeNode) List(_ context.Context, _ structs.AllocID, path string) ([]*api.FileInfo, error) {
	var list []*api.FileInfo
	for name := range n.files {
		if strings.HasPrefix(name, path) {
			list = append(list, &api.FileInfo{Name: name, Size: int64(len(n.files[name])), Mode: "-rw-r--r--"})
		}
	}
	return list, nil
}

func (n *fakeNode) Stat(_ context.Context, _ structs.AllocID, path string) (*api.FileInfo, error) {
	if text, ok := n.files[path]; ok {
		return &api.FileInfo{Name: path, Size: int64(len(text)), Mode: "-rw-r--r--"}, nil
	}
	return nil, structs.Errorf(structs.NotFound, "file "+path, "there is none")
}

func (n *fakeNode) Read(_ context.Context, _ structs.AllocID, path string, offset, limit int64, w io.Writer) error {
	text, ok := n.files[path]
	if !ok {
		return structs.Errorf(structs.NotFound, "file "+path, "there is none")
	}
	text = text[min(int(offset), len(text)):]
	if limit >= 0 {
		text = text[:min(int(limit), len(text))]
	}
	_, err := io.WriteString(w, text)
	return err
}

// fakeAgent answers what the tests look for.
type fakeAgent struct {
	sick     error
	joined   []string
	left     []string
	removed  []string
	snapshot string // what SnapshotSave writes; restore stores here
	broken   bool   // SnapshotSave fails in the middle
}

func (a *fakeAgent) Self(context.Context) (*api.Self, error) {
	return &api.Self{Name: "a1", Version: "0.1.0", Region: "global", Server: true}, nil
}
func (a *fakeAgent) Healthy(context.Context) error { return a.sick }
func (a *fakeAgent) Metrics(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "# TYPE up gauge\nup 1\n")
	return err
}
func (a *fakeAgent) Monitor(_ context.Context, level slog.Level, asJSON bool, emit func([]byte) error) error {
	return emit(fmt.Appendf(nil, "level=%s json=%t\n", level, asJSON))
}
func (a *fakeAgent) Reload(context.Context) (*api.Reloaded, error) {
	return &api.Reloaded{Changed: []string{"log_level"}, Restart: []string{}}, nil
}
func (a *fakeAgent) Members(context.Context) ([]*api.Member, error) {
	return []*api.Member{{Name: "a1", Role: "server", Status: "alive"}}, nil
}
func (a *fakeAgent) Join(_ context.Context, addresses []string) (int, error) {
	a.joined = addresses
	return len(addresses), nil
}
func (a *fakeAgent) ForceLeave(_ context.Context, name string) error {
	a.left = append(a.left, name)
	return nil
}
func (a *fakeAgent) Keyring(_ context.Context, op, key string) (*api.Keyring, error) {
	return &api.Keyring{Primary: op + key, Keys: map[string]int{"k": 1}}, nil
}
func (a *fakeAgent) RaftPeers(context.Context) ([]*api.RaftPeer, error) {
	return []*api.RaftPeer{{ID: "p1", Leader: true}}, nil
}
func (a *fakeAgent) RaftRemove(_ context.Context, id string) error {
	a.removed = append(a.removed, id)
	return nil
}
func (a *fakeAgent) RaftTransfer(context.Context, string) error { return nil }
func (a *fakeAgent) SnapshotSave(_ context.Context, w io.Writer) error {
	io.WriteString(w, a.snapshot)
	if a.broken {
		return errors.New("the disk is gone")
	}
	return nil
}
func (a *fakeAgent) SnapshotRestore(_ context.Context, r io.Reader) (*api.SnapshotInfo, error) {
	raw, err := io.ReadAll(r)
	a.snapshot = string(raw)
	return &api.SnapshotInfo{Size: structs.Bytes(len(raw))}, err
}
func (a *fakeAgent) SnapshotInspect(_ context.Context, r io.Reader) (*api.SnapshotInfo, error) {
	raw, err := io.ReadAll(r)
	return &api.SnapshotInfo{Size: structs.Bytes(len(raw))}, err
}

// world is a service with fakes behind it, and a client of it.
type world struct {
	t       *testing.T
	region  *fakeRegion
	agent   *fakeAgent
	service *Service
	url     string
	client  *api.Client
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	w := &world{t: t, region: newFakeRegion(), agent: &fakeAgent{snapshot: "a snapshot"}}
	o := Options{Region: w.region, Agent: w.agent}
	for _, c := range change {
		c(&o)
	}
	w.service = New(o)
	server := httptest.NewServer(w.service)
	t.Cleanup(server.Close)
	w.url = server.URL
	client, err := api.New(api.Config{Address: server.URL, Token: o.Token, Actor: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	return w
}

// propose changes the state, and fails the test when that fails.
func (w *world) propose(command state.Command) any {
	w.t.Helper()
	result := w.region.Propose(w.t.Context(), state.Envelope{Command: command})
	if result.Err != nil {
		w.t.Fatal(result.Err)
	}
	return result.Answer
}

// id makes an id that begins so.
func id(prefix string) string { return prefix + strings.Repeat("0", 32-len(prefix)) }

func (w *world) node(prefix, name string) *structs.Node {
	n := &structs.Node{ID: structs.NodeID(id(prefix)), Name: name, Datacenter: "dc1", Address: "127.0.0.1:5052",
		Resources: structs.Resources{CPU: 8000, Memory: 8 << 30, Disk: 100 << 30, Ports: 1000}, PortRange: structs.Range{First: 20000, Last: 20999},
		Hosts: []string{"127.0.0.1"}, Drivers: map[string]*structs.Driver{"mock": {Healthy: true}}}
	w.propose(&state.RegisterNode{Node: n})
	w.region.nodes[n.ID] = &fakeNode{files: map[string]string{}}
	return n
}

// job is a small job that is valid.
func job(name string, count int) *structs.Job {
	return &structs.Job{Name: name, Type: "service", Groups: []*structs.Group{{Name: "web", Count: &count,
		Tasks: []*structs.Task{{Name: "main", Driver: "mock"}}}}}
}

func (w *world) submit(j *structs.Job) *api.JobSubmitted {
	w.t.Helper()
	done, err := w.client.SubmitJob(w.t.Context(), j, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// place puts an allocation of a job on a node.
func (w *world) place(prefix string, n *structs.Node, job string, index int) *structs.Allocation {
	w.t.Helper()
	snap := w.region.store.Snapshot()
	v := snap.Current(job)
	a := &structs.Allocation{ID: structs.AllocID(id(prefix)), Framework: structs.FrameworkID(v.Job.Type), Job: job, Version: v.Version, Group: "web",
		Index: index, Node: n.ID, Resources: v.Job.Groups[0].Ask()}
	answer := w.propose(&state.Place{Placements: []*state.Placement{{Alloc: a, NodeIncarnation: snap.Node(n.ID).Incarnation}}}).(*state.Placed)
	for _, p := range answer.Placements {
		if p.Refused != "" {
			w.t.Fatalf("placement refused: %s: %s", p.Refused, p.Why)
		}
	}
	return w.region.store.Snapshot().Alloc(a.ID)
}

// observe reports a status of an allocation.
func (w *world) observe(a *structs.Allocation, status structs.AllocStatus, tasks map[string]*structs.TaskState) {
	w.t.Helper()
	n := w.region.store.Snapshot().Node(a.Node)
	w.propose(&state.Observe{Node: n.ID, NodeIncarnation: n.Incarnation, Updates: []*structs.AllocUpdate{
		{ID: a.ID, Incarnation: a.Incarnation, Status: status, Tasks: tasks}}})
}
