// Package drivers is the contract between a node and what starts tasks. Each driver is one package below it.
package drivers

import (
	"context"
	"io"
	"time"

	"github.com/proffer/proffer/structs"
)

// Driver starts tasks and finds them again. Its methods may be called from any goroutine. A call returns when its
// context ends, at the latest; for Start and Stop the task may then be in either state, and Recover tells. What a driver talks
// to (an engine, a registry) may hang: it bounds each such call by itself, and a call that was given up is Unavailable, or
// Unknown when it may have taken effect. Package conformance is the test of all this; see DESIGN.md.
type Driver interface {
	// Name is what jobs write in driver.
	Name() string
	// Fingerprint says whether tasks can be started here, with what attributes, and for a driver whose tasks run from images
	// which ones are here already, in any number: work goes where its image is. Such a driver takes the image of a task from
	// structs.ImageKey of its config, and lists an image under each name by which a task may name it (tag and digest).
	Fingerprint(ctx context.Context) *structs.Driver
	// Validate checks a task's config without a node; it also runs at job validate. object names the place for messages.
	Validate(object string, config map[string]any) error
	// Start starts a task and returns once it runs. The handle is what Recover needs; it is stored before Start returns to
	// its caller's caller, so a driver must be able to find, from Spec alone too, a task whose handle was never stored
	// (Recover gets nil then). Kinds of the error: Invalid, NotFound and Forbidden, the same start can never succeed (NoProgram
	// says with which exit code); Unavailable and Exhausted, the node is short of something and it is tried again for free;
	// Conflict, the ID was started before; Unknown, it may have been started; another, the task's own failure. Except after
	// Conflict and Unknown, nothing of the task is left.
	Start(ctx context.Context, spec *Spec) (Task, error)
	// Recover finds a task that was started before the agent was restarted. NotFound: it was never started or nobody
	// knows how it ended.
	Recover(ctx context.Context, spec *Spec, handle []byte) (Task, error)
}

// Rooted is a driver whose tasks have a root of their own.
type Rooted interface {
	// View says what a task would see. The config may still have references.
	View(ctx context.Context, t *structs.Task) (View, error)
}

// View is what a task sees of its node.
type View struct {
	Shared string // where AllocDir is for it; empty: at the same path
	Task   string // likewise TaskDir: local, secrets and tmp are below it
	Image  bool   // its root is that of an image: users are the image's, and so are PATH and HOME unless the task sets them
}

// Preparer is a driver that needs something which may take long before a start, such as an image.
type Preparer interface {
	// Prepare gets it. It runs before Start, without one of the node's places for starts, and may have been for nothing: the task is
	// not started, or Start does the same again. Errors are those of Start.
	Prepare(ctx context.Context, spec *Spec) error
}

// Sweeper is a driver that can forget ended tasks whose allocations are not known any more: the agent was killed between
// writing down their end and telling the driver. Its ids are those of Spec.
type Sweeper interface {
	Sweep(ctx context.Context, known func(id string) bool) error
}

// Mounter is a driver with folders of the host of its own that the node's configuration lets its tasks mount, beside the host volumes
// of the node.
type Mounter interface {
	// HostPaths are those, with all below them: absolute and clean. The slice is not changed.
	HostPaths() []string
}

// Sandboxer is a driver whose tasks can join no network namespace but one that it made itself.
type Sandboxer interface {
	// Sandbox makes the namespace of an allocation, with loopback alone, or finds it, and returns its path on the host. It is another one when
	// whatever kept the former has ended. Errors are those of Start.
	Sandbox(ctx context.Context, s Sandbox) (path string, err error)
	// Unsandbox removes it; one that is not there is no error.
	Unsandbox(ctx context.Context, alloc structs.AllocID) error
}

// Sandbox is for whom a namespace is made.
type Sandbox struct {
	Alloc      structs.AllocID
	Job, Group string
	Hostname   string
}

// Keeper is a driver with work of its own: connections to what runs its tasks, images, what was left behind.
type Keeper interface {
	// Keep does it until ctx ends, and returns when no goroutine of the driver is left; tasks run on. known reports whether the
	// node knows the start of a Spec's ID and it is not over, or an allocation when id is its id alone: what belongs to none that it
	// knows is to be removed.
	Keep(ctx context.Context, known func(id string) bool)
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
	User        string        // resolved; empty: the agent's user. As the job says it where View.Image is
	Fence       *Fence        // nil: no lease
	Ports       []structs.AssignedPort
	Netns       string // host path of the network namespace that the task joins; empty: that of the host
	Hostname    string // with Netns: its host name
	Pidns       string // likewise, of the namespaces that tasks of its allocation share which say so in their config
	Ipcns       string
	Files       []Mount       // files that belong over those of a root of its own, such as /etc/hosts
	Mounts      []Mount       // folders and files of the host that it sees, beside its own
	Project     uint32        // what the driver makes for it on the disk of AllocDir is of this project (SetProject); 0: none
	Disk        structs.Bytes // what its allocation may take of the disk, where the node looks at that; 0: no bound
	Terminal    *Size         // it runs on a terminal, of this size or of none in particular, for the drivers whose tasks are Typists; nil: without
	Revocable   bool          // what it runs on is reserved by others: it yields cores to all other tasks, and is the first to go for want of memory

	Devices []Device        // device nodes of the host that it sees, beside those that every task has
	Cores   []int           // whole cores that it has for itself; nil: it runs on what is left
	IO      *structs.TaskIO // bounds of its disk use; nil: none

	// Event tells the task's user of progress, at most once a second and kind; a kind that follows itself replaces itself. It may
	// be nil, does not block, and is called during Prepare and Start only.
	Event func(kind, text string)
	// Output opens one stream ("stdout" or "stderr") for a driver through which the output of its tasks goes. One Output of a
	// stream may be open at a time. nil: output is dropped.
	Output func(stream string) Output
}

