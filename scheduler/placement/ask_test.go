package placement

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/internal/scenario"
	"github.com/proffer/proffer/structs"
)

func testNode() *structs.Node {
	return &structs.Node{ID: "0a1b", Name: "web-1", Datacenter: "eu-1", Status: structs.NodeReady, Eligible: true,
		Attributes: map[string]string{"kernel.version": "6.1.0-13-amd64", "cpu.cores": "8", "os.name": "debian", "features": "avx, sse4,aes",
			"app.version": "1.4.0-rc.1", "unique.hostname": "web-1"},
		Meta:    map[string]string{"rack": "r1", "class": "big"},
		Drivers: map[string]*structs.Driver{"exec": {Healthy: true, Attributes: map[string]string{"version": "2"}}, "docker": {Why: "no socket"}}}
}

func TestOperators(t *testing.T) {
	for _, c := range []struct {
		attribute, operator, value string
		met                        bool
	}{
		{"${attr.os.name}", "", "debian", true},
		{"${attr.os.name}", "=", "alpine", false},
		{"${attr.os.name}", "!=", "alpine", true},
		{"${attr.missing}", "!=", "alpine", true},
		{"${attr.missing}", "=", "", false},
		{"${attr.missing}", "is_not_set", "", true},
		{"${attr.os.name}", "is_set", "", true},
		{"${attr.cpu.cores}", ">", "16", false}, // as numbers: as text 8 is more
		{"${attr.cpu.cores}", ">=", "8", true},
		{"${attr.cpu.cores}", "<", "8.5", true},
		{"${attr.os.name}", "<", "ubuntu", true},
		{"${attr.missing}", "<", "1", false},
		{"${attr.os.name}", "regexp", "^deb", true},
		{"${attr.os.name}", "regexp", "^bian", false},
		{"${attr.kernel.version}", "version", ">= 6.1", true},
		{"${attr.kernel.version}", "version", ">= 6.1.0", true},
		{"${attr.kernel.version}", "version", "= 6.1", true},
		{"${attr.kernel.version}", "version", "> 5, < 6.1", false},
		{"${attr.kernel.version}", "version", "~> 6.0", true},
		{"${attr.kernel.version}", "version", "~> 6.0.3", false},
		{"${attr.kernel.version}", "version", ">= 6.1.0-20", false},
		{"${attr.kernel.version}", "semver", ">= 6.1.0", false}, // a pre-release, for semver
		{"${attr.app.version}", "semver", ">= 1.4.0-beta", true},
		{"${attr.app.version}", "semver", ">= 1.4.0", false},
		{"${attr.app.version}", "version", ">= 1.4.0", true},
		{"${attr.os.name}", "version", ">= 1", false},
		{"${attr.features}", "set_contains", "aes,avx", true},
		{"${attr.features}", "set_contains", "aes,avx512", false},
		{"${attr.features}", "set_contains_all", "aes,avx", true},
		{"${attr.features}", "set_contains_all", "aes,avx512", false},
		{"${attr.features}", "set_contains_any", "avx512, sse4", true},
		{"${attr.features}", "set_contains_any", "avx512", false},
		{"${node.datacenter}/${meta.rack}", "=", "eu-1/r1", true},
		{"${node.name}", "=", "${attr.unique.hostname}", true},
		{"${node.id}", "=", "0a1b", true},
		{"${node.class}", "=", "big", true},
		{"${attr.driver.exec}", "=", "1", true},
		{"${attr.driver.exec.version}", "=", "2", true},
		{"${attr.driver.docker}", "is_set", "", false},
	} {
		cond, err := compileCondition(c.attribute, c.operator, c.value)
		if err != nil {
			t.Errorf("%s %s %s: %v", c.attribute, c.operator, c.value, err)
			continue
		}
		if got := cond.met(testNode()); got != c.met {
			t.Errorf("%s %s %s is %v", c.attribute, c.operator, c.value, got)
		}
	}
}

