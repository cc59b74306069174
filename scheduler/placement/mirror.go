package placement

import "github.com/proffer/proffer/structs"

// Mirror takes over the books of another node with an amount given back: n shows of, in a pool of its own, to those for whom
// that amount is free. With nothing given back n takes no work. Whoever changes of mirrors it anew, and tells n's pool. They
// share the ports.
func (n *Node) Mirror(of *Node, back structs.Resources) {
	n.Ord, n.ID, n.spec, n.avail, n.ports, n.class = of.Ord, of.ID, of.spec, of.avail, of.ports, of.class
	n.used, n.ports.mine = of.used.Sub(back), back.PortRanges()
	if back.IsZero() {
		n.spec = nil
	}
}
