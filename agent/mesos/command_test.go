package mesos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Without a shell the first of the arguments is what the program is called; a container of the type DOCKER takes it for an argument, as docker run
// does, and without a program an image runs its own.
func TestWhatACommandRuns(t *testing.T) {
	image := &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "x"}}}}
	docker := &wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "x"}}
	in := &wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "x", Parameters: []wire.Parameter{{Key: "workdir", Value: "/srv"}}}}
	argv := func(value string, args ...string) wire.CommandInfo {
		return wire.CommandInfo{Value: wire.Optional(value), Arguments: args, Shell: new(false)}
	}
	shell := wire.CommandInfo{Value: new("a b"), Arguments: []string{"not", "used"}}
	const none = "refused: CommandInfo has no 'value'"
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		for _, c := range []struct {
			name    string
			in      *wire.ContainerInfo
			command wire.CommandInfo
			want    string // the config of the driver
			check   string // what a check with that command asks
		}{
			{"a shell", nil, shell, "args:[-c a b] command:/bin/sh", "/bin/sh -c a b"},
			{"another name", nil, argv("/bin/busybox", "ls", "-l", "${x}"), "arg0:ls args:[-l $${x}] command:/bin/busybox", "/bin/busybox -l ${x} called ls"},
			{"a reference as its name", nil, argv("/x", "${ls}"), "arg0:$${ls} args:[] command:/x", "/x called ${ls}"},
			{"no name", nil, argv("/bin/busybox", "", "-l"), "arg0: args:[-l] command:/bin/busybox", "/bin/busybox -l called "},
			{"its own name", nil, argv("ls", "ls", "-l"), "args:[-l] command:ls", "ls -l"},
			{"no arguments", nil, argv("ls"), "args:[] command:ls", "ls"},
			{"no program", nil, argv("", "ls", "-l"), none, "refused"},
			{"a shell without a text", nil, wire.CommandInfo{Arguments: []string{"ls"}}, none, "refused"},

			{"a shell in an image", image, shell, "args:[-c a b] entrypoint:[/bin/sh] image:x work_dir:/local", "/bin/sh -c a b"},
			{"another name in an image", image, argv("/bin/busybox", "ls", "-l"), "arg0:ls args:[-l] entrypoint:[/bin/busybox] image:x work_dir:/local", "/bin/busybox -l called ls"},
			{"no arguments in an image", image, argv("ls"), "args:[] entrypoint:[ls] image:x work_dir:/local", "ls"},
			{"what the image runs", image, argv(""), "image:x", "refused"},
			{"with other arguments", image, argv("", "-l", "-v"), "args:[-l -v] image:x", "refused"},
			{"a shell in an image without a text", image, wire.CommandInfo{}, none, "refused"},

			{"a shell in docker", docker, shell, "args:[-c a b] entrypoint:[/bin/sh] image:x network_mode:host work_dir:/local", "/bin/sh -c a b"},
			{"arguments in docker", docker, argv("/bin/busybox", "ls", "${x}"), "args:[/bin/busybox ls $${x}] image:x network_mode:host", "/bin/busybox ls ${x}"},
			{"arguments alone in docker", docker, argv("", "ls", "-l"), "args:[ls -l] image:x network_mode:host", "ls -l"},
			{"nothing in docker", docker, argv(""), "image:x network_mode:host", "refused"},
			{"a shell in docker without a text", docker, wire.CommandInfo{}, none, "refused"},
			{"a folder in docker", in, argv("ls"), "args:[ls] image:x network_mode:host work_dir:/srv", "ls"},
		} {
			sent := &wire.TaskInfo{}
			info := taskInfo("one", func(t *wire.TaskInfo) { t.Command, t.Container = &c.command, c.in })
			if err := e.Unmarshal(e.Marshal(info), sent); err != nil {
				t.Fatal(err)
			}
			got, task := "", &structs.Task{}
			if l, err := launchOf(spark, sent); err != nil {
				got = "refused: " + err.Error()
			} else {
				task = l.Group.Tasks[0]
				got = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(task.Config), "map["), "]")
			}
			if got != c.want {
				t.Errorf("%s: %s\n got  %s\n want %s", e.ContentType(), c.name, got, c.want)
			}
			for what, ask := range map[string]func() (*structs.Check, error){
				"check": func() (*structs.Check, error) {
					return checkOf(task, &wire.Check{Type: new(wire.CheckByCommand), Command: &wire.CheckCommand{Command: *sent.Command}})
				},
				"health check": func() (*structs.Check, error) {
					if err := health(task, &wire.HealthCheck{Type: new(wire.CheckByCommand), Command: sent.Command}); err != nil {
						return nil, err
					}
					return task.Live[0], nil
				},
			} {
				asked := "refused"
				if x, err := ask(); err == nil {
					if asked = strings.Join(x.Command, " "); x.Arg0 != nil {
						asked += " called " + *x.Arg0
					}
				}
				if asked != c.check {
					t.Errorf("%s: a %s of %s asks %q, and not %q", e.ContentType(), what, c.name, asked, c.check)
				}
			}
		}
	}
}
