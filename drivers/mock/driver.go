// Package mock is a driver of scripted tasks without processes: for tests, to try schedules out, and to measure everything
// around a task. It uses the clock of package time, so that it works in synctest bubbles.
package mock

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Driver runs scripted tasks on a Machine. It has no goroutine.
type Driver struct{ machine *Machine }

// New makes a driver; nil gives it a machine of its own. A task whose machine is gone is recovered from its handle, as if it
// had run on.
func New(m *Machine) *Driver {
	if m == nil {
		m = NewMachine(false)
	}
	return &Driver{m}
}

// Name is "mock".
func (*Driver) Name() string { return "mock" }

// Fingerprint says that it always works, and which images the machine has.
func (d *Driver) Fingerprint(context.Context) *structs.Driver {
	return &structs.Driver{Healthy: true, Images: d.machine.Images()}
}

// Validate checks a task's config. It works on a nil Driver.
func (*Driver) Validate(object string, config map[string]any) error {
	_, err := Parse(object, config)
	return err
}

// Start starts a task after its start_delay, and the pull_delay when the machine does not have its image.
func (d *Driver) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	c, err := Parse("task "+spec.ID, spec.Task.Config)
	if err != nil {
		return nil, err
	}
	wait := c.StartDelay
	if c.Image != "" && !d.machine.has(c.Image) {
		wait += c.PullDelay
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if c.StartError != "" {
		return nil, structs.Errorf(c.StartErrorKind, "task "+spec.ID, "%w", scripted(c.StartError))
	}
	if c.Image != "" {
		d.machine.Pull(c.Image, c.ImageSize)
	}
	p, err := d.machine.start(spec, c, time.Now())
	if err != nil {
		return nil, err
	}
	if err := output(spec, c); err != nil {
		return nil, err
	}
	return &task{p}, nil
}

// scripted makes the node's shortages real errors, so that a script can play them.
func scripted(text string) error {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EMFILE, syscall.ENOMEM, syscall.EAGAIN} {
		if text == e.Error() {
			return e
		}
	}
	return errors.New(text)
}

func startNumber(id string) uint64 {
	n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '/')+1:], 10, 64)
	if err != nil {
		return 1
	}
	return n
}

// output writes the scripted lines.
func output(spec *drivers.Spec, c *Config) error {
	all := map[string]string{}
	for stream, lines := range map[string][]string{"stdout": c.Stdout, "stderr": c.Stderr} {
		if len(lines) > 0 {
			all[stream] = strings.Join(lines, "\n") + "\n"
		}
	}
	return write(spec.ID, spec.LogDir, spec.Task.Name, all)
}

// write writes output by streams where package logs reads it: a file whose name has the offset of its first byte. Each start appends.
func write(id, dir, name string, all map[string]string) error {
	if dir == "" {
		return nil
	}
	for stream, text := range all {
		err := os.MkdirAll(dir, 0o755)
		if err != nil {
			return structs.Errorf(structs.Unavailable, "task "+id, "its output cannot be written: %w", err)
		}
		f, err := os.OpenFile(filepath.Join(dir, name+"."+stream+".0"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return structs.Errorf(structs.Unavailable, "task "+id, "its output cannot be written: %w", err)
		}
		_, err = io.WriteString(f, text)
		if err := errors.Join(err, f.Close()); err != nil {
			return structs.Errorf(structs.Unavailable, "task "+id, "its output cannot be written: %w", err)
		}
	}
	return nil
}

// Recover finds a task on the machine, or makes it run on from its handle.
func (d *Driver) Recover(ctx context.Context, spec *drivers.Spec, handle []byte) (drivers.Task, error) {
	c, err := Parse("task "+spec.ID, spec.Task.Config)
	if err != nil {
		return nil, err
	}
	m := d.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.tasks[spec.ID]; p != nil {
		return &task{p}, nil
	}
	if len(handle) != 8 || m.keep { // a machine that watches knows all its tasks
		return nil, structs.Errorf(structs.NotFound, "task "+spec.ID, "the machine does not know it")
	}
	p := newProcess(m, spec.ID, c, startNumber(spec.ID), time.Unix(0, int64(binary.LittleEndian.Uint64(handle))), spec.Limits())
	p.logs = spec.LogDir
	m.tasks[spec.ID] = p
	return &task{p}, nil
}

// task is a view of a process.
type task struct{ *process }

// Handle is the time of the start: with the config it says all.
func (t *task) Handle() []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(t.started.UnixNano()))
}

func (t *task) Wait(ctx context.Context) (drivers.Exit, error) {
	for {
		now := time.Now()
		t.machine.mu.Lock()
		ends, exit, moved, over := t.ends, t.exit, t.moved, t.ended(now)
		t.machine.mu.Unlock()
		if over {
			return exit, nil
		}
		if err := until(ctx, ends, moved); err != nil {
			return drivers.Exit{}, err
		}
	}
}

