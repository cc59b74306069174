package structs

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
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

// ConfigChecks has the drivers that a job may name.
type ConfigChecks = map[string]DriverCheck

// DriverCheck is what can be said of a task of a driver without a node.
type DriverCheck struct {
	Config   func(object string, config map[string]any) error // drivers.Driver.Validate
	Unfenced string                                           // why its tasks cannot have on_lost = "fence"; empty: they can
}

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
		g.checkMigrate(&p, "group."+g.Name, j.Type)
		for _, t := range g.Tasks {
			if t != nil {
				t.loginProblems(&p, "group."+g.Name+".task."+t.Name, j.Role)
			}
		}
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
	j.gangProblems(&p, total)
	j.dispatchProblems(&p)
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
		g.Network.problems(p, at+".network")
	}
	checkMeta(p, at+".meta", g.Meta)
	g.volumeProblems(p, at, drivers)
	g.serviceProblems(p, at)
	ports := g.portNames()

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
		t.mountProblems(p, at+".task."+t.Name, g)
		if t.CSIPlugin != nil {
			t.CSIPlugin.problems(p, at+".task."+t.Name+".csi_plugin")
		}
		checkChecks(p, at+".task."+t.Name, t, ports)
		if why := drivers[t.Driver].Unfenced; why != "" && g.OnLost == "fence" {
			g.unfenced(p, at, t, why)
		}
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

func (g *Group) portNames() (names []string) {
	if g.Network != nil {
		for _, port := range g.Network.Ports {
			if port != nil {
				names = append(names, port.Label)
			}
		}
	}
	return names
}

var (
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,127}$`)
	metaName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	portLabel = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	userName  = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?|[0-9]{1,10}:[0-9]{1,10})$`)
	filePerms = regexp.MustCompile(`^0?[0-7]{3}$`)
)

// FolderOfAll reports whether every allocation has a folder of that name, so that no task can have it.
func FolderOfAll(name string) bool { return name == "alloc" || name == "logs" }

func (t *Task) problems(p *Problems, at string, drivers ConfigChecks) {
	if FolderOfAll(t.Name) {
		p.Add(at, "the name %s is reserved for a folder of the allocation", t.Name)
	}
	if drivers != nil {
		known := slices.Sorted(maps.Keys(drivers))
		if check, ok := drivers[t.Driver]; !ok {
			p.Add(at+".driver", "there is no driver %q", t.Driver).
				didYouMean(t.Driver, known, "there are "+strings.Join(known, ", "))
		} else if err := check.Config(at+".config", t.Config); err != nil {
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
		p.Add(at+".user", "%q is not the name or number of a user, or two numbers as 1000:1000", t.User)
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
	checkArtifacts(p, at, t.Artifacts)
	checkTemplates(p, at, t.Templates)
}

func (r *TaskResources) problems(p *Problems, at string) {
	if r == nil {
		return
	}
	if r.CPU < 0 || r.CPU > 1e9 {
		p.Add(at+".cpu", "%s cores are out of range (0.001 to a million)", r.CPU)
	}
	checkRange(p, at+".cores", r.Cores, 0, MaxCores)
	if r.Cores > 0 && r.CPU != Milli(r.Cores)*1000 {
		p.Add(at+".cores", "cpu is %s and not as much as that", r.CPU).Advise("leave out cpu: the cores are what it reserves")
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
	if io := r.IO; io != nil {
		checkSize(p, at+".io.read_bps", io.ReadBps)
		checkSize(p, at+".io.write_bps", io.WriteBps)
		checkRange(p, at+".io.read_iops", io.ReadIops, 0, 1_000_000_000)
		checkRange(p, at+".io.write_iops", io.WriteIops, 0, 1_000_000_000)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Custom)) {
		switch object := at + ".custom." + name; {
		case !ValidName(name):
			p.Add(object, "%q is not a name for a resource", name)
		case slices.Contains([]string{"cpu", "memory", "disk", "ports"}, name):
			p.Add(object, "%s is not a custom resource", name).Advise("write it in resources itself")
		case strings.HasPrefix(name, diskPrefix):
			p.Add(object, "a disk is for volumes").Advise("write a volume block with disk = %q", strings.TrimPrefix(name, diskPrefix))
		case r.Custom[name] < 0 || r.Custom[name] > 1e15:
			p.Add(object, "%s is out of range (0 to 1e12)", r.Custom[name])
		case IsGPU(name) && r.Custom[name]%1000 != 0:
			p.Add(object, "%s: a GPU is given whole", r.Custom[name])
		}
	}
}

func checkPorts(p *Problems, at string, ports []*Port) {
	if len(ports) > MaxPorts {
		p.Add(at+".port", "%d ports are more than %d", len(ports), MaxPorts)
	}
	type fixed struct {
		port           int
		host, protocol string
	}
	labels, static := map[string]bool{}, map[fixed]string{}
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
			for _, protocol := range []string{TCP, UDP} {
				if port.Protocol != "" && port.Protocol != protocol {
					continue
				}
				key := fixed{port.Static, port.Host, protocol}
				if other, ok := static[key]; ok {
					p.Add(object+".static", "port %d is taken by port %q of the same group", port.Static, other)
					break
				}
				static[key] = port.Label
			}
		}
		if port.To != 0 {
			checkRange(p, object+".to", port.To, 1, 65535)
		}
		if port.Protocol != "" {
			checkOneOf(p, object+".protocol", port.Protocol, TCP, UDP)
		}
		port.checkHost(p, object)
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
