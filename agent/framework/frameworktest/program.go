package frameworktest

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Program is what runs in the place of a command. It returns its exit code. ctx ends when the process is told to end, or its machine
// goes: it must then return soon.
type Program func(ctx context.Context, p *Process) (exit int)

// Process is a command that runs on a node.
type Process struct {
	Task      string // as the framework calls it; empty: it is an executor
	Executor  string // empty: it is a task
	Args      []string
	Env       map[string]string
	Node      *Node
	Transport http.RoundTripper // for executors: reaches the node from the node

	id    string
	stop  context.CancelFunc
	once  sync.Once
	ended chan struct{}
	exit  drivers.Exit // once ended is closed
}

// Getenv is os.Getenv of the process.
func (p *Process) Getenv(name string) string { return p.Env[name] }

// Program has commands of a name run as f: the first word of a shell command, or the last element of the program's path. Without it there
// are true, false and sleep.
func (r *Region) Program(name string, f Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programs[name] = f
}

// builtin are the programs that are always there.
var builtin = map[string]Program{
	"true":  func(context.Context, *Process) int { return 0 },
	"false": func(context.Context, *Process) int { return 1 },
	"sleep": func(ctx context.Context, p *Process) int {
		d := 10 * 365 * 24 * time.Hour
		if len(p.Args) != 2 {
			return 1
		}
		if p.Args[1] != "infinity" {
			s, err := strconv.ParseFloat(p.Args[1], 64)
			if err != nil || s < 0 || s > 1e9 {
				return 1
			}
			d = time.Duration(s * 1e9)
		}
		return Sleep(ctx, d)
	},
}

// Sleep is a program that does nothing for d: 0 when it slept for so long, and 143, as of SIGTERM, when it was told to end.
func Sleep(ctx context.Context, d time.Duration) (exit int) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-ctx.Done():
		return 143
	}
}

// Running returns the processes that run now on nodes that have power, whatever the region believes, by the name of their tasks.
func (r *Region) Running() (all []*Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.running {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Process) int { return strings.Compare(a.Task+"\x00"+a.id, b.Task+"\x00"+b.id) })
	return all
}

// Started says how often a task was started. More than once is once too often.
func (r *Region) Started(task string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started[task]
}

// exec is the driver of a node: its processes are functions. It outlives the agent as processes do.
type exec struct {
	node *Node
	mu   sync.Mutex
	all  map[string]*Process // by id, ended ones too
}

func (*exec) Name() string { return "exec" }

func (*exec) Fingerprint(context.Context) *structs.Driver { return &structs.Driver{Healthy: true} }

func (*exec) Validate(string, map[string]any) error { return nil }

// words returns the command line of a task, with a shell's text taken apart at its spaces.
func words(config map[string]any) []string {
	program, _ := config["command"].(string)
	var args []string
	list, _ := config["args"].([]any)
	for _, a := range list {
		text, _ := a.(string)
		args = append(args, text)
	}
	if program == "/bin/sh" && len(args) == 2 && args[0] == "-c" {
		return strings.Fields(args[1])
	}
	return append([]string{program}, args...)
}

