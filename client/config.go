package client

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/client/fetch"
	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/volumes"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Config is what a node is made from. It is read once, by New; the maps and slices in it are not changed.
type Config struct {
	DataDir    string // folder of the node; made when missing. One node at a time uses it
	Region     string // required
	Name       string // of the node; required
	Datacenter string // default "dc1"
	Address    string // host:port of the cluster port, as others reach it
	Version    string // of Proffer

	Meta       map[string]string
	Attributes map[string]string // win over what is found
	Resources  structs.Resources // non-zero amounts replace what is found; custom, ranges and sets are added
	Reserved   structs.Resources // kept for the system

	ReservedFor map[string]*structs.Resources // of the rest, set aside for roles

	PortRange structs.Range // zero: 20000 to 32000
	Hosts     []string      // addresses that tasks may use; empty: what is found. The first is the advertised one

	HostNetwork map[string][]string      // beside Hosts, by a name that ports may give
	Networks    func() map[string]string // attributes that say what networks allocations can have; nil: none of their own

	Drivers   []drivers.Driver
	Providers []runner.Provider // what gives allocations networks, volumes; in the order in which they are asked
	Volumes   *volumes.Volumes  // of Providers, the one that has the volumes; nil: none
	Plugins   *csi.Plugins      // of Providers, the storage plugins; nil: none
	Fencers   []Fencer          // who else holds the deadline of the lease

	// Connect makes the node's session with the servers; session.New with a Config that has the node is meant. Nil: the node
	// stays alone.
	Connect func(node session.Node) Uplink
	Clock   session.Clock // nil: session.BootClock()
	BootID  string        // names this boot of the machine; empty: what the system says
	Log     *slog.Logger  // nil: discards

	Limits    *disk.Limits  // bounds what allocations write; nil: nothing does
	DiskEvery time.Duration // between two looks at what they wrote; 0: 10 s

	GC                 GC
	Health             []*structs.Check // commands of the host, of type exec, that tell whether the node is well
	Revocable          Revocable
	Fetch              fetch.Options    // Dir, Boot and Logger are set by the node
	AllowIsolationNone bool             // shown as attribute isolation.none; the drivers enforce it
	FingerprintEvery   time.Duration    // how often drivers and devices are looked at again; 0: 30 s
	Executors          string           // where executors of frameworks reach the node, as ip:port; empty: they do not
	ExecutorSocket     string           // path of a domain socket where they do so, too, alone in its folder; empty: there is none
	ParallelStarts     int              // tasks that are started at the same time by one driver; 0: 64
	GPUs               fingerprint.GPUs // nil: NVIDIA's tool, when it is installed
	Disk               store.Disk       // below the node's state; nil: the file system

	// ExecutorToken returns by what an executor proves at Executors who it is; nil: by nothing.
	ExecutorToken func(framework structs.FrameworkID, executor string, alloc structs.AllocID) string
}

// GC bounds what ended allocations leave on the disk. Zero fields have the default.
type GC struct {
	MaxAge      time.Duration // ended longer ago than this: 24 h
	MaxCount    int           // ended allocations with a folder: 1,000
	MaxDiskUsed int           // percent of the disk; when it is fuller, the oldest go first: 85
	DiskFull    int           // percent of the disk; when it is fuller still, the node gets no more work: 97
	Every       time.Duration // between two looks, beside those when something ended: 1 min
}

// Revocable says how the node estimates what its tasks have reserved and do not use. Zero fields have the default.
type Revocable struct {
	Enabled bool
	Margin  *structs.Milli // what a task is taken to need beyond what it uses, as a part of what it reserved, 0 to 1; nil: 0.1
	Hold    time.Duration  // after its start a task is taken to need all of it for so long: 5 min
	Decay   time.Duration  // then what it is taken to need falls by all of it in so long, at the fastest: 10 min
	Every   time.Duration  // between two looks: 10 s
}

// Uplink is the node's session with the servers, over all reconnects; *session.Client is one.
type Uplink interface {
	// Run keeps a session until ctx ends.
	Run(ctx context.Context) error
	// Observe reports changed allocations; it never blocks and does not call the node.
	Observe(updates ...*structs.AllocUpdate)
	// Fingerprint reports a changed node.
	Fingerprint(n *structs.Node)
	// Purged reports volumes whose data is gone; it never blocks and does not call the node.
	Purged(ids []structs.VolumeID)
	// Want says which other items than before the node wants; it never blocks and does not call the node.
	Want(add, drop []session.Ref)
	// Slack reports how much is reserved on the node and not used; it never blocks and does not call the node.
	Slack(s structs.Slack)
	// Leave says goodbye and waits until it was sent.
	Leave(ctx context.Context) error
}

// Fencer holds the deadline of the lease outside the agent, so that fenced tasks end even without one; *supervisor.Client
// is one.
type Fencer interface {
	// Renew moves the deadline, which is in the time of session.Clock.
	Renew(ctx context.Context, until time.Duration) error
}

func (c *Config) fill() error {
	var problems structs.Problems
	if c.DataDir == "" {
		problems.Add("client.data_dir", "a folder for the node's state is needed")
	}
	for what, name := range map[string]string{"node.name": c.Name, "region": c.Region} {
		if !structs.ValidName(name) {
			problems.Add(what, "%q is not a valid name (letters, digits, -, _ and .; at most 128)", name)
		}
	}
	if c.Datacenter == "" {
		c.Datacenter = "dc1"
	}
	if !structs.ValidName(c.Datacenter) {
		problems.Add("datacenter", "%q is not a valid name", c.Datacenter)
	}
	if c.GC.MaxDiskUsed < 0 || c.GC.MaxDiskUsed > 100 || c.GC.DiskFull < 0 || c.GC.DiskFull > 100 || c.GC.MaxCount < 0 || c.GC.MaxAge < 0 {
		problems.Add("client.gc", "a limit is out of range")
	}
	if r := c.Revocable; r.Margin != nil && (*r.Margin < 0 || *r.Margin > 1000) || r.Hold < 0 || r.Decay < 0 || r.Every < 0 {
		problems.Add("client.revocable", "a value is out of range")
	}
	if err := problems.Err(); err != nil {
		return err
	}
	if c.Clock == nil {
		c.Clock = session.BootClock()
	}
	if c.BootID == "" {
		c.BootID = bootID()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Disk == nil {
		c.Disk = store.OS{}
	}
	setDefault(&c.GC.MaxAge, 24*time.Hour)
	setDefault(&c.GC.MaxCount, 1000)
	setDefault(&c.GC.MaxDiskUsed, 85)
	setDefault(&c.GC.DiskFull, 97)
	setDefault(&c.GC.Every, time.Minute)
	if c.Revocable.Margin == nil {
		c.Revocable.Margin = new(structs.Milli(100))
	}
	setDefault(&c.Revocable.Hold, 5*time.Minute)
	setDefault(&c.Revocable.Decay, 10*time.Minute)
	setDefault(&c.Revocable.Every, 10*time.Second)
	setDefault(&c.FingerprintEvery, 30*time.Second)
	setDefault(&c.DiskEvery, 10*time.Second)
	setDefault(&c.ParallelStarts, 64)
	return nil
}

// fetch is how the node fetches.
func (c *Config) fetch() fetch.Options {
	o := c.Fetch
	o.Dir, o.Boot, o.Logger = filepath.Join(c.DataDir, "fetched"), c.BootID, c.Log
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
