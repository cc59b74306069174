package structs

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// How tasks see a volume of a plugin.
const (
	AccessMount = "mount" // its files
	AccessBlock = "block" // a block device
)

// Block reports whether tasks see a block device; nil may be asked.
func (v *GroupVolume) Block() bool { return v != nil && v.AccessType == AccessBlock }

// AccessType is how tasks see v, in words.
func (c *CSIVolume) AccessType() string {
	if c != nil && c.Block {
		return AccessBlock
	}
	return AccessMount
}

// blockProblems adds what is wrong with a mount of a block device.
func (m *VolumeMount) blockProblems(p *Problems, at string, t *Task, g *Group) {
	v := g.Volume(m.Volume)
	if !v.Block() {
		return
	}
	if m.Propagation != "" {
		p.Add(at+".propagation", "nothing is mounted below a block device").Advise("leave it out")
	}
	if (m.ReadOnly || v.ReadOnly) && t.Driver == "exec" {
		p.Add(at, "the exec driver cannot keep the superuser of a task from writing to a block device").Advise("use the oci or docker driver, or leave read_only out")
	}
}

// ownDevices are below /dev in every task, or in those with GPUs: nothing else is there.
var ownDevices = []string{"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "core",
	"dri", "kfd"}

// BadDevicePath says why a block device cannot be at a path in a task; empty: it can.
func BadDevicePath(p string) string { return badDevice(p) }

// badDevice says why a block device cannot be at a path in a task; empty: it can.
func badDevice(p string) string {
	name, below := strings.CutPrefix(p, "/dev/")
	first, _, _ := strings.Cut(name, "/")
	switch {
	case !below || path.Clean(p) != p || len(p) > 256 || strings.ContainsAny(p, "\x00:,\\"):
		return fmt.Sprintf("%q is not a path below /dev, and the volume is a block device", p)
	case slices.Contains(ownDevices, first) || strings.HasPrefix(first, "nvidia"):
		return fmt.Sprintf("%q is a device that tasks have of their own", "/dev/"+first)
	}
	return ""
}
