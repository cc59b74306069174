package exec

import (
	"context"
	"os"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Supervisor is the process of the node whose children the tasks are. supervisor.Client implements it. Errors have
// kinds: NotFound for a task that it does not know, Unavailable when it cannot be reached.
type Supervisor interface {
	// Features says what the host lets it do.
	Features(ctx context.Context) (*Features, error)
	// Start starts a task and returns once its program runs. A task of that ID that is known already is Conflict.
	Start(ctx context.Context, launch *Launch) (*Status, error)
	// Status returns what is known of a task.
	Status(ctx context.Context, id string) (*Status, error)
	// List returns all tasks that it knows, ended ones that were not forgotten included.
	List(ctx context.Context) ([]*Status, error)
	// Wait returns when the task ended.
	Wait(ctx context.Context, id string) (drivers.Exit, error)
	// Signal sends a signal to the task's program.
	Signal(ctx context.Context, id string, signal int) error
	// Stop sends signal, waits grace, kills what is left, and returns when nothing is left.
	Stop(ctx context.Context, id string, signal int, grace time.Duration) error
	// Exec runs a command in the task with the given descriptors as stdin, stdout and stderr; the caller keeps its own. With a
	// terminal they are one socket: the terminal's master comes over it, and one byte back lets the command begin. When ctx ends
	// first, the command is killed, with what it began as far as Command says.
	Exec(ctx context.Context, id string, c Command, stdio [3]*os.File) (drivers.Exit, error)
	// Detach starts a command in the task that goes on whoever asked for it, and returns once it runs. From then on it is a task of the ID that
	// DetachedID says, for all calls but Limit, Stats, Exec and Detach, and not listed. It ends with its task and is forgotten with it. Only with
	// Features.Detached.
	Detach(ctx context.Context, id string, d *Detach) error
	// Terminal has the master of the terminal that a task was started on sent over a socket, with one byte; the caller keeps its own end.
	// Conflict: the task has none, or has ended.
	Terminal(ctx context.Context, id string, over *os.File) error
	// Limit gives a task other limits, as drivers.Task says; in a container, too.
	Limit(ctx context.Context, id string, to drivers.Limits) error
	// Mount and Unmount are those of drivers.Mountable; in a container, too. Forbidden: the task sees the files of the host as the host does.
	Mount(ctx context.Context, id string, m drivers.Mount) error
	Unmount(ctx context.Context, id string, m drivers.Mount) error
	// Stats says what the task uses; CPU is left for the caller to derive from CPUTime.
	Stats(ctx context.Context, id string) (*drivers.Stats, error)
	// KeepOff says which cores tasks of all kinds have for themselves, beside those that it gave itself: its other tasks keep off them.
	KeepOff(ctx context.Context, cores []int) error
	// GivePorts says which ports an allocation has from now on, in the place of those that its tasks were launched with.
	GivePorts(ctx context.Context, alloc structs.AllocID, ports []structs.AssignedPort) error
	// Forget removes an ended task's cgroups and record. Unknown tasks are no error.
	Forget(ctx context.Context, id string) error
}

// Launch is a task to start, as the supervisor takes it: everything resolved, nothing looked up later.
type Launch struct {
	ID      string
	Program string          // a path in the task's root, or a name that is looked up in the PATH of Env
	Args    []string        // without the program
	Arg0    *string         `codec:",omitempty"` // what the program is called; nil: Program. Only with Features.Named
	Env     []string        // complete
	Full    bool            // isolation: own namespaces, root and rights
	Network bool            // with Full: an own network namespace, with loopback only
	Netns   string          // host path of the network namespace that it joins; empty: the host's, or that of Network
	Host    string          // with Full: host name in the task
	Files   []drivers.Mount // with Full: files of the host over those of the task's root, where it has them

	UID, GID uint32 // used when the supervisor is root
	Groups   []uint32
	Caps     []string // with Full: capabilities that are kept, such as CAP_NET_BIND_SERVICE
	Rlimits  []Rlimit

	// Unconfined, with Full, leaves out the filter for system calls (package seccomp) that tasks have otherwise.
	Unconfined bool `codec:",omitempty"`
	// Filter takes its place: seccomp.Decode reads it. Empty: that of all tasks.
	Filter []byte `codec:",omitempty"`

	// Root, with Full, is a folder below TaskDir that is the task's root instead of one with the host's programs.
	Root string `codec:",omitempty"`

	// SharedPID and SharedIPC, with Full: it has no PID or IPC namespace of its own, but that at Pidns or Ipcns, host paths; empty: the node's.
	// What it leaves running is ended by its cgroup.
	SharedPID bool   `codec:",omitempty"`
	SharedIPC bool   `codec:",omitempty"`
	Pidns     string `codec:",omitempty"`
	Ipcns     string `codec:",omitempty"`
	// Hold, with Full: it is a PID namespace for tasks to share, without a program. All that is in it ends with it.
	Hold bool `codec:",omitempty"`

	// Terminal, of this size or of none in particular, is what the program runs on: its output is stdout. The supervisor keeps it. nil: it
	// has no input, and stdout and stderr are pipes. With Container Program makes it, and sends its master to the socket Console.
	Terminal *drivers.Size `codec:",omitempty"`
	Console  string        `codec:",omitempty"`

	AllocDir, TaskDir string           // host paths
	Mounts            []drivers.Mount  // with Full
	Tmpfs             []*structs.Tmpfs // likewise
	LogDir, LogName   string           // files are LogDir/LogName.stdout.N, see package logs
	LogFiles          int
	LogFileSize       structs.Bytes
	LogAge            time.Duration

	CPU, CPULimit structs.Milli
	Memory        structs.Bytes // hard limit
	Pids          int           // 0: none
	Fenced        bool          // it ends when the node's lease does
	Revocable     bool          // it goes first for want of memory

	Devices []drivers.Device `codec:",omitempty"` // with Full: beside those that every task has
	Cores   []int            `codec:",omitempty"` // that it has for itself alone; with Container: Program says so to the kernel
	IO      *structs.TaskIO  `codec:",omitempty"` // bounds of what it does with the disk of TaskDir

	// Ports are those of its allocation, which other tasks do not bind as long as this one runs. Guarded: nor does it bind theirs, or those
	// that nobody was given yet. It is in the network of the node.
	Ports   []structs.AssignedPort `codec:",omitempty"`
	Guarded bool                   `codec:",omitempty"`

	// Container is the cgroup of a container, relative to the top of each hierarchy, that Program makes and limits: it is the
	// command of an OCI runtime, ends with 0 once the container runs, and leaves the container's first process, which is the task.
	// Resources above are not used then. It must be below Features.CgroupBase. Without Full. Empty: Program is the task.
	Container string
	PidFile   string // with Container: where Program writes the number of that process
}

// Command is one to run in a task.
type Command struct {
	Args []string
	Arg0 *string  `codec:",omitempty"` // what the program is called, in the place of Args[0]; nil: that. Only with Features.Named
	Env  []string `codec:",omitempty"` // KEY=VALUE, over what the task has. Likewise
	TTY  bool

	// Group is the name of a control group, below that of the task, for the command and all that it begins: nothing of that survives a
	// caller who gives up. Args of a container's runtime put the command there, and of another one it follows. Empty: there is none, and
	// what leaves the command's session stays. Only with Features.Commands.
	Group string
	// PidFile is for the Args of a container's runtime that end with 0 once the command runs, and leave it behind: where they
	// write its number. Without TTY.
	PidFile string
}

// Detach is a command to run in a task on its own.
type Detach struct {
	Name     string
	Command                // its Group ends with it, whatever is still in there
	Terminal *drivers.Size `codec:",omitempty"` // as in Launch, and TTY says that there is one
	Console  string        `codec:",omitempty"` // as in Launch

	LogName     string // in the LogDir of the task
	LogFiles    int
	LogFileSize structs.Bytes
}

// DetachedID is that of a command that was detached, as a task.
func DetachedID(task, name string) string { return task + "/" + name }

// Rlimit is one resource limit of setrlimit(2); ^0 is unlimited.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// Status is what the supervisor knows of a task.
type Status struct {
	ID      string
	PID     int // of the process that holds the task, on the host
	Started structs.Time
	Ended   structs.Time  // 0 while it runs
	Exit    *drivers.Exit // once it ended
}

// Features is what a supervisor can do on its host.
type Features struct {
	Full    bool   // isolated tasks can be started
	Why     string // why not
	Root    bool   // it may change users
	Cgroups int    // version that tasks are limited by, 0: none
	Lacks   string // why not, or which controllers are missing

	Commands bool // in tasks can have control groups of their own
	Detached bool // commands can be detached
	Named    bool // programs can be called by another name, and commands can have more variables than their task
	Shares   bool // tasks can share namespaces

	NoCores string // why tasks cannot have cores for themselves alone; empty: they can
	NoIO    string // why their use of disks cannot be bounded; empty: it can
	NoGuard string // why tasks in the network of the node can bind the ports of others; empty: they cannot

	CgroupBase string // below it are the cgroups of tasks, relative to the top of each hierarchy; empty: there are none
}
