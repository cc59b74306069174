package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/structs"
)

const (
	hostA = "10.0.0.1"
	hostB = "10.0.0.2"
	hostC = "10.0.0.3"
)

func ring(t *testing.T, keys ...string) *Keyring {
	t.Helper()
	k, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func listen(t *testing.T, n Network, bind string, change ...func(*Config)) *Port {
	t.Helper()
	c := Config{Network: n, Bind: bind, Region: "global"}
	for _, f := range change {
		f(&c)
	}
	p, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func with(k *Keyring) func(*Config) { return func(c *Config) { c.Keys = k } }

// echo answers every connection of l with what it sends.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Errorf("write: %v", err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Errorf("read %q: %v", got, err)
	}
}

func TestTheKindsDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, keys := NewMesh(), ring(t, NewKey())
		a := listen(t, m.Host(hostA), hostA+":5052", with(keys))
		b := listen(t, m.Host(hostB), hostB+":0", with(keys))
		if _, err := b.Dial(t.Context(), RPC, a.Addr()); structs.KindOf(err) != structs.Unavailable ||
			!strings.Contains(err.Error(), "does not serve RPC") {
			t.Errorf("nobody listens for it: %v", err)
		}
		go echo(a.Listener(RPC))
		layer := a.RaftLayer()
		go func() {
			c, err := layer.Accept()
			if err == nil {
				io.WriteString(c, "raft")
				c.Close()
			}
		}()
		c, err := b.Dial(t.Context(), RPC, a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		say(t, c, "hello")
		r, err := b.RaftLayer().Dial(raft.ServerAddress(a.Addr()), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); string(got) != "raft" {
			t.Errorf("%q, %v", got, err)
		}
		if got := layer.Addr().String(); got != hostA+":5052" {
			t.Errorf("raft would tell the others %s", got)
		}
		layer.Close()
		if _, err := layer.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept of a closed layer: %v", err)
		}
		say(t, c, "and RPC goes on")
		// Close ends what was accepted and dialled.
		b.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a dialled connection outlived its port")
		}
		if _, err := b.Dial(t.Context(), RPC, a.Addr()); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("dial from a closed port: %v", err)
		}
	})
}

