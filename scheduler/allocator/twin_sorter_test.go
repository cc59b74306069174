package allocator

import (
	"cmp"
	"math/big"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// sorter returns how the children of a role take turns; "" is the region.
func (w *twin) sorter(role string) string {
	s := cmp.Or(w.options.Sorter, SorterDRF)
	if role == "" {
		return s
	}
	for _, name := range slices.Backward(ancestors(role)) {
		if r := w.roles[name]; r != nil && r.Sorter != "" && s != SorterFIFO {
			s = r.Sorter
		}
	}
	return s
}

// oldest is what comes first by level and age, whatever its role; offers by the names on the way to them.
func (w *twin) oldest(all []candidate) candidate {
	line := func(c candidate) string {
		return strings.ReplaceAll(c.role, "/", "\x00") + "\x00.\x00" + string(c.framework)
	}
	return slices.MinFunc(all, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.level, x.level), cmp.Compare(x.seq, y.seq), cmp.Compare(x.id, y.id), strings.Compare(line(x), line(y)))
	})
}

// line is the way from the region to a framework, by the names of what is there.
func (w *twin) line(role, owner string, f structs.FrameworkID) []string {
	out := append(strings.Split(role, "/"), ".")
	if r := w.roles[role]; r != nil && r.ShareByOwner && owner != "" {
		out = append(out, "@"+owner, ".")
	}
	return append(out, string(f))
}

func (w *twin) lineOf(c candidate) []string {
	if c.gang != nil {
		return w.line(c.role, c.gang.parts[0].Owner, c.framework)
	}
	if c.request == nil {
		return w.line(c.role, "", c.framework)
	}
	return w.line(c.role, c.request.Owner, c.framework)
}

// sorterAt returns how those take turns of whom one is on the line of c at a level.
func (w *twin) sorterAt(c candidate, level int) string {
	roles := strings.Split(c.role, "/")
	return w.sorter(strings.Join(roles[:min(level, len(roles))], "/"))
}

// turn is the measure by which what is on the line of c at a level takes turns with its siblings: the smallest is first.
func (w *twin) turn(c candidate, level int) *big.Rat {
	line, roles := w.lineOf(c), strings.Split(c.role, "/")
	role := strings.Join(roles[:min(level+1, len(roles))], "/")
	weight := structs.Milli(1000)
	if level < len(roles) {
		weight = w.weight(role)
	}
	if w.sorterAt(c, level) == SorterRandom && !w.byShare {
		return new(big.Rat).SetInt(w.due(w.key(c, level), weight))
	}
	return w.share(func(h *twinHold) bool {
		other := w.line(h.role, h.tag.owner, h.framework)
		return len(other) > level && slices.Equal(other[:level+1], line[:level+1])
	}, weight)
}

// key names what is on the line of c at a level.
func (w *twin) key(c candidate, level int) string { return strings.Join(w.lineOf(c)[:level+1], "\x00") }

func (w *twin) serving(c candidate) {
	w.served++
	roles := strings.Split(c.role, "/")
	for level := range w.lineOf(c) {
		key := w.key(c, level)
		w.last[key] = w.served
		if w.sorterAt(c, level) != SorterRandom {
			continue
		}
		weight := structs.Milli(1000)
		if level < len(roles) {
			weight = w.weight(strings.Join(roles[:level+1], "/"))
		}
		x, above := w.chances[key], w.clockOf(key)
		if due := w.due(key, weight); due.Cmp(above) > 0 {
			above.Set(due)
		}
		x.from.Set(above)
		x.lot = lot(w.options.Seed, x.hash, w.served)
	}
}

// twinChance is when the turn of something comes whose siblings take turns by chance.
type twinChance struct {
	from *big.Int
	lot  uint64
	hash uint64
}

// due is when the turn of a key comes: a lot, divided by the weight, after what it was drawn from.
func (w *twin) due(key string, weight structs.Milli) *big.Int {
	x := w.chances[key]
	wait := new(big.Int).Lsh(new(big.Int).SetUint64(x.lot), 32)
	return wait.Add(wait.Div(wait, big.NewInt(int64(weight))), x.from)
}

// clockOf is the time of the last turn among the siblings of a key.
func (w *twin) clockOf(key string) *big.Int {
	above := key[:max(0, strings.LastIndexByte(key, 0))]
	if w.clocks[above] == nil {
		w.clocks[above] = new(big.Int)
	}
	return w.clocks[above]
}

// chance draws turns for all whose siblings take turns by chance since the last input, or who are new among such.
func (w *twin) chance(there map[string]bool) {
	random := map[string]bool{}
	for key := range there {
		elements := strings.Split(key, "\x00")
		level := len(elements) - 1
		roles := slices.Clone(elements)
		if i := slices.Index(roles, "."); i >= 0 {
			roles = roles[:i]
		}
		above := strings.Join(elements[:level], "\x00")
		if w.sorter(strings.Join(roles[:min(level, len(roles))], "/")) != SorterRandom {
			continue
		}
		random[above] = true
		if !w.random[above] {
			delete(w.clocks, above)
		} else if w.chances[key] != nil {
			continue
		}
		hash := lotOf(strings.Join(roles[:min(level+1, len(roles))], "/"), elements[level])
		w.chances[key] = &twinChance{new(big.Int).Set(w.clockOf(key)), lot(w.options.Seed, hash, w.served), hash}
	}
	for key := range w.chances {
		if above := key[:max(0, strings.LastIndexByte(key, 0))]; !there[key] || !random[above] {
			delete(w.chances, key)
		}
	}
	for above := range w.clocks {
		if !random[above] {
			delete(w.clocks, above)
		}
	}
	w.random = random
}

// comeAndGo notes who is new since the last input, and forgets who is gone.
func (w *twin) comeAndGo() {
	there := map[string]bool{}
	add := func(line []string) {
		for i := range line {
			there[strings.Join(line[:i+1], "\x00")] = true
			if i < len(line)-1 {
				there[strings.Join(append(slices.Clone(line[:i+1]), "."), "\x00")] = true
			}
		}
	}
	for name := range w.roles {
		add(append(strings.Split(name, "/"), "."))
	}
	for _, h := range w.held() {
		add(w.line(h.role, h.tag.owner, h.framework))
	}
	for _, r := range w.requests {
		add(w.line(r.Role, r.Owner, r.Framework))
	}
	for f, roles := range w.frameworks {
		for _, role := range roles {
			add(w.line(role, "", f))
		}
	}
	for key := range w.last {
		if !there[key] {
			delete(w.last, key)
		}
	}
	for key := range there {
		if _, known := w.last[key]; !known {
			w.last[key] = w.served
		}
	}
	w.chance(there)
}

// drawOptions draws how the region is sorted, and what does not count.
func drawOptions(t *rapid.T) Options {
	o := Options{Sorter: rapid.SampledFrom([]string{"", "", SorterDRF, SorterRandom, SorterFIFO}).Draw(t, "region sorter"), Seed: rapid.Uint64().Draw(t, "seed")}
	if rapid.IntRange(0, 2).Draw(t, "exclude") == 0 {
		o.Exclude = []string{rapid.SampledFrom([]string{"gpus", "memory"}).Draw(t, "excluded")}
	}
	return o
}

func drawSorter(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "", SorterDRF, SorterRandom, SorterFIFO}).Draw(t, "sorter")
}
