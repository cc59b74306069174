package operator

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// resources writes an amount as one object: a number for each scalar, the usual ones always, and text for ranges and sets.
func (e *encoder) resources(key string, r structs.Resources, ports []structs.Range) {
	e.key(key)
	e.amount(r, ports)
}

func (e *encoder) amount(r structs.Resources, ports []structs.Range) {
	e.open('{')
	e.key("cpus")
	e.milli(int64(r.CPU))
	e.key("mem")
	e.milli(mebibytes(r.Memory))
	e.key("disk")
	e.milli(mebibytes(r.Disk))
	e.key("gpus")
	e.milli(int64(r.Custom["gpus"]))
	if len(r.Custom) > 0 {
		for _, name := range r.Names() {
			if name != "gpus" {
				e.named(name)
				e.milli(int64(r.Custom[name]))
			}
		}
	}
	if named := r.PortRanges(); len(named) > 0 { // of reservations and offers
		ports, r = structs.UniteRanges(ports, named), r.WithoutPorts()
	}
	if len(ports) > 0 {
		e.key("ports")
		e.ranges(ports)
	}
	if len(r.Ranges)+len(r.Sets) > 0 {
		e.others(r)
	}
	e.close('}')
}

// others writes what is neither a scalar nor a port.
func (e *encoder) others(r structs.Resources) {
	for _, name := range sorted(r.Ranges) {
		e.named(name)
		e.ranges(r.Ranges[name])
	}
	for _, name := range sorted(r.Sets) {
		if name == structs.VolumeSet {
			continue
		}
		e.named(name)
		text := []byte{'{'}
		for i, item := range r.Sets[name] {
			if i > 0 {
				text = append(text, ',')
			}
			text = append(text, item...)
		}
		e.text(string(append(text, '}')))
	}
}

func (e *encoder) ranges(all []structs.Range) {
	e.comma()
	e.buf = append(e.buf, '"', '[')
	for i, r := range all {
		if i > 0 {
			e.buf = append(e.buf, ',', ' ')
		}
		e.buf = strconv.AppendInt(e.buf, r.First, 10)
		e.buf = append(e.buf, '-')
		e.buf = strconv.AppendInt(e.buf, r.Last, 10)
	}
	e.buf = append(e.buf, ']', '"')
}

// mebibytes are thousandths of what Mesos calls MB, rounded down.
func mebibytes(b structs.Bytes) int64 {
	const mib = 1 << 20
	return int64(b)/mib*1000 + int64(b)%mib*1000/mib
}

// rangesOf returns ports as ranges.
func rangesOf(ports []structs.AssignedPort) (out []structs.Range) {
	switch len(ports) {
	case 0:
		return nil
	case 1:
		return []structs.Range{{First: int64(ports[0].Port), Last: int64(ports[0].Port)}}
	}
	numbers := make([]int64, len(ports))
	for i, p := range ports {
		numbers[i] = int64(p.Port)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if last := len(out) - 1; last >= 0 && n <= out[last].Last+1 {
			out[last].Last = n
			continue
		}
		out = append(out, structs.Range{First: n, Last: n})
	}
	return out
}

// quantities writes what a quota names.
func (e *encoder) quantities(key string, q *structs.QuotaAmount) {
	e.key(key)
	e.open('{')
	for name, amount := range q.All() {
		switch name {
		case "cpu":
			e.key("cpus")
			e.milli(amount)
		case "memory":
			e.key("mem")
			e.milli(mebibytes(structs.Bytes(amount)))
		case "disk":
			e.key("disk")
			e.milli(mebibytes(structs.Bytes(amount)))
		default:
			e.named(name)
			e.milli(amount)
		}
	}
	e.close('}')
}

// offered adds outstanding offers up.
type offered struct {
	all         []*structs.Offer
	onNode      map[structs.NodeID]structs.Resources
	toFramework map[structs.FrameworkID]structs.Resources
	toRole      map[string]structs.Resources
}

func offeredBy(all []*structs.Offer) *offered {
	slices.SortFunc(all, func(a, b *structs.Offer) int { return cmp.Compare(a.ID, b.ID) })
	o := &offered{all: all, onNode: map[structs.NodeID]structs.Resources{}, toFramework: map[structs.FrameworkID]structs.Resources{}, toRole: map[string]structs.Resources{}}
	for _, x := range all {
		held := offerOf(x)
		o.onNode[x.Node] = o.onNode[x.Node].Add(held)
		o.toFramework[x.Framework] = o.toFramework[x.Framework].Add(held)
		o.toRole[x.Role] = o.toRole[x.Role].Add(held)
	}
	return o
}

// What is revocable is shown as kinds of its own beside the others, by these names.
const (
	revocableCPUs   = "cpus_revocable"
	revocableMemory = "mem_revocable" // in thousandths of a MiB
)

// beside returns an amount with what is revocable beside it.
func beside(r structs.Resources, s structs.Slack) structs.Resources {
	if s.IsZero() {
		return r
	}
	kinds := map[string]structs.Milli{}
	if s.CPU > 0 {
		kinds[revocableCPUs] = s.CPU
	}
	if s.Memory > 0 {
		kinds[revocableMemory] = structs.Milli(mebibytes(s.Memory))
	}
	return r.Add(structs.Resources{Custom: kinds})
}

// shown returns an amount of which something is revocable, as it is shown.
func shown(r structs.Resources, of structs.Slack) structs.Resources { return beside(r.Less(of), of) }

// heldBy is what an allocation has, as it is shown.
func heldBy(a *structs.Allocation) structs.Resources { return shown(a.Resources, a.OfSlack()) }

// usedOn is what is used of a node, usedIn what a role uses, as they are shown.
func usedOn(u *state.Usage) structs.Resources  { return beside(u.Resources, u.Slack) }
func usedIn(u state.RoleUse) structs.Resources { return shown(u.Resources, u.Slack) }

// offerOf is what an offer has, as it is shown.
func offerOf(o *structs.Offer) structs.Resources {
	if o.Revocable {
		return shown(o.Resources, o.Resources.Slack())
	}
	return o.Resources
}

// messages is an amount that is shown, as it travels.
func messages(r structs.Resources, ports []structs.Range) []wire.Resource {
	cpus, memory := r.Custom[revocableCPUs], r.Custom[revocableMemory]
	if cpus == 0 && memory == 0 {
		return mesos.Resources("", r, ports)
	}
	r.Custom = maps.Clone(r.Custom)
	delete(r.Custom, revocableCPUs)
	delete(r.Custom, revocableMemory)
	out := mesos.Resources("", r, ports)
	for _, x := range mesos.Resources("", structs.Resources{CPU: cpus, Memory: (structs.Bytes(memory)<<20 + 999) / 1000}, nil) {
		x.Revocable = &wire.Revocable{}
		out = append(out, x)
	}
	return out
}
