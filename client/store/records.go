package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Keys. An allocation and its job are written once; what changes while it runs is small and has keys of its own.
//
//	node                   Node
//	job/NAME/VERSION       structs.JobVersion
//	alloc/ID               structs.Allocation, as the region sent it last
//	state/ID               State
//	task/ID/NAME           Task
//	detached/ID/COMMAND    Detached: it stays when its allocation ends
//	ended/ID               Ended: all that is left of an ended allocation
const (
	nodeKey     = "node"
	jobPrefix   = "job/"
	allocPrefix = "alloc/"
	statePrefix = "state/"
	taskPrefix  = "task/"
	endedPrefix = "ended/"

	detachedPrefix = "detached/"
)

// Node is what a node remembers of itself.
type Node struct {
	Format     int
	ID         structs.NodeID
	Region     string
	Generation string // of the region that its work belongs to
	Index      uint64 // newest index of desired state that it acted upon
	Boot       string // newest boot of the machine; Lease is of it
	Lease      int64  // end of the lease, in nanoseconds of the clock that counts from the boot
	Cut        int    // how many tasks ran when the boot before this one ended
	Gone       bool   `codec:",omitempty"` // an operator marked it gone, and it knows
}

// Format is the version of the records that this build reads and writes.
const Format = 1

// State is what a node decided about an allocation that has not ended.
type State struct {
	Stop        string // why it is being stopped; empty: it is not
	Fail        bool   // with Stop: it ends as failed
	Hard        bool   // with Stop: without grace
	Quarantined string // why; empty: it is not
	Started     structs.Time
	Restarts    uint64 // newest value of Allocation.Restarts that was obeyed
	Given       *Given // nil: nothing

	Reason string `codec:",omitempty"` // with Stop: of its tasks, which failed; see structs.TaskState
}

// Given is what an allocation was given that its tasks have in common.
type Given struct {
	Netns     string                     // path of its network namespace; empty: the host's
	Addresses []string                   // in its first network, without loopback, IPv4 first
	Hostname  string                     // in it
	Files     []drivers.Mount            // of all tasks with a root of their own
	Mounts    map[string][]drivers.Mount // by task

	Project uint32                       `codec:",omitempty"` // by which the file system bounds its files; 0: it does not
	Joined  []structs.JoinedNetwork      `codec:",omitempty"` // beside the first network
	Pidns   string                       `codec:",omitempty"` // path of the PID namespace that its tasks share which say so; empty: there is none
	Ipcns   string                       `codec:",omitempty"` // likewise
	Env     map[string]map[string]string `codec:",omitempty"` // by task, beside what all have
	Devices map[string][]drivers.Device  `codec:",omitempty"` // by task: volumes that are block devices
}

// Device adds a device that a task sees, unless it is there.
func (g *Given) Device(task string, d drivers.Device) {
	if !slices.Contains(g.Devices[task], d) {
		if g.Devices == nil {
			g.Devices = map[string][]drivers.Device{}
		}
		g.Devices[task] = append(g.Devices[task], d)
	}
}

// Mount adds what a task mounts, unless it is there: whoever is asked again adds nothing twice.
func (g *Given) Mount(task string, m drivers.Mount) {
	if !slices.Contains(g.Mounts[task], m) {
		if g.Mounts == nil {
			g.Mounts = map[string][]drivers.Mount{}
		}
		g.Mounts[task] = append(g.Mounts[task], m)
	}
}

// OwnAddresses returns the addresses of the allocation's own network; nil may be asked.
func (g *Given) OwnAddresses() []string {
	if g == nil {
		return nil
	}
	return g.Addresses
}

// OwnNetworks returns what it has beside the first one; nil may be asked.
func (g *Given) OwnNetworks() []structs.JoinedNetwork {
	if g == nil {
		return nil
	}
	return g.Joined
}

// Task is one task of an allocation that has not ended.
type Task struct {
	Start    uint64 // number of its newest start; durable before the driver is told
	Running  bool   // the newest start has not ended, as far as known
	Handle   []byte // of the driver; nil with Running: it was not stored
	State    structs.TaskState
	Failures []structs.Time // starts that the restart policy counts, oldest first
	Done     bool           // it will not be started again
	// Said is what an executor said of it, of a task that the node does not run itself: the newest, oldest first, and Seq the number of
	// the last.
	Said []*structs.TaskSaid
	Seq  uint64
}

