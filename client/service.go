package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"time"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// run returns the runner of an allocation that has not ended.
func (c *Client) run(id structs.AllocID) (*runner.Alloc, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.held[id]; h != nil {
		return h.run, nil
	}
	if c.ended[id] != nil {
		return nil, structs.Errorf(structs.Conflict, "allocation "+structs.Short(id), "it ended")
	}
	return nil, notFound(id)
}

// LogRequest says which output of a task is wanted.
type LogRequest struct {
	Alloc  structs.AllocID
	Task   string // empty: the only one
	Stream string // stdout or stderr; empty: stdout
	Offset int64  // bytes since the task's first
	Tail   int64  // >0: the last so many bytes; Offset is ignored
	Lines  int    // >0: the last so many lines; Offset and Tail are ignored
	Follow bool   // go on until the allocation ended, or ctx
	Attach bool   // with Follow: until the task ended
}

// Logs writes a task's output to w. It returns the offset that it reached, for a later call to go on. Logs can be read
// until the folder of the ended allocation is removed.
func (c *Client) Logs(ctx context.Context, req LogRequest, w io.Writer) (reached int64, err error) {
	reader, ended, err := c.output(req.Alloc, req.Task, req.Stream)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	dir := taskdir.At(c.allocRoot(), req.Alloc)
	// The folder of the output comes with the first of it. What is watched must be there.
	if _, err := os.Stat(dir.Logs()); errors.Is(err, fs.ErrNotExist) {
		select {
		case <-ended:
			return 0, nil
		default:
		}
		if err := os.MkdirAll(dir.Logs(), 0o755); err != nil {
			return 0, fileError(taskdir.Logs, err)
		}
	}
	first, end, err := reader.Bounds()
	if err != nil {
		return 0, err
	}
	from := max(first, req.Offset)
	switch {
	case req.Lines > 0:
		if from, err = reader.TailLines(req.Lines); err != nil {
			return 0, err
		}
	case req.Tail > 0:
		from = max(first, end-req.Tail)
	}
	if req.Attach {
		if ended, err = c.Gone(req.Alloc, req.Task); err != nil {
			return 0, err
		}
	}
	if !req.Follow {
		closed := make(chan struct{})
		close(closed)
		ended = closed
	}
	return reader.Follow(ctx, w, from, ended)
}

// output returns a reader of what a task (the only one when task is empty) wrote to a stream, and a channel that is closed when its
// allocation ended.
func (c *Client) output(alloc structs.AllocID, task, named string) (*logs.Reader, <-chan struct{}, error) {
	dir, err := c.dirOf(alloc)
	if err != nil {
		return nil, nil, err
	}
	names, ended, err := c.tasksOf(alloc)
	if err != nil {
		return nil, nil, err
	}
	object := "allocation " + structs.Short(alloc)
	switch {
	case task == "" && len(names) == 1:
		task = names[0]
	case task == "":
		return nil, nil, structs.Errorf(structs.Invalid, object, "it has several tasks: say which").Advise("it has %v", names)
	case !slices.Contains(names, task):
		return nil, nil, structs.Errorf(structs.NotFound, object, "it has no task %q", task).Advise("it has %v", names)
	}
	stream := logs.Stream(named)
	switch stream {
	case "":
		stream = logs.Stdout
	case logs.Stdout, logs.Stderr:
	default:
		return nil, nil, structs.Errorf(structs.Invalid, object, "there is no stream %q", named).Advise("it is stdout or stderr")
	}
	reader, err := logs.Open(dir.Logs(), task, stream)
	return reader, ended, err
}

// tasksOf returns the names of an allocation's tasks and a channel that is closed when it ended.
func (c *Client) tasksOf(id structs.AllocID) (names []string, ended <-chan struct{}, err error) {
	c.mu.Lock()
	h := c.held[id]
	c.mu.Unlock()
	if h != nil {
		return h.run.Tasks(), h.run.Done(), nil
	}
	record, err := c.store.Ended(id)
	if err != nil {
		return nil, nil, err
	}
	closed := make(chan struct{})
	close(closed)
	return record.Tasks, closed, nil
}

