package exec

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// task is the driver's view of a task of the supervisor. It implements drivers.Task.
type task struct {
	sup Supervisor
	id  string

	mu    sync.Mutex
	at    structs.Time // of the last Stats
	spent structs.Duration
	peak  structs.Bytes
}

func (d *Driver) task(spec *drivers.Spec) *task { return &task{sup: d.sup, id: spec.ID} }

// Supervised is a task of the supervisor that another driver has started. The commands of its Exec are run beside its program.
func Supervised(sup Supervisor, id string) drivers.Task { return &task{sup: sup, id: id} }

// Enter runs a command in a task of the supervisor. Of cmd it takes what the command has for its streams.
func Enter(ctx context.Context, sup Supervisor, id string, c Command, cmd drivers.Command) (drivers.Exit, error) {
	return (&task{sup: sup, id: id}).enter(ctx, c, cmd)
}

// CommandGroup is a name for the control group of a command; empty where commands have none.
func CommandGroup(ctx context.Context, sup Supervisor) (string, error) {
	f, err := sup.Features(ctx)
	if err != nil || !f.Commands {
		return "", err
	}
	return "c" + strings.ToLower(rand.Text()[:12]), nil
}

// Handle is empty: the ID is enough.
func (t *task) Handle() []byte { return []byte(t.id) }

func (t *task) Wait(ctx context.Context) (drivers.Exit, error) { return t.sup.Wait(ctx, t.id) }

func (t *task) Stop(ctx context.Context, name string, grace time.Duration) error {
	n, err := localSignal(name)
	if err != nil {
		return err
	}
	return t.sup.Stop(ctx, t.id, n, grace)
}

func (t *task) Signal(ctx context.Context, name string) error {
	n, err := localSignal(name)
	if err != nil {
		return err
	}
	return t.sup.Signal(ctx, t.id, n)
}

func (t *task) Limit(ctx context.Context, to drivers.Limits) error { return t.sup.Limit(ctx, t.id, to) }

func (t *task) Mount(ctx context.Context, m drivers.Mount) error { return t.sup.Mount(ctx, t.id, m) }

func (t *task) Unmount(ctx context.Context, m drivers.Mount) error {
	return t.sup.Unmount(ctx, t.id, m)
}

// Stats fills in CPU from what the task used since the last call; the first one says 0.
func (t *task) Stats(ctx context.Context) (*drivers.Stats, error) {
	s, err := t.sup.Stats(ctx, t.id)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := s.Time.Sub(t.at); !t.at.IsZero() && d > 0 && s.CPUTime >= t.spent {
		s.CPU = structs.Milli((s.CPUTime - t.spent) * 1000 / d)
	}
	t.peak = max(t.peak, s.MemoryMax, s.Memory)
	t.at, t.spent, s.MemoryMax = s.Time, s.CPUTime, t.peak
	return s, nil
}

// Detach starts a command that is a task of the supervisor from then on.
func (t *task) Detach(ctx context.Context, d *drivers.Detach) (drivers.Detached, error) {
	group, err := CommandGroup(ctx, t.sup)
	if err != nil {
		return nil, err
	}
	return DetachIn(ctx, t.sup, t.id, Command{Args: d.Args, Arg0: d.Arg0, Env: d.Env, Group: group}, d, "")
}

// DetachIn detaches a command in a task of the supervisor. Of d it takes the name, the terminal and where its output goes. With console, as Launch says, what c runs makes
// the terminal.
func DetachIn(ctx context.Context, sup Supervisor, id string, c Command, d *drivers.Detach, console string) (drivers.Detached, error) {
	if !drivers.ValidDetached(d.Name) || d.LogName == "" || len(c.Args) == 0 || c.Args[0] == "" {
		return nil, structs.Errorf(structs.Invalid, "exec", "no command, no name that can be one, or none for its output is given")
	}
	c.TTY = d.Terminal != nil
	err := sup.Detach(ctx, id, &Detach{Name: d.Name, Command: c, Terminal: d.Terminal, Console: console, LogName: d.LogName, LogFiles: d.LogFiles,
		LogFileSize: d.LogFileSize})
	if err != nil {
		return nil, err
	}
	return &task{sup: sup, id: DetachedID(id, d.Name)}, nil
}

// Detached finds one by its name.
func (t *task) Detached(ctx context.Context, name string) (drivers.Detached, error) {
	id := DetachedID(t.id, name)
	if !drivers.ValidDetached(name) {
		return nil, structs.Errorf(structs.NotFound, "task "+t.id, "no command has the name %q", name)
	}
	if _, err := t.sup.Status(ctx, id); err != nil {
		return nil, err
	}
	return &task{sup: t.sup, id: id}, nil
}

func (t *task) Destroy(ctx context.Context) error { return t.sup.Forget(ctx, t.id) }