// Ended is all that a node keeps of an ended allocation until the region forgets it too.
type Ended struct {
	Update structs.AllocUpdate
	Job    string
	Group  string
	Index  int
	Folder bool     // the folder is still there
	Why    string   `codec:",omitempty"` // it is not
	Tasks  []string // names
	// Alloc has whose it was and what it held; nil in what older builds wrote.
	Alloc *structs.Allocation `codec:",omitempty"`
}

// Alloc is all that the store has of one allocation that has not ended. State and Tasks may be absent.
type Alloc struct {
	Alloc *structs.Allocation
	Job   *structs.JobVersion
	State *State
	Tasks map[string]*Task

	Detached map[string]*Detached // by the names of commands; nil: there are none
}

// Detached is a command that was detached in a task, until somebody forgets it.
type Detached struct {
	Task     string
	Start    uint64 // number of the task's start that it is in
	Label    string // what whoever began it calls it
	Terminal bool   `codec:",omitempty"`
	Begun    structs.Time
	Killed   bool          `codec:",omitempty"` // somebody wanted its end
	Exit     *drivers.Exit `codec:",omitempty"` // nil: it has not ended, as far as known
}

func encode(v any) []byte {
	out, err := msgpack.Append(nil, v)
	if err != nil {
		panic(fmt.Sprintf("store: %T cannot be encoded: %v", v, err)) // our own types: a fault of the program
	}
	return out
}

func decode(raw []byte, into any) error { return msgpack.Decode(raw, into) }

func jobKey(name string, version uint64) string {
	return fmt.Sprintf("%s%s/%d", jobPrefix, name, version)
}

// PutNode writes what the node remembers of itself.
func PutNode(n *Node) Op { return Op{key: nodeKey, value: encode(n)} }

// PutJob writes a version of a job.
func PutJob(j *structs.JobVersion) Op {
	return Op{key: jobKey(j.Job.Name, j.Version), value: encode(j)}
}

// DeleteJob removes one; the caller knows that nothing refers to it.
func DeleteJob(name string, version uint64) Op { return Op{key: jobKey(name, version), del: true} }

// PutAlloc writes an allocation.
func PutAlloc(a *structs.Allocation) Op { return Op{key: allocPrefix + string(a.ID), value: encode(a)} }

// PutState writes what the node decided about an allocation.
func PutState(id structs.AllocID, s *State) Op {
	return Op{key: statePrefix + string(id), value: encode(s)}
}

// PutTask writes one task.
func PutTask(id structs.AllocID, name string, t *Task) Op {
	return Op{key: taskPrefix + string(id) + "/" + name, value: encode(t)}
}

// DeleteTask removes one, which the region forgot.
func DeleteTask(id structs.AllocID, name string) Op {
	return Op{key: taskPrefix + string(id) + "/" + name, del: true}
}

// PutDetached writes a detached command.
func PutDetached(id structs.AllocID, name string, d *Detached) Op {
	return Op{key: detachedPrefix + string(id) + "/" + name, value: encode(d)}
}

// DeleteDetached forgets one.
func DeleteDetached(id structs.AllocID, name string) Op {
	return Op{key: detachedPrefix + string(id) + "/" + name, del: true}
}

