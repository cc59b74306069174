//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// finds waits until an update says so of the check of a task, and acknowledges all that come. One of a task whose start was not told yet may say
// that the task runs, and with it what its check found meanwhile.
func (s *scheduler) finds(task, want string, started bool) {
	s.t.Helper()
	last := "nothing"
	await(s.t, "the check of "+task+" says "+want, func() error {
		if err := s.alive(); err != nil {
			return err
		}
		for x := s.find(task, always); x != nil; x = s.find(task, always) {
			if x.UUID == nil {
				continue
			}
			s.acknowledge(x)
			told := started
			started = told || x.State == wire.TaskRunning
			if last = string(wire.JSON.Marshal(x.CheckStatus)); last != want {
				continue
			}
			if x.State != wire.TaskRunning || (x.Reason == nil || *x.Reason != wire.ReasonTaskCheckStatusUpdated) && (told || x.Reason != nil) {
				s.t.Errorf("it is told %s", wire.JSON.Marshal(x))
			}
			return nil
		}
		return fmt.Errorf("it says %s", last)
	})
}

// TestMesosChecks: what checks of a command and of a pod find is told and ends nothing. What answers in their place is this test. On the way the outcome
// of an operation waits for its acknowledgement.
func TestMesosChecks(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	r.nodes(structs.NodeReady, 1)
	s := &scheduler{t: t, r: r, at: a, encoding: wire.JSON, info: wire.FrameworkInfo{User: "root", Name: "asks", Role: new("eng"), FailoverTimeout: new(600.0)}}
	await(t, "the scheduler is subscribed", s.alive)

	var status atomic.Int64
	status.Store(200)
	begun := make(chan struct{}) // closed when the start was told: nothing answers before
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-begun:
			w.WriteHeader(int(status.Load()))
		case <-r.Context().Done():
		}
	}))
	defer web.Close()
	_, text, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	port := uint32(number)
	work := []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 32, "")}
	task := func(o *wire.Offer, name string, check wire.Check) wire.TaskInfo {
		check.Delay, check.Interval = new(0.0), new(1.0)
		return wire.TaskInfo{Name: name, TaskID: wire.ID{Value: name}, AgentID: o.AgentID, Resources: work, Command: &wire.CommandInfo{Value: new("exec sleep 1000000")}, Check: &check}
	}
	any := func(*wire.Offer) bool { return true }
	first := s.launch("page", wire.TaskRunning, any, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{
			{Type: new(wire.OperationReserve), ID: &wire.ID{Value: "room"}, Reserve: &wire.Reserve{Resources: []wire.Resource{scalar("cpus", 0.1, "eng")}}},
			{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: []wire.TaskInfo{task(o, "page", wire.Check{Type: new(wire.CheckByHTTP), HTTP: &wire.CheckHTTP{Port: port}})}}}}
	})
	if got := string(wire.JSON.Marshal(first.CheckStatus)); got != `{"type":"HTTP","http":{}}` {
		t.Errorf("at first the check says %s", got)
	}
	close(begun)
	s.finds("page", `{"type":"HTTP","http":{"status_code":200}}`, true)

	// The outcome of the reservation is kept until it is acknowledged.
	room := s.outcome("room")
	if room.State != wire.OperationFinished || room.UUID == nil || len(room.UUID.Value) != 16 {
		t.Errorf("of the reservation it is told %s", wire.JSON.Marshal(&room))
	}
	waits := func() bool {
		return strings.Contains(a.must("framework", "status", "asks"), "what became of 1 operation")
	}
	if !waits() {
		t.Error("framework status does not say that an operation waits for its acknowledgement")
	}
	s.call(&wire.Call{Type: new(wire.CallAcknowledgeOperationStatus), AckOperation: &wire.AckOperation{AgentID: room.AgentID, OperationID: *room.ID, UUID: room.UUID.Value}})
	await(t, "the outcome is acknowledged", func() error {
		if waits() {
			return errors.New("it waits")
		}
		return nil
	})

	code := s.launch("code", wire.TaskRunning, any, func(o *wire.Offer) []wire.Operation {
		return []wire.Operation{{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{
			Executor: wire.ExecutorInfo{Type: new(wire.ExecutorDefault), ExecutorID: wire.ID{Value: "pod"}, Resources: work},
			Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{
				task(o, "code", wire.Check{Type: new(wire.CheckByCommand), Command: &wire.CheckCommand{Command: wire.CommandInfo{
					Value: new("busybox"), Arguments: []string{"sh", "-c", "test -d /local && exit 3"}, Shell: new(false)}}}),
				task(o, "port", wire.Check{Type: new(wire.CheckByTCP), TCP: &wire.CheckTCP{Port: port}})}}}}}
	})
	const exited = `{"type":"COMMAND","command":{"exit_code":3}}`
	if string(wire.JSON.Marshal(code.CheckStatus)) != exited { // it was not that fast
		s.finds("code", exited, true)
	}
	s.finds("port", `{"type":"TCP","tcp":{"succeeded":true}}`, false)
	status.Store(503)
	s.finds("page", `{"type":"HTTP","http":{"status_code":503}}`, true)
	web.Close()
	s.finds("page", `{"type":"HTTP","http":{}}`, true)
	s.finds("port", `{"type":"TCP","tcp":{"succeeded":false}}`, true)
	all := &wire.Call{Type: new(wire.CallReconcile), Reconcile: &wire.Reconcile{Tasks: []wire.ReconcileTask{{TaskID: wire.ID{Value: "code"}}}}}
	if x := s.told("code", wire.TaskRunning, all); string(wire.JSON.Marshal(x.CheckStatus)) != exited {
		t.Errorf("of a check it is told %s", wire.JSON.Marshal(x))
	}
	a.must("framework", "teardown", "asks")
}
