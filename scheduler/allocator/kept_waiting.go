package allocator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// KeptRoom is room on a node that is kept for a request.
type KeptRoom struct {
	Request   string            `json:"request"`
	Node      structs.NodeID    `json:"node"`
	Name      string            `json:"node_name"`
	Known     bool              `json:"known"`               // whether there is a latest time for the start
	In        structs.Duration  `json:"in"`                  // that time, from now
	Unbounded []structs.AllocID `json:"unbounded,omitempty"` // what runs there without max_run_duration, when it is not known
	Nodes     int               `json:"nodes,omitempty"`     // of a gang: on so many room is kept; Node is the one that is expected last
}

// keptFor returns the room that is kept for a request, and where it would fit but for room that is kept for others, by
// node.
func (a *Allocator) keptFor(r *request) (own *KeptRoom, others []KeptRoom) {
	s := r.group.shape
	for _, k := range a.kept {
		if k.group == r.waitsIn() {
			_, last, _ := a.startOf(k)
			room := a.describeKept(k, cmp.Or(last, k.spots[0]))
			room.Request = r.ID
			own = &room
			continue
		}
		for _, x := range k.spots {
			if placement.Fits(x.node.seen(s.view, true, true), a.peersFor(s), s.ask, placement.First).OK {
				others = append(others, a.describeKept(k, x))
			}
		}
	}
	slices.SortFunc(others, func(x, y KeptRoom) int { return strings.Compare(string(x.Node), string(y.Node)) })
	return own, others
}

func (a *Allocator) describeKept(k *kept, at *spot) KeptRoom {
	room := KeptRoom{Request: k.group.requests.top().ID, Node: at.node.ID, Name: at.node.Name()}
	if k.on != nil {
		room.Nodes = len(k.spots)
	}
	if st, _, ok := a.startOf(k); ok && st.known {
		room.Known, room.In = true, max(st.at.Sub(a.now), 0)
		return room
	}
	for _, x := range k.spots {
		for _, h := range x.node.allocs {
			if h.ends == 0 && !h.leaving {
				room.Unbounded = append(room.Unbounded, h.alloc)
			}
		}
	}
	slices.Sort(room.Unbounded)
	return room
}

// KeptText tells which room is kept for it, and whose room it might otherwise have.
func (w *Waiting) KeptText() (lines []string) {
	if k := w.Kept; k != nil {
		where := k.Name
		if k.Nodes > 1 {
			where = fmt.Sprintf("%s and %d more for the gang", k.Name, k.Nodes-1)
		}
		lines = append(lines, fmt.Sprintf("room is kept for it on %s: %s", where, k.when()))
	}
	for _, k := range w.Behind {
		lines = append(lines, fmt.Sprintf("room on %s is kept for %s: %s", k.Name, k.Request, k.when()))
	}
	return lines
}

func (k *KeptRoom) when() string {
	if k.Known {
		return fmt.Sprintf("it starts in %s at the latest", k.In-k.In%1e9)
	}
	if len(k.Unbounded) == 0 {
		return "when it starts is not known yet"
	}
	return fmt.Sprintf("when it starts is not known, this has no max_run_duration: %s", joinIDs(k.Unbounded))
}