// Detached returns the record of a detached command; NotFound when there is none.
func (s *Store) Detached(id structs.AllocID, name string) (*Detached, error) {
	d := &Detached{}
	found, err := s.load(detachedPrefix+string(id)+"/"+name, d)
	if err == nil && !found {
		err = structs.Errorf(structs.NotFound, "allocation "+structs.Short(id), "it has no command %q", name)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// EachDetached calls f for each detached command that is kept. One that cannot be read is left out.
func (s *Store) EachDetached(f func(id structs.AllocID, name string, d *Detached)) {
	for key := range s.keys(detachedPrefix) {
		id, name, _ := strings.Cut(key, "/")
		if d, err := s.Detached(structs.AllocID(id), name); err == nil {
			f(structs.AllocID(id), name, d)
		}
	}
}

// End replaces all records of an allocation with those of its end.
func End(id structs.AllocID, e *Ended) []Op {
	ops := []Op{
		{key: endedPrefix + string(id), value: encode(e)},
		{key: allocPrefix + string(id), del: true},
		{key: statePrefix + string(id), del: true},
	}
	for _, name := range e.Tasks {
		ops = append(ops, Op{key: taskPrefix + string(id) + "/" + name, del: true})
	}
	return ops
}

// PutEnded writes a changed record of an end.
func PutEnded(id structs.AllocID, e *Ended) Op {
	return Op{key: endedPrefix + string(id), value: encode(e)}
}

// Forget removes what is left of an ended allocation.
func Forget(id structs.AllocID) Op { return Op{key: endedPrefix + string(id), del: true} }

// load decodes the value of a key; false when there is none.
func (s *Store) load(key string, into any) (bool, error) {
	raw, err := s.get(key)
	if err != nil || raw == nil {
		return false, err
	}
	if err := decode(raw, into); err != nil {
		return false, structs.Errorf(structs.Invalid, s.object(), "record %s cannot be read: %w", key, err)
	}
	return true, nil
}

// Node returns what the node remembers of itself; nil in a new store. A record of another region or of a newer format is an
// error.
func (s *Store) Node(region string) (*Node, error) {
	n := &Node{}
	found, err := s.load(nodeKey, n)
	if err != nil || !found {
		return nil, err
	}
	if n.Format > Format {
		return nil, structs.Errorf(structs.Invalid, s.object(), "it was written by a newer release (format %d, this one reads %d)",
			n.Format, Format).Advise("use that release, or an empty data folder")
	}
	if n.Region != region {
		return nil, structs.Errorf(structs.Conflict, s.object(), "it belongs to region %q, not %q", n.Region, region).
			Advise("give each region a data folder of its own, or set region = %q", n.Region)
	}
	return n, nil
}

// Allocs returns the allocations that have not ended, by id. What cannot be used is left out, with the reason in problems.
func (s *Store) Allocs() (allocs []*Alloc, problems []error) {
	jobs := make(map[string]*structs.JobVersion)
	byID := make(map[string]*Alloc)
	for id := range s.keys(allocPrefix) {
		a := &Alloc{Alloc: &structs.Allocation{}, Tasks: make(map[string]*Task)}
		if _, err := s.load(allocPrefix+id, a.Alloc); err != nil {
			problems = append(problems, err)
			continue
		}
		key := jobKey(a.Alloc.Job, a.Alloc.Version)
		if a.Job = jobs[key]; a.Job == nil {
			job := &structs.JobVersion{}
			found, err := s.load(key, job)
			if err == nil && !found {
				err = structs.Errorf(structs.Internal, s.object(), "allocation %s has no record of its job %s version %d",
					id, a.Alloc.Job, a.Alloc.Version)
			}
			if err != nil {
				problems = append(problems, err)
				continue
			}
			a.Job, jobs[key] = job, job
		}
		state := &State{}
		if found, err := s.load(statePrefix+id, state); err != nil {
			problems = append(problems, err)
			continue
		} else if found {
			a.State = state
		}
		byID[id] = a
		allocs = append(allocs, a)
	}
	for key := range s.keys(taskPrefix) {
		id, name, _ := strings.Cut(key, "/")
		a := byID[id]
		if a == nil {
			continue
		}
		t := &Task{}
		if _, err := s.load(taskPrefix+key, t); err != nil {
			problems = append(problems, err)
			continue
		}
		a.Tasks[name] = t
	}
	s.EachDetached(func(id structs.AllocID, name string, d *Detached) {
		if a := byID[string(id)]; a != nil {
			if a.Detached == nil {
				a.Detached = make(map[string]*Detached)
			}
			a.Detached[name] = d
		}
	})
	return allocs, problems
}

// Jobs returns the names and versions of the jobs that are kept.
func (s *Store) Jobs() (jobs []structs.JobVersion) {
	for key := range s.keys(jobPrefix) {
		j := structs.JobVersion{}
		if found, err := s.load(jobPrefix+key, &j); err == nil && found {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// EndedIDs returns the ids of the allocations whose end is kept, sorted.
func (s *Store) EndedIDs() (ids []structs.AllocID) {
	for id := range s.keys(endedPrefix) {
		ids = append(ids, structs.AllocID(id))
	}
	return ids
}

// Ended returns the record of an end; NotFound when there is none.
func (s *Store) Ended(id structs.AllocID) (*Ended, error) {
	e := &Ended{}
	found, err := s.load(endedPrefix+string(id), e)
	if err == nil && !found {
		err = structs.Errorf(structs.NotFound, "allocation "+structs.Short(id), "the node does not know it")
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}
