package cluster

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}

// TestRaftOverTheMesh: three servers elect a leader, the leader is cut off, the others elect another one, the cut heals and
// the old leader follows. All of it in one bubble, through the handshake.
func TestRaftOverTheMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, keys := NewMesh(), ring(t, NewKey())
		hosts := []string{hostA, hostB, hostC}
		var servers raft.Configuration
		for _, h := range hosts {
			servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(h), Address: raft.ServerAddress(h + ":5052")})
		}
		nodes := map[string]*raft.Raft{}
		for _, h := range hosts {
			p := listen(t, m.Host(h), h+":5052", with(keys))
			trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
				Stream: p.RaftLayer(), MaxPool: 3, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger(),
			})
			c := raft.DefaultConfig()
			c.LocalID, c.Logger = raft.ServerID(h), hclog.NewNullLogger()
			store := raft.NewInmemStore()
			snaps := raft.NewInmemSnapshotStore()
			if err := raft.BootstrapCluster(c, store, store, snaps, trans, servers); err != nil {
				t.Fatal(err)
			}
			r, err := raft.NewRaft(c, nothing{}, store, store, snaps, trans)
			if err != nil {
				t.Fatal(err)
			}
			nodes[h] = r
			defer func() {
				r.Shutdown().Error()
				trans.Close()
				p.Close()
			}()
		}
		leader := func(among ...string) string {
			for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(50 * time.Millisecond) {
				for _, h := range among {
					if nodes[h].State() == raft.Leader && nodes[h].VerifyLeader().Error() == nil {
						return h
					}
				}
			}
			t.Fatal("no leader in a minute")
			return ""
		}
		first := leader(hosts...)
		if err := nodes[first].Apply([]byte("x"), time.Minute).Error(); err != nil {
			t.Fatal(err)
		}
		var rest []string
		for _, h := range hosts {
			if h != first {
				rest = append(rest, h)
			}
		}
		m.Cut([]string{first}, rest)
		begin := time.Now()
		second := leader(rest...)
		t.Logf("a new leader after %v", time.Since(begin))
		if err := nodes[second].Apply([]byte("y"), time.Minute).Error(); err != nil {
			t.Fatal(err)
		}
		m.Heal()
		for nodes[first].AppliedIndex() < nodes[second].LastIndex() {
			time.Sleep(50 * time.Millisecond)
		}
	})
}
