package server

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What external frameworks are told of their tasks. Changes that nodes report are in the state until they are acknowledged,
// one outstanding for each task; this file sends that one, and again until it is acknowledged. Everything else that is said of
// a task is said once, without a name to acknowledge, as a picture of the state.
//
// That a task runs is the first that is known of most. Schedulers expect STARTING before it, and have to acknowledge it: that is told as
// if it were in the state, and since it follows from what is there it costs no entry of the log. It is told in the subscription in
// which the task began to run. The next one hears of what is in the state: it may be of a scheduler that knows already that the task
// runs, for which STARTING would be a step back.

const (
	repeatFirst   = 10 * time.Second
	repeatLongest = 10 * time.Minute
)

// repeat is an update that was sent and not acknowledged.
type repeat struct {
	framework structs.FrameworkID
	key       subject
	kind      tellKind // tellUpdate, or tellStart
	every     time.Duration
}

// TaskNews says how a task of a framework is.
type TaskNews struct {
	structs.TaskUpdate // UUID is nil when it need not be acknowledged
	Task               string
	Executor           string // that it is of; empty: it is a command
	Within             string // its name in its allocation, when that has several
	Alloc              structs.AllocID
	Node               structs.NodeID
	Host               string            // address of the node; empty: it is not known
	Networks           []*TaskNetwork    // that it has for itself, in order; none: it has that of the node
	Server             bool              // it comes from the servers
	Unreachable        structs.Time      // since when its node is not heard of; zero: it is
	Limit              structs.Resources // that it hit, where that is its Reason
}

// TaskNetwork is a network beside that of the node.
type TaskNetwork struct {
	Name      string // bridge, or that of a CNI network; empty: it is one of the engine that runs the task
	Addresses []string
	Ports     []structs.AssignedPort // of the node, that lead into it
	Groups    []string
	Labels    map[string]string
}

// networksOf says in which networks a task is, as far as its node has told.
func networksOf(snap *state.Snapshot, a *structs.Allocation, x *structs.ExternalTask) []*TaskNetwork {
	name := x.Name
	if a.External.Custom {
		name = ExecutorTask
	}
	t := a.Tasks[name]
	if t == nil || len(t.Addresses)+len(t.Joined) == 0 {
		return nil
	}
	var group *structs.Group
	if v := snap.Version(a.Job, a.Version); v != nil {
		group = v.Job.Group(a.Group)
	}
	return NetworksOf(a, t, group)
}

// NetworksOf says in which networks a task is, in order, by what its node said of it and what its group asks for, which may be nil. None: in that
// of the node.
func NetworksOf(a *structs.Allocation, said *structs.TaskState, group *structs.Group) []*TaskNetwork {
	if len(said.Addresses)+len(said.Joined) == 0 {
		return nil
	}
	ports := func(network string) (out []structs.AssignedPort) {
		for _, p := range a.Ports {
			if p.To != 0 && p.Network == network {
				out = append(out, p)
			}
		}
		return out
	}
	var ask structs.Network
	if group != nil && group.Network != nil {
		ask = *group.Network
	}
	all := []*TaskNetwork{{Name: strings.TrimPrefix(ask.Mode, structs.NetworkCNI), Addresses: said.Addresses, Ports: ports(""), Groups: ask.Groups, Labels: ask.Labels}}
	for _, x := range said.Joined {
		n := &TaskNetwork{Name: x.Name, Addresses: x.Addresses, Ports: ports(x.Name)}
		if i := slices.IndexFunc(ask.Further, func(f *structs.FurtherNetwork) bool { return f.Name == x.Name }); i >= 0 {
			n.Groups, n.Labels = ask.Further[i].Groups, ask.Further[i].Labels
		}
		all = append(all, n)
	}
	return all
}

// reasonAway is why a framework is told of a task whose node went.
const reasonAway = "AGENT_REMOVED"

// newsOf returns what a framework is to be told of a task now.
func newsOf(snap *state.Snapshot, key subject, kind tellKind) (out []*TaskNews) {
	a := snap.Alloc(key.alloc)
	if a == nil {
		return nil
	}
	x := a.External.Task(key.id)
	if x == nil {
		return nil
	}
	told := func(u structs.TaskUpdate) {
		out = append(out, &TaskNews{TaskUpdate: u, Task: x.ID, Executor: a.External.Executor, Within: within(a, x), Alloc: a.ID, Node: a.Node,
			Host: hostOf(snap, a.Node), Networks: networksOf(snap, a, x), Limit: limitOf(snap, a, x, u.Reason)})
	}
	if u := x.Outstanding(); u != nil {
		if kind&tellStart != 0 && nextOf(x) == tellStart {
			told(startOf(x))
		}
		if kind&tellUpdate != 0 {
			told(*u)
		}
	}
	for _, why := range [...]struct {
		kind   tellKind
		reason string
	}{{tellReconcile, "RECONCILIATION"}, {tellAway, reasonAway}, {tellBack, "AGENT_REREGISTERED"}} {
		if kind&why.kind != 0 {
			out = append(out, pictureOf(snap, a, x, why.reason))
		}
	}
	return out
}

