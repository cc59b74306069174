package oci

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
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
	e, err := t.entry(ctx, cmd.Args, cmd.Arg0, cmd.Env)
	if missing := (*drivers.NoProgram)(nil); errors.As(err, &missing) {
		exit := drivers.Exit{Code: missing.Code, Why: missing.Err.Why}
		to := cmd.Stderr
		if cmd.TTY || to == nil {
			to = cmd.Stdout
		}
		if to != nil {
			io.WriteString(to, exit.Why+"\n")
		}
		return exit, nil
	}
	if err != nil {
		return drivers.Exit{}, err
	}
	defer e.remove()
	c := exec.Command{TTY: cmd.TTY, Group: e.group}
	var size *drivers.Size // the caller sets it
	if cmd.TTY {
		size = &drivers.Size{}
	} else { // the command has the caller's own pipes, and no runtime between that ends it for want of a reader
		c.PidFile = e.pidFile
	}
	if c.Args, err = e.command(size, ""); err != nil {
		return drivers.Exit{}, drivers.DiskError("task "+t.id, err)
	}
	exit, err := exec.Enter(ctx, t.d.sup, t.id, c, cmd)
	if ctx.Err() != nil && c.Group == "" {
		e.ct.killCommand(e.pidFile)
	}
	return exit, err
}

// Detach runs a command in the container that goes on by itself: the runtime leaves it to the stage that holds it.
func (t *task) Detach(ctx context.Context, d *drivers.Detach) (drivers.Detached, error) {
	e, err := t.entry(ctx, d.Args, d.Arg0, d.Env)
	if err != nil {
		return nil, err
	}
	defer e.remove() // it is known by its process once it runs
	c, console := exec.Command{Group: e.group, PidFile: e.pidFile}, ""
	if d.Terminal != nil {
		console = strings.TrimSuffix(e.pidFile, ".pid") // short: addresses of sockets are
	}
	if c.Args, err = e.command(d.Terminal, console); err != nil {
		return nil, drivers.DiskError("task "+t.id, err)
	}
	return exec.DetachIn(ctx, t.d.sup, t.id, c, d, console)
}

// Detached finds one by its name.
func (t *task) Detached(ctx context.Context, name string) (drivers.Detached, error) {
	return t.Task.(drivers.Detacher).Detached(ctx, name)
}

// entry is how a command gets into a container.
type entry struct {
	ct      *container
	spec    *specs.Spec // of the container
	args    []string    // of the command
	env     []string    // of its own
	runtime []string    // the runtime's own
	pidFile string
	group   string // its control group; empty: it has none
}

// command is what runs it: on a terminal of a size, or of none in particular, that the runtime sends to a socket or else holds; with nil without
// one. The runtime is told more than its options can say, and nothing that others would see in the list of processes, in a file.
func (e *entry) command(size *drivers.Size, console string) ([]string, error) {
	p := *e.spec.Process
	p.Args, p.Terminal, p.ConsoleSize = e.args, size != nil, nil
	if size != nil {
		p.Env = drivers.Overlay(p.Env, []string{"TERM=xterm-256color"})
		if size.Rows > 0 && size.Cols > 0 {
			p.ConsoleSize = &specs.Box{Height: uint(size.Rows), Width: uint(size.Cols)}
		}
	}
	p.Env = drivers.Overlay(p.Env, e.env)
	raw, err := json.Marshal(&p)
	if err == nil {
		err = os.WriteFile(e.processFile(), raw, 0o600)
	}
	how := []string{"--detach"}
	switch {
	case console != "":
		how = append(how, "--console-socket", console)
	case size != nil:
		how = []string{"--tty"}
	}
	return slices.Concat(e.runtime, how, []string{"--process", e.processFile(), e.ct.name}), err
}

func (e *entry) processFile() string { return e.pidFile + ".json" }

// remove takes away the files of a command that began, or did not.
func (e *entry) remove() {
	os.Remove(e.pidFile)
	os.Remove(e.processFile())
}

// entry prepares a command. The caller removes it.
func (t *task) entry(ctx context.Context, args []string, arg0 *string, env []string) (*entry, error) {
	object := "task " + t.id
	if len(args) == 0 || args[0] == "" {
		return nil, structs.Errorf(structs.Invalid, "exec", "no command is given")
	}
	e := &entry{ct: t.d.container(t.id), args: called(args, arg0), env: env}
	status, err := t.d.sup.Status(ctx, t.id)
	if err != nil {
		return nil, err
	}
	if status.Exit != nil {
		return nil, structs.Errorf(structs.Conflict, object, "it has ended")
	}
	if e.spec, err = e.ct.configured(); err != nil {
		return nil, err
	}
	if arg0 != nil && !slices.ContainsFunc(e.spec.Mounts, func(m specs.Mount) bool { return m.Destination == launchPath }) {
		return nil, structs.Errorf(structs.Unavailable, object, "its container has nothing that calls a program by another name: an older agent made it, or this machine is neither amd64 nor arm64").
			Advise("restart the task, or leave arg0 out")
	}
	if code := e.ct.findInside(e.spec, args[0], env); code != 0 {
		why := "not found in the container"
		if code == 126 {
			why = "not executable"
		}
		return nil, &drivers.NoProgram{Code: code, Err: structs.Errorf(structs.Invalid, object, "%s: %s", args[0], why)}
	}
	f, err := t.d.sup.Features(ctx)
	if err != nil {
		return nil, err
	}
	runtime, version, err := t.d.runtime.find(ctx, f.Cgroups)
	if err != nil {
		return nil, err
	}
	if e.group, err = exec.CommandGroup(ctx, t.d.sup); err != nil {
		return nil, err
	}
	pid, err := os.CreateTemp(e.ct.dir, "exec-*.pid")
	if err != nil {
		return nil, drivers.DiskError(object, err)
	}
	pid.Close()
	e.pidFile = pid.Name()
	e.runtime = append(append([]string{runtime}, e.ct.command("exec")...), "--pid-file", e.pidFile)
	switch {
	case e.group == "":
	case f.Cgroups == 2:
		e.runtime = append(e.runtime, "--cgroup", e.group)
	case strings.HasPrefix(version, "runc"):
		e.runtime = append(e.runtime, "--cgroup", "pids:"+e.group)
	default: // crun puts a command into the same group of all hierarchies, or none
		e.group = ""
	}
	return e, nil
}

// Terminal opens the terminal that the container runs on.
func (t *task) Terminal(ctx context.Context) (drivers.Terminal, error) {
	return t.Task.(drivers.Typist).Terminal(ctx)
}

// Mount mounts a folder of the host in the container.
func (t *task) Mount(ctx context.Context, m drivers.Mount) error {
	return t.Task.(drivers.Mountable).Mount(ctx, m)
}

// Unmount takes it away.
func (t *task) Unmount(ctx context.Context, m drivers.Mount) error {
	return t.Task.(drivers.Mountable).Unmount(ctx, m)
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

// configured is what the runtime was told of a container.
func (ct *container) configured() (*specs.Spec, error) {
	raw, err := os.ReadFile(ct.path("config.json"))
	s := &specs.Spec{}
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil || s.Process == nil {
		return nil, structs.Errorf(structs.Unavailable, "task "+ct.id, "its configuration cannot be read: %v", err)
	}
	return s, nil
}

// findInside looks for a program in a container that runs, as it was configured.
func (ct *container) findInside(s *specs.Spec, program string, env []string) (code int) {
	return look(ct.path("rootfs"), s.Mounts, program, drivers.Overlay(s.Process.Env, env), s.Process.Cwd)
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
