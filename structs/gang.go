package structs

// Gang says how the allocations of a job that run together or not at all are placed.
type Gang struct {
	Within string `json:"within,omitempty" doc:"All get nodes with one value of this attribute, such as ${meta.rack}. Without it, anywhere."`
}

// Bounds of a gang: its placements are one entry of the log.
const (
	MaxGang      = 512       // allocations
	MaxGangBytes = 480 << 10 // that they take, of the 512 KiB of an entry
)

// gangProblems checks the gang block of a job that wants total allocations.
func (j *Job) gangProblems(p *Problems, total int) {
	if j.Gang == nil {
		return
	}
	if j.Type != BatchJob {
		p.Add("gang", "only the allocations of a batch job can be a gang").Advise(`set type = "batch", or leave the gang block out`)
	}
	if j.Gang.Within != "" {
		checkAttribute(p, "gang.within", j.Gang.Within)
	}
	if total > MaxGang {
		p.Add("gang", "%d allocations are more than the %d that can be placed at once", total, MaxGang).
			Advise("make fewer and larger ones, or several jobs")
		return
	}
	bytes := 0
	for _, g := range j.Groups {
		if g != nil && g.Count != nil {
			bytes += max(0, *g.Count) * j.placementBytes(g)
		}
	}
	if bytes > MaxGangBytes && total > 0 {
		p.Add("gang", "%d allocations with these names and ports take %s, and what is placed at once %s", total, Bytes(bytes).Human(),
			Bytes(MaxGangBytes).Human()).Advise("at most %d of them", total*MaxGangBytes/bytes)
	}
}

// placementBytes is what the placement of one allocation takes in the log, rather more than less.
func (j *Job) placementBytes(g *Group) int {
	ask := g.Ask()
	n := 760 + len(j.Name) + len(g.Name) + 140*min(ask.Ports, MaxPorts*MaxTasks)
	if g.Network != nil {
		for _, port := range g.Network.Ports {
			if port != nil {
				n += len(port.Label)
			}
		}
	}
	for name := range ask.Custom {
		n += 24 + len(name)
	}
	return n
}
