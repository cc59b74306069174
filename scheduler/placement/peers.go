package placement

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Peers is where the allocations of one job are, by group, or those with a mark, by job: what distinct_hosts,
// distinct_property, spread, beside and not_beside look at. Nil is nothing anywhere.
type Peers struct {
	nodes map[structs.NodeID]*peersOn
	work  *Work // that it is a part of; nil: no other work is known
}

type peersOn struct {
	node   *Node
	total  int
	groups map[string]int
}

// Add counts n more (or, negative, fewer) allocations of a group on a node.
func (p *Peers) Add(node *Node, group string, n int) {
	on := p.nodes[node.ID]
	if on == nil {
		if p.nodes == nil {
			p.nodes = make(map[structs.NodeID]*peersOn)
		}
		on = &peersOn{node: node, groups: make(map[string]int, 1)}
		p.nodes[node.ID] = on
	}
	on.total += n
	if on.groups[group] += n; on.groups[group] == 0 {
		delete(on.groups, group)
	}
	if on.total == 0 {
		delete(p.nodes, node.ID)
	}
}

// Put counts by more allocations of an ask on a node, with their marks when p is part of Work. It is of the job of the ask.
func (p *Peers) Put(node *Node, ask *Ask, by int) {
	if p.work == nil {
		p.Add(node, ask.Group, by)
		return
	}
	p.work.Add(node, ask.Job, ask.Group, ask.Marks, by)
}

// Work returns what p is a part of, or nil.
func (p *Peers) Work() *Work {
	if p == nil {
		return nil
	}
	return p.work
}

// Empty reports whether there is no allocation.
func (p *Peers) Empty() bool { return p == nil || len(p.nodes) == 0 }

// on returns how many allocations in scope are on a node.
func (p *Peers) on(id structs.NodeID, s scope, group string) int {
	if p == nil || p.nodes[id] == nil {
		return 0
	}
	if s == ofJob {
		return p.nodes[id].total
	}
	return p.nodes[id].groups[group]
}

// with returns how many allocations in scope are on nodes where t has that value.
func (p *Peers) with(t template, value string, s scope, group string) (n int) {
	if p == nil {
		return 0
	}
	for id, on := range p.nodes {
		if on.node.spec == nil {
			continue
		}
		if v, ok := t.resolve(on.node.spec); ok && v == value {
			n += p.on(id, s, group)
		}
	}
	return n
}

// known returns how many allocations in scope are on nodes that are known.
func (p *Peers) known(s scope, group string) (n int) {
	if p == nil {
		return 0
	}
	for id, on := range p.nodes {
		if on.node.spec != nil {
			n += p.on(id, s, group)
		}
	}
	return n
}

// first returns the first name by which allocations are counted on the nodes that match; empty for none.
func (p *Peers) first(match func(*Node) bool) (name string) {
	if p == nil {
		return ""
	}
	for _, on := range p.nodes {
		if match(on.node) {
			for _, g := range slices.Sorted(maps.Keys(on.groups)) {
				if name == "" || g < name {
					name = g
				}
			}
		}
	}
	return name
}