func TestProofs(t *testing.T) {
	k1, k2, k3 := NewKey(), NewKey(), NewKey()
	for name, test := range map[string]struct {
		listener, dialler []string
		region            string
		kind              structs.Kind // "" when they come together
		why               string
	}{
		"one key":            {listener: []string{k1}, dialler: []string{k1}},
		"no keys":            {},
		"during a rotation":  {listener: []string{k1, k2}, dialler: []string{k2, k1}},
		"any common key":     {listener: []string{k1, k2}, dialler: []string{k3, k2}},
		"only the old one":   {listener: []string{k2, k1}, dialler: []string{k1}},
		"another key":        {listener: []string{k1}, dialler: []string{k2}, kind: structs.Forbidden, why: "no gossip key in common"},
		"dialler has none":   {listener: []string{k1}, kind: structs.Forbidden, why: "the dialler has no gossip key"},
		"listener has none":  {dialler: []string{k1}, kind: structs.Forbidden, why: "the listener has no gossip key"},
		"another region":     {listener: []string{k1}, dialler: []string{k1}, region: "eu", kind: structs.Invalid, why: `region "eu"`},
		"region without key": {region: "eu", kind: structs.Invalid, why: `region "eu"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMesh()
				keys := func(list []string) func(*Config) {
					return func(c *Config) {
						if list != nil {
							c.Keys = ring(t, list...)
						}
					}
				}
				a := listen(t, m.Host(hostA), hostA+":5052", keys(test.listener))
				b := listen(t, m.Host(hostB), hostB+":5052", keys(test.dialler), func(c *Config) {
					if test.region != "" {
						c.Region = test.region
					}
				})
				go echo(a.Listener(RPC))
				c, err := b.Dial(t.Context(), RPC, a.Addr())
				if structs.KindOf(err) != test.kind {
					t.Fatalf("dial: %v", err)
				}
				if err == nil {
					say(t, c, "hello")
				} else if !strings.Contains(err.Error(), test.why) {
					t.Errorf("the error does not say why: %v", err)
				}
			})
		})
	}
}

// TestSomebodyInBetween: one without the key cannot use what others say.
func TestSomebodyInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, keys := NewMesh(), ring(t, NewKey())
		a := listen(t, m.Host(hostA), hostA+":5052", with(keys))
		b := listen(t, m.Host(hostB), hostB+":5052", with(keys))
		go echo(a.Listener(RPC))
		go echo(b.Listener(RPC))
		evil := m.Host(hostC)
		l, _ := evil.Listen(":5052")
		// forward lets f change what the listener answers, n bytes at a time.
		forward := func(to string, kind byte, f func([]byte)) {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			d, err := evil.Dial(t.Context(), to)
			if err != nil {
				return
			}
			defer d.Close()
			first := make([]byte, 1)
			io.ReadFull(c, first)
			d.Write([]byte{kind})
			go func() { io.Copy(d, c); d.Close() }()
			buf := make([]byte, 4096)
			for {
				n, err := d.Read(buf)
				if err != nil {
					return
				}
				f(buf[:n])
				c.Write(buf[:n])
			}
		}
		// Relayed as it is, it works: there is no encryption yet. Everything else must fail.
		go forward(a.Addr(), byte(RPC), func([]byte) {})
		if _, err := b.Dial(t.Context(), RPC, hostC+":5052"); err != nil {
			t.Errorf("relayed: %v", err)
		}
		a.RaftLayer()
		go forward(a.Addr(), byte(Raft), func([]byte) {})
		if _, err := b.Dial(t.Context(), RPC, hostC+":5052"); err == nil {
			t.Error("an RPC proof was taken for Raft")
		}
		answers := 0
		go forward(a.Addr(), byte(RPC), func(b []byte) {
			if answers++; answers == 1 {
				b[len(b)-1] ^= 1 // the listener's nonce
			}
		})
		if _, err := b.Dial(t.Context(), RPC, hostC+":5052"); err == nil {
			t.Error("a changed nonce was not noticed")
		}

		// Reflection: the dialler's own proof sent back to it.
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			io.ReadFull(c, make([]byte, 1))
			h, err := readHello(c)
			if err != nil {
				return
			}
			mine := *h
			mine.count = byte(accepted)
			c.Write(mine.append(nil))
			p := make([]byte, 32)
			io.ReadFull(c, p)
			c.Write(append([]byte{byte(accepted)}, p...))
		}()
		if _, err := b.Dial(t.Context(), RPC, hostC+":5052"); structs.KindOf(err) != structs.Forbidden {
			t.Errorf("reflected: %v", err)
		}
		l.Close()
	})
}

func TestGarbageOnThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, keys := NewMesh(), ring(t, NewKey())
		a := listen(t, m.Host(hostA), hostA+":5052", with(keys))
		go echo(a.Listener(RPC))
		a.GossipTransport()
		send := func(raw string) string {
			c, err := m.Host(hostC).Dial(t.Context(), a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, raw)
			c.SetReadDeadline(time.Now().Add(time.Minute))
			got, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q keeps the connection open", raw)
			}
			return string(got)
		}
		if got := send("GET / HTTP/1.1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 400") || !strings.Contains(got, "HTTP API") {
			t.Errorf("a browser reads %q", got)
		}
		for _, raw := range []string{"\x16\x03\x01", "\x00", "\xff\xff\xff\xff", "\x02", "\x02\x01", "\x02\x01\x01\xff" + strings.Repeat("x", 300),
			"\x02\x01\x01\x06global" + strings.Repeat("n", 32) + strings.Repeat("p", 32), "\x01", "\x03", "\x04", "\x04\x05abc",
			"\x04\x0b10.0.0.9:12\x00\x00", "\x04\x03x:y\x00\x01a"} {
			send(raw)
		}
		b := listen(t, m.Host(hostB), hostB+":5052", with(keys))
		c, err := b.Dial(t.Context(), RPC, a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		say(t, c, "still here")
	})
}

// TestConnectionsThatSayNothing are closed in time, and do not keep others out.
func TestConnectionsThatSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, keys := NewMesh(), ring(t, NewKey())
		a := listen(t, m.Host(hostA), hostA+":5052", with(keys))
		b := listen(t, m.Host(hostB), hostB+":5052", with(keys))
		go echo(a.Listener(RPC))
		var silent []net.Conn
		for range 2 * maxPending {
			c, err := m.Host(hostC).Dial(t.Context(), a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			silent = append(silent, c)
			synctest.Wait()
		}
		a.mu.Lock()
		pending := a.pending.Len()
		a.mu.Unlock()
		if pending > maxPending {
			t.Errorf("%d are pending", pending)
		}
		begin := time.Now()
		if _, err := b.Dial(t.Context(), RPC, a.Addr()); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		for _, c := range silent {
			c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("one stayed open")
			}
			c.Close()
		}
		if took := time.Since(begin); took > handshakeTime+time.Second {
			t.Errorf("they stayed for %v", took)
		}
	})
}

func TestTheOtherSideIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMesh()
		b := listen(t, m.Host(hostB), hostB+":5052", with(ring(t, NewKey())))
		l, _ := m.Host(hostA).Listen(":1")
		begin := time.Now()
		if _, err := b.Dial(t.Context(), RPC, hostA+":1"); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("%v", err)
		}
		if took := time.Since(begin); took != handshakeTime {
			t.Errorf("gave up after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		if _, err := b.Dial(ctx, RPC, hostA+":1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("gave up after %v", took)
		}
		l.Close()
		if _, err := b.Dial(t.Context(), RPC, hostA+":1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v", err)
		}
		m.PowerOff(hostA)
		begin = time.Now()
		if _, err := b.Dial(t.Context(), RPC, hostA+":1"); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("%v", err)
		}
		if took := time.Since(begin); took != connectTime {
			t.Errorf("gave up after %v", took)
		}
		// Close of the port ends a dial.
		go func() { time.Sleep(time.Second); b.Close() }()
		begin = time.Now()
		if _, err := b.Dial(t.Context(), RPC, hostA+":1"); err == nil || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestNobodyAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMesh()
		a := listen(t, m.Host(hostA), hostA+":5052")
		b := listen(t, m.Host(hostB), hostB+":5052")
		l := a.Listener(RPC)
		var conns []net.Conn
		for range acceptQueue + 10 {
			c, err := b.Dial(t.Context(), RPC, a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		time.Sleep(2 * handshakeTime)
		closed := 0
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				closed++
			}
		}
		if closed != 10 {
			t.Errorf("%d of those that the queue does not hold were closed", closed)
		}
		l.Close()
	})
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		why    string
	}{
		"no key off loopback": {Config{Bind: "0.0.0.0:0", Advertise: "10.0.0.1"}, "no gossip key"},
		"bad bind":            {Config{Bind: "127.0.0.1"}, "missing port"},
		"long region":         {Config{Bind: "127.0.0.1:0", Region: strings.Repeat("r", 65)}, "longer"},
		"nothing to tell":     {Config{Bind: "0.0.0.0:0", Keys: ring(t, NewKey()), Network: NewMesh().Host(hostA)}, ""},
	} {
		p, err := Listen(test.config)
		if test.why == "" {
			if err != nil || p.Addr() == "" {
				t.Errorf("%s: %v", name, err)
			} else {
				p.Close()
			}
		} else if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, test := range [][3]string{{"", "10.1.1.1:7", "10.1.1.1:7"}, {"box.example:0", "10.1.1.1:7", "box.example:7"},
		{"box.example", "10.1.1.1:7", "box.example:7"}, {"192.0.2.1:99", "0.0.0.0:7", "192.0.2.1:99"}, {":99", "10.1.1.1:7", "10.1.1.1:99"}} {
		bound, _ := net.ResolveTCPAddr("tcp", test[1])
		if got, err := advertised(test[0], bound); err != nil || got != test[2] {
			t.Errorf("%v: %s, %v", test, got, err)
		}
	}
	if _, err := advertised("", &net.TCPAddr{IP: net.IPv4zero, Port: 7}); structs.KindOf(err) != structs.Invalid {
		t.Errorf("unspecified: %v", err)
	}
}

func TestKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	if _, err := OpenKeyring(path); structs.KindOf(err) != structs.Invalid {
		t.Errorf("no key at all: %v", err)
	}
	old, next := NewKey(), NewKey()
	k, err := OpenKeyring(path, old)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, keys ...string) {
		t.Helper()
		if got := k.List(); !slices.Equal(got, keys) {
			t.Errorf("%s: %v, not %v", what, got, keys)
		}
		kept, err := OpenKeyring(path, old)
		if err != nil || !slices.Equal(kept.List(), keys) {
			t.Errorf("%s: kept %v, %v", what, kept.List(), err)
		}
	}
	expect("at first", old)
	for _, test := range []struct {
		what string
		err  error
		kind structs.Kind
		keys []string
	}{
		{"use one that is not there", k.Use(next), structs.NotFound, nil},
		{"remove one that is not there", k.Remove(next), "", nil},
		{"remove the primary", k.Remove(old), structs.Conflict, nil},
		{"install garbage", k.Install("garbage!"), structs.Invalid, nil},
		{"install a short one", k.Install("YWJj"), structs.Invalid, nil},
	} {
		if structs.KindOf(test.err) != test.kind {
			t.Errorf("%s: %v", test.what, test.err)
		}
	}
	expect("after that", old)
	k.Install(next)
	k.Install(next)
	expect("installed", old, next)
	k.Use(next)
	expect("used", next, old)
	k.Remove(old)
	expect("removed", next)
	for range 7 {
		if err := k.Install(NewKey()); err != nil {
			t.Error(err)
		}
	}
	if err := k.Install(NewKey()); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("a ninth key: %v", err)
	}
	info, _ := os.Stat(path)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v", info.Mode())
	}
	other := NewKey()
	if k, err := OpenKeyring(path, other, next); err != nil || !slices.Equal(k.List(), []string{other, next}) {
		t.Errorf("a changed configuration: %v, %v", k.List(), err)
	}
	os.WriteFile(path, []byte("{"), 0o600)
	if _, err := OpenKeyring(path, old); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a broken file: %v", err)
	}
	var none *Keyring
	if none.Keys() != nil || none.List() != nil || none.Gossip() != nil || structs.KindOf(none.Install(old)) != structs.Conflict {
		t.Error("a nil keyring has something")
	}
}

func TestMeshConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMesh()
		l, err := m.Host(hostA).Listen(":7")
		if err != nil {
			t.Fatal(err)
		}
		go echo(l)
		if _, err := m.Host(hostA).Listen(":7"); !errors.Is(err, errAddrInUse) {
			t.Errorf("a port twice: %v", err)
		}
		if _, err := m.Host(hostA).Listen(hostB + ":7"); err == nil {
			t.Error("listens on another host")
		}
		dial := func() net.Conn {
			c, err := m.Host(hostB).Dial(t.Context(), hostA+":7")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		c := dial()
		big := bytes.Repeat([]byte("0123456789"), laneSize/3)
		go c.Write(big)
		got := make([]byte, len(big))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, big) {
			t.Errorf("big: %v", err)
		}

		// A cut holds back; it heals and everything is there.
		for _, cut := range []func(){func() { m.Cut([]string{hostA}, []string{hostB}) },
			func() { m.CutOneWay([]string{hostA}, []string{hostB}) }, func() { m.CutOneWay([]string{hostB}, []string{hostA}) },
			func() { m.PowerOff(hostB) }} {
			cut()
			io.WriteString(c, "during the cut")
			c.SetReadDeadline(time.Now().Add(time.Hour))
			if _, err := c.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("something came through: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := m.Host(hostB).Dial(ctx, hostA+":7"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("dial: %v", err)
			}
			cancel()
			c.SetReadDeadline(time.Time{})
			m.Heal()
			if _, err := io.ReadFull(c, got[:14]); err != nil || string(got[:14]) != "during the cut" {
				t.Errorf("%q, %v", got[:14], err)
			}
		}
		m.Cut([]string{hostA}, []string{hostB})
		go func() { time.Sleep(time.Second); m.Heal() }()
		say(t, dial(), "a dial that waited")

		c.SetWriteDeadline(time.Now().Add(time.Second))
		m.Cut([]string{hostA}, []string{hostB})
		if n, err := c.Write(make([]byte, 2*laneSize)); n != laneSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v", n, err)
		}
		m.Heal()

		d := dial()
		m.Crash(hostA)
		if _, err := d.Read(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after a crash: %v", err)
		}
		if _, err := m.Host(hostB).Dial(t.Context(), hostA+":7"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial after a crash: %v", err)
		}
		if n := len(m.lanes); n > 20 {
			t.Errorf("%d lanes are kept", n)
		}
	})
}

func TestMeshPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMesh()
		a, _ := m.Host(hostA).ListenPacket(":7")
		b, _ := m.Host(hostB).ListenPacket(":0")
		buf := make([]byte, 10)
		send := func() { b.WriteTo([]byte("hello"), &net.UDPAddr{IP: net.ParseIP(hostA), Port: 7}) }
		send()
		n, from, err := a.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" || from.String() != b.LocalAddr().String() {
			t.Errorf("%q from %v, %v", buf[:n], from, err)
		}
		m.CutOneWay([]string{hostB}, []string{hostA})
		send()
		m.Heal()
		m.DropPackets(func(string, string, []byte) bool { return true })
		send()
		m.DropPackets(nil)
		a.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := a.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a packet came through: %v", err)
		}
		go func() { time.Sleep(time.Second); a.Close() }()
		a.SetReadDeadline(time.Time{})
		if _, _, err := a.ReadFrom(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed socket: %v", err)
		}
		send()
		if _, err := a.WriteTo(buf, b.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write of a closed socket: %v", err)
		}
		b.Close()
	})
}

// TestPacketsWithoutUDP go over connections, in both directions.
func TestPacketsWithoutUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMesh()
		a := listen(t, m.Host(hostA), hostA+":5052", func(c *Config) { c.NoUDP = true })
		b := listen(t, m.Host(hostB), hostB+":5052")
		ta, tb := a.GossipTransport(), b.GossipTransport()
		ta.WriteTo([]byte("one"), b.Addr())
		p := <-tb.PacketCh()
		if string(p.Buf) != "one" || p.From.String() != a.Addr() {
			t.Errorf("%q from %v", p.Buf, p.From)
		}
		tb.WriteTo([]byte("two"), p.From.String()) // it has UDP, and knows that a has none
		if p := <-ta.PacketCh(); string(p.Buf) != "two" || p.From.String() != b.Addr() {
			t.Errorf("%q from %v", p.Buf, p.From)
		}
		for range 1000 { // more than fits a carrier's queue: dropped, not blocked
			ta.WriteTo(make([]byte, 1000), b.Addr())
			ta.WriteTo(make([]byte, 1000), hostC+":1")
		}
		time.Sleep(time.Hour)
		a.gossip.mu.Lock()
		if n := len(a.gossip.carriers); n != 0 {
			t.Errorf("%d carriers are kept", n)
		}
		a.gossip.mu.Unlock()
		ta.Shutdown()
		if _, err := tb.DialTimeout(a.Addr(), time.Minute); err != nil {
			t.Errorf("the port itself should live on: %v", err)
		}
	})
}

func TestGossipStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMesh()
		a := listen(t, m.Host(hostA), hostA+":5052")
		b := listen(t, m.Host(hostB), hostB+":5052")
		c, err := b.GossipTransport().DialTimeout(a.Addr(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "state")
		c.Close()
		got, err := io.ReadAll(<-a.GossipTransport().StreamCh())
		if err != nil || string(got) != "state" {
			t.Errorf("%q, %v", got, err)
		}
		ip, port, err := a.GossipTransport().FinalAdvertiseAddr("", 0)
		if err != nil || ip.String() != hostA || port != 5052 {
			t.Errorf("%v %d, %v", ip, port, err)
		}
	})
}

// TestLoopback is the smoke test with real sockets: all kinds on one port, many at once.
func TestLoopback(t *testing.T) {
	var log bytes.Buffer
	keys := ring(t, NewKey())
	a := listen(t, nil, "127.0.0.1:0", with(keys))
	b := listen(t, nil, "127.0.0.1:0", func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }, with(keys))
	go echo(a.Listener(RPC))
	go echo(a.Listener(Raft))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			c, err := b.Dial(t.Context(), []Kind{Raft, RPC}[i%2], a.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			say(t, c, "hello")
			c.Close()
		})
	}
	wg.Wait()
	b.GossipTransport().WriteTo([]byte("packet"), a.Addr())
	if p := <-a.GossipTransport().PacketCh(); string(p.Buf) != "packet" || p.From.String() != b.Addr() {
		t.Errorf("%q from %v", p.Buf, p.From)
	}
	taken := a.Addr()
	if _, err := Listen(Config{Bind: taken, Keys: keys}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("a port that is taken: %v", err)
	}
}
