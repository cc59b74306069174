//go:build linux && system

package system

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestNewAddresses: servers that all have other addresses when they come back are the region that they were. What Raft
// remembers of the others leads nowhere then, or to another of them.
func TestNewAddresses(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	w := r.witness()
	var servers []*agent
	for _, name := range []string{"s0", "s1", "s2"} {
		s := r.server(name, "-bootstrap-expect", "3")
		s.env = r.knownRace()
		servers = append(servers, s)
	}
	r.client("c")
	r.startAll()
	r.submit(w.job("service", "web", 2, forever, ""))
	r.allocs("web", 2)
	pids := w.pids("web", 2)
	move := func(what string, addresses ...string) {
		t.Helper()
		for _, s := range servers {
			if code := s.stop(); code != 0 {
				t.Errorf("server %s: exit code %d", s.name, code)
			}
		}
		for i, s := range servers {
			s.api().Close()
			s.addr, s.client = addresses[i], nil
		}
		for _, s := range servers {
			s.launch()
		}
		for _, s := range servers {
			s.await()
		}
		r.peers("s0", "s1", "s2")
		await(t, what+": Raft knows where each server is", func() error {
			list, err := r.api().RaftPeers(t.Context())
			for _, p := range list {
				for i, s := range servers {
					if want := net.JoinHostPort(addresses[i], strconv.Itoa(ports.cluster)); p.Name == s.name && p.Address != want {
						err = fmt.Errorf("%s is at %s, not at %s", s.name, p.Address, want)
					}
				}
			}
			return err
		})
		r.submit(w.job("service", "web", 2, forever, ""))
		r.allocs("web", 2)
		w.kept("web", pids)
		servers[0].proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
	}
	old := []string{servers[0].addr, servers[1].addr, servers[2].addr}
	move("all are elsewhere", old[0]+"0", old[1]+"0", old[2]+"0")
	move("each has the address of another", old[1]+"0", old[2]+"0", old[0]+"0")
}

// knownRace is the environment in which the race detector passes over what hashicorp/raft 1.8.0 does when a server has another address: it
// reads the id of a peer (updateLastAppended) without the lock under which it replaces the peer (startStopReplication), whose id stays the same.
func (r *region) knownRace() []string {
	path := filepath.Join(r.dir, "races")
	if err := os.WriteFile(path, []byte("race:github.com/hashicorp/raft.updateLastAppended\n"), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return []string{"GORACE=" + os.Getenv("GORACE") + " suppressions=" + path}
}
