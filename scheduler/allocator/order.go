package allocator

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Order is who waits, and the books that order them, copied from an allocator at one time: an allocator of accounts and
// requests without nodes. So what it says is computed by whoever asks, on his own time, by the rules that Step goes by.
// It belongs to one goroutine.
type Order struct {
	books  *Allocator
	offers map[*client]int // how many offers a framework has
}

// Order copies who waits. It costs a look at each role, framework and request, and none at nodes.
func (a *Allocator) Order() *Order {
	b := New(a.options)
	b.custom, b.excluded, b.total, b.turns = slices.Clone(a.custom), a.excluded, slices.Clone(a.total), a.turns
	o := &Order{books: b, offers: map[*client]int{}}
	clients := map[*client]*client{}
	o.copyRole(b.root, a.root, clients)
	longest := 0
	for _, r := range a.requests {
		longest = max(longest, len(r.pending))
	}
	blank := make([]Slot, longest) // who counts slots does not look into them
	for _, g := range a.gangs {
		old := g.lead.group
		c := clients[old.client]
		if c == nil {
			continue // nothing of it waits, and its framework went
		}
		made := b.newGang(g.lead.Request, c, old.band, old.tag)
		for _, r := range g.parts {
			part := b.newPart(made, &r.Request, b.shape(r.group.shape.ask, c.view))
			part.pending = blank[:len(r.pending)]
		}
		if g.lead.at >= 0 { // nothing of it is in flight
			b.ready(made)
		}
	}
	for id, r := range a.requests {
		if len(r.pending) == 0 || r.gang != nil {
			continue
		}
		c := clients[r.group.client]
		g := b.group(c, r.group.band, b.shape(r.group.shape.ask, c.view), r.group.tag)
		g.members++
		b.requests[id] = &request{Request: r.Request, group: g, pending: blank[:len(r.pending)], at: -1, changeAt: -1}
		b.add(b.requests[id])
	}
	b.reshare(b.root)
	return o
}

// copyRole copies what is counted of a role, or of an owner in one, and of all below it, and what bounds it. clients gets
// the copy of each framework.
func (o *Order) copyRole(to, from *account, clients map[*client]*client) {
	b := o.books
	to.spec, to.limit, to.guarantee, to.maxAsk = from.spec, from.limit, from.guarantee, from.maxAsk
	to.closed, to.most, to.exempt, to.byOwner = from.closed, from.most, from.exempt, from.byOwner
	to.userLimit, to.schedulerLimit, to.parts = from.userLimit, from.schedulerLimit, maps.Clone(from.parts)
	for p, held := range to.parts {
		to.parts[p] = slices.Clone(held)
	}
	b.resort(to)
	to.count(from)
	to.own.count(from.own)
	for framework, was := range from.own.clients {
		acc := b.newAccount(was.name, was.path, to.own)
		acc.count(was)
		c := b.newClient(acc, framework)
		c.registered, c.holds, c.offered = was.client.registered, was.client.holds, slices.Clone(was.client.offered)
		acc.client, to.own.clients[framework], clients[was.client] = c, acc, c
		if n := was.client.offers.Len(); n > 0 {
			o.offers[c] = n
		}
	}
	for name, owner := range from.own.roles {
		if to.own.roles == nil {
			to.own.roles = map[string]*account{}
		}
		to.own.roles[name] = b.newRole(name, owner.path, to.own)
		o.copyRole(to.own.roles[name], owner, clients)
	}
	for name, child := range from.roles {
		to.roles[name] = b.newRole(name, child.path, to)
		o.copyRole(to.roles[name], child, clients)
	}
}

// count takes over what another account counts.
func (acc *account) count(from *account) {
	acc.weight, acc.running, acc.last = from.weight, from.running, from.last
	acc.chance = from.chance
	acc.used, acc.high, acc.staying = slices.Clone(from.used), slices.Clone(from.high), slices.Clone(from.staying)
}

// admit puts groups where they wait: in the band in which they are served, or aside for a limit.
func (o *Order) admit() {
	for _, r := range o.books.requests {
		for g := r.waitsIn(); g.at >= 0; {
			amount, n := g.atOnce()
			if _, ok := o.books.admit(g, amount, n); ok {
				break
			}
		}
	}
}

// giveWay takes all offers back, as requests do that need the room.
func (o *Order) giveWay() {
	for c := range o.offers {
		o.books.charge(c.account, c.offered, false, false, -1)
		c.offered = nil
	}
	clear(o.offers)
}

// waitsIn returns the group in which something of a request waits: of one of a gang, that of the gang.
func (r *request) waitsIn() *group {
	if r.gang != nil {
		return r.gang.lead.group
	}
	return r.group
}

