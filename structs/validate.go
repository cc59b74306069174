package structs

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
	"time"
)

// Bounds of a job.
const (
	MaxCount     = 1_000_000 // allocations of a job
	MaxGroups    = 1_000     // of a job
	MaxTasks     = 100       // of a group
	MaxRules     = 64        // constraints and affinities of a job and one of its groups together; spreads of either
	MaxPorts     = 1_000     // of a group
	MaxTemplates = 100       // of a task
	MaxJobSize   = 384 << 10 // bytes of JSON: one Raft entry must hold it
)

const (
	year    = Duration(365 * 24 * time.Hour)
	day     = Duration(24 * time.Hour)
	minSize = Bytes(1 << 20) // of memory and disk
)

// ConfigChecks has the drivers that a job may name, each with the check of a task's config (drivers.Driver.Validate).
type ConfigChecks = map[string]func(object string, config map[string]any) error

// Validate reports every problem of a canonical job (see Canonicalize), offline: nothing but the job and drivers is
// looked at. A nil drivers skips what only drivers know. The error is a Problems.Err.
func (j *Job) Validate(drivers ConfigChecks) error { return j.Problems(drivers).Err() }

// Problems is Validate with each problem by itself; objects are paths such as group.api.task.web.kill_timeout.
func (j *Job) Problems(drivers ConfigChecks) Problems {
	var p Problems
	checkName(&p, "name", "a job", j.Name)
	checkOneOf(&p, "type", j.Type, ServiceJob, BatchJob)
	if !ValidRole(j.Role) {
		p.Add("role", "%q is not a role", j.Role).Advise("one to eight names joined by slashes, such as eng/web")
	}
	if _, err := ParsePriority(j.Priority); err != nil {
		p.Add("priority", "%s", err)
	}
	checkOwner(&p, "owner", j.Owner)
	checkPlacement(&p, j.Placement)
	for i, dc := range j.Datacenters {
		if name := strings.TrimSuffix(dc, "*"); !ValidName(name) && dc != "*" {
			p.Add(index("datacenters", i), "%q is not the name of a datacenter", dc)
		}
	}
	checkRules(&p, "", j.Constraints, j.Affinities, j.Spreads)
	checkTags(&p, "tags", j.Tags)
	if u := j.Update; u != nil {
		checkRange(&p, "update.max_parallel", u.MaxParallel, 1, MaxCount)
		checkDuration(&p, "update.min_healthy_time", u.MinHealthyTime, 0, day)
		checkDuration(&p, "update.healthy_timeout", u.HealthyTimeout, 0, 30*day)
		if u.HealthyTimeout <= u.MinHealthyTime {
			p.Add("update.healthy_timeout", "%s is not longer than min_healthy_time (%s), so that nothing could ever become healthy",
				u.HealthyTimeout, u.MinHealthyTime)
		}
	}
	checkMeta(&p, "meta", j.Meta)

	if len(j.Groups) == 0 {
		p.Add("group", "a job needs a group").Advise(`write group "name" { task "name" { … } }`)
	}
	if len(j.Groups) > MaxGroups {
		p.Add("group", "%d groups are more than %d", len(j.Groups), MaxGroups)
	}
	total, seen := 0, names{}
	for i, g := range j.Groups {
		if g == nil {
			p.Add(index("group", i), "a group is missing (null)")
			continue
		}
		seen.check(&p, "group", "a group", i, g.Name)
		g.problems(&p, "group."+g.Name, drivers)
		if n := len(j.Constraints) + len(g.Constraints) + len(j.Affinities) + len(g.Affinities); n > MaxRules {
			p.Add("group."+g.Name, "%d constraints and affinities, with those of the job, are more than %d", n, MaxRules)
		}
		if n := len(ChangesOf(j, g)); n > MaxChanges {
			p.Add("group."+g.Name, "%d different times of relax_after and harden_after, with those of the job, are more than %d", n, MaxChanges)
		}
		if n := len(j.TagsOf(g)); n > MaxTags {
			p.Add("group."+g.Name+".tags", "%d tags, with those of the job, are more than %d", n, MaxTags)
		}
		if g.Count != nil && *g.Count > 0 {
			total += min(*g.Count, MaxCount+1)
		}
	}
	if total > MaxCount && len(j.Groups) > 1 {
		p.Add("group", "the counts of all groups are more than %d together", MaxCount)
	}
	if raw, err := json.Marshal(j); err != nil {
		p.Add("", "the job cannot be written as JSON: %v", err)
	} else if len(raw) > MaxJobSize {
		p.Add("", "the job has %s, more than %s", Bytes(len(raw)).Human(), Bytes(MaxJobSize)).
			Advise("fetch large data when the task starts, instead of having it in templates or env")
	}
	return p
}

