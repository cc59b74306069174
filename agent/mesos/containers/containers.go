package containers

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Bounds of a node.
const (
	maxRunning = 256  // containers that run within tasks
	maxEnded   = 1024 // whose end is kept until somebody asks for its removal; of more, the oldest is forgotten
	maxDepth   = 32   // of containers within each other, as Mesos has it

	keptFiles = 2       // of each stream of what a container says that goes on by itself
	keptSize  = 1 << 20 // of one such file, in bytes
)

// Node is what this needs of a node. Errors have kinds: NotFound for what it does not know, Conflict for what does not run or has no terminal.
type Node interface {
	// Node returns what the node is now; it is not to be changed.
	Node() *structs.Node
	// Known returns the allocations that the node holds, oldest first, and behind them at most so many that ended, newest first.
	Known(ended int) []client.Known
	// Tasks returns the names of the tasks of an allocation, of one that ended as well while its end is known.
	Tasks(alloc structs.AllocID) ([]string, error)
	// Running returns why nothing can be done in a task now; nil: it runs.
	Running(alloc structs.AllocID, task string) error
	// Gone returns a channel that is closed when a task has ended for good, and Await how it ended.
	Gone(alloc structs.AllocID, task string) (<-chan struct{}, error)
	Await(ctx context.Context, alloc structs.AllocID, task string) (structs.TaskState, error)
	Exec(ctx context.Context, alloc structs.AllocID, task string, cmd drivers.Command) (drivers.Exit, error)
	// Detach begins a command that goes on by itself, and is known until it is forgotten, also after a restart of the agent. Its error wraps
	// client.ErrHeld where there is no such thing: Exec is all there.
	Detach(ctx context.Context, alloc structs.AllocID, task, label string, d *drivers.Detach) error
	Detached() []client.Detached
	AwaitDetached(ctx context.Context, alloc structs.AllocID, name string) (client.Detached, error)
	SignalDetached(ctx context.Context, alloc structs.AllocID, name, signal string, kill bool) error
	ForgetDetached(ctx context.Context, alloc structs.AllocID, name string) error
	DetachedLogs(ctx context.Context, d client.Detached, stream logs.Stream, tail int64, ended <-chan struct{}, w io.Writer) error
	DetachedTerminal(ctx context.Context, alloc structs.AllocID, name string) (drivers.Terminal, error)
	Signal(ctx context.Context, alloc structs.AllocID, task, signal string) error
	Terminal(ctx context.Context, alloc structs.AllocID, task string) (drivers.Terminal, error)
	Logs(ctx context.Context, req client.LogRequest, w io.Writer) (int64, error)
}

// Containers are those that were begun within the tasks of a node.
type Containers struct {
	node Node
	jobs func(actor string) (Jobs, error)
	log  *slog.Logger

	ctx     context.Context // of the agent: what is held ends with it
	stop    context.CancelFunc
	work    sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	running int
	all     map[string]*container // by their keys
	ended   []string              // keys, the oldest first
	typing  map[string]bool       // keys of those, and of tasks, for which somebody types
}

// New returns the containers of a node: those that its last agent left running, and what became of others. jobs is asked for the jobs of the region in the name of somebody, for containers that are within
// no task.
func New(node Node, jobs func(actor string) (Jobs, error), log *slog.Logger) *Containers {
	c := &Containers{node: node, jobs: jobs, log: log, all: map[string]*container{}, typing: map[string]bool{}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.remember()
	return c
}

// Close ends those that somebody holds, and returns when nothing of them is left; others go on.
func (c *Containers) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
}

// place is what an id names: a task, or a container within one.
type place struct {
	alloc structs.AllocID
	task  string
	inner bool   // it is a container within the task
	alone bool   // the task is, or is that of, a container that an operator launched within no other
	key   string // of the container
	above string // key of the container that it is within; empty: that is the task itself
}

