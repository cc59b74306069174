package server

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/structs"
)

// slackReports is what nodes last said with their renewals that is reserved on them and not used. It is soft state of the leader and
// belongs to one loop: the next one hears it again with the next renewals. Renewals never wait for the loop.
type slackReports struct {
	news chan struct{} // something changed

	mu      sync.Mutex
	said    map[structs.NodeID]slackReport
	changed map[structs.NodeID]struct{} // since the loop looked
}

type slackReport struct {
	Session uint64
	Size    structs.Slack
}

// tell has an allocator count with what nodes said.
func tell(a *allocator.Allocator, said map[structs.NodeID]slackReport) {
	for id, r := range said {
		a.SetSlack(id, r.Session, r.Size)
	}
}

// all returns what each node said last.
func (r *slackReports) all() map[structs.NodeID]slackReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.said)
}

func newSlackReports() *slackReports {
	return &slackReports{news: make(chan struct{}, 1), said: map[structs.NodeID]slackReport{}, changed: map[structs.NodeID]struct{}{}}
}

// hear takes what some nodes said. What repeats itself costs a look in a map.
func (r *slackReports) hear(asks []leaseAsk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ask := range asks {
		now := slackReport{ask.Session, ask.Slack}
		if before, heard := r.said[ask.Node]; !ask.Said || heard && before == now {
			continue
		}
		r.said[ask.Node] = now
		r.changed[ask.Node] = struct{}{}
	}
	r.ring()
}

// again has the loop look at what a node said.
func (r *slackReports) again(id structs.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, heard := r.said[id]; heard {
		r.changed[id] = struct{}{}
		r.ring()
	}
}

func (r *slackReports) forget(id structs.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.said, id)
	delete(r.changed, id)
}

// ring wakes the loop when there are news. The caller holds mu.
func (r *slackReports) ring() {
	if len(r.changed) == 0 {
		return
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// take returns the news.
func (r *slackReports) take() map[structs.NodeID]slackReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[structs.NodeID]slackReport, len(r.changed))
	for id := range r.changed {
		out[id] = r.said[id]
	}
	clear(r.changed)
	return out
}

// hear passes on what nodes said whose leases were granted.
func (o *offerLoop) hear(asks, refused []leaseAsk) {
	l, err := o.get()
	if err != nil {
		return // it hears the next ones
	}
	if len(refused) > 0 {
		none := make(map[leaseAsk]bool, len(refused))
		for _, ask := range refused {
			none[ask] = true
		}
		var granted []leaseAsk
		for _, ask := range asks {
			if !none[ask] {
				granted = append(granted, ask)
			}
		}
		asks = granted
	}
	l.slack.hear(asks)
}

// takeSlack tells the allocator what nodes said.
func (l *loop) takeSlack() {
	news := l.slack.take()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
	tell(l.allocator, news)
}

// slacksTimeout is how long what only the leader knows is waited for, where the answer is of use without it, too.
const slacksTimeout = 2 * time.Second

// said is one node's report between servers.
type said struct {
	Node structs.NodeID
	slackReport
}

// slacks returns what nodes said last, which only the leader knows; nothing when it cannot be asked.
func (s *Server) slacks(ctx context.Context) map[structs.NodeID]slackReport {
	ctx, cancel := context.WithTimeout(ctx, slacksTimeout)
	defer cancel()
	var all []said
	err := s.onLeader(ctx, repeatable, func(context.Context) (err error) {
		all, err = s.loop.said()
		return err
	}, func(ctx context.Context, leader string) error {
		return s.config.Pool.Call(ctx, leader, "Server.Slacks", &struct{}{}, &all)
	})
	if err != nil {
		s.log.Debug("what is reserved and not used is not known", "err", err)
		return nil
	}
	out := make(map[structs.NodeID]slackReport, len(all))
	for _, x := range all {
		out[x.Node] = x.slackReport
	}
	return out
}

// Slacks returns what is reserved on nodes and not used, where anything is; nothing when the leader cannot be asked.
func (s *Server) Slacks(ctx context.Context) map[structs.NodeID]structs.Slack {
	out := map[structs.NodeID]structs.Slack{}
	for id, r := range s.slacks(ctx) {
		n := s.store.Snapshot().Node(id)
		if n == nil || n.Status != structs.NodeReady || n.Session != r.Session || r.Size.IsZero() {
			continue
		}
		most := n.Available()
		out[id] = structs.Slack{CPU: min(r.Size.CPU, most.CPU), Memory: min(r.Size.Memory, most.Memory)}
	}
	return out
}

func (o *offerLoop) said() ([]said, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	all := l.slack.all()
	out := make([]said, 0, len(all))
	for id, r := range all {
		out = append(out, said{id, r})
	}
	return out, nil
}

// Slack says how a node stands with what is reserved on it and not used, which only the leader knows; nil when nothing on it is, or
// was said to be, revocable.
func (s *Server) Slack(ctx context.Context, node structs.NodeID) (status *structs.SlackStatus, err error) {
	err = s.onLeader(ctx, repeatable, func(context.Context) error {
		status, err = s.loop.slackOf(node)
		return err
	}, func(ctx context.Context, leader string) error {
		var found []*structs.SlackStatus
		err := s.config.Pool.Call(ctx, leader, "Server.Slack", &node, &found)
		if len(found) > 0 {
			status = found[0]
		}
		return err
	})
	return status, err
}

func (o *offerLoop) slackOf(node structs.NodeID) (*structs.SlackStatus, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allocator.SlackOf(node), nil
}
