package framework

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

const mib = 1 << 20

func idOf(id *wire.ID) string {
	if id == nil {
		return ""
	}
	return id.Value
}

// textOf is an attribute as its node has it.
func textOf(a *wire.Attribute) string {
	switch {
	case a.Scalar != nil:
		return strconv.FormatFloat(a.Scalar.Value, 'f', -1, 64)
	case a.Ranges != nil:
		var all []string
		for _, r := range a.Ranges.Range {
			all = append(all, fmt.Sprintf("%d-%d", r.Begin, r.End))
		}
		return "[" + strings.Join(all, ", ") + "]"
	case a.Text != nil:
		return a.Text.Value
	}
	return ""
}

// offerOf reads an offer.
func offerOf(w *wire.Offer) *Offer {
	o := &Offer{ID: w.ID.Value, Node: w.AgentID.Value, Hostname: w.Hostname, Attributes: map[string]string{}, Wire: w}
	if w.Allocation != nil {
		o.Role = wire.TextOf(w.Allocation.Role)
	}
	for _, id := range w.ExecutorIDs {
		o.Executors = append(o.Executors, id.Value)
	}
	for _, a := range w.Attributes {
		o.Attributes[a.Name] = textOf(&a)
	}
	if u := w.Unavailability; u != nil {
		o.Unavailable = new(windowOf(u))
	}
	for i := range w.Resources {
		r := &w.Resources[i]
		o.Revocable = o.Revocable || r.Revocable != nil
		switch {
		case r.Disk != nil && r.Disk.Persistence != nil:
			o.Volumes = append(o.Volumes, volumeOf(r))
		case r.Disk == nil && r.Shared == nil:
			o.Resources = o.Resources.Add(amountOf(r))
			o.reserved(r)
		}
	}
	o.Ports = o.Resources.Ranges["ports"]
	o.Resources.Ports = structs.CountIndexes(o.Ports)
	delete(o.Resources.Ranges, "ports")
	return o
}

func windowOf(u *wire.Unavailability) structs.Window {
	w := structs.Window{Start: structs.Time(u.Start.Nanoseconds)}
	if u.Duration != nil {
		w.Duration = structs.Duration(u.Duration.Nanoseconds)
	}
	return w
}

// amountOf reads one resource; what has no value is nothing.
func amountOf(r *wire.Resource) (out structs.Resources) {
	switch {
	case r.Scalar != nil && r.Scalar.Value > 0 && r.Scalar.Value < 1e15:
		amount := structs.Milli(math.Round(r.Scalar.Value * 1000))
		switch r.Name {
		case "cpus":
			out.CPU = amount
		case "mem":
			out.Memory = structs.Bytes(r.Scalar.Value * mib)
		case "disk":
			out.Disk = structs.Bytes(r.Scalar.Value * mib)
		default:
			out.Custom = map[string]structs.Milli{r.Name: amount}
		}
	case r.Ranges != nil:
		var all []structs.Range
		for _, x := range r.Ranges.Range {
			if x.Begin <= x.End && x.End <= math.MaxInt32 {
				all = append(all, structs.Range{First: int64(x.Begin), Last: int64(x.End)})
			}
		}
		// Added, so that they are in order and apart.
		out = out.Add(structs.Resources{Ranges: map[string][]structs.Range{r.Name: all}})
	case r.Set != nil:
		out = out.Add(structs.Resources{Sets: map[string][]string{r.Name: r.Set.Item}})
	}
	return out
}

