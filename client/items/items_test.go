package items

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/client/session"
)

type holder struct{ seen map[session.Ref]*session.Item }

func (h *holder) Changed(i *session.Item) { h.seen[i.Ref] = i }

// However tasks come and go, the servers are asked for what somebody holds, and for nothing else; everybody who holds something saw
// the newest of it.
func TestItemsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asked := map[session.Ref]int{}
		x := New(func(add, drop []session.Ref) {
			for _, ref := range add {
				asked[ref]++
			}
			for _, ref := range drop {
				if asked[ref] == 0 {
					t.Fatalf("%s is dropped and was not asked for", ref)
				}
				delete(asked, ref)
			}
		})
		var all []session.Ref
		for i := range 4 {
			all = append(all, session.VariableRef(fmt.Sprint("r/", i)))
		}
		holders := []*holder{{}, {}, {}}
		held, newest := make([][]session.Ref, len(holders)), map[session.Ref]*session.Item{}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "hold") {
				i := rapid.IntRange(0, len(holders)-1).Draw(t, "holder")
				refs := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 4, func(r session.Ref) session.Ref { return r }).Draw(t, "refs")
				x.Hold(holders[i], held[i], refs)
				held[i] = refs
				holders[i].seen = map[session.Ref]*session.Item{}
				for _, ref := range refs { // as a task looks when it holds something
					holders[i].seen[ref] = x.Item(ref)
				}
			} else {
				item := &session.Item{Ref: rapid.SampledFrom(all).Draw(t, "ref"), Values: map[string]string{"v": fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "v"))}}
				if rapid.IntRange(0, 3).Draw(t, "missing") == 0 {
					item = &session.Item{Ref: item.Ref, Missing: "there is none"}
				}
				x.Take([]*session.Item{item})
				newest[item.Ref] = item
			}
			n := 0
			for _, ref := range all {
				wanted := false
				for i := range held {
					wanted = wanted || slices.Contains(held[i], ref)
				}
				if wanted != (asked[ref] > 0) {
					t.Fatalf("%s: held %v, asked for %d times", ref, wanted, asked[ref])
				}
				if !wanted {
					delete(newest, ref)
					continue
				}
				n++
				for i := range held {
					if got := holders[i].seen[ref]; slices.Contains(held[i], ref) && newest[ref] != nil && !same(got, newest[ref]) {
						t.Fatalf("holder %d saw %+v of %s, which is %+v", i, got, ref, newest[ref])
					}
				}
			}
			if x.Len() != n {
				t.Fatalf("%d items, want %d", x.Len(), n)
			}
		}
	})
}