// atOnce returns what is served of a group at once, and how many allocations that is: one, or all that waits of a gang.
func (g *group) atOnce() (amount []int64, n int) {
	if g.shape.gang != nil {
		return g.shape.gang.whole()
	}
	return g.shape.amount, 1
}

// serve serves what waits as if there were room for all of it, up to a number of slots and gangs, as long as visit, which is
// called before each with its requests and the band in which it is served, says true. It returns how many it served.
func (o *Order) serve(most int, visit func([]*request, structs.Band) bool) (served int) {
	b := o.books
	for served < most {
		g := b.next()
		if g == nil {
			break
		}
		amount, n := g.atOnce()
		if _, ok := b.admit(g, amount, n); !ok {
			continue
		}
		of := []*request{g.requests.top()}
		if g.shape.gang != nil {
			of = b.largestFirst(g.shape.gang)
		}
		if !visit(of, g.queued) {
			break
		}
		if g.shape.gang != nil {
			b.drop(g.requests.top())
		}
		for i := range n { // of a gang, all that waits of its first part, and then of the others
			for i > 0 && len(of[0].pending) == 0 {
				of = of[1:]
			}
			h := b.takeSlot(of[0], nil)
			b.countParts(h, 1)
			b.charge(h.client.account, h.amount, true, h.high(), 1)
		}
		served++
	}
	return served
}

// Turns says of some requests what is served before them, and why, if there were room for all that waits and nobody made
// an offer; at most most slots are counted, a gang as one. What waits for a limit has no turn and is left out, and so is a gang of
// which a part is in flight. It uses o up.
func (o *Order) Turns(ids []string, most int) map[string]*structs.Turn {
	o.giveWay()
	o.admit()
	turns := make(map[string]*structs.Turn, len(ids))
	for _, id := range ids {
		if r := o.books.requests[id]; r != nil && len(r.pending) > 0 && r.waitsIn().at >= 0 {
			turns[id] = &structs.Turn{Ranks: o.ranks(r.group.client.account, r.waitsIn().queued)}
		}
	}
	ahead, left := map[aheadKey]*structs.Ahead{}, len(turns)
	served := 0
	if left > 0 {
		served = o.serve(most, func(of []*request, band structs.Band) bool {
			for _, r := range of {
				t := turns[r.ID]
				if t == nil || t.At > 0 {
					continue
				}
				t.At, t.Ahead = 1, listAhead(ahead)
				for _, a := range t.Ahead {
					t.At += a.Slots
				}
				left--
			}
			if left == 0 {
				return false
			}
			k := aheadKey{band, of[0].group.client.account.path}
			a := ahead[k]
			if a == nil {
				a = &structs.Ahead{Band: band, Role: k.role}
				ahead[k] = a
			}
			a.Slots++
			if of[0].gang == nil {
				a.CPU, a.Memory = a.CPU+of[0].Ask.Resources.CPU, a.Memory+of[0].Ask.Resources.Memory
				return true
			}
			a.Gangs++
			for _, r := range of {
				n := int64(len(r.pending))
				a.CPU, a.Memory = a.CPU+structs.Milli(n)*r.Ask.Resources.CPU, a.Memory+structs.Bytes(n)*r.Ask.Resources.Memory
			}
			return true
		})
	}
	for id, t := range turns {
		if t.At > 0 {
			continue
		}
		t.Ahead = listAhead(ahead)
		if role := o.books.requests[id].waitsIn().parked; role != nil {
			t.Held = role.path
		} else {
			t.At, t.More = served+1, true
		}
	}
	return turns
}

type aheadKey struct {
	band structs.Band
	role string
}

// listAhead lists the bands from the highest down, in each the roles with the most slots first, and adds the last ones up.
func listAhead(all map[aheadKey]*structs.Ahead) (out []*structs.Ahead) {
	for band := structs.Band(bands - 1); band >= 0; band-- {
		var list []*structs.Ahead
		for _, a := range all {
			if a.Band == band {
				copied := *a
				list = append(list, &copied)
			}
		}
		slices.SortFunc(list, func(x, y *structs.Ahead) int {
			return cmp.Or(cmp.Compare(y.Slots, x.Slots), cmp.Compare(x.Role, y.Role))
		})
		if len(list) > structs.MostAhead {
			rest := &structs.Ahead{Band: band}
			for _, a := range list[structs.MostAhead-1:] {
				rest.Slots, rest.Gangs, rest.CPU, rest.Memory = rest.Slots+a.Slots, rest.Gangs+a.Gangs, rest.CPU+a.CPU, rest.Memory+a.Memory
			}
			list = append(list[:structs.MostAhead-1], rest)
		}
		out = append(out, list...)
	}
	return out
}