// until returns at an instant (zero: never), when moved is closed, or with the error of ctx.
func until(ctx context.Context, at time.Time, moved <-chan struct{}) error {
	var alarm <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-alarm:
	case <-moved:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// signal plays one; the caller holds machine.mu.
func (t *task) signal(name string) error {
	number, ok := signals[strings.TrimPrefix(name, "SIG")]
	if !ok {
		return structs.Errorf(structs.Invalid, "task "+t.id, "there is no signal %q", name)
	}
	now := time.Now()
	if t.ended(now) || t.config.IgnoreSignals && number != 9 || number == 10 || number == 12 {
		return nil
	}
	exit := drivers.Exit{Code: 128 + number, Signal: number}
	if at := now.Add(t.config.StopDelay); number != 9 && t.config.StopDelay > 0 {
		if t.ends.IsZero() || t.ends.After(at) {
			t.end(at, exit)
		}
		return nil
	}
	t.end(now, exit)
	return nil
}

// USR1 and USR2 are taken and change nothing; the others end the task.
var signals = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15}

func (t *task) Signal(ctx context.Context, signal string) error {
	t.machine.mu.Lock()
	defer t.machine.mu.Unlock()
	return t.signal(signal)
}

func (t *task) Stop(ctx context.Context, signal string, grace time.Duration) error {
	t.machine.mu.Lock()
	if grace <= 0 {
		signal = "SIGKILL"
	}
	err := t.signal(signal)
	t.machine.mu.Unlock()
	if err != nil {
		return err
	}
	graceful, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if _, err := t.Wait(graceful); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return t.Signal(ctx, "SIGKILL")
}

func (t *task) Exec(ctx context.Context, cmd drivers.Command) (drivers.Exit, error) {
	t.machine.mu.Lock()
	over, age := t.ended(time.Now()), time.Since(t.started)
	t.machine.mu.Unlock()
	if over {
		return drivers.Exit{}, structs.Errorf(structs.Conflict, "task "+t.id, "it does not run")
	}
	if cmd.Stdout != nil {
		if cmd.Stdin != nil {
			if _, err := io.Copy(cmd.Stdout, cmd.Stdin); err != nil {
				return drivers.Exit{}, err
			}
		}
		text := t.config.ExecStdout
		if text == "" {
			text = strings.Join(cmd.Args, " ") + "\n"
		}
		if _, err := io.WriteString(cmd.Stdout, text); err != nil {
			return drivers.Exit{}, err
		}
	}
	if t.config.ExecRunFor > 0 {
		if err := until(ctx, time.Now().Add(t.config.ExecRunFor), nil); err != nil {
			return drivers.Exit{}, err
		}
	}
	if age < t.config.ExecFailUntil || t.config.ExecFailAfter > 0 && age > t.config.ExecFailAfter {
		return drivers.Exit{Code: 1}, nil
	}
	return drivers.Exit{Code: t.config.ExecExitCode}, nil
}

func (t *task) Limit(ctx context.Context, to drivers.Limits) error {
	t.machine.mu.Lock()
	defer t.machine.mu.Unlock()
	if t.ended(time.Now()) {
		return structs.Errorf(structs.Conflict, "task "+t.id, "it does not run")
	}
	if hard, now := to.Hard(), t.limits.Hard(); hard > 0 && hard < t.uses && (now == 0 || hard < now) {
		to.Memory, to.MemoryMax = t.limits.Memory, t.limits.MemoryMax
		t.limits = to
		return structs.Errorf(structs.Exhausted, "task "+t.id, "it uses %v of memory, which is more than a limit of %v", t.uses, hard)
	}
	t.limits = to
	return nil
}

func (t *task) Stats(ctx context.Context) (*drivers.Stats, error) {
	now := time.Now()
	t.machine.mu.Lock()
	defer t.machine.mu.Unlock()
	if t.ended(now) {
		return nil, structs.Errorf(structs.Conflict, "task "+t.id, "it does not run")
	}
	s := &drivers.Stats{Time: structs.At(now), CPUTime: structs.Duration(now.Sub(t.started)) / 100, CPU: 10,
		Memory: t.uses, MemoryMax: t.uses, Limit: t.limits.Hard(), Pids: 1}
	if busy := now.Sub(t.started) - t.config.BusyAfter; busy > 0 && t.config.BusyCores > 0 {
		s.CPUTime += structs.Duration(busy) * structs.Duration(t.config.BusyCores)
		s.CPU += structs.Milli(1000 * t.config.BusyCores)
	}
	return s, nil
}

func (t *task) Destroy(ctx context.Context) error {
	t.machine.mu.Lock()
	defer t.machine.mu.Unlock()
	if !t.ended(time.Now()) {
		return structs.Errorf(structs.Conflict, "task "+t.id, "it still runs")
	}
	delete(t.machine.tasks, t.id)
	return nil
}

// Sweep forgets the ended tasks whose id is not known any more.
func (d *Driver) Sweep(ctx context.Context, known func(id string) bool) error {
	for _, id := range d.machine.Known() {
		if known(id) {
			continue
		}
		d.machine.mu.Lock()
		if p := d.machine.tasks[id]; p != nil && p.ended(time.Now()) {
			delete(d.machine.tasks, id)
		}
		d.machine.mu.Unlock()
	}
	return nil
}
