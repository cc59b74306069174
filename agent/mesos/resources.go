package mesos

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

const mib = 1 << 20

// milli reads an amount, of which three decimals count.
func milli(x float64) (structs.Milli, error) {
	if math.IsNaN(x) || x < 0 || x > 1e12 {
		return 0, fmt.Errorf("%v is no amount", x)
	}
	return structs.Milli(math.Round(x * 1000)), nil
}

// bytes turns an amount of MB, which are MiB, into bytes: at most as many as can be said, which is more than anybody may ask for.
func bytes(m structs.Milli) structs.Bytes {
	if m > math.MaxInt64/mib {
		return math.MaxInt64
	}
	return structs.Bytes(int64(m) * mib / 1000)
}

func number(m structs.Milli) float64 { return float64(m) / 1000 }

// taken is what a framework names of an offer.
type taken struct {
	amount  structs.Resources // without volumes
	slack   structs.Slack     // of it: what is revocable
	ports   []int
	volumes []taskVolume
}

// revocable returns what of it is revocable, nil when nothing is.
func (t *taken) revocable() *structs.Slack {
	if t.slack.IsZero() {
		return nil
	}
	return new(t.slack)
}

// take adds resources up. How they are reserved makes no difference: work of a role uses what is reserved for it first.
func take(resources []wire.Resource) (*taken, error) {
	if err := notTooMany(resources); err != nil {
		return nil, err
	}
	t := &taken{}
	var problems structs.Problems
	for i := range resources {
		r := &resources[i]
		if persistent(r) {
			v, err := taskVolumeOf(r)
			if err != nil {
				return nil, err
			}
			t.volumes = append(t.volumes, v)
			continue
		}
		if slices.ContainsFunc(resources[:i], func(o wire.Resource) bool { return o.Name == r.Name && (o.Revocable == nil) != (r.Revocable == nil) }) {
			return nil, fmt.Errorf("resource '%s' is in part revocable and in part not", r.Name)
		}
		one, ports, err := amountOf(r)
		if err == nil && r.Disk != nil && r.Disk.Source != nil {
			err = errors.New("disks with a 'source' are for persistent volumes")
		}
		if err != nil {
			return nil, fmt.Errorf("resource '%s': %w", r.Name, err)
		}
		one.Problems("resource", &problems)
		t.amount, t.ports = t.amount.Add(one), append(t.ports, ports...)
		if r.Revocable != nil {
			t.slack = t.slack.Add(one.Slack())
		}
	}
	return t, problems.Err()
}

// Bounds of what one task, executor or operation names.
const (
	maxPorts     = 1024
	maxResources = 512 // each is compared with all others
)

func notTooMany(resources []wire.Resource) error {
	if n := len(resources); n > maxResources {
		return fmt.Errorf("%d resources are more than %d; name each kind once", n, maxResources)
	}
	return nil
}

func amountOf(r *wire.Resource) (out structs.Resources, ports []int, err error) {
	switch {
	case persistent(r) || r.Shared != nil:
		return out, nil, errors.New("a persistent volume is not taken here")
	case r.Provider != nil:
		return out, nil, errors.New("disks of providers are not taken yet")
	case r.Revocable != nil && (r.Name != "cpus" && r.Name != "mem" || reserved(r)):
		return out, nil, fmt.Errorf("only cpus and mem that nobody reserved are offered as revocable")
	}
	switch {
	case r.Type == wire.ValueScalar && r.Scalar != nil:
		amount, err := milli(r.Scalar.Value)
		if err != nil {
			return out, nil, err
		}
		switch r.Name {
		case "cpus":
			out.CPU = amount
		case "mem":
			out.Memory = bytes(amount)
		case "disk":
			if out, err = onDisk(r, structs.Resources{Disk: bytes(amount)}); err != nil {
				return out, nil, err
			}
		default:
			if r.Name == "gpus" && amount%1000 != 0 {
				return out, nil, fmt.Errorf("only whole ones are given")
			}
			out.Custom = map[string]structs.Milli{r.Name: amount}
		}
	case r.Type == wire.ValueRanges && r.Ranges != nil:
		for _, x := range r.Ranges.Range {
			if x.End < x.Begin || x.End > math.MaxInt32 {
				return out, nil, fmt.Errorf("[%d-%d] is no range", x.Begin, x.End)
			}
		}
		sum := structs.Resources{Ranges: map[string][]structs.Range{r.Name: rangesIn(r)}}
		if r.Name != "ports" {
			return sum, nil, nil
		}
		if out.Ports = structs.CountIndexes(sum.Ranges[r.Name]); out.Ports > maxPorts {
			return out, nil, fmt.Errorf("%d ports are more than %d", out.Ports, maxPorts)
		}
		for _, x := range sum.Ranges[r.Name] {
			for port := x.First; port <= x.Last; port++ {
				ports = append(ports, int(port))
			}
		}
	case r.Type == wire.ValueSet && r.Set != nil:
		items := slices.Clone(r.Set.Item)
		slices.Sort(items)
		out.Sets = map[string][]string{r.Name: slices.Compact(items)}
	default:
		return out, nil, fmt.Errorf("it has no value of its type")
	}
	return out, ports, nil
}

