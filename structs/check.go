package structs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Check is a question that the node asks a running task again and again. As a ready check it says whether the task can do its
// work: until it passes, the allocation is not healthy, and a rolling change waits. As a live check it says whether the task is of
// use at all: when it fails, the task is started again, as the restart policy says.
type Check struct {
	Name         string            `json:"name" hcl:"label" doc:"The name of the check, unique in the task."`
	Type         string            `json:"type,omitempty" doc:"http, https, tcp, grpc, grpcs (over TLS) or exec. Default http."`
	Port         string            `json:"port,omitempty" doc:"The name of a port of the group's network block; not for exec."`
	Path         string            `json:"path,omitempty" doc:"What http asks for. Default /."`
	Method       string            `json:"method,omitempty" doc:"With which method http asks. Default GET."`
	Headers      map[string]string `json:"headers,omitempty" hcl:"map" doc:"Headers that http sends; Host is the name of the server."`
	Statuses     []int             `json:"statuses,omitempty" doc:"The status codes of http that pass; without any, 200 to 399."`
	Service      string            `json:"service,omitempty" doc:"What grpc asks the health service about; without one, the server as a whole."`
	Command      []string          `json:"command,omitempty" doc:"What exec runs in the task: a program and its arguments. It passes with exit code 0."`
	Arg0         *string           `json:"arg0,omitempty" doc:"What the program of exec is called (argv[0]), when that is not the first of command. Drivers exec and oci."`
	InitialDelay Duration          `json:"initial_delay,omitempty" doc:"Time after the start before the check is made for the first time."`
	Interval     Duration          `json:"interval,omitempty" doc:"Time between two checks; until it first passes it is made more often. Default 10s."`
	Timeout      Duration          `json:"timeout,omitempty" doc:"When a check without an answer has failed. Default 5s."`
	Failures     int               `json:"failures,omitempty" doc:"How many must fail in a row before it counts as failing. Default 3."`
	Successes    int               `json:"successes,omitempty" doc:"How many must pass in a row before it counts as passing. Default 1."`
	Grace        Duration          `json:"grace,omitempty" doc:"Time after the start in which failures do not count as long as it has not passed. Default 10s."`
}

// MaxChecks bounds the ready and live checks of a task together.
const MaxChecks = 16

// CheckTypes are the kinds of question.
var CheckTypes = []string{"http", "https", "tcp", "grpc", "grpcs", "exec"}

// CheckStatus is what a check says.
type CheckStatus string

const (
	CheckPending CheckStatus = "pending" // not passed since the task started
	CheckPassing CheckStatus = "passing"
	CheckFailing CheckStatus = "failing"
)

// CheckState is what a node says of a check.
type CheckState struct {
	Name   string      `json:"name"`
	Live   bool        `json:"live,omitempty"` // it is a live check
	Status CheckStatus `json:"status"`
	Since  Time        `json:"since"`
	Why    string      `json:"why,omitempty"` // what the last one before the change of status said, when it did not pass
}

// CheckAnswer is what a check said whose answers are told and change nothing.
type CheckAnswer struct {
	Type string `json:"type"` // as in Check
	// Code is the exit code of exec, 128 more than a signal that ended it; the status of http; of tcp 1 when it was connected, and else 0. nil: there
	// was no answer, or none yet.
	Code *int `json:"code,omitempty"`
}

// Equal reports whether two answers, which may be nil, say the same.
func (a *CheckAnswer) Equal(b *CheckAnswer) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type == b.Type && (a.Code == nil) == (b.Code == nil) && (a.Code == nil || *a.Code == *b.Code)
}

// Ready reports whether every check of the task passes; a task without checks is ready.
func (t *TaskState) Ready() bool {
	return !slices.ContainsFunc(t.Checks, func(c CheckState) bool { return c.Status != CheckPassing })
}

// Healthy reports what the live checks of a task say together, as external frameworks are told; nil: it has none, or one that did not
// pass yet and has not failed.
func (t *TaskState) Healthy() *bool {
	var well *bool
	for _, c := range t.Checks {
		switch {
		case !c.Live:
		case c.Status == CheckFailing:
			return new(false)
		case c.Status == CheckPending:
			return nil
		default:
			well = new(true)
		}
	}
	return well
}

func (c *Check) canonicalize() {
	setDefault(&c.Type, "http")
	if c.http() {
		setDefault(&c.Path, "/")
		setDefault(&c.Method, "GET")
	}
	setDefault(&c.Interval, Duration(10*time.Second))
	setDefault(&c.Timeout, Duration(5*time.Second))
	setDefault(&c.Failures, 3)
	setDefault(&c.Successes, 1)
	setDefault(&c.Grace, Duration(10*time.Second))
}