// limitOf returns what a task hit that ended for a reason: the memory of its own, or of its executor, or the disk of the allocation; nothing for other
// reasons.
func limitOf(snap *state.Snapshot, a *structs.Allocation, x *structs.ExternalTask, reason string) (out structs.Resources) {
	switch reason {
	case state.ReasonMemory:
		out.Memory = a.Resources.Memory
		v := snap.Version(a.Job, a.Version)
		if v == nil || a.External.Custom {
			break
		}
		if g := v.Job.Group(a.Group); g != nil {
			if t := g.Task(x.Name); t != nil && t.Resources != nil {
				out.Memory = max(t.Resources.Memory, t.Resources.MemoryMax)
			}
		}
	case state.ReasonDisk:
		out.Disk = a.Resources.Disk
	}
	return out
}

// pictureOf says how a task is, by what is known now.
func pictureOf(snap *state.Snapshot, a *structs.Allocation, x *structs.ExternalTask, reason string) *TaskNews {
	n := &TaskNews{Task: x.ID, Executor: a.External.Executor, Within: within(a, x), Alloc: a.ID, Node: a.Node, Host: hostOf(snap, a.Node),
		Networks: networksOf(snap, a, x), Server: true}
	n.Reason, n.Time, n.State = reason, snap.Time(), structs.TaskStaging
	if t := a.Tasks[x.Name]; t != nil {
		n.State, n.Message, n.Healthy, n.Check = t.Status, t.Why, t.Healthy(), t.Answer
	}
	over := n.State.Ended()
	// What the framework did not acknowledge is newer than what it knows. It hears the first of it, which is what it was sent: the others follow in
	// their order, and a task of which it heard that it ended would run again for it.
	if i := len(x.Updates) - 1; i >= 0 {
		over = over || x.Updates[i].State.Ended()
		n.State, n.Message = x.Updates[0].State, x.Updates[0].Message
	}
	if n.State == structs.TaskKilling && !canSeeKilling(snap, a.Framework) {
		n.State = structs.TaskRunning
	}
	if a.Status == structs.AllocLost && !over {
		n.State, n.Message = structs.TaskUnreachable, a.Why
		switch node := snap.Node(a.Node); {
		case snap.Gone(a.Node):
			if n.State = structs.TaskGoneByOperator; reason == reasonAway {
				n.Reason, n.Message = "AGENT_REMOVED_BY_OPERATOR", "an operator gave its node up"
			}
		case node == nil || node.Status == structs.NodeLeft:
			n.State = structs.TaskGone
		default:
			n.Unreachable = node.Changed
		}
	}
	if n.Message == "" && reason == "RECONCILIATION" {
		n.Message = "how the task is, by what the region knows" // schedulers expect one
	}
	return n
}

// within names a task of the default executor in its allocation.
func within(a *structs.Allocation, x *structs.ExternalTask) string {
	if a.External.Executor == "" || a.External.Custom {
		return ""
	}
	return x.Name
}

func hostOf(snap *state.Snapshot, id structs.NodeID) string {
	if n := snap.Node(id); n != nil && len(n.Hosts) > 0 {
		return n.Hosts[0]
	}
	return ""
}

func canSeeKilling(snap *state.Snapshot, id structs.FrameworkID) bool {
	f := snap.Framework(id)
	return f != nil && f.Can(structs.CanSeeKilling)
}

// nextOf returns what a framework must acknowledge next of a task that has something outstanding: that the node runs it, when that is the first it
// hears of it, comes after that it starts. What a custom executor runs it tells of itself.
func nextOf(x *structs.ExternalTask) tellKind {
	if x.Info == nil && x.Made == uint64(len(x.Updates)) && x.Outstanding().State == structs.TaskRunning {
		return tellStart
	}
	return tellUpdate
}

