package consensus

import (
	"errors"
	"time"

	"github.com/proffer/proffer/structs"
)

// watchDisk closes the gate while a write hangs. Raft's leader loop waits for its disk and its heartbeats go on without
// it, so a leader with a dead disk would rule for ever; with its gate closed the others elect another one.
func (n *Node) watchDisk() {
	tick := time.NewTicker(n.cfg.DiskTimeout / 10)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		since := n.logs.since.Load()
		hangs := since != 0 && time.Now().UnixNano()-since >= int64(n.cfg.DiskTimeout)
		if hangs == n.logs.stalled.Load() {
			continue
		}
		n.logs.stalled.Store(hangs)
		n.gate.closed.Store(hangs || n.failed.Load())
		n.lookAgain()
		if !hangs {
			n.log.Warn("the disk answers again")
			continue
		}
		n.log.Error("the disk does not answer: this server gives up leadership",
			"write_under_way_for", time.Duration(time.Now().UnixNano()-since).Round(time.Millisecond), "limit", n.cfg.DiskTimeout)
	}
}

// errFailed is what raft is told by the stores of a node that failed.
var errFailed = errors.New("this server failed, and takes no part until it is started again")

// fail ends this server's part in Raft: what its disk holds is not known, or it met an entry that it cannot read. From
// here on it sends nothing, stores nothing and applies nothing, and Fatal is told. Only the first call has an effect.
func (n *Node) fail(op string, err error) {
	if n.closed.Load() || n.failed.Swap(true) {
		return
	}
	n.gate.closed.Store(true)
	n.lookAgain()
	err = &structs.Error{Kind: structs.Unavailable, Op: op, Object: "server " + n.cfg.ID, Why: "it cannot take part any more: " + err.Error(), Err: err}
	n.log.Error("this server cannot go on", "error", err)
	n.cfg.Fatal(err)
}

// lookAgain wakes watchLeadership.
func (n *Node) lookAgain() {
	select {
	case n.again <- struct{}{}:
	default:
	}
}

// able tells whether this server may lead: its disk works.
func (n *Node) able() bool { return !n.logs.stalled.Load() && !n.failed.Load() }
