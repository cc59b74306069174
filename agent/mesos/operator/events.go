package operator

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Bounds of the stream of events.
const (
	mostSubscribers = 1000    // one more, and the oldest goes
	mostWaiting     = 1 << 16 // changes that a subscriber has not taken; who lets more wait is cut off
	firstRecord     = 3 << 20 // bytes of the state in the first event, about; what does not fit follows
	itemOverhead    = 16      // bytes, at most, around one item of it
	heartbeatEvery  = 15 * time.Second
)

// subscribers are the streams that are served, the oldest first.
type subscribers struct {
	mu  sync.Mutex
	all []*subscriber
}

// subscriber is one stream.
type subscriber struct{ cut context.CancelCauseFunc }

var errTooMany = errors.New("too many subscribed after it")

// add notes one, and cuts off the oldest when there are too many. The function takes it out again.
func (s *subscribers) add(cut context.CancelCauseFunc, most int) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= most {
		s.all[0].cut(errTooMany)
		s.all = slices.Delete(s.all, 0, 1)
	}
	one := &subscriber{cut}
	s.all = append(s.all, one)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = slices.DeleteFunc(s.all, func(x *subscriber) bool { return x == one })
	}
}

// count says how many there are.
func (s *subscribers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// subscribe serves a stream of events until its reader goes, is too slow, or this server leads no more.
func (s *Servers) subscribe(w http.ResponseWriter, r *http.Request, encoding wire.Encoding, c *wire.Follow) error {
	f, err := followOf(c)
	if err != nil {
		return err
	}
	if _, err := s.region.Read(r.Context(), false); err != nil { // what follows is not older than the call
		return err
	}
	ctx, cut := context.WithCancelCause(r.Context())
	defer cut(nil)
	defer s.subscribers.add(cut, mostSubscribers)()
	snap, feed, err := f.feed(s.region.Store())
	if err != nil {
		return err
	}
	defer feed.Close()
	out := mesos.NewRecords(w, encoding, false)
	if f.after == nil {
		err = s.begin(out, encoding, newPicture(snap), f)
	} else {
		err = out.Send(&wire.OperatorEvent{Type: new(wire.EventOperatorSubscribed), Subscribed: &wire.OperatorSubscribed{HeartbeatInterval: new(heartbeatEvery.Seconds())}})
	}
	if err == nil && f.said {
		at := mark{index: snap.Index()}
		if f.after != nil {
			at = *f.after
		}
		err = out.Send(heartbeat(&at))
	}
	snap = nil // a stream may be read for weeks
	for next := time.Now().Add(heartbeatEvery); err == nil && s.region.Elected() != 0; {
		waiting, cancel := context.WithDeadline(ctx, next)
		batch, failed := feed.Next(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case errors.Is(failed, context.DeadlineExceeded):
			var at *mark
			if f.said {
				at = &mark{index: feed.Reached()}
			}
			err = out.Send(heartbeat(at))
			next = time.Now().Add(heartbeatEvery)
		case failed != nil:
			err = failed
		default:
			err = f.tell(out, newPicture(s.region.Store().Snapshot()), batch)
		}
	}
	s.log.Debug("a stream of events ended", "err", err)
	return nil
}

// heartbeat says, to those who want to know, up to where everything was told.
func heartbeat(at *mark) *wire.OperatorEvent {
	e := &wire.OperatorEvent{Type: new(wire.EventOperatorHeartbeat)}
	if at != nil {
		e.ID = new(at.String())
	}
	return e
}

// tell sends what of a batch is wanted and was not told before.
func (f *follow) tell(out *mesos.Records, p *picture, batch *state.Batch) error {
	for i := range batch.Changes {
		c := &batch.Changes[i]
		if !f.change(c) {
			continue
		}
		for k, e := range p.eventsOf(c) {
			at := mark{batch.Index, i + 1, k + 1}
			if !f.kind(e) || f.after.told(at.index, at.change, at.event) {
				continue
			}
			if f.said {
				e.ID = new(at.String())
			}
			if err := out.Send(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin sends the state as far as it is wanted: as much of it as fits into the first event, and the rest as what was added.
func (s *Servers) begin(out *mesos.Records, encoding wire.Encoding, p *picture, want *follow) error {
	first := &wire.GetState{Tasks: &wire.GetTasks{}, Executors: &wire.GetExecutors{}, Frameworks: &wire.GetFrameworks{}, Agents: &wire.GetAgents{}}
	size := 0
	fits := func(message any) bool {
		if size < firstRecord {
			size += len(encoding.Marshal(message)) + itemOverhead
		}
		return size < firstRecord
	}
	var frameworks []*structs.Framework
	for f := range p.Frameworks() {
		if !want.framework(f) {
			continue
		}
		switch m := p.frameworkMessage(f, nil); {
		case !fits(&m):
			if f.Ended == 0 {
				frameworks = append(frameworks, f)
			}
		case f.Ended != 0:
			first.Frameworks.Completed = append(first.Frameworks.Completed, m)
		default:
			first.Frameworks.Frameworks = append(first.Frameworks.Frameworks, m)
		}
	}
	var nodes []*structs.Node
	for n := range p.Nodes() {
		if n.Status != structs.NodeReady || !want.node(n) {
			continue
		}
		if m := p.agentMessage(n, nil); fits(&m) {
			first.Agents.Agents = append(first.Agents.Agents, m)
		} else {
			nodes = append(nodes, n)
		}
	}
	var allocs []*structs.Allocation // the tasks of the first of them may be in part in the first event
	told := map[string]bool{}        // those
	for a := range p.Allocs() {
		if !want.alloc(a) {
			continue
		}
		if a.External != nil && a.External.Executor != "" && !a.Ended() {
			if m := (wire.Executor{Info: wire.ExecutorInfo(*executorInfo(a)), AgentID: id(a.Node)}); fits(&m) {
				first.Executors.Executors = append(first.Executors.Executors, m)
			}
		}
		if size >= firstRecord {
			allocs = append(allocs, a)
			continue
		}
		p.tasks(a, func(t *task) bool {
			m := p.taskMessage(t)
			if !fits(&m) {
				allocs = append(allocs, a)
				return false
			}
			told[string(a.ID)+"/"+t.id] = true
			*t.place().list(first.Tasks) = append(*t.place().list(first.Tasks), m)
			return true
		})
	}
	err := out.Send(&wire.OperatorEvent{Type: new(wire.EventOperatorSubscribed), Subscribed: &wire.OperatorSubscribed{State: first,
		HeartbeatInterval: new(heartbeatEvery.Seconds())}})
	if err == nil {
		err = out.Send(heartbeat(nil))
	}
	for _, f := range frameworks {
		if err == nil {
			err = out.Send(p.frameworkEvent(wire.EventOperatorFrameworkAdded, f))
		}
	}
	for _, n := range nodes {
		if err == nil {
			err = out.Send(p.agentAdded(n))
		}
	}
	for _, a := range allocs {
		if err != nil {
			return err
		}
		p.tasks(a, func(t *task) bool {
			if !told[string(a.ID)+"/"+t.id] {
				err = out.Send(p.taskAdded(t))
			}
			return err == nil
		})
	}
	return err
}

// eventsOf returns what a change of the state is for an operator.
func (p *picture) eventsOf(c *state.Change) []*wire.OperatorEvent {
	switch c.Table {
	case state.Nodes:
		old, _ := c.Old.(*structs.Node)
		now, _ := c.New.(*structs.Node)
		was, is := old != nil && old.Status == structs.NodeReady, now != nil && now.Status == structs.NodeReady
		switch {
		case !was && is:
			return []*wire.OperatorEvent{p.agentAdded(now)}
		case was && !is:
			return []*wire.OperatorEvent{{Type: new(wire.EventOperatorAgentRemoved), AgentRemoved: &wire.NamedAgent{AgentID: id(old.ID)}}}
		}
	case state.Frameworks:
		old, _ := c.Old.(*structs.Framework)
		now, _ := c.New.(*structs.Framework)
		was, is := old != nil && old.Ended == 0, now != nil && now.Ended == 0
		switch {
		case !was && is:
			return []*wire.OperatorEvent{p.frameworkEvent(wire.EventOperatorFrameworkAdded, now)}
		case was && !is:
			return []*wire.OperatorEvent{{Type: new(wire.EventOperatorFrameworkRemoved), FrameworkRemoved: &wire.FrameworkRemoved{Info: *p.frameworkInfo(old)}}}
		case is && saysOther(old, now):
			return []*wire.OperatorEvent{p.frameworkEvent(wire.EventOperatorFrameworkUpdated, now)}
		}
	case state.Allocs:
		if now, _ := c.New.(*structs.Allocation); now != nil {
			old, _ := c.Old.(*structs.Allocation)
			return p.taskEvents(old, now)
		}
	}
	return nil
}

// saysOther reports whether what is shown of a framework changed.
func saysOther(old, now *structs.Framework) bool {
	return old.Connected != now.Connected || old.Name != now.Name || old.Hostname != now.Hostname || old.WebURL != now.WebURL ||
		old.Principal != now.Principal || old.FailoverTimeout != now.FailoverTimeout || !slices.Equal(old.Roles, now.Roles) ||
		!slices.Equal(old.Capabilities, now.Capabilities) || !maps.Equal(old.Labels, now.Labels)
}

// taskEvents compares an allocation with how it was; old may be nil.
func (p *picture) taskEvents(old, now *structs.Allocation) (out []*wire.OperatorEvent) {
	was := map[string]structs.TaskStatus{}
	if old != nil {
		p.tasks(old, func(t *task) bool {
			was[t.id] = t.state
			return true
		})
	}
	p.tasks(now, func(t *task) bool {
		before, known := was[t.id]
		switch {
		case !known:
			out = append(out, p.taskAdded(t))
		case before != t.state:
			out = append(out, &wire.OperatorEvent{Type: new(wire.EventOperatorTaskUpdated), TaskUpdated: &wire.TaskUpdated{FrameworkID: id(now.Framework),
				Status: p.statusMessage(t), State: mesos.TaskState(t.state)}})
		}
		return true
	})
	return out
}

func (p *picture) taskAdded(t *task) *wire.OperatorEvent {
	return &wire.OperatorEvent{Type: new(wire.EventOperatorTaskAdded), TaskAdded: &wire.TaskAdded{Task: p.taskMessage(t)}}
}

func (p *picture) agentAdded(n *structs.Node) *wire.OperatorEvent {
	return &wire.OperatorEvent{Type: new(wire.EventOperatorAgentAdded), AgentAdded: &wire.AgentAdded{Agent: p.agentMessage(n, nil)}}
}

func (p *picture) frameworkEvent(kind wire.OperatorEventType, f *structs.Framework) *wire.OperatorEvent {
	c := &wire.FrameworkChange{Framework: p.frameworkMessage(f, nil)}
	if kind == wire.EventOperatorFrameworkAdded {
		return &wire.OperatorEvent{Type: &kind, FrameworkAdded: c}
	}
	return &wire.OperatorEvent{Type: &kind, FrameworkUpdated: c}
}