// rangesIn returns the ranges of a resource in order and apart. They have been checked.
func rangesIn(r *wire.Resource) []structs.Range {
	var all []structs.Range
	for _, x := range r.Ranges.Range {
		all = append(all, structs.Range{First: int64(x.Begin), Last: int64(x.End)})
	}
	return structs.UniteRanges(nil, all)
}

// reservationOf returns how a resource is reserved, in either form; nil when it is not.
func reservationOf(r *wire.Resource) (x *wire.Reservation, refines string) {
	if n := len(r.Reservations); n > 0 {
		if n > 1 {
			refines = wire.TextOf(r.Reservations[n-2].Role)
		}
		return &r.Reservations[n-1], refines
	}
	if role := wire.TextOf(r.Role); role != "" && role != anyRole {
		out := wire.Reservation{Role: r.Role, Type: new(wire.ReservationStatic)}
		if r.Reservation != nil {
			out.Principal, out.Labels, out.Type = r.Reservation.Principal, r.Reservation.Labels, new(wire.ReservationDynamic)
		}
		return &out, ""
	}
	return nil, ""
}

func reserved(r *wire.Resource) bool {
	x, _ := reservationOf(r)
	return x != nil
}

// reservationsOf returns what RESERVE or UNRESERVE is about: one reservation for each way in which resources are reserved.
func reservationsOf(resources []wire.Resource) (out []*structs.Reservation, err error) {
	if err := notTooMany(resources); err != nil {
		return nil, err
	}
	for i := range resources {
		r := &resources[i]
		one, _, err := amountOf(r)
		if err != nil {
			return nil, fmt.Errorf("resource '%s': %w", r.Name, err)
		}
		if r.Revocable != nil {
			return nil, fmt.Errorf("resource '%s' is revocable, and cannot be reserved", r.Name)
		}
		if ports := one.Ports; ports > 0 { // which ones is what counts
			one = structs.OfPorts(rangesIn(r))
		}
		x, refines := reservationOf(r)
		if x == nil || x.Type == nil || *x.Type != wire.ReservationDynamic {
			return nil, fmt.Errorf("resource '%s' is not reserved dynamically", r.Name)
		}
		wish := &structs.Reservation{Role: roleIn(wire.TextOf(x.Role)), Principal: wire.TextOf(x.Principal), Labels: x.Labels.Map(), Resources: one}
		if refines != "" {
			wish.Refines = roleIn(refines)
		}
		at := slices.IndexFunc(out, func(o *structs.Reservation) bool {
			return o.Role == wish.Role && o.Refines == wish.Refines && o.Principal == wish.Principal && maps.Equal(o.Labels, wish.Labels)
		})
		if at >= 0 {
			out[at].Resources = out[at].Resources.Add(one)
		} else {
			out = append(out, wish)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no resources are named")
	}
	return out, nil
}

// offerOf returns an offer in the shape that a framework's capabilities ask for.
func offerOf(f *structs.Framework, o *server.FrameworkOffer) wire.Offer {
	host := hostOf(o.On)
	out := wire.Offer{ID: wire.ID{Value: string(o.ID)}, FrameworkID: wire.ID{Value: string(o.Framework)}, AgentID: wire.ID{Value: string(o.Node)},
		Hostname: host, URL: &wire.URL{Scheme: "http", Path: new("/slave(1)"), Address: wire.Address{Hostname: &host, IP: &host, Port: int32(o.On.AgentPort())}}}
	for _, id := range o.Executors {
		out.ExecutorIDs = append(out.ExecutorIDs, wire.ID{Value: id})
	}
	if f.Can(structs.CanHaveRoles) {
		out.Allocation = &wire.AllocationInfo{Role: new(roleOut(o.Role))}
	}
	if o.Unavailable != nil {
		out.Unavailability = new(unavailability(*o.Unavailable))
	}
	out.Attributes = AttributesOf(o.On.Meta)
	rest := o.Resources
	for i, part := range o.Reserved {
		rest = rest.Sub(part.Resources)
		var by *structs.Reservation
		if i < len(o.Rooms) {
			by = o.Rooms[i]
		}
		if by != nil && by.Refines != "" && !f.Can(structs.CanRefineReservation) {
			continue // it could not be told apart
		}
		out.Resources = append(out.Resources, shaped(f, o.Role, part, by, part.Resources, nil)...)
	}
	free := shaped(f, o.Role, nil, nil, rest, o.Ports)
	for i := range free {
		if o.Revocable {
			free[i].Revocable = &wire.Revocable{}
		}
	}
	out.Resources = append(diskSources(f, o.On, append(out.Resources, free...)), offered(f, o)...)
	return out
}

// shaped lists an amount, each kind for itself, as reserved by part, which may be nil.
func shaped(f *structs.Framework, role string, part *structs.ReservedPart, by *structs.Reservation, amount structs.Resources, ports []structs.Range) (out []wire.Resource) {
	add := func(r wire.Resource) { out = append(out, marked(f, role, part, by, r)) }
	scalar := func(name string, x float64) {
		if x > 0 {
			add(wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: x}})
		}
	}
	scalar("cpus", number(amount.CPU))
	scalar("mem", megabytes(amount.Memory))
	scalar("disk", megabytes(amount.Disk))
	for _, name := range amount.Names() {
		scalar(name, number(amount.Custom[name]))
	}
	ranges := amount.Add(structs.OfPorts(ports)).Ranges
	for _, name := range slices.Sorted(maps.Keys(ranges)) {
		r := wire.Resource{Name: name, Type: wire.ValueRanges, Ranges: &wire.Ranges{}}
		for _, x := range ranges[name] {
			r.Ranges.Range = append(r.Ranges.Range, wire.Range{Begin: uint64(x.First), End: uint64(x.Last)})
		}
		add(r)
	}
	for _, name := range slices.Sorted(maps.Keys(amount.Sets)) {
		if name == structs.VolumeSet {
			continue // see offered
		}
		add(wire.Resource{Name: name, Type: wire.ValueSet, Set: &wire.Set{Item: amount.Sets[name]}})
	}
	return out
}

