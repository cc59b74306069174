package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/proffer/proffer/structs"
)

// Ask is what one allocation of a group needs of a node, compiled. It is immutable.
type Ask struct {
	Job       string
	Group     string
	Resources structs.Resources
	Drivers   []string         // sorted, each once
	MaxRun    structs.Duration // after its start; 0: it may run for ever
	Marks     *structs.Marks   // of its allocations
	Whole     bool             // it wants cores for itself alone: never revocable ones
	Within    string           // of a gang: the attribute of which all its allocations get nodes with one value; empty: anywhere

	needs       []string // what its resources ask of drivers
	images      []image  // that its tasks run from, sorted, each once
	datacenters []string
	constraints []condition
	affinities  []affinity
	spreads     []spread
	properties  []property  // distinct_property
	hosts       scope       // distinct_hosts
	here        []neighbour // rules about other work on the node
	wide        []neighbour // and on the nodes with the same value of an attribute
	within      template    // of Within
	ports       []structs.Port
	networks    []string // attributes of the node, behind "network.", that its network needs
	unnamed     int      // ports without a name
	unique      bool     // it looks at what differs from node to node
	customs     int      // custom scalars that it wants
	special     bool     // it wants more than CPU, memory and disk
	apart       bool     // placement = "spread"
	key         string
	viewKey     string // of what does not depend on amounts
	kept        string // of the keys: what running work adds, see Among
	stated      string // of the view's key: what the user wrote
	later       []phase
	changes     []Change
}

// scope says which allocations a distinct rule counts.
type scope uint8

const (
	nothing scope = iota
	ofGroup       // those of the group
	ofJob         // those of the whole job
)

type property struct {
	text  string
	value template
	limit int
	scope scope
}

type affinity struct {
	condition
	weight int64
}

type spread struct {
	attribute template
	weight    int64
	targets   []structs.SpreadTarget
	rest      int64 // percent for values that are no target
}

// Bounds of what a job may say; validation and Compile refuse more.
const (
	MaxConditions = 64
	MaxRegexp     = 1 << 10
)

// Compile checks and compiles what an allocation of the group needs when it begins to wait; At has what it needs later. A
// job without placement packs. The error is structs.Problems as one Invalid error with every fault in it.
//
// volumes are the persistent volumes that the allocation uses, as they are now.
func Compile(job *structs.Job, group *structs.Group, volumes ...Volume) (*Ask, error) {
	a, err := compile(job, group, 0, volumes)
	if err != nil {
		return nil, err
	}
	times := structs.ChangesOf(job, group)
	if len(times) > structs.MaxChanges {
		return nil, structs.Errorf(structs.Invalid, "group."+group.Name, "%d different times of relax_after and harden_after are more than %d",
			len(times), structs.MaxChanges)
	}
	for _, after := range times {
		ask, err := compile(job, group, after, volumes)
		if err != nil {
			return nil, err
		}
		a.later = append(a.later, phase{after, ask})
	}
	a.noteChanges(job.Constraints)
	a.noteChanges(group.Constraints)
	return a, nil
}

