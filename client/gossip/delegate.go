package gossip

import (
	"encoding/binary"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/structs"
)

// delegate is what memberlist calls. Some calls come with memberlist's lock held: nothing here blocks, or calls memberlist.
type delegate struct{ p *Pool }

func (d delegate) NodeMeta(int) []byte {
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	return d.p.meta
}

// NotifyMsg takes a notice; see notice.go.
func (d delegate) NotifyMsg(raw []byte) {
	for _, n := range parseNotices(raw) {
		d.p.hear(n)
	}
}

func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.p.queue.GetBroadcasts(overhead, limit)
}

// LocalState and MergeRemoteState exchange the notices with the members.
func (d delegate) LocalState(bool) []byte {
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	return d.p.noticesLocked()
}

func (d delegate) MergeRemoteState(raw []byte, _ bool) { d.NotifyMsg(raw) }

// NotifyAlive refuses members that are not ours.
func (d delegate) NotifyAlive(n *memberlist.Node) error { return d.p.admit(n) }

// NotifyMerge refuses to join with a pool that has living members that are not ours.
func (d delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if n.State != memberlist.StateAlive {
			continue
		}
		if err := d.p.admit(n); err != nil {
			return err
		}
	}
	return nil
}

// admit says why a member does not belong to the region, and logs each reason once a minute.
func (p *Pool) admit(n *memberlist.Node) error {
	m, _, ok := parseMeta(n.Meta)
	var err *structs.Error
	switch {
	case !ok:
		err = structs.Errorf(structs.Invalid, "member "+n.Name+" at "+addressOf(n), "does not speak version %d of this pool", metaVersion).
			Advise("it may be another program, or a version of Proffer that does not go together with this one")
	case m.Region != p.config.Local.Region:
		err = structs.Errorf(structs.Invalid, "member "+n.Name+" at "+addressOf(n), "is of region %q and this is region %q",
			m.Region, p.config.Local.Region).Advise("correct its region or the address that it joined")
	default:
		return nil
	}
	p.warn(err)
	return err
}

// warn logs err unless the same was logged in the last minute.
func (p *Pool) warn(err *structs.Error) {
	if p.quiet.first(err.Error()) {
		p.log.Warn("refused a member", "err", err.Error())
	}
}

// NotifyConflict says that two agents use one name.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.p.warn(structs.Errorf(structs.Conflict, "member "+existing.Name, "is at %s, and another agent of that name at %s",
		addressOf(existing), addressOf(other)).Advise("give each agent a name of its own"))
}

func (d delegate) NotifyJoin(n *memberlist.Node)   { d.p.setAlive(n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.p.setAlive(n) }

func (p *Pool) setAlive(n *memberlist.Node) {
	if _, _, ok := parseMeta(n.Meta); !ok {
		return // admit refused it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.members[n.Name]
	event := Changed
	if r == nil {
		r = &record{}
		p.members[n.Name] = r
	}
	if r.status != Alive {
		event = Joined
		r.status, r.since = Alive, time.Now().Unix()
		p.alive++
	} else {
		p.digest -= hashOf(n.Name, r.meta)
	}
	r.meta, r.addr = n.Meta, addrOf(n)
	p.digest += hashOf(n.Name, r.meta)
	p.changed = time.Now()
	p.tellLocked(event, n.Name, r)
	p.saveLocked()
}

func (d delegate) NotifyLeave(n *memberlist.Node) {
	p := d.p
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.members[n.Name]
	if r == nil || r.status != Alive {
		return
	}
	p.alive--
	p.digest -= hashOf(n.Name, r.meta)
	p.changed = time.Now()
	r.status, r.since = Failed, time.Now().Unix()
	event := Broken
	if note := p.notices[n.Name]; note != nil && note.run == r.run() {
		r.status, event = Left, Gone
	}
	p.tellLocked(event, n.Name, r)
	p.saveLocked()
}

// hashOf must be the same on every member.
func hashOf(name string, meta []byte) uint64 {
	const prime = 1099511628211 // FNV-1a
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	h *= prime
	for _, b := range meta {
		h = (h ^ uint64(b)) * prime
	}
	return h ^ h>>32
}

// The digest in the answers to probes: what the sender knows (8 bytes), and for how long it has known just that
// (1 byte, seconds).
const digestSize = 9

func (d delegate) AckPayload() []byte {
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, digestSize), d.p.digestLocked())
	return append(raw, byte(min(time.Since(d.p.changed)/time.Second, 255)))
}

// NotifyPingComplete compares digests. See exchange.
func (d delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, payload []byte) {
	if len(payload) < digestSize {
		return
	}
	p := d.p
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	settled := settleTime(p.alive)
	theirs := time.Duration(payload[8]) * time.Second
	if binary.BigEndian.Uint64(payload) == p.digestLocked() || now.Sub(p.changed) < settled || theirs < settled ||
		now.Sub(p.exchanged) < exchangePause(p.alive) || p.leaving {
		return
	}
	select {
	case p.disagreed <- addressOf(n):
		p.exchanged = now
	default:
	}
}
