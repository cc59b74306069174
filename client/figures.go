package client

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// Figures is what a node counted and measured since its agent began.
type Figures struct {
	Adopting time.Duration // how long it took to find what the last agent left
	Unread   int           // records of it that could not be used

	Unstarted          uint64        // tasks that could not be started
	Fetched, Unfetched uint64        // times that the artifacts of a task were put into its folder, and that they were not
	Cache, CacheSize   structs.Bytes // of artifacts: in use, and the most

	Folders            int           // of ended allocations, which go by age and disk
	FolderAge          time.Duration // at which they go
	Removed, Unremoved uint64        // such that were removed, and failures to do so

	Ended     int                        // allocations
	Preempted int                        // of these: to make room for other work
	Tasks     map[structs.TaskStatus]int // of these, by how they ended

	Slack structs.Slack             // what is reserved and not used, as the servers were told last
	Pulls map[string]timing.Summary // of images, by driver
}

// counts are those of Figures that are counted, or noted, in passing.
type counts struct {
	removed, unremoved atomic.Uint64
	adopting           atomic.Int64 // nanoseconds
	unread             int          // set by New
	slack              atomic.Pointer[structs.Slack]

	ended, preempted int                        // under Client.mu
	tasks            map[structs.TaskStatus]int // likewise
}

// end counts an allocation that ended, with its tasks: those that the node ran, or all that its framework launched. The caller holds Client.mu.
func (c *counts) end(a *structs.Allocation, names []string) {
	c.ended++
	if c.tasks == nil {
		c.tasks = map[structs.TaskStatus]int{}
	}
	if a.External == nil {
		for _, name := range names {
			c.tasks[a.TaskIs(nil, a.Tasks[name])]++
		}
		return
	}
	if a.External.Preempted {
		c.preempted++
	}
	for _, x := range a.External.Tasks {
		c.tasks[a.TaskIs(x, a.Tasks[x.Name])]++
	}
}

// Figures returns them.
func (c *Client) Figures() Figures {
	f := Figures{Adopting: time.Duration(c.counts.adopting.Load()), Unread: c.counts.unread, Unstarted: c.node.Counts.Unstarted.Load(),
		Fetched: c.node.Counts.Fetched.Load(), Unfetched: c.node.Counts.Unfetched.Load(), FolderAge: c.settings.Load().GC.MaxAge,
		Removed: c.counts.removed.Load(), Unremoved: c.counts.unremoved.Load(), Pulls: map[string]timing.Summary{}}
	if c.fetch != nil {
		f.Cache, f.CacheSize = c.fetch.Used(), c.fetch.Size()
	}
	if s := c.counts.slack.Load(); s != nil {
		f.Slack = *s
	}
	for _, d := range c.config.Drivers {
		if p, ok := d.(drivers.Puller); ok {
			f.Pulls[d.Name()] = p.Pulls()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.Ended, f.Preempted, f.Tasks = c.counts.ended, c.counts.preempted, maps.Clone(c.counts.tasks)
	for _, e := range c.ended {
		if e.folder {
			f.Folders++
		}
	}
	return f
}
