package mesos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

var spark = &structs.Framework{ID: "f", Name: "spark", User: "root", Roles: []string{structs.DefaultRole}}

func scalars(cpu, mem float64) []wire.Resource {
	return []wire.Resource{{Name: "cpus", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: cpu}},
		{Name: "mem", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: mem}}}
}

func taskInfo(id string, change func(*wire.TaskInfo)) *wire.TaskInfo {
	t := &wire.TaskInfo{Name: id, TaskID: wire.ID{Value: id}, AgentID: wire.ID{Value: "a"}, Resources: scalars(1, 32),
		Command: &wire.CommandInfo{Value: new("run ${HOME}")}}
	if change != nil {
		change(t)
	}
	return t
}

// launched draws what an operation launches: its tasks with their drivers, and how they are called.
func launched(l *server.Launch, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cpu %s+%s", l.External.Own.CPU, l.Resources.CPU)
	for _, t := range l.Group.Tasks {
		fmt.Fprintf(&b, "; %s %s %v", t.Name, t.Driver, t.Config)
		for _, a := range t.Artifacts {
			fmt.Fprintf(&b, " <%s %s %s>", a.Source, a.Name, a.Mode)
		}
		for _, c := range t.Live {
			fmt.Fprintf(&b, " %v %d %s", c.Command, c.Failures, c.Interval)
		}
	}
	if s := l.External.OwnRevocable; s != nil {
		fmt.Fprintf(&b, "; revocable %s", s)
	}
	if !l.Slack.IsZero() {
		fmt.Fprintf(&b, "; of tasks %s", l.Slack)
	}
	for _, x := range l.External.Tasks {
		fmt.Fprintf(&b, "; %s=%s", x.ID, x.Name)
		if x.Revocable != nil {
			fmt.Fprintf(&b, " revocable %s", x.Revocable)
		}
		if x.Terminal != nil {
			fmt.Fprintf(&b, " on %dx%d", x.Terminal.Rows, x.Terminal.Cols)
		}
	}
	return b.String()
}