func checkPlacement(p *Problems, placement string) {
	if placement != "" {
		checkOneOf(p, "placement", placement, Pack, SpreadApart)
	}
}

func (g *Group) problems(p *Problems, at string, drivers ConfigChecks) {
	before := len(*p)
	if g.Count != nil {
		checkRange(p, at+".count", *g.Count, 0, MaxCount)
	}
	checkRules(p, at, g.Constraints, g.Affinities, g.Spreads)
	checkTags(p, at+".tags", g.Tags)
	if r := g.Restart; r != nil {
		if r.Attempts != nil {
			checkRange(p, at+".restart.attempts", *r.Attempts, 0, 100_000)
		}
		checkDuration(p, at+".restart.interval", r.Interval, Duration(time.Second), year)
		checkDuration(p, at+".restart.delay", r.Delay, 0, day)
		checkOneOf(p, at+".restart.mode", r.Mode, RestartFail, RestartDelay)
	}
	if r := g.Reschedule; r != nil {
		if r.Attempts != nil {
			checkRange(p, at+".reschedule.attempts", *r.Attempts, 0, 1_000)
		}
		checkDuration(p, at+".reschedule.interval", r.Interval, Duration(time.Second), year)
		checkDuration(p, at+".reschedule.delay", r.Delay, 0, day)
		checkDuration(p, at+".reschedule.max_delay", r.MaxDelay, 0, year)
		if r.MaxDelay < r.Delay {
			p.Add(at+".reschedule.max_delay", "%s is less than delay (%s)", r.MaxDelay, r.Delay)
		}
	}
	if _, err := ParseOnLost(g.OnLost); err != nil {
		p.Add(at+".on_lost", "%s", err)
	}
	checkDuration(p, at+".max_run_duration", g.MaxRunDuration, 0, 10*year)
	checkSize(p, at+".disk", g.Disk)
	if g.Network != nil {
		checkPorts(p, at+".network", g.Network.Ports)
	}
	checkMeta(p, at+".meta", g.Meta)

	if len(g.Tasks) > MaxTasks {
		p.Add(at+".task", "%d tasks are more than %d", len(g.Tasks), MaxTasks)
	}
	seen, main := names{}, false
	for i, t := range g.Tasks {
		if t == nil {
			p.Add(index(at+".task", i), "a task is missing (null)")
			continue
		}
		seen.check(p, at+".task", "a task", i, t.Name)
		main = main || t.Lifecycle == nil
		t.problems(p, at+".task."+t.Name, drivers)
	}
	switch {
	case len(g.Tasks) == 0:
		p.Add(at+".task", "a group needs a task").Advise(`write task "name" { driver = "exec" … }`)
	case !main:
		p.Add(at+".task", "a group needs a main task, one without a lifecycle block")
	}
	if len(*p) == before { // the sum of valid parts
		g.Ask().Problems(at+".resources", p)
	}
}

var (
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,127}$`)
	metaName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	portLabel = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	userName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?$`)
	filePerms = regexp.MustCompile(`^0?[0-7]{3}$`)
)

