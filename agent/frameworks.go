package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/structs"
)

// frameworksMethod says what frameworks are, of those that the server's own state has.
const frameworksMethod = "Agent.Frameworks"

// mostFrameworks bounds those that are asked for at once: a node has fewer.
const mostFrameworks = 1000

// serveFrameworks answers for a server.
func (a *Agent) serveFrameworks() {
	rpc.Handle(a.rpc, frameworksMethod, func(_ context.Context, ids *[]structs.FrameworkID) (*[]*structs.Framework, error) {
		if len(*ids) > mostFrameworks {
			return nil, structs.Errorf(structs.Invalid, "frameworks", "%d are more than %d", len(*ids), mostFrameworks)
		}
		out := a.frameworksIn(*ids)
		for i, f := range out {
			out[i] = &structs.Framework{ID: f.ID, Name: f.Name, User: f.User, Roles: f.Roles, BuiltIn: f.BuiltIn, Principal: f.Principal,
				Hostname: f.Hostname, WebURL: f.WebURL, Labels: f.Labels, Capabilities: f.Capabilities, FailoverTimeout: f.FailoverTimeout}
		}
		return &out, nil
	})
}

// frameworksIn looks frameworks up in the state of this agent's server.
func (a *Agent) frameworksIn(ids []structs.FrameworkID) []*structs.Framework {
	out := []*structs.Framework{}
	snap := a.server.Store().Snapshot()
	for _, id := range ids {
		if f := snap.Framework(id); f != nil {
			out = append(out, f)
		}
	}
	return out
}

// Bounds of what a client asks about frameworks for those who look at its node.
const (
	frameworksAge   = 30 * time.Second // for which an answer is good
	frameworksRest  = 5 * time.Second  // after a question that nobody answered
	frameworksQuick = 2 * time.Second  // for a question
)

// frameworks remembers what frameworks are of which the node knows only the ids.
type frameworks struct {
	mu     sync.Mutex
	known  map[structs.FrameworkID]*structs.Framework
	asked  time.Time
	failed time.Time
	asking chan struct{} // closed when the question that is under way has ended; nil: none is
}

// of returns those of some that are known, after asking for what is unknown or old; an answer takes the place of all that was known before. One
// caller asks at a time, and the others wait for what it hears. That a caller goes away says nothing of whether servers answer.
func (f *frameworks) of(ctx context.Context, ids []structs.FrameworkID,
	ask func(context.Context, []structs.FrameworkID) ([]*structs.Framework, error)) (out []*structs.Framework) {
	ids = ids[:min(len(ids), mostFrameworks)]
	f.mu.Lock()
	defer f.mu.Unlock()
	for ctx.Err() == nil && f.stale(ids) {
		if under := f.asking; under != nil {
			f.mu.Unlock()
			select {
			case <-under:
			case <-ctx.Done():
			}
			f.mu.Lock()
			continue
		}
		mine := make(chan struct{})
		f.asking = mine
		f.mu.Unlock()
		answer, err := ask(ctx, ids)
		f.mu.Lock()
		f.asking = nil
		close(mine)
		switch {
		case err == nil:
			f.heard(ids, answer)
		case ctx.Err() == nil:
			f.failed = time.Now()
		}
	}
	for _, id := range ids {
		if x := f.known[id]; x != nil {
			out = append(out, x)
		}
	}
	return out
}

// stale reports whether servers are to be asked about some. The caller holds mu.
func (f *frameworks) stale(ids []structs.FrameworkID) bool {
	old := time.Since(f.asked) > frameworksAge || slices.ContainsFunc(ids, func(id structs.FrameworkID) bool {
		_, told := f.known[id]
		return !told
	})
	return old && time.Since(f.failed) > frameworksRest
}

// heard takes an answer. The caller holds mu.
func (f *frameworks) heard(ids []structs.FrameworkID, answer []*structs.Framework) {
	f.asked, f.known = time.Now(), make(map[structs.FrameworkID]*structs.Framework, len(answer))
	for _, id := range ids {
		f.known[id] = nil // nobody knows it any more, unless the answer has it
	}
	for _, x := range answer {
		f.known[x.ID] = x
	}
}

// frameworksOnNode says what frameworks are that the node has something of, as any server knows them.
func (a *Agent) frameworksOnNode(ctx context.Context, ids []structs.FrameworkID) []*structs.Framework {
	if a.server != nil {
		return a.frameworksIn(ids)
	}
	return a.frameworks.of(ctx, ids, func(ctx context.Context, ids []structs.FrameworkID) (out []*structs.Framework, err error) {
		ctx, cancel := context.WithTimeout(ctx, frameworksQuick)
		defer cancel()
		err = structs.Errorf(structs.Unavailable, "frameworks", "no server is known")
		for _, addr := range a.gossip.Servers() {
			if err = a.pool.Call(ctx, addr, frameworksMethod, &ids, &out); err == nil {
				break
			}
		}
		return out, err
	})
}