// Limits are what a task may use while it runs, as its Spec says for the start.
type Limits struct {
	CPU               structs.Milli `codec:",omitempty"` // its weight against others; 0: as if it were one core
	CPULimit          structs.Milli `codec:",omitempty"` // 0: none
	Memory, MemoryMax structs.Bytes `codec:",omitempty"` // the larger is the hard limit; 0: none
	Revocable         bool          `codec:",omitempty"` // something of it is: it goes first for want of memory, where the driver can change that
}

// Limits are those of the start.
func (s *Spec) Limits() Limits { return Limits{s.CPU, s.CPULimit, s.Memory, s.MemoryMax, s.Revocable} }

// Hard is what it may use of memory at most; 0: all.
func (l Limits) Hard() structs.Bytes { return max(l.Memory, l.MemoryMax) }

// Device is a device node that a task sees.
type Device struct {
	Host  string // path on the host
	Path  string // in the task, below /dev
	Perms string // of r, w and m
	ID    string // what it is of, such as the UUID of a GPU; empty for what several share

	Volume string `json:",omitempty" codec:",omitempty"` // of a block device that is a volume: what its group calls it
}

// Mount is a folder or file of the host in a task.
type Mount struct {
	Source   string // host path, chosen by the node
	Target   string // absolute path in the task
	ReadOnly bool

	// Below is a folder that Source is or is in. There is no link between the two, and none is followed that somebody puts there meanwhile.
	// Empty: Source is mounted as it is found.
	Below string `json:",omitempty" codec:",omitempty"`

	// Propagation is of mounts at or below Source. What is mounted there later is as on the host, whatever ReadOnly says.
	Propagation structs.Propagation `json:",omitempty" codec:",omitempty"`
}

// Output is one stream of a task in the node's rotated files, all starts of the task one after the other.
type Output interface {
	// Write always takes all: what the disk cannot take is lost, and the stream says so.
	io.WriteCloser
	// Offset is how many bytes the stream has had, with those of earlier starts and agents, or why that cannot be told.
	Offset() (int64, error)
}

// RevocableOOMScore is the oom_score_adj of revocable tasks: the kernel ends one before any other of its size, and before those that
// have half of the node's memory more.
const RevocableOOMScore = 500

// Say calls Event where there is one.
func (s *Spec) Say(kind, text string) {
	if s.Event != nil {
		s.Event(kind, text)
	}
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
	// the task is left, or when ctx ends. One that has ended is no error, a signal that does not exist is Invalid.
	Stop(ctx context.Context, signal string, grace time.Duration) error
	// Signal sends a signal to the task: "SIGHUP", "HUP" or "1". One that does not exist is Invalid.
	Signal(ctx context.Context, signal string) error
	// Exec runs a command inside the running task; it returns when the command ended. A program that is not there is exit code
	// 127, with the reason on its stderr; a task that has ended is Conflict.
	Exec(ctx context.Context, cmd Command) (Exit, error)
	// Limit gives the task other limits than it has. What is more holds when it returns. Memory that the task uses is never taken from it, which
	// would kill it: a limit below that is left as it is, and the call is Exhausted once all else is done, for the caller to ask again later. A task
	// that has ended is Conflict. It may be repeated; calls for one task follow each other.
	Limit(ctx context.Context, to Limits) error
	// Stats says what the task uses now. A task that has ended is Conflict.
	Stats(ctx context.Context) (*Stats, error)
	// Destroy removes what is left of an ended task on the host (cgroups, namespaces, records). It may be repeated. One that
	// still runs is Conflict. Afterwards Recover says NotFound, and other calls may.
	Destroy(ctx context.Context) error
}

// Detacher is a Task in which commands can run that nobody holds: they outlive whoever began them, and the agent.
type Detacher interface {
	// Detach starts one and returns once it runs. Its errors are those of Driver.Start; a name that was used in this task is Conflict, until Destroy,
	// and so is a task that has ended. At most MaxDetached of one task were not destroyed: more are Exhausted.
	Detach(ctx context.Context, d *Detach) (Detached, error)
	// Detached finds one by its name, after the agent was restarted, too. NotFound: there was none, or it was destroyed.
	Detached(ctx context.Context, name string) (Detached, error)
}

