package placement

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/proffer/proffer/structs"
)

// The score of a node is in millionths of a full pack score: a node that the allocation fills to the brim has one million
// from packing alone. On that scale
//   - one point of an affinity's weight is 10,000: weight 100 equals a full node;
//   - a spread costs 20,000 for each point of its weight and each allocation above the wanted share of the value, so
//     that at the default weight of 50 one allocation more outweighs packing;
//   - an image that need not be fetched is worth 100,000 to 500,000, by its size: see images.go;
//   - a custom resource (a GPU) that the node has and the ask does not want costs one million: work without GPU goes to
//     a node with GPUs when no other has room.
//
// Higher is better; equal scores are decided by node id, lower first.
const (
	fullPack    = 1_000_000
	perAffinity = fullPack / 100
	perSpread   = 2 * fullPack / 100
	perStranded = fullPack
	// perSkew is how much a placement gains that brings the use of CPU and of memory on a node closer together, against
	// fullness: see weigh.
	perSkew = 12
	// perDoubling is what a node loses for each time that its CPU or memory is twice as much: room on large nodes is kept
	// for large work, as long as the small ones have some.
	perDoubling = fullPack * 5 / 100
)

// fill is which part of the CPU and of the memory of a node is used, in millionths.
type fill [2]int32

// weights is the score of the nodes that have the same amounts, for one ask: linear in their fill.
type weights struct{ base, cpu, memory, less int64 }

// weigh returns the weights for nodes with an amount. With c and m the used parts after the placement, c' and m' before,
// packing scores
//
//	(c+m)/2 - perSkew/2 × ((c-m)² - (c'-m')²)
//
// The first part is best fit. The second is what the placement changes of the skew of the node, the part of one resource
// that nobody can use for want of the other: an ask that wants much CPU prefers nodes with much CPU left beside the memory
// that is used. The squares of what is used before cancel out, so the score is linear in c' and m': a look at a node costs
// two multiplications, and the best score within a range of c' and m' is at a corner of it.
func (a *Ask) weigh(avail structs.Resources) weights {
	c := int64(usedPart(int64(avail.CPU), int64(a.Resources.CPU)))
	m := int64(usedPart(int64(avail.Memory), int64(a.Resources.Memory)))
	w := weights{less: a.strands(avail.Custom) * perStranded}
	if a.apart {
		w.base, w.cpu, w.memory = (2*fullPack-c-m)*fullPack, -fullPack, -fullPack
		return w
	}
	w.less += large(avail)
	skew := c - m
	w.cpu, w.memory = fullPack-2*perSkew*skew, fullPack+2*perSkew*skew
	w.base = (c+m)*fullPack - perSkew*skew*skew
	return w
}

// large returns what a node loses for its size: nothing at one core with 4 GiB.
func large(avail structs.Resources) int64 {
	return ((log2(int64(avail.CPU)) - log2(1000)) + (log2(int64(avail.Memory)) - log2(4<<30))) * perDoubling >> logBits
}

// logBits is how many bits of the result of log2 are behind the point.
const logBits = 10

// log2 returns about the binary logarithm of an amount; between powers of two it is a straight line.
func log2(n int64) int64 {
	if n <= 1 {
		return 0
	}
	whole := bits.Len64(uint64(n)) - 1
	rest := n - 1<<whole
	if whole > logBits {
		rest >>= whole - logBits
	} else {
		rest <<= logBits - whole
	}
	return int64(whole)<<logBits + rest
}

// at returns the score for a fill.
func (w *weights) at(cpu, memory int32) int64 {
	return (w.base+w.cpu*int64(cpu)+w.memory*int64(memory))/(2*fullPack) - w.less
}

// strands returns how many custom resources a node has that a does not want.
func (a *Ask) strands(avail map[string]structs.Milli) (n int64) {
	for name, v := range avail {
		if v > 0 && a.Resources.Custom[name] <= 0 {
			n++
		}
	}
	return n
}

// fill returns which parts are used now.
func (n *Node) fill() fill {
	return fill{usedPart(int64(n.avail.CPU), int64(n.used.CPU)), usedPart(int64(n.avail.Memory), int64(n.used.Memory))}
}

// usedPart returns which part of avail is used, in millionths.
func usedPart(avail, used int64) int32 {
	if avail <= 0 || used <= 0 {
		return 0
	}
	if used >= avail {
		return fullPack
	}
	hi, lo := bits.Mul64(uint64(used), fullPack)
	q, _ := bits.Div64(hi, lo, uint64(avail)) // used < avail, so hi < avail
	return int32(q)
}

// own scores what depends on the amounts of the node alone.
func (a *Ask) own(n *Node) int64 {
	w, f := a.weigh(n.avail), n.fill()
	return w.at(f[0], f[1])
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

// Parts are what a score is the sum of.
type Parts struct {
	Packing  int64
	Custom   int64 // of custom resources that are not wanted
	Affinity int64
	Spread   int64
	Images   int64 // of what need not be fetched
}

// Score is the sum.
func (p Parts) Score() int64 { return p.Packing + p.Custom + p.Affinity + p.Spread + p.Images }

// Named returns the parts that are not zero by name, in full pack scores.
func (p Parts) Named() map[string]float64 {
	named := map[string]float64{}
	for name, v := range map[string]int64{"packing": p.Packing, "custom": p.Custom, "affinity": p.Affinity, "spread": p.Spread,
		"images": p.Images} {
		if v != 0 {
			named[name] = float64(v) / fullPack
		}
	}
	return named
}

// Score returns how good a node is on which ask fits. It is the definition that Index must equal.
func Score(n *Node, existing *Peers, ask *Ask) int64 { return PartsOf(n, existing, ask).Score() }

// PartsOf returns what Score is made of.
func PartsOf(n *Node, existing *Peers, ask *Ask) Parts {
	p := Parts{Custom: -ask.strands(n.avail.Custom) * perStranded, Affinity: ask.liking(n.spec) + ask.wish(n, existing),
		Images: int64(ask.present(n.spec)) * perImage}
	p.Packing = ask.own(n) - p.Custom
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
		p.Spread -= s.cost(value, known, count, total)
	}
	return p
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
	return id < other
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), cmp.Compare[string])
}