func TestBadConditions(t *testing.T) {
	for _, c := range []structs.Constraint{
		{Attribute: "${attr.x}", Operator: "~", Value: "1"},
		{Attribute: "${attr.x}", Operator: "regexp", Value: "("},
		{Attribute: "${attr.x}", Operator: "regexp", Value: strings.Repeat("a", MaxRegexp+1)},
		{Attribute: "${attr.x}", Operator: "version", Value: "new"},
		{Attribute: "${attr.x}", Operator: "semver", Value: "~> 1.2"},
		{Attribute: "${attr.x", Value: "1"},
		{Attribute: "${nod.x}", Value: "1"},
		{Operator: "=", Value: "1"},
		{Operator: "distinct_hosts", Value: "maybe"},
		{Operator: "distinct_property"},
		{Attribute: "${meta.rack}", Operator: "distinct_property", Value: "0"},
		{Attribute: "${meta.rack}", Operator: "is_set", Value: "x"},
		{Attribute: "${meta.rack}", Operator: "set_contains"},
	} {
		if _, err := Compile(&structs.Job{Name: "j", Constraints: []*structs.Constraint{&c}}, &structs.Group{Name: "g"}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%v: %v", c, err)
		}
	}
	many := &structs.Job{Name: "j"}
	for range MaxConditions + 1 {
		many.Constraints = append(many.Constraints, &structs.Constraint{Attribute: "${meta.a}", Value: "b"})
	}
	if _, err := Compile(many, &structs.Group{Name: "g"}); structs.KindOf(err) != structs.Invalid {
		t.Errorf("too many conditions: %v", err)
	}
	for _, spread := range []structs.Spread{{}, {Attribute: "${meta.rack}", Weight: 101},
		{Attribute: "${meta.rack}", Targets: []*structs.SpreadTarget{{Value: "a", Percent: 60}, {Value: "b", Percent: 60}}}} {
		if _, err := Compile(&structs.Job{Spreads: []*structs.Spread{&spread}}, &structs.Group{Name: "g"}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%v: %v", spread, err)
		}
	}
}

// TestKeys: equal asks of different jobs are one class, unless their other allocations matter.
func TestKeys(t *testing.T) {
	key := func(job string, change func(j *structs.Job)) string {
		j := &structs.Job{Name: job}
		change(j)
		a, err := Compile(j, &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: 100}}}})
		if err != nil {
			t.Fatal(err)
		}
		return a.Key()
	}
	plain := func(*structs.Job) {}
	spread := func(j *structs.Job) { j.Spreads = []*structs.Spread{{Attribute: "${meta.rack}"}} }
	apart := func(j *structs.Job) { j.Placement = structs.SpreadApart }
	constrained := func(j *structs.Job) { j.Constraints = []*structs.Constraint{{Attribute: "${meta.rack}", Value: "1"}} }
	switch {
	case key("a", plain) != key("b", plain):
		t.Error("plain asks differ by job")
	case key("a", spread) == key("b", spread):
		t.Error("spread asks of two jobs are one class")
	case key("a", plain) == key("a", apart):
		t.Error("placement makes no difference")
	case key("a", plain) == key("a", constrained):
		t.Error("a constraint makes no difference")
	}
}

// TestScenarios runs testdata/*.txt: node NAME cpu=… mem=… [ports=N] [KEY=VALUE of meta] [lost|drain|ineligible|no-exec|sick-exec];
// used NODE AMOUNT [job]; runs NODE JOB/GROUP [tag=T]… [away=MARK[:ATTRIBUTE]]…; port NODE N; ask cpu=… mem=… [static=N] [ports=N] [dc=D] [as=spread] [tag=T] [if=ATTRIBUTE:OPERATOR:VALUE]… [like=ATTRIBUTE:OPERATOR:VALUE]… shows the best
// node, its ports and the explanation.
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", func(t *testing.T) func(string) string {
		var nodes []*Node
		work := NewWork()
		peers := work.Job("j")
		return func(line string) string {
			words := strings.Fields(line)
			find := func(name string) *Node {
				for _, n := range nodes {
					if n.Name() == name {
						return n
					}
				}
				t.Fatalf("no node %s", name)
				return nil
			}
			switch words[0] {
			case "node":
				n := NewNode(structs.NodeID(words[1]), scenarioNode(t, words[1:]))
				n.Ord = len(nodes)
				nodes = append(nodes, n)
			case "used":
				r, _, _ := scenarioAmount(t, words[2:])
				find(words[1]).Hold(r, nil)
				peers.Add(find(words[1]), "g", 1)
			case "runs": // what another job runs; away=MARK[:ATTRIBUTE]
				marks := &structs.Marks{}
				for _, w := range words[3:] {
					if tag, ok := strings.CutPrefix(w, "tag="); ok {
						marks.Tags = append(marks.Tags, tag)
					} else if away, ok := strings.CutPrefix(w, "away="); ok {
						of, attribute, _ := strings.Cut(away, ":")
						marks.Away = append(marks.Away, structs.Away{Attribute: attribute, Of: of})
					}
				}
				job, group, _ := strings.Cut(words[2], "/")
				work.Add(find(words[1]), job, group, marks, 1)
			case "port":
				var port int
				fmt.Sscan(words[2], &port)
				find(words[1]).Hold(structs.Resources{Ports: 1}, []structs.AssignedPort{{Host: "10.0.0.1", Port: port}})
			case "ask":
				ask := scenarioAsk(t, words[1:]).Among(work)
				out := "best: none"
				if best := Best(nodes, peers, ask, nil); best != nil {
					ports, _ := best.Assign(ask)
					out = "best: " + best.Name()
					for _, p := range ports {
						out += fmt.Sprintf(" %s=%s:%d", p.Label, p.Host, p.Port)
					}
				}
				return out + "\n" + Explain(nodes, peers, ask).String()
			}
			return ""
		}
	})
}

