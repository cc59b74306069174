//go:build linux && (amd64 || arm64)

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/drivers/exec/stage"
	"github.com/proffer/proffer/structs"
)

// start starts the program of a record.
func (h *host) start(ctx context.Context, rec *record) (p *process, err error) {
	l := rec.Launch
	object := "task " + l.ID
	plan, err := h.plan(rec)
	if err != nil {
		return nil, err
	}
	plan.Slot, plan.Seq, plan.Fenced = rec.Slot, rec.Seq, l.Fenced
	plan.Args, plan.Arg0, plan.Hold = append([]string{l.Program}, l.Args...), l.Arg0, l.Hold
	plan.Network = l.Network
	netns, err := openNetns(object, l, plan)
	if err != nil {
		return nil, err
	}
	defer netns.Close()
	joined, err := joinShared(object, l, plan)
	if err != nil {
		return nil, err
	}
	defer joined.close()
	var close []int
	defer func() {
		for _, fd := range close {
			unix.Close(fd)
		}
	}()
	defer func() {
		if err != nil {
			h.leave(rec)
		}
	}()
	if l.Container != "" {
		plan.Adopt = l.PidFile
		defer func() {
			if err != nil && h.cgroup != nil { // whatever the runtime had made of it
				group := h.cgroup.Open(rec.Cgroup)
				group.Kill()
				group.RemoveEverywhere()
			}
		}()
		if l.Guarded && h.guard != nil {
			if err := h.cgroup.MakeUnified(rec.Cgroup); err != nil {
				return nil, structs.Errorf(structs.Unavailable, object, "make its cgroup: %w", err)
			}
		}
	} else if rec.Cgroup != "" {
		group, failed := h.create(rec)
		if failed != nil {
			return nil, structs.Errorf(structs.Unavailable, object, "make its cgroup: %w", failed)
		}
		defer func() {
			if err != nil {
				group.Kill()
				group.Remove()
			}
		}()
	}
	if err := h.take(rec); err != nil {
		return nil, err
	}
	entry, err := h.entry(rec, nil)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	defer entry.Close()
	plan.Cgroup, plan.Joins = entry.Dir, entry.Tasks
	if l.Full && !l.Hold {
		if l.Root == "" {
			plan.Covers = h.covers
		} else {
			fd, err := openRoot(object, l)
			if err != nil {
				return nil, err
			}
			close = append(close, fd)
			plan.Binds = append(plan.Binds, stage.Bind{FD: fd, Target: "/"})
		}
		for _, b := range []struct{ from, to string }{
			{filepath.Join(l.TaskDir, "local"), "/local"}, {filepath.Join(l.TaskDir, "secrets"), "/secrets"},
			{l.AllocDir, "/alloc"}, {filepath.Join(l.TaskDir, "tmp"), "/tmp"},
		} {
			fd, err := unix.OpenTree(unix.AT_FDCWD, b.from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
			if err != nil {
				return nil, structs.Errorf(structs.Unavailable, object, "mount %s: %w", b.from, err)
			}
			close = append(close, fd)
			plan.Binds = append(plan.Binds, stage.Bind{FD: fd, Target: b.to})
		}
		more, err := mountsOf(object, l)
		for _, b := range more {
			close = append(close, b.FD)
		}
		if err != nil {
			return nil, err
		}
		plan.Binds = append(plan.Binds, more...)
	}
	if len(l.Devices) > 0 {
		fd, err := devFolder(l.Devices)
		if err != nil {
			return nil, structs.Errorf(structs.Unavailable, object, "make its devices: %w", err)
		}
		close = append(close, fd)
		plan.Binds = append(plan.Binds, stage.Bind{FD: fd, Target: "/dev"})
	}
	streams := &streams{}
	if !l.Hold {
		if streams, err = h.streams(object, l, plan); err != nil {
			return nil, err
		}
	}
	defer streams.close()
	binds := plan.Binds
	started, err := h.run(kindOf(l), func(st *stage.Starter) (*stage.Process, error) {
		files, err := filesOf(l, st.PID())
		for _, f := range files {
			defer unix.Close(f.FD)
		}
		if err != nil {
			return nil, err
		}
		plan.Binds = append(binds[:len(binds):len(binds)], files...)
		return st.Start(ctx, plan)
	})
	if err != nil {
		return nil, h.clear(object, rec, err)
	}
	p = h.process(started, rec)
	if l.Hold {
		return p, nil
	}
	return p, streams.take(object, p)
}

// streams are those of a task or a detached command, of which its stage keeps the reading ends.
type streams struct {
	pipes   [2]*os.File // reading ends; none of a terminal
	theirs  []int       // to be closed here, once the stage has them
	console string      // a socket that is only for the start
}

// streams makes them, for a plan.
func (h *host) streams(object string, l *exec.Launch, plan *stage.Plan) (s *streams, err error) {
	s = &streams{}
	if l.Terminal != nil {
		if err := h.terminal(object, l, plan); err != nil {
			return nil, err
		}
		if s.theirs = []int{plan.KeepErr}; plan.KeepOut != plan.KeepErr {
			s.theirs, s.console = append(s.theirs, plan.KeepOut), l.Console
		}
		return s, nil
	}
	for i := range s.pipes {
		var pair [2]int
		if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
			s.close()
			return nil, structs.Errorf(structs.Exhausted, object, "make a pipe: %w", err)
		}
		s.theirs = append(s.theirs, pair[1])
		unix.SetNonblock(pair[0], true)
		s.pipes[i] = os.NewFile(uintptr(pair[0]), "output")
		if i == 0 {
			plan.KeepOut, plan.Stdout = pair[0], pair[1]
		} else {
			plan.KeepErr, plan.Stderr = pair[0], pair[1]
		}
	}
	return s, nil
}

