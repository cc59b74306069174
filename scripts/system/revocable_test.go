//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// TestRevocable: a service reserves most memory of a node and uses little of it. Best-effort work runs on the rest, and a task of a framework's pod,
// whose tasks share processes and memory, until the service uses it: then that is taken back, and the service goes on, as does the pod's other task. Of
// two custom executors the one that has some of it then ends with all its tasks, and the other one, whose task with such resources ended before, lives on.
func TestRevocable(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.lease = "15s" // that there is more to lend is told as it is renewed
	more := r.file("more.hcl", `client {
  resources {
    memory = "480MiB"
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
	web := service("web", 1, "until [ -e /tmp/busy ]; do sleep 0.1; done; head -c 503316480 /dev/zero >/dev/shm/x; sleep 1000000")
	web = strings.Replace(web, `"16MiB"`, "\"160MiB\"\n        memory_max = \"2GiB\"", 1)
	web = strings.Replace(web, "config {", "config {\n        shm_size = \"512MiB\"", 1)
	a.must("job", "run", "-detach", r.file("web.hcl", web))
	one := r.allocs("web", 1)[0]
	f := &scheduler{t: t, r: r, at: a, encoding: wire.JSON, info: wire.FrameworkInfo{User: "root", Name: "spark", Role: new("eng"), Capabilities: []wire.Capability{
		{Type: new(wire.CapabilityRevocableResources)}, {Type: new(wire.CapabilityPartitionAware)}}}}
	pod := f.soft()
	lender := f.lender()
	f.guests("stays", lender("stays"), "true")
	await(t, "its task on what others reserved is over", func() error {
		if err := f.alive(); err != nil {
			return err
		}
		for x := f.find("stays-soft", always); x != nil; x = f.find("stays-soft", always) {
			if f.acknowledge(x); x.State == wire.TaskFinished {
				return nil
			}
		}
		return errors.New("it was not told so")
	})
	f.guests("goes", lender("goes"), "exec sleep 1000003")

	scan := strings.Replace(service("scan", 1, "sleep 1000000"), "  group", "  priority = \"best-effort\"\n  group", 1)
	scan = strings.Replace(scan, `"16MiB"`, `"150MiB"`, 1)
	a.must("job", "run", "-detach", r.file("scan.hcl", scan))
	two := r.allocs("scan", 1)[0]
	if two.Revocable == nil || one.Revocable != nil {
		t.Errorf("of web %s is revocable, of scan %s", one.OfSlack(), two.OfSlack())
	}
	if out := a.must("node", "status", "self"); !strings.Contains(out, "revocable work holds memory 214MiB") {
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
	for _, task := range []string{"soft", "goes-soft", "goes-firm"} {
		f.lost(task)
	}
	await(t, "it is told which executor ended", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, x := range f.failures {
			if x.ExecutorID.Value != "goes" {
				t.Fatalf("an executor ended: %s", wire.JSON.Marshal(&x))
			}
		}
		if len(f.failures) == 0 {
			return errors.New("no FAILURE came")
		}
		return nil
	})
	await(t, "its processes are gone", func() error {
		for _, pid := range a.tasks() {
			if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(text), "1000003") {
				return fmt.Errorf("process %d runs", pid)
			}
		}
		return nil
	})
	f.launch("stays-next", wire.TaskFinished, ample, func(o *wire.Offer) []wire.Operation { // it has another task
		return []wire.Operation{guestOf(o, lender("stays"), "stays-next", "true", false)}
	})
	f.mu.Lock()
	for _, x := range f.status {
		if x.State != wire.TaskRunning && x.State != wire.TaskStarting {
			t.Errorf("it is told %s", wire.JSON.Marshal(&x))
		}
	}
	f.mu.Unlock()
	await(t, "it waits again", func() error {
		if out := a.must("job", "explain", "scan"); !strings.Contains(out, "1 waiting") || !strings.Contains(out, "is reserved and not used") {
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
	s.launch("firm", wire.TaskRunning, firm, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{group(o, "firm", "echo of firm >/dev/shm/x; exec sleep 1000001", little[1], &wire.LinuxInfo{SharePID: new(true), IPC: new(wire.IpcMode(2))})}
	})
	on := scalar("mem", 40, "")
	on.Revocable = &wire.Revocable{}
	s.onBoth("soft", 40, func(o *wire.Offer) wire.Operation {
		return group(o, "soft", "until grep -q firm /dev/shm/x && cat /proc/[0-9]*/cmdline | grep -q 1000001; do sleep 0.1; done; touch /dev/shm/y; exec sleep 1000002", on,
			&wire.LinuxInfo{SharePID: new(true)})
	})
	all, _, err := s.at.api().Allocations(s.t.Context(), &api.Query{Filter: []string{"framework=" + s.info.ID.Value}})
	if err != nil || len(all) != 1 {
		s.t.Fatalf("%d allocations, %v", len(all), err)
	}
	alloc = string(all[0].ID)
	s.at.must("alloc", "exec", "-task", "firm", alloc, "sh", "-c", "until [ -e /dev/shm/y ]; do sleep 0.1; done")
	return alloc
}

// firm is an offer of what the node has.
func firm(o *wire.Offer) bool { return o.Resources[0].Revocable == nil }

// ample is one with memory for an executor and a task of it: another one may have cores alone.
func ample(o *wire.Offer) bool { return firm(o) && memoryOf(o) >= 128+16 }

func memoryOf(o *wire.Offer) float64 {
	for _, x := range o.Resources {
		if x.Name == "mem" {
			return x.Scalar.Value
		}
	}
	return 0
}

// onBoth launches a task on an offer of what the node has and on one of what others reserved, of as much memory at least, until it runs.
func (s *scheduler) onBoth(task string, memory float64, op func(o *wire.Offer) wire.Operation) {
	s.t.Helper()
	sent := false
	await(s.t, "task "+task+" runs on what others reserved", func() error {
		if err := s.alive(); err != nil {
			return err
		}
		for x := s.find(task, always); x != nil; x = s.find(task, always) {
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
		lent := s.offer(func(o *wire.Offer) bool { return !firm(o) && memoryOf(o) >= memory })
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
		s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{own.ID, lent.ID}, Operations: []wire.Operation{op(own)}}})
		sent = true
		return errors.New("it is accepted")
	})
}

// lender makes custom executors, whose program is this one.
func (s *scheduler) lender() func(id string) *wire.ExecutorInfo {
	s.t.Helper()
	program, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, program) }))
	s.t.Cleanup(hub.Close)
	return func(id string) *wire.ExecutorInfo {
		return &wire.ExecutorInfo{Type: new(wire.ExecutorCustom), ExecutorID: wire.ID{Value: id}, Resources: []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 128, "")},
			Command: &wire.CommandInfo{Value: new("exec ./executor"), URIs: []wire.URI{{Value: hub.URL + "/executor", Executable: new(true), Cache: new(true)}}}}
	}
}

// guestOf is a task of an executor; on: its memory is what others reserved.
func guestOf(o *wire.Offer, of *wire.ExecutorInfo, id, script string, on bool) wire.Operation {
	memory := scalar("mem", 16, "")
	if on {
		memory = scalar("mem", 24, "")
		memory.Revocable = &wire.Revocable{}
	}
	return wire.Operation{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: []wire.TaskInfo{{Name: id, TaskID: wire.ID{Value: id}, AgentID: o.AgentID,
		Resources: []wire.Resource{scalar("cpus", 0.1, ""), memory}, Executor: of, Data: []byte(script)}}}}
}

// guests runs two tasks of a custom executor: one on what the node has, and a script on what others reserved.
func (s *scheduler) guests(name string, of *wire.ExecutorInfo, script string) {
	s.t.Helper()
	s.launch(name+"-firm", wire.TaskRunning, ample, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{guestOf(o, of, name+"-firm", "exec sleep 1000004", false)}
	})
	s.onBoth(name+"-soft", 24, func(o *wire.Offer) wire.Operation { return guestOf(o, of, name+"-soft", script, true) })
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
			case x.State == wire.TaskRunning || x.State == wire.TaskStarting: // the acknowledgement was not heard
			case x.State != wire.TaskGone || x.Reason == nil || *x.Reason != wire.ReasonContainerPreempted:
				s.t.Fatalf("told is %s", wire.JSON.Marshal(x))
			default:
				return nil
			}
		}
		return errors.New("nothing is told")
	})
}
