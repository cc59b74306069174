package placement

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Where is a compiled condition on nodes, whatever they have free: a node meets every constraint of at least one group.
// Nil is met by all nodes. It is immutable.
type Where struct{ groups [][]condition }

// CompileWhere checks and compiles groups of constraints; none give nil. The error is structs.Problems as one Invalid
// error with every fault in it.
func CompileWhere(groups [][]*structs.Constraint) (*Where, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	var problems structs.Problems
	w, n := &Where{}, 0
	for i, group := range groups {
		object := fmt.Sprintf("where[%d]", i)
		if len(group) == 0 {
			problems.Add(object, "a group without constraints is met by every node").Advise("leave all groups out")
		}
		var compiled []condition
		for k, c := range group {
			object := fmt.Sprintf("%s[%d]", object, k)
			if c == nil {
				problems.Add(object, "a constraint is missing (null)")
				continue
			}
			switch c.Operator {
			case "distinct_hosts", "distinct_property", "beside", "not_beside":
				problems.Add(object, "%s has no meaning for offers", c.Operator)
				continue
			}
			if c.RelaxAfter != 0 || c.HardenAfter != 0 || c.Weight != 0 {
				problems.Add(object, "a constraint on offers does not change with the time that is waited")
				continue
			}
			cond, err := compileCondition(c.Attribute, c.Operator, c.Value)
			if err != nil {
				problems.Add(object, "%s", err)
				continue
			}
			compiled = append(compiled, cond)
		}
		n += len(group)
		w.groups = append(w.groups, compiled)
	}
	if n > structs.MaxWhere {
		problems.Add("where", "%d constraints are more than %d", n, structs.MaxWhere)
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return w, nil
}

// Met reports whether a node meets w.
func (w *Where) Met(n *structs.Node) bool {
	return w == nil || slices.ContainsFunc(w.groups, func(group []condition) bool {
		return !slices.ContainsFunc(group, func(c condition) bool { return !c.met(n) })
	})
}

// Unmet returns the constraints that a node does not meet: of the group that it misses least, the first such one. It is
// empty when the node meets w.
func (w *Where) Unmet(n *structs.Node) (least []Reason) {
	if w == nil {
		return nil
	}
	for i, group := range w.groups {
		var unmet []Reason
		for k := range group {
			if c := &group[k]; !c.met(n) {
				r := Reason{Kind: ConstraintUnmet, Subject: c.text}
				r.Have, _ = c.left.resolve(n)
				unmet = append(unmet, r)
			}
		}
		if i == 0 || len(unmet) < len(least) {
			least = unmet
		}
	}
	return least
}
