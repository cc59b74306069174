package http

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Bounds of a blocking query.
const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

// maxKey bounds an idempotency key.
const maxKey = state.MaxKey

// read answers from the region's state. With index it first waits until something under keys has changed after it.
// Handlers that find their keys in the state do so with c.snapshot before.
func (c *call) read(keys []state.Key, build func(*state.Snapshot) (any, error)) (any, error) {
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	if c.query.Has("index") {
		if snap, err = c.wait(c.number("index"), keys); err != nil {
			return nil, err
		}
	}
	c.headers(snap)
	return build(snap)
}

// snapshot returns the state that the call asks for.
func (c *call) snapshot() (*state.Snapshot, error) {
	return c.s.Region.Read(c.r.Context(), c.yes("stale"))
}

// wait returns the state once something under keys has changed after index, or after the time that the call allows.
func (c *call) wait(index uint64, keys []state.Key) (*state.Snapshot, error) {
	wait := defaultWait
	if text := c.str("wait"); text != "" {
		d, err := structs.ParseDuration(text)
		if err != nil {
			return nil, structs.Errorf(structs.Invalid, `query parameter "wait"`, "%w", err)
		}
		wait = min(d.Std(), maxWait)
	}
	wait += rand.N(wait/16 + 1) // clients that asked together shall not all come back together
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	snap, err := c.s.Region.Store().Wait(ctx, index, keys...)
	if err == nil {
		return snap, nil
	}
	if c.r.Context().Err() != nil {
		return nil, stopping()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return c.s.Region.Store().Snapshot(), nil
}

// stopping answers what waits while the agent stops.
func stopping() error {
	return structs.Errorf(structs.Unavailable, "", "the agent stops").Advise("ask again, or ask another agent")
}

// headers says how fresh the answer is.
func (c *call) headers(snap *state.Snapshot) {
	h := c.w.Header()
	h.Set("X-Proffer-Index", strconv.FormatUint(snap.Index(), 10))
	leader := c.s.Region.Leadership()
	h.Set("X-Proffer-Known-Leader", strconv.FormatBool(leader.Known))
	h.Set("X-Proffer-Last-Contact", structs.Duration(leader.Contact.Truncate(time.Millisecond)).String())
}

// key returns the idempotency key of the call; empty: it has none.
func (c *call) key() (string, error) {
	key := c.r.Header.Get("Idempotency-Key")
	if len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", structs.Errorf(structs.Invalid, "header Idempotency-Key", "it is not up to %d printable ASCII characters", maxKey)
	}
	return key, nil
}

// propose commits a command for this call.
func (c *call) propose(command state.Command) (state.Result, error) {
	key, err := c.key()
	if err != nil {
		return state.Result{}, err
	}
	result := c.s.Region.Propose(c.r.Context(), state.Envelope{Key: key, Actor: c.actor, Command: command})
	if result.Err != nil {
		return state.Result{}, result.Err
	}
	c.w.Header().Set("X-Proffer-Index", strconv.FormatUint(result.Index, 10))
	return result, nil
}

// job returns the job of the path.
func (c *call) job(snap *state.Snapshot) (*structs.JobRecord, error) {
	name, err := c.name("name")
	if err != nil {
		return nil, err
	}
	if job := snap.Job(name); job != nil {
		return job, nil
	}
	return nil, noJob(snap, name)
}

// mostNames is how many names are looked at for the one that was meant.
const mostNames = 10_000

func noJob(snap *state.Snapshot, name string) error {
	e := structs.Errorf(structs.NotFound, fmt.Sprintf("job %q", name), "there is none")
	var names []string
	for job := range snap.Jobs() {
		if names = append(names, job.Name); len(names) == mostNames {
			break
		}
	}
	return advise(e, name, names)
}

func advise(e *structs.Error, word string, options []string) *structs.Error {
	if near := structs.Nearest(word, options); near != "" {
		return e.Advise("did you mean %q?", near)
	}
	return e
}

func allocByPrefix(snap *state.Snapshot, given string) (*structs.Allocation, error) {
	return byPrefix("allocation", given, allocKey, func(id string) seq[*structs.Allocation] { return snap.AllocsFrom(structs.AllocID(id)) })
}

func allocKey(a *structs.Allocation) string { return string(a.ID) }

// alloc returns the allocation of the path, from what this server has when it has it, so that a call that follows a
// change costs no question to the leader.
func (c *call) alloc() (*structs.Allocation, error) {
	given := c.r.PathValue("id")
	local := c.s.Region.Store().Snapshot()
	if a := local.Alloc(structs.AllocID(given)); a != nil {
		return a, nil
	}
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	return allocByPrefix(snap, given)
}

// allocNode returns the allocation of the path and a way to its node.
func (c *call) allocNode() (*structs.Allocation, Node, error) {
	a, err := c.alloc()
	if err != nil {
		return nil, nil, err
	}
	node, err := c.s.Region.Node(c.r.Context(), a.Node)
	return a, node, err
}

// taskNames returns the names of a's tasks, main ones first.
func taskNames(snap *state.Snapshot, a *structs.Allocation) []string {
	names := []string{}
	if v := snap.Version(a.Job, a.Version); v != nil {
		if g := v.Job.Group(a.Group); g != nil {
			var rest []string
			for _, t := range g.Tasks {
				if t.Lifecycle == nil {
					names = append(names, t.Name)
				} else {
					rest = append(rest, t.Name)
				}
			}
			return append(names, rest...)
		}
	}
	for name := range a.Tasks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// taskOf checks the name of a task of a.
func (c *call) taskOf(a *structs.Allocation, task string) (string, error) {
	names := taskNames(c.s.Region.Store().Snapshot(), a)
	if slices.Contains(names, task) {
		return task, nil
	}
	e := structs.Errorf(structs.NotFound, fmt.Sprintf("allocation %s: task %.140q", structs.Short(a.ID), task), "there is none")
	if advise(e, task, names); e.Do == "" {
		e.Advise("its tasks: %s", strings.Join(names, ", "))
	}
	return "", e
}

func nodeByPrefix(snap *state.Snapshot, given string) (*structs.Node, error) {
	return byPrefix("node", given, nodeKey, func(id string) seq[*structs.Node] { return snap.NodesFrom(structs.NodeID(id)) })
}

func nodeKey(n *structs.Node) string { return string(n.ID) }

// node returns the node of the path.
func (c *call) node(snap *state.Snapshot) (*structs.Node, error) {
	return nodeByPrefix(snap, c.r.PathValue("id"))
}

// role returns the name of the path's role, checked.
func (c *call) role() (string, error) {
	name := c.r.PathValue("name")
	if !structs.ValidRole(name) {
		return "", structs.Errorf(structs.Invalid, fmt.Sprintf("role %.520q", name), "it is not a valid role").
			Advise("use up to eight names joined by slashes")
	}
	return name, nil
}
