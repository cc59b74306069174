package state

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Accept is what a framework does with offers of a node that it accepted: operations, done in this order. Each is answered
// for itself, and what one refuses the next ones do without. Those with a Feedback leave what became of them.
type Accept struct {
	Framework       structs.FrameworkID
	Node            structs.NodeID
	NodeIncarnation uint64 // that it relies on
	Operations      []*Operation
}

// Operation is one of them. Exactly one field is set, beside Feedback.
type Operation struct {
	// Launch is of an allocation with External and Job, in the role of the offers. When its executor lives on the node, the tasks join
	// that one's allocation.
	Launch *Placement `codec:",omitempty"`
	// Reserve sets room aside as PutReservation does, with the framework as its owner.
	Reserve *structs.Reservation `codec:",omitempty"`
	// Unreserve releases room that the framework reserved: as much as its Resources say, of reservations with the same role and
	// labels. Of the last one the rest stays.
	Unreserve *structs.Reservation `codec:",omitempty"`
	Create    *structs.Volume      `codec:",omitempty"` // makes a volume, with Persistence, of what is reserved on the node for its role with its labels
	Destroy   string               `codec:",omitempty"` // deletes a volume by its name, at once
	Resize    *VolumeChange        `codec:",omitempty"`
	Make      *RawDisk             `codec:",omitempty"` // has a disk made of a raw one: it is there when the storage has made it
	Unmake    string               `codec:",omitempty"` // makes a disk raw again, by its name

	// Feedback is what its framework wants to be told; nil: nothing. A launch has none.
	Feedback *Feedback `codec:",omitempty"`
}

// More reasons why something is refused.
const (
	RefusedTask    Refusal = "task"    // a task of that name lives
	RefusedUntold  Refusal = "untold"  // its framework owes too many acknowledgements; the leader finds that out
	RefusedKey     Refusal = "key"     // what was sent with it is sealed with a key that is not there any more; the same launch may go well now
	RefusedReserve Refusal = "reserve" // the room cannot be reserved, or is not

	RefusedExecutor Refusal = "executor" // its executor is another one
	RefusedEnding   Refusal = "ending"   // its executor is being stopped
)

// accept carries one accept out.
func (tx *Tx) accept(c *Accept) []PlaceResult {
	out := make([]PlaceResult, len(c.Operations))
	for i := 0; i < len(out); {
		n := PartsOf(c.Operations[i:])
		if c.Operations[i].Feedback == nil {
			out[i] = tx.operate(c, c.Operations[i])
		} else {
			tx.operateTogether(c, c.Operations[i:i+n], out[i:i+n])
		}
		i += n
	}
	return out
}

// operate carries one operation out.
func (tx *Tx) operate(c *Accept, op *Operation) (r PlaceResult) {
	if r.Refused, r.Why = tx.usable(c); r.Refused != "" {
		return r
	}
	switch {
	case op.Launch != nil && op.Launch.Alloc != nil:
		p := *op.Launch
		p.NodeIncarnation = c.NodeIncarnation
		r.ID = p.Alloc.ID
		if p.Job == nil || p.Alloc.External == nil || p.Alloc.Job != "" || p.Alloc.Node != c.Node || p.Alloc.Framework != c.Framework {
			r.Refused, r.Why = RefusedInvalid, "it is no work of the framework on the node"
			return r
		}
		if r.Why = tx.unsealable(p.Alloc.External); r.Why != "" {
			r.Refused = RefusedKey
			return r
		}
		r.ID, r.Refused, r.Why = tx.launch(&p)
	case op.Reserve != nil:
		x := *op.Reserve
		x.Node, x.Owner = c.Node, c.Framework
		if _, err := tx.run(&PutReservation{Reservation: &x}); err != nil {
			r.Refused, r.Why = RefusedReserve, err.Error()
		}
	case op.Unreserve != nil:
		if _, err := tx.run(&unreserve{c.Framework, c.Node, op.Unreserve}); err != nil {
			r.Refused, r.Why = RefusedReserve, err.Error()
		}
	case op.Create != nil || op.Destroy != "" || op.Resize != nil:
		if err := tx.ofVolume(c, op); err != nil {
			r.Refused, r.Why = RefusedVolume, err.Error()
		}
	case op.Make != nil || op.Unmake != "":
		waits := ""
		if op.Feedback != nil {
			waits = op.Feedback.ID
		}
		var part Command = &unmakeDisk{c.Framework, c.Node, op.Unmake, waits}
		if op.Make != nil {
			part = &makeDisk{c.Framework, c.Node, op.Make, waits}
		}
		if _, err := tx.run(part); err != nil {
			r.Refused, r.Why = RefusedVolume, err.Error()
		}
	default:
		r.Refused, r.Why = RefusedInvalid, "it is no operation"
	}
	return r
}

