package allocator

import (
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
		o.ports = o.node.FreePorts(o.Resources.Ports, o.node.portsNamed())
	}
	return o.ports
}

// portsNamed returns the ports that were named of the offers of a node.
func (n *node) portsNamed() []structs.Range {
	var all structs.Resources
	for _, o := range n.offers {
		all = all.Add(structs.Resources{Ranges: map[string][]structs.Range{"ports": o.ports}})
	}
	return all.Ranges["ports"]
}

// portsOffered returns the ports of offers: an accept of them may name these.
func (a *Allocator) portsOffered(offers []*offer) []structs.Range {
	var all structs.Resources
	for _, o := range offers {
		all = all.Add(structs.Resources{Ranges: map[string][]structs.Range{"ports": a.PortsOf(o.ID)}})
	}
	return all.Ranges["ports"]
}
