package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/client/cluster"
)

// few makes segments in a region that a test can afford.
var few = sizes{whole: 16, most: 8, shrink: time.Minute, spread: 5 * time.Second}

// split starts members from..to-1, each of which joins a random one of those that run; the first joins nobody.
func (v *town) split(s sizes, from, to int) {
	v.t.Helper()
	for i := from; i < to; i++ {
		v.start(i, func(_ *cluster.Config, c *Config) { c.sizes = s })
	}
	var wg sync.WaitGroup
	var contacts []string
	for i, p := range v.pools {
		if p != nil && (i < from || i < 3) {
			contacts = append(contacts, addr(i))
		}
	}
	for i := from; i < to; i++ {
		if i > 0 {
			contact := addr(0)
			if i > 2 {
				contact = contacts[rand.IntN(len(contacts))]
			}
			wg.Go(func() {
				if _, err := v.pools[i].Join(v.t.Context(), []string{contact}); err != nil {
					v.t.Errorf("member %d: %v", i, err)
				}
			})
		}
	}
	wg.Wait()
}

// settled says that everyone knows exactly whom it should, of those that run, when the region is split so far.
func (v *town) settled(splits byte) func(int, *Pool) bool {
	var servers int
	running := map[string]bool{}
	segments := map[uint64]int{}
	for i, p := range v.pools {
		switch {
		case p == nil:
		case member(i).Role == RoleServer:
			servers++
		default:
			segments[segmentOf(member(i).Name, splits)]++
		}
	}
	for i, p := range v.pools {
		running[member(i).Name] = p != nil
	}
	clients := 0
	for _, n := range segments {
		clients += n
	}
	return func(i int, p *Pool) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		want := servers + clients
		if p.local.Role == RoleClient {
			want = servers + segments[segmentOf(p.local.Name, splits)]
		}
		if p.local.Role == RoleClient && p.splits != splits || p.alive != want {
			return false
		}
		for name, r := range p.members {
			if r.status == Alive && (!running[name] || !p.knowsLocked(r.role(), name)) {
				return false
			}
		}
		return true
	}
}

// mates are those that should know i when the region is split so far.
func mates(i int, splits byte) func(int, *Pool) bool {
	return func(j int, _ *Pool) bool {
		return member(i).Role == RoleServer || member(j).Role == RoleServer ||
			segmentOf(member(i).Name, splits) == segmentOf(member(j).Name, splits)
	}
}

// knownAs says that all who should know i know it as s, and nobody else knows it.
func knownAs(i int, splits byte, s Status) func(int, *Pool) bool {
	known := mates(i, splits)
	return func(j int, p *Pool) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		r := p.members[member(i).Name]
		return j == i || known(j, p) && r != nil && r.status == s || !known(j, p) && r == nil
	}
}

// watch fails the test when p hears that somebody failed or left, until the returned function is called.
func (v *town) watch(p *Pool) (end func()) {
	done := make(chan struct{})
	events, cancel := p.Subscribe()
	go func() {
		defer close(done)
		for e := range events {
			if e.Type == Broken || e.Type == Gone {
				v.t.Errorf("%s heard: %s %s", p.config.Local.Name, e.Member.Name, e.Type)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestSegmentsFormAndMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.split(few, 0, 19)
		v.until("one pool of 19", time.Minute, v.settled(0))
		time.Sleep(10 * time.Second)
		v.until("one pool of 19", 0, v.settled(0))

		// It grows in two steps. Nobody is lost by the servers on the way.
		end := v.watch(v.pools[1])
		v.split(few, 19, 28)
		took := v.until("4 segments", 2*time.Minute, v.settled(2))
		t.Logf("25 clients were in 4 segments after %v", took)
		v.split(few, 28, 37)
		took = v.until("8 segments", 2*time.Minute, v.settled(3))
		t.Logf("34 clients were in 8 segments after %v", took)
		time.Sleep(time.Minute)
		v.until("8 segments", 0, v.settled(3))
		end()

		// A new one joins a stranger.
		v.start(37, func(_ *cluster.Config, c *Config) { c.sizes = few })
		stranger := 3
		for mates(37, 3)(stranger, nil) {
			stranger++
		}
		if _, err := v.pools[37].Join(t.Context(), []string{addr(stranger)}); err != nil {
			t.Fatal(err)
		}
		took = v.until("37 is known", 10*time.Second, knownAs(37, 3, Alive))
		t.Logf("a new client was known after %v", took)
		v.until("37 knows", 10*time.Second, v.settled(3))

		v.crash(20)
		took = v.until("20 failed", 2*time.Minute, knownAs(20, 3, Failed))
		t.Logf("a crash was known after %v", took)
		if err := v.pools[0].ForceLeave("m20"); err != nil {
			t.Fatal(err)
		}
		took = v.until("20 removed", time.Minute, knownAs(20, 3, Removed))
		t.Logf("that it was removed was known after %v", took)

		// All but 10 clients leave.
		var wg sync.WaitGroup
		for i := 13; i < 38; i++ {
			if v.pools[i] != nil {
				wg.Go(func() {
					ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
					defer done()
					v.pools[i].Leave(ctx)
				})
			}
		}
		wg.Wait()
		for i := 13; i < 38; i++ {
			v.stop(i)
		}
		for i := 13; i < 38; i++ {
			want := Left
			if i == 20 {
				want = Removed
			}
			v.until("gone", time.Minute, func(j int, p *Pool) bool { return j > 2 || statusOf(p, member(i).Name) == want })
		}
		took = v.until("one pool of 13", 5*time.Minute, v.settled(0))
		t.Logf("10 clients were one pool after %v", took)
	})
}

// TestTheOnlyServerRestarts: it says nothing of segments until it knows everybody again, and nobody minds.
func TestTheOnlyServerRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.split(few, 0, 3)
		v.stop(1)
		v.stop(2)
		v.until("1 server", 2*time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 1 })
		v.split(few, 3, 29)
		v.until("4 segments", 2*time.Minute, v.settled(2))
		v.crash(0)
		v.until("0 failed", 2*time.Minute, knownAs(0, 2, Failed))
		time.Sleep(90 * time.Second)
		v.until("4 segments", 0, v.settled(2))
		v.start(0, func(_ *cluster.Config, c *Config) { c.sizes = few })
		took := v.until("4 segments with the server", 2*time.Minute, v.settled(2))
		t.Logf("all knew each other after %v", took)
		time.Sleep(90 * time.Second)
		v.until("4 segments", 0, v.settled(2))
	})
}

