package placement

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// The score of a node is in millionths of a full bin-pack score: a node that the allocation fills to the brim has one
// million from packing alone. On that scale
//   - one point of an affinity's weight is 10,000: weight 100 equals a full node;
//   - a spread costs 20,000 for each point of its weight and each allocation above the wanted share of the value, so
//     that at the default weight of 50 one allocation more outweighs packing.
//
// Higher is better; equal scores are decided by node id, lower first.
const (
	fullPack    = 1_000_000
	perAffinity = fullPack / 100
	perSpread   = 2 * fullPack / 100
	packedDims  = 2
)

// base scores what depends on the node alone: packing and affinities.
func (a *Ask) base(n *Node) int64 { return a.packedScore(n) + a.liking(n.spec) }

func (a *Ask) packedScore(n *Node) int64 {
	pack := packed(int64(n.avail.CPU), int64(n.used.CPU+a.Resources.CPU)) +
		packed(int64(n.avail.Memory), int64(n.used.Memory+a.Resources.Memory))
	return pack / packedDims
}

// packed returns which part of avail is used, in millionths.
func packed(avail, used int64) int64 {
	if avail <= 0 || used <= 0 {
		return 0
	}
	if used >= avail {
		return fullPack
	}
	hi, lo := bits.Mul64(uint64(used), fullPack)
	q, _ := bits.Div64(hi, lo, uint64(avail)) // used < avail, so hi < avail
	return int64(q)
}

// liking scores the affinities.
func (a *Ask) liking(spec *structs.Node) (sum int64) {
	for i := range a.affinities {
		if a.affinities[i].met(spec) {
			sum += a.affinities[i].weight * perAffinity
		}
	}
	return sum
}

// cost returns what the spread subtracts for a value that count of total allocations have.
func (s *spread) cost(value string, known bool, count, total int64) int64 {
	if !known {
		value = ""
	}
	if len(s.targets) == 0 {
		if !known {
			count = total + 1 // nodes without the attribute come last
		}
		return count * s.weight * perSpread
	}
	percent := s.rest
	for i := range s.targets {
		if known && s.targets[i].Value == value {
			percent = int64(s.targets[i].Percent)
		}
	}
	return (count*100 - percent*(total+1)) * s.weight * (perSpread / 100)
}

// Score returns how good a node is on which ask fits. It is the definition that Index must equal.
func Score(n *Node, existing *Peers, ask *Ask) int64 {
	score := ask.base(n)
	for i := range ask.spreads {
		s := &ask.spreads[i]
		value, known := s.attribute.resolve(n.spec)
		var count, total int64
		if existing != nil {
			for id, on := range existing.nodes {
				k := int64(existing.on(id, ofGroup, ask.Group))
				if on.node.spec == nil {
					continue
				}
				total += k
				if v, ok := s.attribute.resolve(on.node.spec); ok == known && v == value {
					count += k
				}
			}
		}
		score -= s.cost(value, known, count, total)
	}
	return score
}

// Best returns the best node for one more allocation by looking at all of them, or nil. Nodes in avoid are taken only
// when no other fits.
func Best(nodes []*Node, existing *Peers, ask *Ask, avoid []structs.NodeID) *Node {
	var best *Node
	var bestScore int64
	var bestAvoided bool
	for _, n := range nodes {
		if !Fits(n, existing, ask, First).OK {
			continue
		}
		score, avoided := Score(n, existing, ask), slices.Contains(avoid, n.ID)
		if best == nil || avoided != bestAvoided && !avoided ||
			avoided == bestAvoided && before(score, n.ID, bestScore, best.ID) {
			best, bestScore, bestAvoided = n, score, avoided
		}
	}
	return best
}

// before reports whether a node comes before another.
func before(score int64, id structs.NodeID, otherScore int64, other structs.NodeID) bool {
	if score != otherScore {
		return score > otherScore
	}
	return strings.Compare(string(id), string(other)) < 0
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), cmp.Compare[string])
}
