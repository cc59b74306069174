package structs

import (
	"regexp"
	"strconv"
	"strings"
)

// Operators of constraints and affinities.
var operators = []string{"=", "!=", ">", ">=", "<", "<=", "regexp", "not_regexp", "version", "semver", "set_contains", "set_contains_all", "set_contains_any",
	"is_set", "is_not_set", "beside", "not_beside", "distinct_hosts", "distinct_property"}

func checkRules(p *Problems, at string, constraints []*Constraint, affinities []*Affinity, spreads []*Spread) {
	if at != "" {
		at += "."
	}
	if len(spreads) > MaxRules {
		p.Add(at+"spread", "%d spreads are more than %d", len(spreads), MaxRules)
	}
	for i, c := range constraints {
		if object := index(at+"constraint", i); c == nil {
			p.Add(object, "a constraint is missing (null)")
		} else {
			checkCondition(p, object, c.Attribute, c.Operator, c.Value, true)
			c.checkTimes(p, object)
		}
	}
	for i, a := range affinities {
		object := index(at+"affinity", i)
		if a == nil {
			p.Add(object, "an affinity is missing (null)")
			continue
		}
		checkCondition(p, object, a.Attribute, a.Operator, a.Value, false)
		checkRange(p, object+".weight", a.Weight, -100, 100)
	}
	for i, s := range spreads {
		object := index(at+"spread", i)
		if s == nil {
			p.Add(object, "a spread is missing (null)")
			continue
		}
		checkAttribute(p, object+".attribute", s.Attribute)
		checkRange(p, object+".weight", s.Weight, 1, 100)
		sum, seen := 0, map[string]bool{}
		for k, t := range s.Targets {
			if t == nil {
				p.Add(index(object+".target", k), "a target is missing (null)")
				continue
			}
			where := object + ".target." + t.Value
			if seen[t.Value] {
				p.Add(where, "there are two targets %q", t.Value)
			}
			seen[t.Value] = true
			checkRange(p, where+".percent", t.Percent, 0, 100)
			sum += max(0, min(t.Percent, 1000))
		}
		if sum > 100 {
			p.Add(object+".target", "the percents of all targets are %d together, more than 100", sum)
		}
	}
}

func checkCondition(p *Problems, at, attribute, operator, value string, constraint bool) {
	needsValue := true
	switch operator {
	case "=", "!=", ">", ">=", "<", "<=", "set_contains", "set_contains_all", "set_contains_any":
	case "regexp", "not_regexp":
		if len(value) > 1<<10 {
			p.Add(at+".value", "the pattern is longer than 1024 bytes")
		} else if strings.Contains(value, "${") {
			p.Add(at+".value", "a pattern cannot refer to attributes")
		} else if _, err := regexp.Compile(value); err != nil {
			p.Add(at+".value", "%q is not a regular expression: %s", value, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	case "version", "semver":
		for rule := range strings.SplitSeq(value, ",") {
			if rule = strings.TrimSpace(rule); value != "" && (!versionRule.MatchString(rule) || operator == "semver" && strings.HasPrefix(rule, "~>")) {
				p.Add(at+".value", "%q is not an operator (=, !=, >, >=, <, <=, or ~> with version) and a version", rule).
					Advise(`write a list such as ">= 1.2.0, < 2.0.0"`)
			}
		}
	case "beside", "not_beside":
		if _, err := ParseMark(value); err != nil {
			p.Add(at+".value", "%s", err).Advise("it names the work that is looked for, such as tag=noisy")
		}
		if attribute != "" { // without one it is about the node
			checkAttribute(p, at+".attribute", attribute)
		}
		return
	case "is_set", "is_not_set":
		needsValue = false
		if value != "" {
			p.Add(at+".value", "%s takes no value", operator)
		}
	case "distinct_hosts", "distinct_property":
		needsValue = false
		if !constraint {
			p.Add(at+".operator", "%s is for constraints", operator).Advise("use a spread")
		}
		if n, err := strconv.Atoi(value); operator == "distinct_property" && value != "" && (err != nil || n < 1) {
			p.Add(at+".value", "%q is not how many allocations may share a value (1 or more; default 1)", value)
		}
		if operator == "distinct_hosts" {
			if attribute != "" {
				p.Add(at+".attribute", "distinct_hosts takes no attribute")
			}
			if value != "" && value != "true" && value != "false" {
				p.Add(at+".value", "distinct_hosts takes no value but true or false")
			}
			return
		}
	default:
		p.Add(at+".operator", "there is no operator %q", operator).
			didYouMean(operator, operators, "there are "+strings.Join(operators, ", "))
		return
	}
	checkAttribute(p, at+".attribute", attribute)
	if operator != "regexp" && operator != "version" && operator != "semver" {
		checkReferences(p, at+".value", value)
	}
	if needsValue && value == "" {
		p.Add(at+".value", "operator %s needs a value", operator)
	}
}

var (
	versionRule = regexp.MustCompile(`^(=|!=|>=|<=|>|<|~>)? *v?[0-9]{1,9}(\.[0-9]{1,9}){0,7}([-~_][0-9A-Za-z._-]+)?(\+[0-9A-Za-z.-]+)?$`)
	reference   = regexp.MustCompile(`\$\{[^}]*\}?`)
	nodeName    = regexp.MustCompile(`^\$\{((attr|meta)\.[^} ]+|node\.(id|name|datacenter|class))\}$`)
)

const nodeNames = "such as ${attr.kernel.name}, ${meta.rack}, or ${node.X} with X one of id, name, datacenter, class"

// checkAttribute wants text that refers to at least one attribute of a node.
func checkAttribute(p *Problems, at, s string) {
	switch {
	case s == "":
		p.Add(at, "an attribute is needed").Advise(nodeNames)
	case !strings.Contains(s, "${"):
		e := p.Add(at, "%q is not an attribute of a node", s).Advise(nodeNames)
		if bare := "${" + s + "}"; nodeName.MatchString(bare) {
			e.Advise("write %q", bare)
		}
	default:
		checkReferences(p, at, s)
	}
}

func checkReferences(p *Problems, at, s string) {
	for _, ref := range reference.FindAllString(s, -1) {
		if !nodeName.MatchString(ref) {
			p.Add(at, "%q is not an attribute of a node", ref).Advise(nodeNames)
		}
	}
}
