package framework

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Config says who a framework is and where its region is. New reads it once.
type Config struct {
	Name      string   // required
	Servers   []string // host:port or URL of the HTTP port of any servers; required. The leader is found through them
	Roles     []string // empty: the default role
	User      string   // as whom tasks run that do not say it; empty: the region's choice
	Principal string   // sent with Token
	Token     string   // of the region; empty: none is sent
	WebURL    string
	Labels    map[string]string
	// Capabilities are wanted beside those that the driver has by itself (MULTI_ROLE, PARTITION_AWARE, RESERVATION_REFINEMENT and
	// TASK_KILLING_STATE), such as GPU_RESOURCES and REVOCABLE_RESOURCES.
	Capabilities []string
	// Constraints say on which nodes the framework wants offers; nil: on all.
	Constraints Constraints
	// Failover is how long the framework's tasks run on while no scheduler of it is there. 0: a day.
	Failover time.Duration
	// ID keeps the framework's id over restarts of its scheduler; nil: each Driver is a new framework.
	ID IDStore
	// Refuse is for how long what an offer had is not offered again after it was declined. 0: 5 s.
	Refuse time.Duration
	// ReconcileEvery is how often the region is asked how the framework's tasks are, beside after each subscription. 0: 15 min.
	ReconcileEvery time.Duration
	Transport      http.RoundTripper // nil: one of its own
	Log            *slog.Logger      // nil: discards
	// Jitter picks a pause of at most max; nil: any, at random. For tests.
	Jitter func(max time.Duration) time.Duration
}

// IDStore keeps the id of a framework. Its methods return when ctx ends.
type IDStore interface {
	// Load returns the id, empty when there is none yet.
	Load(ctx context.Context) (string, error)
	// Save keeps it, once it returned nil.
	Save(ctx context.Context, id string) error
}

// Bounds of a driver.
const (
	callWithin     = 70 * time.Second // a call; the region gives it 60 s
	firstWithin    = 20 * time.Second // from SUBSCRIBE to its first event
	beatsMissed    = 5                // heartbeats after which a stream is given up
	usualBeat      = 15 * time.Second // when the region does not say how often they come
	firstPause     = 100 * time.Millisecond
	lastPause      = 15 * time.Second
	reconcileFirst = time.Second     // until it is asked again for tasks that nothing was said of
	reconcileLast  = 2 * time.Minute //
	reconcileOnce  = 1000            // tasks of one RECONCILE
	mostAnswer     = 64 << 10        // bytes of an answer that is not a stream
	mostEvents     = 1024            // that wait for the scheduler
	mostCalls      = 1024            // of Do that wait, and such that nobody waits for, as acknowledgements
	callers        = 32              // of those that are under way
	mostEnded      = 4096            // tasks that are remembered after their end
	reviveEvery    = time.Second     // at most
	maxRedirects   = 3               // in a row
)

func (c *Config) fill() error {
	var problems structs.Problems
	if c.Name == "" {
		problems.Add("framework.name", "it has none")
	}
	if len(c.Servers) == 0 {
		problems.Add("framework.servers", "there is none").Advise("give host:port of the HTTP port of one or more servers")
	}
	c.Servers = slices.Clone(c.Servers)
	for i, s := range c.Servers {
		if !strings.Contains(s, "://") {
			s = "http://" + s
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
			problems.Add("framework.servers", "%.300q is not host:port or a URL such as http://10.0.0.1:5050", c.Servers[i])
			continue
		}
		c.Servers[i] = u.Scheme + "://" + u.Host
	}
	for _, name := range c.Capabilities {
		if _, known := capability(name); !known {
			problems.Add("framework.capabilities", "there is no capability %.100q", name)
		}
	}
	if c.Failover < 0 || c.Refuse < 0 || c.ReconcileEvery < 0 {
		problems.Add("framework", "a duration is negative")
	}
	if len(c.Roles) == 0 {
		c.Roles = []string{"*"}
	}
	c.Constraints.problems(c.Roles, &problems)
	if err := problems.Err(); err != nil {
		return err
	}
	c.Failover = cmp.Or(c.Failover, 24*time.Hour)
	c.Refuse = cmp.Or(c.Refuse, 5*time.Second)
	c.ReconcileEvery = cmp.Or(c.ReconcileEvery, 15*time.Minute)
	surround(&c.Log, &c.Jitter, &c.Transport, func(t *http.Transport) { t.MaxIdleConnsPerHost = callers + 4 })
	return nil
}

// surround fills in what both kinds of drivers have around them; change is for a transport of our own.
func surround(log **slog.Logger, jitter *func(time.Duration) time.Duration, transport *http.RoundTripper, change func(*http.Transport)) {
	if *log == nil {
		*log = slog.New(slog.DiscardHandler)
	}
	if *jitter == nil {
		*jitter = func(max time.Duration) time.Duration { return rand.N(max + 1) }
	}
	if *transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true
		change(t)
		*transport = t
	}
}

// capability finds one by its name.
func capability(name string) (wire.CapabilityType, bool) {
	for n, is := range wire.CapabilityType(0).Names() {
		if is == name && n != 0 {
			return wire.CapabilityType(n), true
		}
	}
	return 0, false
}

// backoff is how long to wait before the n-th try in a row, n from 1: twice as long each time, and a random part of it.
func (c *Config) backoff(n int) time.Duration {
	pause := lastPause
	if n < 10 {
		pause = min(firstPause<<(n-1), lastPause)
	}
	return pause/4 + c.Jitter(pause*3/4)
}