// take gives a process that has begun its reading ends. After an error it does not run.
func (s *streams) take(object string, p *process) (err error) {
	p.pipes, s.pipes = s.pipes, [2]*os.File{}
	if p.rec.Launch.Terminal == nil {
		return nil
	}
	if p.pipes[0], err = p.open(0); err == nil {
		return nil
	}
	p.control(func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
	p.wait()
	p.close()
	kind := structs.Invalid // it will be the same the next time
	if short(err) {
		kind = structs.Unavailable
	}
	return structs.Errorf(kind, object, "take over its terminal: %w", err).
		Advise("terminals of tasks need Linux 5.6, and the right to trace processes")
}

func (s *streams) close() {
	for _, fd := range s.theirs {
		unix.Close(fd)
	}
	for _, f := range s.pipes {
		if f != nil {
			f.Close()
		}
	}
	if s.console != "" {
		os.Remove(s.console)
	}
}

// terminal prepares a task on a terminal. The program's own streams are nothing then; of a container it is a socket that the stage
// listens on, for the runtime makes the terminal.
func (h *host) terminal(object string, l *exec.Launch, plan *stage.Plan) error {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return structs.Errorf(structs.Exhausted, object, "open %s: %w", os.DevNull, err)
	}
	plan.TTY, plan.Rows, plan.Columns = true, l.Terminal.Rows, l.Terminal.Cols
	plan.Stdout, plan.Stderr, plan.KeepOut, plan.KeepErr = null, null, null, null
	if l.Console == "" {
		plan.Env = withTerm(plan.Env)
		return nil
	}
	if plan.KeepOut, err = listenConsole(l.Console); err != nil {
		unix.Close(null)
		return structs.Errorf(structs.Unavailable, object, "listen for its terminal: %w", err)
	}
	return nil
}

// listenConsole listens on a new socket of a path, which may be longer than an address.
func listenConsole(path string) (fd int, err error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, err
	}
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))}); err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// withTerm adds what programs on a terminal look for, unless the task says it.
func withTerm(env []string) []string {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		return env
	}
	return append(env[:len(env):len(env)], "TERM=xterm-256color")
}

// filesOf opens the files that belong over those of the task's root, of which the starter has the pattern. One that is not there stays
// away: the root is not the task's alone, and nothing is made in it.
func filesOf(l *exec.Launch, starter int) (files []stage.Bind, err error) {
	if !l.Full || len(l.Files) == 0 {
		return nil, nil
	}
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", starter), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "task "+l.ID, "open the root of tasks: %w", err)
	}
	defer unix.Close(root)
	for _, m := range l.Files {
		at, err := unix.Openat2(root, m.Target, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if err != nil {
			continue
		}
		unix.Close(at)
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return files, structs.Errorf(structs.Unavailable, "task "+l.ID, "mount %s: %w", m.Source, err)
		}
		files = append(files, stage.Bind{FD: fd, Target: m.Target})
		if m.ReadOnly {
			err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		}
		if err != nil {
			return files, structs.Errorf(structs.Unavailable, "task "+l.ID, "mount %s: %w", m.Source, err)
		}
	}
	return files, nil
}

// openNetns opens the network namespace that a task or a command in it joins, for a plan. The file is nil when it is the host's, and
// that of a container is joined by its runtime.
func openNetns(object string, l *exec.Launch, plan *stage.Plan) (*os.File, error) {
	if l.Netns == "" || l.Container != "" {
		return nil, nil
	}
	f, err := os.Open(l.Netns)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, object, "join its network: %w", err)
	}
	plan.Netns = int(f.Fd())
	return f, nil
}

// shared are namespaces that tasks share, open for a start.
type shared []*os.File

func (s shared) close() {
	for _, f := range s {
		f.Close()
	}
}

