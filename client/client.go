// Package client is the node: it says what the machine has, keeps one session with the servers, and makes what the region
// wants of it true: allocations, their folders, their tasks, their end. See DESIGN.md.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/proffer/proffer/client/checks"
	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/client/fetch"
	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/items"
	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Client is one node. Its methods may be called from any goroutine; those that the session calls are named after what they
// bring.
type Client struct {
	config   Config
	log      *slog.Logger
	lock     *flock.Flock
	store    *store.Store
	node     *runner.Node
	uplink   Uplink
	lease    *lease
	self     atomic.Pointer[structs.Node]
	telling  sync.Mutex // while self is replaced
	settings atomic.Pointer[Settings]
	jobs     *jobs
	fetch    *fetch.Cache

	watching context.Context // ends with Stop: the runners watch no longer
	unwatch  context.CancelCauseFunc
	routines sync.WaitGroup
	collect  chan struct{}     // something ended; capacity 1
	booted   map[string]string // attributes of this boot; set before Start
	overfull bool              // the disk is, and there is nothing to remove: it was said; of collectGarbage
	health   health
	diskUse  func() (int, error) // percent
	unread   bool                // a record of an allocation cannot be used; set by New
	counts   counts              // see Figures

	mu      sync.Mutex
	memory  store.Node
	held    map[structs.AllocID]*held
	slots   map[slot][]*held // held ones by what one of them follows another in
	ended   map[structs.AllocID]*ended
	foreign bool   // the servers' generation is not that of the node's work
	welcome string // generation of the present session
	server  string // that the session is with; empty: there is none
	leaving bool
	stopped bool
	gone    bool            // an operator marked the node gone
	online  context.Context // ends when no session is tried any more; nil: none ever was
}

// slot is what only one allocation shall have at a time: each later one has a larger incarnation.
type slot struct {
	job, group string
	index      int
}

func slotOf(a *structs.Allocation) slot {
	if a.External != nil {
		return slot{group: string(a.ID)} // no other one ever takes its place
	}
	return slot{a.Job, a.Group, a.Index}
}

// held is an allocation that has not ended.
type held struct {
	alloc *structs.Allocation // newest that was recorded
	job   jobKey
	run   *runner.Alloc
}

// ended is what stays in memory of an ended one.
type ended struct {
	at     structs.Time
	folder bool
	why    string // it was removed
	gone   bool   // the region forgot it
}

// New opens the data folder and looks at the machine. Nothing runs yet. The errors are Invalid (configuration, or a damaged
// folder), Conflict (another region's folder, or another agent uses it), Exhausted (full disk) and Unavailable.
func New(ctx context.Context, config Config) (*Client, error) {
	if err := config.fill(); err != nil {
		return nil, err
	}
	c := &Client{config: config, log: config.Log, lease: newLease(config.Clock), jobs: newJobs(),
		held: make(map[structs.AllocID]*held), ended: make(map[structs.AllocID]*ended),
		slots: make(map[slot][]*held), collect: make(chan struct{}, 1)}
	c.diskUse = func() (int, error) { return diskUse(c.config.DataDir) }
	c.settings.Store(&Settings{config.Meta, config.Attributes, config.Resources, config.Reserved, config.ReservedFor, nil, nil, config.GC})
	c.watching, c.unwatch = context.WithCancelCause(context.Background())
	if err := c.openFolder(); err != nil {
		return nil, err
	}
	if err := c.load(ctx); err != nil {
		return nil, errors.Join(err, c.closeFolder())
	}
	if v := config.Volumes; v != nil {
		v.Plugins, v.Self = config.Plugins, func() structs.NodeID { return c.memory.ID }
	}
	if config.Connect != nil {
		c.uplink = config.Connect(c)
		if config.Volumes != nil {
			config.Volumes.Told = c.uplink.Purged
		}
	}
	return c, nil
}

