package gossip

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/structs"
)

// town is a pool on a mesh, in a bubble: member i is "m<i>" at 10.0.<i/250>.<i%250+1>.
type town struct {
	t     *testing.T
	mesh  *cluster.Mesh
	keys  []string
	ports []*cluster.Port
	pools []*Pool
}

func newTown(t *testing.T, keys ...string) *town {
	v := &town{t: t, mesh: cluster.NewMesh(), keys: keys}
	t.Cleanup(v.close)
	return v
}

func ip(i int) string   { return fmt.Sprintf("10.0.%d.%d", i/250, i%250+1) }
func addr(i int) string { return ip(i) + ":5052" }

func member(i int) Member {
	m := Member{Name: fmt.Sprintf("m%d", i), ID: fmt.Sprintf("%032x", i+1), Role: RoleClient, Region: "global", Datacenter: "dc1",
		FeatureMin: 1, FeatureMax: 2}
	if i < 3 {
		m.Role, m.Expect = RoleServer, 3
	}
	return m
}

// start starts member i, changed by the given functions.
func (v *town) start(i int, change ...func(*cluster.Config, *Config)) *Pool {
	v.t.Helper()
	var ring *cluster.Keyring
	if len(v.keys) > 0 {
		var err error
		if ring, err = cluster.NewKeyring(v.keys...); err != nil {
			v.t.Fatal(err)
		}
	}
	pc := cluster.Config{Network: v.mesh.Host(ip(i)), Bind: addr(i), Region: "global", Keys: ring}
	gc := Config{Local: member(i), Keys: ring}
	for _, f := range change {
		f(&pc, &gc)
	}
	port, err := cluster.Listen(pc)
	if err != nil {
		v.t.Fatal(err)
	}
	gc.Transport = port.GossipTransport()
	p, err := Start(gc)
	if err != nil {
		v.t.Fatal(err)
	}
	for len(v.pools) <= i {
		v.pools, v.ports = append(v.pools, nil), append(v.ports, nil)
	}
	v.pools[i], v.ports[i] = p, port
	return p
}

// crash ends member i without a word.
func (v *town) crash(i int) {
	v.mesh.Crash(ip(i))
	v.stop(i)
}

func (v *town) stop(i int) {
	if v.pools[i] != nil {
		v.pools[i].Close()
		v.ports[i].Close()
		v.pools[i], v.ports[i] = nil, nil
	}
}

func (v *town) close() {
	v.mesh.Heal()
	for i := range v.pools {
		v.stop(i)
	}
	time.Sleep(time.Minute) // memberlist's probes run out on their own
}

