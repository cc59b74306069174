package framework

import (
	"slices"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Constraints say on which nodes a framework wants offers, by role. The region looks at them before it offers a node, so what does not fit
// need not be declined. A role that is not among them is offered all nodes.
//
//	Constraints{"web": {{Attribute("rack").Equals("r1"), Hostname.Matches("web-.*")}, {Attribute("ssd").Exists()}}}
type Constraints map[string][]Group

// Group fits a node when all of its conditions hold. Of several groups of a role one has to fit.
type Group []Condition

// Selector names something of a node that conditions are about.
type Selector struct{ wire wire.Selector }

// What every node has.
var (
	Hostname = Selector{wire.Selector{Pseudo: new(wire.PseudoHostname)}} // the name of the node
	Zone     = Selector{wire.Selector{Pseudo: new(wire.PseudoZone)}}     // its datacenter
)

// Attribute names one of those that offers of the node have.
func Attribute(name string) Selector { return Selector{wire.Selector{Attribute: &name}} }

// Condition is about one thing of a node.
type Condition struct{ wire wire.AttributeConstraint }

func (s Selector) is(p wire.Predicate) Condition {
	return Condition{wire.AttributeConstraint{Selector: s.wire, Predicate: p}}
}

// Exists holds where the node has it.
func (s Selector) Exists() Condition { return s.is(wire.Predicate{Exists: &wire.Exists{}}) }

// Missing holds where the node does not have it.
func (s Selector) Missing() Condition { return s.is(wire.Predicate{NotExists: &wire.Exists{}}) }

// Equals holds where it is this very text.
func (s Selector) Equals(text string) Condition {
	return s.is(wire.Predicate{Equals: &wire.Text{Value: text}})
}

// Differs holds where it is another text, and where the node does not have it.
func (s Selector) Differs(text string) Condition {
	return s.is(wire.Predicate{NotEquals: &wire.Text{Value: text}})
}

// Matches holds where a regular expression (RE2) describes all of it.
func (s Selector) Matches(regex string) Condition {
	return s.is(wire.Predicate{Matches: &wire.TextMatch{Regex: regex}})
}

// MatchesNot holds where it does not, and where the node does not have it.
func (s Selector) MatchesNot(regex string) Condition {
	return s.is(wire.Predicate{NotMatches: &wire.TextMatch{Regex: regex}})
}

func (c Constraints) wire() *wire.OfferConstraints {
	if len(c) == 0 {
		return nil
	}
	out := &wire.OfferConstraints{RoleConstraints: map[string]*wire.RoleConstraints{}}
	for role, groups := range c {
		of := &wire.RoleConstraints{}
		for _, g := range groups {
			one := wire.ConstraintGroup{}
			for _, condition := range g {
				one.Constraints = append(one.Constraints, condition.wire)
			}
			of.Groups = append(of.Groups, one)
		}
		out.RoleConstraints[role] = of
	}
	return out
}

// problems are what can be seen without the region, which checks the rest.
func (c Constraints) problems(roles []string, to *structs.Problems) {
	for role, groups := range c {
		if !slices.Contains(roles, role) {
			to.Add("framework.constraints", "%.300q is none of its roles %q", role, roles)
		}
		for _, g := range groups {
			if len(g) == 0 {
				to.Add("framework.constraints", "role %.300q: a group has no condition", role)
			}
		}
	}
}