// ranks says how an account and those above it stand among their siblings that wait in a band.
func (o *Order) ranks(acc *account, band structs.Band) (out []*structs.Rank) {
	for _, x := range acc.line() {
		if r := o.rank(x, band); x.name != "." || r.Of > 1 {
			out = append(out, r)
		}
	}
	return out
}

func (o *Order) rank(acc *account, band structs.Band) *structs.Rank {
	siblings := &acc.parent.active[band]
	r := &structs.Rank{Sorter: acc.parent.sorter.order.String(), Name: acc.title(), Share: acc.share.Milli(), Weight: acc.weight, At: 1, Of: siblings.len()}
	var behind *account
	for _, x := range siblings.items {
		if x != acc && siblings.less(x, acc) {
			r.At++
			if behind == nil || siblings.less(behind, x) {
				behind = x
			}
		}
	}
	if behind != nil {
		r.Behind, r.BehindShare, r.BehindWeight = behind.title(), behind.share.Milli(), behind.weight
	}
	return r
}

// String names how turns are taken, where it is not by share.
func (o order) String() string {
	switch o {
	case byAge:
		return SorterFIFO
	case atRandom:
		return SorterRandom
	}
	return ""
}

// title names an account for people.
func (acc *account) title() string {
	switch {
	case acc.client != nil:
		return "framework " + acc.name
	case acc.name == ".":
		return acc.path + " itself"
	case acc.parent.own == nil:
		return "owner " + strings.TrimPrefix(acc.name, "@")
	}
	return acc.path
}

// Roles says how every role stands, each followed by those below it, by name.
func (o *Order) Roles() (out []*structs.RoleStanding) {
	o.admit()
	waiting, held := map[*account]int{}, map[*account]*account{}
	for _, r := range o.books.requests {
		for acc := r.group.client.account; acc != nil; acc = acc.parent {
			waiting[acc] += len(r.pending)
			if role := r.waitsIn().parked; role != nil {
				held[acc] = role
			}
		}
	}
	var walk func(acc *account)
	walk = func(acc *account) {
		if acc != o.books.root {
			out = append(out, o.standing(acc, waiting, held[acc]))
		}
		for _, name := range slices.Sorted(maps.Keys(acc.roles)) {
			walk(acc.roles[name])
		}
	}
	walk(o.books.root)
	return out
}

func (o *Order) standing(acc *account, waiting map[*account]int, held *account) *structs.RoleStanding {
	s := &structs.RoleStanding{Role: acc.path, Weight: acc.weight, Share: acc.share.Milli(), Waiting: waiting[acc], Used: o.resources(acc.used),
		Running: acc.running, MaxRunning: acc.most, Frameworks: []*structs.FrameworkStanding{}}
	if acc.spec != nil {
		s.State, s.Guarantee, s.Limit = acc.spec.State, acc.spec.Guaranteed(), acc.spec.Limited()
	}
	for band := structs.Band(bands - 1); band >= 0 && s.Rank == nil; band-- {
		if acc.at[band] >= 0 {
			s.Band, s.Rank = band.String(), o.rank(acc, band)
		}
	}
	if s.Rank == nil && held != nil {
		s.Blocked = held.path
	}
	o.frameworks(s, acc.own, "", waiting)
	for _, name := range slices.Sorted(maps.Keys(acc.own.roles)) {
		o.frameworks(s, acc.own.roles[name].own, strings.TrimPrefix(name, "@"), waiting)
	}
	return s
}

// frameworks says how those of the own work of a role stand, or of one owner in it.
func (o *Order) frameworks(s *structs.RoleStanding, own *account, owner string, waiting map[*account]int) {
	for _, id := range slices.Sorted(maps.Keys(own.clients)) {
		c := own.clients[id]
		s.Frameworks = append(s.Frameworks, &structs.FrameworkStanding{Framework: id, Owner: owner, Share: c.share.Milli(),
			Running: c.running, Offers: o.offers[c.client], Waiting: waiting[c], Used: o.resources(c.used)})
	}
}

// resources turns amounts by kind into resources.
func (o *Order) resources(amounts []int64) (r structs.Resources) {
	for kind, v := range amounts {
		switch {
		case v == 0:
		case kind == kindCPU:
			r.CPU = structs.Milli(v)
		case kind == kindMemory:
			r.Memory = structs.Bytes(v)
		case kind == kindDisk:
			r.Disk = structs.Bytes(v)
		default:
			if r.Custom == nil {
				r.Custom = map[string]structs.Milli{}
			}
			r.Custom[o.books.custom[kind-firstCustom]] = structs.Milli(v)
		}
	}
	return r
}
