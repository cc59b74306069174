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
	var sent []wish // of the operations
	var news []*server.TaskNews
	back := &feedback{operations: c.Operations}
	for i := range c.Operations {
		op := &c.Operations[i]
		all := s.operations(f, op)
		if err := back.badID(i); err != nil {
			all = []wish{{fault: err}}
		}
		for k, x := range all {
			x.place = i
			if back.asked(i) && x.fault == nil {
				if x.op.ID = op.ID.Value; k == 0 {
					x.op.Info = infoOf(op)
				}
			}
			if x.fault != nil {
				for _, t := range x.tasks {
					news = append(news, failed(t, structs.TaskError, x.reason, x.fault))
				}
				if len(x.tasks) == 0 && !back.fault(i, x.fault) {
					s.Log.Info("an operation of a framework is dropped", "framework", f.Name, "id", id, "operation", op.Type, "err", x.fault)
				}
				continue
			}
			ops, sent = append(ops, x.op), append(sent, x)
		}
	}
	done, err := s.Region.Accept(ctx, id, stream, offerIDs(c.OfferIDs), ops, filterOf(c.Filters))
	var invalid *server.InvalidOffers
	var all error // nothing was done
	switch {
	case errors.As(err, &invalid):
		news, all = nil, invalid
		for i := range c.Operations {
			for _, t := range tasksOf(&c.Operations[i]) {
				news = append(news, failed(t, structs.TaskDropped, "INVALID_OFFERS", invalid))
			}
		}
	case err != nil:
		return err
	default:
		for i, fault := range done.Faults {
			x := sent[i]
			if done.Kept[i] {
				back.keep(x.place)
			}
			if fault == nil {
				continue
			}
			if len(x.tasks) == 0 && !back.fault(x.place, fault) {
				s.Log.Info("an operation of a framework is dropped", "framework", f.Name, "id", id, "err", fault)
			}
			for _, t := range x.tasks {
				news = append(news, refusedTask(t, x.reason, fault))
			}
		}
	}
	var on structs.NodeID
	if done != nil {
		on = done.Node
	}
	if told := back.news(on, all); len(told) > 0 {
		if err := s.told(s.Region.TellOperations(id, stream, told...)); err != nil {
			return err
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

// refusedTask is the update of a task that the region did not take; invalid is the reason when the task itself is at fault.
func refusedTask(t *wire.TaskInfo, invalid string, fault error) *server.TaskNews {
	var refused *server.RefusedOperation
	if errors.As(fault, &refused) {
		switch refused.Reason {
		case state.RefusedNode:
			return failed(t, structs.TaskDropped, "AGENT_REMOVED", fault)
		case state.RefusedResources, state.RefusedPorts:
			return failed(t, structs.TaskDropped, "INVALID_OFFERS", fault)
		case state.RefusedUntold, state.RefusedKey:
			return failed(t, structs.TaskDropped, "", fault) // Mesos has no reason for it; the same launch may go well later
		case state.RefusedEnding:
			return failed(t, structs.TaskDropped, "EXECUTOR_TERMINATED", fault)
		}
	}
	return failed(t, structs.TaskError, invalid, fault)
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
	tasks  []*wire.TaskInfo // none: it launches nothing
	fault  error
	reason string // of the tasks' updates
	place  int    // in the ACCEPT
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
			if err == nil {
				launch.Role, err = offeredFor([]*wire.TaskInfo{t}, nil)
			}
			if op.ID != nil {
				err = errors.New("Operation 'id' is not supported for LAUNCH")
			}
			out = append(out, wish{op: &server.FrameworkOperation{Launch: launch}, tasks: []*wire.TaskInfo{t}, fault: err, reason: "TASK_INVALID"})
		}
	case kind == wire.OperationLaunchGroup && op.Group != nil:
		launch, err := groupOf(f, op.Group)
		if err == nil {
			launch.Role, err = offeredFor(tasksOf(op), &op.Group.Executor)
		}
		if op.ID != nil {
			err = errors.New("Operation 'id' is not supported for LAUNCH_GROUP")
		}
		out = append(out, wish{op: &server.FrameworkOperation{Launch: launch}, tasks: tasksOf(op), fault: err, reason: "TASK_GROUP_INVALID"})
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
		return volumeOperations(f, op, kind)
	}
	return out
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

// command fills in as whom a task runs, with which files and variables; what it runs follows when its container is known (runs). Nothing of it is
// looked at for references.
func (b *building) command(c *wire.CommandInfo) (err error) {
	task := b.task
	if u := wire.TextOf(c.User); u != "" {
		task.User = u
	}
	if task.Artifacts, err = artifacts(c.URIs); err != nil {
		return err
	}
	b.says = c
	if c.Environment == nil {
		return nil
	}
	task.Env = make(map[string]string, len(c.Environment.Variables))
	for _, v := range c.Environment.Variables {
		kind := wire.VariableValue
		if v.Type != nil {
			kind = *v.Type
		}
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.Contains(wire.TextOf(v.Value), "\x00") {
			return fmt.Errorf("Environment variable '%.200s' is invalid", v.Name)
		}
		switch {
		case kind == wire.VariableSecret && v.Value == nil:
			if err := b.secretEnv(v.Name, v.Secret); err != nil {
				return err
			}
		case kind == wire.VariableValue && v.Secret == nil:
			task.Env[v.Name] = literal(wire.TextOf(v.Value))
		default:
			return fmt.Errorf("Environment variable '%.200s' must have a 'value' or, with the type SECRET, a 'secret', and not both", v.Name)
		}
	}
	return nil
}

// literal keeps a text from being looked at for references to variables.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// limits returns how much more than it asked for a task may use, where it says so; structs.Boundless: all there is.
func limits(hold structs.Resources, all map[string]*wire.Scalar) (cpu structs.Milli, memory structs.Bytes, err error) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x := all[name].Value
		most := math.IsInf(x, 1)
		if most {
			x = 0
		}
		amount, err := milli(x)
		if err != nil {
			return 0, 0, fmt.Errorf("limit of '%s': %w", name, err)
		}
		switch name {
		case "cpus":
			cpu = amount
			if most {
				cpu = structs.Boundless
			}
			if cpu < hold.CPU || cpu == 0 {
				return 0, 0, errors.New("the limit of 'cpus' is below what the task asks for")
			}
		case "mem":
			memory = bytes(amount)
			if most {
				memory = structs.Boundless
			}
			if memory < hold.Memory || memory == 0 {
				return 0, 0, errors.New("the limit of 'mem' is below what the task asks for")
			}
		default:
			return 0, 0, fmt.Errorf("'%s' has no limits", name)
		}
	}
	return cpu, memory, nil
}
