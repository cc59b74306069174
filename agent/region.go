package agent

import (
	"cmp"
	"context"
	"io"
	"io/fs"
	"slices"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/client/remote"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// region is what the HTTP API sees of the server.
type region Agent

var _ http.Region = (*region)(nil)

func (r *region) Read(ctx context.Context, stale bool) (*state.Snapshot, error) {
	return r.server.Read(ctx, stale)
}

func (r *region) Store() *state.Store { return r.server.Store() }

func (r *region) Propose(ctx context.Context, e state.Envelope) (result state.Result) {
	result.Answer, result.Index, result.Err = r.server.Propose(ctx, e.Key, e.Actor, e.Command)
	return result
}

func (r *region) Leadership() http.Leadership {
	leader := r.server.Raft().Leader()
	l := http.Leadership{Known: leader.ID != "", Contact: r.server.Raft().Stats().LastContact}
	for _, m := range r.gossip.Members() {
		if m.ID == leader.ID && leader.ID != "" {
			l.Name, l.Address = m.Name, m.Addr
		}
	}
	return l
}

func (r *region) Offers(ctx context.Context) ([]*structs.Offer, error) { return r.server.Offers(ctx) }

func (r *region) OfferStatus(ctx context.Context, id structs.FrameworkID) (*structs.OfferStatus, error) {
	return r.server.OfferStatus(ctx, id)
}

func (r *region) Slack(ctx context.Context, node structs.NodeID) (*structs.SlackStatus, error) {
	return r.server.Slack(ctx, node)
}

func (r *region) Maintenance(ctx context.Context) ([]*structs.NodeMaintenance, error) {
	return r.server.Maintenance(ctx)
}

func (r *region) Explain(ctx context.Context, job, group string) (*api.Explanation, error) {
	groups, err := r.server.Explain(ctx, job, group)
	if err != nil {
		return nil, err
	}
	return explanation(job, groups), nil
}

func (r *region) Plan(ctx context.Context, job *structs.Job) (*api.Explanation, error) {
	groups, err := r.server.Plan(ctx, job)
	if err != nil {
		return nil, err
	}
	e := explanation(job.Name, groups)
	e.Dry = true
	return e, nil
}

func explanation(job string, groups []*server.GroupExplanation) *api.Explanation {
	out := &api.Explanation{Job: job}
	for _, g := range groups {
		e := &api.GroupExplanation{Group: g.Group, Ask: g.Ask, Count: g.Count, Placed: len(g.Held), Waiting: g.Waiting,
			Nodes: g.Fit.Nodes, Fit: g.Fit.Fits, Order: g.Wait}
		e.Reasons = reasons(g.Fit.Reasons)
		e.Help, e.Advice = help(g.Fit.Help)
		e.Expected, e.Role = g.Expected, g.Role
		if w := g.Standing; w != nil {
			e.Because, e.Turn = string(w.Because), w.Turn
			e.Bounds = append(bounds("limit", w.Quota), bounds("guarantee", w.Guarantee)...)
		}
		e.Avoided = avoided(g.Avoided)
		e.Preempting = g.Claims
		for _, a := range g.Stops {
			e.Stops = append(e.Stops, stopped(a))
		}
		for _, a := range g.Held {
			on := &api.PlacedOn{Alloc: a.ID, Index: a.Index, Node: a.Node, NodeName: a.NodeName, Why: a.Why}
			if a.Status == structs.AllocPending {
				on.Why = cmp.Or(a.Why, a.RefusedStart())
			}
			if parts, ok := g.Scores[a.Node]; ok {
				on.Parts = parts.Named()
				for _, part := range on.Parts {
					on.Score += part
				}
			}
			e.Placing = append(e.Placing, on)
		}
		out.Groups = append(out.Groups, e)
	}
	return out
}

// avoided tells of nodes that have windows.
func avoided(nodes []*structs.Node) []*api.Avoided {
	if len(nodes) == 0 {
		return nil
	}
	first := slices.MinFunc(nodes, func(x, y *structs.Node) int {
		return cmp.Or(cmp.Compare(x.Maintenance.Start, y.Maintenance.Start), cmp.Compare(x.Name, y.Name))
	})
	return []*api.Avoided{{Kind: "maintenance", Nodes: len(nodes), On: first.Name, Start: first.Maintenance.Start}}
}

func bounds(kind string, list []allocator.QuotaShort) (out []*api.Bound) {
	for _, q := range list {
		out = append(out, &api.Bound{Role: q.Role, Kind: kind, Part: q.Part, Resource: q.Resource, Bound: q.Bound, Used: q.Used, Asked: q.Asked})
	}
	return out
}

func (r *region) Shares(ctx context.Context) ([]*structs.RoleStanding, error) {
	return r.server.Shares(ctx)
}

// Node reaches the node over its cluster port, from this server.
func (r *region) Node(ctx context.Context, id structs.NodeID) (http.Node, error) {
	snap, err := r.server.Read(ctx, true)
	if err != nil {
		return nil, err
	}
	n := snap.Node(id)
	if n == nil {
		return nil, structs.Errorf(structs.NotFound, "node "+structs.Short(id), "there is no such node")
	}
	if n.Status != structs.NodeReady {
		return nil, structs.Errorf(structs.Unavailable, "node "+n.Name, "it is %s: %s", n.Status, n.Reason)
	}
	return &nodeAPI{Node: remote.Node{Pool: r.pool, Address: n.Address, Name: n.Name}, store: r.server.Store()}, nil
}

// nodeAPI gives a node's answers the types of the API.
type nodeAPI struct {
	remote.Node
	store *state.Store
}

func (n *nodeAPI) Logs(ctx context.Context, req *api.LogsRequest, emit func(*api.LogFrame) error) error {
	ask := &remote.LogsRequest{Alloc: req.Alloc, Task: req.Task, Stdout: req.Stdout, Stderr: req.Stderr,
		Follow: req.Follow, Offset: req.Offset, Tail: req.Tail}
	for {
		snap := n.store.Snapshot()
		index, alloc := snap.Index(), snap.Alloc(req.Alloc) // not snap itself: a log may be followed for weeks
		began := false
		err := n.Node.Logs(ctx, ask, func(f *remote.LogFrame) error {
			began = true
			return emit(&api.LogFrame{Stream: f.Stream, Offset: f.Offset, Data: f.Data, Skipped: f.Skipped})
		})
		if structs.KindOf(err) != structs.NotFound || began || !req.Follow || alloc == nil || alloc.Ended() {
			return err
		}
		// The node has not begun it: what it reports when it does wakes us.
		if _, err := n.store.Wait(ctx, index, state.OfAlloc(req.Alloc)); err != nil {
			return err
		}
	}
}

func (n *nodeAPI) Machine(ctx context.Context) (*api.NodeStats, error) {
	u, err := n.Node.Usage(ctx)
	if err != nil {
		return nil, err
	}
	return &api.NodeStats{Allocs: u.Allocs, Tasks: u.Tasks, Held: u.Held, CPU: u.CPU, Memory: u.Memory, DiskFree: u.DiskFree, DiskTotal: u.DiskTotal,
		Throttled: u.Throttled, OOMKills: u.OOMKills, Pids: u.Pids, IO: u.IO, Pressure: u.Pressure, GPUs: u.GPUs}, nil
}

func (n *nodeAPI) Exec(ctx context.Context, alloc structs.AllocID, task string, cmd drivers.Command) (drivers.Exit, error) {
	return n.Node.Exec(ctx, alloc, task, cmd)
}

func (n *nodeAPI) Forward(ctx context.Context, alloc structs.AllocID, port string) (api.Duplex, error) {
	st, err := n.Node.Forward(ctx, alloc, port)
	if err != nil {
		return nil, err // not a nil stream in an interface
	}
	return st, nil
}

func (n *nodeAPI) List(ctx context.Context, alloc structs.AllocID, path string) ([]*api.FileInfo, error) {
	files, err := n.Node.List(ctx, alloc, path)
	var out []*api.FileInfo
	for i := range files {
		out = append(out, fileInfo(&files[i]))
	}
	return out, err
}

func (n *nodeAPI) Stat(ctx context.Context, alloc structs.AllocID, path string) (*api.FileInfo, error) {
	file, err := n.Node.Stat(ctx, alloc, path)
	if err != nil {
		return nil, err
	}
	return fileInfo(&file), nil
}

func (n *nodeAPI) Read(ctx context.Context, alloc structs.AllocID, path string, offset, limit int64, w io.Writer) error {
	return n.Node.Read(ctx, alloc, path, offset, limit, w)
}

func (n *nodeAPI) Unpack(ctx context.Context, alloc structs.AllocID, path string, r io.Reader) (*api.Copied, error) {
	c, err := n.Node.Unpack(ctx, alloc, path, r)
	if err != nil {
		return nil, err
	}
	return &api.Copied{Files: c.Files, Size: c.Size}, nil
}

// lsMode writes a mode as ls does.
func lsMode(m fs.FileMode) string {
	b := []byte("-" + m.Perm().String()[1:])
	for bit, letter := range map[fs.FileMode]byte{fs.ModeDir: 'd', fs.ModeSymlink: 'l', fs.ModeNamedPipe: 'p', fs.ModeSocket: 's', fs.ModeDevice: 'b'} {
		if m&bit != 0 {
			b[0] = letter
		}
	}
	if m&fs.ModeCharDevice != 0 {
		b[0] = 'c'
	}
	for i, special := range []fs.FileMode{fs.ModeSetuid, fs.ModeSetgid, fs.ModeSticky} {
		if m&special == 0 {
			continue
		}
		x, letter := 3*(i+1), "sst"[i]
		if b[x] != 'x' {
			letter -= 'a' - 'A'
		}
		b[x] = letter
	}
	return string(b)
}

func fileInfo(f *remote.File) *api.FileInfo {
	return &api.FileInfo{Name: f.Name, Dir: f.Dir, Size: int64(f.Size), Mode: lsMode(f.Mode), Time: f.Changed, Target: f.Target}
}
