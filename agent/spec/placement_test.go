package spec

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// A job that validation accepts is one that the scheduler understands: whoever submits it hears of a fault at once, or
// there is none.
func TestValidMeansPlaceable(t *testing.T) {
	pieces := []string{"", "${attr.kernel.name}", "${meta.rack}", "${node.datacenter}", "${node.class}", "${node.id}", "${node.version}", "${env.A}", "${", "}",
		"attr.x", "linux", "1", "0", "-1", ">= 1.2", "~> 2", "< 3-rc.1", ">1,<2", ", ", "v1", "=> 1", "6.8.0-45-generic", "[", "(a|b)", "^x$", "true", "false", "a,b", " ",
		"tag=x", "job=x", "/y"}
	operators := []string{"=", "!=", ">", ">=", "<", "<=", "regexp", "not_regexp", "version", "semver", "set_contains", "set_contains_any", "is_set", "is_not_set",
		"distinct_hosts", "distinct_property", "beside", "not_beside", "==", "in", ""}
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 2).Draw(t, name), "")
		}
		g := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t"}}}
		job := &structs.Job{Name: "j", Groups: []*structs.Group{g}}
		attribute, operator, value := text("attribute"), rapid.SampledFrom(operators).Draw(t, "operator"), text("value")
		if rapid.Bool().Draw(t, "as people write them") { // else next to nothing is accepted
			attribute = rapid.SampledFrom([]string{"${attr.kernel.name}", "${meta.rack}", "${node.class}"}).Draw(t, "attribute")
			operator, value = rapid.SampledFrom([]string{"=", "!=", "regexp", "set_contains"}).Draw(t, "operator"), "linux"
		}
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0:
			c := &structs.Constraint{Attribute: attribute, Operator: operator, Value: value}
			if rapid.IntRange(0, 3).Draw(t, "changes") == 0 {
				c.RelaxAfter, c.HardenAfter = structs.Duration(rapid.IntRange(-1, 2).Draw(t, "relax")), structs.Duration(rapid.IntRange(0, 1).Draw(t, "harden"))
			}
			job.Constraints = []*structs.Constraint{c}
		case 1:
			g.Affinities = []*structs.Affinity{{Attribute: attribute, Operator: operator, Value: value, Weight: rapid.IntRange(-110, 110).Draw(t, "weight")}}
		case 2:
			g.Spreads = []*structs.Spread{{Attribute: attribute, Weight: rapid.IntRange(-1, 101).Draw(t, "weight"),
				Targets: []*structs.SpreadTarget{{Value: value, Percent: rapid.IntRange(-1, 101).Draw(t, "percent")}}}}
		}
		job.Canonicalize()
		if job.Validate(nil) != nil {
			return
		}
		accepted++
		if _, err := placement.Compile(job, g); err != nil {
			t.Fatalf("accepted, but then: %v", err)
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}
