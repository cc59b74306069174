package structs

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive is an amount as plain counts: one entry for each scalar, each number of a range and each item of a set.
type naive map[string]int64

func naiveOf(r Resources) naive {
	n := naive{"cpu": int64(r.CPU), "memory": int64(r.Memory), "disk": int64(r.Disk), "ports": int64(r.Ports)}
	for name, v := range r.Custom {
		n["custom "+name] = int64(v)
	}
	for name, ranges := range r.Ranges {
		for _, x := range ranges {
			for i := x.First; i <= x.Last; i++ {
				n[fmt.Sprintf("%s[%d]", name, i)] = 1
			}
		}
	}
	for name, items := range r.Sets {
		for _, item := range items {
			n[name+" "+item] = 1
		}
	}
	maps.DeleteFunc(n, func(_ string, v int64) bool { return v == 0 })
	return n
}

func drawResources(t *rapid.T) Resources {
	r := Resources{
		CPU:    Milli(rapid.IntRange(0, 3).Draw(t, "cpu")),
		Memory: Bytes(rapid.IntRange(0, 3).Draw(t, "memory")),
		Disk:   Bytes(rapid.IntRange(0, 3).Draw(t, "disk")),
		Ports:  rapid.IntRange(0, 3).Draw(t, "ports"),
	}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b"}), rapid.ID[string]).Draw(t, "custom") {
		r = r.Add(Resources{Custom: map[string]Milli{name: Milli(rapid.IntRange(0, 3).Draw(t, "v"))}})
	}
	for range rapid.IntRange(0, 4).Draw(t, "ranges") {
		first := rapid.Int64Range(0, 20).Draw(t, "first")
		last := first + rapid.Int64Range(0, 6).Draw(t, "length")
		r = r.Add(Resources{Ranges: map[string][]Range{rapid.SampledFrom([]string{"r", "s"}).Draw(t, "range"): {{first, last}}}})
	}
	for range rapid.IntRange(0, 4).Draw(t, "sets") {
		r = r.Add(Resources{Sets: map[string][]string{"set": {rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "item")}}})
	}
	return r
}

func isItem(name string) bool { return name[len(name)-1] == ']' || len(name) > 4 && name[:4] == "set " }

func TestResourceArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawResources(t), drawResources(t)
		before, beforeB := clone(a), clone(b)
		na, nb := naiveOf(a), naiveOf(b)

		sum := naive{}
		rest := naive{}
		fits := true
		for name := range union(na, nb) {
			x, y := na[name], nb[name]
			if isItem(name) {
				sum[name], rest[name] = max(x, y), max(0, x-y)
			} else {
				sum[name], rest[name] = x+y, x-y
			}
			fits = fits && y <= x
		}
		zero := func(_ string, v int64) bool { return v == 0 }
		maps.DeleteFunc(sum, zero)
		maps.DeleteFunc(rest, zero)

		if got := naiveOf(a.Add(b)); !maps.Equal(got, sum) {
			t.Fatalf("%v + %v = %v, want %v", a, b, got, sum)
		}
		if got := naiveOf(a.Sub(b)); !maps.Equal(got, rest) {
			t.Fatalf("%v - %v = %v, want %v", a, b, got, rest)
		}
		if got := a.Fits(b); got != fits {
			t.Fatalf("%v fits in %v: %v", b, a, got)
		}
		if fits && !reflect.DeepEqual(naiveOf(a.Sub(b).Add(b)), na) {
			t.Fatalf("%v - %v + %v = %v", a, b, b, a.Sub(b).Add(b))
		}
		if a.IsZero() != (len(na) == 0) || (a.String() == "nothing") != (len(na) == 0 && len(a.Custom) == 0) {
			t.Fatalf("%v: zero %v", a, a.IsZero())
		}
		if !reflect.DeepEqual(a, before) || !reflect.DeepEqual(b, beforeB) {
			t.Fatal("the arithmetic changed its operands")
		}
		for _, ranges := range a.Add(b).Ranges {
			for i, x := range ranges {
				if x.Last < x.First || i > 0 && x.First <= ranges[i-1].Last+1 {
					t.Fatalf("ranges %v are not in their one form", ranges)
				}
			}
		}
		var p Problems
		if a.Problems("r", &p); len(p) > 0 {
			t.Fatal(p.Err())
		}
	})
}

func union(a, b naive) naive {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

func TestIndexes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.IntRange(0, 30)).Draw(t, "numbers")
		var ranges []Range
		for _, n := range numbers {
			before := slices.Clone(ranges)
			next := WithIndex(ranges, n)
			if !slices.Equal(before, ranges) {
				t.Fatal("WithIndex changed its argument")
			}
			ranges = next
		}
		count := 0
		for n := range 32 {
			if HasIndex(ranges, n) != slices.Contains(numbers, n) {
				t.Fatalf("%d in %v: %v", n, ranges, HasIndex(ranges, n))
			}
			if slices.Contains(numbers, n) {
				count++
			}
		}
		if CountIndexes(ranges) != count {
			t.Fatalf("%v has %d numbers, not %d", ranges, count, CountIndexes(ranges))
		}
	})
}

func TestResourceProblems(t *testing.T) {
	for _, x := range []struct {
		r    Resources
		want string
	}{
		{Resources{CPU: -1}, "r: amounts cannot be negative"},
		{Resources{Ports: 70000}, "r.ports: 70000 ports are more than there are"},
		{Resources{CPU: 2e9}, "r.cpu: 2000000 cores are more than a million"},
		{Resources{Memory: 1 << 53}, "r: an amount is out of range (memory up to 4PiB, disk up to 256PiB)"},
		{Resources{Custom: map[string]Milli{"a b": 1}}, `r.custom: "a b" is not a valid name`},
		{Resources{Custom: map[string]Milli{"a": -1}}, `r.custom.a: -0.001 is out of range`},
		{Resources{Ranges: map[string][]Range{"v": {{5, 4}}}}, `r.ranges.v: ranges must be ascending, disjoint, and from 0 to 2^53`},
		{Resources{Ranges: map[string][]Range{"v": {{1, 4}, {4, 6}}}}, `r.ranges.v: ranges must be ascending, disjoint, and from 0 to 2^53`},
	} {
		var p Problems
		x.r.Problems("r", &p)
		if err := p.Err(); err == nil || err.Error() != x.want {
			t.Errorf("got %v, want %s", err, x.want)
		}
	}
}

func TestAsk(t *testing.T) {
	task := func(cpu Milli, memory Bytes, l *Lifecycle, custom map[string]Milli) *Task {
		return &Task{Lifecycle: l, Resources: &TaskResources{CPU: cpu, Memory: memory, Custom: custom, Ports: 1, Disk: 10}}
	}
	pre, post, side := &Lifecycle{Hook: "prestart"}, &Lifecycle{Hook: "poststop"}, &Lifecycle{Hook: "prestart", Sidecar: true}
	g := &Group{Disk: 100, Network: &Network{Ports: []*Port{{}, {}}}, Tasks: []*Task{
		task(1000, 10, nil, map[string]Milli{"gpus": 1}), task(500, 20, side, nil), {Name: "none"},
		task(2000, 5, pre, map[string]Milli{"gpus": 3}), task(100, 50, post, nil),
	}}
	want := Resources{CPU: 2000, Memory: 50, Disk: 120, Ports: 4, Custom: map[string]Milli{"gpus": 3}}
	if got := g.Ask(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
