//go:build linux && (amd64 || arm64)

package supervisor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/drivers/exec/stage"
	"github.com/proffer/proffer/structs"
)

// host is what the supervisor uses of Linux: starters, cgroups, pidfds.
type host struct {
	s      *server
	slots  *stage.Slots
	cgroup *cgroup.Layout // nil: tasks are not limited
	root   bool
	feats  exec.Features
	roots  stage.Root
	covers []string

	mu    sync.Mutex
	full  *stage.Starter // in the small namespace; nil when it cannot be
	plain *stage.Starter // for tasks without isolation, made on first use
	timer *os.File       // ends with the lease
}

const selfGroup = "supervisor"

// secrets of a host that a task has no business with, beside the data and configuration folders of the agent.
var secrets = []string{
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd", "/etc/sudoers", "/etc/sudoers.d",
	"/etc/ssh", "/etc/ssl/private", "/etc/pki/tls/private", "/etc/proffer.d", "/etc/krb5.keytab", "/etc/machine-id",
}

func openHost(s *server, fresh bool, given *handover) (*host, error) {
	path := filepath.Join(s.dir, "slots")
	if fresh { // the clock of the lease began anew as well
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	slots, err := stage.OpenSlots(path)
	if err != nil {
		return nil, err
	}
	h := &host{s: s, slots: slots, root: os.Geteuid() == 0}
	h.feats.Root = h.root
	h.roots = stage.DefaultRoot(filepath.Join(s.dir, "root"))
	if len(s.with.hostPaths) > 0 {
		h.roots.Binds = s.with.hostPaths
	}
	h.covers = h.hidden(append(append([]string{s.dir}, secrets...), s.with.hide...))
	if !h.root {
		h.feats.Why, h.feats.Lacks = "isolation needs root", "cgroups need root"
		return h, nil
	}
	sum := fnv.New32a()
	sum.Write([]byte(s.dir))
	if h.cgroup, err = cgroup.Detect(fmt.Sprintf("%s/%08x", s.with.parent, sum.Sum32())); err != nil {
		h.cgroup, h.feats.Lacks = nil, err.Error()
		s.log.Warn("tasks will not be limited", "why", err)
	} else {
		h.feats.Cgroups, h.feats.Lacks = h.cgroup.Version, h.cgroup.Missing()
		if err := h.cgroup.MoveSelf(selfGroup); err != nil {
			s.log.Warn("the supervisor stays in the service's cgroup: a service manager may end it with the agent", "err", err)
		}
		if given != nil && given.Base != "" && given.Base != h.cgroup.Base() {
			h.cgroup.Prune(given.Base, selfGroup)
		}
	}
	if err := os.MkdirAll(h.roots.Mount, 0o700); err != nil {
		slots.Close()
		return nil, err
	}
	if h.full, err = h.spawn(&h.roots); err != nil {
		h.feats.Why = err.Error()
		s.log.Warn("no isolation", "why", err)
	}
	h.feats.Full = h.full != nil
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0); err != nil {
		s.log.Info("the supervisor is not protected from the OOM killer", "why", err)
	}
	return h, nil
}

// hidden keeps of paths those that a task would see.
func (h *host) hidden(paths []string) []string {
	var list []string
	for _, p := range paths {
		if to, err := filepath.EvalSymlinks(p); err == nil {
			p = to
		}
		for _, b := range h.roots.Binds {
			if strings.HasPrefix(p+"/", b+"/") {
				list = append(list, p)
				break
			}
		}
	}
	return list
}

// spawn starts a starter that is as likely an OOM victim as any process; the supervisor itself may be protected.
func (h *host) spawn(root *stage.Root) (*stage.Starter, error) {
	st, err := stage.Spawn(h.slots, root)
	if err == nil {
		os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", st.PID()), []byte("0"), 0)
	}
	return st, err
}

// starter returns the one for a kind of task, a new one when the last one broke.
func (h *host) starter(full bool, broken *stage.Starter) (*stage.Starter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, root := &h.plain, (*stage.Root)(nil)
	if full {
		if at, root = &h.full, &h.roots; !h.feats.Full {
			return nil, structs.Errorf(structs.Unavailable, "isolation", "it is not possible here: %s", h.feats.Why)
		}
	}
	if *at != nil && *at == broken {
		broken.Close()
		*at = nil
	}
	if *at == nil {
		st, err := h.spawn(root)
		if err != nil {
			return nil, err
		}
		*at = st
	}
	return *at, nil
}

