package placement

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// condition is one compiled constraint or affinity: left operator right.
type condition struct {
	text     string // as the user wrote it
	left     template
	right    template
	operator string
	pattern  *regexp.Regexp      // of regexp and not_regexp
	versions versionRange        // of version and semver, when right is constant
	storage  bool                // it is about a volume: text says all
	profile  bool                // it is about a seccomp profile: likewise
	readOnly bool                // of hostVolume: it is only read
	spread   structs.Propagation // of hostVolume: what becomes of mounts in it
	places   []structs.Segments  // of pluginOf
	beside   []string            // likewise: volumes of the plugin that come before it
}

func (c *condition) unique() bool { return c.left.unique() || c.right.unique() }

func compileCondition(attribute, operator, value string) (condition, error) {
	c := condition{operator: operator}
	switch operator {
	case "", "==", "is":
		c.operator = "="
	case "not":
		c.operator = "!="
	case "set_contains_all":
		c.operator = "set_contains"
	}
	c.text = strings.TrimSpace(attribute + " " + c.operator + " " + value)
	var err error
	if attribute == "" {
		return c, fmt.Errorf("a constraint needs an attribute such as ${attr.kernel.name}")
	}
	if c.left, err = parseTemplate(attribute); err != nil {
		return c, err
	}
	if _, constant := c.left.constant(); constant {
		return c, fmt.Errorf("%q is not an attribute such as ${attr.kernel.name}", attribute)
	}
	if c.right, err = parseTemplate(value); err != nil {
		return c, err
	}
	switch c.operator {
	case "=", "!=", ">", ">=", "<", "<=":
	case "set_contains", "set_contains_any":
		if value == "" {
			return c, fmt.Errorf("%s needs a value such as \"a,b\"", c.operator)
		}
	case "is_set", "is_not_set":
		if value != "" {
			return c, fmt.Errorf("%s takes no value", c.operator)
		}
	case "regexp", "not_regexp":
		if len(value) > MaxRegexp {
			return c, fmt.Errorf("a pattern of %d bytes is longer than %d", len(value), MaxRegexp)
		}
		if text, constant := c.right.constant(); constant {
			c.pattern, err = regexp.Compile(text)
		} else {
			err = fmt.Errorf("a pattern cannot refer to attributes")
		}
	case "version", "semver":
		if text, constant := c.right.constant(); constant {
			c.versions, err = parseVersionRange(text, c.operator == "semver")
		} else {
			err = fmt.Errorf("a version range cannot refer to attributes")
		}
	default:
		err = fmt.Errorf("%q is not an operator (=, !=, >, >=, <, <=, regexp, not_regexp, version, semver, set_contains, "+
			"set_contains_all, set_contains_any, is_set, is_not_set)", operator)
	}
	return c, err
}

// met reports whether n satisfies c. An attribute that n lacks satisfies !=, not_regexp and is_not_set only.
func (c *condition) met(n *structs.Node) bool {
	left, ok := c.left.resolve(n)
	switch c.operator {
	case hostVolume:
		v := n.HostVolumes[c.right.parts[0].text]
		return v != nil && (!v.ReadOnly || c.readOnly) && c.spread.Within(v.Propagation)
	case missing:
		return false
	case pluginOf:
		return c.unreachable(n) == ""
	case holding:
		disk := c.right.parts[0].text
		d := n.Disks[disk]
		return (d == nil || d.Type != structs.DiskRaw) && n.MadeDisk(disk) == nil
	case "is_set":
		return ok
	case "is_not_set":
		return !ok
	}
	right, okRight := c.right.resolve(n)
	if c.operator == "!=" {
		return ok != okRight || left != right
	}
	if c.operator == "not_regexp" {
		return !ok || !c.pattern.MatchString(left)
	}
	if !ok || !okRight {
		return false
	}
	switch c.operator {
	case "=":
		return left == right
	case ">":
		return compareText(left, right) > 0
	case ">=":
		return compareText(left, right) >= 0
	case "<":
		return compareText(left, right) < 0
	case "<=":
		return compareText(left, right) <= 0
	case "regexp":
		return c.pattern.MatchString(left)
	case "version", "semver":
		return c.versions.matches(left)
	case "set_contains":
		return containsItems(left, right, true)
	case "set_contains_any":
		return containsItems(left, right, false)
	}
	return false
}

