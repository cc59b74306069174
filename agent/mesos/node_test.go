package mesos_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// node is a machine that runs its tasks in a map. Its session is the real one.
type node struct {
	region *region
	ip     string
	name   string
	id     structs.NodeID
	shelf  *shelf // its raw disk; nil: it has none
	port   *cluster.Port
	pool   *rpc.Pool
	up     *session.Client
	end    context.CancelFunc
	done   chan struct{}
	gone   bool                // it was told that it is marked gone
	has    func(*structs.Node) // more, or other things, than every node has; nil: nothing

	first      []string // addresses of what it runs, in a network of its own
	joined     []structs.JoinedNetwork
	mu         sync.Mutex
	allocs     map[structs.AllocID]*work
	generation string // that its work belongs to
	welcome    string // that of the session
	index      uint64
}

// work is one allocation on a node.
type work struct {
	alloc  *structs.Allocation
	status structs.AllocStatus
	tasks  map[string]*structs.TaskState
	said   []*structs.TaskSaid
}

// keys names the tasks of the framework in it. Those of a custom executor are its own affair.
func (w *work) keys() (out []string) {
	if x := w.alloc.External; x != nil && !x.Custom {
		for _, t := range x.Tasks {
			out = append(out, string(w.alloc.Framework)+"/"+t.ID)
		}
	}
	return out
}

// witness stands outside the cluster: it knows which task runs where, whatever the region believes.
type witness struct {
	mu      sync.Mutex
	running map[string]structs.AllocID
	began   map[string]int
	doubles []string
}

func newWitness() *witness {
	return &witness{running: map[string]structs.AllocID{}, began: map[string]int{}}
}

func (x *witness) starts(w *work) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, key := range w.keys() {
		if other, runs := x.running[key]; runs {
			x.doubles = append(x.doubles, fmt.Sprintf("task %s runs in %s and in %s", key, other, w.alloc.ID))
		}
		x.running[key] = w.alloc.ID
		x.began[key]++
	}
}

func (x *witness) ends(w *work) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, key := range w.keys() {
		if x.running[key] == w.alloc.ID {
			delete(x.running, key)
		}
	}
}

type bubbleClock struct{ start time.Time }

func (c bubbleClock) Now() session.Instant { return session.Instant(time.Since(c.start)) }

var clock = bubbleClock{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}

func (n *node) start() {
	r, log := n.region, logger(n.name)
	var err error
	n.port, err = cluster.Listen(cluster.Config{Network: r.mesh.Host(n.ip), Bind: n.ip + ":5052", Region: "global", Logger: log})
	r.check(err)
	n.pool = rpc.NewPool(n.port.DialRPC, rpc.Options{Logger: log})
	n.up = session.New(session.Config{Node: n, Clock: clock, Logger: log,
		Servers: func() (addrs []string) {
			for _, h := range r.servers {
				addrs = append(addrs, h.ip+":5052")
			}
			return addrs
		},
		Dial: func(ctx context.Context, addr string) (session.Stream, error) {
			return n.pool.Stream(ctx, addr, session.Method, nil)
		},
	})
	if n.shelf != nil {
		n.shelf.serve(n.port.Listener(cluster.RPC), log)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.end, n.done = cancel, make(chan struct{})
	up, done := n.up, n.done
	go func() {
		defer close(done)
		up.Run(ctx)
	}()
}

// quit ends the agent of the node alone: its tasks go on, and start goes on with them.
func (n *node) quit() {
	if n.end == nil {
		return
	}
	n.region.mesh.Crash(n.ip)
	n.end()
	<-n.done
	if n.shelf != nil {
		n.shelf.rpc.Close()
	}
	n.pool.Close()
	n.port.Close()
	n.end = nil
}

// powerOff ends the machine: its tasks are gone at once.
func (n *node) powerOff() {
	n.quit()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		n.region.witness.ends(w)
	}
	clear(n.allocs)
	n.index = 0
}

func (n *node) Hello() *session.Hello {
	n.mu.Lock()
	defer n.mu.Unlock()
	hello := &session.Hello{Region: "global", Generation: n.generation, Index: n.index, Work: len(n.allocs), Node: &structs.Node{
		ID: n.id, Name: n.name, Datacenter: "dc1", Address: n.ip + ":5052", Version: "test",
		Resources: structs.Resources{CPU: 8000, Memory: 16 << 30, Disk: 100 << 30, Ports: 1000}, PortRange: structs.Range{First: 20000, Last: 20999},
		Drivers: map[string]*structs.Driver{"exec": {Healthy: true}}, Hosts: []string{n.ip},
		Attributes: map[string]string{"network.cni.a": "true", "network.cni.z": "true"},
	}}
	if n.shelf != nil {
		n.shelf.describe(hello.Node)
	}
	if n.has != nil {
		n.has(hello.Node)
	}
	return hello
}

// becomes has the node say that it is otherwise.
func (n *node) becomes(has func(*structs.Node)) {
	n.mu.Lock()
	n.has = has
	n.mu.Unlock()
	n.up.Fingerprint(n.Hello().Node)
}

func (n *node) Welcome(w *session.Welcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.welcome = w.Generation
	if len(n.allocs) == 0 {
		n.generation = w.Generation
	}
	return nil
}

func (n *node) Observed() (out []*structs.AllocUpdate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		out = append(out, w.update())
	}
	return out
}

func (w *work) update() *structs.AllocUpdate {
	return &structs.AllocUpdate{ID: w.alloc.ID, Incarnation: w.alloc.Incarnation, Status: w.status, Tasks: maps.Clone(w.tasks),
		Said: slices.Clone(w.said), Time: structs.At(time.Now())}
}

