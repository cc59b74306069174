package allocator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

const bands = int(structs.Monitoring) + 1

// account is a vertex of the tree that shares are compared in: a role, the own work of a role (the leaf "." beside its
// sub-roles), or one framework in it.
type account struct {
	// What is looked at to order thousands of siblings comes first, together: it is one line of the cache.
	share  Share
	last   uint64     // Allocator.turns when it was served, or made
	chance            // where its siblings take turns by chance
	at     [bands]int // position in active of the parent, -1

	name   string // last element of the role, ".", or the framework
	path   string // the role
	parent *account
	weight structs.Milli
	used   []int64 // by kind: committed, in flight and offered, of everything below
	high   []int64 // what counts towards guarantees, see raise
	// staying is high without what is being stopped.
	staying []int64
	policy  Policy                // that makes its share: of the sorter of its parent
	sorter  *sorter               // of its children
	hash    uint64                // see lotOf
	active  [bands]heap[*account] // children with demand in the band

	// Of a role.
	spec      *structs.Role // nil when it was made on first use
	roles     map[string]*account
	own       *account
	limit     bound
	guarantee bound
	maxAsk    *structs.QuotaAmount
	closed    bool             // nothing is placed in it or below, and nothing offered
	parts     map[part][]int64 // what is held of the parts that are bounded; nil: none is
	running   int              // allocations, decisions and claims, of everything below
	most      int              // that may be running; 0: no bound
	byOwner   bool             // see shareByOwner
	exempt    bool             // its work is never preempted, nor that of roles below
	parked    map[*group]bool  // over the limit of this role
	demoted   map[*group]bool  // beyond the guarantee of this role, ordered as batch
	cut       map[*wish]bool   // wishes with bundles that a limit cut, see cutShort

	userLimit, schedulerLimit structs.Milli // shares of the role that its parts may have; 0: not bounded

	// Of the leaf ".".
	clients map[structs.FrameworkID]*account

	// Of a framework.
	client *client
}

// bound has an amount for each kind of resource that it names, -1 for the others; nil bounds nothing.
type bound []int64

func (b bound) at(kind int) (int64, bool) {
	if kind >= len(b) || b[kind] < 0 {
		return 0, false
	}
	return b[kind], true
}

func (a *Allocator) newAccount(name, path string, parent *account) *account {
	acc := &account{name: name, path: path, parent: parent, weight: 1000, hash: lotOf(path, name), last: a.turns}
	acc.sorter = a.sorterOf(acc)
	acc.policy = acc.sorter.policy
	for b := range acc.active {
		acc.at[b] = -1
		acc.active[b] = heap[*account]{less: acc.sorter.less(structs.Band(b)), at: func(x *account) *int { return &x.at[b] }}
	}
	acc.share = a.shareOf(acc)
	if parent != nil && parent.sorter.order == atRandom {
		a.draw(acc, parent.clock)
	}
	return acc
}

// serveFirst orders siblings: the smaller share first, then who was served, or came, longest ago, then by name. Without the
// second, some of those who hold nothing could take turns for ever and leave nothing for the others.
func serveFirst(x, y *account) bool {
	if x.share.less(y.share) {
		return true
	}
	if y.share.less(x.share) {
		return false
	}
	return x.last < y.last || x.last == y.last && x.name < y.name
}

// tookTurn notes that something of an account is served. A charge follows, which restores the order.
func (a *Allocator) tookTurn(acc *account) {
	for x := acc; x != nil; x = x.parent {
		x.last = a.turns
		if x.parent != nil && x.parent.sorter.order == atRandom {
			a.tookChance(x)
		}
	}
}

// role returns the account of a role, making it and its parents when they do not exist.
func (a *Allocator) role(path string) *account {
	acc := a.root
	for name := range strings.SplitSeq(path, "/") {
		next := acc.roles[name]
		if next == nil {
			full := name
			if acc != a.root {
				full = acc.path + "/" + name
			}
			next = a.newRole(name, full, acc)
			acc.roles[name] = next
		}
		acc = next
	}
	return acc
}

// find returns the account of a role, or nil.
func (a *Allocator) find(path string) *account {
	acc := a.root
	for name := range strings.SplitSeq(path, "/") {
		if acc = acc.roles[name]; acc == nil {
			return nil
		}
	}
	return acc
}