// MaxDetached is how many detached commands one task has, with those that ended and were not destroyed.
const MaxDetached = 256

// Detach is a command that nobody holds. It has no input but that of its terminal.
type Detach struct {
	Name     string // unique in the task; letters of a to z, digits and -, at most 63
	Args     []string
	Arg0     *string  // as in Command
	Env      []string // likewise
	Terminal *Size    // it runs on a terminal, of this size or of none in particular, and then its output is stdout; nil: without

	// Its output goes to the log folder of the task, as that of a task of this name would, in so many files of this size. The files are the
	// node's: Destroy leaves them.
	LogName     string
	LogFiles    int
	LogFileSize structs.Bytes
}

// Detached is a command that was detached. It ends with its task, before that is destroyed, and how it ended can be asked until then. Its methods
// are as those of Task. It is a Typist when it was detached with a terminal.
type Detached interface {
	Wait(ctx context.Context) (Exit, error)
	Stop(ctx context.Context, signal string, grace time.Duration) error
	Signal(ctx context.Context, signal string) error
	// Destroy forgets one that has ended. With its task it is destroyed anyway.
	Destroy(ctx context.Context) error
}

// ValidDetached reports whether a name can be that of a detached command.
func ValidDetached(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 63
}

// Mountable is a Task in which a folder of the host can be mounted while it runs.
type Mountable interface {
	// Mount does it, below a folder of its own that it may write to, such as /local: what is missing on the way there is made and belongs to whoever
	// has what is above. No link on the way is followed, whatever the task puts there. It may be repeated. Invalid: something else is there.
	// Conflict: the task has ended.
	Mount(ctx context.Context, m Mount) error
	// Unmount takes it away again, wherever in that folder the task has moved it to, and the folder that it was mounted on, if that is empty.
	// Unavailable: the task uses it, or it could not be looked for; nothing of it is left when there is no error. It may be repeated. Conflict
	// or NotFound: the task has ended, and has it no more.
	Unmount(ctx context.Context, m Mount) error
}

// Typist is a Task, or a Detached, that may have a terminal.
type Typist interface {
	// Terminal opens that of a task which was started with Spec.Terminal. Conflict: it has none, or has ended.
	Terminal(ctx context.Context) (Terminal, error)
}

// Terminal is where somebody types for a task. What the task shows there is its stdout. Closing it ends nothing.
type Terminal interface {
	// Write types. It waits while the task does not read, until Close.
	io.WriteCloser
	Resize(Size) error
}

// Sizes measures what is in a folder takes of the disk. It takes its time.
type Sizes func(ctx context.Context, dir string) (structs.Bytes, error)

// Layered is a Task that writes to the host's disk outside of the folders that its Spec names.
type Layered interface {
	// Written is what it holds there. The project of its allocation is counted already, when it has one. sizes measures a folder.
	Written(ctx context.Context, project bool, sizes Sizes) (structs.Bytes, error)
}

// Addressed is a Task that has a network which its driver gave it, and not the node.
type Addressed interface {
	// Addresses are those that it has there, without loopback, IPv4 first; none when it has the network of the node.
	// joined are the networks that it is in beside the first one, in order, with their addresses.
	Addresses(ctx context.Context) (addresses []string, joined []structs.JoinedNetwork, err error)
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
	Arg0   *string  // what the program is called, in the place of Args[0], which says where it is; nil: that. A driver without it: Invalid
	Env    []string // KEY=VALUE, over what the task has
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

	IO       *IOStats      `json:"io,omitempty"`       // since its start; nil: the host does not count it
	Pressure *Pressure     `json:"pressure,omitempty"` // nil: the host does not measure it for a task
	Disk     structs.Bytes `json:"disk,omitempty"`     // of its folder, as last measured; 0: it was not
	GPUs     []*GPUStats   `json:"gpus,omitempty"`     // that it has, as last measured
}

// IOStats is what was read from and written to disks.
type IOStats struct {
	ReadBytes  structs.Bytes `json:"read_bytes"`
	WriteBytes structs.Bytes `json:"write_bytes"`
	ReadOps    int64         `json:"read_ops,omitempty"`
	WriteOps   int64         `json:"write_ops,omitempty"`
}

// Pressure is how much work stood still for want of something, as the kernel measures it (PSI).
type Pressure struct {
	CPU    Stall `json:"cpu"`
	Memory Stall `json:"memory"`
	IO     Stall `json:"io"`
}

// Stall is the time in which some, or all, of the processes waited: the part of the last ten seconds, and all together.
type Stall struct {
	Some      structs.Milli    `json:"some"` // 0 to 1
	Full      structs.Milli    `json:"full"`
	SomeTotal structs.Duration `json:"some_total"`
	FullTotal structs.Duration `json:"full_total"`
}

// GPUStats is what one GPU does.
type GPUStats struct {
	ID          string        `json:"id"`
	Busy        structs.Milli `json:"busy"` // 0 to 1
	Memory      structs.Bytes `json:"memory"`
	MemoryTotal structs.Bytes `json:"memory_total,omitempty"`
}
