package exec

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/structs"
)

// defaultPids bounds the processes and threads of a task that does not say pids itself, so that a fork bomb stays its own.
const defaultPids = 4096

// Options are the node's configuration of the driver.
type Options struct {
	AllowNone bool // tasks may ask for isolation = "none"
	// AllowUnconfined lets tasks ask for seccomp = "unconfined".
	AllowUnconfined bool
	Profiles        *seccomp.Profiles // that tasks may name; nil: none
	HostNamespaces  []string          // "pid" and "ipc": namespaces of the node that tasks may ask for
	// DefaultNone runs tasks that do not ask for an isolation without it where full isolation is impossible: a dev agent
	// without root. It implies AllowNone.
	DefaultNone bool
	Logger      *slog.Logger
}

// Driver runs programs in isolation. It implements drivers.Driver.
type Driver struct {
	sup   Supervisor
	opts  Options
	users users
}

var (
	_ drivers.Driver     = (*Driver)(nil)
	_ drivers.PortKeeper = (*Driver)(nil)
)

// New makes the driver over the node's supervisor.
func New(sup Supervisor, opts Options) *Driver {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.AllowNone = opts.AllowNone || opts.DefaultNone
	return &Driver{sup: sup, opts: opts}
}

// Name is "exec".
func (d *Driver) Name() string { return "exec" }

// Validate checks a task's config. It needs no node: (*Driver)(nil).Validate works.
func (d *Driver) Validate(object string, config map[string]any) error {
	_, err := parse(object, config)
	return err
}

// Fingerprint asks the supervisor what the host can do.
func (d *Driver) Fingerprint(ctx context.Context) *structs.Driver {
	f, err := d.sup.Features(ctx)
	if err != nil {
		return &structs.Driver{Why: err.Error()}
	}
	attrs := map[string]string{
		"isolation.full":     strconv.FormatBool(f.Full),
		"isolation.none":     strconv.FormatBool(d.opts.AllowNone),
		"seccomp.unconfined": strconv.FormatBool(d.opts.AllowUnconfined),
		"namespaces.host":    strings.Join(slices.Sorted(slices.Values(d.opts.HostNamespaces)), ","),
	}
	if f.Cgroups > 0 {
		attrs["cgroups"] = strconv.Itoa(f.Cgroups)
	}
	d.opts.Profiles.Tell(attrs)
	Exclusive(f, attrs)
	if f.Lacks != "" {
		attrs["limits.missing"] = f.Lacks
	}
	if !f.Full {
		attrs["isolation.missing"] = f.Why
		if !d.opts.AllowNone {
			return &structs.Driver{Why: "isolated tasks cannot be started here: " + f.Why, Attributes: attrs}
		}
	}
	return &structs.Driver{Healthy: true, Attributes: attrs}
}

// Start starts a task and returns once its program runs.
func (d *Driver) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	launch, err := d.launch(ctx, spec)
	if err != nil {
		return nil, err
	}
	if _, err := d.sup.Start(ctx, launch); err != nil {
		return nil, err
	}
	return d.task(spec), nil
}

// Recover finds a task by the ID of its spec; it needs no handle.
func (d *Driver) Recover(ctx context.Context, spec *drivers.Spec, handle []byte) (drivers.Task, error) {
	if _, err := d.sup.Status(ctx, spec.ID); err != nil {
		return nil, err
	}
	return d.task(spec), nil
}

// launch resolves everything that the supervisor needs.
func (d *Driver) launch(ctx context.Context, spec *drivers.Spec) (*Launch, error) {
	object := "task " + spec.ID
	c, err := parse(object+".config", spec.Task.Config)
	if err != nil {
		return nil, err
	}
	full, err := d.isolation(ctx, object, c)
	if err != nil {
		return nil, err
	}
	if len(spec.Devices) > 0 && !full {
		return nil, structs.Errorf(structs.Invalid, object, `devices are for tasks with isolation = "full"`)
	}
	filter, err := d.filter(object, c)
	if err != nil {
		return nil, err
	}
	l := &Launch{
		ID: spec.ID, Program: c.command, Args: c.args, Arg0: c.arg0, Env: spec.Env, Full: full, Network: c.network == networkNone,
		Caps: c.capAdd, Rlimits: c.rlimits, AllocDir: spec.AllocDir, TaskDir: spec.TaskDir, LogDir: spec.LogDir,
		LogName: spec.Task.Name, CPU: spec.CPU, CPULimit: spec.CPULimit, Memory: max(spec.Memory, spec.MemoryMax),
		Pids: defaultPids, Fenced: spec.Fence != nil, Unconfined: c.seccomp == structs.SeccompUnconfined, Filter: filter, Devices: spec.Devices, Cores: spec.Cores, IO: spec.IO,
		Terminal: spec.Terminal, Ports: spec.Ports,
	}
	if !l.Network {
		l.Netns, l.Files = spec.Netns, spec.Files
	}
	l.Guarded = !l.Network && l.Netns == ""
	if l.Mounts, l.Tmpfs = spec.Mounts, spec.Task.Tmpfs; !full && len(l.Mounts)+len(l.Tmpfs) > 0 {
		return nil, structs.Errorf(structs.Forbidden, object, `nothing can be mounted with isolation = "none"`)
	}
	if err := d.namespaces(ctx, object, c, spec, l); err != nil {
		return nil, err
	}
	if spec.Revocable { // as little as can be said: it has the cores that nobody else wants
		l.CPU, l.Revocable = 1, true
	}
	if full {
		l.Root = c.root
	} else if c.root != "" {
		return nil, structs.Errorf(structs.Unavailable, object, "it has a root of its own, and this node cannot isolate tasks").Advise("run the agent as root")
	}
	if c.pids > 0 {
		l.Pids = c.pids
	}
	if l.Host, err = os.Hostname(); err != nil || len(l.Host) > 63 {
		l.Host = "proffer"
	}
	if spec.Hostname != "" {
		l.Host = spec.Hostname
	}
	if logs := spec.Task.Logs; logs != nil {
		l.LogFiles, l.LogFileSize, l.LogAge = logs.MaxFiles, logs.MaxFileSize, logs.MaxAge.Std()
	}
	who, err := d.users.find(object, spec.User)
	if err != nil {
		return nil, err
	}
	l.UID, l.GID, l.Groups = who.uid, who.gid, who.groups
	return l, spec.MakeFolders(int(l.UID), int(l.GID))
}