func (a *Allocator) newRole(name, path string, parent *account) *account {
	acc := a.newAccount(name, path, parent)
	acc.roles = map[string]*account{}
	acc.own = a.newAccount(".", path, acc)
	acc.own.clients = map[structs.FrameworkID]*account{}
	acc.parked, acc.demoted, acc.cut = map[*group]bool{}, map[*group]bool{}, map[*wish]bool{}
	return acc
}

// roleOf returns the role of a framework's account.
func (acc *account) roleOf() *account { return acc.parent.parent }

// prune removes accounts that hold nothing and that nobody asked for.
func (a *Allocator) prune(acc *account) {
	c := acc.client
	if c.holds > 0 || len(c.groups) > 0 || c.registered {
		return
	}
	delete(acc.parent.clients, c.framework)
	for role := acc.roleOf(); role != a.root; role = role.parent {
		if role.inUse() {
			return
		}
		if role.own != nil {
			delete(role.parent.roles, role.name)
		}
	}
}

// charge adds an amount to a framework and everything above it; a negative sign gives it back. work is what runs, or will:
// not an offer.
func (a *Allocator) charge(acc *account, amount []int64, work, high bool, sign int64) {
	acc.client.holds += int(sign)
	if high {
		a.raise(acc, highOf, amount, sign)
		a.raiseStaying(acc, amount, sign)
	}
	for x := acc; x != nil; x = x.parent {
		if work {
			x.running += int(sign)
		}
		addTo(&x.used, amount, sign)
		x.share = a.shareOf(x)
		for b := range x.at {
			if x.at[b] >= 0 {
				x.parent.active[b].fix(x)
			}
		}
		if sign < 0 && x.roles != nil {
			a.unpark(x)
			if high {
				a.restore(x)
			}
		}
	}
}

func addTo(to *[]int64, amount []int64, sign int64) {
	for len(*to) < len(amount) {
		*to = append(*to, 0)
	}
	for i, v := range amount {
		(*to)[i] += sign * v
	}
}

// unpark lets those try again that waited for the limit of a role.
func (a *Allocator) unpark(role *account) {
	for g := range role.parked {
		delete(role.parked, g)
		g.parked = nil
		a.enqueue(g)
	}
	a.reopenCut(role)
}

// restore lets those try again in their own band that were beyond the guarantee of a role.
func (a *Allocator) restore(role *account) {
	for g := range role.demoted {
		delete(role.demoted, g)
		a.dequeue(g)
		g.demoted = nil
		a.enqueue(g) // also one that fitted nowhere as batch
	}
}

// reshare recomputes every share after the total changed.
func (a *Allocator) reshare(acc *account) {
	acc.share = a.shareOf(acc)
	if acc.parts != nil {
		a.unpark(acc) // their bounds may be larger
	}
	for child := range acc.children() {
		a.reshare(child)
	}
	for b := range acc.active {
		acc.active[b].init()
	}
}

// children yields the accounts below, in no order.
func (acc *account) children() func(yield func(*account) bool) {
	return func(yield func(*account) bool) {
		for _, child := range acc.roles {
			if !yield(child) {
				return
			}
		}
		for _, child := range acc.clients {
			if !yield(child) {
				return
			}
		}
		if acc.own != nil {
			yield(acc.own)
		}
	}
}

// activate notes that a framework has something to serve in a band, or no longer has.
func (acc *account) activate(band structs.Band) {
	for x := acc; x.parent != nil && x.at[band] < 0; x = x.parent {
		x.parent.active[band].push(x)
	}
}

func (acc *account) deactivate(band structs.Band) {
	for x := acc; x.parent != nil && x.at[band] >= 0; x = x.parent {
		x.parent.active[band].remove(x)
		if x.parent.active[band].len() > 0 {
			return
		}
	}
}

// shut reports whether a role takes no more work, whatever amount: it is closed, or as much runs as may.
func (role *account) shut() bool { return role.full(1) }

// full reports whether a role takes no n allocations more, whatever amount.
func (role *account) full(n int) bool {
	return role.closed || role.most > 0 && role.running+n > role.most
}

// overLimit returns the first role, from the leaf up, that takes no n allocations more, or whose limit their amount would exceed; nil
// for none.
func (acc *account) overLimit(amount []int64, n int) *account {
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.full(n) {
			return role
		}
		for kind, v := range amount {
			limit, named := role.limit.at(kind)
			if named && v > 0 && usedOf(role.used, kind)+v > limit {
				return role
			}
		}
	}
	return nil
}

