package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/structs"
)

func TestWaitWakesByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t)
		one, two := r.node("1", 8000), r.node("2", 8000)
		r.must(&SubmitJob{Job: job("web", "service", 4, "a")})
		r.must(&SubmitJob{Job: job("db", "service", 4, "a")})
		a := r.place("web", "a", 0, one)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		woken := map[string]uint64{}
		wait := func(name string, keys ...Key) {
			index := r.index
			go func() {
				if s, err := r.store.Wait(ctx, index, keys...); err == nil {
					mu.Lock()
					defer mu.Unlock()
					woken[name] = s.Index()
				}
			}()
			synctest.Wait()
		}
		wait("alloc", OfAlloc(a.ID))
		wait("node 1", OfNodeAllocs(one))
		wait("node 2", OfNodeAllocs(two))
		wait("web", OfJobAllocs("web"))
		wait("db", OfJobAllocs("db"))
		wait("allocs", OfTable(Allocs))
		wait("jobs", OfTable(Jobs))
		wait("web or db", OfJob("web"), OfJob("db"), OfVersions("db"))
		wait("version", OfVersions("web"))
		wait("node", OfNode(one))
		wait("role", OfRole("eng"))
		wait("framework", OfFramework("f"))
		expect := func(names ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			for _, n := range names {
				if woken[n] != r.index {
					t.Errorf("%q was not woken at %d: %v", n, r.index, woken)
				}
				delete(woken, n)
			}
			if len(woken) > 0 {
				t.Errorf("these were woken for nothing: %v", woken)
			}
		}
		r.must(&StopAlloc{ID: a.ID})
		expect("alloc", "node 1", "web", "allocs")
		r.place("db", "a", 0, two)
		expect("node 2", "db")
		r.must(&SubmitJob{Job: job("db", "service", 5, "a")})
		expect("jobs", "web or db")
		r.must(&SetEligibility{Node: one})
		expect("node")
		r.must(&PutRole{Role: &structs.Role{Name: "eng"}})
		expect("role")
		cancel()
		synctest.Wait()
		if n := len(r.store.watches.waiters); n != 0 {
			t.Errorf("%d keys still have waiters", n)
		}
	})
}

func TestWaitSeesWhatItMissed(t *testing.T) {
	r := newRegion(t)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	index := r.index
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	for i := range 10 {
		r.must(&SubmitJob{Job: job(fmt.Sprint("other", i), "service", 2, "a")})
	}
	if _, err := r.store.Wait(t.Context(), index, OfJob("web")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.store.Wait(ctx, r.index, OfJob("web")); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing changed and Wait said %v", err)
	}
	// What is too old to know counts as changed.
	for i := range recentChanges {
		r.store.Apply(r.index+1+uint64(i), &Entry{Envelopes: []Envelope{{Command: &ScaleJob{Name: "other1", Group: "a", Count: i}}}})
	}
	if _, err := r.store.Wait(ctx, index, OfRole("none")); err != nil {
		t.Error(err)
	}
	if _, err := r.store.WaitIndex(t.Context(), r.index); err != nil {
		t.Error(err)
	}
	if _, err := r.store.WaitIndex(ctx, 1<<40); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFeedLagsAndResumes(t *testing.T) {
	r := newRegion(t)
	scale := func(n int) {
		r.must(&ScaleJob{Name: "web", Group: "a", Count: n})
	}
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	s, f := r.store.Subscribe(3)
	defer f.Close()
	_, quiet := r.store.Subscribe(3, OfJob("db"))
	defer quiet.Close()
	begin := s.Index()
	for i := range 3 {
		scale(i)
	}
	for i := range 3 {
		b, err := f.Next(t.Context())
		if err != nil || b.Index != begin+1+uint64(i) || len(b.Changes) != 1 {
			t.Fatalf("batch %d: %+v, %v", i, b, err)
		}
	}
	for i := range 4 {
		scale(10 + i)
	}
	var lagged *Lagged
	for range 2 {
		if b, err := f.Next(t.Context()); !errors.As(err, &lagged) || lagged.After != begin+3 {
			t.Fatalf("a slow reader got %+v, %v", b, err)
		}
	}
	if b, err := quiet.Try(); b != nil || err != nil {
		t.Errorf("a feed of another job got %+v, %v", b, err)
	}
	_, g, err := r.store.SubscribeAfter(begin+3, 10, OfJob("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	scale(20)
	for i := range 5 {
		b, err := g.Next(t.Context())
		if err != nil || b.Index != begin+4+uint64(i) {
			t.Fatalf("resumed: %+v, %v", b, err)
		}
	}
	if _, _, err := r.store.SubscribeAfter(begin, 2); !errors.As(err, &lagged) {
		t.Errorf("more than the feed holds: %v", err)
	}
	for i := range 2 * recentChanges {
		r.store.Apply(r.index+1+uint64(i), &Entry{Envelopes: []Envelope{{Command: &ScaleJob{Name: "web", Group: "a", Count: i}}}})
	}
	if _, _, err := r.store.SubscribeAfter(begin, 0); !errors.As(err, &lagged) {
		t.Errorf("too far back: %v", err)
	}
}

// A reader of one node's allocations sees what a reader of everything sees of it.
func TestKeyedFeedIsAPart(t *testing.T) {
	r := newRegion(t)
	one, two := r.node("1", 80000), r.node("2", 80000)
	_, all := r.store.Subscribe(0)
	_, part := r.store.Subscribe(0, OfNodeAllocs(one), OfNode(one))
	r.must(&SubmitJob{Job: job("web", "service", 20, "a")})
	for i := range 20 {
		id := one
		if i%3 == 0 {
			id = two
		}
		a := r.place("web", "a", i, id)
		r.observe(a, structs.AllocRunning, structs.TaskRunning)
	}
	r.must(&SetNodeStatus{Node: one, Status: structs.NodeLost})
	collect := func(f *Feed) (lines []string) {
		for {
			b, err := f.Try()
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				return lines
			}
			for _, c := range b.Changes {
				switch v := c.New.(type) {
				case *structs.Allocation:
					if v.Node == one {
						lines = append(lines, fmt.Sprint(b.Index, v.ID, v.Status))
					}
				case *structs.Node:
					lines = append(lines, fmt.Sprint(b.Index, v.ID, v.Status))
				}
			}
		}
	}
	if a, b := collect(all), collect(part); fmt.Sprint(a) != fmt.Sprint(b) || len(a) < 40 {
		t.Errorf("all: %v\npart: %v", a, b)
	}
}