func scenarioAmount(t *testing.T, words []string) (r structs.Resources, rest map[string]string, flags []string) {
	rest = map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		var err error
		switch {
		case !ok:
			flags = append(flags, w)
		case k == "cpu":
			r.CPU, err = structs.ParseMilli(v)
		case k == "mem":
			r.Memory, err = structs.ParseBytes(v)
		case k == "gpus":
			var n structs.Milli
			n, err = structs.ParseMilli(v)
			r.Custom = map[string]structs.Milli{"gpus": n}
		case k == "if" || k == "like":
			flags = append(flags, w)
		default:
			rest[k] = v
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r, rest, flags
}

func scenarioNode(t *testing.T, words []string) *structs.Node {
	r, meta, flags := scenarioAmount(t, words[1:])
	n := testNode()
	n.ID, n.Name, n.Resources, n.Hosts, n.Meta = structs.NodeID(words[0]), words[0], r, []string{"10.0.0.1"}, meta
	n.PortRange = structs.Range{First: 20000, Last: 20099}
	if p := meta["ports"]; p != "" {
		var count int64
		fmt.Sscan(p, &count)
		n.PortRange.Last = n.PortRange.First + count - 1
	}
	if dc := meta["dc"]; dc != "" {
		n.Datacenter = dc
	}
	for _, f := range flags {
		switch f {
		case "lost":
			n.Status = structs.NodeLost
		case "drain":
			n.Drain = &structs.Drain{}
		case "ineligible":
			n.Eligible, n.Reason = false, "disk is being replaced"
		case "no-exec":
			delete(n.Drivers, "exec")
		case "sick-exec":
			n.Drivers["exec"] = &structs.Driver{Why: "no cgroups"}
		}
	}
	return n
}

func scenarioAsk(t *testing.T, words []string) *Ask {
	r, rest, flags := scenarioAmount(t, words)
	job := &structs.Job{Name: "j"}
	group := &structs.Group{Name: "g", Network: &structs.Network{}, Tasks: []*structs.Task{{Name: "t",
		Resources: &structs.TaskResources{CPU: r.CPU, Memory: r.Memory, Custom: r.Custom}}}}
	if dc := rest["dc"]; dc != "" {
		job.Datacenters = []string{dc}
	}
	job.Placement = rest["as"]
	if s := rest["static"]; s != "" {
		port := &structs.Port{Label: "static"}
		fmt.Sscan(s, &port.Static)
		group.Network.Ports = append(group.Network.Ports, port)
	}
	for i := range len(rest["ports"]) { // one x a port
		group.Network.Ports = append(group.Network.Ports, &structs.Port{Label: fmt.Sprint("p", i)})
	}
	if tag := rest["tag"]; tag != "" {
		group.Tags = []string{tag}
	}
	for _, f := range flags {
		if like, ok := strings.CutPrefix(f, "like="); ok {
			part := append(strings.SplitN(like, ":", 3), "", "")
			group.Affinities = append(group.Affinities, &structs.Affinity{Attribute: part[0], Operator: part[1], Value: part[2]})
			continue
		}
		part := append(strings.SplitN(strings.TrimPrefix(f, "if="), ":", 3), "", "")
		group.Constraints = append(group.Constraints, &structs.Constraint{Attribute: part[0], Operator: part[1], Value: part[2]})
	}
	a, err := Compile(job, group)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A node that is emptied for its maintenance says so.
func TestDrainSaysWhy(t *testing.T) {
	for want, m := range map[string]*structs.Maintenance{"node drains": nil, "node drains: for its maintenance": {Began: true},
		"node drains: for its maintenance (new disks)": {Began: true, Reason: "new disks"}} {
		spec := &structs.Node{ID: "n", Status: structs.NodeReady, Eligible: true, Drain: &structs.Drain{}, Maintenance: m}
		v := Fits(NewNode("n", spec), nil, Plain("j", "g", structs.Resources{}), All)
		if v.OK || len(v.Reasons) != 1 || v.Reasons[0].String() != want {
			t.Errorf("%v, not %q", v.Reasons, want)
		}
	}
}
