package runner

import (
	"context"
	"fmt"
	"slices"

	"github.com/proffer/proffer/drivers"
)

// holder names a task to the stock.
func (t *task) holder() string { return fmt.Sprintf("%s/%s", t.alloc.id, t.name) }

// equip gives the task what it shall have for itself alone. What it has is recorded with its start.
func (t *task) equip(ctx context.Context) error {
	a := t.alloc
	r := t.def.Resources
	if r == nil || r.Cores == 0 && len(r.Custom) == 0 {
		return nil
	}
	a.mu.Lock()
	state := t.rec.State
	err := a.node.Stock.Take(t.holder(), r, &state)
	if err == nil {
		t.rec.State.Cores, t.rec.State.Devices = state.Cores, state.Devices
		t.changed = true
	}
	a.mu.Unlock()
	if err == nil && r.Cores > 0 {
		a.node.KeepOff(ctx)
	}
	return err
}

// yield gives it back. Its end is durable: no agent that comes after this one counts the task among those that have something.
func (t *task) yield() {
	if len(t.rec.State.Cores)+len(t.rec.State.Devices) > 0 {
		t.alloc.node.Stock.Release(t.holder())
	}
}

// Moved has a value after a task gave cores back: KeepOff is to be called.
func (s *Stock) Moved() <-chan struct{} { return s.moved }

// Cores are those that tasks have for themselves, and those that are left.
func (s *Stock) Cores() (taken, left []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.cores {
		if s.byCore[n] == "" {
			left = append(left, n)
		}
	}
	for n := range s.byCore {
		taken = append(taken, n)
	}
	slices.Sort(taken)
	slices.Sort(left)
	return taken, left
}

// KeepOff tells the drivers which cores tasks have for themselves. One that cannot be reached hears of it later.
func (n *Node) KeepOff(ctx context.Context) {
	n.Stock.pinning.Lock()
	defer n.Stock.pinning.Unlock()
	taken, left := n.Stock.Cores()
	for name, d := range n.Drivers {
		if p, ok := d.(drivers.Pinner); ok {
			if err := p.KeepOff(ctx, taken, left); err != nil && ctx.Err() == nil {
				n.Log.Warn("tasks may run on cores that others have for themselves", "driver", name, "why", err)
			}
		}
	}
}