// grow starts n members that join the first one.
func (v *town) grow(n int) {
	v.t.Helper()
	for i := range n {
		v.start(i)
	}
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() {
			if _, err := v.pools[i].Join(v.t.Context(), []string{addr(0)}); err != nil {
				v.t.Errorf("member %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// count returns how many members of a status p knows.
func count(p *Pool, s Status) (n int) {
	for _, m := range p.Members() {
		if m.Status == s {
			n++
		}
	}
	return n
}

// until waits, in virtual time, for every running member to satisfy ok, and returns how long that took.
func (v *town) until(what string, limit time.Duration, ok func(i int, p *Pool) bool) time.Duration {
	v.t.Helper()
	begin := time.Now()
	for bad := -1; ; {
		if bad < 0 || v.pools[bad] == nil || ok(bad, v.pools[bad]) { // mostly it is the same one
			bad = -1
			for i, p := range v.pools {
				if p != nil && !ok(i, p) {
					bad = i
					break
				}
			}
		}
		if bad < 0 {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			v.t.Fatalf("after %v: not yet: %s; member %d knows %v", limit, what, bad, v.pools[bad].Members())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func statusOf(p *Pool, name string) Status {
	for _, m := range p.Members() {
		if m.Name == name {
			return m.Status
		}
	}
	return ""
}

func TestFiftyMembersFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t, cluster.NewKey())
		v.grow(50)
		took := v.until("50 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 50 })
		t.Logf("50 joined in %v", took)
		for _, m := range v.pools[49].Members() {
			var i int
			fmt.Sscanf(m.Name, "m%d", &i)
			want := member(i)
			want.Addr, want.Status = addr(i), Alive
			if m != want {
				t.Errorf("member %d is known as %+v", i, m)
			}
		}
		if s := v.pools[49].Servers(); len(s) != 3 {
			t.Errorf("servers: %v", s)
		}

		v.start(50)
		v.pools[50].Join(t.Context(), []string{addr(17)})
		took = v.until("51 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 51 })
		t.Logf("one more was known in %v", took)

		v.crash(20)
		took = v.until("20 failed", 2*time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m20") == Failed })
		t.Logf("a crash was known in %v", took)
	})
}

func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.grow(10)
		v.until("10 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 10 })
		events, cancel := v.pools[0].Subscribe()
		for range 10 {
			<-events
		}
		ctx, done := context.WithTimeout(t.Context(), 10*time.Second)
		if err := v.pools[4].Leave(ctx); err != nil {
			t.Fatal(err)
		}
		done()
		v.stop(4)
		v.until("m4 left", time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m4") == Left })
		e := <-events
		if e.Type == Broken && e.Member.Name == "m4" { // memberlist's own word overtook the notice
			e = <-events
		}
		if e.Type != Gone || e.Member.Name != "m4" || e.Member.Status != Left {
			t.Errorf("event %+v", e)
		}
		// The name comes back, and is not taken for the one that left.
		v.start(4)
		v.pools[4].Join(t.Context(), []string{addr(7)})
		v.until("10 alive again", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 10 })
		if e := <-events; e.Type != Joined || e.Member.Name != "m4" {
			t.Errorf("event %+v", e)
		}
		time.Sleep(5 * time.Minute)
		v.until("10 still alive", 0, func(_ int, p *Pool) bool { return count(p, Alive) == 10 })
		cancel()
		cancel()
		if _, open := <-events; open {
			t.Error("events after cancel")
		}
	})
}

// One that left is where it was when it starts again, although it knows nobody any more: the others look for it.
func TestOneThatLeftIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.grow(4)
		v.until("4 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 4 })
		v.pools[2].Leave(t.Context())
		v.stop(2)
		v.until("m2 left", time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m2") == Left })
		time.Sleep(time.Minute)
		v.start(2)
		took := v.until("4 alive again", 2*time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 4 })
		t.Logf("found in %v", took)
	})
}

// TestForceLeaveReachesEveryone although most packets are lost.
func TestForceLeaveReachesEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.grow(12)
		v.until("12 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 12 })
		if err := v.pools[0].ForceLeave("m5"); structs.KindOf(err) != structs.Conflict {
			t.Errorf("alive: %v", err)
		}
		if err := v.pools[0].ForceLeave("m99"); structs.KindOf(err) != structs.NotFound {
			t.Errorf("unknown: %v", err)
		}
		v.crash(5)
		v.until("m5 failed", 2*time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m5") == Failed })
		random := rand.New(rand.NewPCG(1, 2))
		v.mesh.DropPackets(func(string, string, []byte) bool { return random.IntN(10) < 3 })
		if err := v.pools[0].ForceLeave("m5"); err != nil {
			t.Fatal(err)
		}
		took := v.until("m5 removed", 2*time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m5") == Removed })
		t.Logf("known in %v", took)
		v.mesh.DropPackets(nil)
		if err := v.pools[3].ForceLeave("m5"); err != nil {
			t.Errorf("twice: %v", err)
		}
	})
}

// TestOneWhoWasDeclaredLeftComesBack: an operator was wrong, the member was only cut off.
func TestOneWhoWasDeclaredLeftComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.grow(6)
		v.until("6 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 6 })
		v.mesh.PowerOff(ip(5))
		v.until("m5 failed", 2*time.Minute, func(i int, p *Pool) bool { return i == 5 || statusOf(p, "m5") == Failed })
		v.pools[1].ForceLeave("m5")
		v.until("m5 removed", time.Minute, func(i int, p *Pool) bool { return i == 5 || statusOf(p, "m5") == Removed })
		time.Sleep(time.Minute)
		v.mesh.Heal()
		// The others do not look for it any more; it looks for them.
		took := v.until("6 alive again", 5*time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 6 })
		t.Logf("back in %v", took)
	})
}

func TestAPartitionGrowsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.grow(8)
		v.until("8 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 8 })
		var a, b []string
		for i := range 8 {
			if i < 3 {
				a = append(a, ip(i))
			} else {
				b = append(b, ip(i))
			}
		}
		v.mesh.Cut(a, b)
		v.until("two halves", 5*time.Minute, func(i int, p *Pool) bool {
			return i < 3 && count(p, Alive) == 3 || i >= 3 && count(p, Alive) == 5
		})
		time.Sleep(10 * time.Minute) // long after memberlist forgot the other half
		v.mesh.Heal()
		took := v.until("one pool", 5*time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 8 })
		t.Logf("grew together in %v", took)
	})
}

// TestNewsThatPassedAMemberBy: each packet with the news for one member is lost for as long as the news is repeated. The
// digest in the answers to probes finds that out, before the next exchange of the state comes around.
func TestNewsThatPassedAMemberBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.grow(10)
		v.until("10 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 10 })
		time.Sleep(time.Minute)
		id, _ := hex.DecodeString(member(3).ID)
		v.mesh.DropPackets(func(_, to string, body []byte) bool { return to == ip(9) && bytes.Contains(body, id) })
		worst := time.Duration(0)
		for level := 3; level < 13; level++ {
			if err := v.pools[3].Update(func(m *Member) { m.FeatureMax = level }); err != nil {
				t.Fatal(err)
			}
			worst = max(worst, v.until("the news", 10*time.Second, func(_ int, p *Pool) bool {
				i := slices.IndexFunc(p.Members(), func(m Member) bool { return m.Name == "m3" })
				return p.Members()[i].FeatureMax == level
			}))
			time.Sleep(time.Second)
		}
		t.Logf("at worst after %v", worst)
	})
}

func TestRotatingTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := cluster.NewKey(), cluster.NewKey()
		v := newTown(t, old)
		v.grow(6)
		v.until("6 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 6 })
		for _, step := range []func(*cluster.Keyring) error{
			func(k *cluster.Keyring) error { return k.Install(next) },
			func(k *cluster.Keyring) error { return k.Use(next) },
			func(k *cluster.Keyring) error { return k.Remove(old) },
		} {
			for _, p := range v.pools {
				if err := step(p.config.Keys); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Minute)
		v.until("6 alive", 0, func(_ int, p *Pool) bool { return count(p, Alive) == 6 })
		if _, err := v.start(6).Join(t.Context(), []string{addr(0)}); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("with the old key: %v", err)
		}
		v.stop(6)
		v.keys = []string{next}
		if _, err := v.start(6).Join(t.Context(), []string{addr(0)}); err != nil {
			t.Errorf("with the new key: %v", err)
		}
		v.until("7 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 7 })
	})
}

// record keeps what is logged.
type logged struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.lines = append(l.lines, text)
	return nil
}
func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(s string) bool { return strings.Contains(s, text) })
}

func TestStrangersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		log := &logged{}
		v.start(0, func(_ *cluster.Config, c *Config) { c.Logger = slog.New(log) })
		v.start(1)
		v.pools[1].Join(t.Context(), []string{addr(0)})
		v.until("2 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 2 })

		other := v.start(2, func(_ *cluster.Config, c *Config) { c.Local.Region = "elsewhere" })
		_, err := other.Join(t.Context(), []string{addr(0)})
		if structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), `is of region "global" and this is region "elsewhere"`) {
			t.Errorf("another region: %v", err)
		}
		time.Sleep(time.Minute)
		if count(v.pools[0], Alive) != 2 || count(other, Alive) != 1 {
			t.Errorf("they mixed: %v, %v", v.pools[0].Members(), other.Members())
		}
		if !log.has(`m2 at 10.0.0.3:5052: is of region "elsewhere" and this is region "global"`) {
			t.Errorf("the log does not say so: %v", log.lines)
		}
		v.stop(2)

		twin := v.start(3, func(_ *cluster.Config, c *Config) { c.Local.Name = "m1" })
		twin.Join(t.Context(), []string{addr(0)})
		time.Sleep(20 * time.Second)
		if !log.has("another agent of that name") {
			t.Errorf("two of one name are not told: %v", log.lines)
		}
	})
}

