package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// detach: a command that nobody holds goes on without the driver that began it, is found again by its name, says how it ended as long as it was
// not destroyed, and ends with its task.
func detach(s *suite) {
	spec := s.spec(Script{Forever: true})
	task := s.start(spec)
	in, ok := task.(drivers.Detacher)
	if !ok {
		s.Skip("commands in its tasks end with whoever began them")
	}
	begin := func(name string, args ...string) drivers.Detached {
		s.Helper()
		d, err := in.Detach(s.ctx, &drivers.Detach{Name: name, Args: args, LogName: "of-" + name, LogFiles: 2, LogFileSize: 1 << 20})
		if err != nil {
			s.Fatalf("detach %s: %v", name, err)
		}
		return d
	}
	ends := func(what string, d drivers.Detached, want int) {
		s.Helper()
		if exit, err := d.Wait(s.ctx); err != nil || exit.Code != want {
			s.Errorf("%s: %+v, %v, and not code %d", what, exit, err, want)
		}
	}
	again := func() { // as after a restart of the agent
		s.Helper()
		found, err := s.h.New(s.T).Recover(s.ctx, spec, task.Handle())
		if err != nil {
			s.Fatal(err)
		}
		in = found.(drivers.Detacher)
	}
	find := func(name string) drivers.Detached {
		s.Helper()
		d, err := in.Detached(s.ctx, name)
		if err != nil {
			s.Fatalf("find %s: %v", name, err)
		}
		return d
	}

	if s.h.Scripted {
		d := begin("one", "echo", "hi")
		ends("one", d, 0)
		if text := s.said(spec, "of-one.stdout"); text == "" {
			s.Error("it said nothing")
		}
	} else {
		begin("one", "sh", "-c", "echo out; echo err >&2; exit 5")
		again()
		ends("one", find("one"), 5)
		if out, errs := s.said(spec, "of-one.stdout"), s.said(spec, "of-one.stderr"); out != "out\n" || errs != "err\n" {
			s.Errorf("it said %q and %q", out, errs)
		}
		_, err := in.Detach(s.ctx, &drivers.Detach{Name: "none", Args: []string{"/no/such/program"}, LogName: "of-none"})
		if missing := (*drivers.NoProgram)(nil); !errors.As(err, &missing) || missing.Code != 127 {
			s.Errorf("a program that is not there: %v", err)
		}
		_, err = in.Detached(s.ctx, "none")
		s.kind("one that did not begin", err, structs.NotFound)
		waiting(s, spec, task, begin, again, find)
	}
	_, err := in.Detach(s.ctx, &drivers.Detach{Name: "one", Args: []string{"true"}, LogName: "of-one"})
	s.kind("a name that was used", err, structs.Conflict)
	if err := find("one").Destroy(s.ctx); err != nil {
		s.Errorf("destroy: %v", err)
	}
	_, err = in.Detached(s.ctx, "one")
	s.kind("one that was destroyed", err, structs.NotFound)
	for _, name := range []string{"", "a/b", "A", "..", strings.Repeat("a", 64)} {
		_, err := in.Detach(s.ctx, &drivers.Detach{Name: name, Args: []string{"true"}, LogName: "x"})
		s.kind("the name "+name, err, structs.Invalid)
		_, err = in.Detached(s.ctx, name)
		s.kind("the name "+name, err, structs.NotFound)
	}

	last := begin("last", "sleep", "100000")
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	if exit, err := last.Wait(s.ctx); err != nil || !s.h.Scripted && exit.Signal != 9 {
		s.Errorf("one whose task ended: %+v, %v", exit, err)
	}
	_, err = in.Detach(s.ctx, &drivers.Detach{Name: "late", Args: []string{"true"}, LogName: "of-late"})
	s.kind("in a task that has ended", err, structs.Conflict)
	if err := task.Destroy(s.ctx); err != nil {
		s.Fatal(err)
	}
	_, err = in.Detached(s.ctx, "last")
	s.kind("in a task that was destroyed", err, structs.NotFound)
}

// waiting: commands that run are signalled, stopped with all that they began, and given up by nobody.
func waiting(s *suite, spec *drivers.Spec, task drivers.Task, begin func(string, ...string) drivers.Detached, again func(), find func(string) drivers.Detached) {
	number := fmt.Sprint(20_000_000 + 10*os.Getpid())
	script := "trap 'exit 6' USR1; echo ready; while :; do sleep 1000 & wait $!; done"
	signalled := begin("signalled", "sh", "-c", script)
	left := "sleep"
	if s.h.Commands {
		left = "setsid sleep"
	}
	begin("stopped", "sh", "-c", fmt.Sprintf("%s %s & %[1]s %[2]s & echo ready; sleep 100000", left, number))
	again()
	s.await("both run", func() bool {
		return s.said(spec, "of-signalled.stdout") != "" && s.said(spec, "of-stopped.stdout") != "" && inside(s, task, number) == 2
	})
	gone, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := signalled.Wait(gone); err == nil {
		s.Error("a wait that was given up has an answer")
	}
	s.kind("one that runs", find("signalled").Destroy(s.ctx), structs.Conflict)
	s.kind("a signal that there is not", find("signalled").Signal(s.ctx, "SIGNONE"), structs.Invalid)
	if err := find("signalled").Signal(s.ctx, "SIGUSR1"); err != nil {
		s.Error(err)
	}
	if exit, err := signalled.Wait(s.ctx); err != nil || exit.Code != 6 {
		s.Errorf("after a signal: %+v, %v", exit, err)
	}
	if err := find("stopped").Stop(s.ctx, "SIGTERM", 0); err != nil {
		s.Error(err)
	}
	if exit, err := find("stopped").Wait(s.ctx); err != nil || exit.Code != 137 || exit.Signal != 9 {
		s.Errorf("after a stop: %+v, %v", exit, err)
	}
	s.await("nothing of it runs", func() bool { return inside(s, task, number) == 0 })
}

// inside counts the processes in a task that sleep for so long.
func inside(s *suite, task drivers.Task, number string) int {
	s.Helper()
	var out screen
	if _, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", "cat /proc/[0-9]*/cmdline 2>&1"}, Stdout: &out}); err != nil {
		s.Fatal(err)
	}
	return strings.Count(out.text(), "sleep\x00"+number)
}