// compile compiles what is asked for after a time of waiting.
func compile(job *structs.Job, group *structs.Group, waited structs.Duration, volumes []Volume) (*Ask, error) {
	var problems structs.Problems
	a := &Ask{Job: job.Name, Group: group.Name, Resources: group.Ask(), MaxRun: group.MaxRunDuration, datacenters: job.Datacenters,
		apart: job.Placement == structs.SpreadApart}
	if tags := job.TagsOf(group); len(tags) > 0 {
		a.Marks = &structs.Marks{Tags: tags}
	}
	if job.Placement != "" && job.Placement != structs.Pack && !a.apart {
		problems.Add("placement", "%q is not pack or spread", job.Placement)
	}
	a.Resources.Problems("group."+group.Name, &problems)
	for _, t := range group.Tasks {
		driver := t.Driver
		if driver == "" {
			driver = DefaultDriver
		}
		a.Drivers = append(a.Drivers, driver)
		if len(t.ImageMounts) > 0 {
			a.Drivers = append(a.Drivers, structs.ImagesDriver)
		}
		a.addImage(driver, t)
		a.compileNeeds(driver, t, &problems)
		if t.Resources != nil {
			a.unnamed += t.Resources.Ports
		}
	}
	slices.Sort(a.Drivers)
	a.Drivers = slices.Compact(a.Drivers)
	a.sortImages()
	if group.Network != nil {
		for _, p := range group.Network.Ports {
			a.ports = append(a.ports, *p)
		}
		a.networks = group.Network.Needs()
	}
	a.unnamed = max(0, a.Resources.Ports-len(a.ports))
	if n := len(job.Constraints) + len(group.Constraints) + len(job.Affinities) + len(group.Affinities); n > MaxConditions {
		problems.Add("group."+group.Name, "%d constraints and affinities are more than %d", n, MaxConditions)
		return nil, problems.Err()
	}
	a.compileConstraints("constraint", job.Constraints, ofJob, waited, &problems)
	a.compileConstraints("group."+group.Name+".constraint", group.Constraints, ofGroup, waited, &problems)
	a.compileAffinities("affinity", job.Affinities, &problems)
	a.compileAffinities("group."+group.Name+".affinity", group.Affinities, &problems)
	if job.Gang != nil {
		a.compileWithin(job.Gang.Within, &problems)
	}
	a.compileSpreads("spread", job.Spreads, &problems)
	a.compileSpreads("group."+group.Name+".spread", group.Spreads, &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	a.keepAway()
	a.state(job, group, waited)
	a.store(group, volumes)
	a.finish()
	return a, nil
}

// DefaultDriver is the driver of tasks that name none.
const DefaultDriver = "exec"

// Plain returns an ask for an amount under no condition, as tests of what comes above want it.
func Plain(job, group string, amount structs.Resources) *Ask {
	a := &Ask{Job: job, Group: group, Resources: amount, unnamed: amount.Ports}
	a.state(&structs.Job{}, &structs.Group{}, 0)
	a.finish()
	return a
}

// Key is equal for asks that fit on the same nodes and score them equally: an equivalence class. It holds the names of
// job and group only where the other allocations of the job matter.
func (a *Ask) Key() string { return a.key }

// Peered reports whether the answer depends on where other allocations are.
func (a *Ask) Peered() bool {
	return a.hosts != nothing || len(a.properties)+len(a.spreads)+len(a.here)+len(a.wide) > 0
}

// keepAway notes whom allocations of a keep away.
func (a *Ask) keepAway() {
	for _, list := range [][]neighbour{a.here, a.wide} {
		for i := range list {
			if r := &list[i]; !r.near && r.weight == 0 {
				if a.Marks == nil {
					a.Marks = &structs.Marks{}
				}
				a.Marks.Away = append(a.Marks.Away, structs.Away{Attribute: r.attribute, Of: r.mark.String()})
			}
		}
	}
}

// state notes what the user wrote, as far as it does not depend on amounts.
func (a *Ask) state(job *structs.Job, group *structs.Group, waited structs.Duration) {
	a.stated = fmt.Sprintf("%q %q ", a.Drivers, a.datacenters)
	if len(job.Constraints)+len(group.Constraints)+len(job.Affinities)+len(group.Affinities)+len(job.Spreads)+
		len(group.Spreads) > 0 {
		// Only strings and numbers: it cannot fail.
		raw, _ := json.Marshal([]any{job.Constraints, group.Constraints, job.Affinities, group.Affinities, job.Spreads,
			group.Spreads, waited})
		a.stated += string(raw)
	}
	if len(a.needs) > 0 {
		a.stated += fmt.Sprintf(" needs %q", a.needs)
	}
	if len(a.images) > 0 {
		a.stated += fmt.Sprintf(" images %q", a.images)
	}
	if len(a.networks) > 0 {
		a.stated += fmt.Sprintf(" network %q", a.networks)
	}
	if a.Within != "" {
		a.stated += fmt.Sprintf(" within %q", a.Within)
	}
}

// finish computes what follows from the rest.
func (a *Ask) finish() {
	a.customs = len(customsOf(a.Resources))
	a.special = a.customs > 0 || len(a.Resources.Ranges) > 0 || len(a.Resources.Sets) > 0
	a.viewKey = a.stated + a.kept
	a.key = ""
	if a.Peered() {
		a.key = fmt.Sprintf("%q %q ", a.Job, a.Group)
	}
	if a.Marks != nil {
		a.key += fmt.Sprintf("%q ", a.Marks.Tags)
	}
	a.key += fmt.Sprintf("%s %v %d %v %d ", a.Resources, a.ports, a.unnamed, a.apart, a.MaxRun) + a.viewKey
}

func (a *Ask) compileConstraints(where string, list []*structs.Constraint, scope scope, waited structs.Duration, problems *structs.Problems) {
	for i, c := range list {
		object := fmt.Sprintf("%s[%d]", where, i)
		if c.SoftAfter(waited) {
			if c.Operator == "distinct_hosts" || c.Operator == "distinct_property" {
				problems.Add(object, "%s cannot relax or harden", c.Operator)
				continue
			}
			a.compileAffinity(object, &structs.Affinity{Attribute: c.Attribute, Operator: c.Operator, Value: c.Value, Weight: c.Weight}, problems)
			continue
		}
		switch c.Operator {
		case "distinct_hosts":
			switch c.Value {
			case "", "true":
				a.hosts = max(a.hosts, scope)
			case "false":
			default:
				problems.Add(object, "distinct_hosts is true or false, not %q", c.Value)
			}
		case "distinct_property":
			limit := 1
			if c.Value != "" {
				n, err := strconv.Atoi(c.Value)
				if err != nil || n < 1 {
					problems.Add(object, "distinct_property takes how many may share a value (1 or more), not %q", c.Value)
					continue
				}
				limit = n
			}
			t, err := parseTemplate(c.Attribute)
			if err != nil || c.Attribute == "" {
				problems.Add(object, "distinct_property needs an attribute such as ${meta.rack}")
				continue
			}
			a.unique = a.unique || t.unique()
			a.properties = append(a.properties, property{c.Attribute, t, limit, scope})
		case "beside", "not_beside":
			if err := a.addNeighbour(c.Attribute, c.Operator, c.Value, 0, timeNote(c)); err != nil {
				problems.Add(object, "%s", err)
			}
		default:
			cond, err := compileCondition(c.Attribute, c.Operator, c.Value)
			if err != nil {
				problems.Add(object, "%s", err)
				continue
			}
			cond.text += timeNote(c)
			a.unique = a.unique || cond.unique()
			a.constraints = append(a.constraints, cond)
		}
	}
}

func (a *Ask) compileAffinities(where string, list []*structs.Affinity, problems *structs.Problems) {
	for i, f := range list {
		a.compileAffinity(fmt.Sprintf("%s[%d]", where, i), f, problems)
	}
}

func (a *Ask) compileAffinity(object string, f *structs.Affinity, problems *structs.Problems) {
	weight := f.Weight
	if weight == 0 {
		weight = 50
	}
	if weight < -100 || weight > 100 {
		problems.Add(object+".weight", "%d is not from -100 to 100", weight)
		return
	}
	if f.Operator == "beside" || f.Operator == "not_beside" {
		if err := a.addNeighbour(f.Attribute, f.Operator, f.Value, int64(weight), ""); err != nil {
			problems.Add(object, "%s", err)
		}
		return
	}
	cond, err := compileCondition(f.Attribute, f.Operator, f.Value)
	if err != nil {
		problems.Add(object, "%s", err)
		return
	}
	a.unique = a.unique || cond.unique()
	a.affinities = append(a.affinities, affinity{cond, int64(weight)})
}

func (a *Ask) compileSpreads(where string, list []*structs.Spread, problems *structs.Problems) {
	for i, s := range list {
		object := fmt.Sprintf("%s[%d]", where, i)
		t, err := parseTemplate(s.Attribute)
		if err != nil || len(t.parts) == 0 {
			problems.Add(object+".attribute", "%q is not an attribute such as ${meta.rack}", s.Attribute)
			continue
		}
		weight := s.Weight
		if weight == 0 {
			weight = 50
		}
		if weight < 1 || weight > 100 {
			problems.Add(object+".weight", "%d is not from 1 to 100", weight)
			continue
		}
		sp := spread{attribute: t, weight: int64(weight), rest: 100}
		for _, target := range s.Targets {
			sp.targets = append(sp.targets, *target)
			sp.rest -= int64(target.Percent)
			if target.Percent < 0 || target.Percent > 100 {
				problems.Add(object+".target."+target.Value, "%d%% is not from 0 to 100", target.Percent)
			}
		}
		if sp.rest < 0 {
			problems.Add(object+".target", "the shares add up to %d%%", 100-sp.rest)
			continue
		}
		a.unique = a.unique || t.unique()
		a.spreads = append(a.spreads, sp)
	}
}

// Elsewhere reports whether room on one node can come from a change on another one.
func (a *Ask) Elsewhere() bool {
	far := func(r neighbour) bool { return r.weight == 0 && (r.own || r.wide()) }
	return len(a.properties) > 0 || slices.ContainsFunc(a.here, far) || slices.ContainsFunc(a.wide, far)
}