func (t *Task) problems(p *Problems, at string, drivers ConfigChecks) {
	if t.Name == "alloc" || t.Name == "logs" {
		p.Add(at, "the name %s is reserved for a folder of the allocation", t.Name)
	}
	if drivers != nil {
		known := slices.Sorted(maps.Keys(drivers))
		if check := drivers[t.Driver]; check == nil {
			p.Add(at+".driver", "there is no driver %q", t.Driver).
				didYouMean(t.Driver, known, "there are "+strings.Join(known, ", "))
		} else if err := check(at+".config", t.Config); err != nil {
			*p = append(*p, AsError(err))
		}
	}
	checkValue(p, at+".config", t.Config, 0)
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		object := at + ".env." + name
		switch {
		case !envName.MatchString(name):
			p.Add(object, "%q is not a name for an environment variable", name).
				Advise("letters, digits, _ . - and no digit first")
		case strings.HasPrefix(name, "PROFFER_"):
			p.Add(object, "names that begin with PROFFER_ are set by Proffer")
		}
		checkText(p, object, t.Env[name])
	}
	checkMeta(p, at+".meta", t.Meta)
	if t.User != "" && !userName.MatchString(t.User) {
		p.Add(at+".user", "%q is not the name or number of a user", t.User)
	}
	checkDuration(p, at+".kill_timeout", t.KillTimeout, 0, day)
	if Signals[t.KillSignal] == 0 {
		all := slices.Sorted(maps.Keys(Signals))
		p.Add(at+".kill_signal", "there is no signal %q", t.KillSignal).
			didYouMean(t.KillSignal, all, "such as SIGTERM, SIGINT, SIGQUIT or SIGHUP")
	}
	if l := t.Logs; l != nil {
		checkRange(p, at+".logs.max_files", l.MaxFiles, 1, 1_000)
		if l.MaxFileSize < 4<<10 || l.MaxFileSize > 1<<40 {
			p.Add(at+".logs.max_file_size", "%s is out of range (4KiB to 1TiB)", l.MaxFileSize).adviseUnit(l.MaxFileSize)
		}
		checkDuration(p, at+".logs.max_age", l.MaxAge, 0, 10*year)
	}
	t.Resources.problems(p, at+".resources")
	if l := t.Lifecycle; l != nil {
		checkOneOf(p, at+".lifecycle.hook", l.Hook, "prestart", "poststop")
		if l.Sidecar && l.Hook == "poststop" {
			p.Add(at+".lifecycle.sidecar", "only a prestart task can go on beside the main tasks")
		}
	}
	checkTemplates(p, at, t.Templates)
}

func (r *TaskResources) problems(p *Problems, at string) {
	if r == nil {
		return
	}
	if r.CPU < 0 || r.CPU > 1e9 {
		p.Add(at+".cpu", "%s cores are out of range (0.001 to a million)", r.CPU)
	}
	if r.CPULimit != 0 && r.CPULimit < r.CPU {
		p.Add(at+".cpu_limit", "%s is less than cpu (%s)", r.CPULimit, r.CPU).Advise("the limit is at least what is reserved")
	}
	if r.CPULimit > 1e9 {
		p.Add(at+".cpu_limit", "%s cores are out of range (0.001 to a million)", r.CPULimit)
	}
	checkSize(p, at+".memory", r.Memory)
	checkSize(p, at+".memory_max", r.MemoryMax)
	if r.MemoryMax != 0 && r.MemoryMax < r.Memory {
		p.Add(at+".memory_max", "%s is less than memory (%s)", r.MemoryMax, r.Memory).Advise("the limit is at least what is reserved")
	}
	checkSize(p, at+".disk", r.Disk)
	checkRange(p, at+".ports", r.Ports, 0, MaxPorts)
	for _, name := range slices.Sorted(maps.Keys(r.Custom)) {
		switch object := at + ".custom." + name; {
		case !ValidName(name):
			p.Add(object, "%q is not a name for a resource", name)
		case slices.Contains([]string{"cpu", "memory", "disk", "ports"}, name):
			p.Add(object, "%s is not a custom resource", name).Advise("write it in resources itself")
		case r.Custom[name] < 0 || r.Custom[name] > 1e15:
			p.Add(object, "%s is out of range (0 to 1e12)", r.Custom[name])
		}
	}
}