// Tasks returns the names of an allocation's tasks, of one that ended as well while its end is known.
func (c *Client) Tasks(alloc structs.AllocID) ([]string, error) {
	names, _, err := c.tasksOf(alloc)
	return names, err
}

// Running returns why nothing can be done in a task now; nil: it runs.
func (c *Client) Running(alloc structs.AllocID, task string) error {
	run, err := c.run(alloc)
	if err != nil {
		return err
	}
	return run.Running(task)
}

// Gone returns a channel that is closed when a task has ended for good.
func (c *Client) Gone(alloc structs.AllocID, task string) (<-chan struct{}, error) {
	c.mu.Lock()
	h := c.held[alloc]
	c.mu.Unlock()
	if h != nil {
		return h.run.Gone(task)
	}
	_, ended, err := c.tasksOf(alloc)
	return ended, err
}

// Await returns how a task ended, once it did for good.
func (c *Client) Await(ctx context.Context, alloc structs.AllocID, task string) (structs.TaskState, error) {
	c.mu.Lock()
	h := c.held[alloc]
	c.mu.Unlock()
	if h != nil {
		gone, err := h.run.Gone(task)
		if err != nil {
			return structs.TaskState{}, err
		}
		select {
		case <-gone:
			return h.run.TaskState(task)
		case <-ctx.Done():
			return structs.TaskState{}, ctx.Err()
		}
	}
	record, err := c.store.Ended(alloc)
	if err != nil {
		return structs.TaskState{}, err
	}
	if s := record.Update.Tasks[task]; s != nil {
		return *s, nil
	}
	return structs.TaskState{}, structs.Errorf(structs.NotFound, "allocation "+structs.Short(alloc), "how its task %q ended is not known", task)
}

// Exec runs a command in a task (the only one when task is empty).
func (c *Client) Exec(ctx context.Context, alloc structs.AllocID, task string, cmd drivers.Command) (drivers.Exit, error) {
	if len(cmd.Args) == 0 {
		return drivers.Exit{}, structs.Errorf(structs.Invalid, "allocation "+structs.Short(alloc), "there is no command to run")
	}
	run, err := c.run(alloc)
	if err != nil {
		return drivers.Exit{}, err
	}
	return run.Exec(ctx, task, cmd)
}

// Terminal opens the terminal that a task runs on (the only one when task is empty).
func (c *Client) Terminal(ctx context.Context, alloc structs.AllocID, task string) (drivers.Terminal, error) {
	run, err := c.run(alloc)
	if err != nil {
		return nil, err
	}
	return run.Terminal(ctx, task)
}

// connectTimeout is how long a connection to a port of a task may take.
const connectTimeout = 5 * time.Second

// Connect connects to a port of an allocation, by the name that its group gives the port. The caller closes the connection.
func (c *Client) Connect(ctx context.Context, alloc structs.AllocID, port string) (*net.TCPConn, error) {
	run, err := c.run(alloc)
	if err != nil {
		return nil, err
	}
	address, err := run.Address(port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := network.Dial(ctx, run.Netns(), "tcp", address)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, fmt.Sprintf("port %q", port), "nothing can be reached at %s: %w", address, err).
			Advise("see whether the task listens there: PROFFER_ADDR_%s has the address", port)
	}
	return conn.(*net.TCPConn), nil
}

// Stats says what each running task of an allocation uses.
func (c *Client) Stats(ctx context.Context, alloc structs.AllocID) (map[string]*drivers.Stats, error) {
	run, err := c.run(alloc)
	if err != nil {
		return nil, err
	}
	return run.Stats(ctx)
}

