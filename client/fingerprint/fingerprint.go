// Package fingerprint finds out what a machine has: cores, memory, disk, system, addresses, devices and drivers.
package fingerprint

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Config is what the operator says of the node.
type Config struct {
	DataDir     string // its disk is the node's
	Attributes  map[string]string
	Meta        map[string]string
	Resources   structs.Resources // non-zero amounts replace what is found; custom, ranges and sets are added
	Reserved    structs.Resources
	PortRange   structs.Range            // zero: 20000 to 32000
	Hosts       []string                 // zero: the addresses of the machine
	HostNetwork map[string][]string      // likewise, by name
	Networks    func() map[string]string // attributes of the networks that allocations can have; nil: none
	Drivers     []drivers.Driver
	ReservedFor map[string]*structs.Resources                   // by role: of what is not Reserved, at most all of it
	GPUs        GPUs                                            // nil: NVIDIA's tool, when it is installed
	Found       func(gpus []GPU, resources []string, err error) // hears which GPUs there are, and the resource of each; nil: nobody
	KeepImages  bool                                            // Again: those that a driver said before count on
	Held        structs.Resources                               // by allocations: of the disk it counts as free, and GPUs are not gone when they cannot be seen

	HostVolumes map[string]*structs.NodeHostVolume
	Disks       map[string]*structs.NodeDisk // for volumes; each is a resource unless it has a problem
}

// DefaultPorts are the host ports that tasks share.
var DefaultPorts = structs.Range{First: 20000, Last: 32000}

// driverLimit is how long a driver may take to say how it is.
const driverLimit = 10 * time.Second

// Machine looks at the whole machine. What cannot be found is left out; a wrong configuration is an error.
func Machine(ctx context.Context, c Config) (*structs.Node, error) {
	n := &structs.Node{Attributes: make(map[string]string), Meta: maps.Clone(c.Meta), PortRange: c.PortRange,
		Hosts: slices.Clone(c.Hosts), Networks: c.HostNetwork, Reserved: c.Reserved, ReservedFor: c.ReservedFor, HostVolumes: c.HostVolumes}
	var problems structs.Problems
	c.Resources.Problems("client.resources", &problems)
	c.Reserved.Problems("client.reserved", &problems)
	structs.CheckStatic("client.reserve", c.ReservedFor, &problems)
	if n.PortRange == (structs.Range{}) {
		n.PortRange = DefaultPorts
	}
	if r := n.PortRange; r.First < 1 || r.Last > 65535 || r.Last < r.First {
		problems.Add("client.port_range", "%d to %d is not a range of ports (1 to 65535)", r.First, r.Last)
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}

	a := n.Attributes
	cores := runtime.NumCPU()
	a["cpu.cores"] = strconv.Itoa(cores)
	a["cpu.arch"] = runtime.GOARCH
	a["kernel.name"] = runtime.GOOS
	a["os.name"] = runtime.GOOS
	system(a)
	memory := memoryOf()
	if memory > 0 {
		a["memory.bytes"] = strconv.FormatInt(int64(memory), 10)
	}
	free, total, err := Disk(c.DataDir)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "data folder "+c.DataDir, "its disk cannot be looked at: %w", err)
	}
	a["disk.bytes"] = strconv.FormatInt(int64(total), 10)
	n.Resources = structs.Resources{
		CPU:    structs.Milli(cores) * 1000,
		Memory: memory,
		Disk:   max(roundDown(min(total, free+c.Held.Disk), 64<<20), c.Held.Disk+c.Reserved.Disk), // others may fill it
	}
	if len(n.Hosts) == 0 {
		n.Hosts = addresses()
	}
	if len(n.Hosts) > 0 {
		a["network.ip"] = n.Hosts[0]
	}
	overrideResources(&n.Resources, c.Resources)
	disks(n, c.Disks)
	n.Resources.Ports = int(n.PortRange.Last - n.PortRange.First + 1)
	noteNetworks(a, c)
	devices(ctx, n, c)
	n.Drivers = Drivers(ctx, c.Drivers)
	Describe(n)
	maps.Copy(a, c.Attributes)
	if !n.Resources.Fits(n.Reserved) {
		return nil, structs.Errorf(structs.Invalid, "client.reserved", "more is reserved (%s) than the machine has (%s)", n.Reserved, n.Resources)
	}
	var sum structs.Resources
	for _, amount := range c.ReservedFor {
		sum = sum.Add(*amount)
	}
	// A device that is gone keeps no agent from starting.
	if have := n.Available(); !have.Fits(structs.Resources{CPU: sum.CPU, Memory: sum.Memory, Disk: sum.Disk}) {
		return nil, structs.Errorf(structs.Invalid, "client.reserve", "more is reserved for roles (%s) than work can have here (%s)", sum, have)
	}
	if beyond := structs.OfPorts(sum.PortRanges()).Sub(structs.OfPorts([]structs.Range{n.PortRange})); !beyond.IsZero() {
		return nil, structs.Errorf(structs.Invalid, "client.reserve", "%s are reserved for roles and not in the port range of the node", beyond)
	}
	return n, nil
}

