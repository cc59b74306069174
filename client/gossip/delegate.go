package gossip

import (
	"bytes"
	"errors"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/structs"
)

// delegate is what memberlist calls. Some calls come with memberlist's lock held: nothing here blocks, or calls memberlist.
type delegate struct {
	p    *Pool
	life int // of the memberlist that calls; what an old one says counts for nothing
}

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

// NotifyAlive refuses members that are not ours, or of another segment.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	d.p.mu.Lock()
	stranger := n.Name != d.p.local.Name &&
		(d.life != d.p.life || len(n.Meta) > 1 && !d.p.knowsLocked(Role(n.Meta[1]), n.Name))
	d.p.mu.Unlock()
	if stranger {
		return errStranger
	}
	return d.p.admit(n)
}

// errStranger is not logged: see newLogger.
var errStranger = errors.New("it is of another segment")

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
	d.p.learnSplits(nodes)
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

func (d delegate) NotifyJoin(n *memberlist.Node)   { d.setAlive(n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.setAlive(n) }

func (d delegate) setAlive(n *memberlist.Node) {
	if _, _, ok := parseMeta(n.Meta); !ok {
		return // admit refused it
	}
	p := d.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.life != p.life || !p.knowsLocked(Role(n.Meta[1]), n.Name) {
		return // it was let in just before a move
	}
	r := p.members[n.Name]
	event := Changed
	if r == nil {
		r = &record{}
		p.members[n.Name] = r
	}
	r.unheard = false
	switch {
	case r.status != Alive:
		event = Joined
		r.set(Alive)
	case bytes.Equal(r.meta, n.Meta) && r.addr == addrOf(n):
		return // known since before a move
	default:
		p.countLocked(n.Name, r, -1)
	}
	r.meta, r.addr = n.Meta, addrOf(n)
	p.countLocked(n.Name, r, 1)
	p.tellLocked(event, n.Name, r)
	p.saveLocked()
}

func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	if d.life == d.p.life {
		d.p.setGoneLocked(n.Name)
	}
}

func (p *Pool) setGoneLocked(name string) {
	r := p.members[name]
	if r == nil || r.status != Alive {
		return
	}
	p.countLocked(name, r, -1)
	event := Broken
	r.set(Failed)
	if note := p.notices[name]; note != nil && note.run == r.run() {
		r.status, event = note.status(), Gone
	}
	p.tellLocked(event, name, r)
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
