package mesos_test

import (
	"slices"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// softly marks some of a task's resources, or an executor's, as revocable.
func softly(resources []wire.Resource, names ...string) {
	for i := range resources {
		if slices.Contains(names, resources[i].Name) {
			resources[i].Revocable = &wire.Revocable{}
		}
	}
}

// revocables: one executor begins on what the node has and takes tasks on what others leave, a group has an executor that itself is revocable.
func revocables(r *region, e wire.Encoding) {
	f := r.framework(home, e, can(wire.CapabilityRevocableResources)).begin()
	n := r.nodes[0]
	is := func(o *wire.Offer) bool {
		return slices.ContainsFunc(o.Resources, func(x wire.Resource) bool { return x.Revocable != nil })
	}
	// accept uses an offer of each kind.
	accept := func(op func(o wire.Offer) wire.Operation) {
		firm, soft := f.offer(n.id), f.offer(n.id)
		if is(&firm) {
			firm, soft = soft, firm
		}
		if is(&firm) || !is(&soft) {
			r.t.Fatalf("offered are %s and %s", wire.JSON.Marshal(&firm), wire.JSON.Marshal(&soft))
		}
		for _, x := range soft.Resources {
			if x.Revocable == nil || x.Name != "cpus" && x.Name != "mem" {
				r.t.Errorf("offered with what is revocable is %s", wire.JSON.Marshal(&x))
			}
		}
		f.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{firm.ID, soft.ID}, Operations: []wire.Operation{op(firm)},
			Filters: &wire.Filters{RefuseSeconds: new(0.0)}}})
	}
	launches := func(id string, names ...string) func(wire.Offer) wire.Operation {
		return func(o wire.Offer) wire.Operation {
			t := guest(o, id, "x")
			softly(t.Resources, names...)
			return launch(t)
		}
	}
	comes := func(id string) {
		w := n.custom("x")
		r.eventually("the executor has task "+id, func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return w.alloc.External.Task(id) != nil
		})
		n.says(w, id, structs.TaskRunning)
		f.told(id, wire.TaskRunning)
	}
	o := f.offer(n.id)
	if is(&o) {
		r.t.Fatalf("nothing is revocable, and offered is %s", wire.JSON.Marshal(&o))
	}
	f.accept(o, 0, launches("firm")(o))
	comes("firm")
	n.up.Slack(structs.Slack{CPU: 1000, Memory: 1 << 30})
	accept(launches("one", "cpus"))
	comes("one")
	accept(launches("two", "cpus", "mem"))
	comes("two")
	accept(func(o wire.Offer) wire.Operation {
		t := task(o, "both")
		t.Resources = append(t.Resources, scalar("cpus", 0.1))
		softly(t.Resources[:1], "cpus")
		return launch(t)
	})
	f.update("both", wire.TaskError)
	accept(func(o wire.Offer) wire.Operation {
		x := wire.ExecutorInfo{Type: new(wire.ExecutorDefault), ExecutorID: wire.ID{Value: "pod"}, Resources: []wire.Resource{scalar("cpus", 0.1), scalar("mem", 32)}}
		softly(x.Resources, "cpus", "mem")
		soft := task(o, "soft")
		softly(soft.Resources, "cpus")
		return wire.Operation{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{Executor: x,
			Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{task(o, "hard"), soft}}}}
	})
	f.told("hard", wire.TaskRunning)
	f.told("soft", wire.TaskRunning)
	held := structs.Slack{}
	for a := range r.snapshot().AllocsOnNode(n.id) {
		held = held.Add(a.OfSlack())
	}
	if held != (structs.Slack{CPU: 400, Memory: 64 << 20}) {
		r.t.Errorf("%s is held of what others leave", held)
	}
	// What others use again ends the pod, which is younger, and then the rest.
	n.up.Slack(structs.Slack{CPU: 300, Memory: 1 << 30})
	for _, tasks := range [][]string{{"hard", "soft"}, {"firm", "one", "two"}} {
		for _, id := range tasks {
			if s := f.told(id, wire.TaskLost); s.Reason == nil || *s.Reason != wire.ReasonContainerPreempted || *s.Source != wire.SourceAgent {
				r.t.Errorf("%s ends with %s", id, wire.JSON.Marshal(s))
			}
		}
		if tasks[0] == "hard" {
			if w := n.custom("x"); w == nil {
				r.t.Error("the executor that is within what is left was stopped, too")
			}
			n.up.Slack(structs.Slack{})
		}
	}
}