// joinShared opens those that a task or a command in it joins, for a plan.
func joinShared(object string, l *exec.Launch, plan *stage.Plan) (s shared, err error) {
	for _, x := range []struct {
		path, what string
		to         *int
	}{{l.Pidns, "processes", &plan.Pidns}, {l.Ipcns, "shared memory", &plan.Ipcns}} {
		if x.path == "" || l.Container != "" { // whose runtime does it
			continue
		}
		f, err := os.Open(x.path)
		if err != nil {
			s.close()
			return nil, structs.Errorf(structs.Unavailable, object, "join the %s of its allocation: %w", x.what, err)
		}
		s, *x.to = append(s, f), int(f.Fd())
	}
	return s, nil
}

// plan has what a task and a command in it have in common.
func (h *host) plan(rec *record) (*stage.Plan, error) {
	l := rec.Launch
	p := &stage.Plan{
		Full: l.Full, SetIDs: h.root, UID: l.UID, GID: l.GID, Groups: l.Groups, Env: l.Env, Host: l.Host,
		Dir: "/local", Stdin: -1, Stdout: -1, Stderr: -1, KeepOut: -1, KeepErr: -1, Cgroup: -1, PidFD: -1, Netns: -1,
		SharedPID: l.SharedPID, SharedIPC: l.SharedIPC, Pidns: -1, Ipcns: -1,
	}
	switch {
	case l.Container != "":
		p.Dir = "/"
	case !l.Full:
		p.Dir = filepath.Join(l.TaskDir, "local")
	}
	for _, r := range l.Rlimits {
		p.Rlimits = append(p.Rlimits, stage.Rlimit{Resource: uint64(r.Resource), Soft: r.Soft, Hard: r.Hard})
	}
	for _, name := range l.Caps {
		if n, ok := exec.Capability(name); ok {
			p.Caps |= 1 << n
		}
	}
	if l.Full && !l.Unconfined {
		var err error
		if p.Filter, err = h.filter(l, p.Caps); err != nil {
			return nil, structs.Errorf(structs.Unavailable, "task "+l.ID, "%w", err)
		}
	}
	return p, nil
}

// entry is that of a task, or of a command with a group of its own in it.
func (h *host) entry(rec *record, command *cgroup.Group) (cgroup.Entry, error) {
	switch {
	case rec.Cgroup == "" || h.cgroup == nil:
		return cgroup.Entry{Dir: -1}, nil
	case rec.Launch.Container != "": // a runtime and its commands are not the container's, but where only its children are taken there
		if !rec.Launch.Guarded {
			return cgroup.Entry{Dir: -1}, nil
		}
		return h.cgroup.EntryUnified(rec.Cgroup)
	case command != nil:
		return command.Entry()
	}
	return h.group(rec).Entry()
}

// clear says in words what a stage could not do.
func (h *host) clear(object string, rec *record, err error) error {
	var f *stage.Failure
	if !errors.As(err, &f) {
		return err
	}
	where := "on this host"
	if rec.Launch.Full {
		where = "in the task's root"
	}
	kind, why, do := structs.Unavailable, "cannot be prepared: "+f.Error(), ""
	switch {
	case f.Step == "runtime" && object == "exec": // why is in its output
		return structs.Errorf(structs.Unavailable, object, "%s ended with %d before the command ran", filepath.Base(rec.Launch.Program), int(f.Errno))
	case f.Step == "runtime": // why is in its own log
		return structs.Errorf(structs.Unavailable, object, "%s ended with %d before the container ran", filepath.Base(rec.Launch.Program), int(f.Errno))
	case f.Step == "exec" && (f.Errno == unix.ENOENT || f.Errno == unix.ENOTDIR):
		kind, why = structs.Invalid, fmt.Sprintf("program %q not found %s", f.What, where)
		do = "give a path that exists there, or a name that is in PATH; files of the job are below /local"
		if !rec.Launch.Full {
			do = "give a path that exists on the node, or a name that is in PATH"
		}
	case f.Step == "exec" && f.Errno == unix.EACCES:
		kind, why = structs.Invalid, fmt.Sprintf("program %q may not be executed by uid %d", f.What, rec.Launch.UID)
		do = "check its mode and that of the folders above it"
	case f.Step == "exec" && f.Errno == unix.ENOEXEC:
		kind, why = structs.Invalid, fmt.Sprintf("program %q is not executable here", f.What)
		do = "a script needs a first line such as #!/bin/sh, a binary must be of this architecture"
	case f.Step == "exec":
		kind, why = structs.Invalid, fmt.Sprintf("program %q: %v", f.What, f.Errno)
	case f.Step == "interpreter":
		kind, why = structs.Invalid, fmt.Sprintf("the interpreter or loader of program %q is not found %s", f.What, where)
	case f.Step == "make the folder" || f.Step == "move_mount":
		kind, why = structs.Invalid, fmt.Sprintf("nothing can be mounted at %s: %v", f.What, f.Errno)
		do = "mount at a folder that is there, or below none of the host's, such as /data"
	case f.Step == "setrlimit" && f.Errno == unix.EPERM:
		kind, why = structs.Forbidden, "its rlimits are above those of the node"+above(rec.Launch.Rlimits)
		do = "lower them, or raise the hard limits that the node's agent is started with (of its service, and fs.nr_open for nofile)"
	case f.Step == "join a cgroup" && f.Errno == unix.EINVAL:
		why = "its cpu cgroup takes no process with real-time scheduling, and the supervisor runs under one"
		do = "start the agent with the normal scheduling policy"
	case f.Step == "change to the folder":
		why, do = fmt.Sprintf("uid %d may not enter %s: %v", rec.Launch.UID, f.What, f.Errno), "check the modes of the folders above it"
	}
	e := structs.Errorf(kind, object, "%s", why)
	e.Err, e.Do = f, do
	if f.Step != "exec" && f.Step != "interpreter" {
		return e
	}
	code := 126
	if f.Errno == unix.ENOENT || f.Errno == unix.ENOTDIR {
		code = 127
	}
	return &drivers.NoProgram{Code: code, Err: e}
}

