package simulate

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Header is the first line of a trace.
const Header = "proffer trace 1"

// Bounds of a trace.
const (
	maxEvents      = 10_000_000
	maxLine        = 64 << 10
	maxCount       = 1_000_000  // nodes or allocations of one line
	maxAllocations = 50_000_000 // of all lines
)

// Event is one line of a trace: at a time after its beginning, nodes join, one leaves, a role is stored, or a job is
// submitted or stopped. Exactly one of the fields behind At is set.
//
//	0s   node small count=100 cpu=16 memory=64GiB gpus=2 datacenter=dc1 attr.kernel.version=6.1.0 meta.rack=r1
//	0s   role eng/web weight=2 guarantee.cpu=100 limit.memory=1TiB max_running=500 exempt=true
//	10s  submit web role=eng/web priority=production count=20 cpu=0.5 memory=256MiB run=1h max_run=2h if=${meta.disk}:=:ssd spread=${meta.rack}
//	20s  submit mpi count=16 cpu=8 memory=4GiB run=3h gang=true within=${meta.rack}
//	40m  leave small-3
//	2h   stop web
//
// Of several nodes the names get numbers from 1. What is submitted without run runs until it is stopped.
type Event struct {
	At     structs.Duration
	Node   *structs.Node // what it says of itself
	Count  int           // of Node
	Role   *structs.Role
	Submit *Submission
	Leave  string // name of a node
	Stop   string // name of a job
}

// Submission is a job of one group.
type Submission struct {
	Job       string
	Role      string
	Priority  structs.Priority
	Count     int
	Resources structs.Resources
	Run       structs.Duration // how long each allocation takes; 0: until the job is stopped
	MaxRun    structs.Duration // what the job says as max_run_duration; 0: nothing
	If        []*structs.Constraint
	Spread    string // attribute
	Placement string
	Gang      bool   // all are placed together, or none is
	Within    string // of a gang: the attribute of which all get one value
}

// ReadTrace reads a trace; name is what errors call it. Times never go back.
func ReadTrace(name string, r io.Reader) (events []Event, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	number, allocations, begun := 0, 0, false
	bad := func(format string, args ...any) error {
		return structs.Errorf(structs.Invalid, fmt.Sprintf("%s:%d", name, number), format, args...)
	}
	for lines.Scan() {
		number++
		text := strings.TrimSpace(lines.Text())
		switch {
		case text == "" || text[0] == '#':
			continue
		case !begun && text != Header:
			return nil, bad("the first line is not %q", Header)
		case !begun:
			begun = true
			continue
		}
		e, err := readEvent(text)
		if err != nil {
			return nil, bad("%w", err)
		}
		if n := len(events); n > 0 && e.At < events[n-1].At {
			return nil, bad("%s is before %s of the line above", e.At, events[n-1].At)
		}
		if e.Submit != nil {
			allocations += e.Submit.Count
		}
		if len(events) == maxEvents || allocations > maxAllocations {
			return nil, bad("it is longer than %d lines or %d allocations", maxEvents, maxAllocations)
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		return nil, bad("%w", err)
	}
	if !begun {
		return nil, bad("it is empty").(*structs.Error).Advise("write %q and then one event a line", Header)
	}
	return events, nil
}

func readEvent(text string) (e Event, err error) {
	words := strings.Fields(text)
	if len(words) < 3 {
		return e, fmt.Errorf("it is not TIME VERB NAME …")
	}
	if e.At, err = structs.ParseDuration(words[0]); err != nil {
		return e, err
	}
	name, args := words[2], arguments{}
	for _, w := range words[3:] {
		k, v, ok := strings.Cut(w, "=")
		if _, twice := args[k]; !ok || k == "" || twice {
			return e, fmt.Errorf("%q is not key=value, or is there twice", w)
		}
		args[k] = v
	}
	valid := structs.ValidName
	switch words[1] {
	case "node":
		e.Node, e.Count, err = args.node(name)
	case "role":
		valid = structs.ValidRole
		e.Role, err = args.role(name)
	case "submit":
		e.Submit, err = args.submission(name)
	case "leave":
		e.Leave = name
	case "stop":
		e.Stop = name
	default:
		return e, fmt.Errorf("%q is not node, leave, role, submit or stop", words[1])
	}
	if err == nil && !valid(name) {
		err = fmt.Errorf("%q is not a valid name", name)
	}
	if err == nil && len(args) > 0 {
		err = fmt.Errorf("%s takes no %s", words[1], slices.Sorted(maps.Keys(args))[0])
	}
	return e, err
}

// arguments are the key=value of a line. What was read is taken out.
type arguments map[string]string

// take returns a value, "" when there is none, and takes it out.
func (a arguments) take(key string) string {
	v := a[key]
	delete(a, key)
	return v
}

func (a arguments) count() (int, error) {
	text := a.take("count")
	if text == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxCount {
		return 0, fmt.Errorf("count: %q is not from 0 to %d", text, maxCount)
	}
	return n, nil
}

// below returns the names and values of keys with a prefix, and takes them out.
func (a arguments) below(prefix string) map[string]string {
	var out map[string]string
	for k, v := range a {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[rest] = v
			delete(a, k)
		}
	}
	return out
}

