package placement

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Node is a node with the books of what is held on it: committed, in flight and offered alike.
type Node struct {
	Ord   int // a small number that the owner gives, each once; Index and whoever keeps arrays by node use it
	ID    structs.NodeID
	spec  *structs.Node
	avail structs.Resources
	used  structs.Resources
	ports hostPorts
	class class
	place // in its pool
}

// class is equal for nodes that differ only in name, id, address, unique attributes and amounts.
type class [16]byte

// uniquePrefix marks attributes that differ from node to node and are no part of its class.
const uniquePrefix = "unique."

// NewNode returns the empty books of a node; spec may be nil as long as only what it holds is known.
func NewNode(id structs.NodeID, spec *structs.Node) *Node {
	n := &Node{ID: id}
	n.SetSpec(spec)
	return n
}

// SetSpec replaces what the node said of itself. What is held stays held, even beyond what the node has now.
func (n *Node) SetSpec(spec *structs.Node) {
	old := n.spec
	n.spec = spec
	if spec == nil {
		n.avail = structs.Resources{}
		return
	}
	n.ports.setRange(spec.PortRange, n.ports.named)
	n.setAvailable()
	if old == nil || !sameClass(old, spec) {
		n.class = classOf(spec)
	}
}

// setAvailable computes what is shared anew. Reserved ports are in no number.
func (n *Node) setAvailable() {
	if n.spec == nil {
		return
	}
	n.avail = Available(n.spec)
	n.avail.Ports -= structs.CountIndexes(structs.CommonRanges([]structs.Range{n.spec.PortRange}, n.ports.named))
}

// Available returns what allocations share on a node. A node that says nothing of ports has those of its range.
func Available(spec *structs.Node) structs.Resources {
	r := spec.Available().WithoutPorts() // of these there is a number
	if spec.Resources.Ports == 0 && spec.PortRange.Last > 0 {
		r.Ports = int(spec.PortRange.Last-spec.PortRange.First) + 1
	}
	return r
}

// Spec returns what the node said of itself, or nil.
func (n *Node) Spec() *structs.Node { return n.spec }

// Name returns the name of the node, its id when it is not known.
func (n *Node) Name() string {
	if n.spec == nil || n.spec.Name == "" {
		return structs.Short(n.ID)
	}
	return n.spec.Name
}

// Available returns what allocations share.
func (n *Node) Available() structs.Resources { return n.avail }

// Used returns what is held.
func (n *Node) Used() structs.Resources { return n.used }

// Free returns what is left. Scalars may be negative when the node shrank. Reserved ports are not among it.
func (n *Node) Free() structs.Resources {
	free := n.avail.Sub(n.used)
	free.Ports = n.FreePortCount()
	return free
}

// FreePortCount returns how many ports are left to those who want any.
func (n *Node) FreePortCount() int { return n.avail.Ports - n.used.Ports + n.ports.reserved() }

// Hold takes an amount and ports. What the amount has of ports by their numbers is no part of the books: see SetReserved.
func (n *Node) Hold(amount structs.Resources, ports []structs.AssignedPort) {
	n.used = n.used.Add(amount.WithoutPorts())
	for i := range ports {
		n.ports.add(&ports[i], 1)
	}
}

// Drop gives back what Hold took.
func (n *Node) Drop(amount structs.Resources, ports []structs.AssignedPort) {
	n.used = n.used.Sub(amount.WithoutPorts())
	for i := range ports {
		n.ports.add(&ports[i], -1)
	}
}

// With returns books that differ by an amount that is given back, and with it the reserved ports that may be named; n is not
// changed. They share the ports.
func (n *Node) With(back structs.Resources) *Node {
	m := *n
	m.used = n.used.Sub(back)
	if ports := back.PortRanges(); len(ports) > 0 {
		m.ports.mine = structs.UniteRanges(n.ports.mine, ports)
	}
	return &m
}

func sameClass(a, b *structs.Node) bool {
	return a.Datacenter == b.Datacenter && maps.Equal(a.Attributes, b.Attributes) && maps.Equal(a.Meta, b.Meta) &&
		maps.EqualFunc(a.Drivers, b.Drivers, func(x, y *structs.Driver) bool {
			return x.Healthy == y.Healthy && maps.Equal(x.Attributes, y.Attributes)
		}) &&
		maps.EqualFunc(a.HostVolumes, b.HostVolumes, func(x, y *structs.NodeHostVolume) bool { return *x == *y })
}

func classOf(spec *structs.Node) (c class) {
	h := sha256.New()
	var size [4]byte
	put := func(s string) {
		binary.LittleEndian.PutUint32(size[:], uint32(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	put(spec.Datacenter)
	for _, k := range slices.Sorted(maps.Keys(spec.Attributes)) {
		if !strings.HasPrefix(k, uniquePrefix) {
			put(k)
			put(spec.Attributes[k])
		}
	}
	put("\x00meta")
	for _, k := range slices.Sorted(maps.Keys(spec.Meta)) {
		put(k)
		put(spec.Meta[k])
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Drivers)) {
		d := spec.Drivers[name]
		put("\x00driver")
		put(name)
		if d.Healthy {
			put("healthy")
		}
		for _, k := range slices.Sorted(maps.Keys(d.Attributes)) {
			put(k)
			put(d.Attributes[k])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.HostVolumes)) {
		put("\x00host volume")
		put(fmt.Sprintf("%s %+v", name, *spec.HostVolumes[name]))
	}
	copy(c[:], h.Sum(nil))
	return c
}
