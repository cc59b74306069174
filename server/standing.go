package server

import (
	"context"
	"fmt"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/structs"
)

// mostCounted bounds the slots that are counted before something that waits.
const mostCounted = 100_000

// standing is how a request stands on the leader's books.
type standing struct {
	Waiting *allocator.Waiting
	Role    *structs.RoleStanding // that it is of
	Refused string                // why it is not asked for now; empty: it is
}

// orders asks the leader how the requests of a job stand, by group. A group without a request is not in the answer.
func (s *Server) orders(ctx context.Context, job string) (out map[string]*standing, err error) {
	err = s.onLeader(ctx, repeatable, func(ctx context.Context) error {
		out, err = s.loop.orders(job)
		return err
	}, func(ctx context.Context, leader string) error {
		return s.config.Pool.Call(ctx, leader, "Server.Orders", &job, &out)
	})
	return out, err
}

// orders answers Server.orders on the leader. The loop is held up for as long as who waits is copied.
func (o *offerLoop) orders(job string) (map[string]*standing, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	out := map[string]*standing{}
	order := l.standings(job, out)
	if order == nil {
		return out, nil
	}
	var ids []string
	for group := range out {
		ids = append(ids, job+"/"+group)
	}
	roles := map[string]*structs.RoleStanding{}
	for _, r := range order.Roles() {
		roles[r.Role] = r
	}
	turns := order.Turns(ids, mostCounted)
	for group, s := range out {
		if s.Waiting != nil {
			s.Waiting.Turn, s.Role = turns[job+"/"+group], roles[s.Waiting.Role]
		}
	}
	return out, nil
}

// standings fills in how the requests of a job stand; it returns a copy of the order when some have slots that wait.
func (l *loop) standings(job string, out map[string]*standing) (order *allocator.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.jobs[job]
	if j == nil {
		return nil
	}
	if wait := time.Until(j.quiet); j.refused != "" && wait > 0 {
		for group := range j.asks {
			out[group] = &standing{Refused: fmt.Sprintf("the last placement was refused: %s; it is tried again in %s", j.refused,
				structs.Duration(wait.Round(time.Millisecond)))}
		}
	}
	waits := false
	for group := range j.wants {
		look := l.allocator.Standing
		if j.job != nil && j.job.Gang != nil {
			look = l.allocator.Explain // how much of it would fit, the loop's books know
		}
		if w, ok := look(job + "/" + group); ok {
			out[group] = &standing{Waiting: &w}
			waits = waits || w.Pending > 0
		}
	}
	if !waits {
		return nil
	}
	return l.allocator.Order()
}

// Shares says how the roles stand, by the leader's books: each followed by those below it, by name.
func (s *Server) Shares(ctx context.Context) (out []*structs.RoleStanding, err error) {
	err = s.onLeader(ctx, repeatable, func(ctx context.Context) error {
		out, err = s.loop.shares()
		return err
	}, func(ctx context.Context, leader string) error {
		return s.config.Pool.Call(ctx, leader, "Server.Shares", &struct{}{}, &out)
	})
	return out, err
}

func (o *offerLoop) shares() ([]*structs.RoleStanding, error) {
	l, err := o.get()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	order := l.allocator.Order()
	l.mu.Unlock()
	return order.Roles(), nil
}
