//go:build linux && system

package system

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// beExecutor makes this program a custom executor of the SDK, whose tasks are scripts for a shell.
func beExecutor() error {
	config, err := framework.FromEnvironment(nil)
	if err != nil {
		return err
	}
	return framework.RunTasks(context.Background(), framework.NewExecutor(config), func(ctx context.Context, t *framework.Launched, _ func(framework.TaskNews) error) error {
		out, err := exec.CommandContext(ctx, "/bin/sh", "-c", string(t.Data)).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
}

// TestMesosLentVolumes: the volume of a task of a custom executor is nobody else's while the task runs, through a kill of the agent, is offered again
// when it ended, and is there for a task that joins the same process.
func TestMesosLentVolumes(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	server := r.agent("s", "-server", "-bootstrap-expect", "1")
	c := r.client("c")
	c.inClient = "  executor_socket = true\n"
	r.startAll()
	r.nodes(structs.NodeReady, 1)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, program) }))
	defer hub.Close()
	s := &scheduler{t: t, r: r, at: server, encoding: wire.Protobuf, info: wire.FrameworkInfo{User: "root", Name: "lent", Role: new("eng"), FailoverTimeout: new(600.0)}}
	await(t, "the scheduler is subscribed", s.alive)
	work := []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 256, "")}
	lender := wire.ExecutorInfo{Type: new(wire.ExecutorCustom), ExecutorID: wire.ID{Value: "lender"}, Resources: work,
		Command: &wire.CommandInfo{Value: new("exec ./executor"), URIs: []wire.URI{{Value: hub.URL + "/executor", Executable: new(true)}}}}
	task := func(o *wire.Offer, id, script string, more ...wire.Resource) wire.Operation {
		return wire.Operation{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: []wire.TaskInfo{{Name: id, TaskID: wire.ID{Value: id}, AgentID: o.AgentID,
			Resources: append(slices.Clone(work), more...), Executor: &lender, Data: []byte(script)}}}}
	}
	mine := volume("v", "data", 32, nil)
	free := func(o *wire.Offer) bool { return has(o, "v", 0) != nil }
	s.launch("one", wire.TaskRunning, func(*wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{
			{Type: new(wire.OperationReserve), Reserve: &wire.Reserve{Resources: []wire.Resource{scalar("disk", 32, "eng")}}},
			{Type: new(wire.OperationCreate), Create: &wire.Volumes{Volumes: []wire.Resource{mine}}},
			task(o, "one", `test "$MESOS_DOMAIN_SOCKET" = /run/mesos/agent.sock -a -S "$MESOS_DOMAIN_SOCKET" || exit 3; echo of one $PPID >data/log; while :; do sleep 0.1; done`, mine)}
	})
	taken := func(id string) {
		t.Helper()
		got := s.refused(id, func(x *wire.TaskInfo) { x.Resources = append(x.Resources, mine) })
		if got.State != wire.TaskError && got.State != wire.TaskDropped {
			t.Errorf("a task with the volume of another one is told %s", wire.JSON.Marshal(got))
		}
	}
	taken("thief")
	c.kill()
	c.start()
	r.nodes(structs.NodeReady, 1)
	taken("thief again")
	s.told("one", wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "one"}}})
	s.launch("two", wire.TaskRunning, free, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{task(o, "two", `test "$(cat data/log)" = "of one $PPID" || exit 3; echo of two >>data/log; while :; do sleep 0.1; done`, *has(o, "v", 0))}
	})
	s.told("two", wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "two"}}})
	// While the executor lives it is somebody else's.
	s.launch("three", wire.TaskFinished, free, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{launch(o.AgentID, "three", `test "$(tail -n 1 data/log)" = "of two"`, append(slices.Clone(work), *has(o, "v", 0))...)}
	})
	await(t, "the volume is removed while the executor lives", func() error {
		if o := s.offer(free); o != nil {
			s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: []wire.Operation{
				{Type: new(wire.OperationDestroy), Destroy: &wire.Volumes{Volumes: []wire.Resource{mine}}}}}})
		}
		if out := server.must("volume", "list"); !strings.Contains(out, "no volumes") {
			return errors.New(out)
		}
		return nil
	})
}