// openFolder makes the folders, takes the lock and opens the store.
func (c *Client) openFolder() error {
	dir := c.config.DataDir
	// Tasks with other users must be able to pass through, not to look around.
	for _, path := range []string{dir, c.allocRoot()} {
		if err := os.MkdirAll(path, 0o711); err != nil {
			return structs.Errorf(structs.Unavailable, "data folder "+dir, "it cannot be made: %w", err).
				Advise("choose another folder with -data-dir, or make this one writable")
		}
	}
	taskdir.Spread(c.allocRoot())
	c.lock = flock.New(filepath.Join(dir, "lock"))
	locked, err := c.lock.TryLock()
	if err != nil {
		return structs.Errorf(structs.Unavailable, "data folder "+dir, "it cannot be locked: %w", err)
	}
	if !locked {
		return structs.Errorf(structs.Conflict, "data folder "+dir, "another agent uses it").
			Advise("stop that agent, or give this one a folder of its own with -data-dir")
	}
	if c.store, err = store.Open(c.config.Disk, filepath.Join(dir, "state")); err != nil {
		return errors.Join(err, c.lock.Unlock())
	}
	if c.fetch, err = fetch.Open(c.config.fetch()); err != nil {
		return errors.Join(err, c.closeFolder())
	}
	return nil
}

func (c *Client) allocRoot() string { return filepath.Join(c.config.DataDir, "allocs") }

func (c *Client) closeFolder() error { return errors.Join(c.store.Close(), c.lock.Unlock()) }

// load reads what the node remembers and finds out what the machine has.
func (c *Client) load(ctx context.Context) error {
	known, err := c.store.Node(c.config.Region)
	if err != nil {
		return err
	}
	if known != nil {
		if c.memory, err = c.whoNow(ctx, *known); err != nil {
			return err
		}
		c.gone = c.memory.Gone
		c.leaving = c.gone
	} else {
		c.memory = store.Node{Format: store.Format, ID: structs.NewNodeID(), Region: c.config.Region}
		if err := c.store.Commit(ctx, store.PutNode(&c.memory)); err != nil {
			return err
		}
	}
	if c.memory.Boot == c.config.BootID && c.config.BootID != "" {
		c.lease.extend(session.Instant(c.memory.Lease))
	}
	c.node = &runner.Node{Store: c.store, Drivers: make(map[string]drivers.Driver), Self: c.Node, Region: c.config.Region,
		Root: c.allocRoot(), Log: c.log, Report: c.report, Lease: c.lease.hold, Holds: c.lease.holds, Starts: make(map[string]chan struct{}),
		Checks: checks.NewPool(), Providers: c.config.Providers, Fetch: c.fetch, Dial: network.Dial,
		Stock: runner.NewStock(fingerprint.Cores()), GPUs: c.gpuMeter(), Executors: c.config.Executors, ExecutorSocket: c.config.ExecutorSocket, ExecutorToken: c.config.ExecutorToken, Items: items.New(c.want)}
	c.node.BoundsDisk = c.config.Limits != nil && c.config.Limits.Mode() != disk.Off
	if c.config.Volumes != nil {
		c.node.Bind = c.config.Volumes.Bind
	}
	for _, d := range c.config.Drivers {
		c.node.Drivers[d.Name()], c.node.Starts[d.Name()] = d, make(chan struct{}, c.config.ParallelStarts)
		if i, ok := d.(drivers.Imager); ok {
			c.node.Images = i
		}
	}
	allocs, problems := c.store.Allocs()
	c.unread, c.counts.unread = len(problems) > 0, len(problems)
	for _, p := range problems {
		c.log.Error("a record of the node cannot be used; what runs of it is not touched", "err", p)
	}
	for _, known := range allocs {
		run, err := runner.New(c.node, known)
		if err != nil {
			c.unread = true
			c.counts.unread++
			c.log.Error("a record of the node cannot be used; what runs of it is not touched", "alloc", known.Alloc.ID, "err", err)
			continue
		}
		h := &held{alloc: known.Alloc, job: keyOf(known.Job), run: run}
		c.holdLocked(h)
		c.jobs.refer(known.Job)
	}
	if c.unread {
		c.node.Stock.Close("a record of the node cannot be read, and what its tasks have is not known")
	}
	c.jobs.drop(c.store)
	for _, id := range c.store.EndedIDs() {
		e, err := c.store.Ended(id)
		if err != nil {
			c.counts.unread++
			c.log.Error("the record of an end cannot be used", "alloc", id, "err", err)
			continue
		}
		c.ended[id] = &ended{at: e.Update.Time, folder: e.Folder, why: e.Why}
	}
	n, err := fingerprint.Machine(ctx, c.machine())
	if err != nil {
		return err
	}
	c.noticeBoot(allocs)
	n.ID, n.Name, n.Datacenter, n.Address, n.Version = c.memory.ID, c.config.Name, c.config.Datacenter, c.config.Address, c.config.Version
	c.describe(n)
	c.self.Store(n)
	return nil
}

