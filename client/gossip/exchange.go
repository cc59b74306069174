package gossip

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"
)

// Anti-entropy. Gossip repeats each piece of news a number of times to random members; with bad luck it passes somebody by,
// and memberlist's own exchange of the whole state comes around only every half a minute or more. So the answers to probes,
// which every member gets each second, carry a digest of what their sender knows. When the digests of two members differ,
// although nothing new has reached either of them for longer than gossip takes, they exchange their states at once.

// settleTime is how long news may take to reach everyone by gossip.
func settleTime(alive int) time.Duration {
	return time.Second + time.Duration(math.Ceil(math.Log10(float64(max(alive, 1)))))*time.Second
}

// exchangePause bounds the cost of exchanges, which grows with the size of the pool.
func exchangePause(alive int) time.Duration {
	return max(time.Second, time.Duration(alive)*5*time.Millisecond)
}

// The two parts of what a member knows of the living.
const (
	servers = iota // and notices: known to all
	clients        // of the segment
)

// countLocked adds a living member to what we know, or takes it out.
func (p *Pool) countLocked(name string, r *record, by int) {
	part := clients
	if r.role() == RoleServer {
		part = servers
	}
	p.alive += by
	p.population.Store(int64(p.alive))
	p.digest[part] += uint64(by) * hashOf(name, r.meta)
	p.changed[part] = time.Now()
}

// digestLocked sums up what we know: the living servers with their meta and the notices that are passed on, or the living
// clients.
func (p *Pool) digestLocked(part int) uint64 {
	sum := p.digest[part]
	if part == servers {
		for _, n := range p.notices {
			if time.Since(n.born) < noticeSpread {
				sum += n.hash()
			}
		}
	}
	return sum
}

// segmentDigestLocked is what the digest of clients has to be at a member whose region is split so far; false when we do
// not know all that it knows.
func (p *Pool) segmentDigestLocked(of string, splits byte) (uint64, bool) {
	if splits == p.splits {
		return p.digest[clients], true
	}
	if splits < p.splits || splits > maxSplits {
		return 0, false
	}
	sum, segment := uint64(0), segmentOf(of, splits)
	for name, r := range p.members {
		if r.status == Alive && r.role() == RoleClient && segmentOf(name, splits) == segment {
			sum += hashOf(name, r.meta)
		}
	}
	return sum, true
}

// The digests in the answers to probes: for servers and for clients what the sender knows (8 bytes) and for how long it has
// known just that (1 byte, seconds), then how far its region is split.
const digestSize = 9 + 9 + 1

func (d delegate) AckPayload() []byte {
	p := d.p
	p.mu.Lock()
	defer p.mu.Unlock()
	raw := make([]byte, 0, digestSize)
	for part := range 2 {
		raw = binary.BigEndian.AppendUint64(raw, p.digestLocked(part))
		raw = append(raw, byte(min(time.Since(p.changed[part])/time.Second, 255)))
	}
	return append(raw, p.splits)
}

// NotifyPingComplete compares digests.
func (d delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, payload []byte) {
	if len(payload) < digestSize {
		return
	}
	p := d.p
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.exchanged) < exchangePause(p.alive) || p.leaving || d.life != p.life {
		return
	}
	settled := settleTime(p.alive)
	for part := range 2 {
		theirs, age := binary.BigEndian.Uint64(payload[9*part:]), time.Duration(payload[9*part+8])*time.Second
		if age < settled || now.Sub(p.changed[part]) < settled {
			continue
		}
		ours, comparable := p.digestLocked(part), true
		if part == clients {
			ours, comparable = p.segmentDigestLocked(n.Name, payload[18])
		}
		if !comparable || ours == theirs {
			continue
		}
		select {
		case p.disagreed <- addressOf(n):
			p.exchanged = now
		default:
		}
		return
	}
}

// exchange syncs with the members that disagree, one at a time.
func (p *Pool) exchange() {
	for {
		select {
		case addr := <-p.disagreed:
			if _, err := p.memberlist().Join([]string{addr}); err != nil {
				p.log.Debug("cannot exchange states", "with", addr, "err", err)
			}
		case <-p.ctx.Done():
			return
		}
	}
}

// reconnect tries to reach members again that failed or left, so that a healed partition grows together: memberlist forgets
// the dead after half a minute. Each member tries with the probability that makes it about one try for each of them and tick
// in the whole pool. It also forgets members and notices that are long gone, and keeps to the segments.
func (p *Pool) reconnect() {
	tick := time.NewTicker(reconnectTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.resize()
			p.greet()
		case <-p.greeting:
			p.greet()
			continue
		case <-p.ctx.Done():
			return
		}
		if addr := p.pickGone(); addr != "" {
			if _, err := p.memberlist().Join([]string{addr}); err == nil {
				p.log.Info("reached a member again that was gone", "addr", addr)
			}
		}
	}
}

func (p *Pool) pickGone() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	old := uint32(now.Add(-forgetAfter).Unix())
	var gone []string
	for name, r := range p.members {
		switch {
		case r.status != Alive && r.since < old:
			delete(p.members, name)
		case r.status == Failed || r.status == Left:
			gone = append(gone, r.addr.String())
		}
	}
	for name, n := range p.notices {
		if now.Sub(n.born) > forgetAfter {
			delete(p.notices, name)
		}
	}
	if len(gone) == 0 || p.leaving || rand.Float64()*float64(p.alive) > float64(len(gone)) {
		return ""
	}
	return gone[rand.IntN(len(gone))]
}