func checkTemplates(p *Problems, at string, templates []*Template) {
	if len(templates) > MaxTemplates {
		p.Add(at+".template", "%d templates are more than %d", len(templates), MaxTemplates)
	}
	written := map[string]bool{}
	for i, f := range templates {
		object := index(at+".template", i)
		if f == nil {
			p.Add(object, "a template is missing (null)")
			continue
		}
		d, where := f.Destination, object+".destination"
		clean := path.Clean(d)
		switch {
		case d == "":
			p.Add(where, "a template needs a destination").Advise("a path below the task folder, such as local/app.conf")
		case strings.HasPrefix(d, "/") || strings.ContainsAny(d, "\\\x00") || len(d) > 1024:
			p.Add(where, "%q is not a path below the task folder", d).Advise("write it relative, such as local/app.conf")
		case slices.Contains(strings.Split(d, "/"), ".."):
			p.Add(where, "%q leads out of the task folder", d).Advise("no .. in it")
		case strings.HasSuffix(d, "/") || clean == "." || clean == "local" || clean == "secrets" || clean == "alloc":
			p.Add(where, "%q is a folder", d).Advise("name a file in it")
		case written[clean]:
			p.Add(where, "%q is written by another template too", d)
		}
		written[clean] = true
		if !filePerms.MatchString(f.Perms) {
			p.Add(object+".perms", "%q is not a mode", f.Perms).Advise(`three octal digits, such as "0644"`)
		}
		if _, err := parse.Parse("template", f.Data, "", "", templateFunctions); err != nil {
			p.Add(object+".data", "%s", strings.TrimPrefix(err.Error(), "template: "))
		}
	}
}

// templateFunctions are what a template may call: what Go has, and what the node adds.
var templateFunctions = func() map[string]any {
	known := map[string]any{}
	for _, name := range []string{"and", "break", "call", "continue", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not",
		"or", "print", "printf", "println", "slice", "urlquery", "alloc", "env", "meta"} {
		known[name] = true // only the names count
	}
	return known
}()

func checkPorts(p *Problems, at string, ports []*Port) {
	if len(ports) > MaxPorts {
		p.Add(at+".port", "%d ports are more than %d", len(ports), MaxPorts)
	}
	labels, static := map[string]bool{}, map[int]string{}
	for i, port := range ports {
		if port == nil {
			p.Add(index(at+".port", i), "a port is missing (null)")
			continue
		}
		object := at + ".port." + port.Label
		if !portLabel.MatchString(port.Label) {
			p.Add(object, "%q is not a name for a port", port.Label).Advise("letters, digits and _, no digit first: it becomes PROFFER_PORT_name")
		}
		if labels[port.Label] {
			p.Add(object, "there are two ports %q", port.Label)
		}
		labels[port.Label] = true
		if port.Static != 0 {
			checkRange(p, object+".static", port.Static, 1, 65535)
			if other, ok := static[port.Static]; ok {
				p.Add(object+".static", "port %d is taken by port %q of the same group", port.Static, other)
			}
			static[port.Static] = port.Label
		}
		if port.To != 0 {
			checkRange(p, object+".to", port.To, 1, 65535)
		}
	}
}

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

// checkTimes looks at when a constraint is only a wish.
func (c *Constraint) checkTimes(p *Problems, at string) {
	checkDuration(p, at+".relax_after", c.RelaxAfter, 0, 30*day)
	checkDuration(p, at+".harden_after", c.HardenAfter, 0, 30*day)
	changes := c.RelaxAfter != 0 || c.HardenAfter != 0
	switch {
	case c.RelaxAfter != 0 && c.HardenAfter != 0:
		p.Add(at+".harden_after", "a constraint either relaxes or hardens").Advise("write relax_after or harden_after")
	case changes && (c.Operator == "distinct_hosts" || c.Operator == "distinct_property"):
		p.Add(at+".operator", "%s cannot relax or harden", c.Operator).Advise("use a spread")
	case changes:
		checkRange(p, at+".weight", c.Weight, 1, 100)
	case c.Weight != 0:
		p.Add(at+".weight", "a constraint has a weight only with relax_after or harden_after").Advise("use an affinity")
	}
}

