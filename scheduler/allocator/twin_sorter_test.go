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
		return new(big.Rat).SetFrac(new(big.Int).SetUint64(lot(w.options.Seed, lotOf(role, line[level]), w.served)), big.NewInt(int64(weight)))
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
	for level := range w.lineOf(c) {
		w.last[w.key(c, level)] = w.served
	}
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