// run hands a plan to a starter, twice when the first one had died.
func (h *host) run(full bool, do func(*stage.Starter) (*stage.Process, error)) (*stage.Process, error) {
	var broken *stage.Starter
	for {
		st, err := h.starter(full, broken)
		if err != nil {
			return nil, err
		}
		p, err := do(st)
		if err == nil || !errors.Is(err, stage.ErrStarter) || broken != nil {
			return p, err
		}
		broken = st
	}
}

func (h *host) features() *exec.Features {
	f := h.feats
	return &f
}

func (h *host) cgroupPath(seq uint64) string {
	if h.cgroup == nil {
		return ""
	}
	return h.cgroup.Path("t" + strconv.FormatUint(seq, 36))
}

func (h *host) lease() time.Duration { return h.slots.Lease() }

// start starts the program of a record. out and errs are the reading ends of its pipes.
func (h *host) start(ctx context.Context, rec *record) (p *process, out, errs *os.File, err error) {
	l := rec.Launch
	object := "task " + l.ID
	plan := h.plan(rec)
	plan.Slot, plan.Seq, plan.Fenced = rec.Slot, rec.Seq, l.Fenced
	plan.Args = append([]string{l.Program}, l.Args...)
	plan.Network = l.Network
	var close []int
	defer func() {
		for _, fd := range close {
			unix.Close(fd)
		}
		if err != nil {
			for _, f := range []*os.File{out, errs} {
				if f != nil {
					f.Close()
				}
			}
		}
	}()
	if rec.Cgroup != "" {
		group, failed := h.cgroup.Create(rec.Cgroup, cgroup.Limits{CPU: l.CPU, CPULimit: l.CPULimit, Memory: l.Memory, Pids: l.Pids})
		if failed != nil {
			return nil, nil, nil, structs.Errorf(structs.Unavailable, object, "make its cgroup: %w", failed)
		}
		defer func() {
			if err != nil {
				group.Kill()
				group.Remove()
			}
		}()
	}
	entry, err := h.entry(rec)
	if err != nil {
		return nil, nil, nil, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	defer entry.Close()
	plan.Cgroup, plan.Joins = entry.Dir, entry.Tasks
	if l.Full {
		plan.Covers = h.covers
		for _, b := range []struct{ from, to string }{
			{filepath.Join(l.TaskDir, "local"), "/local"}, {filepath.Join(l.TaskDir, "secrets"), "/secrets"},
			{l.AllocDir, "/alloc"}, {filepath.Join(l.TaskDir, "tmp"), "/tmp"},
		} {
			fd, err := unix.OpenTree(unix.AT_FDCWD, b.from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
			if err != nil {
				return nil, nil, nil, structs.Errorf(structs.Unavailable, object, "mount %s: %w", b.from, err)
			}
			close = append(close, fd)
			plan.Binds = append(plan.Binds, stage.Bind{FD: fd, Target: b.to})
		}
	}
	for i, to := range []**os.File{&out, &errs} {
		var pair [2]int
		if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, nil, structs.Errorf(structs.Exhausted, object, "make a pipe: %w", err)
		}
		close = append(close, pair[1])
		unix.SetNonblock(pair[0], true)
		*to = os.NewFile(uintptr(pair[0]), "output")
		if i == 0 {
			plan.KeepOut, plan.Stdout = pair[0], pair[1]
		} else {
			plan.KeepErr, plan.Stderr = pair[0], pair[1]
		}
	}
	started, err := h.run(l.Full, func(st *stage.Starter) (*stage.Process, error) { return st.Start(ctx, plan) })
	if err != nil {
		return nil, nil, nil, h.clear(object, rec, err)
	}
	return h.process(started, rec), out, errs, nil
}

// plan has what a task and a command in it have in common.
func (h *host) plan(rec *record) *stage.Plan {
	l := rec.Launch
	p := &stage.Plan{
		Full: l.Full, SetIDs: h.root, UID: l.UID, GID: l.GID, Groups: l.Groups, Env: l.Env, Host: l.Host,
		Dir: "/local", Stdin: -1, Stdout: -1, Stderr: -1, KeepOut: -1, KeepErr: -1, Cgroup: -1, PidFD: -1,
	}
	if !l.Full {
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
	return p
}

func (h *host) entry(rec *record) (cgroup.Entry, error) {
	if rec.Cgroup == "" || h.cgroup == nil {
		return cgroup.Entry{Dir: -1}, nil
	}
	return h.cgroup.Open(rec.Cgroup).Entry()
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
	case f.Step == "setrlimit" && f.Errno == unix.EPERM:
		why, do = "a limit is above what the agent itself has", "lower it, or raise the agent's own hard limit"
	case f.Step == "join a cgroup" && f.Errno == unix.EINVAL:
		why = "its cpu cgroup takes no process with real-time scheduling, and the supervisor runs under one"
		do = "start the agent with the normal scheduling policy"
	case f.Step == "change to the folder":
		why, do = fmt.Sprintf("uid %d may not enter %s: %v", rec.Launch.UID, f.What, f.Errno), "check the modes of the folders above it"
	}
	e := structs.Errorf(kind, object, "%s", why)
	e.Err, e.Do = f, do
	return e
}

// enter runs a command in a task.
func (h *host) enter(ctx context.Context, t *task, args []string, tty bool, files []*os.File) (*process, error) {
	plan := h.plan(t.rec)
	plan.Args, plan.TTY = args, tty
	if tty && !slices.ContainsFunc(plan.Env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		plan.Env = append(plan.Env[:len(plan.Env):len(plan.Env)], "TERM=xterm-256color")
	}
	if tty { // an agent that does not answer holds nobody for ever
		unix.SetsockoptTimeval(int(files[0].Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60})
	}
	plan.Stdin, plan.Stdout, plan.Stderr = int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd())
	entry, err := h.entry(t.rec)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "exec", "%w", err)
	}
	defer entry.Close()
	plan.Cgroup, plan.Joins = entry.Dir, entry.Tasks
	var started *stage.Process
	err = t.proc.control(func(fd int) error {
		plan.PidFD = fd
		var err error
		started, err = h.run(t.rec.Launch.Full, func(st *stage.Starter) (*stage.Process, error) { return st.Enter(ctx, plan) })
		return err
	})
	if err == nil {
		return h.process(started, &record{Launch: t.rec.Launch}), nil
	}
	err = h.clear("exec", t.rec, err)
	var f *stage.Failure
	if errors.As(err, &f) && (f.Step == "exec" || f.Step == "interpreter") {
		code := 126
		if f.Errno == unix.ENOENT || f.Errno == unix.ENOTDIR {
			code = 127
		}
		return nil, &notFound{code, structs.AsError(err)}
	}
	return nil, err
}