// resources says an amount, each kind for itself.
func resources(r structs.Resources, ports []int, revocable bool) (out []wire.Resource) {
	scalar := func(name string, x float64) {
		if x > 0 {
			out = append(out, wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: x}})
		}
	}
	scalar("cpus", float64(r.CPU)/1000)
	scalar("mem", math.Ceil(float64(r.Memory)/mib*1000)/1000)
	for i := range out {
		if revocable {
			out[i].Revocable = &wire.Revocable{}
		}
	}
	scalar("disk", math.Ceil(float64(r.Disk)/mib*1000)/1000)
	for _, name := range slices.Sorted(maps.Keys(r.Custom)) {
		scalar(name, float64(r.Custom[name])/1000)
	}
	ranges := func(name string, all []structs.Range) {
		x := wire.Resource{Name: name, Type: wire.ValueRanges, Ranges: &wire.Ranges{}}
		for _, one := range all {
			x.Ranges.Range = append(x.Ranges.Range, wire.Range{Begin: uint64(one.First), End: uint64(one.Last)})
		}
		out = append(out, x)
	}
	if len(ports) > 0 {
		var all []structs.Range
		for _, p := range slices.Sorted(slices.Values(ports)) {
			all = append(all, structs.Range{First: int64(p), Last: int64(p)})
		}
		ranges("ports", all)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Ranges)) {
		ranges(name, r.Ranges[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Sets)) {
		out = append(out, wire.Resource{Name: name, Type: wire.ValueSet, Set: &wire.Set{Item: r.Sets[name]}})
	}
	return out
}

func (c *Command) wire() *wire.CommandInfo {
	if c == nil {
		return nil
	}
	out := &wire.CommandInfo{User: wire.Optional(c.User), Shell: new(c.Shell != "")}
	if c.Shell != "" {
		out.Value = &c.Shell
	} else if len(c.Args) > 0 {
		out.Value, out.Arguments = &c.Args[0], c.Args
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if out.Environment == nil {
			out.Environment = &wire.Environment{}
		}
		out.Environment.Variables = append(out.Environment.Variables, wire.Variable{Name: name, Value: new(c.Env[name])})
	}
	for _, u := range c.URIs {
		out.URIs = append(out.URIs, wire.URI{Value: u.Value, Executable: &u.Executable, Extract: &u.Extract, OutputFile: wire.Optional(u.As)})
	}
	return out
}

func duration(d time.Duration) *wire.DurationInfo {
	if d == 0 {
		return nil
	}
	return &wire.DurationInfo{Nanoseconds: int64(d)}
}

func (x *ExecutorInfo) wire() wire.ExecutorInfo {
	out := wire.ExecutorInfo{ExecutorID: wire.ID{Value: x.ID}, Type: new(wire.ExecutorCustom), Command: x.Command.wire(), Data: x.Data,
		Resources: resources(x.Resources, nil, false), ShutdownGrace: duration(x.Grace)}
	if x.Command == nil {
		out.Type = new(wire.ExecutorDefault)
	}
	if x.Change != nil {
		x.Change(&out)
	}
	return out
}

// wire says a task; in a group its executor is named beside it.
func (t *Task) wire(on *Offer, inGroup bool) wire.TaskInfo {
	out := wire.TaskInfo{Name: t.Name, TaskID: wire.ID{Value: t.ID}, AgentID: wire.ID{Value: on.Node}, Resources: resources(t.Resources, t.Ports, t.Revocable),
		Command: t.Command.wire(), Data: t.Data, Labels: wire.LabelsOf(t.Labels), MaxCompletionTime: duration(t.Timeout)}
	if out.Name == "" {
		out.Name = t.ID
	}
	for _, m := range t.Volumes {
		out.Resources = append(out.Resources, m.Volume.wire(on, m.Path, m.ReadOnly))
	}
	if t.KillGrace > 0 {
		out.KillPolicy = &wire.KillPolicy{GracePeriod: duration(t.KillGrace)}
	}
	if t.Image != "" {
		out.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker,
			Docker: &wire.DockerImage{Name: t.Image}}}}
	}
	if t.Image != "" && t.Command == nil && t.Executor == nil { // what the image runs
		out.Command = &wire.CommandInfo{Shell: new(false)}
	}
	if t.Executor != nil && !inGroup {
		out.Executor = new(t.Executor.wire())
	}
	if t.Change != nil {
		t.Change(&out)
	}
	return out
}

