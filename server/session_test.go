package server_test

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// followers returns the living servers that do not lead.
func (r *region) followers() (out []*host) {
	leader := r.leader()
	for _, h := range r.servers {
		if h.server != nil && h != leader {
			out = append(out, h)
		}
	}
	return out
}

// A session with a follower outlives the leader, whichever way that ends, and the lease with it.
func TestASessionOutlivesTheLeader(t *testing.T) {
	for name, end := range map[string]func(*region, *host){
		"crash":     func(_ *region, h *host) { h.crash() },
		"power off": func(r *region, h *host) { r.mesh.PowerOff(h.ip) },
		"cut off": func(r *region, h *host) {
			r.mesh.Cut([]string{h.ip}, slices.DeleteFunc(r.ip(), func(ip string) bool { return ip == h.ip }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegion(t, 3, 0)
				follower := r.followers()[0].ip
				for range 10 { // their renewals come at different times, some of them between two leaders
					r.addNode(follower)
					time.Sleep(500 * time.Millisecond)
				}
				r.propose(&state.SubmitJob{Job: job("web", "service", 2)})
				r.eventually("two running", func() bool { return r.running("web") == 2 })
				old := r.leader()
				end(r, old)
				for range 300 {
					time.Sleep(100 * time.Millisecond)
					for _, n := range r.nodes {
						if server, lost, leased := n.session(); server != follower || lost != 0 || !leased {
							t.Fatalf("%s: session with %q, %d lost, leased: %v", n.name, server, lost, leased)
						}
					}
				}
				if r.servers = slices.DeleteFunc(r.servers, func(h *host) bool { return h == old }); old.server != nil {
					defer old.down()
				}
				r.propose(&state.ScaleJob{Name: "web", Group: "g", Count: 4})
				r.eventually("four running", func() bool { return r.running("web") == 4 })
				r.mesh.Heal()
			})
		})
	}
}

// A server that lost its quorum sends its nodes away, before their leases end.
func TestAServerWithoutQuorumClosesItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0)
		lonely := r.followers()[0]
		n := r.addNode(lonely.ip)
		r.eventually("a session", func() bool { server, _, leased := n.session(); return server == lonely.ip && leased })
		n.mu.Lock()
		n.only = "" // it may go elsewhere now
		n.mu.Unlock()
		r.mesh.Cut([]string{lonely.ip}, slices.DeleteFunc(r.ip(), func(ip string) bool { return ip == lonely.ip }))
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if _, _, leased := n.session(); !leased {
				t.Fatal("the lease ended")
			}
		}
		if server, lost, _ := n.session(); server == lonely.ip || server == "" || lost == 0 {
			t.Errorf("session with %q, %d lost", server, lost)
		}
		r.mesh.Heal()
	})
}

// A session lasts for weeks, and so would the state that it began with.
func TestASessionDoesNotKeepTheStateItBeganWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 0)
		store := r.leader().server.Store()
		n := r.addNode("")
		r.eventually("a session", func() bool { _, _, leased := n.session(); return leased })
		synctest.Wait()
		first := weak.Make(store.Snapshot())
		r.propose(&state.PutRole{Role: &structs.Role{Name: "eng"}})
		synctest.Wait()
		runtime.GC()
		if s := first.Value(); s != nil {
			t.Errorf("the state of index %d is still in memory at %d", s.Index(), store.Snapshot().Index())
		}
	})
}

// A report that was stuck on its way to the leader comes after what the node's next session reported, and does not count.
// Whether the server sends it once or again, nothing ends its session meanwhile, so it does come.
func TestAReportThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0, func(r *region) { r.lease = time.Hour })
		slow := r.followers()[0]
		n := r.addNode(slow.ip)
		r.propose(&state.SubmitJob{Job: job("web", "service", 1)})
		r.eventually("one running", func() bool { return r.running("web") == 1 })
		restarts := func() int {
			for a := range r.leader().server.Store().Snapshot().AllocsOfJob("web") {
				if task := a.Tasks["t"]; task != nil {
					return task.Restarts
				}
			}
			return 0
		}
		report := func(restarts int) {
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, w := range n.allocs {
				u := n.update(w)
				u.Tasks = map[string]*structs.TaskState{"t": {Status: structs.TaskRunning, Restarts: restarts}}
				n.up.Observe(u)
			}
		}
		leader := r.leader()
		report(1)
		r.eventually("the first report", func() bool { return restarts() == 1 })
		r.mesh.CutOneWay([]string{slow.ip}, []string{leader.ip})
		report(2)
		time.Sleep(100 * time.Millisecond)
		r.mesh.Cut([]string{n.ip}, []string{slow.ip}) // whose session with the node goes on, as far as it knows
		n.restart(leader.ip)
		r.eventually("a session with the leader", func() bool { server, _, _ := n.session(); return server == leader.ip })
		report(3)
		r.eventually("the newest report", func() bool { return restarts() == 3 })
		r.mesh.Mend([]string{slow.ip}, []string{leader.ip})
		time.Sleep(10 * time.Second)
		if n := restarts(); n != 3 {
			t.Errorf("%d restarts: an older report came after the newest", n)
		}
		r.mesh.Heal()
	})
}

// restart ends the node's agent and starts it again, to go to one server. Its work runs on.
func (n *node) restart(only string) {
	n.end()
	<-n.done
	n.pool.Close()
	n.port.Close()
	n.only = only
	n.start()
}
