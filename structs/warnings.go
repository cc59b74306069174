package structs

import "fmt"

// Warnings says what a valid job may do that its author may not expect, one sentence each.
func (j *Job) Warnings(drivers ConfigChecks) (out []string) {
	for _, g := range j.Groups {
		for _, t := range g.Tasks {
			if w := g.showsPassword(t); w != "" {
				out = append(out, w)
			}
		}
		for _, t := range g.Tasks {
			if w := g.waitsForNode(t, drivers[t.Driver].Unfenced); w != "" {
				out = append(out, w)
				break // one of a group says it
			}
		}
	}
	return out
}

// waitsForNode says that a volume of g may have to wait for a node which is cut off, since nobody ends t there; empty: it need not.
func (g *Group) waitsForNode(t *Task, unfenced string) string {
	if unfenced == "" || g.OnLost == OnLostFence {
		return ""
	}
	for _, v := range g.Volumes {
		if !v.Alone() || v.Plugin == "" && v.Size != 0 { // one that it makes is on the disk of a node, and goes nowhere
			continue
		}
		return fmt.Sprintf("group %q: volume %q is for one allocation at a time, and task %q cannot be fenced by the %s driver (%s): when its node is cut off and the "+
			"storage plugin has no controller that can take the volume back, nothing replaces the allocation until the node is back, or an operator says that nothing "+
			"there writes any more (node purge, volume detach -force)", g.Name, v.Name, t.Name, t.Driver, unfenced)
	}
	return ""
}
