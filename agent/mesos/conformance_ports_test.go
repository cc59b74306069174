package mesos_test

import (
	"fmt"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// portRange is ports of an agent.
func portRange(first, last uint64) wire.Resource {
	return wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: first, End: last}}}}
}

// shownPorts writes the ports of an offer, those that are reserved with how they are, in either form.
func shownPorts(o *wire.Offer) string {
	var parts []string
	for _, x := range o.Resources {
		if x.Name != "ports" {
			continue
		}
		var text []string
		for _, p := range x.Ranges.Range {
			text = append(text, fmt.Sprintf("%d-%d", p.Begin, p.End))
		}
		one, by := strings.Join(text, ","), x.Reservation
		role := wire.TextOf(x.Role)
		if n := len(x.Reservations); n > 0 {
			by = &x.Reservations[n-1]
			role = wire.TextOf(by.Role)
		}
		if by != nil {
			one += fmt.Sprintf(" for %s by %s %v", role, wire.TextOf(by.Principal), by.Labels.Map())
		}
		parts = append(parts, one)
	}
	return strings.Join(parts, "; ")
}

// reservedPorts has ports reserved, offered, used, given back by the task and released, in both forms of reservations.
func reservedPorts(r *region, e wire.Encoding) {
	n := r.nodes[0]
	for i, stacked := range []bool{false, true} {
		in := []func(*wire.FrameworkInfo){inEng}
		mine, label := portRange(20003, 20004), wire.Labels{Labels: []wire.Label{{Key: "for", Value: new("broker")}}}
		if stacked {
			in = append(in, can(wire.CapabilityReservationRefinement))
			mine.Reservations = []wire.Reservation{{Type: new(wire.ReservationDynamic), Role: new("eng"), Principal: new("ann"), Labels: &label}}
		} else {
			mine.Role, mine.Reservation = new("eng"), &wire.Reservation{Principal: new("ann"), Labels: &label}
		}
		f := r.framework(fmt.Sprintf("10.0.3.%d", i+1), e, in...).begin()
		offered := func(what, want string) (o wire.Offer) {
			r.t.Helper()
			r.eventually(what, func() bool {
				o = f.offer(n.id)
				if shownPorts(&o) == want {
					return true
				}
				f.accept(o, 0)
				return false
			})
			return o
		}
		const all, others, own = "20000-20999", "20000-20002,20005-20999", "20003-20004 for eng by ann map[for:broker]"
		name := fmt.Sprintf("%d", i)

		// Ports that the node does not have, and what is used already, are not reserved.
		far := mine
		far.Ranges = portRange(80, 80).Ranges
		f.accept(offered("all ports are offered", all), 0, reserve("far"+name, far))
		f.outcome("far"+name, wire.OperationError, false)
		f.accept(offered("all ports are offered", all), 0, reserve("begin"+name, mine))
		f.hears(f.outcome("begin"+name, wire.OperationFinished, true))
		o := offered("the ports are offered as they are reserved", own+"; "+others)

		// A task has one of them, and one that is not reserved.
		t := task(o, "broker"+name)
		t.Resources = append(t.Resources, mine, portRange(20010, 20010))
		t.Resources[len(t.Resources)-2].Ranges = portRange(20003, 20003).Ranges
		f.accept(o, 0, launch(t))
		f.told("broker"+name, wire.TaskRunning)
		o = offered("the others are offered", "20004-20004 for eng by ann map[for:broker]; 20000-20002,20005-20009,20011-20999")
		f.accept(o, 0, reserve("twice"+name, mine)) // one is in use, and was not offered
		f.outcome("twice"+name, wire.OperationError, false)

		// Others are offered neither.
		other := r.framework(fmt.Sprintf("10.0.4.%d", i+1), e, func(info *wire.FrameworkInfo) { info.Role = new("ops") }).begin()
		f.decline(f.offer(n.id))
		o = other.offer(n.id)
		if got := shownPorts(&o); got != "20000-20002,20005-20009,20011-20999" {
			r.t.Errorf("others are offered ports %s", got)
		}
		bad := task(o, "thief"+name)
		bad.Resources = append(bad.Resources, portRange(20004, 20004))
		other.accept(o, 1e9, launch(bad))
		if s := other.update("thief"+name, wire.TaskError); !strings.Contains(wire.TextOf(s.Message), "port 20004") {
			r.t.Errorf("others are told %s", wire.JSON.Marshal(s))
		}
		other.close()

		f.call(&wire.Call{Type: new(wire.CallRevive)})
		n.finish(structs.FrameworkID(f.info.ID.Value), "broker"+name)
		f.told("broker"+name, wire.TaskFinished)
		o = offered("both are offered again", own+"; "+others)

		// One goes, and then the other.
		first, last := mine, mine
		first.Ranges, last.Ranges = portRange(20003, 20003).Ranges, portRange(20004, 20004).Ranges
		f.accept(o, 0, unreserve("half"+name, first))
		f.hears(f.outcome("half"+name, wire.OperationFinished, true))
		o = offered("one is left", "20004-20004 for eng by ann map[for:broker]; 20000-20003,20005-20999")
		f.accept(o, 0, unreserve("end"+name, last))
		f.hears(f.outcome("end"+name, wire.OperationFinished, true))
		offered("all are offered as before", all)
		f.close()
	}
}
