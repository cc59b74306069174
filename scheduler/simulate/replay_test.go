package simulate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/scheduler/internal/scenario"
	"github.com/proffer/proffer/structs"
)

// TestTraces replays testdata/*.txt: each block adds to the trace of its file, and `replay` prints the report.
func TestTraces(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", func(t *testing.T) func(string) string {
		lines := []string{Header}
		return func(line string) string {
			if line != "replay" {
				lines = append(lines, line)
				return ""
			}
			events, err := ReadTrace("trace", strings.NewReader(strings.Join(lines, "\n")))
			if err != nil {
				lines = lines[:1]
				return "error: " + err.Error()
			}
			report, err := Replay(events)
			if err != nil {
				lines = lines[:1]
				return "error: " + err.Error()
			}
			return strings.ReplaceAll(report.String(), "\n\n", "\n") // an empty line ends a block
		}
	})
}

// drawTrace draws a trace on a few nodes: most of it fits, some of it waits, some preempts.
func drawTrace(t *rapid.T) (events []Event) {
	cores := structs.Milli(4000)
	events = append(events, Event{Node: &structs.Node{Name: "n", Datacenter: "dc1", Resources: structs.Resources{CPU: 4000, Memory: 8 << 30, Disk: 1 << 30},
		Meta: map[string]string{"rack": "r1"}, Attributes: map[string]string{"arch": "amd64"}}, Count: rapid.IntRange(1, 3).Draw(t, "nodes")})
	events = append(events, Event{Role: &structs.Role{Name: "web", Weight: 2000, MaxRunning: 50, PreemptionExempt: rapid.Bool().Draw(t, "exempt"),
		Quota: &structs.Quota{Guarantee: &structs.QuotaAmount{CPU: &cores}}}})
	at := structs.Duration(0)
	for i := range rapid.IntRange(1, 12).Draw(t, "events") {
		at += structs.Duration(rapid.IntRange(0, 20).Draw(t, "after")) * 1e9
		job := fmt.Sprintf("j%d", i)
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			name := fmt.Sprintf("extra%d", i)
			events = append(events, Event{At: at, Count: 1, Node: &structs.Node{Name: name, Datacenter: "dc2", Resources: structs.Resources{CPU: 2000, Memory: 4 << 30}}})
			if rapid.Bool().Draw(t, "leaves") {
				at += 3e9
				events = append(events, Event{At: at, Leave: name})
			}
		case 1:
			events = append(events, Event{At: at, Submit: &Submission{Job: job, Role: "web", Priority: structs.Priority{Band: structs.Production}, Count: 2,
				Resources: structs.Resources{CPU: 1500, Memory: 1 << 30}}})
			if rapid.Bool().Draw(t, "stops") {
				at += 7e9
				events = append(events, Event{At: at, Stop: job})
			}
		default:
			s := &Submission{Job: job, Role: rapid.SampledFrom([]string{"science", "tools"}).Draw(t, "role"), Count: rapid.IntRange(0, 6).Draw(t, "count"),
				Priority:  structs.Priority{Band: structs.Band(rapid.IntRange(0, 1).Draw(t, "band")), Level: int8(rapid.IntRange(-1, 1).Draw(t, "level"))},
				Resources: structs.Resources{CPU: structs.Milli(500 * rapid.IntRange(1, 8).Draw(t, "cpu")), Memory: 1 << 28, Ports: rapid.IntRange(0, 1).Draw(t, "ports")},
				Run:       structs.Duration(rapid.IntRange(1, 40).Draw(t, "run")) * 1e9}
			if rapid.Bool().Draw(t, "bounded") {
				s.MaxRun = s.Run + 5e9
			}
			if rapid.IntRange(0, 3).Draw(t, "rule") == 0 {
				s.If = []*structs.Constraint{{Attribute: "${meta.rack}", Operator: "=", Value: "r1"}, {Operator: "distinct_hosts"}}
				s.Spread = "${node.datacenter}"
			}
			if rapid.IntRange(0, 3).Draw(t, "gang") == 0 {
				s.Gang, s.Within = true, rapid.SampledFrom([]string{"", "${node.datacenter}"}).Draw(t, "within")
			}
			events = append(events, Event{At: at, Submit: s})
		}
	}
	return events
}