// MaxChanges bounds the different times at which constraints of a job and one of its groups relax or harden.
const MaxChanges = 8

// ChangesOf returns after what times constraints of a job and one of its groups relax or harden, ascending, each once.
func ChangesOf(j *Job, g *Group) (times []Duration) {
	for _, list := range [][]*Constraint{j.Constraints, g.Constraints} {
		for _, c := range list {
			if c != nil && max(c.RelaxAfter, c.HardenAfter) > 0 {
				times = append(times, max(c.RelaxAfter, c.HardenAfter))
			}
		}
	}
	slices.Sort(times)
	return slices.Compact(times)
}

func checkTags(p *Problems, at string, tags []string) {
	for i, tag := range tags {
		if !ValidName(tag) {
			p.Add(index(at, i), "%q is not a tag", tag).Advise("up to 128 letters, digits, - _ and ., a letter or digit first")
		}
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

func checkMeta(p *Problems, at string, meta map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		if !metaName.MatchString(name) {
			p.Add(at+"."+name, "%q is not a name for meta", name).Advise("letters, digits, _ . and -")
		}
		checkText(p, at+"."+name, meta[name])
	}
}

// checkText looks at a value that becomes an environment variable: Linux takes up to 128 KiB, and no NUL.
func checkText(p *Problems, at, s string) {
	if strings.ContainsRune(s, 0) {
		p.Add(at, "a value cannot hold a NUL byte")
	}
	if len(s) >= 128<<10-256 {
		p.Add(at, "a value of %s is more than an environment variable holds (128KiB)", Bytes(len(s)).Human())
	}
}

// checkValue bounds what a driver gets: values as JSON has them, up to 32 deep.
func checkValue(p *Problems, at string, v any, depth int) {
	if depth > 32 {
		p.Add(at, "more than 32 levels deep")
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			checkValue(p, at+"."+name, v[name], depth+1)
		}
	case []any:
		for i, x := range v {
			checkValue(p, index(at, i), x, depth+1)
		}
	}
}

func checkName(p *Problems, at, what, name string) {
	switch {
	case name == "":
		p.Add(at, "%s needs a name", what)
	case !ValidName(name):
		p.Add(at, "%q is not a name", name).Advise("up to 128 letters, digits, - _ and ., a letter or digit first")
	}
}

// names finds what is there twice.
type names map[string]bool

func (n names) check(p *Problems, at, what string, i int, name string) {
	if name == "" {
		checkName(p, index(at, i), what, name)
		return
	}
	checkName(p, at+"."+name, what, name)
	if n[name] {
		p.Add(at+"."+name, "there is %s %q already", what, name)
	}
	n[name] = true
}

func checkOneOf(p *Problems, at, v string, options ...string) {
	if slices.Contains(options, v) {
		return
	}
	list := strings.Join(options[:len(options)-1], ", ") + " or " + options[len(options)-1]
	p.Add(at, "%q is not %s", v, list).didYouMean(v, options, "use "+list)
}

func checkRange(p *Problems, at string, v, low, high int) {
	if v < low || v > high {
		p.Add(at, "%d is out of range (%d to %d)", v, low, high)
	}
}

func checkDuration(p *Problems, at string, d, low, high Duration) {
	if d < low || d > high {
		p.Add(at, "%s is out of range (%s to %s)", d, low, high)
	}
}

// checkSize wants zero, or at least a mebibyte: less is a number whose unit was forgotten.
func checkSize(p *Problems, at string, b Bytes) {
	switch {
	case b < 0 || b > 1<<58:
		p.Add(at, "%s is out of range (up to 256PiB)", b)
	case b != 0 && b < minSize:
		p.Add(at, "%s is less than 1MiB", b).adviseUnit(b)
	}
}

func (e *Error) adviseUnit(b Bytes) *Error {
	if b > 0 && b <= 1<<16 {
		e.Advise("a bare number is bytes; write a unit, such as %q", fmt.Sprintf("%dMiB", b))
	}
	return e
}

