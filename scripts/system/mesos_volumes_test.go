//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// volume is a persistent volume as a framework names it.
func volume(id, path string, size float64, source *wire.DiskSource) wire.Resource {
	r := scalar("disk", size, "eng")
	r.Disk = &wire.DiskInfo{Persistence: &wire.Persistence{ID: id}, Volume: &wire.Volume{ContainerPath: path, Mode: wire.VolumeRW}, Source: source}
	return r
}

// outcome waits until a framework was told what became of an operation.
func (s *scheduler) outcome(id string) (out wire.OperationStatus) {
	s.t.Helper()
	await(s.t, "it is told of operation "+id, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.IndexFunc(s.operations, func(x wire.OperationStatus) bool { return x.ID.Value == id })
		if i < 0 {
			return errors.New("it was not told")
		}
		out = s.operations[i]
		return nil
	})
	return out
}

// has returns the volume of an id, or the disk of a type when id is empty, among what an offer has.
func has(o *wire.Offer, id string, kind wire.DiskType) *wire.Resource {
	for i := range o.Resources {
		d := o.Resources[i].Disk
		switch {
		case d == nil:
		case id != "" && d.Persistence != nil && d.Persistence.ID == id, id == "" && d.Persistence == nil && d.Source.Type == kind:
			return &o.Resources[i]
		}
	}
	return nil
}

