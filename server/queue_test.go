package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// While the command queue is full, clients are told so at once, and what nodes report waits: no session ends for it, and
// nothing of it is lost.
func TestAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 1, func(r *region) { r.queueBytes = 32 << 10 })
		n := r.nodes[0]
		r.propose(&state.SubmitJob{Job: job("web", "service", 1)})
		r.eventually("one running", func() bool { return r.running("web") == 1 })
		s := r.leader().server
		open := r.leader().writes.close()
		const writers = 1000
		answers := make(chan error, writers)
		for i := range writers {
			go func() {
				_, _, err := s.Propose(context.Background(), "", "test", &state.PutRole{Role: &structs.Role{Name: fmt.Sprint("role", i), Weight: 1000}})
				answers <- err
			}()
		}
		synctest.Wait()
		refused := len(answers)
		for range refused {
			if err := <-answers; structs.KindOf(err) != structs.Exhausted {
				t.Fatalf("refused with %v", err)
			}
		}
		if refused == 0 || refused == writers {
			t.Fatalf("%d of %d were refused", refused, writers)
		}
		n.mu.Lock()
		for _, w := range n.allocs {
			u := n.update(w)
			u.Tasks = map[string]*structs.TaskState{"t": {Status: structs.TaskRunning, Restarts: 7}}
			n.up.Observe(u)
		}
		n.mu.Unlock()
		time.Sleep(2 * time.Second)
		open()
		for range writers - refused {
			check(t, <-answers)
		}
		r.eventually("the report", func() bool {
			for a := range s.Store().Snapshot().AllocsOfJob("web") {
				return a.Tasks["t"] != nil && a.Tasks["t"].Restarts == 7
			}
			return false
		})
		if _, lost, leased := n.session(); lost != 0 || !leased {
			t.Errorf("%d sessions were lost, leased: %v", lost, leased)
		}
	})
}

// Reports that cannot be committed for four leases do not hold up renewals.
func TestRenewalsTravelApartFromReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 0, func(r *region) { r.queueBytes = 4 << 10 }) // a large report never fits
		n := r.addNode(r.followers()[0].ip)
		r.eventually("a session", func() bool { _, _, leased := n.session(); return leased })
		for i := range 10 {
			n.up.Observe(&structs.AllocUpdate{ID: structs.AllocID(fmt.Sprintf("%032x", i)), Status: structs.AllocRunning, Why: strings.Repeat("why ", 150)})
		}
		for range 60 {
			time.Sleep(time.Second)
			if _, lost, leased := n.session(); lost != 0 || !leased {
				t.Fatalf("%d sessions were lost, leased: %v", lost, leased)
			}
		}
	})
}
