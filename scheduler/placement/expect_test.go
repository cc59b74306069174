package placement

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// TestExpectedOn compares with books that are built anew for every time at which something ends, and sees that the books
// that were asked are as before.
func TestExpectedOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := &structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: rapid.IntRange(0, 9).Draw(t, "eligible") > 0,
			Resources: structs.Resources{CPU: 4000, Memory: 4 << 30}, PortRange: structs.Range{First: 100, Last: 103},
			Drivers: map[string]*structs.Driver{"exec": {Healthy: true}}}
		job := &structs.Job{Name: "j"}
		group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{
			CPU: structs.Milli(500 * rapid.IntRange(0, 9).Draw(t, "cpu")), Memory: structs.Bytes(rapid.IntRange(0, 4).Draw(t, "memory")) << 30}}}}
		switch rapid.IntRange(0, 3).Draw(t, "rule") {
		case 0:
			group.Constraints = []*structs.Constraint{{Operator: "distinct_hosts"}}
		case 1:
			group.Network = &structs.Network{Ports: []*structs.Port{{Label: "http", Static: 80}}}
		case 2:
			group.Constraints = []*structs.Constraint{{Attribute: "${meta.rack}", Operator: "is_set"}}
		}
		ask, err := Compile(job, group)
		if err != nil {
			t.Fatal(err)
		}
		const now = structs.Time(10)
		var ends []Ending
		for i := range rapid.IntRange(0, 5).Draw(t, "held") {
			e := Ending{At: structs.Time(rapid.IntRange(0, 4).Draw(t, "at") * 5), Job: rapid.SampledFrom([]string{"j", "k"}).Draw(t, "job"), Group: "g",
				Resources: structs.Resources{CPU: structs.Milli(500 * rapid.IntRange(0, 4).Draw(t, "cpu")), Memory: 1 << 29}}
			if i == 0 && rapid.Bool().Draw(t, "port") {
				e.Ports = []structs.AssignedPort{{Host: "", Port: 80}}
				e.Resources.Ports = 1
			}
			ends = append(ends, e)
		}
		without := func(at structs.Time) (*Node, *Peers) {
			n, peers := NewNode("n", spec), &Peers{}
			for _, e := range ends {
				if e.At == 0 || e.At > at {
					n.Hold(e.Resources, e.Ports)
					if e.Job == "j" {
						peers.Add(n, e.Group, 1)
					}
				}
			}
			return n, peers
		}
		n, peers := without(0)
		want, fits := now, Fits(n, peers, ask, First).OK
		for at := structs.Time(1); at <= 20 && !fits; at++ {
			m, p := without(at)
			want, fits = max(at, now), Fits(m, p, ask, First).OK
		}
		before := fmt.Sprint(n.Free(), peers.on("n", ofJob, "g"))
		got, ok := ExpectedOn(n, peers, ask, ends, now)
		if ok != fits || ok && got != want {
			t.Fatalf("%d %v, and it is %d %v: %+v", got, ok, want, fits, ends)
		}
		if after := fmt.Sprint(n.Free(), peers.on("n", ofJob, "g")); after != before {
			t.Fatalf("the books were %s and are %s", before, after)
		}
	})
}
