package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// accept carries an ACCEPT out. What is wrong with one of its operations is told in updates of its tasks; the call as such went
// well.
func (s *Scheduler) accept(ctx context.Context, id structs.FrameworkID, stream string, c *wire.Accept) error {
	f := s.Region.Framework(id)
	if f == nil {
		return structs.Errorf(structs.NotFound, "framework "+string(id), "Framework cannot be found")
	}
	var ops []*server.FrameworkOperation
	var tasks []*wire.TaskInfo // of the operations, nil for those that launch nothing
	var news []*server.TaskNews
	for i := range c.Operations {
		op := &c.Operations[i]
		for _, x := range s.operations(f, op) {
			if x.fault != nil {
				if x.task != nil {
					news = append(news, failed(x.task, structs.TaskError, x.reason, x.fault))
				} else {
					s.Log.Info("an operation of a framework is dropped", "framework", f.Name, "id", id, "operation", op.Type, "err", x.fault)
				}
				continue
			}
			ops, tasks = append(ops, x.op), append(tasks, x.task)
		}
	}
	done, err := s.Region.Accept(ctx, id, stream, offerIDs(c.OfferIDs), ops, filterOf(c.Filters))
	var invalid *server.InvalidOffers
	switch {
	case errors.As(err, &invalid):
		news = nil
		for i := range c.Operations {
			for _, t := range tasksOf(&c.Operations[i]) {
				news = append(news, failed(t, structs.TaskDropped, "INVALID_OFFERS", invalid))
			}
		}
	case err != nil:
		return err
	default:
		for i, fault := range done.Faults {
			if fault == nil {
				continue
			}
			if tasks[i] == nil {
				s.Log.Info("an operation of a framework is dropped", "framework", f.Name, "id", id, "err", fault)
				continue
			}
			news = append(news, refusedTask(tasks[i], fault))
		}
	}
	if len(news) == 0 {
		return nil
	}
	return s.told(s.Region.Tell(id, stream, news...))
}

// failed is the update of a task that never was.
func failed(t *wire.TaskInfo, is structs.TaskStatus, reason string, why error) *server.TaskNews {
	n := &server.TaskNews{Task: t.TaskID.Value, Node: structs.NodeID(t.AgentID.Value), Server: true}
	n.State, n.Reason, n.Message = is, reason, why.Error()
	return n
}

// refusedTask is the update of a task that the region did not take.
func refusedTask(t *wire.TaskInfo, fault error) *server.TaskNews {
	var refused *server.RefusedOperation
	if errors.As(fault, &refused) {
		switch refused.Reason {
		case state.RefusedNode:
			return failed(t, structs.TaskDropped, "AGENT_REMOVED", fault)
		case state.RefusedResources, state.RefusedPorts:
			return failed(t, structs.TaskDropped, "INVALID_OFFERS", fault)
		}
	}
	return failed(t, structs.TaskError, "TASK_INVALID", fault)
}

func tasksOf(op *wire.Operation) (out []*wire.TaskInfo) {
	if op.Launch != nil {
		for i := range op.Launch.Tasks {
			out = append(out, &op.Launch.Tasks[i])
		}
	}
	if op.Group != nil {
		for i := range op.Group.Tasks.Tasks {
			out = append(out, &op.Group.Tasks.Tasks[i])
		}
	}
	return out
}

// wish is one operation for the region, or what is wrong with it.
type wish struct {
	op     *server.FrameworkOperation
	task   *wire.TaskInfo // nil: it launches nothing
	fault  error
	reason string // of the task's update
}

// operations turns an operation of Mesos into ours: one for each task, and one for each reservation.
func (s *Scheduler) operations(f *structs.Framework, op *wire.Operation) (out []wish) {
	kind := wire.OperationUnknown
	if op.Type != nil {
		kind = *op.Type
	}
	switch {
	case kind == wire.OperationLaunch && op.Launch != nil:
		for _, t := range tasksOf(op) {
			launch, err := launchOf(f, t)
			if op.ID != nil {
				err = errors.New("Operation 'id' is not supported for LAUNCH")
			}
			out = append(out, wish{&server.FrameworkOperation{Launch: launch}, t, err, "TASK_INVALID"})
		}
	case kind == wire.OperationLaunchGroup && op.Group != nil:
		for _, t := range tasksOf(op) {
			out = append(out, wish{nil, t, errors.New("task groups are not served yet"), "TASK_GROUP_INVALID"})
		}
	case kind == wire.OperationReserve && op.Reserve != nil:
		if len(op.Reserve.Source) > 0 {
			return []wish{{fault: errors.New("RESERVE with 'source' is not taken in an ACCEPT")}}
		}
		all, err := reservationsOf(op.Reserve.Resources)
		if err != nil {
			return []wish{{fault: err}}
		}
		for _, r := range all {
			out = append(out, wish{op: &server.FrameworkOperation{Reserve: r}})
		}
	case kind == wire.OperationUnreserve && op.Unreserve != nil:
		all, err := reservationsOf(op.Unreserve.Resources)
		if err != nil {
			return []wish{{fault: err}}
		}
		for _, r := range all {
			out = append(out, wish{op: &server.FrameworkOperation{Unreserve: r}})
		}
	default:
		return []wish{{fault: fmt.Errorf("%s is not served yet", kind)}}
	}
	return out
}

