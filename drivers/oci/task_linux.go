package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// task is a container of the supervisor: what waits, signals, stops and counts is the same as for any task of it.
type task struct {
	drivers.Task
	d  *Driver
	id string
}

func (d *Driver) task(id string) *task { return &task{Task: exec.Supervised(d.sup, id), d: d, id: id} }

// Written is what the container wrote to its root: its layer on top of the image, or by how much a copy of that has grown.
func (t *task) Written(ctx context.Context, project bool, sizes drivers.Sizes) (structs.Bytes, error) {
	return t.d.container(t.id).written(ctx, project, sizes)
}

func (ct *container) written(ctx context.Context, project bool, sizes drivers.Sizes) (structs.Bytes, error) {
	raw, err := os.ReadFile(ct.path(copied))
	if err != nil {
		if project { // see ofProject
			return 0, nil
		}
		return sizes(ctx, ct.path("upper"))
	}
	base, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, err
	}
	now, err := sizes(ctx, ct.path("rootfs"))
	return now - structs.Bytes(base), err
}

// Exec runs a command in the container: the runtime's exec is a command beside the container that enters it.
func (t *task) Exec(ctx context.Context, cmd drivers.Command) (drivers.Exit, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return drivers.Exit{}, structs.Errorf(structs.Invalid, "exec", "no command is given")
	}
	ct := t.d.container(t.id)
	status, err := t.d.sup.Status(ctx, t.id)
	if err != nil {
		return drivers.Exit{}, err
	}
	if status.Exit != nil {
		return drivers.Exit{}, structs.Errorf(structs.Conflict, "task "+t.id, "it has ended")
	}
	code, err := ct.findInside(cmd.Args[0])
	if err != nil {
		return drivers.Exit{}, err
	}
	if code != 0 {
		exit := drivers.Exit{Code: code, Why: fmt.Sprintf("%s: not found in the container", cmd.Args[0])}
		if code == 126 {
			exit.Why = fmt.Sprintf("%s: not executable", cmd.Args[0])
		}
		to := cmd.Stderr
		if cmd.TTY || to == nil {
			to = cmd.Stdout
		}
		if to != nil {
			io.WriteString(to, exit.Why+"\n")
		}
		return exit, nil
	}
	f, err := t.d.sup.Features(ctx)
	if err != nil {
		return drivers.Exit{}, err
	}
	runtime, version, err := t.d.runtime.find(ctx, f.Cgroups)
	if err != nil {
		return drivers.Exit{}, err
	}
	pid, err := os.CreateTemp(ct.dir, "exec-*.pid")
	if err != nil {
		return drivers.Exit{}, drivers.DiskError("task "+t.id, err)
	}
	pid.Close()
	defer os.Remove(pid.Name())
	c := exec.Command{TTY: cmd.TTY}
	if c.Group, err = exec.CommandGroup(ctx, t.d.sup); err != nil {
		return drivers.Exit{}, err
	}
	args := append(ct.command("exec"), "--pid-file", pid.Name())
	switch {
	case c.Group == "":
	case f.Cgroups == 2:
		args = append(args, "--cgroup", c.Group)
	case strings.HasPrefix(version, "runc"):
		args = append(args, "--cgroup", "pids:"+c.Group)
	default: // crun puts a command into the same group of all hierarchies, or none
		c.Group = ""
	}
	if cmd.TTY {
		args = append(args, "--tty", "--env", "TERM=xterm-256color")
	} else { // the command has the caller's own pipes, and no runtime between that ends it for want of a reader
		args = append(args, "--detach")
		c.PidFile = pid.Name()
	}
	c.Args = append(append(append([]string{runtime}, args...), ct.name), cmd.Args...)
	exit, err := exec.Enter(ctx, t.d.sup, t.id, c, cmd)
	if ctx.Err() != nil && c.Group == "" {
		ct.killCommand(pid.Name())
	}
	return exit, err
}

// Terminal opens the terminal that the container runs on.
func (t *task) Terminal(ctx context.Context) (drivers.Terminal, error) {
	return t.Task.(drivers.Typist).Terminal(ctx)
}

// killCommand kills what a command without a control group of its own began whose caller gave it up, as far as that did not leave its session.
func (ct *container) killCommand(pidFile string) {
	raw, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil { // otherwise it had not begun
		drivers.KillSession(pid, ct.name)
	}
}

// findInside looks for a program in a container that runs, as it was configured.
func (ct *container) findInside(program string) (code int, err error) {
	raw, err := os.ReadFile(ct.path("config.json"))
	var s specs.Spec
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil || s.Process == nil {
		return 0, structs.Errorf(structs.Unavailable, "task "+ct.id, "its configuration cannot be read: %v", err)
	}
	return look(ct.path("rootfs"), s.Mounts, program, s.Process.Env, s.Process.Cwd), nil
}

// Destroy removes the container.
func (t *task) Destroy(ctx context.Context) error {
	if err := t.Task.Destroy(ctx); err != nil {
		return err
	}
	release, ok := t.d.hold(t.id, true)
	if !ok {
		return structs.Errorf(structs.Unavailable, "task "+t.id, "something else is being done with it")
	}
	defer release()
	return t.d.container(t.id).remove()
}
