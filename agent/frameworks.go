package agent

import (
	"context"
	"maps"
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
				Hostname: f.Hostname, WebURL: f.WebURL, Capabilities: f.Capabilities, FailoverTimeout: f.FailoverTimeout}
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
}

// of returns those of some that are known, after asking for what is unknown or old. What is not asked for is forgotten.
func (f *frameworks) of(ids []structs.FrameworkID, ask func([]structs.FrameworkID) ([]*structs.Framework, error)) (out []*structs.Framework) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids = ids[:min(len(ids), mostFrameworks)]
	old := time.Since(f.asked) > frameworksAge || slices.ContainsFunc(ids, func(id structs.FrameworkID) bool {
		_, told := f.known[id]
		return !told
	})
	if old && time.Since(f.failed) > frameworksRest {
		if answer, err := ask(ids); err != nil {
			f.failed = time.Now()
		} else {
			f.asked, f.known = time.Now(), make(map[structs.FrameworkID]*structs.Framework, len(answer))
			for _, id := range ids {
				f.known[id] = nil // nobody knows it any more, unless the answer has it
			}
			for _, x := range answer {
				f.known[x.ID] = x
			}
		}
	}
	maps.DeleteFunc(f.known, func(id structs.FrameworkID, _ *structs.Framework) bool { return !slices.Contains(ids, id) })
	for _, id := range ids {
		if x := f.known[id]; x != nil {
			out = append(out, x)
		}
	}
	return out
}

// frameworksOnNode says what frameworks are that the node has something of, as any server knows them.
func (a *Agent) frameworksOnNode(ctx context.Context, ids []structs.FrameworkID) []*structs.Framework {
	if a.server != nil {
		return a.frameworksIn(ids)
	}
	return a.frameworks.of(ids, func(ids []structs.FrameworkID) (out []*structs.Framework, err error) {
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