// beyondGuarantee returns the role at which production or monitoring work of that amount would be beyond what is
// guaranteed: the first one whose guarantee is used up, or the role itself when no guarantee covers it. Nil means that
// it is within.
func (acc *account) beyondGuarantee(amount []int64) *account {
	covered := false
	for role := acc.roleOf(); role != nil; role = role.parent {
		for kind, v := range amount {
			guarantee, named := role.guarantee.at(kind)
			if !named || v == 0 {
				continue
			}
			covered = true
			if usedOf(role.high, kind)+v > guarantee {
				return role
			}
		}
	}
	if covered {
		return nil
	}
	return acc.roleOf()
}

func usedOf(used []int64, kind int) int64 {
	if kind >= len(used) {
		return 0
	}
	return used[kind]
}

// SetRole makes a role or changes it. What its work holds stays, even beyond a new limit.
func (a *Allocator) SetRole(spec *structs.Role) error {
	if !structs.ValidRole(spec.Name) {
		return structs.Errorf(structs.Invalid, "role "+spec.Name, "is not a valid name")
	}
	if spec.Weight < 0 {
		return structs.Errorf(structs.Invalid, "role "+spec.Name, "weight %s is negative", spec.Weight)
	}
	acc := a.role(spec.Name)
	if acc.exempt && !spec.PreemptionExempt {
		defer a.wakeSlack(acc)
	}
	acc.spec, acc.weight, acc.limit, acc.exempt = spec, spec.Weight, a.bound(spec.Limited()), spec.PreemptionExempt
	a.setGuarantee(acc, a.bound(spec.Guaranteed()))
	acc.most, acc.maxAsk = spec.MaxRunning, spec.MaxAsk
	a.shareByOwner(acc, spec.ShareByOwner)
	a.setParts(acc, spec.UserLimit, spec.MaxFrameworkShare)
	if acc.closed = spec.State == structs.RoleClosed; acc.closed {
		a.empty(acc)
	}
	a.epoch++
	if acc.weight == 0 {
		acc.weight = 1000
	}
	acc.share = a.shareOf(acc)
	acc.reckon()
	for b := range acc.at {
		if acc.at[b] >= 0 {
			acc.parent.active[b].fix(acc)
		}
	}
	a.resort(acc)
	a.unpark(acc)
	a.restoreBelow(acc)
	return nil
}

// empty takes back what was offered below a role, the newest first, and has claims looked at, which are given up.
func (a *Allocator) empty(role *account) {
	var offers []*offer
	for _, o := range a.offers {
		if o.client.account.below(role) {
			offers = append(offers, o)
		}
	}
	slices.SortFunc(offers, func(x, y *offer) int { return cmp.Compare(y.seq, x.seq) })
	for _, o := range offers {
		a.rescind(o, "the role is closed")
	}
	for _, placing := range a.placing {
		for _, h := range placing {
			if h.decision == 0 && h.client.account.below(role) {
				a.ripen(h.node)
			}
		}
	}
}

// inClosed returns the role that keeps an account from getting anything, or nil.
func (acc *account) inClosed() *account {
	for role := acc.roleOf(); role != nil; role = role.parent {
		if role.closed {
			return role
		}
	}
	return nil
}

func (a *Allocator) restoreBelow(acc *account) {
	if acc.roles == nil {
		return
	}
	a.restore(acc)
	if acc.parts != nil {
		a.unpark(acc) // their bounds may follow from a limit above
	}
	for _, child := range acc.roles {
		a.restoreBelow(child)
	}
	for _, owner := range acc.own.roles {
		a.restoreBelow(owner)
	}
}

// RemoveRole forgets weight and quota of a role. A role in use goes on as one that was made on first use.
func (a *Allocator) RemoveRole(name string) {
	acc := a.find(name)
	if acc == nil || acc.spec == nil {
		return
	}
	_ = a.SetRole(&structs.Role{Name: name}) // its name was valid before
	acc.spec = nil
	for role := acc; role != a.root && !role.inUse(); role = role.parent {
		delete(role.parent.roles, role.name)
	}
}

func (a *Allocator) bound(q *structs.QuotaAmount) bound {
	if q == nil {
		return nil
	}
	var b bound
	for name, amount := range q.All() {
		kind := a.kindOf(name)
		for len(b) <= kind {
			b = append(b, -1)
		}
		b[kind] = amount
	}
	return b
}