// disk names the disk whose storage is asked by an operation; empty: none is.
func (op *Operation) disk() string {
	if op.Make != nil {
		return op.Make.Name
	}
	return op.Unmake
}

func (tx *Tx) usable(c *Accept) (Refusal, string) {
	n := get(tx.nodes, c.Node)
	switch {
	case tx.framework(c.Framework) == nil:
		return RefusedJob, "its framework is gone"
	case n == nil:
		return RefusedNode, "the node is gone"
	case !n.Schedulable():
		return RefusedNode, fmt.Sprintf("%s takes no work now", nodeText(n))
	case n.Incarnation != c.NodeIncarnation:
		return RefusedNode, fmt.Sprintf("%s came back as another incarnation", nodeText(n))
	}
	return "", ""
}

// unreserve is a part of an accept, and no command of its own.
type unreserve struct {
	framework structs.FrameworkID
	node      structs.NodeID
	want      *structs.Reservation
}

func (*unreserve) Kind() string { return "unreserve" }

// Apply releases.
func (c *unreserve) Apply(tx *Tx) (any, error) {
	n, err := tx.node(c.node)
	if err != nil {
		return nil, err
	}
	object := "reservation on " + nodeText(n)
	if err := c.want.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "%w", err)
	}
	of := func(r *structs.Reservation) bool {
		return r.Owner == c.framework && r.Role == c.want.Role && maps.Equal(r.Labels, c.want.Labels)
	}
	if left := tx.takeOut(c.node, of, c.want.Resources, nil); !left.IsZero() {
		return nil, structs.Errorf(structs.Conflict, object, "%s more are to be released than the framework reserved for role %q with these labels",
			left, c.want.Role)
	}
	if out := tx.brokenOut(n, c.want.Role); out != nil {
		return nil, structs.Errorf(structs.Conflict, object, "%s for role %q is taken out of it", out.ID, out.Role)
	}
	if v := tx.uncovered(n, c.want.Role); v != nil {
		return nil, structs.Errorf(structs.Conflict, object, "volume %q is made of it", v.Persistence)
	}
	return nil, nil
}

// takeOut takes an amount out of the reservations on a node that are so, by their ids, and gives each of them what becomes of its part; nil: nothing.
// One that has nothing left goes. It returns how much more was asked for than there is.
func (tx *Tx) takeOut(node structs.NodeID, of func(*structs.Reservation) bool, amount structs.Resources,
	becomes func(structs.Resources) structs.Resources) (left structs.Resources) {
	left = amount
	for _, r := range slices.Clone(tx.reservedOn(node)) {
		taken := r.Resources.Least(left)
		if taken.IsZero() || !of(r) {
			continue
		}
		left = left.Sub(taken)
		next := *r
		next.Resources, next.ModifyIndex = r.Resources.Sub(taken), tx.Index
		if becomes != nil {
			next.Resources = next.Resources.Add(becomes(taken))
		}
		if next.Resources = positive(next.Resources); next.Resources.IsZero() {
			tx.put(Reservations, r, nil)
		} else {
			tx.put(Reservations, r, &next)
		}
	}
	return positive(left)
}

// positive leaves out custom scalars of which there is nothing.
func positive(r structs.Resources) structs.Resources {
	custom := maps.Clone(r.Custom)
	maps.DeleteFunc(custom, func(_ string, v structs.Milli) bool { return v == 0 })
	if len(custom) == 0 {
		custom = nil
	}
	r.Custom = custom
	return r
}