// Again looks at what changes while the machine runs, drivers and devices, and returns a new value when something did;
// otherwise old.
func Again(ctx context.Context, old *structs.Node, c Config) *structs.Node {
	n := *old
	n.Attributes = maps.Clone(old.Attributes)
	n.Resources.Custom = maps.Clone(old.Resources.Custom)
	for name := range n.Attributes {
		if isDriverAttribute(name) || isDeviceAttribute(name) {
			delete(n.Attributes, name)
		}
	}
	maps.DeleteFunc(n.Resources.Custom, func(name string, _ structs.Milli) bool {
		_, said := c.Resources.Custom[name]
		return structs.IsGPU(name) && !said
	})
	noteNetworks(n.Attributes, c)
	devices(ctx, &n, c)
	disks(&n, sameSize(old.Disks, c.Disks))
	n.Drivers = Drivers(ctx, c.Drivers)
	if c.KeepImages {
		for name, d := range n.Drivers {
			if before := old.Drivers[name]; before != nil {
				d.Images = before.Images
			}
		}
	}
	Describe(&n)
	maps.Copy(n.Attributes, c.Attributes)
	if maps.Equal(n.Attributes, old.Attributes) && maps.EqualFunc(n.Disks, old.Disks, (*structs.NodeDisk).Equal) && maps.Equal(n.Resources.Custom, old.Resources.Custom) &&
		maps.EqualFunc(n.Drivers, old.Drivers, equalDrivers) {
		return old
	}
	return &n
}

// disks gives a node its disks, those that can be used as resources.
func disks(n *structs.Node, all map[string]*structs.NodeDisk) {
	n.Disks = all
	maps.DeleteFunc(n.Resources.Custom, func(name string, _ structs.Milli) bool { _, is := structs.DiskOf(name); return is })
	for name, d := range all {
		if d.Problem == "" {
			n.Resources = n.Resources.Add(structs.OnDisk(name, d.Size))
		}
	}
}

// sameSize leaves disks the size that they were found with: what volumes write is no reason for another one.
func sameSize(before, now map[string]*structs.NodeDisk) map[string]*structs.NodeDisk {
	for name, d := range now {
		if old := before[name]; old != nil && old.Problem == "" && d.Problem == "" && old.Type == d.Type && old.Path == d.Path && d.Type != structs.DiskRaw {
			d.Size = old.Size
		}
	}
	return now
}

func equalDrivers(a, b *structs.Driver) bool {
	return a.Healthy == b.Healthy && a.Why == b.Why && maps.Equal(a.Attributes, b.Attributes) && maps.Equal(a.Images, b.Images)
}

// SameImages reports whether the drivers of two nodes have the same images.
func SameImages(a, b *structs.Node) bool {
	return maps.EqualFunc(a.Drivers, b.Drivers, func(x, y *structs.Driver) bool { return maps.Equal(x.Images, y.Images) })
}

// Drivers asks all drivers, side by side. One that does not answer within 10 s is not healthy. Of their images the largest are
// taken. The values are the caller's.
func Drivers(ctx context.Context, all []drivers.Driver) map[string]*structs.Driver {
	ctx, cancel := context.WithTimeout(ctx, driverLimit)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	out := make(map[string]*structs.Driver, len(all))
	for _, d := range all {
		wait.Go(func() {
			said := d.Fingerprint(ctx)
			if said == nil {
				said = &structs.Driver{Why: "the driver says nothing"}
				if ctx.Err() != nil {
					said.Why = fmt.Sprintf("it did not answer within %s", driverLimit)
				}
			}
			own := *said
			own.Images = structs.BoundImages(said.Images)
			mu.Lock()
			defer mu.Unlock()
			out[d.Name()] = &own
		})
	}
	wait.Wait()
	return out
}

const driverPrefix = "driver."

func isDriverAttribute(name string) bool {
	return len(name) > len(driverPrefix) && name[:len(driverPrefix)] == driverPrefix
}

// Describe writes the drivers into the attributes: driver.NAME, and driver.NAME.KEY for what each says of itself.
func Describe(n *structs.Node) {
	for name, d := range n.Drivers {
		if d.Healthy {
			n.Attributes[driverPrefix+name] = "1"
		}
		for k, v := range d.Attributes {
			if k == "cores" && n.Resources.CPU > structs.Milli(len(Cores()))*1000 { // the region would give more than there are
				k, v = "cores.missing", "the node offers more CPU than it has cores"
			}
			n.Attributes[driverPrefix+name+"."+k] = v
		}
	}
}

// overrideResources lets the operator's amounts win.
func overrideResources(r *structs.Resources, o structs.Resources) {
	if o.CPU != 0 {
		r.CPU = o.CPU
	}
	if o.Memory != 0 {
		r.Memory = o.Memory
	}
	if o.Disk != 0 {
		r.Disk = o.Disk
	}
	*r = r.Add(structs.Resources{Custom: o.Custom, Ranges: o.Ranges, Sets: o.Sets})
}

func roundDown(b, unit structs.Bytes) structs.Bytes { return b / unit * unit }