// unreachable says why n cannot have the volume of a plugin that c is about.
func (c *condition) unreachable(n *structs.Node) string {
	return structs.Unreachable(n, c.left.parts[0].text, c.right.parts[0].text, c.places, c.beside)
}

// compareText compares as numbers when both are numbers, as text otherwise.
func compareText(a, b string) int {
	if x, err := strconv.ParseInt(a, 10, 64); err == nil {
		if y, err := strconv.ParseInt(b, 10, 64); err == nil {
			return cmp.Compare(x, y)
		}
	}
	if x, err := strconv.ParseFloat(a, 64); err == nil {
		if y, err := strconv.ParseFloat(b, 64); err == nil {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(a, b)
}

func containsItems(set, wanted string, all bool) bool {
	items := strings.Split(set, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	for item := range strings.SplitSeq(wanted, ",") {
		if slices.Contains(items, strings.TrimSpace(item)) != all {
			return !all
		}
	}
	return all
}

// template is text with references to a node's attributes: "${attr.os.name}-${meta.rack}".
type template struct{ parts []part }

type part struct {
	text string // constant, or the name behind the kind
	kind refKind
}

type refKind uint8

const (
	constantText refKind = iota
	attrRef
	metaRef
	nodeDatacenter
	nodeName
	nodeID
	nodeClass
)

func parseTemplate(s string) (template, error) {
	var t template
	for s != "" {
		before, rest, found := strings.Cut(s, "${")
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return t, fmt.Errorf("%q has ${ without }", s)
		}
		p, err := parseReference(strings.TrimSpace(name))
		if err != nil {
			return t, err
		}
		t.parts = append(t.parts, p)
		s = after
	}
	return t, nil
}

func parseReference(name string) (part, error) {
	if rest, ok := strings.CutPrefix(name, "attr."); ok && rest != "" {
		return part{rest, attrRef}, nil
	}
	if rest, ok := strings.CutPrefix(name, "meta."); ok && rest != "" {
		return part{rest, metaRef}, nil
	}
	switch name {
	case "node.datacenter":
		return part{name, nodeDatacenter}, nil
	case "node.name":
		return part{name, nodeName}, nil
	case "node.id":
		return part{name, nodeID}, nil
	case "node.class":
		return part{name, nodeClass}, nil
	}
	return part{}, fmt.Errorf("${%s} is not known: use ${attr.NAME}, ${meta.NAME}, ${node.datacenter}, ${node.name}, "+
		"${node.id} or ${node.class}", name)
}

func (t template) constant() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].kind == constantText:
		return t.parts[0].text, true
	}
	return "", false
}

// unique reports whether t refers to what differs from node to node and is no part of a class.
func (t template) unique() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool {
		return p.kind == nodeName || p.kind == nodeID || p.kind == attrRef && strings.HasPrefix(p.text, uniquePrefix)
	})
}

// resolve returns t's text on n, and whether n has everything that t refers to.
func (t template) resolve(n *structs.Node) (string, bool) {
	switch len(t.parts) {
	case 0:
		return "", true
	case 1:
		return t.parts[0].resolve(n)
	}
	var b strings.Builder
	for _, p := range t.parts {
		v, ok := p.resolve(n)
		if !ok {
			return "", false
		}
		b.WriteString(v)
	}
	return b.String(), true
}

func (p part) resolve(n *structs.Node) (string, bool) {
	switch p.kind {
	case constantText:
		return p.text, true
	case attrRef:
		if v, ok := n.Attributes[p.text]; ok {
			return v, true
		}
		return driverAttribute(n, p.text)
	case metaRef:
		v, ok := n.Meta[p.text]
		return v, ok
	case nodeDatacenter:
		return n.Datacenter, n.Datacenter != ""
	case nodeName:
		return n.Name, n.Name != ""
	case nodeID:
		return string(n.ID), true
	default: // nodeClass
		v, ok := n.Meta["class"]
		return v, ok
	}
}

// driverAttribute resolves driver.NAME ("1" when it is healthy) and driver.NAME.ATTRIBUTE.
func driverAttribute(n *structs.Node, name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "driver.")
	if !ok {
		return "", false
	}
	driver, attribute, deeper := strings.Cut(rest, ".")
	d := n.Drivers[driver]
	if d == nil {
		return "", false
	}
	if !deeper {
		return "1", d.Healthy
	}
	v, ok := d.Attributes[attribute]
	return v, ok
}
