package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

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
	runtime, _, err := t.d.runtime.find(ctx, f.Cgroups)
	if err != nil {
		return drivers.Exit{}, err
	}
	args := ct.command("exec")
	if cmd.TTY {
		args = append(args, "--tty", "--env", "TERM=xterm-256color")
	}
	args = append(append(args, ct.name), cmd.Args...)
	cmd.Args = append([]string{runtime}, args...)
	return t.Task.Exec(ctx, cmd)
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