func taskInfos(tasks []*Task, on *Offer, inGroup bool) (out []wire.TaskInfo) {
	for _, t := range tasks {
		out = append(out, t.wire(on, inGroup))
	}
	return out
}

func (l Launch) operation(on *Offer) (wire.Operation, []*Task) {
	return wire.Operation{Type: new(wire.OperationLaunch), Launch: &wire.Launch{Tasks: taskInfos(l, on, false)}}, l
}

func (g LaunchGroup) operation(on *Offer) (wire.Operation, []*Task) {
	return wire.Operation{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{Executor: g.Executor.wire(),
		Tasks: wire.TaskGroupInfo{Tasks: taskInfos(g.Tasks, on, true)}}}, g.Tasks
}

func (o Other) operation(*Offer) (wire.Operation, []*Task) { return wire.Operation(o), nil }

// states of tasks by their names on the wire. Who marked a node gone makes no difference to its tasks.
var states = map[wire.TaskState]structs.TaskStatus{
	wire.TaskStaging: structs.TaskStaging, wire.TaskStarting: structs.TaskStarting, wire.TaskRunning: structs.TaskRunning,
	wire.TaskKilling: structs.TaskKilling, wire.TaskFinished: structs.TaskFinished, wire.TaskFailed: structs.TaskFailed,
	wire.TaskKilled: structs.TaskKilled, wire.TaskError: structs.TaskError, wire.TaskLost: structs.TaskLost,
	wire.TaskDropped: structs.TaskDropped, wire.TaskUnreachable: structs.TaskUnreachable, wire.TaskGone: structs.TaskGone,
	wire.TaskGoneByOperator: structs.TaskGone, wire.TaskUnknown: structs.TaskUnknown,
}

// stateOut names a state on the wire.
func stateOut(s structs.TaskStatus) (wire.TaskState, bool) {
	for theirs, ours := range states {
		if ours == s && theirs != wire.TaskGoneByOperator {
			return theirs, true
		}
	}
	return 0, false
}

func operationUpdateOf(s *wire.OperationStatus) *OperationUpdate {
	u := &OperationUpdate{ID: idOf(s.ID), State: trim(s.State.String(), "OPERATION_"), Message: wire.TextOf(s.Message), Node: idOf(s.AgentID)}
	if s.UUID != nil {
		u.uuid = s.UUID.Value
	}
	return u
}

func updateOf(s *wire.TaskStatus) *Update {
	u := &Update{Task: s.TaskID.Value, State: states[s.State], Node: idOf(s.AgentID), Executor: idOf(s.ExecutorID), Message: wire.TextOf(s.Message),
		Data: s.Data, Labels: s.Labels.Map(), Healthy: s.Healthy, By: ByExecutor, uuid: s.UUID}
	if s.Reason != nil {
		u.Reason = strings.TrimPrefix(s.Reason.String(), "REASON_")
	}
	if s.Source != nil {
		switch *s.Source {
		case wire.SourceMaster:
			u.By = ByServer
		case wire.SourceAgent:
			u.By = ByNode
		}
	}
	if s.Timestamp != nil && *s.Timestamp > 0 && *s.Timestamp < 9e9 {
		u.Time = time.Unix(0, int64(*s.Timestamp*1e9)).UTC()
	}
	if c := s.ContainerStatus; c != nil {
		if c.ContainerID != nil {
			u.Alloc = c.ContainerID.Value
			if c.ContainerID.Parent != nil {
				u.Alloc = c.ContainerID.Parent.Value
			}
		}
		for _, n := range c.NetworkInfos {
			for _, ip := range n.IPAddresses {
				if ip.IPAddress != nil {
					u.IPs = append(u.IPs, *ip.IPAddress)
				}
			}
		}
	}
	return u
}