// process is a stage that runs. Its methods may be called from any goroutine.
type process struct {
	h        *host
	rec      *record
	pid      int
	pidfd    *os.File // in the poller
	out, err *os.File // owned by the pumps until they end
}

func (h *host) process(p *stage.Process, rec *record) *process {
	return &process{h: h, rec: rec, pid: p.PID, pidfd: os.NewFile(uintptr(p.PidFD), "pidfd")}
}

// control calls f with the pidfd; it fails once the process was closed.
func (p *process) control(f func(fd int) error) error {
	c, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return structs.Errorf(structs.Conflict, "task", "it has ended")
	}
	return inner
}

// close frees the descriptors after the process ended.
func (p *process) close() {
	p.pidfd.Close()
	for _, f := range []*os.File{p.out, p.err} {
		if f != nil {
			f.Close()
		}
	}
}

// wait returns when the process has ended, and reaps it when it is our child.
func (p *process) wait() outcome {
	var o outcome
	c, err := p.pidfd.SyscallConn()
	if err != nil {
		return outcome{lost: true}
	}
	if err := c.Read(func(fd uintptr) bool {
		var done bool
		o, done = p.poll(int(fd))
		return done
	}); err != nil {
		return outcome{lost: true}
	}
	if p.rec.Slot == 0 {
		return o
	}
	if slot := p.h.slots.Read(p.rec.Slot); slot.Seq == p.rec.Seq && slot.State == stage.Ended {
		return slotOutcome(slot)
	}
	return o
}

func slotOutcome(slot stage.Slot) outcome {
	o := outcome{code: slot.Status.ExitStatus(), fence: slot.Flags&stage.ByFence != 0}
	if slot.Status.Signaled() {
		o.code, o.signal = 0, int(slot.Status.Signal())
	}
	return o
}

func (p *process) poll(fd int) (outcome, bool) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(ready, 0); n <= 0 {
		return outcome{}, false
	}
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD): // adopted from a supervisor that died
			return exitOf(fd), true
		case err != nil:
			return outcome{lost: true}, true
		case info.Signo == 0:
			return outcome{}, false
		}
		status := int((*[8]int32)(unsafe.Pointer(&info))[6])
		if info.Code == 1 { // CLD_EXITED
			return outcome{code: status}, true
		}
		return outcome{signal: status}, true
	}
}

