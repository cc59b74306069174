package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// A node that is cut off runs on what nobody can fence. Where nobody can take its volume back either, nothing else gets it: not until the node
// is back, or an operator says that it is gone.
func TestOneWriterWithoutAFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 1, 2, func(r *region) {
			r.plugins = map[string]*structs.NodePlugin{"p": {Vendor: "v", Node: &structs.PluginNodePart{Healthy: true, ID: "as-it"}}}
		})
		r.propose(&state.PutVolume{Volume: &structs.Volume{Name: "data", Size: 1 << 30, Access: structs.AccessExclusive, Role: "default",
			CSI: &structs.CSIVolume{Plugin: "p", External: "x"}}})
		r.propose(&state.SubmitJob{Job: job("db", "service", 1, func(j *structs.Job) {
			j.Groups[0].Volumes = []*structs.GroupVolume{{Name: "data"}}
			j.Groups[0].OnLost = "replace"
		})})
		r.eventually("it runs", func() bool { return r.running("db") == 1 && r.witness.count() == 1 })
		snapshot := func() *state.Snapshot { return r.leader().server.Store().Snapshot() }
		var on *node
		find := func() (a *structs.Allocation) {
			for a = range snapshot().AllocsOfJob("db") {
				if !a.Ended() {
					break
				}
			}
			for _, n := range r.nodes {
				if n.id == a.Node {
					on = n
				}
			}
			return a
		}
		first := find()
		lost := func() bool { return snapshot().Node(on.id).Status == structs.NodeLost }
		r.eventually("it is attached", func() bool {
			at := snapshot().Volume("data").AttachedTo(on.id)
			return at != nil && at.State == structs.Attached
		})

		r.mesh.Cut([]string{on.ip}, r.ip())
		r.eventually("it is lost", lost)
		time.Sleep(time.Hour)
		if len(r.witness.doubles) > 0 {
			t.Fatalf("two write to it: %v\n%s", r.witness.doubles, r.describe())
		}
		groups, err := r.leader().server.Explain(t.Context(), "db", "")
		check(t, err)
		if text := fmt.Sprintf("%+v", groups[0].Fit); !strings.Contains(text, "which is cut off, may still write to it") || !strings.Contains(text, "node purge "+on.name) {
			t.Errorf("it is explained with %q", text)
		}
		r.mesh.Heal()
		r.eventually("it goes on", func() bool { return r.running("db") == 1 })
		if a := find(); a.ID != first.ID || len(r.witness.starts()) != 1 {
			t.Errorf("allocation %s took the place of %s", a.ID, first.ID)
		}

		// Its machine is gone for good, which only an operator can know.
		on.powerOff()
		r.eventually("it is lost", lost)
		time.Sleep(time.Hour)
		if n := r.witness.count(); n != 0 {
			t.Fatalf("%d run", n)
		}
		r.propose(&state.RemoveNode{Node: on.id})
		r.eventually("it runs elsewhere", func() bool { return r.running("db") == 1 && r.witness.count() == 1 })
		if len(r.witness.doubles) > 0 {
			t.Errorf("two wrote to it: %v", r.witness.doubles)
		}
	})
}
