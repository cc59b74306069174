package framework

import (
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Subscription is one connection of a scheduler with the leader.
type Subscription struct {
	Framework string // its id, the same in each
	Leader    string // host:port
	Again     bool   // the framework had its id before
}

// Offer is resources of one node for one role. It is good until it is used, declined or rescinded.
type Offer struct {
	ID       string
	Node     string
	Hostname string
	Role     string
	// Resources are what is left of it: Take makes it less. Ports says how many, and Ports which.
	Resources   structs.Resources
	Ports       []structs.Range
	Attributes  map[string]string // of the node
	Executors   []string          // of the framework, that run on the node
	Reserved    []Reservation     // what of Resources is set aside for the role, when the offer came
	Volumes     []Volume          // persistent ones, which are not among Resources
	Revocable   bool              // others have reserved it: what runs on it is stopped when they need it
	Unavailable *structs.Window   // when the node is to be maintained; nil: not planned
	Wire        *wire.Offer       // as it came
}

// Take takes resources out of the offer, if it has them, and returns the ports that it chose. It tells nobody: it is for fitting several
// tasks into an offer before Driver.Launch.
func (o *Offer) Take(r structs.Resources) (ports []int, ok bool) {
	if !o.Resources.Fits(r) {
		return nil, false
	}
	left := append([]structs.Range(nil), o.Ports...)
	for len(ports) < r.Ports {
		if len(left) == 0 {
			return nil, false
		}
		ports = append(ports, int(left[0].First))
		if left[0].First++; left[0].First > left[0].Last {
			left = left[1:]
		}
	}
	o.Resources, o.Ports = o.Resources.Sub(r), left
	return ports, true
}

// Task is what is launched on an offer. Either Executor is set, and runs it, or it has a Command, an Image or both.
type Task struct {
	ID        string // of the framework's choice; no other task of it has it, ended ones included
	Name      string // empty: ID
	Resources structs.Resources
	Ports     []int // as Offer.Take chose them; as many as Resources.Ports
	Command   *Command
	Image     string // runs in a container of it; empty: on the node itself
	Executor  *ExecutorInfo
	Data      []byte            // for the executor
	Labels    map[string]string //
	Volumes   []VolumeMount     // of the offer
	KillGrace time.Duration     // between the wish to end and the end; 0: the region's choice
	Timeout   time.Duration     // it fails when it runs for longer; 0: it may run for ever
	Revocable bool              // its CPU and memory come from a revocable offer
	// Change may set what has no field here, such as health checks, in what is sent; nil: nothing.
	Change func(*wire.TaskInfo)
}

// Command is a program. Either Shell is set, or Args.
type Command struct {
	Shell string   // for /bin/sh -c
	Args  []string // the program and its arguments
	Env   map[string]string
	User  string // empty: that of the framework
	URIs  []URI  // fetched into the task's folder before it starts
}

// URI is a file that a task needs.
type URI struct {
	Value      string
	Executable bool
	Extract    bool // of archives
	As         string
}

// ExecutorInfo is an executor of the framework's own that runs tasks. Tasks with equal ones on a node share it.
type ExecutorInfo struct {
	ID        string
	Command   *Command
	Resources structs.Resources // beside those of its tasks
	Data      []byte
	Grace     time.Duration // between SHUTDOWN and its end; 0: 5 s
	Change    func(*wire.ExecutorInfo)
}

// Update is what is new of a task.
type Update struct {
	Task     string
	State    structs.TaskStatus
	Node     string
	Executor string
	Reason   string // as Mesos names it, without REASON_; may be empty
	Message  string
	Data     []byte // of its executor
	Labels   map[string]string
	Healthy  *bool // nil: it has no health check, or did not say yet
	Time     time.Time
	Alloc    string   // the allocation that it is in; proffer alloc shows it
	IPs      []string // where it is reached
	By       By
	uuid     []byte
	session  *session
}

// By is who says something of a task.
type By string

const (
	ByServer   By = "server" // without the node: it was refused, or its node is away, or the scheduler asked
	ByNode     By = "node"
	ByExecutor By = "executor"
)

// Over reports whether nothing more will come of the task: it ended, or the region knows nothing of it. Its resources are free, and it may be
// launched again under another ID.
func (u *Update) Over() bool { return u.State.Ended() || u.State == structs.TaskUnknown }

// Message is what an executor said to its scheduler.
type Message struct {
	Node, Executor string
	Data           []byte
}

// Window is when a node is to be given up.
type Window struct {
	Node        string
	Unavailable structs.Window
}

// OperationUpdate is what became of an operation.
type OperationUpdate struct {
	ID      string
	State   string // as Mesos names it, without OPERATION_: FINISHED, or why not: ERROR, DROPPED, and UNKNOWN when the region knows of none
	Message string
	Node    string // empty: it is not known
	uuid    []byte
}

// Operation is one thing that is done with offers, in Driver.Accept.
type Operation interface {
	operation(on *Offer) (wire.Operation, []*Task)
}

// Launch launches tasks, each by itself.
type Launch []*Task

// LaunchGroup launches tasks together: they are killed together, too. With an Executor without a Command they are a pod, which the node
// runs itself.
type LaunchGroup struct {
	Executor *ExecutorInfo
	Tasks    []*Task
}

// Other is any operation, in the words of the wire.
type Other wire.Operation

// Want is a shape of resources that the framework has use for.
type Want struct {
	Resources structs.Resources
	Node      string // only there; empty: anywhere
}