func (c *Check) http() bool { return c.Type == "http" || c.Type == "https" }

var (
	httpMethod = regexp.MustCompile(`^[A-Z]{1,32}$`)
	httpHeader = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
	grpcName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{0,256}$`)
)

// checkChecks looks at the checks of a task; ports has the names of its group's ports.
func checkChecks(p *Problems, at string, t *Task, ports []string) {
	if len(t.Ready)+len(t.Live) == 0 {
		return
	}
	if len(t.Ready)+len(t.Live) > MaxChecks {
		p.Add(at, "%d ready and live checks are more than %d", len(t.Ready)+len(t.Live), MaxChecks)
	}
	if t.Lifecycle != nil && !t.Lifecycle.Sidecar {
		p.Add(at, "only main tasks and sidecars have checks: a %s task just ends", t.Lifecycle.Hook)
	}
	seen := names{}
	for i, c := range append(slices.Clone(t.Ready), t.Live...) {
		kind, n := "ready", i
		if i >= len(t.Ready) {
			kind, n = "live", i-len(t.Ready)
		}
		if c == nil {
			p.Add(index(at+"."+kind, n), "a check is missing (null)")
			continue
		}
		seen.check(p, at+"."+kind, "a check", n, c.Name)
		c.problems(p, at+"."+kind+"."+c.Name, ports)
	}
}

func (c *Check) problems(p *Problems, at string, ports []string) {
	checkOneOf(p, at+".type", c.Type, CheckTypes...)
	switch {
	case c.Type == "exec":
		if len(c.Command) == 0 || c.Command[0] == "" {
			p.Add(at+".command", "an exec check needs a command").Advise(`write command = ["/bin/program", "argument"]`)
		}
		for i, arg := range c.Command {
			checkText(p, index(at+".command", i), arg)
		}
		if c.Arg0 != nil {
			checkText(p, at+".arg0", *c.Arg0)
		}
	case c.Port == "":
		p.Add(at+".port", "a check of type %s needs a port", c.Type).Advise("name a port of the group's network block")
	case !slices.Contains(ports, c.Port):
		p.Add(at+".port", "the group has no port %q", c.Port).didYouMean(c.Port, ports, "name a port of the group's network block")
	}
	for _, f := range []struct {
		name    string
		foreign bool
	}{
		{"arg0", c.Type != "exec" && c.Arg0 != nil}, {"command", c.Type != "exec" && len(c.Command) > 0}, {"headers", !c.http() && len(c.Headers) > 0},
		{"method", !c.http() && c.Method != ""}, {"path", !c.http() && c.Path != ""}, {"port", c.Type == "exec" && c.Port != ""},
		{"service", !c.grpc() && c.Service != ""}, {"statuses", !c.http() && len(c.Statuses) > 0},
	} {
		if f.foreign {
			p.Add(at+"."+f.name, "a check of type %s has no %s", c.Type, f.name)
		}
	}
	if c.http() {
		c.httpProblems(p, at)
	}
	if !grpcName.MatchString(c.Service) {
		p.Add(at+".service", "%q is not the name of a gRPC service", c.Service)
	}
	checkDuration(p, at+".initial_delay", c.InitialDelay, 0, day)
	checkDuration(p, at+".interval", c.Interval, Duration(100*time.Millisecond), day)
	checkDuration(p, at+".timeout", c.Timeout, Duration(10*time.Millisecond), Duration(time.Hour))
	checkDuration(p, at+".grace", c.Grace, 0, day)
	checkRange(p, at+".failures", c.Failures, 1, 1_000)
	checkRange(p, at+".successes", c.Successes, 1, 1_000)
}

func (c *Check) grpc() bool { return c.Type == "grpc" || c.Type == "grpcs" }

func (c *Check) httpProblems(p *Problems, at string) {
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r == 127 }) {
		p.Add(at+".path", "%q is not a path", c.Path).Advise("it begins with / and has no spaces, such as /health?full=1")
	}
	if !httpMethod.MatchString(c.Method) {
		p.Add(at+".method", "%q is not a method", c.Method).Advise("such as GET, HEAD or POST")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value := c.Headers[name]
		if !httpHeader.MatchString(name) {
			p.Add(at+".headers."+name, "%q is not the name of a header", name)
		}
		if len(value) > 4<<10 || strings.ContainsAny(value, "\r\n\x00") {
			p.Add(at+".headers."+name, "the value of a header is at most 4KiB, on one line")
		}
	}
	for i, code := range c.Statuses {
		checkRange(p, index(at+".statuses", i), code, 100, 599)
	}
}