func (e *exec) Start(_ context.Context, s *drivers.Spec) (drivers.Task, error) {
	r, args := e.node.region, words(s.Task.Config)
	if len(args) == 0 {
		args = []string{""}
	}
	name := filepath.Base(args[0])
	r.mu.Lock()
	f := r.programs[name]
	r.mu.Unlock()
	if f == nil {
		f = builtin[name]
	}
	if f == nil {
		return nil, &drivers.NoProgram{Code: 127, Err: structs.Errorf(structs.NotFound, "program "+args[0], "the test does not have it")}
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Process{Args: args, Env: map[string]string{}, Node: e.node, Transport: e.node.transport, id: s.ID, ended: make(chan struct{}), stop: stop}
	for _, kv := range s.Env {
		k, v, _ := strings.Cut(kv, "=")
		p.Env[k] = v
	}
	p.Task, p.Executor = r.named(s.Alloc, s.Task.Name)
	e.mu.Lock()
	if e.all[s.ID] != nil {
		e.mu.Unlock()
		stop()
		return nil, structs.Errorf(structs.Conflict, "task "+s.ID, "it was started before")
	}
	e.all[s.ID] = p
	e.mu.Unlock()
	r.begin(p)
	r.work.Go(func() {
		code := f(ctx, p)
		stop()
		p.over(drivers.Exit{Code: code, Signal: max(0, code-128)})
		r.over(p)
	})
	return &task{p, e}, nil
}

// named returns what the framework calls a task, or its executor.
func (r *Region) named(id structs.AllocID, task string) (name, executor string) {
	for _, s := range r.servers {
		x := s.get()
		if x == nil {
			continue
		}
		a := x.Store().Snapshot().Alloc(id)
		if a == nil || a.External == nil {
			continue
		}
		if a.External.Custom {
			return "", a.External.Executor
		}
		for _, t := range a.External.Tasks {
			if t.Name == task {
				return t.ID, ""
			}
		}
	}
	return string(id) + "/" + task, ""
}

func (r *Region) begin(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[p.id] = p
	if p.Task == "" {
		return
	}
	r.started[p.Task]++
	for _, o := range r.running {
		if o != p && o.Task == p.Task {
			r.doubles = append(r.doubles, fmt.Sprintf("%s on %s and %s", p.Task, o.Node.Name(), p.Node.Name()))
		}
	}
}

func (r *Region) over(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, p.id)
}

// over notes the end of a process, once.
func (p *Process) over(exit drivers.Exit) {
	p.once.Do(func() { p.exit = exit; close(p.ended) })
}

func (e *exec) Recover(_ context.Context, s *drivers.Spec, _ []byte) (drivers.Task, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.all[s.ID]; p != nil {
		return &task{p, e}, nil
	}
	return nil, structs.Errorf(structs.NotFound, "task "+s.ID, "the machine does not know it")
}

// powerOff ends all processes.
func (e *exec) powerOff() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.all {
		p.over(drivers.Exit{Code: 137, Signal: 9})
		p.stop()
		e.node.region.over(p)
	}
	clear(e.all)
}

// task is a process as its node sees it.
type task struct {
	*Process
	exec *exec
}

func (t *task) Handle() []byte { return []byte(t.id) }

func (t *task) Wait(ctx context.Context) (drivers.Exit, error) {
	select {
	case <-t.ended:
		return t.Process.exit, nil
	case <-ctx.Done():
		return drivers.Exit{}, ctx.Err()
	}
}

func (t *task) Stop(ctx context.Context, _ string, grace time.Duration) error {
	t.Process.stop()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-t.ended:
	case <-timer.C:
		t.over(drivers.Exit{Code: 137, Signal: 9})
		t.exec.node.region.over(t.Process)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (t *task) Signal(_ context.Context, signal string) error {
	switch strings.TrimPrefix(signal, "SIG") {
	case "KILL", "9":
		t.Process.stop()
		t.over(drivers.Exit{Code: 137, Signal: 9})
		t.exec.node.region.over(t.Process)
	case "TERM", "INT", "15", "2":
		t.Process.stop()
	}
	return nil
}

func (t *task) Exec(context.Context, drivers.Command) (drivers.Exit, error) {
	return drivers.Exit{}, structs.Errorf(structs.Invalid, "exec", "the processes of a test take no commands")
}

// Limit changes nothing: nothing limits the processes of a test.
func (t *task) Limit(context.Context, drivers.Limits) error {
	_, err := t.Stats(context.Background())
	return err
}

func (t *task) Stats(context.Context) (*drivers.Stats, error) {
	select {
	case <-t.ended:
		return nil, structs.Errorf(structs.Conflict, "task "+t.id, "it does not run")
	default:
		return &drivers.Stats{Time: structs.At(time.Now())}, nil
	}
}

func (t *task) Destroy(context.Context) error {
	select {
	case <-t.ended:
	default:
		return structs.Errorf(structs.Conflict, "task "+t.id, "it still runs")
	}
	t.exec.mu.Lock()
	defer t.exec.mu.Unlock()
	delete(t.exec.all, t.id)
	return nil
}