// exitOf asks the kernel how a process that is not our child ended: Linux 6.15 and later know.
func exitOf(fd int) outcome {
	info := [64]byte{}
	const wantExit = 1 << 3
	binary.NativeEndian.PutUint64(info[:], wantExit)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xC040FF0B /* PIDFD_GET_INFO */, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || binary.NativeEndian.Uint64(info[:])&wantExit == 0 {
		return outcome{lost: true}
	}
	status := unix.WaitStatus(binary.NativeEndian.Uint32(info[60:]))
	if status.Signaled() {
		return outcome{signal: int(status.Signal())}
	}
	return outcome{code: status.ExitStatus()}
}

// birth is the start time of the process, in clock ticks since boot.
func (p *process) birth() uint64 { return birthOf(p.pid) }

func birthOf(pid int) uint64 {
	f := statFields(pid)
	if len(f) < 20 {
		return 0
	}
	n, _ := strconv.ParseUint(f[19], 10, 64)
	return n
}

// statFields are those of /proc/PID/stat behind the name: [0] is the state, field 3.
func statFields(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')'):]), " ")
	return strings.Fields(rest)
}

// signal sends a signal to the program.
func (h *host) signal(p *process, sig int) error {
	err := p.control(func(fd int) error { return stage.Forward(fd, sig) })
	if errors.Is(err, unix.ESRCH) {
		return structs.Errorf(structs.Conflict, "task "+p.rec.Launch.ID, "it has ended")
	}
	return err
}

func (h *host) killCommand(p *process) { p.control(func(fd int) error { return stage.Forward(fd, 0) }) }

// kill ends everything of a task.
func (h *host) kill(t *task) {
	sigkill := func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }
	if t.rec.Launch.Full { // the kernel kills its PID namespace
		t.proc.control(sigkill)
		return
	}
	t.proc.control(func(fd int) error { return stage.Forward(fd, 0) })
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	select {
	case <-t.ended:
	case <-timer.C: // the stage is stopped, or fights a fork bomb
		if t.rec.Cgroup != "" {
			h.cgroup.Open(t.rec.Cgroup).Kill()
		}
		t.proc.control(sigkill)
	}
}

func (h *host) oomKills(rec *record) int {
	if rec.Cgroup == "" || h.cgroup == nil {
		return 0
	}
	return h.cgroup.Open(rec.Cgroup).OOMKills()
}

// clean removes the cgroup of an ended task.
func (h *host) clean(rec *record) error {
	if rec.Cgroup == "" || h.cgroup == nil {
		return nil
	}
	g := h.cgroup.Open(rec.Cgroup)
	if base := filepath.Dir(rec.Cgroup); base != h.cgroup.Base() { // it was another one when the task began
		defer h.cgroup.Prune(base, selfGroup)
	}
	// The kernel emptied the PID namespace of an isolated task before its stage could be waited for. Listing a group to see
	// that it is empty costs more than to remove it.
	if rec.Launch.Full && g.TryRemove() {
		return nil
	}
	if err := g.Kill(); err != nil {
		return err
	}
	return g.Remove()
}

// adopt finds the process of a record, or says why there is none.
func (h *host) adopt(rec *record, given *handover) (p *process, out, errs *os.File, exit drivers.Exit) {
	slot := h.slots.Read(rec.Slot)
	if slot.Seq != rec.Seq {
		slot = stage.Slot{}
	}
	gone := drivers.Exit{Code: -1, Why: "it ended while no supervisor ran, and nothing wrote down how"}
	if slot.State == stage.Ended {
		o := slotOutcome(slot)
		gone = o.exit()
		if o.fence {
			gone.Why = "the node's lease ended, and the task may only run under one"
		}
	}
	if g := given.task(rec.Seq); g != nil {
		return h.process(&stage.Process{PID: rec.PID, PidFD: g.PidFD}, rec), handed(g.Out), handed(g.Err), exit
	}
	if rec.PID == 0 {
		// It died between our intent and the answer. Nobody was told that the task runs, so it must not.
		if !rec.Launch.Full && slot.State == stage.Running {
			if fd, err := unix.PidfdOpen(int(slot.PID), 0); err == nil {
				if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", slot.PID)); string(name) == "proffer-task\n" {
					stage.Forward(fd, 0)
				}
				unix.Close(fd)
			}
		}
		if rec.Cgroup != "" && h.cgroup != nil {
			h.cgroup.Open(rec.Cgroup).Kill()
		}
		return nil, nil, nil, drivers.Exit{Code: -1, Why: "the supervisor ended while it started this task"}
	}
	fd, err := unix.PidfdOpen(rec.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, nil, nil, gone
	}
	if birthOf(rec.PID) != rec.Birth {
		unix.Close(fd)
		return nil, nil, nil, gone
	}
	for i, to := range []**os.File{&out, &errs} {
		path := fmt.Sprintf("/proc/%d/fd/%d", rec.PID, []int{stage.KeptStdout, stage.KeptStderr}[i])
		if n, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			*to = os.NewFile(uintptr(n), "output")
		} else if slot.State != stage.Ended {
			h.s.log.Error("the output of a task cannot be taken over", "task", rec.Launch.ID, "err", err)
		}
	}
	return h.process(&stage.Process{PID: rec.PID, PidFD: fd}, rec), out, errs, exit
}

