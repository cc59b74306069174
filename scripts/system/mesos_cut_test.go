//go:build linux && system

package system

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// reports waits until a task's node reports it so, and acknowledges that and what was before.
func (s *scheduler) reports(task string, state wire.TaskState) {
	s.t.Helper()
	await(s.t, task+" of "+s.info.Name+" is "+state.String(), func() error {
		if err := s.alive(); err != nil {
			return err
		}
		for x := s.find(task, always); x != nil; x = s.find(task, always) {
			if x.UUID == nil {
				continue
			}
			if s.acknowledge(x); x.State == state {
				return nil
			}
		}
		return fmt.Errorf("it is not told")
	})
}

// TestMesosNodeCut: a node is cut off for longer than its lease. Frameworks hear that its tasks are unreachable, or lost; when it is back, that they
// run, also when they ask, and, each once, what ended meanwhile: of commands, and of an executor whose updates nobody could acknowledge.
func TestMesosNodeCut(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.lease = "4s"
	network := r.separate()
	server, client := r.server("s0", "-bootstrap-expect", "1"), r.client("c0")
	r.startAll()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", network.address(250)+":0")
	if err != nil {
		t.Fatal(err)
	}
	hub := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, program) })}
	go hub.Serve(ln)
	t.Cleanup(func() { hub.Close() })
	executor := &wire.ExecutorInfo{Type: new(wire.ExecutorCustom), ExecutorID: wire.ID{Value: "x"}, Resources: []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 256, "")},
		Command: &wire.CommandInfo{Value: new("exec ./executor"), URIs: []wire.URI{{Value: fmt.Sprintf("http://%s/executor", ln.Addr()), Executable: new(true)}}}}
	ends := fmt.Sprintf("sleep %d", 1_000_000+r.number) // which no other test has
	var all []*scheduler
	for name, capabilities := range map[string][]wire.Capability{"aware": {{Type: new(wire.CapabilityPartitionAware)}}, "unaware": nil} {
		s := &scheduler{t: t, r: r, at: server, encoding: wire.Protobuf, info: wire.FrameworkInfo{User: "root", Name: name, FailoverTimeout: new(600.0), Capabilities: capabilities}}
		await(t, "the scheduler is subscribed", s.alive)
		s.launch("stays", wire.TaskRunning, func(*wire.Offer) bool { return true }, func(o *wire.Offer) (out []wire.Operation) {
			for task, script := range map[string]string{"stays": "sleep 1000000", "ends": ends + "; exit 0", "of-executor": ends + "; exit 0"} {
				op := launch(o.AgentID, task, script, scalar("cpus", 0.1, ""), scalar("mem", 32, ""))
				if task == "of-executor" {
					op.Launch.Tasks[0].Command, op.Launch.Tasks[0].Executor, op.Launch.Tasks[0].Data = nil, executor, []byte(script)
				}
				out = append(out, op)
			}
			return out
		})
		s.call(&wire.Call{Type: new(wire.CallSuppress)}) // or it would sit on offers that the other one needs
		s.reports("ends", wire.TaskRunning)
		s.reports("of-executor", wire.TaskRunning)
		all = append(all, s)
	}
	between([]*agent{client}, []*agent{server}, network.cut)
	away := map[string]wire.TaskState{"aware": wire.TaskUnreachable, "unaware": wire.TaskLost}
	for _, s := range all {
		for _, task := range []string{"stays", "ends", "of-executor"} {
			await(t, task+" of "+s.info.Name+" is away", func() error {
				if err := s.alive(); err != nil {
					return err
				}
				x := s.find(task, func(x wire.TaskState) bool { return x == away[s.info.Name] })
				if x == nil {
					return fmt.Errorf("it is not told")
				}
				if x.UUID != nil || *x.Reason != wire.ReasonAgentRemoved || x.UnreachableTime == nil {
					t.Errorf("it is told %s", wire.JSON.Marshal(x))
				}
				return nil
			})
		}
		s.told("stays", away[s.info.Name], &wire.Call{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{Tasks: []wire.ReconcileTask{{TaskID: wire.ID{Value: "stays"}}}}})
	}
	ended := map[int]bool{}
	await(t, "all that shall end has ended", func() error {
		lives := 0
		for _, pid := range descendants(os.Getppid()) {
			if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); string(args) == strings.ReplaceAll(ends, " ", "\x00")+"\x00" {
				unix.Kill(pid, unix.SIGKILL)
				ended[pid] = true
				lives++
			}
		}
		if lives > 0 || len(ended) != 4 {
			return fmt.Errorf("%d were killed, and %d live", len(ended), lives)
		}
		return nil
	})
	between([]*agent{client}, []*agent{server}, network.mend)
	for _, s := range all {
		await(t, "stays of "+s.info.Name+" is back", func() error {
			if err := s.alive(); err != nil {
				return err
			}
			x := s.find("stays", func(x wire.TaskState) bool { return x == wire.TaskRunning })
			if x == nil {
				return fmt.Errorf("it is not told")
			}
			if x.UUID != nil || *x.Reason != wire.ReasonAgentReregistered {
				t.Errorf("it is told %s", wire.JSON.Marshal(x))
			}
			return nil
		})
		s.told("stays", wire.TaskRunning, &wire.Call{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{}})
		for _, task := range []string{"ends", "of-executor"} {
			s.reports(task, wire.TaskFinished)
		}
		s.told("stays", wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "stays"}}})
	}
}
