package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// What tasks and executors of frameworks are here: allocations, whose tasks the node runs with its drivers, or whose one process is the
// executor of the framework.

// launchOf returns what one task is: a command is an allocation with one task and no helper, a task of an executor is a part of that
// one's allocation.
func launchOf(f *structs.Framework, t *wire.TaskInfo) (*server.Launch, error) {
	if (t.Command == nil) == (t.Executor == nil) {
		return nil, errors.New("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
	}
	if err := credentials(t.Container); err != nil {
		return nil, err
	}
	if t.Executor != nil {
		if err := credentials(t.Executor.Container); err != nil {
			return nil, err
		}
		if t.Executor.Type != nil && *t.Executor.Type == wire.ExecutorDefault {
			return nil, errors.New("'ExecutorInfo.type' must be CUSTOM: tasks of the default executor are launched with LAUNCH_GROUP")
		}
		return customOf(f, t.Executor, []*wire.TaskInfo{t}, false)
	}
	used, err := usedBy(t)
	if err != nil {
		return nil, err
	}
	group := &structs.Group{Name: "task", Restart: &structs.Restart{Attempts: new(0)}}
	b := &building{role: roleOf(f, t.Resources), group: group, ports: assigned(used.ports)}
	task, err := b.taskOf(f, t, used)
	if err != nil {
		return nil, err
	}
	group.Tasks = []*structs.Task{task}
	if group.MaxRunDuration, err = duration("max_completion_time", t.MaxCompletionTime, 0); err != nil {
		return nil, err
	}
	check, err := checkOf(task, t.Check)
	if err != nil {
		return nil, err
	}
	l := &server.Launch{Group: group, Node: structs.NodeID(t.AgentID.Value), Resources: used.amount, Slack: used.slack, Ports: b.ports,
		External: &structs.External{Tasks: []*structs.ExternalTask{{ID: t.TaskID.Value, Name: task.Name, About: about(f, t), Terminal: terminalOf(t.Container), Check: check,
			Secrets: b.secrets}}}}
	if err := holdAll(l, task, used.volumes, server.LaunchVolume{}); err != nil {
		return nil, err
	}
	return l, holdOutside(l, task, b.outsides)
}

// groupOf returns what a LAUNCH_GROUP is.
func groupOf(f *structs.Framework, g *wire.LaunchGroup) (*server.Launch, error) {
	tasks := make([]*wire.TaskInfo, len(g.Tasks.Tasks))
	if err := credentials(g.Executor.Container); err != nil {
		return nil, err
	}
	for i := range g.Tasks.Tasks {
		if err := credentials(g.Tasks.Tasks[i].Container); err != nil {
			return nil, err
		}
		tasks[i] = &g.Tasks.Tasks[i]
		if tasks[i].Executor != nil {
			return nil, errors.New("'TaskInfo.executor' must not be set")
		}
	}
	switch kind := g.Executor.Type; {
	case len(tasks) == 0:
		return nil, errors.New("Task group has no tasks")
	case kind == nil || *kind == wire.ExecutorUnknown:
		return nil, errors.New("'ExecutorInfo.type' must be set")
	case *kind == wire.ExecutorCustom:
		return customOf(f, &g.Executor, tasks, true)
	}
	return podOf(f, &g.Executor, tasks)
}

// podOf returns tasks of the default executor: the node runs each of them itself.
func podOf(f *structs.Framework, e *wire.ExecutorInfo, tasks []*wire.TaskInfo) (*server.Launch, error) {
	switch {
	case e.Command != nil:
		return nil, errors.New("'ExecutorInfo.command' must not be set for 'DEFAULT' executor")
	case e.Container != nil && (e.Container.Type != wire.ContainerMesos || e.Container.Mesos != nil && e.Container.Mesos.Image != nil):
		return nil, errors.New("'ExecutorInfo.container.type' must be 'MESOS' without an image for 'DEFAULT' executor")
	}
	l, err := executorOf(f, e, tasks[0])
	if err != nil {
		return nil, err
	}
	l.Group = &structs.Group{Name: "pod", Restart: &structs.Restart{Attempts: new(0)}}
	own := make([]ownVolume, len(l.volumes))
	for i, v := range l.volumes {
		block, err := inGroup(l.Launch, v, server.LaunchVolume{Own: true})
		if err != nil {
			return nil, err
		}
		own[i] = ownVolume{v, block}
	}
	pod := e.Container
	if pod == nil {
		pod = &wire.ContainerInfo{Type: wire.ContainerMesos}
	}
	if err := nothingRuns(pod); err != nil {
		return nil, err
	}
	outside, err := ownOutside(l.Launch, roleOf(f, tasks[0].Resources), pod)
	if err != nil {
		return nil, err
	}
	own = append(own, outside...)
	var mappings []mapping
	if l.Group.Network, mappings, err = networkOf(pod); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, t := range tasks {
		if t.Container != nil && t.Container.Type == wire.ContainerDocker {
			return nil, errors.New("Docker ContainerInfo is not supported on the task")
		}
		x, used, err := member(l, t, names, true)
		if err != nil {
			return nil, err
		}
		b := &building{role: roleOf(f, t.Resources), pod: pod, own: own}
		task, err := b.taskOf(f, t, used)
		if err == nil {
			err = holdAll(l.Launch, task, used.volumes, server.LaunchVolume{Task: x.Name})
		}
		if err == nil {
			err = holdOutside(l.Launch, task, b.outsides)
		}
		if err != nil {
			return nil, err
		}
		task.Name, x.About, x.Terminal, x.Secrets = x.Name, about(f, t), terminalOf(t.Container), b.secrets
		if x.Check, err = checkOf(task, t.Check); err != nil {
			return nil, err
		}
		if x.MaxRun, err = duration("max_completion_time", t.MaxCompletionTime, 0); err != nil {
			return nil, err
		}
		l.Group.Tasks = append(l.Group.Tasks, task)
	}
	l.keepPorts(mappings)
	return l.Launch, nil
}

// nothingRuns refuses what a container of an executor asks for of which no process is. Its tasks may share its namespaces.
func nothingRuns(c *wire.ContainerInfo) error {
	switch l := c.Linux; {
	case c.TTY != nil:
		return errors.New("'ContainerInfo.tty_info' of a default executor is not served: it has no process; leave it out")
	case c.RLimits != nil:
		return errors.New("'ContainerInfo.rlimit_info' of a default executor is not served: it has no process; set it for each task")
	case l == nil:
		return nil
	case l.Capabilities != nil || l.Bounding != nil || l.Effective != nil || l.Seccomp != nil:
		return errors.New("Capabilities and seccomp in 'ContainerInfo.linux_info' of a default executor are not served: it has no process; set them for each task")
	case sharesIPC(l) && l.ShmSize != nil:
		return errShmSize
	}
	_, err := shmSize(c.Linux)
	return err
}

// roleOf is the role of a task: the one that its resources were offered for.
func roleOf(f *structs.Framework, resources []wire.Resource) string {
	for i := range resources {
		if a := resources[i].Allocation; a != nil && a.Role != nil {
			return roleIn(*a.Role)
		}
	}
	if len(f.Roles) > 0 {
		return f.Roles[0]
	}
	return structs.DefaultRole
}

// offeredFor returns the role that all resources of a launch say that they were offered for; empty: none says one.
func offeredFor(tasks []*wire.TaskInfo, executor *wire.ExecutorInfo) (role string, err error) {
	lists := make([][]wire.Resource, 0, len(tasks)+1)
	for _, t := range tasks {
		lists = append(lists, t.Resources)
		if t.Executor != nil {
			lists = append(lists, t.Executor.Resources)
		}
	}
	if executor != nil {
		lists = append(lists, executor.Resources)
	}
	for _, list := range lists {
		for i := range list {
			a := list[i].Allocation
			if a == nil || a.Role == nil {
				continue
			}
			switch is := roleIn(*a.Role); {
			case role == "":
				role = is
			case is != role:
				return "", fmt.Errorf("The resources have multiple allocation roles ('%.100s' and '%.100s') but only one allocation role is allowed", roleOut(role), roleOut(is))
			}
		}
	}
	return role, nil
}

// launching is a launch of tasks of an executor while it is made.
type launching struct {
	*server.Launch
	volumes []taskVolume // of the executor itself
}

// keepPorts has the executor hold the ports that lead into its network: they do as long as it lives, whichever task of it brought them.
func (l launching) keepPorts(mappings []mapping) {
	x := l.External
	for _, m := range through(x.OwnPorts, mappings) {
		if !l.movePort(m) {
			l.Missing = append(l.Missing, m.from)
		}
	}
}

// movePort takes a port of a task for the executor; false: no task has it.
func (l launching) movePort(m mapping) bool {
	is := func(p structs.AssignedPort) bool { return p.Port == m.from }
	one := structs.Resources{Ports: 1}
	for _, t := range l.External.Tasks {
		if !slices.ContainsFunc(t.Ports, is) {
			continue
		}
		t.Ports, l.Ports = slices.DeleteFunc(t.Ports, is), slices.DeleteFunc(l.Ports, is)
		t.Resources, l.Resources, l.External.Own = t.Resources.Sub(one), l.Resources.Sub(one), l.External.Own.Add(one)
		l.External.OwnPorts = append(l.External.OwnPorts, structs.AssignedPort{Port: m.from, To: m.to, Label: portLabel(m.from), Protocol: m.protocol, Network: m.network})
		return true
	}
	return false
}

// about returns what tools show of a task that the node runs itself, beside what it runs; nil: there is nothing.
func about(f *structs.Framework, t *wire.TaskInfo) []byte {
	out := &wire.TaskInfo{Name: t.Name, TaskID: t.TaskID, AgentID: t.AgentID, Labels: t.Labels, Discovery: t.Discovery}
	if t.Command != nil && wire.TextOf(t.Command.User) != "" && *t.Command.User != f.User {
		out.Command = &wire.CommandInfo{User: t.Command.User}
	}
	if t.Name == t.TaskID.Value && t.Labels == nil && t.Discovery == nil && out.Command == nil {
		return nil
	}
	return wire.Protobuf.Marshal(out)
}

// member adds one task of an executor to its launch; names are those of the others.
func member(l launching, t *wire.TaskInfo, names map[string]bool, together bool) (*structs.ExternalTask, *taken, error) {
	used, err := usedBy(t)
	switch {
	case err != nil:
		return nil, nil, err
	case structs.NodeID(t.AgentID.Value) != l.Node:
		return nil, nil, errors.New("Task group has tasks of several agents")
	}
	x := &structs.ExternalTask{ID: t.TaskID.Value, Name: nameIn(names, t.TaskID.Value), Resources: used.amount, Together: together}
	x.Ports, x.Revocable = assigned(used.ports), used.revocable()
	l.External.Tasks = append(l.External.Tasks, x)
	l.Resources, l.Slack, l.Ports = l.Resources.Add(used.amount), l.Slack.Add(used.slack), append(l.Ports, x.Ports...)
	return x, used, nil
}

// usedBy returns what a task asks for, after a look at what all tasks have.
func usedBy(t *wire.TaskInfo) (*taken, error) {
	if !structs.ValidOutsideID(t.TaskID.Value) {
		return nil, fmt.Errorf("Task id '%.300s' is invalid", t.TaskID.Value)
	}
	used, err := take(t.Resources)
	if err != nil {
		return nil, err
	}
	if used.amount.IsZero() && len(used.volumes) == 0 {
		return nil, errors.New("Task uses no resources")
	}
	return used, nil
}

// taskOf returns a task that the node runs.
func (b *building) taskOf(f *structs.Framework, t *wire.TaskInfo, used *taken) (*structs.Task, error) {
	if t.Command == nil {
		return nil, errors.New("Task has no CommandInfo")
	}
	task := &structs.Task{Name: taskName(t.TaskID.Value), Driver: "exec", User: f.User,
		Resources: &structs.TaskResources{CPU: used.amount.CPU, Memory: used.amount.Memory, Disk: used.amount.Disk, Custom: used.amount.Custom}}
	b.task = task
	if err := b.command(t.Command); err != nil {
		return nil, err
	}
	err := b.contained(t.Container)
	if err != nil {
		return nil, err
	}
	if err := health(task, t.HealthCheck); err != nil {
		return nil, err
	}
	if task.KillTimeout, err = duration("kill_policy.grace_period", graceOf(t.KillPolicy), 3e9); err != nil {
		return nil, err
	}
	r := task.Resources
	if r.CPULimit, r.MemoryMax, err = limits(used.amount, t.Limits); r.CPULimit >= structs.Boundless {
		r.CPULimit = 0
	}
	return task, err
}

// executorOf fills in what all executors have: the allocation of one without tasks.
func executorOf(f *structs.Framework, e *wire.ExecutorInfo, first *wire.TaskInfo) (l launching, err error) {
	if !structs.ValidOutsideID(e.ExecutorID.Value) {
		return l, fmt.Errorf("Executor id '%.300s' is invalid", e.ExecutorID.Value)
	}
	if id := idOf(e.FrameworkID); id != "" && id != string(f.ID) {
		return l, fmt.Errorf("ExecutorInfo has an invalid FrameworkID (Actual: %.300s vs Expected: %s)", id, f.ID)
	}
	own, err := take(e.Resources)
	if err != nil {
		return l, err
	}
	info, err := withoutValues(e)
	if err != nil {
		return l, err
	}
	info.FrameworkID = &wire.ID{Value: string(f.ID)}
	return launching{&server.Launch{Node: structs.NodeID(first.AgentID.Value), External: &structs.External{Executor: e.ExecutorID.Value,
		Info: wire.Protobuf.Marshal(info), Framework: wire.Protobuf.Marshal(frameworkInfo(f)), Own: own.amount, OwnPorts: assigned(own.ports), OwnRevocable: own.revocable()}}, own.volumes}, nil
}

// frameworkInfo is what executors are told of their framework.
func frameworkInfo(f *structs.Framework) *wire.FrameworkInfo {
	seconds := f.FailoverTimeout.Std().Seconds()
	info := &wire.FrameworkInfo{User: f.User, Name: f.Name, ID: &wire.ID{Value: string(f.ID)}, FailoverTimeout: &seconds,
		Checkpoint: new(true), Hostname: wire.Optional(f.Hostname), Principal: wire.Optional(f.Principal), WebURL: wire.Optional(f.WebURL), Labels: wire.LabelsOf(f.Labels)}
	for _, role := range f.Roles {
		info.Roles = append(info.Roles, roleOut(role))
	}
	if !f.Can(structs.CanHaveRoles) && len(info.Roles) > 0 {
		info.Role, info.Roles = &info.Roles[0], nil
	}
	for n, name := range wire.CapabilityType(0).Names() {
		if f.Can(name) {
			info.Capabilities = append(info.Capabilities, wire.Capability{Type: new(wire.CapabilityType(n))})
		}
	}
	slices.SortFunc(info.Capabilities, func(a, b wire.Capability) int { return int(*a.Type - *b.Type) })
	return info
}

// customOf returns tasks of a custom executor: its process is the only task that the node runs.
func customOf(f *structs.Framework, e *wire.ExecutorInfo, tasks []*wire.TaskInfo, together bool) (*server.Launch, error) {
	if e.Command == nil {
		return nil, errors.New("'ExecutorInfo.command' must be set for 'CUSTOM' executor")
	}
	l, err := executorOf(f, e, tasks[0])
	if err != nil {
		return nil, err
	}
	l.External.Custom = true
	names := map[string]bool{server.ExecutorTask: true}
	brought := make([][]taskVolume, len(tasks))
	for i, t := range tasks {
		x, used, err := member(l, t, names, together)
		if err != nil {
			return nil, err
		}
		brought[i] = used.volumes
		if x.CPULimit, x.MemoryMax, err = limits(used.amount, t.Limits); err != nil {
			return nil, err
		}
		if x.Info, x.Secrets, err = recorded(t); err != nil {
			return nil, err
		}
	}
	own := l.External.Own.Add(l.External.Tasks[0].Resources)
	process := &structs.Task{Name: server.ExecutorTask, Driver: "exec", User: f.User,
		Resources: &structs.TaskResources{CPU: own.CPU, Memory: own.Memory, Disk: own.Disk, Custom: own.Custom}}
	b := &building{task: process, role: roleOf(f, tasks[0].Resources)}
	if err := b.command(e.Command); err != nil {
		return nil, err
	}
	l.Group = &structs.Group{Name: server.ExecutorTask, Tasks: []*structs.Task{process}, Restart: &structs.Restart{Attempts: new(0)}}
	var mappings []mapping
	if e.Container != nil && e.Container.TTY != nil {
		return nil, errNoTerminal
	}
	if c := e.Container; c != nil && c.Type == wire.ContainerMesos {
		if l.Group.Network, mappings, err = networkOf(c); err != nil {
			return nil, err
		}
	}
	if err := b.contained(e.Container); err != nil {
		return nil, err
	}
	// Its sandbox is that of its tasks.
	err = holdAll(l.Launch, process, l.volumes, server.LaunchVolume{Own: true})
	for i, x := range l.External.Tasks {
		switch {
		case err != nil:
		case staying(process):
			err = holdAll(l.Launch, process, brought[i], server.LaunchVolume{})
		default:
			err = lend(l.Launch, process, x, brought[i])
		}
	}
	if err == nil {
		err = holdOutside(l.Launch, process, b.outsides)
	}
	if err != nil {
		return nil, err
	}
	for _, v := range l.Launch.Volumes {
		v.Own = v.Own || v.Outside != nil // its container says so, whichever task it is launched for
	}
	l.External.Secrets = b.secrets
	l.keepPorts(mappings)
	if process.KillTimeout, err = duration("shutdown_grace_period", e.ShutdownGrace, 5e9); err != nil {
		return nil, err
	}
	return l.Launch, nil
}

// taskName is what a task is called in its allocation, for people and in paths: its id, if that can be.
func taskName(id string) string {
	if structs.ValidName(id) && !structs.FolderOfAll(id) {
		return id
	}
	return "task"
}

// nameIn is taskName for one of several, which have other names.
func nameIn(names map[string]bool, id string) string {
	name := taskName(id)
	for n := 2; names[name]; n++ {
		name = fmt.Sprintf("%.100s-%d", taskName(id), n)
	}
	names[name] = true
	return name
}

// artifacts are the URIs of a command: they are put into the folder in which it begins.
func artifacts(uris []wire.URI) (out []*structs.Artifact, err error) {
	for _, u := range uris {
		source := u.Value
		if strings.HasPrefix(source, "/") {
			source = "file://" + source
		}
		a := &structs.Artifact{Source: literal(source), Destination: "local", Name: literal(wire.TextOf(u.OutputFile)), Mode: "0644"}
		at, err := structs.ParseSource(source)
		if err != nil {
			return nil, fmt.Errorf("URI '%.300s': %w", u.Value, err)
		}
		if a.Name == "" {
			a.Name = literal(path.Base(at.Path))
		}
		switch {
		case u.Executable != nil && *u.Executable:
			a.Mode, a.Unpack = "0755", new(false)
		case u.Extract != nil && !*u.Extract || wire.TextOf(u.OutputFile) != "":
			a.Unpack = new(false)
		case a.Unpacked(at.Path):
			a.Name = ""
		}
		var problems structs.Problems
		if a.Problems(&problems, "uri"); problems.Err() != nil {
			return nil, fmt.Errorf("URI '%.300s': %w", u.Value, problems.Err())
		}
		out = append(out, a)
	}
	if len(out) > structs.MaxArtifacts {
		return nil, fmt.Errorf("%d URIs are more than %d", len(out), structs.MaxArtifacts)
	}
	return out, nil
}
