package server

import (
	"context"
	"slices"

	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Executors of external frameworks, and what they and their schedulers tell each other.

// ExecutorEnd says that the process of a custom executor ended.
type ExecutorEnd struct {
	Node     structs.NodeID
	Executor string
	Status   int // as wait(2) gives it; -1: it is not known
}

// ExecutorMessage is a text from a scheduler to its executor, or back. Nobody keeps it: it arrives at most once.
type ExecutorMessage struct {
	Framework structs.FrameworkID
	Node      structs.NodeID
	Executor  string
	Data      []byte
}

// MaxMessage bounds the data of an ExecutorMessage, in bytes.
const MaxMessage = 256 << 10

// ExecutorTask is what the process of a custom executor is called in its allocation.
const ExecutorTask = "executor"

// executorEnd says how an executor ended.
func executorEnd(a *structs.Allocation) *ExecutorEnd {
	end := &ExecutorEnd{Node: a.Node, Executor: a.External.Executor, Status: -1}
	if t := a.Tasks[ExecutorTask]; t != nil && t.Status.Ended() && t.ExitCode >= 0 {
		if end.Status = t.ExitCode << 8; t.Signal > 0 {
			end.Status = t.Signal
		}
	}
	return end
}

// coming returns the executors of a framework on a node that are in flight. The caller holds mu.
func (l *loop) coming(framework structs.FrameworkID, node structs.NodeID) (out []string) {
	for cmd, a := range l.subs.accepts {
		if cmd.Framework != framework || cmd.Node != node {
			continue
		}
		for _, ops := range [][]*state.Operation{cmd.Operations, a.rest} {
			for _, op := range ops {
				if op.Launch != nil && op.Launch.Alloc.External.Executor != "" {
					out = append(out, op.Launch.Alloc.External.Executor)
				}
			}
		}
	}
	return out
}

// takeJoins answers the decisions of launches in flight whose tasks an allocation has now: it holds what they held. The caller holds mu, and
// tells the allocator of the allocation next. old is what the allocation was, or nil.
func (l *loop) takeJoins(old, a *structs.Allocation) {
	var before *structs.External
	if old != nil {
		before = old.External
	}
	for cmd, accept := range l.subs.accepts {
		if cmd.Framework != a.Framework || cmd.Node != a.Node {
			continue
		}
		for i, op := range cmd.Operations {
			if op.Launch == nil || op.Launch.Alloc.ID == a.ID || op.Launch.Alloc.External.Executor != a.External.Executor {
				continue
			}
			if x := a.External.Task(op.Launch.Alloc.External.Tasks[0].ID); x != nil && before.Named(x.Name) == nil {
				l.giveBack(accept, accept.index[i])
			}
		}
	}
}

// hasExecutor reports whether an executor is on a node, or comes before what is decided now: by what is committed, in flight, or among
// earlier operations of the same accept that have no fault. The caller holds mu.
func (l *loop) hasExecutor(node structs.NodeID, framework structs.FrameworkID, executor string, earlier []*FrameworkOperation, faults []error) bool {
	for i, op := range earlier {
		if op.Launch != nil && op.Launch.External.Executor == executor && faults[i] == nil {
			return true
		}
	}
	return slices.Contains(l.coming(framework, node), executor) || l.server.store.Snapshot().ExecutorOn(node, framework, executor) != nil
}

// stoppedExecutors returns the executors of a framework that were lost with a node, which told when it came back that they run, and now stops
// them: what they held is not free any more, or they were killed meanwhile. Until one has ended there must be no other one of its name: both
// would run, as one for their node and for each other's tasks. All other lost ones are not there: a node gets no work before it told what it
// runs (Node.Untold), and does not begin what the region knows as lost.
func stoppedExecutors(snap *state.Snapshot, node structs.NodeID, framework structs.FrameworkID) map[string]bool {
	out := map[string]bool{}
	for a := range snap.AllocsOnNode(node) {
		if x := a.External; x != nil && x.Executor != "" && a.Framework == framework && a.Status == structs.AllocLost && a.Desired == structs.DesiredStop {
			out[x.Executor] = true
		}
	}
	return out
}

// StopExecutor has an executor of a framework shut down, with its tasks. One that nobody knows is passed over.
func (s *Server) StopExecutor(ctx context.Context, id structs.FrameworkID, connection string, node structs.NodeID, executor string) error {
	if err := s.CheckSubscribed(id, connection); err != nil {
		return err
	}
	a := s.store.Snapshot().ExecutorOn(node, id, executor)
	if a == nil {
		return nil
	}
	_, _, err := s.raft.Propose(ctx, "", frameworkObject(id), &state.StopAlloc{ID: a.ID, Why: "its framework shut the executor down"})
	if kind := structs.KindOf(err); kind == structs.Conflict || kind == structs.NotFound {
		return nil // it ended meanwhile
	}
	return asLeader(err)
}

// The calls by which a node is given a message for an executor, and a server one of an executor.
const (
	MessageMethod         = "Node.FrameworkMessage"
	ExecutorMessageMethod = "Server.ExecutorMessage"
)

// MessageExecutor passes a message on to an executor, at most once. That nobody has it is no error.
func (s *Server) MessageExecutor(ctx context.Context, id structs.FrameworkID, connection string, m ExecutorMessage) error {
	if err := s.CheckSubscribed(id, connection); err != nil {
		return err
	}
	node := s.store.Snapshot().Node(m.Node)
	if node == nil || node.Address == "" {
		return structs.Errorf(structs.NotFound, "node "+string(m.Node), "there is no such node")
	}
	m.Framework = id
	return s.config.Pool.Call(ctx, node.Address, MessageMethod, &m, &struct{}{})
}

// serveMessages takes messages of executors from nodes and other servers.
func (s *Server) serveMessages() {
	rpc.Handle(s.config.RPC, ExecutorMessageMethod, func(ctx context.Context, m *ExecutorMessage) (*struct{}, error) {
		return &struct{}{}, s.MessageFramework(ctx, m)
	})
}

// MessageFramework passes a message of an executor on to its framework's scheduler, which hears it when it is subscribed. It may be
// asked of any server.
func (s *Server) MessageFramework(ctx context.Context, m *ExecutorMessage) error {
	if len(m.Data) > MaxMessage {
		return structs.Errorf(structs.Invalid, "message", "it has %d bytes and %d are taken", len(m.Data), MaxMessage)
	}
	return s.onLeader(ctx, once, func(context.Context) error {
		l, err := s.loop.get()
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.pushTo(m.Framework, FrameworkEvent{Message: m}) {
			s.counts.passed.Add(1)
		} else {
			s.counts.lost.Add(1)
		}
		return nil
	}, func(ctx context.Context, addr string) error {
		return s.config.Pool.Call(ctx, addr, ExecutorMessageMethod, m, &struct{}{})
	})
}
