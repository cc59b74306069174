package placement

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Volume is a persistent volume that an allocation uses, as it is when its ask is compiled.
type Volume struct {
	Name     string
	Node     structs.NodeID // that it is on; empty: on none yet
	NodeName string
	Takes    structs.Bytes // of the disk of a node where it is made; 0: it exists, or is Missing
	Alone    bool          // no other allocation that is alone may have it
	Missing  string        // why it cannot be had anywhere; empty: it can
}

// Operators of conditions that only volumes have.
const (
	hostVolume = "host volume" // right is its name
	missing    = "missing"
)

// Bound reports whether a can be met by one node alone, or by none, because of a volume.
func (a *Ask) Bound() bool {
	return slices.ContainsFunc(a.constraints, func(c condition) bool {
		return c.storage && (c.operator == missing || c.operator == "=" && c.left.unique())
	})
}

// WithoutVolumes returns set resources without the volumes of the node, which are in no offer.
func WithoutVolumes(sets map[string][]string) map[string][]string {
	if _, has := sets[structs.VolumeSet]; !has {
		return sets
	}
	rest := maps.Clone(sets)
	delete(rest, structs.VolumeSet)
	return rest
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
		a.constraints = append(a.constraints, condition{text: text, storage: true, operator: hostVolume, readOnly: v.ReadOnly,
			right: template{[]part{{text: v.Source}}}})
	}
	for _, v := range volumes {
		switch {
		case v.Missing != "":
			a.constraints = append(a.constraints, condition{text: fmt.Sprintf("volume %q: %s", v.Name, v.Missing), storage: true, operator: missing})
		case v.Node != "":
			a.unique = true
			a.constraints = append(a.constraints, condition{text: fmt.Sprintf("volume %q is on node %s", v.Name, v.NodeName), storage: true,
				operator: "=", left: template{[]part{{kind: nodeID}}}, right: template{[]part{{text: string(v.Node)}}}})
			if v.Alone {
				a.Resources = a.Resources.Add(structs.Resources{Sets: map[string][]string{structs.VolumeSet: {v.Name}}})
			}
		default:
			a.Resources.Disk += v.Takes
		}
	}
	if slices.ContainsFunc(g.Tasks, func(t *structs.Task) bool { return (t.Driver == "" || t.Driver == DefaultDriver) && t.Mounts() > 0 }) {
		a.constraints = append(a.constraints, condition{text: "exec with isolation, to mount", storage: true, operator: "=",
			left: template{[]part{{text: "driver.exec.isolation.full", kind: attrRef}}}, right: template{[]part{{text: "true"}}}})
	}
	for _, c := range a.constraints[before:] {
		a.stated += fmt.Sprintf(" %q %q", c.text, c.right.parts)
	}
}
