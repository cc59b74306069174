//go:build linux && system

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// peers waits until the Raft group has exactly these servers, all healthy.
func (r *region) peers(names ...string) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("the servers are %v", names), func() error {
		list, err := r.api().RaftPeers(r.t.Context())
		if err != nil {
			return err
		}
		have := map[string]*api.RaftPeer{}
		for _, p := range list {
			have[p.Name] = p
		}
		for _, name := range names {
			if p := have[name]; p == nil || !p.Voter || !p.Healthy {
				return fmt.Errorf("%s is not a healthy voter; there are %d", name, len(list))
			}
		}
		if len(list) != len(names) {
			return fmt.Errorf("there are %d", len(list))
		}
		return nil
	})
}

// TestServers: a region grows and shrinks while it works, and its state is saved and brought back.
func TestServers(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	w := r.witness()
	servers, clients := three(r)
	r.peers("s0", "s1", "s2")
	r.submit(w.job("service", "web", 3, forever, ""))
	r.allocs("web", 3)
	pids := w.pids("web", 3)
	out := servers[0].must("operator", "raft", "list-peers")
	for _, s := range servers {
		if !strings.Contains(out, s.addr) {
			t.Errorf("list-peers lacks %s:\n%s", s.name, out)
		}
	}

	// Growing by one, which joins only.
	fourth := r.server("s3")
	fourth.start()
	r.peers("s0", "s1", "s2", "s3")
	fourth.must("job", "run", "-detach", r.file("late.hcl", service("late", 0, "true")))

	// The lead is handed over, and an old server leaves for good.
	leader := r.leader()
	other := servers[0]
	if other == leader {
		other = servers[1]
	}
	await(t, "the other server leads", func() error { // a slow machine may elect another one meanwhile
		o := leader.proffer("operator", "raft", "transfer-leader", other.name)
		if l := r.leader(); l != other {
			return fmt.Errorf("%s leads; %s", l.name, o)
		}
		return nil
	})
	leader.kill()
	other.proffer("operator", "raft", "remove-peer", leader.name).has(t, "remove-peer", 0, "", "")
	var left []string
	for _, s := range append(without(servers, leader), fourth) {
		left = append(left, s.name)
	}
	r.peers(left...)

	// One that is stopped says goodbye, stays a peer, and is back when it starts again.
	fourth.stop()
	await(t, "it shows as left", func() error {
		list, err := other.api().Members(t.Context())
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.Name == fourth.name && m.Status != "left" {
				return fmt.Errorf("it is %s", m.Status)
			}
		}
		return nil
	})
	fourth.start()
	r.peers(left...)

	// Saved, changed, brought back.
	file := filepath.Join(r.dir, "region.snap")
	other.must("operator", "snapshot", "save", file)
	other.proffer("operator", "snapshot", "inspect", file).has(t, "inspect", 0, r.name, "")
	other.must("job", "run", "-detach", r.file("lost.hcl", service("lost", 0, "true")))
	damaged, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 0x40
	if o := other.proffer("operator", "snapshot", "restore", r.file("damaged.snap", string(damaged))); o.code == 0 {
		t.Errorf("a damaged snapshot was restored: %s", o)
	}
	other.proffer("operator", "snapshot", "restore", file).has(t, "restore", 0, "", "")
	await(t, "the region is as it was saved", func() error {
		for _, a := range r.up() {
			list, _, err := a.api().Jobs(t.Context(), nil)
			if err != nil {
				return err
			}
			names := ""
			for _, j := range list {
				names += j.Name + " "
			}
			if names != "late web " {
				return fmt.Errorf("%s has %s", a.name, names)
			}
		}
		return nil
	})
	r.nodes(structs.NodeReady, 3)
	r.allocs("web", 3)
	w.kept("web", pids)
	w.never(map[string]int{"web": 3})
	clients[0].proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
}

// followed returns the allocation that runs in the place of one after a node was drained, and checks that it ran before that one was stopped.
func (r *region) followed(a *structs.Allocation, drained string) *structs.Allocation {
	r.t.Helper()
	if a.NodeName != drained {
		return a
	}
	old, _, err := r.api().Allocation(r.t.Context(), string(a.ID), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if old.Next == "" {
		r.t.Fatalf("nothing followed %s", a.ID)
	}
	next, _, err := r.api().Allocation(r.t.Context(), string(old.Next), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if next.Status != structs.AllocRunning || next.Started == 0 || next.Started > old.Modified || next.Previous != old.ID {
		r.t.Errorf("%s ended at %s, and what follows it (%s) runs since %s", old.ID, old.Modified, next.Status, next.Started)
	}
	return &next.Allocation
}

// TestDrain: the work of a node goes elsewhere, a few at a time, and comes back when it may.
func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	w := r.witness()
	r.server("s", "-bootstrap-expect", "1")
	a, b := r.client("a"), r.client("b")
	r.startAll()
	r.submit(w.job("service", "web", 6, forever, "    migrate {\n      order = \"stop_first\"\n    }\n"))
	r.allocs("web", 6)
	w.pids("web", 6)
	r.submit(service("one", 1, forever))
	one := r.allocs("one", 1)[0]
	b.proffer("node", "stats", "b").has(t, "node stats", 0, "memory", "")
	a.proffer("node", "drain", "a").has(t, "node drain", 0, "", "")
	for _, alloc := range r.allocs("web", 6) {
		if alloc.NodeName != "b" {
			t.Errorf("web[%d] is on %s", alloc.Index, alloc.NodeName)
		}
	}
	one = r.followed(one, "a")
	if left := a.tasks(); len(left) > 0 {
		t.Errorf("processes %v are left on a", left)
	}
	a.proffer("node", "status").has(t, "node status", 0, "ineligible", "")
	a.proffer("node", "eligibility", "a", "on").has(t, "node eligibility", 0, "takes work", "")
	b.proffer("node", "drain", "b").has(t, "node drain", 0, "", "")
	for _, alloc := range r.allocs("web", 6) {
		if alloc.NodeName != "a" {
			t.Errorf("web[%d] is on %s", alloc.Index, alloc.NodeName)
		}
	}
	r.followed(one, "b")
	w.never(map[string]int{"web": 6})
}
