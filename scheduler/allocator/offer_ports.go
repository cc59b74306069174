package allocator

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// An offer has a number of ports. Which ones is decided when somebody asks, since most never do: the lowest free ones that are
// named in no other offer of the node.

// PortsOf returns the ports of an outstanding offer, the same ones each time; nil when there is no such offer. The slice must
// not be changed.
func (a *Allocator) PortsOf(id structs.OfferID) []structs.Range {
	o := a.offers[id]
	if o == nil || o.Resources.Ports == 0 {
		return nil
	}
	if o.ports == nil {
		o.ports = o.node.FreePorts(o.Resources.Ports, o.node.portsNamed(nil))
	}
	return o.ports
}

// portsNamed returns the ports that were named of the offers of a node, but for some of them.
func (n *node) portsNamed(but []*offer) (out []structs.Range) {
	var all structs.Resources
	for _, o := range n.offers {
		if len(o.ports) > 0 && !slices.Contains(but, o) {
			all = all.Add(structs.Resources{Ranges: map[string][]structs.Range{"ports": o.ports}})
		}
	}
	return all.Ranges["ports"]
}
