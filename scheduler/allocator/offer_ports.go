package allocator

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// An offer has a number of ports. Which ones is decided when somebody asks, since most never do: the lowest free ones that are
// named in no other offer of the node. Reserved ports are not among them: an offer for which some are reserved has these by their
// numbers from the beginning, beside the others.

// PortsOf returns the ports of an outstanding offer that are not reserved, the same ones each time; nil when there is no such
// offer. The slice must not be changed.
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
func (n *node) portsNamed() (all []structs.Range) {
	for _, o := range n.offers {
		all = structs.UniteRanges(all, o.ports)
	}
	return all
}

// portsOffered returns the ports of offers, also those that are reserved: an accept of them may name these.
func (a *Allocator) portsOffered(offers []*offer) (all []structs.Range) {
	for _, o := range offers {
		all = structs.UniteRanges(structs.UniteRanges(all, a.PortsOf(o.ID)), o.Resources.PortRanges())
	}
	return all
}

// misnamed reports whether an offer has a port that was reserved since, or is not reserved for it any more.
func (o *offer) misnamed() bool {
	own := o.Resources.PortRanges()
	if len(structs.CommonRanges(o.ports, o.node.reserved)) > 0 {
		return true
	}
	if len(own) == 0 {
		return false
	}
	var mine structs.Resources
	if o.node.room != nil {
		for _, x := range o.node.room.rooms {
			if structs.RoleWithin(o.client.account.path, x.Role) {
				mine = mine.Add(structs.OfPorts(x.Reserved.PortRanges()))
			}
		}
	}
	return !mine.Fits(structs.OfPorts(own))
}

// names returns the ports that an operation names.
func (op *Operation) names() []structs.Range {
	if op.Reserves {
		return op.Resources.PortRanges()
	}
	var all []structs.Range
	for _, p := range op.Ports {
		all = append(all, structs.Range{First: int64(p.Port), Last: int64(p.Port)})
	}
	return structs.UniteRanges(nil, all)
}

// byNumber returns an amount of which some ports are named, as offers have it: of those that are reserved the numbers, and how many
// the others are.
func byNumber(amount structs.Resources, named, reserved []structs.Range) structs.Resources {
	if len(named) == 0 {
		return amount
	}
	own := structs.CommonRanges(named, reserved)
	if len(amount.PortRanges()) > 0 { // of a reservation: it has no number of them
		amount = amount.WithoutPorts()
		amount.Ports += structs.CountIndexes(named)
	}
	amount.Ports -= structs.CountIndexes(own)
	return amount.Add(structs.OfPorts(own))
}

// yetFree returns those of some ports that are not reserved now, and that no other operation of an accept takes.
func (n *node) yetFree(ports []structs.Range, ops []Operation) []structs.Range {
	rest := structs.OfPorts(ports).Sub(structs.OfPorts(n.reserved))
	for i := range ops {
		if !ops[i].Reserves {
			rest = rest.Sub(structs.OfPorts(ops[i].names()))
		}
	}
	return slices.Clone(rest.PortRanges())
}