// describe adds to what is found on a machine what its client says of it.
func (c *Client) describe(n *structs.Node) {
	maps.Copy(n.Attributes, c.booted)
	if c.config.AllowIsolationNone {
		n.Attributes["isolation.none"] = "1"
	}
	if _, port, err := net.SplitHostPort(c.config.Executors); err == nil && port != strconv.Itoa(structs.UsualAgentPort) && n.Attributes[structs.AttrAgentPort] == "" {
		n.Attributes[structs.AttrAgentPort] = port
	}
	if c.config.Limits != nil {
		maps.Copy(n.Attributes, c.config.Limits.Attributes())
	}
	if p := c.config.Plugins; p != nil {
		n.Plugins = p.Nodes()
	}
}

// machine is what fingerprint is asked with.
func (c *Client) machine() fingerprint.Config {
	s := c.settings.Load()
	var held structs.Resources
	c.mu.Lock()
	for _, h := range c.held {
		held = held.Add(h.alloc.Booked())
	}
	c.mu.Unlock()
	var host map[string]*structs.NodeHostVolume
	var disks map[string]*structs.NodeDisk
	if v := c.config.Volumes; v != nil {
		held.Disk += v.Disk()
		host, disks = v.Host(), v.Disks()
	}
	return fingerprint.Config{DataDir: c.config.DataDir, Attributes: s.Attributes, Meta: s.Meta,
		Resources: s.Resources, Reserved: s.Reserved, ReservedFor: s.For, PortRange: c.config.PortRange, Hosts: c.config.Hosts, HostNetwork: c.config.HostNetwork, Networks: c.config.Networks,
		Drivers: c.config.Drivers, GPUs: c.config.GPUs, Held: held, Found: c.foundGPUs, HostVolumes: host, Disks: disks}
}

