package placement

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Volume is a persistent volume that an allocation uses, as it is when its ask is compiled.
type Volume struct {
	Name     string
	Node     structs.NodeID // that it is on; empty: on none yet
	NodeName string
	Takes    structs.Bytes // of the disk of a node where it is made; 0: it exists, or is Missing
	Disk     string        // of the node, by name, with Takes; empty: that of its data folder
	Alone    bool          // no other allocation that is alone may have it
	Missing  string        // why it cannot be had anywhere; empty: it can

	Plugin   string             // that mounts it; empty: it is a folder on the disk of a node
	Topology []structs.Segments // of a plugin's: where it can be reached; empty: everywhere
}

// Operators of conditions that only volumes have.
const (
	hostVolume = "host volume" // right is its name
	missing    = "missing"
	pluginOf   = "plugin of volume" // left is the volume, right its plugin
	holding    = "holding volumes"  // right is a disk, on which volumes can be made
)

// Bound reports whether a is for volumes that are there: by one node alone, by none, or by those that reach them.
func (a *Ask) Bound() bool {
	return slices.ContainsFunc(a.constraints, func(c condition) bool {
		return c.storage && (c.operator == missing || c.operator == pluginOf || c.operator == "=" && c.left.unique())
	})
}

// store compiles what the storage of a group asks for.
func (a *Ask) store(g *structs.Group, volumes []Volume) {
	before := len(a.constraints)
	for _, v := range g.Volumes {
		if v.Type != structs.HostVolume {
			continue
		}
		text := fmt.Sprintf("host volume %q", v.Source)
		if !v.ReadOnly {
			text += " that may be written to"
		}
		spread := g.Propagation(v.Name)
		if spread.Shares() {
			text += ", " + string(spread)
		}
		a.constraints = append(a.constraints, condition{text: text, storage: true, operator: hostVolume, readOnly: v.ReadOnly, spread: spread,
			right: template{[]part{{text: v.Source}}}})
	}
	beside := map[string][]string{}
	for _, v := range volumes {
		switch {
		case v.Missing != "":
			a.constraints = append(a.constraints, condition{text: fmt.Sprintf("volume %q: %s", v.Name, v.Missing), storage: true, operator: missing})
		case v.Plugin != "":
			a.unique = true // it looks at what is attached to a node
			a.constraints = append(a.constraints, condition{text: fmt.Sprintf("volume %q of plugin %q", v.Name, v.Plugin), storage: true, operator: pluginOf,
				left: template{[]part{{text: v.Name}}}, right: template{[]part{{text: v.Plugin}}}, places: v.Topology, beside: beside[v.Plugin]})
			beside[v.Plugin] = append(beside[v.Plugin], v.Name)
		case v.Node != "":
			a.unique = true
			a.constraints = append(a.constraints, condition{text: fmt.Sprintf("volume %q is on node %s", v.Name, v.NodeName), storage: true,
				operator: "=", left: template{[]part{{kind: nodeID}}}, right: template{[]part{{text: string(v.Node)}}}})
			if v.Alone {
				a.Resources = a.Resources.Add(structs.Resources{Sets: map[string][]string{structs.VolumeSet: {v.Name}}})
			}
		default:
			if v.Disk != "" {
				a.constraints = append(a.constraints, condition{text: fmt.Sprintf("disk %q that is not raw", v.Disk), storage: true, operator: holding,
					right: template{[]part{{text: v.Disk}}}})
			}
			a.Resources = a.Resources.Add(structs.OnDisk(v.Disk, v.Takes))
		}
	}
	if slices.ContainsFunc(g.Tasks, func(t *structs.Task) bool { return (t.Driver == "" || t.Driver == DefaultDriver) && t.Mounts() > 0 }) {
		a.constraints = append(a.constraints, condition{text: "exec with isolation, to mount", storage: true, operator: "=",
			left: template{[]part{{text: "driver.exec.isolation.full", kind: attrRef}}}, right: template{[]part{{text: "true"}}}})
	}
	for _, c := range a.constraints[before:] {
		a.stated += fmt.Sprintf(" %q %q", c.text, c.right.parts)
		if c.places != nil {
			a.stated += fmt.Sprintf(" %q", c.places)
		}
	}
}
