package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// twinRoom names what is reserved for a role from a time on.
type twinRoom struct {
	role string
	from structs.Time
}

// portsOn is which ports of a node are reserved, by number, for whom and from when; taken: somebody has it, or is offered it.
func (w *twin) portsOn(id structs.NodeID, without []*twinHold) map[int]twinPort {
	all := map[int]twinPort{}
	reserve := func(x twinRoom, ports []structs.Range) {
		for _, r := range ports {
			for p := int(r.First); p <= int(r.Last); p++ {
				old, twice := all[p]
				depth := strings.Count(x.role, "/") - strings.Count(old.role, "/")
				if !twice || cmp.Or(-depth, strings.Compare(x.role, old.role), cmp.Compare(x.from, old.from)) < 0 {
					all[p] = twinPort{twinRoom: x}
				}
			}
		}
	}
	if n := w.nodes[id]; n != nil {
		for role, amount := range n.ReservedFor {
			reserve(twinRoom{role, 0}, amount.PortRanges())
		}
	}
	for _, r := range w.reservations {
		if r.Node == id {
			reserve(twinRoom{r.Role, r.From}, r.Resources.PortRanges())
		}
	}
	take := func(p int) {
		if x, is := all[p]; is {
			x.taken = true
			all[p] = x
		}
	}
	for _, h := range w.held() {
		if h.node != id || slices.Contains(without, h) {
			continue
		}
		for _, p := range h.ports {
			take(p.Port)
		}
		for _, r := range h.amount.PortRanges() {
			for p := int(r.First); p <= int(r.Last); p++ {
				if under(h.role, all[p].role) {
					take(p)
				}
			}
		}
	}
	return all
}

type twinPort struct {
	twinRoom
	taken bool
}

// rangesOf lists those ports that are so.
func rangesOf(all map[int]twinPort, so func(twinPort) bool) (out []structs.Range) {
	for _, p := range slices.Sorted(maps.Keys(all)) {
		if so(all[p]) {
			out = structs.WithIndex(out, p)
		}
	}
	return out
}

// unusedOn is what of reserved room on a node is not used: resource by resource, from the leaves of the tree of roles up. What
// a role holds goes into its own reserved room, first into what is needed first, and what does not fit there into that of the
// role above.
func (w *twin) unusedOn(id structs.NodeID, without []*twinHold, given func(*twinKept) bool) map[twinRoom]structs.Resources {
	reserved, held, roles := map[twinRoom]map[string]int64{}, map[string]map[string]int64{}, map[string]bool{}
	known := func(role string) {
		for _, r := range ancestors(role) {
			roles[r] = true
		}
	}
	reserve := func(x twinRoom, amount structs.Resources) {
		if reserved[x] == nil {
			reserved[x] = map[string]int64{}
		}
		for k, v := range kindsOf(amount) {
			reserved[x][k] += v
		}
		known(x.role)
	}
	hold := func(role string, amount structs.Resources) {
		if held[role] == nil {
			held[role] = map[string]int64{}
		}
		for k, v := range kindsOf(amount) {
			held[role][k] += v
		}
		known(role)
	}
	if n := w.nodes[id]; n != nil {
		for role, amount := range n.ReservedFor {
			reserve(twinRoom{role, 0}, *amount)
		}
		for _, v := range n.Volumes {
			hold(v.Role, v.Takes())
		}
	}
	for _, r := range w.reservations {
		if r.Node == id {
			reserve(twinRoom{r.Role, r.From}, r.Resources)
		}
	}
	for _, p := range w.portsOn(id, without) {
		reserve(p.twinRoom, structs.Resources{})
	}
	if len(reserved) == 0 {
		return nil
	}
	// earliest lists what is reserved for a role, what is needed first before.
	earliest := func(role string) (list []twinRoom) {
		for x := range reserved {
			if x.role == role {
				list = append(list, x)
			}
		}
		slices.SortFunc(list, func(x, y twinRoom) int { return cmp.Compare(x.from, y.from) })
		return list
	}
	for _, id2 := range slices.Sorted(maps.Keys(w.reservations)) {
		r := w.reservations[id2]
		if r.Node != id || r.Refines == "" {
			continue
		}
		for k, v := range kindsOf(r.Resources) {
			for _, x := range earliest(r.Refines) {
				if x.from <= r.From {
					taken := min(v, reserved[x][k])
					reserved[x][k] -= taken
					v -= taken
				}
			}
		}
	}
	for _, h := range w.held() {
		if h.node == id && !slices.Contains(without, h) {
			hold(h.role, h.booked())
		}
	}
	for _, k := range w.kept {
		if k.node == id && !given(k) {
			hold(k.key.role, k.room)
		}
	}
	unused := map[twinRoom]structs.Resources{}
	var flow func(role string) map[string]int64
	flow = func(role string) map[string]int64 {
		left := map[string]int64{}
		for k, v := range held[role] {
			left[k] += v
		}
		for r := range roles {
			if strings.HasPrefix(r, role+"/") && !strings.Contains(r[len(role)+1:], "/") {
				for k, v := range flow(r) {
					left[k] += v
				}
			}
		}
		for _, x := range earliest(role) {
			for k, v := range reserved[x] {
				used := min(v, left[k])
				left[k] -= used
				u := unused[x]
				switch k {
				case "cpu":
					u.CPU = structs.Milli(v - used)
				case "memory":
					u.Memory = structs.Bytes(v - used)
				case "disk":
					u.Disk = structs.Bytes(v - used)
				default:
					u = u.Add(structs.Resources{Custom: map[string]structs.Milli{k: structs.Milli(v - used)}})
				}
				unused[x] = u
			}
		}
		return left
	}
	for r := range roles {
		if !strings.Contains(r, "/") {
			flow(r)
		}
	}
	for p, x := range w.portsOn(id, without) {
		if !x.taken {
			unused[x.twinRoom] = unused[x.twinRoom].Add(structs.OfPorts([]structs.Range{{First: int64(p), Last: int64(p)}}))
		}
	}
	return unused
}

