package server

import (
	"context"
	"sync"

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
	session uint64
	size    structs.Slack
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
	for id, said := range news {
		l.allocator.SetSlack(id, said.session, said.size)
	}
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