// amount reads resources: cpu, memory, disk, and whatever else there is as custom ones.
func (a arguments) amount() (r structs.Resources, err error) {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		v := a.take(k)
		switch k {
		case "cpu":
			r.CPU, err = structs.ParseMilli(v)
		case "memory":
			r.Memory, err = structs.ParseBytes(v)
		case "disk":
			r.Disk, err = structs.ParseBytes(v)
		case "ports":
			var n uint64
			n, err = strconv.ParseUint(v, 10, 16)
			r.Ports = int(n)
		default:
			var m structs.Milli
			m, err = structs.ParseMilli(v)
			if r.Custom == nil {
				r.Custom = map[string]structs.Milli{}
			}
			r.Custom[k] = m
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", k, err)
		}
	}
	return r, nil
}

func (a arguments) node(name string) (*structs.Node, int, error) {
	n := &structs.Node{Name: name, Datacenter: cmp.Or(a.take("datacenter"), "dc1"), Attributes: a.below("attr."), Meta: a.below("meta.")}
	count, err := a.count()
	if err != nil {
		return nil, 0, err
	}
	n.Resources, err = a.amount()
	n.Resources.Ports = 0 // they are in the range
	return n, count, err
}

func (a arguments) role(name string) (*structs.Role, error) {
	r := &structs.Role{Name: name}
	var err error
	if text := a.take("weight"); text != "" {
		if r.Weight, err = structs.ParseMilli(text); err != nil {
			return nil, fmt.Errorf("weight: %w", err)
		}
	}
	if text := a.take("max_running"); text != "" {
		if r.MaxRunning, err = strconv.Atoi(text); err != nil || r.MaxRunning < 0 {
			return nil, fmt.Errorf("max_running: %q is not a number from 0 on", text)
		}
	}
	switch text := a.take("exempt"); text {
	case "", "false":
	case "true":
		r.PreemptionExempt = true
	default:
		return nil, fmt.Errorf("exempt: %q is not true or false", text)
	}
	for _, bound := range []struct {
		prefix string
		to     func(*structs.QuotaAmount)
	}{{"guarantee.", func(q *structs.QuotaAmount) { r.Quota.Guarantee = q }}, {"limit.", func(q *structs.QuotaAmount) { r.Quota.Limit = q }}} {
		of := a.below(bound.prefix)
		if of == nil {
			continue
		}
		if r.Quota == nil {
			r.Quota = &structs.Quota{}
		}
		q := &structs.QuotaAmount{}
		_, cpu := of["cpu"]
		_, memory := of["memory"]
		_, disk := of["disk"]
		amount, err := arguments(of).amount()
		if err != nil {
			return nil, fmt.Errorf("%s%w", bound.prefix, err)
		}
		if cpu {
			q.CPU = &amount.CPU
		}
		if memory {
			q.Memory = &amount.Memory
		}
		if disk {
			q.Disk = &amount.Disk
		}
		q.Custom = amount.Custom
		bound.to(q)
	}
	return r, nil
}

