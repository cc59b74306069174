package gossip

import (
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// BenchmarkMembers runs PROFFER_BENCH_MEMBERS agents (1,000), three of them servers, on a network in memory whose clock is
// that of a bubble, so that the speed of this machine does not count. All start at once, in a region that had its number of
// segments before. It prints
//
//	MB/agent    heap and stacks after a collection, of the network in memory too
//	s/known     until all who should know a new agent know it and it knows them, at worst of three
func BenchmarkMembers(b *testing.B) {
	n := 1000
	if text := os.Getenv("PROFFER_BENCH_MEMBERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 10 {
			b.Fatalf("PROFFER_BENCH_MEMBERS is %q", text)
		}
	}
	// A bubble belongs to a test.
	all := func(string, string) (bool, error) { return true, nil }
	for range b.N {
		if !testing.RunTests(all, []testing.InternalTest{{Name: "Members", F: func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory, known := measure(newTown(t), n)
				b.ReportMetric(memory/(1<<20), "MB/agent")
				b.ReportMetric(known.Seconds(), "s/known")
			})
		}}}) {
			b.Fail()
		}
	}
}

// measure makes n agents and times what the benchmark prints, all of it inside of a bubble.
func measure(v *town, n int) (memory float64, known time.Duration) {
	splits := sizes{}.orDefault().splits(n - 3)
	before := used()
	roots := map[uint64]int{} // the first client of each segment
	for i := range n {
		p := v.start(i)
		if i < 3 {
			p.mu.Lock()
			p.local.splits = splits
			p.meta, _ = p.local.meta(p.run)
			p.mu.Unlock()
			p.announce()
		} else if _, ok := roots[segmentOf(member(i).Name, splits)]; !ok {
			roots[segmentOf(member(i).Name, splits)] = i
		}
	}
	// They meet by exchanges of states at one moment of the virtual time. What memberlist has to repeat then, and nobody
	// needs to hear, is lost on the way: it would take this machine an hour.
	v.mesh.DropPackets(gossips)
	for range 2 {
		var wg sync.WaitGroup
		slots := make(chan struct{}, 64)
		meet := func(i, with int) {
			slots <- struct{}{}
			wg.Go(func() {
				for _, err := v.pools[i].memberlist().Join([]string{addr(with)}); err != nil; _, err = v.pools[i].memberlist().Join([]string{addr(with)}) {
					time.Sleep(time.Millisecond) // too many at once: all rest, so that it comes to an end with those
				}
				<-slots
			})
		}
		for i := 1; i < 3; i++ {
			meet(i, 0)
		}
		wg.Wait()
		for _, root := range roots {
			for i := range 3 {
				meet(root, i)
			}
		}
		wg.Wait()
		for i := 3; i < n; i++ {
			if root := roots[segmentOf(member(i).Name, splits)]; root != i {
				meet(i, root)
			}
		}
		wg.Wait()
		for _, root := range roots {
			for i := range 3 {
				meet(root, i)
			}
		}
		wg.Wait()
	}
	took := v.until("all know each other", time.Minute, v.settled(splits))
	v.t.Logf("%d agents in %d segments knew each other after %v", n, 1<<splits, took)
	time.Sleep(settling)
	v.mesh.DropPackets(nil)
	v.until("all know each other", time.Minute, v.settled(splits))
	memory = float64(used()-before) / float64(n)
	for i := n; i < n+3; i++ {
		v.start(i)
		begin := time.Now()
		if _, err := v.pools[i].Join(v.t.Context(), []string{addr(rand.IntN(i))}); err != nil {
			v.t.Fatal(err)
		}
		v.until("a new one is known", time.Minute, v.settled(splits))
		known = max(known, time.Since(begin))
		time.Sleep(time.Second)
	}
	return memory, known
}

// settling is how long memberlist may repeat what it learned at the start.
const settling = 100 * time.Second

// gossips tells packets of memberlist that carry news alone from probes and their answers.
func gossips(_, _ string, body []byte) bool {
	const alive, compound, checksum = 4, 7, 12
	if len(body) > 5 && body[0] == checksum {
		body = body[5:]
	}
	if len(body) > 2 && body[0] == compound && len(body) > 2+2*int(body[1]) {
		return body[2+2*int(body[1])] >= 3 // the first one in it
	}
	return body[0] == alive
}

// used is the memory that is in use after a collection, in bytes.
func used() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