// startOf returns that a task starts, which comes before the outstanding update that it runs, and has a name that follows from that of it.
func startOf(x *structs.ExternalTask) structs.TaskUpdate {
	runs := x.Outstanding()
	u := structs.TaskUpdate{UUID: bytes.Clone(runs.UUID), State: structs.TaskStarting, Time: runs.Time}
	u.UUID[0] ^= 0xff
	if x.Check != nil {
		u.Check = &structs.CheckAnswer{Type: x.Check.Type}
	}
	return u
}

// send1 sends what a framework must acknowledge next of a task or an operation, and again until it does. The caller holds mu.
func (l *loop) send1(sub *Subscription, key subject, kind tellKind) {
	sub.tell(key, kind)
	name := key.named(sub.Framework)
	l.subs.repeat[name] = &repeat{sub.Framework, key, kind, repeatFirst}
	l.subs.repeats.set(name, time.Now().Add(repeatFirst))
}

// sendNoMore ends what send1 began. The caller holds mu.
func (l *loop) sendNoMore(id structs.FrameworkID, key subject) {
	name := key.named(id)
	l.subs.repeats.drop(name)
	delete(l.subs.repeat, name)
}

// sendAgain sends what was not acknowledged in time. The caller holds mu.
func (l *loop) sendAgain(now time.Time) {
	for _, name := range l.subs.repeats.ended(now) {
		r := l.subs.repeat[name]
		sub := l.subs.active[r.framework]
		if sub == nil {
			delete(l.subs.repeat, name)
			continue
		}
		sub.tell(r.key, r.kind)
		r.every = min(2*r.every, repeatLongest)
		l.subs.repeats.set(name, now.Add(r.every))
	}
}

// takeTasks looks at what changed of an allocation of an external framework. The caller holds mu.
func (l *loop) takeTasks(old, now *structs.Allocation) {
	sub := l.subs.active[now.Framework]
	if sub == nil {
		return
	}
	if now.External.Custom && now.Ended() && now.Status != structs.AllocLost && (old == nil || !old.Ended()) {
		sub.push(FrameworkEvent{Executor: executorEnd(now)})
	}
	lost := now.Status == structs.AllocLost
	wasLost := old != nil && old.Status == structs.AllocLost
	for _, x := range now.External.Tasks {
		key := subject{now.ID, x.ID}
		l.owe(now.Framework, key, over(x))
		var was *structs.TaskUpdate
		if old != nil {
			if y := old.External.Task(x.ID); y != nil {
				was = y.Outstanding()
			}
		}
		switch is := x.Outstanding(); {
		case is == nil:
			l.sendNoMore(now.Framework, key)
		case was == nil || !bytes.Equal(was.UUID, is.UUID):
			l.send1(sub, key, nextOf(x))
		}
		t := now.Tasks[x.Name]
		switch over := t != nil && t.Status.Ended(); {
		case lost && !wasLost && !over:
			sub.tell(key, tellAway)
		case wasLost && !lost && old.Desired == structs.DesiredRun:
			sub.tell(key, tellBack)
		}
	}
}

// takeGoneNode tells frameworks of tasks that they know to be away that an operator gave up their node. The caller holds mu.
func (l *loop) takeGoneNode(id structs.NodeID) {
	snap := l.server.store.Snapshot()
	if len(l.subs.active) == 0 || !snap.Gone(id) {
		return
	}
	for a := range snap.AllocsOnNode(id) {
		if a.External == nil || a.Status != structs.AllocLost {
			continue
		}
		sub := l.subs.active[a.Framework]
		for _, x := range a.External.Tasks {
			if t := a.Tasks[x.Name]; sub != nil && (t == nil || !t.Status.Ended()) {
				sub.tell(subject{a.ID, x.ID}, tellAway)
			}
		}
	}
}

// takeLostNode tells every framework that a node went. The caller holds mu.
func (l *loop) takeLostNode(old, now *structs.Node) {
	if old == nil || old.Status != structs.NodeReady || now != nil && now.Status == structs.NodeReady {
		return
	}
	for _, sub := range l.subs.active {
		sub.push(FrameworkEvent{Lost: old.ID})
	}
}

// Acknowledge records that a framework has heard of an update. One that is not outstanding is passed over.
func (s *Server) Acknowledge(ctx context.Context, id structs.FrameworkID, connection string, ack state.Acknowledged) error {
	started := false
	err := s.asFramework(id, connection, func(l *loop, sub *Subscription) error {
		started = l.heardOfStart(sub, ack)
		return nil
	})
	if started || err != nil {
		return err
	}
	_, _, err = s.raft.Propose(ctx, "", frameworkObject(id), &state.AcknowledgeUpdates{Framework: id, Updates: []state.Acknowledged{ack}})
	return asLeader(err)
}

