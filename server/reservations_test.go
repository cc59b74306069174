package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Room that is reserved on a node is for the role's work alone, before and after the leader is another one, and is released
// when its time is over or its owner is gone for long.
func TestReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 2, func(r *region) { r.orphanAge = 10 * time.Minute })
		snap := func() *state.Snapshot { return r.leader().server.Store().Snapshot() }
		r.eventually("two nodes", func() bool {
			count := 0
			for n := range snap().Nodes() {
				if n.Status == structs.NodeReady {
					count++
				}
			}
			return count == 2
		})
		here, there := r.nodes[0].id, r.nodes[1].id
		all := snap().Node(here).Available().CPU
		reserve := func(id string, node structs.NodeID, change func(*structs.Reservation)) {
			x := &structs.Reservation{ID: structs.ReservationID(id), Node: node, Role: "eng", Resources: structs.Resources{CPU: all}}
			change(x)
			r.propose(&state.PutReservation{Reservation: x})
		}
		reserve("a", here, func(*structs.Reservation) {})
		on := func(name string, node structs.NodeID) (n int) {
			for a := range snap().AllocsOfJob(name) {
				if a.Node == node && a.Status == structs.AllocRunning {
					n++
				}
			}
			return n
		}
		full := int(snap().Node(there).Available().CPU / 100)
		r.propose(&state.SubmitJob{Job: job("other", "service", full+1)})
		r.eventually("the other node is full", func() bool { return on("other", there) == full })
		r.propose(&state.SubmitJob{Job: job("web", "service", 2, func(j *structs.Job) { j.Role = "eng/web" })})
		r.eventually("the role's work is in its room", func() bool { return on("web", here) == 2 })
		if on("other", here) != 0 {
			t.Error("others got reserved room")
		}
		groups, err := r.leader().server.Explain(context.Background(), "other", "")
		check(t, err)
		if g := groups[0]; g.Waiting != 1 || g.Fit.Fits != 0 || !strings.Contains(g.Wait, "is reserved for eng: cpu") {
			t.Errorf("%d wait, fits %d: %q", g.Waiting, g.Fit.Fits, g.Wait)
		}
		plan, err := r.leader().server.Plan(context.Background(), job("more", "service", 2, func(j *structs.Job) { j.Role = "eng" }))
		check(t, err)
		if g := plan[0]; len(g.Held) != 2 || g.Held[0].Node != here {
			t.Errorf("a plan in the role: %d placed", len(g.Held))
		}
		check(t, r.leader().server.TransferLeadership(context.Background(), ""))
		r.propose(&state.StopJob{Name: "web"})
		r.eventually("its work has ended", func() bool { return r.running("web") == 0 })
		time.Sleep(time.Minute)
		if on("other", here) != 0 {
			t.Error("others got reserved room from another leader")
		}
		r.propose(&state.DeleteReservations{IDs: []structs.ReservationID{"a"}})
		r.eventually("the room is everybody's", func() bool { return on("other", here) == 1 })

		r.propose(&state.StopJob{Name: "other"})
		r.eventually("all is free", func() bool { return snap().Usage(here).Allocs == 0 && snap().Usage(there).Allocs == 0 })
		r.propose(&state.PutFramework{Framework: &structs.Framework{ID: "spark", Name: "spark"}})
		reserve("owned", here, func(x *structs.Reservation) { x.Owner = "spark" })
		reserve("timed", there, func(x *structs.Reservation) { x.Until = structs.At(time.Now().Add(5 * time.Minute)) })
		r.propose(&state.RemoveFramework{ID: "spark"})
		time.Sleep(4*time.Minute + 50*time.Second)
		if snap().Reservation("timed") == nil {
			t.Error("it is released before its time")
		}
		time.Sleep(20 * time.Second)
		if snap().Reservation("timed") != nil {
			t.Error("it is not released")
		}
		if x := snap().Reservation("owned"); x == nil || x.Orphaned.IsZero() {
			t.Errorf("%+v is no orphan", x)
		}
		time.Sleep(5 * time.Minute)
		if snap().Reservation("owned") != nil {
			t.Error("an orphan is kept for longer than it should be")
		}
	})
}
