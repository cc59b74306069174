package gossip

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// A notice says that a life of a member has ended on purpose: it said goodbye, or an operator declared that it does not
// come back, which outweighs a goodbye. It is spread in three ways, so that none of them has to be lucky: by gossip, with
// every exchange of the state, and since the digest covers it, by an exchange with whoever did not get it.
//
// It travels with its age, so that all forget it at about the same time: what is passed on is younger than noticeSpread,
// and what is kept younger than forgetAfter. So one who forgot cannot be told again by one who has not.
type notice struct {
	name  string
	run   uint32
	final bool // by an operator
	born  time.Time
}

// status is that of a member whose life ended so.
func (n *notice) status() Status {
	if n.final {
		return Removed
	}
	return Left
}

// hash is its part of the digest.
func (n *notice) hash() uint64 {
	return hashOf(n.name, binary.BigEndian.AppendUint32([]byte(n.status()), n.run))
}

const (
	noticeSpread = time.Hour
	maxNotices   = 4096 // known; the oldest give way
	noticeType   = 'L'
)

// message is the form on the wire: type, then per notice the length of the name, the name, run (4), age in seconds (4),
// and 1 when it is final.
func (n *notice) message() []byte { return n.append([]byte{noticeType}) }

func (n *notice) append(to []byte) []byte {
	to = append(to, byte(len(n.name)))
	to = append(to, n.name...)
	to = binary.BigEndian.AppendUint32(to, n.run)
	to = binary.BigEndian.AppendUint32(to, uint32(max(time.Since(n.born), 0)/time.Second))
	if n.final {
		return append(to, 1)
	}
	return append(to, 0)
}

func parseNotices(raw []byte) []*notice {
	var all []*notice
	if len(raw) == 0 || raw[0] != noticeType {
		return nil
	}
	for raw = raw[1:]; len(raw) > 0; {
		n := int(raw[0])
		if len(raw) < 1+n+9 {
			break
		}
		rest := raw[1+n:]
		age := time.Duration(binary.BigEndian.Uint32(rest[4:])) * time.Second
		all = append(all, &notice{name: string(raw[1 : 1+n]), run: binary.BigEndian.Uint32(rest), final: rest[8] == 1, born: time.Now().Add(-age)})
		raw = rest[9:]
	}
	return all
}

// noticesLocked is what an exchange carries.
func (p *Pool) noticesLocked() []byte {
	raw := []byte{noticeType}
	for _, n := range p.notices {
		if time.Since(n.born) < noticeSpread {
			raw = n.append(raw)
		}
	}
	return raw
}

// hear takes a notice of another member.
func (p *Pool) hear(n *notice) {
	age := time.Since(n.born)
	if age > noticeSpread+time.Minute {
		return
	}
	p.mu.Lock()
	if n.name == p.local.Name && n.run == p.run && !p.leaving {
		// Somebody declared us left, and we live: we begin another life.
		p.run = rand.Uint32()
		meta, err := p.local.meta(p.run)
		if err == nil {
			p.meta = meta
		}
		if p.ctx.Err() == nil {
			p.wg.Go(p.announce) // not here: memberlist calls us
		}
		p.mu.Unlock()
		p.log.Warn("another member declared this one left: told the pool that it is alive")
		return
	}
	p.noteLocked(n.name, n.run, age, n.final)
	p.mu.Unlock()
}

// noteLocked records that a life ended, and passes it on if that is news.
func (p *Pool) noteLocked(name string, run uint32, age time.Duration, final bool) *notice {
	if old := p.notices[name]; old != nil && old.run == run && (old.final || !final) {
		return old
	}
	n := &notice{name: name, run: run, final: final, born: time.Now().Add(-age)}
	if len(p.notices) >= maxNotices {
		p.forgetOldestLocked()
	}
	p.notices[name] = n
	p.changed[servers] = time.Now()
	p.queue.QueueBroadcast(broadcast{name, n.message()})
	if r := p.members[name]; r != nil && r.run() == run && r.status != Alive && r.status != n.status() {
		r.set(n.status())
		p.tellLocked(Gone, name, r)
		p.saveLocked()
	}
	return n
}

func (p *Pool) forgetOldestLocked() {
	all := make([]*notice, 0, len(p.notices))
	for _, n := range p.notices {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *notice) int { return a.born.Compare(b.born) })
	for _, n := range all[:len(all)/4] {
		delete(p.notices, n.name)
	}
}

// broadcast is a memberlist.NamedBroadcast: a newer notice about a member replaces an older one in the queue.
type broadcast struct {
	name string
	raw  []byte
}

func (b broadcast) Name() string    { return b.name }
func (b broadcast) Message() []byte { return b.raw }
func (b broadcast) Finished()       {}

func (b broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(broadcast)
	return ok && o.name == b.name
}
