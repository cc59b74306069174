package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// phase is the ask that is in force from some time of waiting on.
type phase struct {
	after structs.Duration
	ask   *Ask
}

// Phased reports whether what is asked for changes with the time that an allocation waits.
func (a *Ask) Phased() bool { return len(a.later) > 0 }

// At returns what is asked for after a time of waiting: constraints relax and harden.
func (a *Ask) At(waited structs.Duration) *Ask {
	now := a
	for i := range a.later {
		if a.later[i].after <= waited {
			now = a.later[i].ask
		}
	}
	return now
}

// Next returns after what time of waiting, longer than this one, something changes next; false when nothing will.
func (a *Ask) Next(waited structs.Duration) (structs.Duration, bool) {
	for i := range a.later {
		if a.later[i].after > waited {
			return a.later[i].after, true
		}
	}
	return 0, false
}

// Change is a constraint that relaxes or hardens when an allocation waited long enough.
type Change struct {
	Rule  string           `json:"rule"`
	Hard  bool             `json:"hard"`  // it is insisted on from then on; false: no longer
	After structs.Duration `json:"after"` // of waiting
}

// Changes returns what will change, or did, in order of time.
func (a *Ask) Changes() []Change {
	return slices.Clone(a.changes)
}

func (a *Ask) noteChanges(list []*structs.Constraint) {
	for _, c := range list {
		if after := max(c.RelaxAfter, c.HardenAfter); after > 0 {
			a.changes = append(a.changes, Change{Rule: ruleText(c), Hard: c.HardenAfter > 0, After: after})
		}
	}
	slices.SortStableFunc(a.changes, func(x, y Change) int { return cmp.Compare(x.After, y.After) })
}

// ruleText is a constraint as a user would write it on a line.
func ruleText(c *structs.Constraint) string {
	if c.Operator == "beside" || c.Operator == "not_beside" {
		text := c.Operator + " " + c.Value
		if c.Attribute != "" && c.Attribute != "${node.id}" {
			text += " within " + c.Attribute
		}
		return text
	}
	operator := c.Operator
	if operator == "" {
		operator = "="
	}
	return strings.TrimSpace(c.Attribute + " " + operator + " " + c.Value)
}

// timeNote says, behind a constraint that must hold now, that it does not at all times.
func timeNote(c *structs.Constraint) string {
	switch {
	case c.RelaxAfter > 0:
		return fmt.Sprintf(" (relaxes after %s)", c.RelaxAfter)
	case c.HardenAfter > 0:
		return fmt.Sprintf(" (hardened after %s)", c.HardenAfter)
	}
	return ""
}