func (a arguments) submission(job string) (*Submission, error) {
	s := &Submission{Job: job, Role: cmp.Or(a.take("role"), structs.DefaultRole), Spread: a.take("spread"), Placement: a.take("placement")}
	if !structs.ValidRole(s.Role) {
		return nil, fmt.Errorf("role: %q is not a valid name", s.Role)
	}
	var err error
	if s.Priority, err = structs.ParsePriority(a.take("priority")); err != nil {
		return nil, err
	}
	for key, to := range map[string]*structs.Duration{"run": &s.Run, "max_run": &s.MaxRun} {
		if text := a.take(key); text != "" {
			if *to, err = structs.ParseDuration(text); err != nil || *to == 0 {
				return nil, fmt.Errorf("%s: %q is not a duration above 0", key, text)
			}
		}
	}
	s.Within = a.take("within")
	switch text := a.take("gang"); {
	case text == "true":
		s.Gang = true
	case text != "" && text != "false":
		return nil, fmt.Errorf("gang: %q is not true or false", text)
	case s.Within != "":
		return nil, fmt.Errorf("within: it is no gang")
	}
	if text := a.take("if"); text != "" {
		for part := range strings.SplitSeq(text, ";") {
			words := append(strings.SplitN(part, ":", 3), "", "")
			s.If = append(s.If, &structs.Constraint{Attribute: words[0], Operator: words[1], Value: words[2]})
		}
	}
	if s.Count, err = a.count(); err == nil {
		s.Resources, err = a.amount()
	}
	return s, err
}

// String is the line of the event, without a line break. ReadTrace reads it back.
func (e *Event) String() string {
	switch {
	case e.Node != nil:
		n := e.Node
		w := line(e.At, "node", n.Name)
		w.add("count", fmt.Sprint(e.Count))
		w.amount("", n.Resources)
		w.add("datacenter", n.Datacenter)
		w.names("attr.", n.Attributes)
		w.names("meta.", n.Meta)
		return w.String()
	case e.Role != nil:
		r := e.Role
		w := line(e.At, "role", r.Name)
		if r.Weight != 0 {
			w.add("weight", r.Weight.String())
		}
		w.quota("guarantee.", r.Guaranteed())
		w.quota("limit.", r.Limited())
		if r.MaxRunning > 0 {
			w.add("max_running", fmt.Sprint(r.MaxRunning))
		}
		if r.PreemptionExempt {
			w.add("exempt", "true")
		}
		return w.String()
	case e.Submit != nil:
		s := e.Submit
		w := line(e.At, "submit", s.Job)
		w.add("role", s.Role)
		w.add("priority", s.Priority.String())
		w.add("count", fmt.Sprint(s.Count))
		w.amount("", s.Resources)
		if s.Run > 0 {
			w.add("run", s.Run.String())
		}
		if s.MaxRun > 0 {
			w.add("max_run", s.MaxRun.String())
		}
		var conditions []string
		for _, c := range s.If {
			conditions = append(conditions, c.Attribute+":"+c.Operator+":"+c.Value)
		}
		w.say("if", strings.Join(conditions, ";"))
		w.say("spread", s.Spread)
		w.say("placement", s.Placement)
		if s.Gang {
			w.add("gang", "true")
			w.say("within", s.Within)
		}
		return w.String()
	case e.Leave != "":
		return fmt.Sprintf("%s leave %s", e.At, e.Leave)
	}
	return fmt.Sprintf("%s stop %s", e.At, e.Stop)
}

// writer writes the arguments of a line.
type writer struct{ strings.Builder }

func line(at structs.Duration, verb, name string) *writer {
	w := &writer{}
	fmt.Fprintf(w, "%s %s %s", at, verb, name)
	return w
}

func (w *writer) add(key, value string) { fmt.Fprintf(w, " %s=%s", key, value) }

func (w *writer) say(key, value string) {
	if value != "" {
		w.add(key, value)
	}
}

func (w *writer) names(prefix string, of map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(of)) {
		w.add(prefix+k, of[k])
	}
}

func (w *writer) amount(prefix string, r structs.Resources) {
	if r.CPU != 0 {
		w.add(prefix+"cpu", r.CPU.String())
	}
	if r.Memory != 0 {
		w.add(prefix+"memory", r.Memory.String())
	}
	if r.Disk != 0 {
		w.add(prefix+"disk", r.Disk.String())
	}
	if r.Ports != 0 {
		w.add(prefix+"ports", fmt.Sprint(r.Ports))
	}
	for _, name := range r.Names() {
		w.add(prefix+name, r.Custom[name].String())
	}
}

func (w *writer) quota(prefix string, q *structs.QuotaAmount) {
	for resource, amount := range q.All() {
		text := structs.Milli(amount).String()
		if resource == "memory" || resource == "disk" {
			text = structs.Bytes(amount).String()
		}
		w.add(prefix+resource, text)
	}
}