// A member that speaks another version of the pool is not taken in, whichever way it comes.
func TestAnotherVersionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		log := &logged{}
		p := v.start(0, func(_ *cluster.Config, c *Config) { c.Logger = slog.New(log) })
		m := member(1)
		meta, err := m.meta(7)
		if err != nil {
			t.Fatal(err)
		}
		node := &memberlist.Node{Name: m.Name, Addr: net.ParseIP(ip(1)), Port: 5052, Meta: meta, State: memberlist.StateAlive}
		d := delegate{p, p.life}
		for version, want := range map[byte]structs.Kind{metaVersion: "", metaVersion + 1: structs.Invalid, 0: structs.Invalid} {
			meta[0] = version
			if err := d.NotifyAlive(node); structs.KindOf(err) != want {
				t.Errorf("version %d in passing: %v", version, err)
			}
			if err := d.NotifyMerge([]*memberlist.Node{node}); structs.KindOf(err) != want {
				t.Errorf("version %d in a join: %v", version, err)
			}
			if d.setAlive(node); (statusOf(p, m.Name) == Alive) != (want == "") {
				t.Errorf("version %d is known as %q", version, statusOf(p, m.Name))
			}
			p.mu.Lock()
			delete(p.members, m.Name)
			p.mu.Unlock()
		}
		if !log.has("m1 at 10.0.0.2:5052: does not speak version 1 of this pool") {
			t.Errorf("the log does not say so: %v", log.lines)
		}
	})
}

func TestNobodyAnswersIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.start(0)
		_, err := v.pools[0].Join(t.Context(), []string{addr(1), addr(2), addr(3), addr(4), addr(5)})
		if err == nil {
			t.Fatal("somebody answered")
		}
		text := err.Error()
		if strings.ContainsAny(text, "\n\t") || strings.Contains(text, "occurred") || strings.Contains(text, "to join") ||
			strings.Count(text, addr(1)+": cannot connect") != 1 || !strings.Contains(text, "; and 2 more") {
			t.Error(text)
		}
	})
}

func TestTheSnapshotRemembersPeers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		with := func(_ *cluster.Config, c *Config) { c.Snapshot = path }
		v.start(0, with)
		v.start(1)
		v.start(2)
		v.start(3)
		for i := 1; i < 4; i++ {
			v.pools[i].Join(t.Context(), []string{addr(0)})
		}
		v.until("4 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 4 })
		v.pools[2].Leave(t.Context())
		v.stop(2)
		v.until("m2 left", time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m2") == Left })
		time.Sleep(2 * saveDebounce)
		if got := readSnapshot(path, slog.New(slog.DiscardHandler)); len(got) != 3 {
			t.Errorf("one that left is not remembered: %v", got)
		}
		if err := v.pools[3].ForceLeave("m2"); err != nil {
			t.Error(err)
		}
		v.until("m2 removed", time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m2") == Removed })
		v.stop(0)
		for range 2 { // a start that finds nobody does not forget
			v.mesh.PowerOff(ip(0))
			p := v.start(0, with)
			if got := p.Peers(); !slices.Equal(got, []string{addr(1), addr(3)}) {
				t.Errorf("peers %v", got)
			}
			time.Sleep(10 * time.Second)
			v.stop(0)
			v.mesh.Heal()
		}
		p := v.start(0, with)
		if n, err := p.Join(t.Context(), p.Peers()); err != nil || n != 2 {
			t.Errorf("%d, %v", n, err)
		}
	})
	os.WriteFile(path, []byte("}"), 0o600)
	if got := readSnapshot(path, slog.New(slog.DiscardHandler)); got != nil {
		t.Errorf("of a broken file: %v", got)
	}
}

func TestWithoutUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		deaf := func(c *cluster.Config, _ *Config) { c.NoUDP = true }
		v.start(0)
		v.start(1, deaf)
		v.start(2)
		v.start(3, deaf)
		for i := 1; i < 4; i++ {
			if _, err := v.pools[i].Join(t.Context(), []string{addr(0)}); err != nil {
				t.Fatal(err)
			}
		}
		v.until("4 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 4 })
		events, cancel := v.pools[0].Subscribe()
		defer cancel()
		for range 4 {
			<-events
		}
		time.Sleep(10 * time.Minute)
		select {
		case e := <-events:
			t.Errorf("the pool is not steady: %+v", e)
		default:
		}
		v.crash(3)
		v.until("m3 failed", 2*time.Minute, func(_ int, p *Pool) bool { return statusOf(p, "m3") == Failed })
	})
}

// TestUDPIsBlockedBetweenTwo: the firewall lets only TCP through.
func TestUDPIsBlockedBetweenTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTown(t)
		v.mesh.DropPackets(func(string, string, []byte) bool { return true })
		v.grow(2)
		v.until("2 alive", time.Minute, func(_ int, p *Pool) bool { return count(p, Alive) == 2 })
		time.Sleep(time.Minute)
		for level := 3; level < 6; level++ {
			v.pools[0].Update(func(m *Member) { m.FeatureMax = level })
			took := v.until("the news", 10*time.Second, func(_ int, p *Pool) bool { return p.Members()[0].FeatureMax == level })
			t.Logf("known in %v", took)
		}
		v.until("2 alive", 0, func(_ int, p *Pool) bool { return count(p, Alive) == 2 })
	})
}

func TestMetaIsBounded(t *testing.T) {
	m := member(0)
	m.Region, m.Datacenter = strings.Repeat("r", 50), strings.Repeat("d", 49)
	raw, err := m.meta(7)
	if err != nil || len(raw) != maxMeta {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	got, run, ok := parseMeta(raw)
	got.Name = m.Name
	if !ok || run != 7 || got != m {
		t.Errorf("came back as %+v", got)
	}
	for n := range len(raw) - 2 { // what came later may be missing: the version, which is empty here, and the splits
		if _, _, ok := parseMeta(raw[:n]); ok {
			t.Errorf("%d bytes of it are taken for all", n)
		}
	}
	m.Datacenter += "d"
	if _, err := m.meta(7); structs.KindOf(err) != structs.Invalid {
		t.Errorf("one byte more: %v", err)
	}
	for _, change := range []func(*Member){
		func(m *Member) { m.ID = "x" }, func(m *Member) { m.Role = 0 }, func(m *Member) { m.Expect = 256 },
	} {
		m := member(0)
		change(&m)
		if _, err := m.meta(1); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%+v: %v", m, err)
		}
	}
}

func TestNoticesThatCannotBeRead(t *testing.T) {
	n := &notice{name: "m1", run: 5, final: true, born: time.Now()}
	raw := n.append(n.message())
	if got := parseNotices(raw); len(got) != 2 || got[1].name != "m1" || got[1].run != 5 || !got[1].final {
		t.Errorf("%+v", got)
	}
	for i := range raw {
		parseNotices(raw[:i])
	}
	if parseNotices([]byte("X123456789012")) != nil {
		t.Error("another type was read")
	}
}

// TestLoopback is the smoke test with real sockets.
func TestLoopback(t *testing.T) {
	keys, _ := cluster.NewKeyring(cluster.NewKey())
	var pools []*Pool
	for i := range 3 {
		port, err := cluster.Listen(cluster.Config{Bind: "127.0.0.1:0", Region: "global", Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		defer port.Close()
		p, err := Start(Config{Local: member(i), Keys: keys, Transport: port.GossipTransport()})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		pools = append(pools, p)
	}
	events, cancel := pools[2].Subscribe()
	defer cancel()
	for _, p := range pools[1:] {
		if _, err := p.Join(t.Context(), []string{pools[0].Local().Addr}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if e := <-events; e.Type != Joined {
			t.Errorf("%+v", e)
		}
	}
}
