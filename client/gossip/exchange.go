package gossip

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"
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

// digestLocked sums up what we know: the living members with their meta, and the notices that are passed on.
func (p *Pool) digestLocked() uint64 {
	sum := p.digest
	for _, n := range p.notices {
		if time.Since(n.born) < noticeSpread {
			sum += hashOf(n.name, binary.BigEndian.AppendUint32([]byte("left"), n.run))
		}
	}
	return sum
}

// exchange syncs with the members that disagree, one at a time.
func (p *Pool) exchange() {
	for {
		select {
		case addr := <-p.disagreed:
			if _, err := p.list.Join([]string{addr}); err != nil {
				p.log.Debug("cannot exchange states", "with", addr, "err", err)
			}
		case <-p.ctx.Done():
			return
		}
	}
}

// reconnect tries to reach failed members again, so that a healed partition grows together: memberlist forgets the dead
// after half a minute. Each member tries with the probability that makes it about one try for each failed member and tick
// in the whole pool. It also forgets members and notices that are long gone.
func (p *Pool) reconnect() {
	tick := time.NewTicker(reconnectTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
		if addr := p.pickFailed(); addr != "" {
			if _, err := p.list.Join([]string{addr}); err == nil {
				p.log.Info("reached a failed member again", "addr", addr)
			}
		}
	}
}

func (p *Pool) pickFailed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	old := now.Add(-forgetAfter).Unix()
	var failed []string
	for name, r := range p.members {
		switch {
		case r.status != Alive && r.since < old:
			delete(p.members, name)
		case r.status == Failed:
			failed = append(failed, r.addr.String())
		}
	}
	for name, n := range p.notices {
		if now.Sub(n.born) > forgetAfter {
			delete(p.notices, name)
		}
	}
	if len(failed) == 0 || p.leaving || rand.Float64()*float64(p.alive) > float64(len(failed)) {
		return ""
	}
	return failed[rand.IntN(len(failed))]
}
