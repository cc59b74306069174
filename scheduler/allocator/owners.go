package allocator

import "github.com/proffer/proffer/structs"

// A role may share its own work among the owners of that work before the frameworks: then there is one more level below its
// leaf ".", an account for each owner, which is like a role without a specification. Work of nobody stays beside them.

// clientOf returns a framework in a role, for the work of an owner, making what does not exist.
func (a *Allocator) clientOf(framework structs.FrameworkID, role, owner string) *client {
	acc := a.role(orDefault(role))
	own := acc.own
	if acc.byOwner && owner != "" {
		name := "@" + owner
		if own.roles[name] == nil {
			if own.roles == nil {
				own.roles = map[string]*account{}
			}
			own.roles[name] = a.newRole(name, acc.path, own)
		}
		own = own.roles[name].own
	}
	f := own.clients[framework]
	if f == nil {
		f = a.newAccount(string(framework), own.path, own)
		f.client = a.newClient(f, framework)
		own.clients[framework] = f
	}
	return f.client
}

// frameworks counts those that a leaf "." has, of an owner and of nobody.
func (acc *account) frameworks() int {
	n := len(acc.clients)
	for _, owner := range acc.roles {
		n += len(owner.own.clients)
	}
	return n
}

// inUse reports whether an account that nobody specified is of use.
func (acc *account) inUse() bool {
	if acc.own == nil { // the leaf "."
		return len(acc.roles)+len(acc.clients) > 0
	}
	return acc.spec != nil || len(acc.roles) > 0 || acc.own.inUse()
}

// shareByOwner has the own work of a role shared among owners first, or no longer.
func (a *Allocator) shareByOwner(role *account, on bool) {
	if role.byOwner == on {
		return
	}
	role.byOwner = on
	for _, h := range a.allocs {
		a.rehome(h, role)
	}
	for _, h := range a.decisions {
		a.rehome(h, role)
	}
	for _, placing := range a.placing {
		for _, h := range placing {
			if h.decision == 0 { // a claim
				a.rehome(h, role)
			}
		}
	}
	a.rehomeGangs(role)
	for _, r := range a.requests {
		if old := r.group; old.client.account.path == role.path && r.gang == nil {
			a.drop(r)
			next := a.group(a.clientOf(r.Framework, r.Role, r.Owner), old.band, old.shape, old.tag)
			next.members++
			r.group = next
			next.waitsAs(old)
			a.add(r)
			a.leaveGroup(old)
		}
	}
}

// waitsAs takes over since when the requests of another group wait, and the room that is kept for it. The other may be g.
func (g *group) waitsAs(old *group) {
	if g == old {
		return
	}
	g.since, g.retry = old.since, old.retry
	if old.kept != nil {
		g.kept, old.kept.group, old.kept = old.kept, g, nil
	}
}

// rehome moves what is held in a role to where it belongs now.
func (a *Allocator) rehome(h *hold, role *account) {
	old := h.client
	if old.account.path != role.path {
		return
	}
	next := a.clientOf(old.framework, role.path, h.tag.owner)
	if next == old {
		return
	}
	if h.leaving {
		a.countLeaving(h, -1)
	}
	a.charge(old.account, h.amount, true, h.high(), -1)
	h.client = next
	a.charge(next.account, h.amount, true, h.high(), 1)
	if h.leaving {
		a.countLeaving(h, 1)
	}
	a.prune(old.account)
}
