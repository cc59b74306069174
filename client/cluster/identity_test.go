package cluster

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/structs"
)

// TestTheServerThatIsMeant: Raft must not speak to whoever has the address now, lest one server's answers count for two.
func TestTheServerThatIsMeant(t *testing.T) {
	for name, keys := range map[string]bool{"with keys": true, "without keys": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMesh()
				as := func(id string) func(*Config) { return func(c *Config) { c.ID = id } }
				options := []func(*Config){as("a")}
				if keys {
					options = append(options, with(ring(t, NewKey())))
				}
				a := listen(t, m.Host(hostA), hostA+":5052", options...)
				b := listen(t, m.Host(hostB), hostB+":5052", append(options[1:], as("b"))...)
				go echo(a.RaftLayer())
				for _, to := range []raft.ServerAddress{raft.ServerAddress(a.Addr()), RaftAddress("a", a.Addr())} {
					c, err := b.RaftLayer().Dial(to, time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					say(t, c, "hello")
				}
				_, err := b.RaftLayer().Dial(RaftAddress("c", a.Addr()), time.Minute)
				if structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), `wants server c, and the listener is "a"`) {
					t.Errorf("another server: %v", err)
				}
				nobody := listen(t, m.Host(hostC), hostC+":5052", options[1:]...)
				go echo(nobody.RaftLayer())
				if _, err := b.RaftLayer().Dial(RaftAddress("c", nobody.Addr()), time.Minute); structs.KindOf(err) != structs.Unavailable {
					t.Errorf("one without an id: %v", err)
				}
			})
		})
	}
}

// TestNobodyGetsInUnproved: a stranger that does not mind the verdict is not handed on, whatever it wants to speak.
func TestNobodyGetsInUnproved(t *testing.T) {
	for _, kind := range []Kind{Raft, RPC} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMesh()
				a := listen(t, m.Host(hostA), hostA+":5052", with(ring(t, NewKey())))
				l := a.Listener(kind)
				got := make(chan struct{}, 1)
				go func() {
					if _, err := l.Accept(); err == nil {
						got <- struct{}{}
					}
				}()
				for name, proofs := range map[string]int{"a wrong proof": 1, "no proof": 0} {
					c, err := m.Host(hostC).Dial(t.Context(), a.Addr())
					if err != nil {
						t.Fatal(err)
					}
					c.SetDeadline(time.Now().Add(time.Minute))
					mine := newHello("global", "", byte(proofs))
					c.Write(mine.append([]byte{byte(kind)}))
					if _, err := readHello(c); err != nil {
						t.Fatal(err)
					}
					c.Write(make([]byte, 32*proofs))
					c.Write([]byte("what only members may say"))
					if answer, err := io.ReadAll(c); err != nil && len(answer) > 33 {
						t.Errorf("%s: answered %q, %v", name, answer, err)
					}
					synctest.Wait()
					select {
					case <-got:
						t.Errorf("%s: it was let in", name)
					default:
					}
					c.Close()
				}
			})
		})
	}
}