// namespaces puts the task into those that it shares. Without isolation it shares all of them with the node.
func (d *Driver) namespaces(ctx context.Context, object string, c *config, spec *drivers.Spec, l *Launch) (err error) {
	with := c.with
	err = drivers.AllowHost(object, structs.PIDModeKey, with.PID, d.opts.HostNamespaces)
	if err == nil {
		err = drivers.AllowHost(object, structs.IPCModeKey, with.IPC, d.opts.HostNamespaces)
	}
	if err != nil || !l.Full {
		return err
	}
	l.SharedPID, l.SharedIPC = !with.OwnPID(), !with.OwnIPC()
	if l.Pidns, err = drivers.Joined(object, structs.PIDModeKey, with.PID, spec.Pidns); err != nil {
		return err
	}
	if l.Ipcns, err = drivers.Joined(object, structs.IPCModeKey, with.IPC, spec.Ipcns); err != nil {
		return err
	}
	switch own := func(f *structs.Tmpfs) bool { return f.Destination == structs.SharedMemory }; {
	case with.IPC == structs.NamespaceHost:
		l.Mounts = append(slices.Clip(l.Mounts), drivers.Mount{Source: structs.SharedMemory, Target: structs.SharedMemory})
	case with.OwnIPC() && with.Shm != structs.DefaultShmSize && !slices.ContainsFunc(l.Tmpfs, own):
		l.Tmpfs = append(slices.Clip(l.Tmpfs), &structs.Tmpfs{Destination: structs.SharedMemory, Size: with.Shm})
	}
	if !l.SharedPID && !l.SharedIPC {
		return nil
	}
	f, err := d.sup.Features(ctx)
	switch {
	case err != nil:
		return structs.Errorf(structs.Unavailable, object, "%w", err)
	case !f.Shares:
		return structs.Errorf(structs.Unavailable, object, "the supervisor that runs is older than the agent and knows no namespaces that tasks share").
			Advise("restart the agent, which replaces it; the log of the agent says why it could not")
	case l.SharedPID && f.Cgroups == 0:
		return structs.Errorf(structs.Unavailable, object, "tasks that share processes need cgroups, by which they are ended: %s", f.Lacks)
	}
	return nil
}

// filter is the program that a profile of the node makes; nil: the task names none.
func (d *Driver) filter(object string, c *config) ([]byte, error) {
	switch c.seccomp {
	case structs.SeccompDefault:
		return nil, nil
	case structs.SeccompUnconfined:
		if !d.opts.AllowUnconfined {
			return nil, drivers.Unconfined(object)
		}
		return nil, nil
	}
	profile, err := d.opts.Profiles.Find(object, c.seccomp)
	if err != nil {
		return nil, err
	}
	program, err := profile.Program(FullNames(c.capAdd))
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, object+".config.seccomp", "profile %q with these capabilities: %w", c.seccomp, err)
	}
	return program, nil
}

// KeepOff has the supervisor keep the tasks of this driver, and all others of its own, off cores that some have for themselves.
func (d *Driver) KeepOff(ctx context.Context, taken, _ []int) error { return d.sup.KeepOff(ctx, taken) }

// GivePorts has the supervisor keep other ports for an allocation than those that its tasks were started with.
func (d *Driver) GivePorts(ctx context.Context, alloc structs.AllocID, ports []structs.AssignedPort) error {
	return d.sup.GivePorts(ctx, alloc, ports)
}

// isolation decides between full and none.
func (d *Driver) isolation(ctx context.Context, object string, c *config) (full bool, err error) {
	if c.isolation == isolationNone {
		if !d.opts.AllowNone {
			return false, structs.Errorf(structs.Forbidden, object, `this node does not allow isolation = "none"`).
				Advise("leave it out, or allow it in the node's configuration of the exec driver")
		}
		return false, nil
	}
	if c.isolation == "" && d.opts.DefaultNone {
		f, err := d.sup.Features(ctx)
		if err != nil {
			return false, err
		}
		return f.Full, nil
	}
	return true, nil // the supervisor says why not when it cannot
}

// hostHasIDs reports whether user ids mean anything here and may be changed.
func hostHasIDs() bool { return runtime.GOOS != "windows" && os.Geteuid() == 0 }