// heardOfStart reports whether a framework acknowledges that a task starts, and tells it next that it runs. The caller holds mu.
func (l *loop) heardOfStart(sub *Subscription, ack state.Acknowledged) bool {
	a, x := l.server.store.Snapshot().Task(sub.Framework, ack.Task)
	if a == nil || ack.Node != "" && ack.Node != a.Node || x.Outstanding() == nil || nextOf(x) != tellStart ||
		!bytes.Equal(ack.UUID, startOf(x).UUID) {
		return false
	}
	key := subject{a.ID, x.ID}
	if r := l.subs.repeat[key.named(sub.Framework)]; r != nil && r.kind == tellStart {
		l.send1(sub, key, tellUpdate)
		if r.every > repeatFirst {
			l.wake() // it sleeps for longer than until that is sent again
		}
	}
	return true
}

// TaskName names a task for a framework that asks for it.
type TaskName struct {
	Task string
	Node structs.NodeID // where the framework believes it; empty: it does not say
	// Grace is how long it has to end, when it is to be killed; nil: as long as the task says.
	Grace *structs.Duration
}

// Reconcile tells a framework how tasks are: those that it names, or all that live when it names none.
func (s *Server) Reconcile(id structs.FrameworkID, connection string, tasks []TaskName) error {
	return s.asFramework(id, connection, func(l *loop, sub *Subscription) error {
		snap := s.store.Snapshot()
		if len(tasks) == 0 {
			for a, x := range snap.TasksOf(id) {
				if state.TaskLives(a, x) && !(a.Status == structs.AllocLost && snap.Gone(a.Node)) {
					sub.tell(subject{a.ID, x.ID}, tellReconcile)
				}
			}
			return nil
		}
		for _, t := range tasks {
			if a, x := snap.Task(id, t.Task); a != nil {
				sub.tell(subject{a.ID, x.ID}, tellReconcile)
				continue
			}
			sub.push(FrameworkEvent{Update: unknownTask(snap, t)})
		}
		return nil
	})
}

// unknownTask says what is known of a task that nobody knows.
func unknownTask(snap *state.Snapshot, t TaskName) *TaskNews {
	n := &TaskNews{Task: t.Task, Node: t.Node, Server: true}
	n.Reason, n.Time, n.State = "RECONCILIATION", snap.Time(), structs.TaskUnknown
	switch node := snap.Node(t.Node); {
	case t.Node != "" && snap.Gone(t.Node):
		n.State = structs.TaskGoneByOperator
	case t.Node == "" || node == nil:
	case node.Status == structs.NodeReady:
		n.State = structs.TaskGone
	case node.Status == structs.NodeLost:
		n.State, n.Unreachable = structs.TaskUnreachable, node.Changed
	}
	n.Message = "the region does not know the task"
	return n
}

// KillTask has a task of a framework stopped. Of one that nobody knows the framework is told as Reconcile does; one that is on
// another node than the framework believes is left alone.
func (s *Server) KillTask(ctx context.Context, id structs.FrameworkID, connection string, t TaskName) error {
	if err := s.CheckSubscribed(id, connection); err != nil {
		return err
	}
	a, _ := s.store.Snapshot().Task(id, t.Task)
	switch {
	case a == nil:
		return s.Reconcile(id, connection, []TaskName{t})
	case t.Node != "" && t.Node != a.Node || a.Ended() && a.Status != structs.AllocLost:
		return nil
	}
	_, _, err := s.raft.Propose(ctx, "", frameworkObject(id), &state.KillTask{Alloc: a.ID, Task: t.Task, Kill: structs.TaskKill{Grace: t.Grace}})
	if kind := structs.KindOf(err); kind == structs.Conflict || kind == structs.NotFound {
		return nil // it ended meanwhile
	}
	return asLeader(err)
}

// Tell has a framework told of tasks that never were, once.
func (s *Server) Tell(id structs.FrameworkID, connection string, news ...*TaskNews) error {
	return s.asFramework(id, connection, func(_ *loop, sub *Subscription) error {
		for _, n := range news {
			if n.Time == 0 {
				n.Time = s.store.Snapshot().Time()
			}
			if sub.push(FrameworkEvent{Update: n}) && n.State.Ended() {
				s.counts.refuse(n)
			}
		}
		return nil
	})
}
