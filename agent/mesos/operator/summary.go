package operator

import (
	"slices"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/structs"
)

// tally counts tasks by their states.
type tally map[structs.TaskStatus]int

// tallied are the states that are counted for tools, in a fixed order.
var tallied = []structs.TaskStatus{structs.TaskStaging, structs.TaskStarting, structs.TaskRunning, structs.TaskKilling, structs.TaskFinished,
	structs.TaskKilled, structs.TaskFailed, structs.TaskLost, structs.TaskError, structs.TaskDropped, structs.TaskUnreachable, structs.TaskGone, structs.TaskGoneByOperator}

func (d *document) tally(t tally) {
	for _, s := range tallied {
		d.intAt(stateName(s), int64(t[s]))
	}
}

// summary writes /state-summary.
func (d *document) summary() {
	onNode, ofFramework := map[structs.NodeID]tally{}, map[structs.FrameworkID]tally{}
	frameworksOn, nodesOf := map[structs.NodeID]map[structs.FrameworkID]bool{}, map[structs.FrameworkID]map[structs.NodeID]bool{}
	for a := range d.Allocs() {
		if onNode[a.Node] == nil {
			onNode[a.Node], frameworksOn[a.Node] = tally{}, map[structs.FrameworkID]bool{}
		}
		if ofFramework[a.Framework] == nil {
			ofFramework[a.Framework], nodesOf[a.Framework] = tally{}, map[structs.NodeID]bool{}
		}
		if !a.Ended() {
			frameworksOn[a.Node][a.Framework], nodesOf[a.Framework][a.Node] = true, true
		}
		d.tasks(a, func(t *task) bool {
			onNode[a.Node][t.state]++
			ofFramework[a.Framework][t.state]++
			return true
		})
	}
	host, _ := hostPort(d.leader)
	d.open('{')
	d.textAt("hostname", host)
	d.textAt("cluster", d.self.Region)
	d.key("slaves")
	d.open('[')
	for n := range d.Nodes() {
		if n.Status != structs.NodeReady {
			continue
		}
		d.open('{')
		d.slaveMembers(n)
		d.tally(onNode[n.ID])
		d.listOf("framework_ids", keys(frameworksOn[n.ID]))
		d.close('}')
		d.part()
	}
	d.close(']')
	d.key("frameworks")
	d.open('[')
	for f := range d.Frameworks() {
		if f.Ended != 0 {
			continue
		}
		d.open('{')
		d.frameworkMembers(f)
		d.tally(ofFramework[f.ID])
		d.listOf("slave_ids", keys(nodesOf[f.ID]))
		d.close('}')
		d.part()
	}
	d.close(']')
	d.close('}')
}

// keys returns the keys of a map in order.
func keys[K ~string, V any](of map[K]V) []string {
	out := make([]string, 0, len(of))
	for k := range of {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}

func sorted[V any](of map[string]V) []string { return keys(of) }

// roles writes /roles.
func (d *document) roles() {
	reserved := map[string]structs.Resources{}
	for n := range d.Nodes() {
		byRole, _, _ := d.reserved(n)
		for role, r := range byRole {
			reserved[role] = reserved[role].Add(r)
		}
	}
	in := map[string][]string{} // frameworks, by what clients call the role
	for f := range d.Frameworks() {
		if f.Ended != 0 {
			continue
		}
		for _, role := range d.rolesIn(f) {
			in[role] = append(in[role], string(f.ID))
		}
	}
	d.open('{')
	d.key("roles")
	d.open('[')
	for r := range d.Roles() {
		use, offers := d.RoleUse(r.Name), d.offered.toRole[r.Name]
		used := usedIn(use)
		d.open('{')
		d.textAt("name", mesos.RoleOut(r.Name))
		d.key("weight")
		d.milli(int64(weightOf(r)))
		d.key("quota")
		d.open('{')
		d.textAt("role", mesos.RoleOut(r.Name))
		d.quantities("guarantee", r.Guaranteed())
		d.quantities("limit", r.Limited())
		d.resources("consumed", use.Resources, nil) // also what is revocable
		d.close('}')
		d.resources("resources", used.Add(offers), nil)
		d.resources("allocated", used, nil)
		d.resources("offered", offers, nil)
		d.resources("reserved", reserved[r.Name], nil)
		d.listOf("frameworks", in[mesos.RoleOut(r.Name)])
		d.close('}')
		d.part()
	}
	d.close(']')
	d.close('}')
}