// TestAPartitionOfSegments cuts one server off with every second client.
func TestAPartitionOfSegments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.split(few, 0, 29)
		v.until("4 segments", 2*time.Minute, v.settled(2))
		var a, b []string
		for i := range 29 {
			if i%2 == 1 {
				a = append(a, ip(i))
			} else {
				b = append(b, ip(i))
			}
		}
		v.mesh.Cut(a, b)
		v.until("two halves", 5*time.Minute, func(i int, p *Pool) bool {
			for _, m := range p.Members() {
				var n int
				fmt.Sscanf(m.Name, "m%d", &n)
				if (m.Status == Alive) != (n%2 == i%2) {
					return false
				}
			}
			return true
		})
		time.Sleep(time.Minute)
		v.mesh.Heal()
		took := v.until("one region", 10*time.Minute, v.settled(2))
		t.Logf("grew together in %v", took)
	})
}

// TestSegmentsInALargeRegion is the promise in small, and in smaller under the race detector.
func TestSegmentsInALargeRegion(t *testing.T) {
	t.Parallel()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	synctest.Test(t, func(t *testing.T) {
		v, some, n, s := newTown(t), 80, 600, sizes{whole: 64, most: 30, shrink: time.Minute, spread: 5 * time.Second}
		if underRace {
			some, n, s.whole, s.most = 30, 120, 16, 8
		}
		v.split(s, 0, 3)
		v.split(s, 3, some)
		took := v.until("some agents", 2*time.Minute, v.settled(s.splits(some-3)))
		t.Logf("%d agents after %v", some, took)
		v.split(s, some, n)
		took = v.until("all agents", 2*time.Minute, v.settled(s.splits(n-3)))
		t.Logf("%d agents in %d segments after %v", n, 1<<s.splits(n-3), took)
		v.split(s, n, n+1)
		took = v.until("a new one is known", 10*time.Second, v.settled(s.splits(n-2)))
		t.Logf("a new one was known after %v", took)
	})
}

func TestSizes(t *testing.T) {
	s := sizes{}.orDefault()
	for clients, want := range map[int]byte{0: 0, 2048: 0, 2049: 2, 4096: 2, 4097: 3, 10_000: 4, 16384: 4, 16385: 5, 1 << 40: maxSplits} {
		if got := s.splits(clients); got != want {
			t.Errorf("%d clients: %d, want %d", clients, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		last := byte(rapid.IntRange(0, 6).Draw(t, "last"))
		clients := rapid.IntRange(0, 50_000).Draw(t, "clients")
		vote := s.vote(last, clients)
		if vote < s.splits(clients) {
			t.Errorf("a segment has more clients than it should: %d", vote)
		}
		if again := s.vote(vote, clients); again != vote {
			t.Errorf("%d, then %d", vote, again)
		}
		near := clients + rapid.IntRange(-clients/4, clients/4).Draw(t, "change")
		if other := s.vote(vote, near); vote != last && s.vote(other, clients) != other {
			t.Errorf("%d, then %d, then %d", vote, other, s.vote(other, clients))
		}
	})
}
