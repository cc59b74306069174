package client

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// The health check of a framework's task asks the address that it names, and ends the task when nobody answers there any more.
func TestHealthOfAFrameworksTask(t *testing.T) {
	bubble(t, func(w *world) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a := w.alloc("a", w.batch("", script{"run_for": "forever"}, func(g *structs.Group) {
			g.Restart = &structs.Restart{Attempts: new(0)}
			g.Tasks[0].Live = []*structs.Check{{Name: "health", Type: "tcp", Port: l.Addr().String(), Interval: structs.Duration(time.Second),
				Timeout: structs.Duration(time.Second), Failures: 2, Successes: 1}}
		}))
		a.Framework, a.External = "f", &structs.External{Tasks: []*structs.ExternalTask{{ID: "t", Name: "main"}}}
		w.want(a)
		after(3 * time.Second)
		if s := w.task("a", "main"); s.Status != structs.TaskRunning || s.Healthy() == nil || !*s.Healthy() {
			t.Errorf("it is %+v", s)
		}
		l.Close()
		after(time.Minute)
		if s := w.task("a", "main"); !s.Status.Ended() || s.Healthy() == nil || *s.Healthy() {
			t.Errorf("it is %+v", s)
		}
	})
}

// What the check of a framework's task says is reported when it changes, and ends nothing: also by the agent that comes after this one.
func TestCheckOfAFrameworksTask(t *testing.T) {
	bubble(t, func(w *world) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a := w.alloc("a", w.batch("", script{"run_for": "forever"}, nil))
		a.Framework, a.External = "f", &structs.External{Tasks: []*structs.ExternalTask{{ID: "t", Name: "main", Check: &structs.Check{Name: "check", Type: "tcp",
			Port: l.Addr().String(), InitialDelay: structs.Duration(2 * time.Second), Interval: structs.Duration(time.Second), Timeout: structs.Duration(time.Second)}}}}
		w.want(a)
		is := func(want string) {
			t.Helper()
			s, got := w.task("a", "main"), "nothing"
			switch {
			case s.Answer == nil || s.Answer.Type != "tcp":
			case s.Answer.Code == nil:
				got = "no answer"
			default:
				got = fmt.Sprint(*s.Answer.Code)
			}
			if got != want || s.Status != structs.TaskRunning || len(s.Checks) != 0 {
				t.Errorf("it says %s, not %s: %+v", got, want, s)
			}
		}
		after(time.Second)
		is("no answer")
		after(2 * time.Second)
		is("1")
		w.stop()
		w.start()
		after(2 * time.Second)
		is("1")
		l.Close()
		after(3 * time.Second)
		is("0")
	})
}