func (n *node) Desired(d *session.Desired) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index = d.Index
	for _, a := range d.Allocs {
		w := n.allocs[a.ID]
		switch {
		case w == nil && a.Desired == structs.DesiredRun && !a.Ended():
			n.begin(a)
		case w == nil && a.Desired == structs.DesiredStop && !a.Ended():
			n.up.Observe((&work{alloc: a, status: structs.AllocComplete}).update())
		case w == nil || w.status.Ended():
		case a.Desired == structs.DesiredStop:
			n.kill(w)
		default:
			w.alloc = a // more tasks, or one that is to be killed
			if slices.ContainsFunc(a.External.Tasks, func(x *structs.ExternalTask) bool { return x.Kill != nil }) && !a.External.Custom {
				n.kill(w)
			}
		}
	}
	for _, id := range d.Gone {
		delete(n.allocs, id)
	}
	if d.Full {
		n.absent(d)
	}
}

// absent decides, as the real node does, about what a full state does not name.
func (n *node) absent(d *session.Desired) {
	view := client.View{Held: map[structs.AllocID]client.Held{}, Ended: map[structs.AllocID]bool{}, Same: n.generation == n.welcome}
	for id, w := range n.allocs {
		if !w.status.Ended() {
			view.Held[id] = client.Held{Alloc: w.alloc}
		}
	}
	todo := client.Decide(view, d)
	for _, e := range todo.Stop {
		if e.Alloc == nil {
			n.kill(n.allocs[e.ID])
		}
	}
	for _, e := range todo.Refuse {
		if e.Alloc.Status == structs.AllocLost && n.allocs[e.ID] == nil {
			n.up.Observe(e.Update(structs.At(time.Now())))
		}
	}
	if d.Confirmed {
		n.generation = n.welcome
	}
}

// begin starts an allocation.
func (n *node) begin(a *structs.Allocation) {
	w := &work{alloc: a, status: structs.AllocRunning, tasks: map[string]*structs.TaskState{}}
	n.allocs[a.ID] = w
	n.region.witness.starts(w)
	running := &structs.TaskState{Status: structs.TaskRunning, Started: structs.At(time.Now()), Addresses: n.first, Joined: n.joined}
	if a.External.Custom {
		w.tasks[server.ExecutorTask] = running
	} else {
		for _, x := range a.External.Tasks {
			w.tasks[x.Name] = running
		}
	}
	n.up.Observe(w.update())
}

// endAs ends an allocation with all tasks that the node runs.
func (n *node) endAs(w *work, status structs.AllocStatus, s structs.TaskState) {
	w.status = status
	s.Ended = structs.At(time.Now())
	for name, was := range w.tasks {
		if !was.Status.Ended() {
			end := s
			end.Answer = was.Answer
			w.tasks[name] = &end
		}
	}
	n.region.witness.ends(w)
	n.up.Observe(w.update())
}

func (n *node) kill(w *work) {
	n.endAs(w, structs.AllocComplete, structs.TaskState{Status: structs.TaskKilled})
}

// finish ends the allocation of a task well; it does nothing when the task does not run here.
func (n *node) finish(framework structs.FrameworkID, task string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		if !w.status.Ended() && w.alloc.Framework == framework && w.alloc.External.Task(task) != nil {
			n.endAs(w, structs.AllocComplete, structs.TaskState{Status: structs.TaskFinished})
		}
	}
}

// answers has the check of a task that runs here say something, and returns what is asked.
func (n *node) answers(framework structs.FrameworkID, task string, a *structs.CheckAnswer) (check *structs.Check) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.allocs {
		if x := w.alloc.External.Task(task); !w.status.Ended() && w.alloc.Framework == framework && x != nil {
			is := *w.tasks[x.Name]
			is.Answer, check = a, x.Check
			w.tasks[x.Name] = &is
			n.up.Observe(w.update())
		}
	}
	return check
}

// custom returns the allocation of an executor that runs on the node.
func (n *node) custom(executor string) (found *work) {
	n.region.t.Helper()
	n.region.eventually("executor "+executor, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, w := range n.allocs {
			if !w.status.Ended() && w.alloc.External.Executor == executor {
				found = w
			}
		}
		return found != nil
	})
	return found
}

// says has an executor say how a task of it is, one state after the other.
func (n *node) says(w *work, task string, states ...structs.TaskStatus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range states {
		id := structs.NewID()
		w.said = append(w.said, &structs.TaskSaid{Task: w.alloc.External.Task(task).Name, Seq: uint64(i + 1),
			Update: structs.TaskUpdate{UUID: []byte(id[:16]), State: s, Time: structs.At(time.Now())}})
	}
	w.tasks[w.alloc.External.Task(task).Name] = &structs.TaskState{Status: states[len(states)-1], Started: 1}
	n.up.Observe(w.update())
}

// executorEnds ends the process of an executor, which leaves its tasks in that state.
func (n *node) executorEnds(w *work, code int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endAs(w, structs.AllocFailed, structs.TaskState{Status: structs.TaskFailed, ExitCode: code})
}

func (n *node) Lease(session.Instant) {}
func (n *node) Items([]*session.Item) {}
func (n *node) Lost(error)            {}

// isGone reports whether the node was told that it is marked gone.
func (n *node) isGone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone
}

func (n *node) MarkedGone(*session.Gone) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	for _, w := range n.allocs {
		if !w.status.Ended() {
			n.kill(w)
		}
	}
	return true
}
