package allocator

// streaks counts by number of the node the offers in a row that were left unused, up to 255. It costs a byte for each node
// of a page of which there was one: most frameworks see few of the nodes.
type streaks []*[streakPage]uint8

const streakPage = 128

// add counts one more of a node and returns how many it are.
func (s *streaks) add(ord int) int {
	if more := ord/streakPage + 1 - len(*s); more > 0 {
		*s = append(*s, make(streaks, more)...)
	}
	page := &(*s)[ord/streakPage]
	if *page == nil {
		*page = new([streakPage]uint8)
	}
	n := &(*page)[ord%streakPage]
	*n = min(*n, 254) + 1
	return int(*n)
}

// end begins anew with a node.
func (s streaks) end(ord int) {
	if page := ord / streakPage; page < len(s) && s[page] != nil {
		s[page][ord%streakPage] = 0
	}
}