// borrow returns the node for a request that has ended when reserved room is needed, or nil.
func (w *twin) borrow(r *twinRequest) *placement.Node {
	if r.Ask.MaxRun <= 0 {
		return nil
	}
	all, peers := w.books(r.Role, r.Ask.Job, nil)
	nodes := map[structs.NodeID]*placement.Node{}
	for id, n := range all {
		for x, amount := range w.unusedOn(id, nil, func(*twinKept) bool { return false }) {
			if !under(r.Role, x.role) && x.from >= w.now.Add(r.Ask.MaxRun).Add(EndMargin) && !amount.IsZero() {
				n = n.With(amount)
				nodes[id] = n
			}
		}
	}
	return w.bestOf(nodes, peers, r)
}

// bestOf is best without a preference for reserved room.
func (w *twin) bestOf(nodes map[structs.NodeID]*placement.Node, peers *placement.Peers, r *twinRequest) *placement.Node {
	slot := r.pending[0]
	if n := nodes[slot.Prefer]; n != nil && placement.Fits(n, peers, r.now, placement.First).OK {
		return n
	}
	return placement.Best(slices.Collect(maps.Values(nodes)), peers, r.now, slot.Avoid)
}

// reservedNodes are the nodes with unused room that is reserved for a role or one above.
func (w *twin) reservedNodes(role string) map[structs.NodeID]bool {
	out := map[structs.NodeID]bool{}
	for id := range w.nodes {
		for reserved, amount := range w.unusedOn(id, nil, func(*twinKept) bool { return false }) {
			if under(role, reserved.role) && !amount.IsZero() {
				out[id] = true
			}
		}
	}
	return out
}

func drawReservation(t *rapid.T) structs.ReservationID {
	return structs.ReservationID(fmt.Sprintf("v%d", rapid.IntRange(0, 4).Draw(t, "reservation")))
}

func drawReserved(t *rapid.T) *structs.Resources {
	r := &structs.Resources{CPU: structs.Milli(250 * rapid.IntRange(0, 6).Draw(t, "reserved cpu")),
		Memory: structs.Bytes(rapid.IntRange(0, 4).Draw(t, "reserved memory")) << 28}
	if rapid.IntRange(0, 3).Draw(t, "reserved gpus") == 0 {
		r.Custom = map[string]structs.Milli{"gpus": 500}
	}
	if rapid.IntRange(0, 3).Draw(t, "reserved disk") == 0 {
		*r = r.Add(structs.OnDisk("ssd", 1<<20))
	}
	if rapid.IntRange(0, 2).Draw(t, "reserved ports") == 0 {
		first := int64(rapid.IntRange(100, 103).Draw(t, "port"))
		*r = r.Add(structs.OfPorts([]structs.Range{{First: first, Last: first + int64(rapid.IntRange(0, 2).Draw(t, "more ports"))}}))
	}
	return r
}

// reserve sets room aside, also where others are, and also out of what is set aside for a role above.
func reserve(t *rapid.T, a *Allocator, w *twin) {
	r := &structs.Reservation{ID: drawReservation(t), Node: drawID(t), Role: rapid.SampledFrom(testRoles).Draw(t, "role"), Resources: *drawReserved(t)}
	if rapid.IntRange(0, 2).Draw(t, "timed") == 0 {
		r.From = structs.Time(rapid.IntRange(1, 20).Draw(t, "from")) * 10e9
	}
	if above := ancestors(r.Role)[1:]; len(above) > 0 && rapid.Bool().Draw(t, "refined") {
		r.Refines = rapid.SampledFrom(above).Draw(t, "refines")
	}
	if old := w.reservations[r.ID]; old != nil && old.Node != r.Node {
		delete(w.reservations, r.ID)
		w.settle(old.Node)
		w.ripe[old.Node] = true
	}
	w.reservations[r.ID] = r
	w.settle(r.Node)
	w.ripe[r.Node] = true
	if err := a.SetReservation(r); err != nil {
		t.Fatal(err)
	}
}