// Start adopts what ran before and begins to serve. It returns once every task that was recorded was looked for, or ctx
// ended. After an error, Stop.
func (c *Client) Start(ctx context.Context) error {
	begun := time.Now()
	left, _ := c.lease.left()
	c.mu.Lock()
	adopted := make([]*runner.Alloc, 0, len(c.held))
	for _, h := range c.held {
		if h.alloc.OnLost == onLostFence && left <= 0 && h.run.Begun() {
			h.run.Fence("the node's lease ended, and on_lost is fence")
		}
		adopted = append(adopted, h.run)
	}
	for _, h := range c.held {
		c.launch(h)
	}
	quarantined := c.quarantinedLocked()
	c.mu.Unlock()
	for _, run := range adopted {
		select {
		case <-run.Ready():
		case <-ctx.Done():
			return structs.Errorf(structs.Unavailable, "node", "not all tasks were looked for: %w", context.Cause(ctx))
		}
	}
	c.counts.adopting.Store(int64(time.Since(begun)))
	if len(adopted) > 0 {
		c.log.Info("adopted the allocations of the last run", "allocs", len(adopted), "quarantined", quarantined)
	}
	c.node.KeepOff(ctx)
	c.sweep(ctx)
	c.routines.Go(func() { c.watchLease(c.watching) })
	c.routines.Go(func() { c.renewFencers(c.watching) })
	c.routines.Go(func() { c.lookAgain(c.watching) })
	c.routines.Go(func() { c.collectGarbage(c.watching) })
	c.routines.Go(func() { c.watchHealth(c.watching) })
	c.routines.Go(func() { c.watchCores(c.watching) })
	for _, d := range c.config.Drivers {
		if k, ok := d.(drivers.Keeper); ok {
			c.routines.Go(func() { k.Keep(c.watching, c.knows) })
		}
	}
	for _, p := range c.config.Providers {
		c.routines.Go(func() { p.Keep(c.watching, c.knowsAlloc) })
	}
	c.routines.Go(func() { c.watchSlack(c.watching) })
	c.routines.Go(func() { c.watchDisk(c.watching) })
	if c.config.Plugins != nil {
		c.routines.Go(func() { c.watchPlugins(c.watching) })
	}
	switch {
	case c.gone:
		c.routines.Go(func() { c.leaveForGood(c.watching) })
	case c.uplink != nil:
		var offline context.CancelFunc
		c.mu.Lock()
		c.online, offline = context.WithCancel(c.watching)
		c.mu.Unlock()
		c.routines.Go(func() {
			defer offline()
			c.uplink.Run(c.watching)
		})
	}
	return nil
}

// sweep lets drivers forget ended tasks of allocations whose end is recorded.
func (c *Client) sweep(ctx context.Context) {
	for _, d := range c.config.Drivers {
		s, ok := d.(drivers.Sweeper)
		if !ok {
			continue
		}
		err := s.Sweep(ctx, c.holds)
		if err != nil {
			c.log.Warn("what ended tasks left cannot be removed", "driver", d.Name(), "err", err)
		}
	}
}

// holds reports whether a driver's id is of a start that is not over, of an allocation that has not ended. An id that does not say
// which start is of any.
func (c *Client) holds(id string) bool {
	alloc, task, start := cutTask(id)
	c.mu.Lock()
	h := c.held[alloc]
	c.mu.Unlock()
	if h == nil {
		return false
	}
	number, err := strconv.ParseUint(start, 10, 64)
	return err != nil || h.run.Needs(task, number)
}

// knows is holds for what may still run: while a record cannot be read, it may be that of any task.
func (c *Client) knows(id string) bool { return c.unread || c.holds(id) }

// knowsAlloc is knows for an allocation.
func (c *Client) knowsAlloc(id structs.AllocID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unread || c.held[id] != nil
}

// Stop ends watching: tasks go on, and the next Start finds them. It returns when no goroutine is left, or with ctx's error.
func (c *Client) Stop(ctx context.Context) error {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return nil
	}
	c.stopped = true
	c.mu.Unlock()
	c.unwatch(errStopping)
	done := make(chan struct{})
	go func() {
		c.routines.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return structs.Errorf(structs.Unavailable, "node", "it does not stop: %w", context.Cause(ctx))
	}
	c.node.Checks.Close()
	return c.closeFolder()
}

var errStopping = structs.Errorf(structs.Unavailable, "node", "the agent stops")

// Leave stops all work, tells the servers, and then does what Stop does. Nothing is started any more.
func (c *Client) Leave(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	gone := c.gone
	c.mu.Unlock()
	if err := c.endWork(ctx, "the node leaves the region"); err != nil {
		return errors.Join(err, c.Stop(ctx))
	}
	var err error
	if c.uplink != nil && !gone { // then it did, or nobody listens
		err = c.uplink.Leave(ctx)
	}
	return errors.Join(err, c.Stop(ctx))
}

