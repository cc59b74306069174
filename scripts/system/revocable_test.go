//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// TestRevocable: a service reserves most memory of a node and uses little of it. Best-effort work runs on the rest, and a task of a framework's pod,
// whose tasks share processes and memory, until the service uses it: then that is taken back, and the service goes on, as does the pod's other task.
func TestRevocable(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	more := r.file("more.hcl", `client {
  resources {
    memory = "192MiB"
  }
  revocable {
    enabled = true
    hold    = "1s"
    decay   = "1s"
    every   = "1s"
  }
}
`)
	a := single(r, "-config", more)
	web := service("web", 1, "until [ -e /tmp/busy ]; do sleep 0.1; done; head -c 157286400 /dev/zero >/dev/shm/x; sleep 1000000")
	web = strings.Replace(web, `"16MiB"`, "\"160MiB\"\n        memory_max = \"2GiB\"", 1)
	web = strings.Replace(web, "config {", "config {\n        shm_size = \"256MiB\"", 1)
	a.must("job", "run", "-detach", r.file("web.hcl", web))
	one := r.allocs("web", 1)[0]
	f := &scheduler{t: t, r: r, at: a, encoding: wire.JSON, info: wire.FrameworkInfo{User: "root", Name: "spark", Role: new("eng"), Capabilities: []wire.Capability{
		{Type: new(wire.CapabilityRevocableResources)}, {Type: new(wire.CapabilityPartitionAware)}}}}
	pod := f.soft()

	scan := strings.Replace(service("scan", 1, "sleep 1000000"), "  group", "  priority = \"best-effort\"\n  group", 1)
	scan = strings.Replace(scan, `"16MiB"`, `"80MiB"`, 1)
	a.must("job", "run", "-detach", r.file("scan.hcl", scan))
	two := r.allocs("scan", 1)[0]
	if two.Revocable == nil || one.Revocable != nil {
		t.Errorf("of web %s is revocable, of scan %s", one.OfSlack(), two.OfSlack())
	}
	if out := a.must("node", "status", "self"); !strings.Contains(out, "revocable work holds memory 120MiB") {
		t.Errorf("%s", out)
	}

	a.must("alloc", "exec", string(one.ID), "touch", "/tmp/busy")
	await(t, "what is used again is taken back", func() error {
		x, _, err := a.api().Allocation(t.Context(), string(two.ID), nil)
		if err != nil {
			return err
		}
		if x.Desired != structs.DesiredStop || !x.Ended() || !strings.Contains(x.DesiredWhy, "taken back") {
			return fmt.Errorf("%s: %s (%s)", x.Status, x.Desired, x.DesiredWhy)
		}
		return nil
	})
	f.lost("soft")
	await(t, "it waits again", func() error {
		if out := a.must("job", "explain", "scan"); !strings.Contains(out, "it does not fit with what is reserved and not used either") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if x, _, err := a.api().Allocation(t.Context(), string(one.ID), nil); err != nil || x.Status != structs.AllocRunning || x.Tasks["t"].Restarts > 0 {
		t.Errorf("web: %v, %v", x, err)
	}
	if x, _, err := a.api().Allocation(t.Context(), pod, nil); err != nil || x.Status != structs.AllocRunning || x.Tasks["firm"].Status != structs.TaskRunning || x.Revocable != nil {
		t.Errorf("the pod: %+v, %v", x, err)
	}
}

// soft runs a pod with a task on what the node has and one, launched later, with memory that others reserved. It returns the allocation.
func (s *scheduler) soft() (alloc string) {
	s.t.Helper()
	await(s.t, "the scheduler is subscribed", s.alive)
	little := []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 16, "")}
	group := func(o *wire.Offer, id, script string, memory wire.Resource, l *wire.LinuxInfo) wire.Operation {
		t := launch(o.AgentID, id, script, little[0], memory).Launch.Tasks[0]
		t.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Linux: l}
		return wire.Operation{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{t}},
			Executor: wire.ExecutorInfo{Type: new(wire.ExecutorDefault), ExecutorID: wire.ID{Value: "pod"}, Resources: little}}}
	}
	firm := func(o *wire.Offer) bool { return o.Resources[0].Revocable == nil }
	s.launch("firm", wire.TaskRunning, firm, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{group(o, "firm", "echo of firm >/dev/shm/x; exec sleep 1000001", little[1], &wire.LinuxInfo{SharePID: new(true), IPC: new(wire.IpcMode(2))})}
	})
	on := scalar("mem", 40, "")
	on.Revocable = &wire.Revocable{}
	sent := false
	await(s.t, "a task runs on what others reserved", func() error {
		if err := s.alive(); err != nil {
			return err
		}
		for x := s.find("soft", always); x != nil; x = s.find("soft", always) {
			switch {
			case x.State == wire.TaskDropped: // an offer was rescinded: less was left
				sent = false
			case x.UUID != nil:
				if s.acknowledge(x); x.State == wire.TaskRunning {
					return nil
				}
			}
		}
		if sent {
			return errors.New("it was accepted")
		}
		own := s.offer(firm)
		lent := s.offer(func(o *wire.Offer) bool {
			return !firm(o) && slices.ContainsFunc(o.Resources, func(x wire.Resource) bool { return x.Name == "mem" && x.Scalar.Value >= 40 })
		})
		for _, o := range []*wire.Offer{own, lent} {
			if o != nil && (own == nil || lent == nil) { // until there is the other, too
				s.mu.Lock()
				s.offers = append(s.offers, *o)
				s.mu.Unlock()
			}
		}
		if own == nil || lent == nil {
			return errors.New("there are not both offers")
		}
		s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{own.ID, lent.ID}, Operations: []wire.Operation{group(own, "soft",
			"until grep -q firm /dev/shm/x && cat /proc/[0-9]*/cmdline | grep -q 1000001; do sleep 0.1; done; touch /dev/shm/y; exec sleep 1000002", on, &wire.LinuxInfo{SharePID: new(true)})}}})
		sent = true
		return errors.New("it is accepted")
	})
	all, _, err := s.at.api().Allocations(s.t.Context(), &api.Query{Filter: []string{"framework=" + s.info.ID.Value}})
	if err != nil || len(all) != 1 {
		s.t.Fatalf("%d allocations, %v", len(all), err)
	}
	alloc = string(all[0].ID)
	s.at.must("alloc", "exec", "-task", "firm", alloc, "sh", "-c", "until [ -e /dev/shm/y ]; do sleep 0.1; done")
	return alloc
}

// lost waits until it is told that what a task ran on was taken back.
func (s *scheduler) lost(task string) {
	s.t.Helper()
	await(s.t, "task "+task+" is gone", func() error {
		if err := s.alive(); err != nil {
			return err
		}
		for x := s.find(task, always); x != nil; x = s.find(task, always) {
			if x.UUID != nil {
				s.acknowledge(x)
			}
			switch {
			case x.State == wire.TaskRunning: // the acknowledgement was not heard
			case x.State != wire.TaskGone || x.Reason == nil || *x.Reason != wire.ReasonContainerPreempted:
				s.t.Fatalf("told is %s", wire.JSON.Marshal(x))
			default:
				return nil
			}
		}
		return errors.New("nothing is told")
	})
}