// What was written is read back, and the same trace has the same report. Everything that was submitted is somewhere at the
// end, and nothing that would fit waits.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawTrace(t)
		lines := []string{"# a comment", "", Header}
		for i := range events {
			lines = append(lines, events[i].String())
		}
		read, err := ReadTrace("trace", strings.NewReader(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatalf("%v in\n%s", err, strings.Join(lines, "\n"))
		}
		var again []string
		for i := range read {
			again = append(again, read[i].String())
		}
		if !slices.Equal(again, lines[3:]) {
			t.Fatalf("written\n  %s\nread\n  %s", strings.Join(lines[3:], "\n  "), strings.Join(again, "\n  "))
		}
		first, err := Replay(events)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Replay(read)
		if err != nil {
			t.Fatal(err)
		}
		if first.String() != second.String() {
			t.Fatalf("one report\n%s\nand another\n%s", first, second)
		}
		if first.Finished+first.Stopped+first.Running+first.Waiting != first.Submitted || first.Placed < first.Finished+first.Running {
			t.Fatalf("%s\n%+v", strings.Join(lines, "\n"), first)
		}
		for _, u := range first.Unplaced {
			if u.Because == "turn" {
				t.Fatalf("%s\n%s", strings.Join(lines, "\n"), u.Why)
			}
		}
		submitted := 0
		for _, r := range first.Roles {
			submitted += r.Submitted
			if r.P50 > r.P99 || r.P99 > r.Max {
				t.Fatalf("%+v", r)
			}
		}
		if submitted != first.Submitted {
			t.Fatalf("%d of %d by role", submitted, first.Submitted)
		}
	})
}

func TestBadTraces(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "it is empty"},
		{"0s node a cpu=1", "the first line is not"},
		{Header + "\n5s leave a\n4s leave b", "trace:3: 4s is before 5s"},
		{Header + "\nnow leave a", `"now" is not a duration`},
		{Header + "\n0s leave", "it is not TIME VERB NAME"},
		{Header + "\n0s jump a", `"jump" is not node`},
		{Header + "\n0s node a cpu=-1", `"-1" is negative`},
		{Header + "\n0s node a cpu=1 cpu=2", "is there twice"},
		{Header + "\n0s node a! cpu=1", "is not a valid name"},
		{Header + "\n0s node a count=-1 cpu=1", `count: "-1"`},
		{Header + "\n0s leave a cpu=1", "leave takes no cpu"},
		{Header + "\n0s role a weigt=2", "role takes no weigt"},
		{Header + "\n0s submit a run=0s cpu=1", `run: "0s"`},
		{Header + "\n0s submit a priority=urgent cpu=1", "is not a priority"},
		{Header + "\n0s submit a gang=some cpu=1", `gang: "some"`},
		{Header + "\n0s submit a within=${meta.rack} cpu=1", "within: it is no gang"},
		{Header + "\n0s submit a role=/ cpu=1", `role: "/"`},
	} {
		if _, err := ReadTrace("trace", strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, not %q", c.text, err, c.want)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"0s leave a", "there is none"},
		{"0s stop a", "there is none"},
		{"0s node a cpu=1\n0s node a cpu=1", "it is there already"},
		{"0s submit a cpu=1\n1s submit a cpu=1", "it was submitted and not stopped"},
		{"0s submit a cpu=1 if=${meta.rack}:regexp:(", "regexp"},
	} {
		events, err := ReadTrace("trace", strings.NewReader(Header+"\n"+c.text))
		if err == nil {
			_, err = Replay(events)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, not %q", c.text, err, c.want)
		}
	}
}
