package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func check(kind string, change ...func(*structs.Check)) *structs.Check {
	c := &structs.Check{Name: "c", Type: kind, Interval: structs.Duration(10 * time.Second), Timeout: structs.Duration(5 * time.Second),
		Failures: 3, Successes: 1, Grace: structs.Duration(10 * time.Second), Path: "/", Method: "GET"}
	for _, f := range change {
		f(c)
	}
	return c
}

// A verdict is told as a row of answers (+ passed, - failed), each with the age of the task in seconds, and what follows.
func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		what, answers, want string
		change              func(*structs.Check)
	}{
		{what: "one pass is enough", answers: "+0", want: "passing"},
		{what: "failures in the grace do not count", answers: "-0 -1 -2 -3 -9", want: "pending"},
		{what: "nor do they count afterwards", answers: "-0 -1 -2 -10 -11", want: "pending"},
		{what: "after it they do", answers: "-10 -11 -12", want: "failing"},
		{what: "once it passed there is no grace", answers: "+0 -1 -2 -3", want: "failing"},
		{what: "two failures are not three", answers: "+0 -20 -30", want: "passing"},
		{what: "a pass between them starts anew", answers: "+0 -20 -30 +40 -50 -60", want: "passing"},
		{what: "it comes back", answers: "+0 -20 -30 -40 +50", want: "passing"},
		{what: "with two passes in a row", answers: "+0 -1 +2", want: "pending", change: func(c *structs.Check) { c.Successes = 2 }},
		{what: "that come", answers: "+0 -1 +2 +3", want: "passing", change: func(c *structs.Check) { c.Successes = 2 }},
		{what: "it comes back with two", answers: "+0 +1 -2 -3 -4 +5", want: "failing", change: func(c *structs.Check) { c.Successes = 2 }},
	} {
		c := check("tcp")
		if tt.change != nil {
			tt.change(c)
		}
		v := verdict{status: structs.CheckPending}
		for _, a := range strings.Fields(tt.answers) {
			var age int
			fmt.Sscanf(a[1:], "%d", &age)
			v = v.next(c, time.Duration(age)*time.Second, Answer{OK: a[0] == '+'})
		}
		if string(v.status) != tt.want {
			t.Errorf("%s: %s gives %s, not %s", tt.what, tt.answers, v.status, tt.want)
		}
	}
}

// What does not pass at first is asked soon, and ever later.
func TestPause(t *testing.T) {
	c, v := check("tcp"), verdict{status: structs.CheckPending}
	var got []string
	for range 10 {
		v = v.next(c, 0, Answer{})
		got = append(got, v.pause(c).String())
	}
	if want := "100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s 10s"; strings.Join(got, " ") != want {
		t.Errorf("%v, not %s", got, want)
	}
	if v = v.next(c, 0, Answer{OK: true}); v.pause(c) != 10*time.Second {
		t.Errorf("%v after it passed", v.pause(c))
	}
}

// sayer answers checks of type exec.
type sayer struct {
	mu    sync.Mutex
	fails bool
	hangs bool
	times []time.Duration // since begin
	begin time.Time
	now   int // asking at the same time
	most  int
}

func (s *sayer) exec(ctx context.Context, cmd drivers.Command) (drivers.Exit, error) {
	s.mu.Lock()
	s.times = append(s.times, time.Since(s.begin))
	s.now++
	s.most = max(s.most, s.now)
	fails, hangs := s.fails, s.hangs
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	if hangs {
		<-ctx.Done()
		return drivers.Exit{}, ctx.Err()
	}
	took, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	<-took.Done()
	if fails {
		io.WriteString(cmd.Stderr, "no\x1b[31m database\n")
		return drivers.Exit{Code: 2}, nil
	}
	return drivers.Exit{}, nil
}

func (s *sayer) set(fails, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails, s.hangs = fails, hangs
}

func (s *sayer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func (s *sayer) highest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// reports gathers what is told of a check.
type reports struct {
	mu  sync.Mutex
	all []string
}

func (r *reports) add(status structs.CheckStatus, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, strings.TrimSpace(string(status)+" "+a.Why))
}

func (r *reports) is(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.all, want) {
		t.Errorf("told %q, not %q", r.all, want)
	}
	r.all = nil
}

func TestAPoolMakesChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s, r := NewPool(), &sayer{begin: time.Now(), fails: true}, &reports{}
		defer p.Close()
		c := p.Add(check("exec", func(c *structs.Check) { c.InitialDelay = structs.Duration(time.Second) }), Target{Exec: s.exec},
			time.Now(), structs.CheckPending, r.add)
		time.Sleep(900 * time.Millisecond)
		if s.asked() != 0 {
			t.Errorf("asked %d times before initial_delay", s.asked())
		}
		time.Sleep(4 * time.Second)
		r.is(t, "pending exit code 2: no[31m database")
		s.set(false, false)
		time.Sleep(4 * time.Second)
		r.is(t, "passing")
		before := s.asked()
		time.Sleep(1000 * time.Second)
		if n := s.asked() - before; n < 90 || n > 110 {
			t.Errorf("asked %d times in 100 intervals", n)
		}
		r.is(t)
		s.set(false, true)
		time.Sleep(50 * time.Second)
		r.is(t, "failing no answer within 5s")
		s.set(true, false)
		time.Sleep(20 * time.Second)
		r.is(t)                      // so soon another reason is not worth it
		time.Sleep(70 * time.Second) // the minute is over, and it was asked again since
		r.is(t, "failing exit code 2: no[31m database")
		time.Sleep(1000 * time.Second)
		r.is(t)
		s.set(false, false)
		time.Sleep(16 * time.Second)
		r.is(t, "passing")
		s.set(true, false)
		c.Stop()
		before = s.asked()
		time.Sleep(100 * time.Second)
		r.is(t)
		if s.asked() != before {
			t.Error("asked after Stop")
		}
	})
}

// Thousands take their turns, and none waits for ever for one that hangs.
func TestManyChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s, hung := NewPool(), &sayer{begin: time.Now()}, &sayer{begin: time.Now(), hangs: true}
		defer p.Close()
		for i := range 2000 {
			to := Target{Exec: s.exec}
			if i%100 == 0 {
				to.Exec = hung.exec
			}
			p.Add(check("exec"), to, time.Now(), structs.CheckPending, func(structs.CheckStatus, Answer) {})
		}
		time.Sleep(100 * time.Second)
		if n := s.asked(); n < 1980*9 || n > 1980*12 {
			t.Errorf("asked %d times in 10 intervals of 1,980 checks", n)
		}
		if s.highest() > Parallel || s.highest() < Parallel/2 {
			t.Errorf("%d at the same time", s.highest())
		}
	})
}

// What was known when the agent was restarted stays so, and all are not asked at once.
func TestAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s, r := NewPool(), &sayer{begin: time.Now()}, &reports{}
		for range 100 {
			p.Add(check("exec"), Target{Exec: s.exec}, time.Now().Add(-time.Hour), structs.CheckPassing, r.add)
		}
		time.Sleep(5 * time.Second)
		if n := s.asked(); n < 20 || n > 80 {
			t.Errorf("%d of 100 were asked in half an interval", n)
		}
		s.set(true, false)
		time.Sleep(15 * time.Second)
		r.is(t) // two failures are not enough
		p.Close()
		before := s.asked()
		time.Sleep(time.Minute)
		if s.asked() != before {
			t.Error("asked after Close")
		}
	})
}