// above says which limits the supervisor could not give itself without more rights, with what it has.
func above(limits []exec.Rlimit) string {
	var found []string
	for _, l := range limits {
		var own unix.Rlimit
		if err := unix.Getrlimit(l.Resource, &own); err == nil && l.Hard > own.Max {
			found = append(found, fmt.Sprintf("%s %s, the node has %d", exec.RlimitName(l.Resource), limitText(l.Hard), own.Max))
		}
	}
	if found == nil {
		return ""
	}
	return ": " + strings.Join(found, "; ")
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// enter runs a command in a task.
func (h *host) enter(ctx context.Context, t *task, c exec.Command, files []*os.File) (p *process, err error) {
	plan, err := h.plan(t.rec)
	if err != nil {
		return nil, err
	}
	if plan.TTY = c.TTY; c.TTY {
		plan.Env = withTerm(plan.Env)
		// An agent that does not answer holds nobody for ever.
		unix.SetsockoptTimeval(int(files[0].Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
	}
	plan.Stdin, plan.Stdout, plan.Stderr = int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd())
	return h.inside(ctx, t, c, plan, &record{Launch: t.rec.Launch})
}

// detach runs a command in a task that goes on by itself: rec is its record.
func (h *host) detach(ctx context.Context, t *task, rec *record, d *exec.Detach) (p *process, err error) {
	plan, err := h.plan(t.rec)
	if err != nil {
		return nil, err
	}
	plan.Slot, plan.Seq, plan.Fenced = rec.Slot, rec.Seq, rec.Launch.Fenced
	streams, err := h.streams("exec", rec.Launch, plan)
	if err != nil {
		return nil, err
	}
	defer streams.close()
	if p, err = h.inside(ctx, t, d.Command, plan, rec); err != nil {
		return nil, err
	}
	group := p.group
	p.group = nil // it is that of the record
	if err := streams.take("exec", p); err != nil {
		t.proc.commandEnded(group, true)
		return nil, err
	}
	return p, nil
}

// inside runs a command in a task by a plan that has its streams. rec is what its process is of.
func (h *host) inside(ctx context.Context, t *task, c exec.Command, plan *stage.Plan, rec *record) (p *process, err error) {
	plan.Args, plan.Arg0, plan.Env = c.Args, c.Arg0, drivers.Overlay(plan.Env, c.Env)
	if t.rec.Launch.Container != "" {
		plan.Adopt = c.PidFile
	}
	if !t.rec.Launch.Full { // with namespaces of its own it is entered with all of them
		netns, err := openNetns("exec", t.rec.Launch, plan)
		if err != nil {
			return nil, err
		}
		defer netns.Close()
	}
	joined, err := joinShared("exec", t.rec.Launch, plan)
	if err != nil {
		return nil, err
	}
	defer joined.close()
	group, err := h.commandGroup(t, c.Group)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.proc.commandEnded(group, true)
		}
	}()
	entry, err := h.entry(t.rec, group)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "exec", "%w", err)
	}
	defer entry.Close()
	plan.Cgroup, plan.Joins = entry.Dir, entry.Tasks
	var started *stage.Process
	err = t.proc.control(func(fd int) error {
		plan.PidFD = fd
		var err error
		started, err = h.run(kindOf(t.rec.Launch), func(st *stage.Starter) (*stage.Process, error) { return st.Enter(ctx, plan) })
		return err
	})
	if err != nil {
		return nil, h.clear("exec", t.rec, err)
	}
	p = h.process(started, rec)
	p.group = group
	return p, nil
}
