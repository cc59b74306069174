package mesos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// What is revocable is marked as such in an offer, and read back from what a task names of it.
func TestRevocableResources(t *testing.T) {
	f := &structs.Framework{Capabilities: []string{structs.CanUseRevocable}}
	o := &server.FrameworkOffer{On: &structs.Node{ID: "n"}, Offer: structs.Offer{Role: "eng", Revocable: true,
		Resources: structs.Resources{CPU: 1500, Memory: 1 << 30}}}
	offered := offerOf(f, o).Resources
	if len(offered) != 2 || offered[0].Revocable == nil || offered[1].Revocable == nil {
		t.Fatalf("offered is %+v", offered)
	}
	used, err := take(offered)
	if err != nil || used.slack != (structs.Slack{CPU: 1500, Memory: 1 << 30}) || used.amount.CPU != 1500 {
		t.Errorf("taken is %+v, %v", used, err)
	}
	o.Revocable = false
	firm := offerOf(f, o).Resources
	if used, err := take(firm); err != nil || !used.slack.IsZero() {
		t.Errorf("taken is %+v, %v", used, err)
	}
	disk := wire.Resource{Name: "disk", Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 1}, Revocable: &wire.Revocable{}}
	for _, c := range []struct {
		what string
		from []wire.Resource
		want string
	}{
		{"one name in both kinds", []wire.Resource{offered[0], firm[0]}, "in part revocable"},
		{"disk", []wire.Resource{disk}, "only cpus and mem"},
	} {
		if _, err := take(c.from); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if _, err := reservationsOf(offered); err == nil || !strings.Contains(err.Error(), "cannot be reserved") {
		t.Errorf("reserved: %v", err)
	}
}

// An amount of memory or disk that no number of bytes can say is refused, and is no small one that is left of it.
func TestAmountsBeyondAllBytes(t *testing.T) {
	for _, name := range []string{"mem", "disk"} {
		for _, mb := range []float64{17592186044.416, 17592186044.416 + 32, 9e9, 1e12} {
			r := wire.Resource{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: mb}}
			if used, err := take([]wire.Resource{r}); err == nil {
				t.Errorf("%v of %s is taken for %+v", mb, name, used.amount)
			}
		}
	}
}

// Lists that are compared member by member are bounded: one call would keep a server busy for minutes otherwise.
func TestListsThatAreTooLong(t *testing.T) {
	var many []wire.Resource
	var roles []string
	for i := range 1000 {
		many = append(many, wire.Resource{Name: fmt.Sprint("x", i), Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: 1}})
		roles = append(roles, fmt.Sprint("r", i))
	}
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	_, err := take(many)
	refused("a task", err, "1000 resources are more than 512")
	_, err = reservationsOf(many)
	refused("a reservation", err, "1000 resources are more than 512")
	info := &wire.FrameworkInfo{User: "u", Name: "n", Roles: roles, Capabilities: []wire.Capability{{Type: new(wire.CapabilityMultiRole)}}}
	_, err = (&Scheduler{}).frameworkOf(info, nil, nil)
	refused("a framework", err, "it has 1000, and up to 256 are taken")
	info.Roles = roles[:2]
	_, err = (&Scheduler{}).frameworkOf(info, slices.Repeat(roles[:1], 1000), nil)
	refused("suppressed roles", err, "1000 suppressed roles are more than 256")
	if wants := wantsOf(&wire.Requests{Requests: slices.Repeat([]wire.Request{{Resources: many[:1]}}, 1000)}); len(wants) != 256 {
		t.Errorf("%d requests count", len(wants))
	}
	if all := rolesOf(&wire.Roles{Roles: slices.Repeat([]string{"*", "eng"}, 1000)}); len(all) != 2 {
		t.Errorf("the roles are %v", all)
	}
}
