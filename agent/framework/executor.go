package framework

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Executor runs tasks in one process. Its methods, and those of the optional interfaces below, are called one at a time, from the
// goroutine of ExecutorDriver.Run, and return soon: what takes long they do in goroutines of their own. ctx ends with Run.
type Executor interface {
	// Launch begins a task. The executor then says how it is with ExecutorDriver.Update, until it ended.
	Launch(ctx context.Context, t *Launched)
	// Kill ends a task, which the executor says once it did.
	Kill(ctx context.Context, task string, grace time.Duration)
}

// What an executor may do beside, by having the method.
type (
	// Listener takes messages of the scheduler. They come at most once.
	Listener interface {
		Message(ctx context.Context, data []byte)
	}
	// Closer is told to end: all tasks are to end, and be told as ended. The process is killed after ExecutorConfig.Grace.
	Closer interface {
		Shutdown(ctx context.Context)
	}
)

// Launched is a task as its executor gets it.
type Launched struct {
	ID        string
	Name      string
	Data      []byte
	Labels    map[string]string
	Resources structs.Resources
	Ports     []structs.Range
	Group     []string       // the tasks that were launched together with it, itself included; empty: it was launched alone
	Wire      *wire.TaskInfo // as it came
}

// TaskNews is what an executor says of a task.
type TaskNews struct {
	Task    string
	State   structs.TaskStatus
	Message string
	Data    []byte
	Healthy *bool
	Labels  map[string]string
}

// ExecutorConfig says who an executor is and where its node is.
type ExecutorConfig struct {
	Framework string
	ID        string
	Node      string // host:port of the executor API
	Socket    string // path of a domain socket where that is served, too; empty: it is asked at Node
	Directory string // its sandbox
	Token     string // empty: none is sent
	Grace     time.Duration
	Recovery  time.Duration // how long it goes on without its node; 0: 15 min
	Pause     time.Duration // at most, between two tries to subscribe; 0: 2 s
	Transport http.RoundTripper
	Log       *slog.Logger // nil: discards
	// Jitter picks a pause of at most max; nil: any, at random. For tests.
	Jitter func(max time.Duration) time.Duration
}

// FromEnvironment reads what the node tells an executor by its environment. getenv is os.Getenv when it is nil.
func FromEnvironment(getenv func(string) string) (c ExecutorConfig, err error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	c = ExecutorConfig{Framework: getenv("MESOS_FRAMEWORK_ID"), ID: getenv("MESOS_EXECUTOR_ID"), Node: getenv("MESOS_AGENT_ENDPOINT"), Socket: getenv("MESOS_DOMAIN_SOCKET"),
		Directory: cmp.Or(getenv("MESOS_SANDBOX"), getenv("MESOS_DIRECTORY")), Token: getenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN")}
	var problems structs.Problems
	for name, value := range map[string]string{"MESOS_FRAMEWORK_ID": c.Framework, "MESOS_EXECUTOR_ID": c.ID, "MESOS_AGENT_ENDPOINT": c.Node} {
		if value == "" {
			problems.Add("environment."+name, "it is not set").Advise("an executor is started by a node, for a task that names it")
		}
	}
	for name, to := range map[string]*time.Duration{"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": &c.Grace, "MESOS_RECOVERY_TIMEOUT": &c.Recovery,
		"MESOS_SUBSCRIPTION_BACKOFF_MAX": &c.Pause} {
		if value := getenv(name); value != "" {
			d, ok := parseStout(value)
			if !ok {
				problems.Add("environment."+name, "%.100q is not a duration such as 15mins", value)
			}
			*to = d
		}
	}
	return c, problems.Err()
}

// units of durations as nodes write them, the longer names before those that end like them.
var units = []struct {
	name string
	is   time.Duration
}{{"weeks", 7 * 24 * time.Hour}, {"days", 24 * time.Hour}, {"hrs", time.Hour}, {"mins", time.Minute}, {"secs", time.Second},
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", 1}}

func parseStout(s string) (time.Duration, bool) {
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			x, err := strconv.ParseFloat(number, 64)
			return time.Duration(x * float64(u.is)), err == nil && x >= 0 && x*float64(u.is) < 1e18
		}
	}
	return 0, false
}

func (c *ExecutorConfig) fill() {
	c.Grace = cmp.Or(c.Grace, 5*time.Second)
	c.Recovery = cmp.Or(c.Recovery, 15*time.Minute)
	c.Pause = cmp.Or(c.Pause, 2*time.Second)
	surround(&c.Log, &c.Jitter, &c.Transport, func(t *http.Transport) {
		if t.Proxy = nil; c.Socket != "" {
			socket := c.Socket
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			}
		}
	})
}

func launchedOf(w *wire.TaskInfo, group []string) *Launched {
	t := &Launched{ID: w.TaskID.Value, Name: w.Name, Data: w.Data, Labels: w.Labels.Map(), Group: group, Wire: w}
	o := offerOf(&wire.Offer{Resources: w.Resources})
	t.Resources, t.Ports = o.Resources, o.Ports
	return t
}
