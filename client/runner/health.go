package runner

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"

	"github.com/proffer/proffer/client/checks"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// beginChecks begins to check a task that was started, or found again. The caller holds mu.
func (t *task) beginChecks(handle drivers.Task) {
	t.endChecks()
	t.watch(handle)
	known := t.rec.State.Checks
	t.rec.State.Checks = nil
	for i, c := range append(slices.Clone(t.def.Ready), t.def.Live...) {
		s := structs.CheckState{Name: c.Name, Live: i >= len(t.def.Ready), Status: structs.CheckPending, Since: t.rec.State.Started}
		if at := slices.IndexFunc(known, func(k structs.CheckState) bool { return k.Name == s.Name && k.Live == s.Live }); at >= 0 {
			s = known[at]
		}
		t.rec.State.Checks = append(t.rec.State.Checks, s)
		t.checks = append(t.checks, t.alloc.node.Checks.Add(c, t.target(handle, c), t.rec.State.Started.Std(), s.Status, func(status structs.CheckStatus, a checks.Answer) {
			t.checked(handle, i, status, a)
		}))
	}
}

// watch begins to ask what the framework of a task wants to be told. The caller holds mu.
func (t *task) watch(handle drivers.Task) {
	x := t.alloc.alloc.External.Named(t.name)
	if x == nil || x.Check == nil {
		return
	}
	if a := t.rec.State.Answer; a == nil || a.Type != x.Check.Type {
		t.rec.State.Answer = &structs.CheckAnswer{Type: x.Check.Type}
	}
	t.checks = append(t.checks, t.alloc.node.Checks.Watch(x.Check, t.target(handle, x.Check), t.rec.State.Started.Std(), func(a checks.Answer) {
		t.answered(handle, a)
	}))
}

// answered takes what a check said of the start that handle is of.
func (t *task) answered(handle drivers.Task, answer checks.Answer) {
	a := t.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	last := t.rec.State.Answer
	if t.handle != handle || last == nil || len(t.checks) == 0 {
		return // it has ended
	}
	now := &structs.CheckAnswer{Type: last.Type, Code: answer.Code}
	if now.Equal(last) {
		return
	}
	t.rec.State.Answer = now
	t.changed = true
	a.node.Store.Enqueue(store.PutTask(a.id, t.name, &t.rec))
	a.report()
}

// target says where a check asks. The caller holds mu.
func (t *task) target(handle drivers.Task, c *structs.Check) checks.Target {
	to := checks.Target{Address: t.alloc.address(c.Port), Exec: handle.Exec}
	if t.alloc.alloc.External != nil {
		to.Address = c.Port // of a framework: an address as its task sees it
	}
	if ns := t.alloc.netns(); ns != "" {
		to.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return t.alloc.node.Dial(ctx, ns, network, address)
		}
	}
	return to
}

// take takes a newer version of the task, with other checks perhaps. The caller holds mu.
func (t *task) take(def *structs.Task) {
	same := func(a, b *structs.Check) bool { return reflect.DeepEqual(a, b) }
	other := !slices.EqualFunc(t.def.Ready, def.Ready, same) || !slices.EqualFunc(t.def.Live, def.Live, same)
	if !reflect.DeepEqual(t.def.Templates, def.Templates) {
		defer t.outdated()
	}
	t.def = def
	if other && t.rec.Running && t.handle != nil {
		t.beginChecks(t.handle)
		t.changed = true
		t.alloc.report()
	}
}

// endChecks ends the checks of a task. The caller holds mu.
func (t *task) endChecks() {
	for _, c := range t.checks {
		c.Stop()
	}
	t.checks = nil
}

// address returns where the tasks listen on a port of the group, in the network of the allocation. The caller holds mu.
func (a *Alloc) address(label string) string {
	for _, p := range a.alloc.Ports {
		if p.Label != label || label == "" {
			continue
		}
		if own := structs.AddressesIn(p.Network, a.state.Given.OwnAddresses(), a.state.Given.OwnNetworks()); len(own) > 0 && a.group.Network.Mapped() {
			return net.JoinHostPort(own[0], strconv.Itoa(p.Inside()))
		}
		return net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
	}
	return ""
}

// netns returns the path of the allocation's network namespace; empty: it is that of the node. The caller holds mu.
func (a *Alloc) netns() string {
	if a.state.Given == nil {
		return ""
	}
	return a.state.Given.Netns
}

// Netns is netns for others.
func (a *Alloc) Netns() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.netns()
}

// Address returns where the tasks listen on a port of the group, by its name.
func (a *Alloc) Address(port string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.address(port); at != "" {
		return at, nil
	}
	var names []string
	for _, p := range a.alloc.Ports {
		if p.Label != "" {
			names = append(names, p.Label)
		}
	}
	e := structs.Errorf(structs.NotFound, "allocation "+structs.Short(a.id), "it has no port %q", port)
	if len(names) == 0 {
		return "", e.Advise("its group has no named ports: write network { port \"name\" {} }")
	}
	return "", e.Advise("it has %v", names)
}

// checked takes the news of a check: of the start that handle is of.
func (t *task) checked(handle drivers.Task, i int, status structs.CheckStatus, answer checks.Answer) {
	a := t.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.handle != handle || i >= len(t.rec.State.Checks) || len(t.checks) == 0 {
		return // it has ended
	}
	states := slices.Clone(t.rec.State.Checks)
	s := &states[i]
	before := s.Status
	s.Why = answer.Why
	if s.Status = status; status != before {
		s.Since = now()
	}
	t.rec.State.Checks = states
	t.changed = true
	kind := "ready"
	if s.Live {
		kind = "live"
	}
	if status != before {
		t.event(string(status), joined(fmt.Sprintf("%s check %q", kind, s.Name), s.Why))
	}
	if s.Live && status == structs.CheckFailing && status != before {
		t.unwell = fmt.Sprintf("live check %q failed: %s", s.Name, s.Why)
		t.interrupt()
	}
	a.node.Store.Enqueue(store.PutTask(a.id, t.name, &t.rec))
	a.report()
}

// notReady says which task is not ready, and why; empty: all are. The caller holds mu.
func (a *Alloc) notReady() string {
	for _, t := range a.tasks {
		for _, c := range t.rec.State.Checks {
			if c.Status != structs.CheckPassing {
				return joined(fmt.Sprintf("task %q is not ready: check %q", t.name, c.Name), cmp.Or(c.Why, "no answer yet"))
			}
		}
	}
	return ""
}

func joined(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}