// marked says of a resource how it is reserved, and for which role it is offered.
func marked(f *structs.Framework, role string, part *structs.ReservedPart, by *structs.Reservation, r wire.Resource) wire.Resource {
	if f.Can(structs.CanHaveRoles) {
		r.Allocation = &wire.AllocationInfo{Role: new(roleOut(role))}
	}
	switch {
	case f.Can(structs.CanRefineReservation):
		r.Reservations = reservations(part, by)
	case part == nil:
		r.Role = new(anyRole)
	default:
		r.Role = new(roleOut(part.Role))
		if by != nil {
			r.Reservation = &wire.Reservation{Principal: wire.Optional(by.Principal), Labels: wire.LabelsOf(by.Labels)}
		}
	}
	return r
}

// megabytes are MiB, rounded down to three decimals: nobody is offered more than there is.
func megabytes(b structs.Bytes) float64 { return math.Floor(float64(b)/mib*1000) / 1000 }

// reservations is the stack of what is reserved, in the new form.
func reservations(part *structs.ReservedPart, by *structs.Reservation) (out []wire.Reservation) {
	switch {
	case part == nil:
		return nil
	case by == nil:
		return []wire.Reservation{{Type: new(wire.ReservationStatic), Role: new(roleOut(part.Role))}}
	case by.Refines != "":
		out = append(out, wire.Reservation{Type: new(wire.ReservationDynamic), Role: new(roleOut(by.Refines))})
	}
	return append(out, wire.Reservation{Type: new(wire.ReservationDynamic), Role: new(roleOut(by.Role)), Principal: wire.Optional(by.Principal), Labels: wire.LabelsOf(by.Labels)})
}