// handed makes a file of a descriptor that came through an exec.
func handed(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "output")
}

// sweep removes cgroups that no record names, of a supervisor that died at the wrong moment.
func (h *host) sweep(live map[uint64]*record) {
	if h.cgroup == nil {
		return
	}
	known := map[string]bool{h.cgroup.Path(selfGroup): true}
	for _, rec := range live {
		known[rec.Cgroup] = true
	}
	for _, path := range h.cgroup.List() {
		if !known[path] {
			g := h.cgroup.Open(path)
			if err := errors.Join(g.Kill(), g.Remove()); err != nil {
				h.s.log.Warn("a cgroup is left over", "path", path, "err", err)
			}
		}
	}
}

func (h *host) renew(until time.Duration) error {
	if err := h.slots.SetLease(until); err != nil {
		return structs.Errorf(structs.Exhausted, h.s.dir, "write down the lease: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer == nil {
		return nil
	}
	c, err := h.timer.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = c.Control(func(fd uintptr) { inner = setTimer(int(fd), until) })
	return errors.Join(err, inner)
}

func setTimer(fd int, until time.Duration) error {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(until))}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &at, nil)
}

// watchLease calls ended when the lease has ended, until stop.
func (h *host) watchLease(ended func()) (stop func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		h.s.log.Error("only the stages hold the lease's end", "err", err)
		return func() {}
	}
	timer := os.NewFile(uintptr(fd), "lease")
	h.mu.Lock()
	h.timer = timer
	h.mu.Unlock()
	if until := h.lease(); until > 0 {
		setTimer(fd, until)
	}
	var w sync.WaitGroup
	w.Go(func() {
		for b := make([]byte, 8); ; {
			if _, err := timer.Read(b); err != nil {
				return
			}
			ended()
		}
	})
	return func() {
		timer.Close()
		w.Wait()
	}
}

func (h *host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range []*stage.Starter{h.full, h.plain} {
		if st != nil {
			st.Close()
		}
	}
	h.slots.Close()
	if h.cgroup != nil {
		h.cgroup.Leave(selfGroup)
	}
}

func (h *host) stats(rec *record) (*drivers.Stats, error) {
	if rec.Exit != nil {
		return nil, structs.Errorf(structs.Conflict, "task "+rec.Launch.ID, "it has ended")
	}
	st := &drivers.Stats{Time: structs.At(time.Now())}
	if rec.Cgroup == "" || h.cgroup == nil {
		walk(rec.PID, st)
		return st, nil
	}
	u := h.cgroup.Open(rec.Cgroup).Usage()
	st.CPUTime, st.Throttled = structs.Duration(u.CPU), structs.Duration(u.Throttled)
	st.Memory, st.MemoryMax, st.Limit, st.OOMKills, st.Pids = u.Memory, u.Peak, u.Limit, u.OOMKills, u.Pids
	return st, nil
}

// walk adds up a process and its descendants: what there is without cgroups.
func walk(pid int, st *drivers.Stats) {
	f := statFields(pid)
	if len(f) < 22 {
		return
	}
	const tick = int64(time.Second) / 100 // USER_HZ
	for _, i := range []int{11, 12, 13, 14} {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		st.CPUTime += structs.Duration(n * tick)
	}
	rss, _ := strconv.ParseInt(f[21], 10, 64)
	st.Memory += structs.Bytes(rss * int64(os.Getpagesize()))
	st.MemoryMax = max(st.MemoryMax, st.Memory)
	st.Pids++
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for child := range strings.FieldsSeq(string(raw)) {
		if n, err := strconv.Atoi(child); err == nil {
			walk(n, st)
		}
	}
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// Now returns the time since boot, suspended time included: the clock of Renew.
func Now() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