// launchOf returns what a command task is here: an allocation with one task for the exec driver, and no helper.
func launchOf(f *structs.Framework, t *wire.TaskInfo) (*server.Launch, error) {
	switch {
	case !structs.ValidOutsideID(t.TaskID.Value):
		return nil, fmt.Errorf("Task id '%.300s' is invalid", t.TaskID.Value)
	case (t.Command == nil) == (t.Executor == nil):
		return nil, errors.New("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
	case t.Executor != nil:
		return nil, errors.New("executors are not served yet")
	case t.Container != nil:
		return nil, errors.New("containers are not served yet")
	case t.HealthCheck != nil || t.Check != nil:
		return nil, errors.New("checks are not served yet")
	case len(t.Command.URIs) > 0:
		return nil, errors.New("URIs are not fetched yet")
	case len(t.Resources) == 0:
		return nil, errors.New("Task uses no resources")
	}
	used, err := take(t.Resources)
	if err != nil {
		return nil, err
	}
	if used.amount.IsZero() {
		return nil, errors.New("Task uses no resources")
	}
	task := &structs.Task{Name: taskName(t.TaskID.Value), Driver: "exec", User: f.User,
		Resources: &structs.TaskResources{CPU: used.amount.CPU, Memory: used.amount.Memory, Disk: used.amount.Disk, Custom: used.amount.Custom}}
	if u := text(t.Command.User); u != "" {
		task.User = u
	}
	if err := command(task, t.Command); err != nil {
		return nil, err
	}
	if task.KillTimeout, err = duration("kill_policy.grace_period", graceOf(t.KillPolicy), 3e9); err != nil {
		return nil, err
	}
	if err := limits(task.Resources, t.Limits); err != nil {
		return nil, err
	}
	group := &structs.Group{Name: "task", Tasks: []*structs.Task{task}, Restart: &structs.Restart{Attempts: new(0)}}
	if group.MaxRunDuration, err = duration("max_completion_time", t.MaxCompletionTime, 0); err != nil {
		return nil, err
	}
	return &server.Launch{Group: group, Node: structs.NodeID(t.AgentID.Value), Resources: used.amount, Ports: used.ports,
		External: &structs.External{Tasks: []*structs.ExternalTask{{ID: t.TaskID.Value, Name: task.Name}}}}, nil
}

// taskName is what a task is called in its allocation, for people and in paths: its id, if that can be.
func taskName(id string) string {
	if structs.ValidName(id) {
		return id
	}
	return "task"
}

func graceOf(k *wire.KillPolicy) *wire.DurationInfo {
	if k == nil {
		return nil
	}
	return k.GracePeriod
}

func duration(name string, d *wire.DurationInfo, usual structs.Duration) (structs.Duration, error) {
	if d == nil {
		return usual, nil
	}
	if d.Nanoseconds < 0 {
		return 0, fmt.Errorf("'%s' must be non-negative", name)
	}
	return structs.Duration(d.Nanoseconds), nil
}

// command fills in what a task runs. Nothing of it is looked at for references.
func command(task *structs.Task, c *wire.CommandInfo) error {
	value := text(c.Value)
	if value == "" {
		return errors.New("CommandInfo has no 'value'")
	}
	if c.Shell == nil || *c.Shell {
		task.Config = map[string]any{"command": "/bin/sh", "args": []any{"-c", literal(value)}}
	} else {
		args := []any{}
		for i, a := range c.Arguments {
			if i > 0 { // the first one is what the program is called
				args = append(args, literal(a))
			}
		}
		task.Config = map[string]any{"command": literal(value), "args": args}
	}
	if c.Environment == nil {
		return nil
	}
	task.Env = make(map[string]string, len(c.Environment.Variables))
	for _, v := range c.Environment.Variables {
		if v.Type != nil && *v.Type != wire.VariableValue {
			return fmt.Errorf("Environment variable '%.200s' is a secret, which is not served yet", v.Name)
		}
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.Contains(text(v.Value), "\x00") {
			return fmt.Errorf("Environment variable '%.200s' is invalid", v.Name)
		}
		task.Env[v.Name] = literal(text(v.Value))
	}
	return nil
}

// literal keeps a text from being looked at for references to variables.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// limits sets how much more than it asked for a task may use.
func limits(r *structs.TaskResources, all map[string]*wire.Scalar) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x := all[name].Value
		most := math.IsInf(x, 1)
		if most {
			x = 0
		}
		amount, err := milli(x)
		if err != nil {
			return fmt.Errorf("limit of '%s': %w", name, err)
		}
		switch name {
		case "cpus":
			if r.CPULimit = amount; !most && amount < r.CPU {
				return errors.New("the limit of 'cpus' is below what the task asks for")
			}
		case "mem":
			if r.MemoryMax = bytes(amount); !most && r.MemoryMax < r.Memory {
				return errors.New("the limit of 'mem' is below what the task asks for")
			}
		default:
			return fmt.Errorf("'%s' has no limits", name)
		}
	}
	return nil
}
