package gossip

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"
)

// Segments. In a large region a client knows the servers and the clients of its own segment only: those whose names hash
// to the same number modulo the number of segments, a power of two. Servers know everybody. See DESIGN.md.

// sizes is when segments are made. Only tests have others than the default.
type sizes struct {
	whole  int           // so many clients are one segment
	most   int           // clients in one segment of several
	shrink time.Duration // for how long there have to be fewer segments before a client believes it
	spread time.Duration // within which clients move when there are more segments
}

func (s sizes) orDefault() sizes {
	if s == (sizes{}) {
		return sizes{whole: 2048, most: 1024, shrink: 10 * time.Minute, spread: 30 * time.Second}
	}
	return s
}

const (
	maxSplits   = 16               // log2 of the number of segments
	unheardTime = 30 * time.Second // after a move, until who was not heard of counts as failed
	greeted     = 2                // peers that one who is new in a segment exchanges states with
)

// splits returns the log2 of the number of segments for so many clients.
func (s sizes) splits(clients int) byte {
	if clients <= s.whole {
		return 0
	}
	return byte(min(bits.Len(uint((clients-1)/s.most)), maxSplits))
}

// vote is what a server says after it said last: more at once, less only when that would still hold with half as many
// clients again.
func (s sizes) vote(last byte, clients int) byte {
	if up := s.splits(clients); up > last {
		return up
	}
	return min(last, s.splits(clients+clients/2))
}

// segmentOf returns the number of the segment of a name.
func segmentOf(name string, splits byte) uint64 {
	return hashOf(name, nil) & (1<<splits - 1)
}

// knowsLocked says whether a member of this role and name is one that this one knows.
func (p *Pool) knowsLocked(role Role, name string) bool {
	return p.splits == 0 || role == RoleServer || segmentOf(name, p.splits) == segmentOf(p.local.Name, p.splits)
}

// aimLocked returns how far the region should be split for this member: not at all for a server, and for a client as far
// as any living server says. Where no server lives, nothing changes.
func (p *Pool) aimLocked() byte {
	if p.local.Role == RoleServer {
		return 0
	}
	aim, voted := byte(0), false
	for _, r := range p.members {
		if r.status == Alive && r.role() == RoleServer {
			aim, voted = max(aim, splitsOf(r.meta)), true
		}
	}
	if !voted {
		return p.splits
	}
	return aim
}

// learnSplits is for one who joins: it takes the number of segments from the servers in the state that it got, before it
// takes in the clients of others.
func (p *Pool) learnSplits(nodes []*memberlist.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	aim := p.splits
	for _, n := range nodes {
		if n.State == memberlist.StateAlive && Role(n.Meta[1]) == RoleServer {
			aim = max(aim, splitsOf(n.Meta))
		}
	}
	if p.local.Role == RoleClient && aim > p.splits {
		p.narrowLocked(aim)
	}
}

// narrowLocked splits further without a move, when there is no living member that this one would no longer know.
func (p *Pool) narrowLocked(splits byte) bool {
	was := p.splits
	p.splits = splits
	for name, r := range p.members {
		if r.status == Alive && !p.knowsLocked(r.role(), name) {
			p.splits = was
			return false
		}
	}
	p.forgetStrangersLocked()
	return true
}

func (p *Pool) forgetStrangersLocked() {
	for name, r := range p.members {
		if !p.knowsLocked(r.role(), name) {
			if r.status == Alive {
				p.countLocked(name, r, -1)
			}
			delete(p.members, name)
		}
	}
}

