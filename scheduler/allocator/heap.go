package allocator

// heap keeps items with the first one on top, and tells each where it is, so that it can be moved or removed.
type heap[T any] struct {
	items []T
	less  func(a, b T) bool
	at    func(T) *int // where the item notes its position; -1 when it is in no heap
}

func (h *heap[T]) len() int { return len(h.items) }

func (h *heap[T]) top() T { return h.items[0] }

func (h *heap[T]) push(x T) {
	h.items = append(h.items, x)
	*h.at(x) = len(h.items) - 1
	h.up(len(h.items) - 1)
}

func (h *heap[T]) remove(x T) {
	i, last := *h.at(x), len(h.items)-1
	*h.at(x) = -1
	if i != last {
		h.items[i] = h.items[last]
		*h.at(h.items[i]) = i
	}
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	if i != last {
		h.fixAt(i)
	}
}

// fix restores the order after x changed.
func (h *heap[T]) fix(x T) { h.fixAt(*h.at(x)) }

// init restores the order after everything changed.
func (h *heap[T]) init() {
	for i := len(h.items)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *heap[T]) fixAt(i int) {
	if h.up(i) == i {
		h.down(i)
	}
}

func (h *heap[T]) up(i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			break
		}
		h.swap(i, parent)
		i = parent
	}
	return i
}

func (h *heap[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return
		}
		if child+1 < len(h.items) && h.less(h.items[child+1], h.items[child]) {
			child++
		}
		if !h.less(h.items[child], h.items[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h *heap[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.at(h.items[i]), *h.at(h.items[j]) = i, j
}
