//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/proffer/proffer/scheduler/simulate"
	"github.com/proffer/proffer/structs"
)

// writeTrace writes a day of a made-up region, the same one for each seed: 200 nodes of several sizes, of which some leave and
// come back; a role with guaranteed services that come and go, and two roles with batch work, of which more comes by day.
// `proffer operator simulate -trace` replays it.
func writeTrace(to io.Writer, seed uint64) error {
	const nodes, services, batches = 200, 60, 2500
	f := newFleet(seed)
	var events []simulate.Event
	cores := structs.Milli(0)
	for i := range nodes {
		n := f.mixed(i)
		e := simulate.Event{Node: &structs.Node{Name: n.Name, Datacenter: n.Datacenter, Resources: n.Resources, Attributes: n.Attributes, Meta: n.Meta}, Count: 1}
		cores += n.Resources.CPU
		events = append(events, e)
		if f.rnd.IntN(20) == 0 {
			gone := f.minutes(0, 20*60)
			e.At = gone + f.minutes(1, 60)
			events = append(events, simulate.Event{At: gone, Leave: n.Name}, e)
		}
	}
	guarantee := cores / 4
	events = append(events,
		simulate.Event{Role: &structs.Role{Name: "web", Weight: 2000, Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &guarantee}}}},
		simulate.Event{Role: &structs.Role{Name: "science", Weight: 1000}}, simulate.Event{Role: &structs.Role{Name: "tests", Weight: 1000}})
	constraints := f.constraints()
	for i := range services {
		at := f.minutes(0, 20*60)
		s := &simulate.Submission{Job: fmt.Sprintf("service-%d", i), Role: "web", Priority: structs.Priority{Band: structs.Production}, Count: 1 + f.rnd.IntN(8),
			Resources: structs.Resources{CPU: structs.Milli(250 * (1 + f.rnd.IntN(8))), Memory: structs.Bytes(1+f.rnd.IntN(8)) << 30}, Spread: "${meta.rack}"}
		events = append(events, simulate.Event{At: at, Submit: s})
		if i%3 == 0 {
			events = append(events, simulate.Event{At: at + f.minutes(60, 3*60), Stop: s.Job})
		}
	}
	for i := range batches {
		// Two of three come between the eighth and the eighteenth hour.
		at := f.minutes(0, 24*60)
		if i%3 > 0 {
			at = f.minutes(8*60, 18*60)
		}
		s := &simulate.Submission{Job: fmt.Sprintf("batch-%d", i), Role: [...]string{"science", "tests"}[i%2], Priority: structs.DefaultPriority,
			Count:     1 + int(math.Exp2(f.rnd.Float64()*6)),
			Resources: structs.Resources{CPU: structs.Milli(500 * (1 + f.rnd.IntN(8))), Memory: structs.Bytes(512*(1+f.rnd.IntN(16))) << 20},
			Run:       structs.Duration(math.Exp2(f.rnd.Float64()*7)*60) * 1e9}
		if i%2 == 1 {
			s.Priority.Band = structs.BestEffort
		}
		if i%4 == 0 && constraints[i/4%3].Operator == "=" {
			s.If = constraints[i/4%3 : i/4%3+1]
		}
		events = append(events, simulate.Event{At: at, Submit: s})
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].At < events[j].At })
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "%s\n# A day of a made-up region, seed %d.\n", simulate.Header, seed)
	for i := range events {
		fmt.Fprintln(w, &events[i])
	}
	return w.Flush()
}

// minutes returns a time between two, given in minutes.
func (f *fleet) minutes(from, to int) structs.Duration {
	return structs.Duration(from*60+f.rnd.IntN((to-from)*60)) * 1e9
}