// resize does what has to be done about segments. It is called at each tick.
func (p *Pool) resize() {
	p.mu.Lock()
	now := time.Now()
	changed := false
	if p.local.Role == RoleServer {
		clients := 0
		for _, r := range p.members {
			if r.status == Alive && r.role() == RoleClient {
				clients++
			}
		}
		if vote := p.sizes.vote(p.local.splits, clients); vote != p.local.splits {
			next := p.local
			next.splits = vote
			if meta, err := next.meta(p.run); err == nil {
				p.local, p.meta, changed = next, meta, true
			}
		}
	}
	aim, move := p.aimLocked(), false
	grow := aim > p.splits
	switch {
	case aim == p.splits:
		p.resizing = time.Time{}
	case p.resizing.IsZero() || grow != p.growing:
		p.growing, p.resizing = grow, now
		if p.local.Role == RoleClient {
			p.resizing = now.Add(rand.N(p.sizes.spread))
		}
		if p.local.Role == RoleClient && !grow {
			p.resizing = p.resizing.Add(p.sizes.shrink)
		}
	case now.Before(p.resizing):
	case grow:
		p.resizing = time.Time{}
		move = !p.narrowLocked(aim)
	default: // more members to know, all of whom a server knows
		p.resizing = time.Time{}
		p.splits = aim
		p.greetLocked(greetServer)
	}
	var lost []string
	if !p.moved.IsZero() && now.Sub(p.moved) > unheardTime {
		p.moved = time.Time{}
		for name, r := range p.members {
			if r.unheard && r.status == Alive {
				lost = append(lost, name)
			}
		}
	}
	for _, name := range lost {
		p.setGoneLocked(name)
	}
	p.mu.Unlock()
	if changed {
		p.log.Info("the region has another number of segments for clients", "segments", 1<<p.Local().splits)
		p.announce()
	}
	if move {
		p.move(aim)
	}
}

// move begins another memberlist, of the members of a smaller segment: memberlist cannot forget a living member. What is
// known of those who stay known remains, and is given up when nobody has heard of them by unheardTime.
func (p *Pool) move(splits byte) {
	p.mu.Lock()
	life := p.life + 1
	p.mu.Unlock()
	list, err := p.create(life)
	if err != nil {
		p.log.Error("cannot move to a smaller segment", "err", err)
		return
	}
	p.mu.Lock()
	if p.ctx.Err() != nil || p.leaving || p.local.Role != RoleClient {
		p.mu.Unlock()
		list.Shutdown()
		return
	}
	old := p.list
	p.list, p.life, p.splits, p.moved = list, life, splits, time.Now()
	p.forgetStrangersLocked()
	for name, r := range p.members {
		r.unheard = name != p.local.Name
	}
	for ch := range p.subscribers {
		p.dropLocked(ch)
	}
	p.greetLocked(greetPeers)
	p.mu.Unlock()
	old.Shutdown()
	p.log.Debug("moved to a smaller segment", "segments", 1<<splits)
	p.announce() // what changed while the new list began
}

// loneliness says whom one that is new in a segment should meet.
type loneliness byte

const (
	notLonely   loneliness = iota
	greetPeers             // clients of its segment; a server when it knows none
	greetServer            // a server in any case
)

func (p *Pool) greetLocked(l loneliness) {
	p.lonely = max(p.lonely, l)
	select {
	case p.greeting <- struct{}{}:
	default:
	}
}

// greet exchanges states with some of a segment that this member is new in, so that they know each other at once. It is
// tried again at each tick until it worked.
func (p *Pool) greet() {
	p.mu.Lock()
	lonely, list := p.lonely, p.list
	p.lonely = notLonely
	if lonely == greetPeers && p.splits == 0 {
		lonely = notLonely // whoever it joined knows everybody
	}
	targets := p.someLocked(RoleClient, greeted)
	if lonely == greetServer || len(targets) == 0 {
		targets = append(p.someLocked(RoleServer, 1), targets...)
	}
	p.mu.Unlock()
	if lonely == notLonely {
		return
	}
	if _, err := list.Join(targets); err != nil || len(targets) == 0 {
		p.mu.Lock()
		p.lonely = max(p.lonely, lonely)
		p.mu.Unlock()
	}
}

// someLocked returns the addresses of up to n living others of a role.
func (p *Pool) someLocked(role Role, n int) (addrs []string) {
	for name, r := range p.members {
		if r.status == Alive && r.role() == role && name != p.local.Name {
			addrs = append(addrs, r.addr.String())
		}
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return addrs[:min(n, len(addrs))]
}