// once asks a check now.
func once(t *testing.T, c *structs.Check, to Target) string {
	t.Helper()
	a := ask(t.Context(), c, to)
	if a.OK != (a.Why == "") {
		t.Errorf("%+v", a)
	}
	return a.Why
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "web.example" || r.Header.Get("X-Key") != "k" || r.Method != "POST" || r.URL.RawQuery != "full=1" {
			http.Error(w, fmt.Sprint(r.Host, r.Header, r.Method, r.URL), 400)
		}
	})
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, strings.Repeat("the database\n is away ", 10_000))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/down", http.StatusFound) })
	mux.HandleFunc("/odd", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	for _, kind := range []string{"http", "https"} {
		s := httptest.NewUnstartedServer(mux)
		if kind == "http" {
			s.Start()
		} else {
			s.StartTLS()
		}
		to := Target{Address: s.Listener.Addr().String()}
		at := func(path string) *structs.Check { return check(kind, func(c *structs.Check) { c.Path = path }) }
		up := at("/up?full=1")
		up.Method, up.Headers = "POST", map[string]string{"Host": "web.example", "X-Key": "k"}
		if why := once(t, up, to); why != "" {
			t.Errorf("%s: %s", kind, why)
		}
		if why := once(t, at("/moved"), to); why != "" {
			t.Errorf("%s: a redirect was followed: %s", kind, why)
		}
		if why := once(t, at("/down"), to); !strings.HasPrefix(why, "status 503: the database is away the database") || len(why) > 250 {
			t.Errorf("%s: %q", kind, why)
		}
		odd := at("/odd")
		odd.Statuses = []int{200}
		if why := once(t, odd, to); why != "status 204:" {
			t.Errorf("%s: %q", kind, why)
		}
		s.Close()
		if why := once(t, up, to); why != "nothing listens on "+to.Address {
			t.Errorf("%s: %q", kind, why)
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := Target{Address: l.Addr().String()}
	if why := once(t, check("tcp"), to); why != "" {
		t.Error(why)
	}
	// One that takes connections and says nothing is up for TCP, and no web server.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := ask(ctx, check("http"), to); a.Why != "no answer within 5s" {
		t.Errorf("%+v", a)
	}
	l.Close()
	if why := once(t, check("tcp"), to); why != "nothing listens on "+to.Address {
		t.Error(why)
	}
}

func TestExec(t *testing.T) {
	var ran []string // with the name of the program before it
	answer := func(exit drivers.Exit, err error, out string) Target {
		return Target{Exec: func(_ context.Context, cmd drivers.Command) (drivers.Exit, error) {
			ran = append([]string{*cmd.Arg0}, cmd.Args...)
			io.WriteString(cmd.Stdout, out)
			return exit, err
		}}
	}
	c := check("exec", func(c *structs.Check) { c.Command, c.Arg0 = []string{"/bin/ok", "-v"}, new("fine") })
	if why := once(t, c, answer(drivers.Exit{}, nil, "fine")); why != "" || !slices.Equal(ran, []string{"fine", "/bin/ok", "-v"}) {
		t.Error(why, ran)
	}
	if why := once(t, c, answer(drivers.Exit{Code: 1}, nil, strings.Repeat("x", 10_000))); !strings.HasPrefix(why, "exit code 1: xxx") || len(why) > 250 {
		t.Errorf("%q", why)
	}
	if why := once(t, c, answer(drivers.Exit{}, errors.New("it does not run"), "")); why != "it does not run" {
		t.Errorf("%q", why)
	}
}

// Of a check that is watched every answer is told, with its code, each interval: also when it is the same, and when there is none.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := NewPool(), &sayer{begin: time.Now(), fails: true}
		defer p.Close()
		var mu sync.Mutex
		var all []string
		told := func(want ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(all, want) {
				t.Errorf("told %q, not %q", all, want)
			}
			all = nil
		}
		c := p.Watch(check("exec", func(c *structs.Check) { c.InitialDelay = structs.Duration(30 * time.Second) }), Target{Exec: s.exec}, time.Now(), func(a Answer) {
			mu.Lock()
			defer mu.Unlock()
			code := "none"
			if a.Code != nil {
				code = fmt.Sprint(*a.Code)
			}
			all = append(all, code)
		})
		time.Sleep(29 * time.Second)
		told()
		time.Sleep(13 * time.Second)
		told("2", "2")
		s.set(false, false)
		time.Sleep(10 * time.Second)
		told("0")
		s.set(false, true)
		time.Sleep(16 * time.Second)
		told("none")
		c.Stop()
		time.Sleep(time.Minute)
		told()
	})
}

// What a check says beside whether it passed.
func TestCodes(t *testing.T) {
	answers := func(c *structs.Check, to Target) string {
		a := ask(t.Context(), c, to)
		if a.Code == nil {
			return "none"
		}
		return fmt.Sprint(*a.Code)
	}
	web := httptest.NewServer(http.NotFoundHandler())
	to := Target{Address: web.Listener.Addr().String()}
	exit := Target{Exec: func(context.Context, drivers.Command) (drivers.Exit, error) {
		return drivers.Exit{Code: 137, Signal: 9}, nil
	}}
	away := Target{Exec: func(context.Context, drivers.Command) (drivers.Exit, error) {
		return drivers.Exit{}, errors.New("it does not run")
	}}
	for want, got := range map[string]string{"404": answers(check("http"), to), "1": answers(check("tcp"), to), "137": answers(check("exec"), exit),
		"none": answers(check("exec"), away)} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	web.Close()
	if got := answers(check("tcp"), to); got != "0" {
		t.Errorf("tcp: %s", got)
	}
	if got := answers(check("http"), to); got != "none" {
		t.Errorf("http: %s", got)
	}
}