// Node returns what the node says of itself now. The value is not to be changed.
func (c *Client) Node() *structs.Node { return c.self.Load() }

// Connected returns the name of the server that the session is with, and whether there is one.
func (c *Client) Connected() (server string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server, c.server != ""
}

// imagesEvery is how often at most the servers are told of images alone: they come and go with the work.
const imagesEvery = 5 * time.Minute

// lookAgain watches drivers and devices and tells when they changed.
func (c *Client) lookAgain(ctx context.Context) {
	var told time.Time // of images
	ticker := time.NewTicker(c.config.FingerprintEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		before := c.self.Load()
		c.refresh(func(n *structs.Node) *structs.Node {
			machine := c.machine()
			machine.KeepImages = time.Since(told) < imagesEvery
			return fingerprint.Again(ctx, n, machine)
		})
		if !fingerprint.SameImages(before, c.self.Load()) {
			told = time.Now()
		}
		c.noteState()
	}
}

// refresh replaces what the node says of itself and tells the servers when it changed.
func (c *Client) refresh(change func(old *structs.Node) *structs.Node) {
	for {
		old := c.self.Load()
		n := change(old)
		if n == old || c.watching.Err() != nil {
			return
		}
		c.telling.Lock() // the newest is told last
		swapped := c.self.CompareAndSwap(old, n)
		if swapped && c.uplink != nil {
			c.uplink.Fingerprint(n)
		}
		c.telling.Unlock()
		if swapped {
			c.log.Info("the node changed", "drivers", healthy(n))
			if !maps.Equal(old.Attributes, n.Attributes) || !maps.Equal(old.Meta, n.Meta) {
				c.tellRuns()
			}
			return
		}
	}
}

// tellRuns says to what runs that the node changed.
func (c *Client) tellRuns() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		h.run.NodeChanged()
	}
}

func healthy(n *structs.Node) (names []string) {
	for name, d := range n.Drivers {
		if d.Healthy {
			names = append(names, name)
		}
	}
	return names
}

// Attributes that say what is wrong with the node itself.
const (
	attrQuarantine = "quarantine.count"
	attrState      = "state.error"
)

// noteState shows quarantined work and a store that cannot be written as attributes.
func (c *Client) noteState() {
	c.mu.Lock()
	quarantined := c.quarantinedLocked()
	c.mu.Unlock()
	want := map[string]string{}
	if quarantined > 0 {
		want[attrQuarantine] = strconv.Itoa(quarantined)
	}
	if err := c.store.Err(); err != nil {
		want[attrState] = err.Error()
	}
	c.refresh(func(old *structs.Node) *structs.Node {
		if old.Attributes[attrQuarantine] == want[attrQuarantine] && old.Attributes[attrState] == want[attrState] {
			return old
		}
		n := *old
		n.Attributes = maps.Clone(old.Attributes)
		delete(n.Attributes, attrQuarantine)
		delete(n.Attributes, attrState)
		maps.Copy(n.Attributes, want)
		return &n
	})
}

func (c *Client) quarantinedLocked() (n int) {
	for _, h := range c.held {
		if h.run.State().Quarantined != "" {
			n++
		}
	}
	return n
}

// report passes a runner's news on.
func (c *Client) report(u *structs.AllocUpdate) {
	if c.uplink != nil {
		c.uplink.Observe(u)
	}
}

// want passes on what templates ask for.
func (c *Client) want(add, drop []session.Ref) {
	if c.uplink != nil {
		c.uplink.Want(add, drop)
	}
}

// Items brings what was asked for. The session calls it.
func (c *Client) Items(list []*session.Item) { c.node.Items.Take(list) }

func notFound(id structs.AllocID) error {
	return structs.Errorf(structs.NotFound, fmt.Sprintf("allocation %s", structs.Short(id)), "the node does not have it")
}
