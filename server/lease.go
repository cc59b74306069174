package server

import (
	"container/heap"
	"time"

	"github.com/proffer/proffer/structs"
)

// deadlines orders nodes by an instant each. It is pure: the caller passes the time and holds the lock.
type deadlines struct {
	nodes map[structs.NodeID]*deadline
	order deadlineHeap
}

type deadline struct {
	node  structs.NodeID
	ends  time.Time
	place int // in the heap
}

func newDeadlines() *deadlines { return &deadlines{nodes: make(map[structs.NodeID]*deadline)} }

// set gives a node its instant.
func (l *deadlines) set(node structs.NodeID, ends time.Time) {
	if x, ok := l.nodes[node]; ok {
		x.ends = ends
		heap.Fix(&l.order, x.place)
		return
	}
	x := &deadline{node: node, ends: ends}
	l.nodes[node] = x
	heap.Push(&l.order, x)
}

// extend is set, but never backwards and not for a node that is unknown.
func (l *deadlines) extend(node structs.NodeID, ends time.Time) {
	if x, ok := l.nodes[node]; ok && ends.After(x.ends) {
		l.set(node, ends)
	}
}

// delay moves every instant by d, which leaves their order as it is.
func (l *deadlines) delay(d time.Duration) {
	for _, x := range l.order {
		x.ends = x.ends.Add(d)
	}
}

// drop forgets a node.
func (l *deadlines) drop(node structs.NodeID) {
	if x, ok := l.nodes[node]; ok {
		heap.Remove(&l.order, x.place)
		delete(l.nodes, node)
	}
}

// ended removes and returns the nodes whose instant has come at now.
func (l *deadlines) ended(now time.Time) (nodes []structs.NodeID) {
	for len(l.order) > 0 && !l.order[0].ends.After(now) {
		x := heap.Pop(&l.order).(*deadline)
		delete(l.nodes, x.node)
		nodes = append(nodes, x.node)
	}
	return nodes
}

// next returns the first instant; the zero time when there is none.
func (l *deadlines) next() time.Time {
	if len(l.order) == 0 {
		return time.Time{}
	}
	return l.order[0].ends
}

type deadlineHeap []*deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].ends.Before(h[j].ends) }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *deadlineHeap) Push(x any) {
	l := x.(*deadline)
	l.place = len(*h)
	*h = append(*h, l)
}
func (h *deadlineHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}