// TestMesosVolumes: a framework makes volumes on the node's own disk and on one that is a file system of its own, its tasks find in
// them what others wrote, through a kill of the agent, and what it destroys is gone.
func TestMesosVolumes(t *testing.T) {
	t.Parallel()
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		t.Run(encoding.ContentType(), func(t *testing.T) {
			t.Parallel()
			r := newRegion(t)
			server := r.agent("s", "-server", "-bootstrap-expect", "1")
			ssd := filepath.Join(r.dir, "ssd")
			if err := os.Mkdir(ssd, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", ssd, "tmpfs", 0, "size=64m,mode=755"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(ssd, unix.MNT_DETACH) })
			c := r.client("c", "-config", r.file("disks.hcl", fmt.Sprintf("client {\n  disk \"ssd\" {\n    type = \"mount\"\n    path = %q\n  }\n}\n", ssd)))
			r.startAll()
			r.nodes(structs.NodeReady, 1)
			s := &scheduler{t: t, r: r, at: server, encoding: encoding, info: wire.FrameworkInfo{User: "root", Name: "store", Role: new("eng"), FailoverTimeout: new(600.0)}}
			await(t, "the scheduler is subscribed", s.alive)
			work := []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 32, "")}
			killed := func(task string) {
				s.told(task, wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: task}}})
			}
			const stays = " && while :; do sleep 0.1; done"
			mine := volume("a volume", "data", 32, nil)
			s.launch("one", wire.TaskRunning, func(*wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
				return []wire.Operation{
					{Type: new(wire.OperationReserve), ID: &wire.ID{Value: "reserve"}, Reserve: &wire.Reserve{Resources: []wire.Resource{scalar("disk", 48, "eng")}}},
					{Type: new(wire.OperationCreate), ID: &wire.ID{Value: "create"}, Create: &wire.Volumes{Volumes: []wire.Resource{mine}}},
					{Type: new(wire.OperationCreate), ID: &wire.ID{Value: "too much"}, Create: &wire.Volumes{Volumes: []wire.Resource{volume("b", "b", 32, nil)}}},
					launch(o.AgentID, "one", "echo of one >data/log"+stays, append(slices.Clone(work), mine)...)}
			})
			for id, want := range map[string]wire.OperationState{"reserve": wire.OperationFinished, "create": wire.OperationFinished, "too much": wire.OperationError} {
				if got := s.outcome(id); got.State != want || got.AgentID == nil {
					t.Errorf("of %s it is told %s", id, wire.JSON.Marshal(&got))
				}
			}
			if out := server.must("volume", "list"); !strings.Contains(out, "a-volume-") || !strings.Contains(out, "framework "+s.info.ID.Value) || strings.Count(out, "\n") != 2 {
				t.Errorf("volume list says\n%s", out)
			}
			c.kill()
			c.start()
			r.nodes(structs.NodeReady, 1)
			killed("one")

			// A pod has it, and a task of that sees it through the pod.
			s.launch("in a pod", wire.TaskRunning, func(o *wire.Offer) bool { return has(o, "a volume", 0) != nil }, func(o *wire.Offer) []wire.Operation {
				parent := &wire.SandboxPath{Type: new(wire.SandboxParent), Path: "data"}
				return []wire.Operation{{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{
					Executor: wire.ExecutorInfo{Type: new(wire.ExecutorDefault), ExecutorID: wire.ID{Value: "pod"}, Resources: append(slices.Clone(work), *has(o, "a volume", 0))},
					Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{{Name: "in a pod", TaskID: wire.ID{Value: "in a pod"}, AgentID: o.AgentID, Resources: work,
						Command: &wire.CommandInfo{Value: new("cp shared/log shared/copy" + stays)}, Container: &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{
							{ContainerPath: "shared", Mode: wire.VolumeRW, Source: &wire.VolumeSource{Type: new(wire.SourceSandboxPath), SandboxPath: parent}}}}}}}}}}
			})
			killed("in a pod")

			// The whole of a disk, and what the first ones wrote.
			var whole wire.Resource
			s.launch("two", wire.TaskRunning, func(o *wire.Offer) bool { return has(o, "", wire.DiskMount) != nil && has(o, "a volume", 0) != nil }, func(o *wire.Offer) []wire.Operation {
				disk := has(o, "", wire.DiskMount)
				if got := *disk.Disk.Source.Mount.Root; got != ssd {
					t.Errorf("the disk is at %s", got)
				}
				reserved := scalar("disk", disk.Scalar.Value, "eng")
				reserved.Disk = disk.Disk
				whole = volume("whole", "/var/whole", disk.Scalar.Value, disk.Disk.Source)
				return []wire.Operation{{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: []wire.Resource{reserved}}},
					{Type: new(wire.OperationCreate), ID: &wire.ID{Value: "whole"}, Create: &wire.Volumes{Volumes: []wire.Resource{whole}}},
					launch(o.AgentID, "two", "cat data/log data/copy >/var/whole/copy"+stays, append(slices.Clone(work), *has(o, "a volume", 0), whole)...)}
			})
			if got := s.outcome("whole"); got.State != wire.OperationFinished {
				t.Errorf("it is told %s", wire.JSON.Marshal(&got))
			}
			await(t, "the copy is on the disk", func() error {
				found, _ := filepath.Glob(filepath.Join(ssd, "proffer-volumes", "*", "data", "copy"))
				if len(found) != 1 {
					return fmt.Errorf("found are %v", found)
				}
				if raw, err := os.ReadFile(found[0]); err != nil || string(raw) != "of one\nof one\n" {
					return fmt.Errorf("%q, %v", raw, err)
				}
				return nil
			})
			if out := server.must("node", "status", r.node(c).Name); !strings.Contains(out, "ssd ") || !strings.Contains(out, "whole-") {
				t.Errorf("node status says\n%s", out)
			}
			killed("two")

			o := s.awaitOffer(func(o *wire.Offer) bool { return has(o, "whole", 0) != nil && has(o, "a volume", 0) != nil })
			s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: []wire.Operation{
				{Type: new(wire.OperationDestroy), ID: &wire.ID{Value: "destroy"}, Destroy: &wire.Volumes{Volumes: []wire.Resource{mine, whole}}},
				{Type: new(wire.OperationUnreserve), ID: &wire.ID{Value: "release"}, Unreserve: &wire.Unreserve{Resources: []wire.Resource{scalar("disk", 48, "eng")}}}}}})
			for _, id := range []string{"destroy", "release"} {
				if got := s.outcome(id); got.State != wire.OperationFinished {
					t.Errorf("of %s it is told %s", id, wire.JSON.Marshal(&got))
				}
			}
			await(t, "the data is gone", func() error {
				left, err := os.ReadDir(filepath.Join(ssd, "proffer-volumes"))
				if out := server.must("volume", "list"); err != nil || len(left) > 0 || !strings.Contains(out, "no volumes") {
					return fmt.Errorf("%v, %v: %s", left, err, out)
				}
				return nil
			})
		})
	}
}