// Tools are shown what a framework says of tasks that the node runs itself.
func TestWhatIsSaidOfTasks(t *testing.T) {
	named := func(x *wire.TaskInfo) {
		x.Name, x.Labels = "number one", &wire.Labels{Labels: []wire.Label{{Key: "tier", Value: new("gold")}}}
	}
	as := func(user string) func(*wire.TaskInfo) { return func(x *wire.TaskInfo) { x.Command.User = &user } }
	for want, info := range map[string]*wire.TaskInfo{"": taskInfo("t1", as("root")), "number one tier": taskInfo("t1", named), "t1 as bob": taskInfo("t1", as("bob"))} {
		command, err := launchOf(spark, info)
		if err != nil {
			t.Fatal(err)
		}
		group, err := groupOf(spark, &wire.LaunchGroup{Executor: wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Type: new(wire.ExecutorDefault)},
			Tasks: wire.TaskGroupInfo{Tasks: []wire.TaskInfo{*info}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []*server.Launch{command, group} {
			got, x := "", l.External.Tasks[0]
			if x.About != nil {
				var said wire.TaskInfo
				if err := wire.Protobuf.Unmarshal(x.About, &said); err != nil {
					t.Fatal(err)
				}
				got = said.Name
				if said.Labels != nil {
					got += " " + said.Labels.Labels[0].Key
				}
				if said.Command != nil {
					got += " as " + *said.Command.User
				}
			}
			if got != want || x.Info != nil {
				t.Errorf("of %s it is said %q, not %q", x.ID, got, want)
			}
		}
	}
}

// What frameworks launch, and what becomes of it here.
func TestWhatIsLaunched(t *testing.T) {
	custom := func(change func(*wire.ExecutorInfo)) *wire.ExecutorInfo {
		e := &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Type: new(wire.ExecutorCustom), Resources: scalars(0.5, 32),
			Command: &wire.CommandInfo{Value: new("./run"), URIs: []wire.URI{{Value: "http://h/run", Executable: new(true)},
				{Value: "http://h/data.tar.gz"}, {Value: "http://h/all.zip", Extract: new(false)}}}}
		if change != nil {
			change(e)
		}
		return e
	}
	pod := &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "p"}, Type: new(wire.ExecutorDefault), Resources: scalars(0.1, 32)}
	of := func(e *wire.ExecutorInfo) func(*wire.TaskInfo) {
		return func(t *wire.TaskInfo) { t.Command, t.Executor = nil, e }
	}
	group := func(e *wire.ExecutorInfo, tasks ...*wire.TaskInfo) func() (*server.Launch, error) {
		g := &wire.LaunchGroup{Executor: *e}
		for _, t := range tasks {
			g.Tasks.Tasks = append(g.Tasks.Tasks, *t)
		}
		return func() (*server.Launch, error) { return groupOf(spark, g) }
	}
	one := func(t *wire.TaskInfo) func() (*server.Launch, error) {
		return func() (*server.Launch, error) { return launchOf(spark, t) }
	}
	in := func(c *wire.ContainerInfo) func(*wire.TaskInfo) { return func(t *wire.TaskInfo) { t.Container = c } }
	revocable := func(t *wire.TaskInfo) { t.Resources[0].Revocable = &wire.Revocable{} }
	plain := func(e *wire.ExecutorInfo) { e.Command.URIs = nil }
	soft := &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "p"}, Type: new(wire.ExecutorDefault), Resources: scalars(0.1, 32)}
	for i := range soft.Resources {
		soft.Resources[i].Revocable = &wire.Revocable{}
	}
	with := func(c *wire.ContainerInfo) *wire.ExecutorInfo {
		e := *pod
		c.Type, e.Container = wire.ContainerMesos, c
		return &e
	}
	debian := &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "debian"}}}}
	shell := `map[args:[-c run $${HOME}] command:/bin/sh]`
	beside := `map[args:[-c run $${HOME}] command:/bin/sh ipc_mode:alloc]` // others of its pod
	for _, c := range []struct {
		name   string
		launch func() (*server.Launch, error)
		want   string
	}{
		{"a command", one(taskInfo("one", nil)), "cpu 0+1; one exec " + shell + "; one=one"},
		{"a task that is called as a folder of all is", one(taskInfo("logs", nil)), "cpu 0+1; task exec " + shell + "; logs=task"},
		{"a task of an executor", one(taskInfo("one", of(custom(nil)))), "cpu 0.5+1; executor exec map[args:[-c ./run] command:/bin/sh] " +
			"<http://h/run run 0755> <http://h/data.tar.gz  0644> <http://h/all.zip all.zip 0644>; one=one"},
		{"a task that is called as its executor", one(taskInfo("executor", of(custom(nil)))), "cpu 0.5+1; executor exec map[args:[-c ./run] command:/bin/sh] " +
			"<http://h/run run 0755> <http://h/data.tar.gz  0644> <http://h/all.zip all.zip 0644>; executor=executor-2"},
		{"a group of an executor", group(custom(func(e *wire.ExecutorInfo) { e.Command.URIs = nil }), taskInfo("a", nil), taskInfo("b", nil)),
			"cpu 0.5+2; executor exec map[args:[-c ./run] command:/bin/sh]; a=a; b=b"},
		{"a pod", group(pod, taskInfo("a b", nil), taskInfo("c d", in(debian))), "cpu 0.1+2; task exec " + beside +
			"; task-2 oci map[args:[-c run $${HOME}] entrypoint:[/bin/sh] image:debian ipc_mode:alloc work_dir:/local]; a b=task; c d=task-2"},
		{"a Docker container", one(taskInfo("one", in(&wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "redis", Network: new(wire.DockerBridge), Privileged: new(true)}}))),
			"cpu 0+1; one docker map[args:[-c run $${HOME}] entrypoint:[/bin/sh] image:redis network_mode:bridge privileged:true work_dir:/local]; one=one"},
		{"a health check", one(taskInfo("one", func(t *wire.TaskInfo) {
			t.HealthCheck = &wire.HealthCheck{Type: new(wire.CheckByCommand), Command: &wire.CommandInfo{Value: new("ok")}, Failures: new(uint32(2)), Interval: new(3.5)}
		})), "cpu 0+1; one exec " + shell + " [/bin/sh -c ok] 2 3.5s; one=one"},
		{"a terminal", one(taskInfo("one", in(&wire.ContainerInfo{Type: wire.ContainerMesos, TTY: &wire.TTYInfo{}}))), "cpu 0+1; one exec " + shell + "; one=one on 24x80"},
		{"terminals in a pod", group(pod, taskInfo("a", nil), taskInfo("b", in(&wire.ContainerInfo{Type: wire.ContainerMesos,
			TTY: &wire.TTYInfo{WindowSize: &wire.WindowSize{Rows: 40, Columns: 1 << 20}}}))), "cpu 0.1+2; a exec " + beside + "; b exec " + beside + "; a=a; b=b on 40x32767"},

		{"both", one(taskInfo("one", func(t *wire.TaskInfo) { t.Executor = custom(nil) })), "refused: Task should have at least one (but not both)"},
		{"an executor without a command", one(taskInfo("one", of(custom(func(e *wire.ExecutorInfo) { e.Command = nil })))), "refused: 'ExecutorInfo.command' must be set"},
		{"of another framework", one(taskInfo("one", of(custom(func(e *wire.ExecutorInfo) { e.FrameworkID = &wire.ID{Value: "g"} })))), "refused: ExecutorInfo has an invalid FrameworkID"},
		{"an executor without an id", one(taskInfo("one", of(custom(func(e *wire.ExecutorInfo) { e.ExecutorID.Value = "a/b" })))), "refused: Executor id 'a/b' is invalid"},
		{"the default executor alone", one(taskInfo("one", of(pod))), "refused: 'ExecutorInfo.type' must be CUSTOM"},
		{"a group without a type", group(&wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}}, taskInfo("a", nil)), "refused: 'ExecutorInfo.type' must be set"},
		{"a group without tasks", group(pod), "refused: Task group has no tasks"},
		{"a default executor with a command", group(custom(func(e *wire.ExecutorInfo) { e.Type = pod.Type }), taskInfo("a", nil)), "refused: 'ExecutorInfo.command' must not be set"},
		{"an executor in a group's task", group(pod, taskInfo("a", func(t *wire.TaskInfo) { t.Executor = pod })), "refused: 'TaskInfo.executor' must not be set"},
		{"a task without resources", one(taskInfo("one", func(t *wire.TaskInfo) { t.Resources = nil })), "refused: Task uses no resources"},
		{"Docker in a pod", group(pod, taskInfo("a", in(&wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "x"}}))), "refused: Docker ContainerInfo is not supported"},
		{"revocable in a pod", group(pod, taskInfo("a", revocable), taskInfo("b", nil)), "cpu 0.1+2; a exec " + beside + "; b exec " + beside + "; of tasks cpu 1; a=a revocable cpu 1; b=b"},
		{"revocable with an executor", one(taskInfo("a", func(t *wire.TaskInfo) { of(custom(plain))(t); revocable(t) })),
			"cpu 0.5+1; executor exec map[args:[-c ./run] command:/bin/sh]; of tasks cpu 1; a=a revocable cpu 1"},
		{"a revocable executor", one(taskInfo("a", of(custom(func(e *wire.ExecutorInfo) { plain(e); e.Resources[0].Revocable = &wire.Revocable{} })))),
			"cpu 0.5+1; executor exec map[args:[-c ./run] command:/bin/sh]; revocable cpu 0.5; a=a"},
		{"a pod that is revocable", group(soft, taskInfo("a", revocable)), "cpu 0.1+1; a exec " + beside + "; revocable cpu 0.1, memory 32MiB; of tasks cpu 1; a=a revocable cpu 1"},
		{"one name in both kinds", group(pod, taskInfo("a", func(t *wire.TaskInfo) { t.Resources = append(t.Resources, t.Resources[0]); revocable(t) })),
			"refused: resource 'cpus' is in part revocable and in part not"},
		{"one name in both kinds of an executor", one(taskInfo("a", of(custom(func(e *wire.ExecutorInfo) {
			e.Resources = append(e.Resources, e.Resources[1])
			e.Resources[1].Revocable = &wire.Revocable{}
		})))), "refused: resource 'mem' is in part revocable and in part not"},
		{"several nodes", group(pod, taskInfo("a", nil), taskInfo("b", func(t *wire.TaskInfo) { t.AgentID.Value = "other" })), "refused: Task group has tasks of several"},
		{"a terminal of a Docker container", one(taskInfo("one", in(&wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "x"}, TTY: &wire.TTYInfo{}}))),
			"refused: 'ContainerInfo.tty_info'"},
		{"a terminal of an executor", group(with(&wire.ContainerInfo{TTY: &wire.TTYInfo{}}), taskInfo("a", nil)), "refused: 'ContainerInfo.tty_info'"},
		{"limits of a pod", group(with(&wire.ContainerInfo{RLimits: &wire.RLimitInfo{}}), taskInfo("a", nil)), "refused: 'ContainerInfo.rlimit_info'"},
		{"a host name of a pod", group(with(&wire.ContainerInfo{Hostname: new("x")}), taskInfo("a", nil)), "refused: 'ContainerInfo.hostname'"},
		{"groups of the node's network", group(with(&wire.ContainerInfo{Networks: []wire.NetworkInfo{{Groups: []string{"x"}}}}), taskInfo("a", nil)),
			"refused: mapped ports, a host name, groups, labels and addresses need a network"},
		{"a way to fetch that is none", one(taskInfo("one", func(t *wire.TaskInfo) { t.Command.URIs = []wire.URI{{Value: "hdfs://x/y"}} })), "refused: URI 'hdfs://x/y'"},
		{"a health check without its kind", one(taskInfo("one", func(t *wire.TaskInfo) { t.HealthCheck = &wire.HealthCheck{Type: new(wire.CheckByHTTP)} })), "refused: HealthCheck must have a 'type'"},
	} {
		if got := launched(c.launch()); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s:\n got  %s\n want %s", c.name, got, c.want)
		}
	}
}
