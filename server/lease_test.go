package server

import (
	"slices"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// The heap answers as a plain map that is searched each time.
func TestDeadlinesAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, naive := newDeadlines(), map[structs.NodeID]time.Time{}
		now := time.Unix(1000, 0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			node := structs.NodeID(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "node"))
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				end := now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "ends")) * time.Second)
				if rapid.Bool().Draw(t, "extend") {
					l.extend(node, end)
					if old, ok := naive[node]; ok && end.After(old) {
						naive[node] = end
					}
				} else {
					l.set(node, end)
					naive[node] = end
				}
			case 1:
				l.drop(node)
				delete(naive, node)
			case 2:
				now = now.Add(time.Duration(rapid.IntRange(0, 6000).Draw(t, "ms")) * time.Millisecond)
			case 4:
				d := time.Duration(rapid.IntRange(0, 9).Draw(t, "delay")) * time.Second
				l.delay(d)
				for n, end := range naive {
					naive[n] = end.Add(d)
				}
			case 3:
				var want []structs.NodeID
				for n, end := range naive {
					if !end.After(now) {
						want = append(want, n)
						delete(naive, n)
					}
				}
				got := l.ended(now)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("ended %v, want %v", got, want)
				}
			}
			var first time.Time
			for _, end := range naive {
				if first.IsZero() || end.Before(first) {
					first = end
				}
			}
			if !l.next().Equal(first) {
				t.Fatalf("next %v, want %v", l.next(), first)
			}
		}
	})
}