// container is one that was begun within a task.
type container struct {
	place
	tty    bool
	own    *client.Detached // what the node knows it by, when it goes on by itself; nil: it is held here. Of it the name, task and allocation matter
	ctx    context.Context  // ends when it is to end, or did: so do those within it
	cancel context.CancelFunc
	stdin  *io.PipeWriter    // nil: it has no input
	sizes  chan drivers.Size // holds the newest
	out    *output
	done   chan struct{} // closed when it ended

	// The rest is written before done is closed.
	exit   drivers.Exit
	err    error // why there is no exit
	killed bool  // somebody wanted its end; under Containers.mu
}

// absent is the error of what is not there.
type absent struct{ error }

func (a absent) Unwrap() error { return a.error }

func unknown(id *wire.ContainerID) error {
	return absent{mesos.Refuse(http.StatusNotFound, "Container '%.300s' cannot be found", keyOf(id))}
}

// unplaced reports whether err says that the node does not know what could be a container within no other: the region may.
func unplaced(id *wire.ContainerID, err error) bool {
	return id.Parent == nil && errors.As(err, new(absent))
}

// chain lists the parts of an id, the outermost first.
func chain(id *wire.ContainerID) (out []string) {
	for ; id != nil; id = id.Parent {
		out = append(out, id.Value)
	}
	slices.Reverse(out)
	return out
}

func keyOf(id *wire.ContainerID) string { return strings.Join(chain(id), "/") }

// find says what an id names. The outermost part is that of a container within no other, or an allocation. The container of a task is its
// allocation, or, where that has several tasks, one within it with the name of the
// task: as updates of the task say it.
func (c *Containers) find(id *wire.ContainerID) (place, error) {
	parts := chain(id)
	p := place{key: strings.Join(parts, "/")}
	if len(parts) > maxDepth {
		return p, mesos.Refuse(http.StatusBadRequest, "Containers lie at most %d deep", maxDepth)
	}
	p.alloc = structs.AllocID(parts[0])
	tasks, err := c.node.Tasks(p.alloc)
	if structs.KindOf(err) == structs.NotFound {
		if alloc, ok := c.alone(parts[0]); ok {
			p.alloc, p.alone = alloc, true
			tasks, err = c.node.Tasks(alloc)
		}
	}
	if err != nil {
		if structs.KindOf(err) == structs.NotFound {
			return p, unknown(id)
		}
		return p, err
	}
	inner := parts[1:]
	if len(inner) > 0 {
		if name, ok := strings.CutPrefix(inner[0], parts[0]+"."); ok {
			if !slices.Contains(tasks, name) {
				return p, unknown(id)
			}
			p.task, inner = name, inner[1:]
		}
	}
	if p.task == "" {
		if len(tasks) != 1 {
			return p, mesos.Refuse(http.StatusBadRequest, "'%.300s' has several tasks: name the container of one", parts[0])
		}
		p.task = tasks[0]
	}
	for _, name := range inner {
		if !structs.ValidOutsideID(name) || strings.Contains(name, ".") {
			return p, mesos.Refuse(http.StatusBadRequest, "'%.300s' is no id of a container", name)
		}
	}
	if p.inner = len(inner) > 0; len(inner) > 1 {
		p.above = strings.Join(parts[:len(parts)-1], "/")
	}
	return p, nil
}

// within returns the container that an id names.
func (c *Containers) within(p place, id *wire.ContainerID) (*container, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.all[p.key]; x != nil {
		return x, nil
	}
	return nil, unknown(id)
}

// errKnown is the error of a launch whose id is taken already.
var errKnown = errors.New("there is a container of that id")

