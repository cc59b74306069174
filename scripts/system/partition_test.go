//go:build linux && system

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// leaderAmong waits until one of these servers leads and all of them know it.
func (r *region) leaderAmong(servers ...*agent) (leader *agent) {
	r.t.Helper()
	await(r.t, "one of the servers that see each other leads", func() error {
		leader = nil
		for _, a := range servers {
			l, err := a.api().Leader(r.t.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(servers, func(b *agent) bool { return b.name == l.Name })
			if i < 0 || leader != nil && leader != servers[i] {
				return fmt.Errorf("%s says that %q leads", a.name, l.Name)
			}
			leader = servers[i]
		}
		return nil
	})
	return leader
}

func without(all []*agent, one *agent) []*agent {
	return slices.DeleteFunc(slices.Clone(all), func(a *agent) bool { return a == one })
}

// TestPartition cuts the network in every way and mends it again. Fenced work never runs twice; what may run twice is
// seen to do so, which shows that the witnesses would tell.
func TestPartition(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.lease = "4s"
	net := r.separate()
	w := r.witness()
	servers, clients := three(r)
	r.submit(w.job("service", "web", 6, forever, ""))
	r.submit(w.job("service", "db", 6, forever, `on_lost = "fence"`))
	r.submit(w.job("service", "patient", 3, forever, `on_lost = "wait(1h)"`))
	w.pids("web", 6)
	w.pids("db", 6)
	patient := w.pids("patient", 3)
	writes := r.write()

	settled := func(what string) {
		t.Helper()
		r.eyes = nil
		r.leader()
		r.nodes(structs.NodeReady, 3)
		r.allocs("web", 6)
		r.allocs("db", 6)
		r.allocs("patient", 3)
		w.pids("web", 6)
		w.pids("db", 6)
		await(t, "nothing runs twice any more", func() error {
			n := 0
			for _, c := range clients {
				n += len(c.tasks())
			}
			if n != 15 {
				return fmt.Errorf("%d tasks run", n)
			}
			return nil
		})
		w.kept("patient", patient)
		w.never(map[string]int{"db": 6, "patient": 3})
		writes.goesOn(r)
		t.Logf("after %s: all is well", what)
	}
	settled("the start")

	// doubled waits for the proof that a node which is cut off goes on with what is not fenced.
	doubled := func() {
		t.Helper()
		await(t, "the witnesses have seen unfenced work run twice", func() error {
			raw, err := os.ReadFile(filepath.Join(w.dir, "doubles"))
			if err == nil && !strings.HasPrefix(string(raw), "web ") {
				err = fmt.Errorf("they saw %q", raw)
			}
			return err
		})
	}

	for i, kind := range []struct {
		what string
		cut  func(node *agent, do func(from, to *agent))
	}{
		{"a node was cut off from the servers", func(n *agent, do func(from, to *agent)) { between([]*agent{n}, servers, do) }},
		{"a node could not send to the servers", func(n *agent, do func(from, to *agent)) { toward([]*agent{n}, servers, do) }},
		{"the servers could not send to a node", func(n *agent, do func(from, to *agent)) { toward(servers, []*agent{n}, do) }},
	} {
		node := clients[i]
		held := len(node.tasks())
		kind.cut(node, net.cut)
		r.nodes(structs.NodeLost, 1)
		w.pids("db", 6) // all of them, elsewhere
		await(t, "the fenced tasks have left the node", func() error {
			for index := range 6 {
				s := w.starts("db", index)
				if last := s[len(s)-1]; last.node == node.name && alive(last.pid) {
					return fmt.Errorf("db[%d] runs there: %+v", index, last)
				}
			}
			return nil
		})
		if i == 0 && held > 0 {
			doubled()
		}
		kind.cut(node, net.mend)
		settled(kind.what)
	}

	for _, kind := range []struct {
		what string
		cut  func(leader *agent, followers []*agent, do func(from, to *agent))
	}{
		{"the leader was cut off from its followers", func(l *agent, f []*agent, do func(from, to *agent)) { between([]*agent{l}, f, do) }},
		{"the leader could not send to its followers", func(l *agent, f []*agent, do func(from, to *agent)) { toward([]*agent{l}, f, do) }},
		{"the followers could not send to the leader", func(l *agent, f []*agent, do func(from, to *agent)) { toward(f, []*agent{l}, do) }},
		{"the leader was cut off from everybody", func(l *agent, f []*agent, do func(from, to *agent)) {
			between([]*agent{l}, append(slices.Clone(f), clients...), do)
		}},
	} {
		leader := r.leader()
		followers := without(servers, leader)
		kind.cut(leader, followers, net.cut)
		r.eyes = r.leaderAmong(followers...)
		writes.goesOn(r)
		r.nodes(structs.NodeReady, 3)
		w.pids("db", 6)
		kind.cut(leader, followers, net.mend)
		settled(kind.what)
	}

	// A follower that no node reaches: those that had their session with it take another server.
	follower := r.follower()
	between([]*agent{follower}, clients, net.cut)
	writes.goesOn(r)
	r.nodes(structs.NodeReady, 3)
	between([]*agent{follower}, clients, net.mend)
	settled("a follower was cut off from the nodes")

	writes.check(r)
}
