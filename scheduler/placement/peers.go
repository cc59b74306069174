package placement

import "github.com/proffer/proffer/structs"

// Peers is where the allocations of one job are: what distinct_hosts, distinct_property and spread look at. Nil is a
// job without any.
type Peers struct {
	nodes map[structs.NodeID]*peersOn
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
	on.groups[group] += n
	if on.total == 0 {
		delete(p.nodes, node.ID)
	}
}

// Empty reports whether the job has no allocation.
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