// Signal sends a signal to a task; to all when task is empty.
func (c *Client) Signal(ctx context.Context, alloc structs.AllocID, task, signal string) error {
	run, err := c.run(alloc)
	if err != nil {
		return err
	}
	return run.Signal(ctx, task, signal)
}

// Restart starts a task again (all when task is empty); it uses up none of the restart policy's attempts.
func (c *Client) Restart(ctx context.Context, alloc structs.AllocID, task string) error {
	run, err := c.run(alloc)
	if err != nil {
		return err
	}
	return run.Restart(task)
}

// Usage is what a node uses now.
type Usage struct {
	Allocs      int               `json:"allocs"`
	Ended       int               `json:"ended"` // whose end is still known
	Tasks       int               `json:"tasks"` // that run
	Quarantined int               `json:"quarantined"`
	Held        structs.Resources `json:"held"` // by allocations
	CPU         structs.Milli     `json:"cpu"`  // used by tasks
	Memory      structs.Bytes     `json:"memory"`
	DiskFree    structs.Bytes     `json:"disk_free"`
	DiskTotal   structs.Bytes     `json:"disk_total"`

	Throttled structs.Duration    `json:"throttled"` // of tasks that run, by their cpu_limit
	OOMKills  int                 `json:"oom_kills"`
	Pids      int                 `json:"pids"`
	IO        drivers.IOStats     `json:"io"`
	Pressure  *drivers.Pressure   `json:"pressure,omitempty"` // of the machine; nil: its kernel does not measure it
	GPUs      []*drivers.GPUStats `json:"gpus,omitempty"`
	// Each are tasks themselves, those of the first allocations by ID, as many as were asked for.
	Each []TaskUsage `json:"each,omitempty"`
}

// TaskUsage is what one task uses.
type TaskUsage struct {
	Alloc            structs.AllocID
	Job, Group, Task string
	Stats            *drivers.Stats
}

// Usage says what the node uses, and what each of at most so many tasks does. Tasks that do not answer are left out.
func (c *Client) Usage(ctx context.Context, each int) (*Usage, error) {
	u := &Usage{}
	c.mu.Lock()
	runs := make([]*runner.Alloc, 0, len(c.held))
	for _, h := range c.held {
		u.Held = u.Held.Add(h.alloc.Booked())
		runs = append(runs, h.run)
	}
	u.Allocs, u.Ended, u.Quarantined = len(c.held), len(c.ended), c.quarantinedLocked()
	c.mu.Unlock()
	slices.SortFunc(runs, func(a, b *runner.Alloc) int { return cmp.Compare(a.ID(), b.ID()) })
	for _, run := range runs {
		stats, err := run.Light(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(stats)) {
			s := stats[name]
			if len(u.Each) < each {
				of := run.Allocation()
				u.Each = append(u.Each, TaskUsage{of.ID, of.Job, of.Group, name, s})
			}
			u.Tasks++
			u.Throttled += s.Throttled
			u.OOMKills += s.OOMKills
			u.Pids += s.Pids
			if s.IO != nil {
				u.IO.ReadBytes += s.IO.ReadBytes
				u.IO.WriteBytes += s.IO.WriteBytes
				u.IO.ReadOps += s.IO.ReadOps
				u.IO.WriteOps += s.IO.WriteOps
			}
			u.CPU += s.CPU
			u.Memory += s.Memory
		}
	}
	u.Pressure = fingerprint.Pressure()
	if c.node.GPUs != nil && c.self.Load().Attributes["gpu.count"] != "" {
		gpus := c.node.GPUs(ctx)
		for _, id := range slices.Sorted(maps.Keys(gpus)) {
			u.GPUs = append(u.GPUs, gpus[id])
		}
	}
	var err error
	if u.DiskFree, u.DiskTotal, err = fingerprint.Disk(c.config.DataDir); err != nil {
		return nil, structs.Errorf(structs.Unavailable, "data folder "+c.config.DataDir, "its disk cannot be looked at: %w", err)
	}
	return u, nil
}
