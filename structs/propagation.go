package structs

import "slices"

// Propagation says who sees what is mounted below a volume while tasks run that mount it.
type Propagation string

// Empty is private.
const (
	PropagationPrivate       Propagation = "private"       // nobody but who mounted it
	PropagationHostToTask    Propagation = "host-to-task"  // the task sees what the host mounts
	PropagationBidirectional Propagation = "bidirectional" // and the host what the task mounts, which may outlive it
)

var propagations = []string{string(PropagationPrivate), string(PropagationHostToTask), string(PropagationBidirectional)}

// Shares reports whether mounts reach the other side at all.
func (x Propagation) Shares() bool { return x != "" && x != PropagationPrivate }

// Within reports whether a mount may be like that where most is allowed.
func (x Propagation) Within(most Propagation) bool {
	return max(slices.Index(propagations, string(x)), 0) <= max(slices.Index(propagations, string(most)), 0)
}

// CheckPropagation adds what is wrong with a propagation that is written somewhere.
func CheckPropagation(p *Problems, at string, x Propagation) {
	if x != "" {
		checkOneOf(p, at, string(x), propagations...)
	}
}

// Propagation is the most that tasks of the group ask for with a volume of it.
func (g *Group) Propagation(volume string) (most Propagation) {
	for _, t := range g.Tasks {
		for _, m := range t.VolumeMounts {
			if m.Volume == volume && !m.Propagation.Within(most) {
				most = m.Propagation
			}
		}
	}
	return most
}

func (m *VolumeMount) propagationProblems(p *Problems, at string, g *Group) {
	CheckPropagation(p, at+".propagation", m.Propagation)
	if !m.Propagation.Shares() {
		return
	}
	if slices.ContainsFunc(g.Volumes, func(v *GroupVolume) bool { return v != nil && v.Name == m.Volume && v.Type != HostVolume }) {
		p.Add(at+".propagation", "%s is for host volumes: nothing is mounted in a volume of the region", m.Propagation)
	}
	if m.Propagation == PropagationBidirectional && (m.ReadOnly || slices.ContainsFunc(g.Volumes, func(v *GroupVolume) bool { return v != nil && v.Name == m.Volume && v.ReadOnly })) {
		p.Add(at+".propagation", "a task that only reads mounts nothing").Advise("leave out read_only, or use host-to-task")
	}
}
