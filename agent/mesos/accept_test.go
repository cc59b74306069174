package mesos

import (
	"errors"
	"testing"

	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
)

// refusedFor is a fault of an operation that the state refused.
type refusedFor struct {
	error
	reason state.Refusal
}

func (r refusedFor) Unwrap() error { return &server.RefusedOperation{Reason: r.reason} }

// A framework hears of a task that was refused whether it may try again.
func TestWhatBecomesOfRefusedTasks(t *testing.T) {
	for reason, want := range map[state.Refusal]string{
		state.RefusedNode: "dropped AGENT_REMOVED", state.RefusedResources: "dropped INVALID_OFFERS", state.RefusedPorts: "dropped INVALID_OFFERS",
		state.RefusedEnding: "dropped EXECUTOR_TERMINATED", state.RefusedExecutor: "error TASK_GROUP_INVALID", state.RefusedTask: "error TASK_GROUP_INVALID",
	} {
		n := refusedTask(taskInfo("one", nil), "TASK_GROUP_INVALID", refusedFor{errors.New("why"), reason})
		if got := string(n.State) + " " + n.Reason; got != want || n.Message != "why" {
			t.Errorf("%s: %s (%s), want %s", reason, got, n.Message, want)
		}
	}
}
