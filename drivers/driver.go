// Package drivers is the contract between a node and what starts tasks. Each driver is one package below it.
package drivers

import (
	"context"
	"io"
	"time"

	"github.com/proffer/proffer/structs"
)

// Driver starts tasks and finds them again. Its methods may be called from any goroutine. A call returns when its
// context ends, at the latest; for Start and Stop the task may then be in either state, and Recover tells.
type Driver interface {
	// Name is what jobs write in driver.
	Name() string
	// Fingerprint says whether tasks can be started here, and with what attributes.
	Fingerprint(ctx context.Context) *structs.Driver
	// Validate checks a task's config without a node; it also runs at job validate. object names the place for messages.
	Validate(object string, config map[string]any) error
	// Start starts a task and returns once it runs. The handle is what Recover needs; it is stored before Start returns to
	// its caller's caller, so a driver must be able to find, from Spec alone too, a task whose handle was never stored
	// (RecoverSpec.Handle is nil then).
	Start(ctx context.Context, spec *Spec) (Task, error)
	// Recover finds a task that was started before the agent was restarted. NotFound: it was never started or nobody
	// knows how it ended.
	Recover(ctx context.Context, spec *Spec, handle []byte) (Task, error)
}

// Spec is all that a driver needs to start one task. The driver does not keep or change it.
type Spec struct {
	ID          string // unique on the node: allocation id "/" task name "/" start number
	Alloc       structs.AllocID
	Job, Group  string
	Task        *structs.Task
	Incarnation uint64
	Env         []string // complete: KEY=VALUE, nothing is inherited
	AllocDir    string   // host path of the folder that the allocation's tasks share; it may be missing, see MakeFolders
	TaskDir     string   // host path of the task folder: local/, secrets/, tmp/ are below it; likewise
	LogDir      string   // host path where stdout and stderr files go (see package logs); made by who writes there first
	CPU         structs.Milli
	CPULimit    structs.Milli // 0: none
	Memory      structs.Bytes
	MemoryMax   structs.Bytes // hard limit; at least Memory
	User        string        // resolved; empty: the agent's user
	Fence       *Fence        // nil: no lease
}

// Fence makes the supervisor kill the task by itself when the node's lease ends. The deadline moves with each renewal,
// by Supervisor.Renew; it is in CLOCK_BOOTTIME.
type Fence struct{}

// Task is a started task. Its methods may be called from any goroutine.
type Task interface {
	// Handle is what Recover takes.
	Handle() []byte
	// Wait returns when the task ended, or ctx did. It may be called several times and gives the same answer.
	Wait(ctx context.Context) (Exit, error)
	// Stop sends signal, waits up to grace for the task to end, then kills everything of it. It returns when nothing of
	// the task is left, or when ctx ends.
	Stop(ctx context.Context, signal string, grace time.Duration) error
	// Signal sends a signal to the task.
	Signal(ctx context.Context, signal string) error
	// Exec runs a command inside the running task; it returns when the command ended.
	Exec(ctx context.Context, cmd Command) (Exit, error)
	// Stats says what the task uses now.
	Stats(ctx context.Context) (*Stats, error)
	// Destroy removes what is left of an ended task on the host (cgroups, namespaces, records). It may be repeated.
	Destroy(ctx context.Context) error
}

// Exit is how a task or command ended.
type Exit struct {
	Code   int    // 128+signal when a signal ended it, -1 when it is not known
	Signal int    // 0 when none
	OOM    bool   // the kernel killed it for its memory
	Why    string // when Code alone does not say it
}

// NoProgram is the error of a start whose program cannot be run. Code is what a shell ends with then: 127 when there is no
// such program, 126 when it is there and cannot be executed.
type NoProgram struct {
	Code int
	Err  *structs.Error
}

func (n *NoProgram) Error() string { return n.Err.Error() }

// Unwrap returns the error with its kind.
func (n *NoProgram) Unwrap() error { return n.Err }

// Command is a command to run inside a task.
type Command struct {
	Args   []string
	TTY    bool
	Stdin  io.Reader // nil: /dev/null
	Stdout io.Writer
	Stderr io.Writer   // unused with TTY
	Resize <-chan Size // with TTY
}

// Size is that of a terminal, in characters.
type Size struct{ Rows, Cols uint16 }

// Stats is what a task uses.
type Stats struct {
	Time      structs.Time     `json:"time"`
	CPUTime   structs.Duration `json:"cpu_time"`  // since its start
	CPU       structs.Milli    `json:"cpu"`       // cores, over the time since the last call
	Throttled structs.Duration `json:"throttled"` // by cpu_limit, since its start
	Memory    structs.Bytes    `json:"memory"`    // without page cache that can be dropped
	MemoryMax structs.Bytes    `json:"memory_peak"`
	Limit     structs.Bytes    `json:"memory_limit"`
	OOMKills  int              `json:"oom_kills"`
	Pids      int              `json:"pids"`
}
