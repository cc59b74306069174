package placement

import (
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// Whatever a user writes as a constraint is refused, or holds or not on every node.
func FuzzCondition(f *testing.F) {
	for _, c := range [][3]string{
		{"${attr.kernel.version}", "version", ">= 6.1, < 7"}, {"${attr.v}", "semver", "1.2.3-rc.1"}, {"${meta.rack}", "regexp", "^r[0-9]+$"},
		{"${node.name}", "regexp", "${meta.rack}"}, {"${meta.rack}", "set_contains", "a,b"}, {"x${attr.v}y", ">", "${meta.rack}"},
		{"${attr.v", "=", ""}, {"${attr.v}", "is_set", ""}, {"${attr.v}", "version", "~> 1"}, {"${attr.v}", "version", "${meta.rack}"},
		{"1", "<=", "NaN"}, {"${attr.v}", "version", ",~>"},
	} {
		f.Add(c[0], c[1], c[2], "6.1.0-13-amd64")
	}
	f.Fuzz(func(t *testing.T, attribute, operator, value, has string) {
		c, err := compileCondition(attribute, operator, value)
		if err != nil {
			return
		}
		for _, n := range []*structs.Node{
			{}, {Name: has, Datacenter: "dc", Attributes: map[string]string{"v": has, "kernel.version": has}, Meta: map[string]string{"rack": has}},
		} {
			if first := c.met(n); c.met(n) != first {
				t.Fatal("it holds now and then")
			}
		}
		c.unique()
	})
}

// The order of versions is one: of two, one is not above the other both ways, and ranges agree with it.
func FuzzVersion(f *testing.F) {
	for _, v := range [][2]string{{"1.2.3", "1.2.4"}, {"1.0.0-rc.1", "1.0.0"}, {"6.1.0-13-amd64", "6.1"}, {"99999999999999999999", "1"}, {"", "1-"}} {
		f.Add(v[0], v[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, strict := range []bool{false, true} {
			if _, err := parseVersion(a, strict); err != nil {
				continue
			}
			if _, err := parseVersion(b, false); err != nil || strings.Contains(b, ",") {
				continue
			}
			at := func(operator string) bool {
				r, err := parseVersionRange(operator+b, strict)
				if err != nil {
					t.Fatalf("%s%s: %v", operator, b, err)
				}
				return r.matches(a)
			}
			eq, below, above := at("="), at("<"), at(">")
			if n := count(eq, below, above); n != 1 {
				t.Fatalf("%q is = %v, < %v, > %v %q", a, eq, below, above, b)
			}
			if at("!=") == eq || at("<=") == above || at(">=") == below {
				t.Fatalf("operators of %q and %q disagree", a, b)
			}
		}
	})
}

func count(all ...bool) (n int) {
	for _, one := range all {
		if one {
			n++
		}
	}
	return n
}