func index(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }

// Validate reports every problem of a canonical role.
func (r *Role) Validate() error { return r.Problems().Err() }

// Problems is Validate with each problem by itself.
func (r *Role) Problems() Problems {
	var p Problems
	if !ValidRole(r.Name) {
		p.Add("name", "%q is not a role", r.Name).Advise("one to eight names joined by slashes, such as eng/web")
	}
	if len(r.Description) > 4096 {
		p.Add("description", "it is longer than 4096 bytes")
	}
	if r.Weight < 1 || r.Weight > 1e9 {
		p.Add("weight", "%s is out of range (0.001 to 1000000)", r.Weight)
	}
	checkPlacement(&p, r.Placement)
	if len(r.Owner) > 256 {
		p.Add("owner", "it is longer than 256 bytes")
	}
	if r.State != RoleOpen && r.State != RoleDraining && r.State != RoleClosed {
		p.Add("state", "%q is not one of open, draining, closed", r.State)
	}
	highest, err := ParsePriority(r.MaxPriority)
	if err != nil {
		p.Add("max_priority", "%s", err)
	}
	if usual, wrong := ParsePriority(r.DefaultPriority); wrong != nil {
		p.Add("default_priority", "%s", wrong)
	} else if err == nil && usual.Compare(highest) > 0 {
		p.Add("default_priority", "%s is above max_priority (%s)", usual, highest)
	}
	for _, bound := range []struct {
		name string
		n    int
	}{{"max_running", r.MaxRunning}, {"max_pending", r.MaxPending}} {
		if bound.n < 0 || bound.n > 1e9 {
			p.Add(bound.name, "%d is out of range (0 to 1000000000; 0: no bound)", bound.n)
		}
	}
	r.MaxAsk.problems(&p, "max_ask")
	r.sharingProblems(&p)
	if r.Quota == nil {
		return p
	}
	guarantee, limit := r.Quota.Guarantee, r.Quota.Limit
	guarantee.problems(&p, "quota.guarantee")
	limit.problems(&p, "quota.limit")
	if guarantee == nil || limit == nil {
		return p
	}
	if guarantee.CPU != nil && limit.CPU != nil && *limit.CPU < *guarantee.CPU {
		p.Add("quota.limit.cpu", "%s is less than the guarantee (%s)", *limit.CPU, *guarantee.CPU)
	}
	if guarantee.Memory != nil && limit.Memory != nil && *limit.Memory < *guarantee.Memory {
		p.Add("quota.limit.memory", "%s is less than the guarantee (%s)", *limit.Memory, *guarantee.Memory)
	}
	if guarantee.Disk != nil && limit.Disk != nil && *limit.Disk < *guarantee.Disk {
		p.Add("quota.limit.disk", "%s is less than the guarantee (%s)", *limit.Disk, *guarantee.Disk)
	}
	for _, name := range slices.Sorted(maps.Keys(limit.Custom)) {
		if limit.Custom[name] < guarantee.Custom[name] {
			p.Add("quota.limit.custom."+name, "%s is less than the guarantee (%s)", limit.Custom[name], guarantee.Custom[name])
		}
	}
	return p
}

func (q *QuotaAmount) problems(p *Problems, at string) {
	if q == nil {
		return
	}
	if q.CPU != nil && (*q.CPU < 0 || *q.CPU > 1e12) {
		p.Add(at+".cpu", "%s cores are out of range", *q.CPU)
	}
	for _, size := range []struct {
		name string
		v    *Bytes
	}{{"memory", q.Memory}, {"disk", q.Disk}} {
		if size.v != nil {
			checkSize(p, at+"."+size.name, *size.v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Custom)) {
		if !ValidName(name) {
			p.Add(at+".custom."+name, "%q is not a name for a resource", name)
		} else if q.Custom[name] < 0 || q.Custom[name] > 1e15 {
			p.Add(at+".custom."+name, "%s is out of range (0 to 1e12)", q.Custom[name])
		}
	}
}