// launch begins a command within a task, on a terminal of a size if it is said; typed: it has an input, as it has with a terminal. Who reads
// its output from the first byte on is returned as well.
func (c *Containers) launch(p place, cmd drivers.Command, size *drivers.Size, typed bool) (*container, *reader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, err := c.enter(p)
	if err != nil {
		return nil, nil, err
	}
	x.tty, x.sizes, x.out = cmd.TTY, make(chan drivers.Size, 1), newOutput()
	stdin := (*io.PipeReader)(nil)
	if typed || cmd.TTY {
		stdin, x.stdin = io.Pipe()
		cmd.Stdin = stdin
	}
	if cmd.TTY {
		if cmd.Resize = x.sizes; size != nil {
			x.sizes <- *size
		}
	}
	cmd.Stdout, cmd.Stderr = x.out.writer(x.ctx, wire.DataStdout), x.out.writer(x.ctx, wire.DataStderr)
	first := x.out.read()
	c.work.Go(func() {
		defer x.cancel()
		defer context.AfterFunc(c.ctx, x.cancel)()
		exit, err := c.node.Exec(x.ctx, p.alloc, p.task, cmd)
		if stdin != nil {
			stdin.CloseWithError(io.ErrClosedPipe)
		}
		if err != nil && x.ctx.Err() == nil {
			x.out.writer(x.ctx, wire.DataStderr).Write([]byte(err.Error() + "\n"))
		}
		c.over(x, exit, err)
	})
	return x, first, nil
}

// enter gives a container its place in the table. The caller holds mu, and sees to it that it ends.
func (c *Containers) enter(p place) (*container, error) {
	above := context.Background()
	switch parent := c.all[p.above]; {
	case c.closed:
		return nil, structs.Errorf(structs.Unavailable, "container", "the node is stopping")
	case c.all[p.key] != nil:
		return nil, errKnown
	case p.above != "" && (parent == nil || parent.over()):
		return nil, mesos.Refuse(http.StatusBadRequest, "The container that it is to be within does not run")
	case c.running >= maxRunning:
		return nil, mesos.Refuse(http.StatusTooManyRequests, "%d containers run within the tasks of the node, and no more may", maxRunning)
	case p.above != "":
		above = parent.ctx
	}
	x := &container{place: p, done: make(chan struct{})}
	x.ctx, x.cancel = context.WithCancel(above)
	c.all[p.key] = x
	c.running++
	return x, nil
}

// over notes the end of a container.
func (c *Containers) over(x *container, exit drivers.Exit, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x.exit, x.err = exit, err
	if x.out != nil {
		x.out.end()
	}
	close(x.done)
	c.running--
	c.keep(x)
	log := c.log.With("alloc", structs.Short(x.alloc), "task", x.task, "container", x.key)
	if err != nil {
		log.Info("a container within a task ended", "why", err)
	} else {
		log.Info("a container within a task ended", "code", exit.Code)
	}
}

// keep keeps how one ended, in the place of the oldest when there are many. The caller holds mu.
func (c *Containers) keep(x *container) {
	if c.ended = append(c.ended, x.key); len(c.ended) <= maxEnded {
		return
	}
	oldest := c.all[c.ended[0]]
	c.forget(oldest.key)
	if oldest.own != nil && !c.closed { // otherwise the next agent sees to it
		c.work.Go(func() { c.forgetOwn(c.ctx, oldest) })
	}
}

// forget removes one that ended. The caller holds mu.
func (c *Containers) forget(key string) {
	delete(c.all, key)
	c.ended = slices.DeleteFunc(c.ended, func(k string) bool { return k == key })
}

// kill ends a container, and with it those within it.
func (c *Containers) kill(x *container) {
	c.mu.Lock()
	x.killed = x.killed || !x.over()
	c.mu.Unlock()
	x.cancel()
}

// over reports whether it ended.
func (x *container) over() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// resize passes on how large a terminal is. Only the newest size matters.
func resize(sizes chan drivers.Size, size drivers.Size) {
	select {
	case <-sizes:
	default:
	}
	select {
	case sizes <- size:
	default:
	}
}

// beatEvery is how often whoever reads an output hears that it goes on.
const beatEvery = 30 * time.Second
