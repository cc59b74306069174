package conformance

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func fingerprint(s *suite) {
	f := s.d.Fingerprint(s.ctx)
	if f == nil || !f.Healthy {
		s.Fatalf("it is not healthy: %+v", f)
	}
	if name := s.d.Name(); !structs.ValidName(name) {
		s.Errorf("name %q", name)
	}
}

func validate(s *suite) {
	for _, script := range []Script{{}, {Forever: true}} {
		if err := s.d.Validate("task.config", s.h.Config(script)); err != nil {
			s.Errorf("a good config is refused: %v", err)
		}
	}
	bad := append([]map[string]any{{"no_such_setting": true}}, s.h.Bad...)
	for _, config := range bad {
		err := s.d.Validate("task.config", config)
		s.kind("validate", err, structs.Invalid)
		if err != nil && !strings.Contains(err.Error(), "task.config") {
			s.Errorf("%v does not say where", err)
		}
		spec := s.spec(Script{})
		spec.Task.Config = config
		if _, err := s.d.Start(s.ctx, spec); err == nil {
			s.Errorf("started with %v", config)
		} else {
			s.kind("start", err, structs.Invalid)
		}
	}
}

func ends(s *suite) {
	for _, code := range []int{0, 3} {
		task := s.start(s.spec(Script{ExitCode: code}))
		for range 2 {
			if exit := s.wait(task); exit.Code != code || exit.Signal != 0 || exit.OOM {
				s.Errorf("exit %+v, want code %d", exit, code)
			}
		}
	}
	// Whoever stops waiting does not end the task.
	task := s.start(s.spec(Script{Forever: true}))
	gone, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := task.Wait(gone); err == nil {
		s.Error("a wait that was given up has an answer")
	}
	if _, err := task.Stats(s.ctx); err != nil {
		s.Errorf("the task does not run any more: %v", err)
	}
}

func startedOnce(s *suite) {
	spec := s.spec(Script{Forever: true})
	task := s.start(spec)
	_, err := s.d.Start(s.ctx, spec)
	s.kind("a second start of the same ID", err, structs.Conflict)
	if _, err := task.Stats(s.ctx); err != nil {
		s.Errorf("the first one does not run any more: %v", err)
	}
}

func noProgram(s *suite) {
	spec := s.spec(Script{})
	for key, value := range spec.Task.Config {
		if text, ok := value.(string); ok && strings.HasSuffix(text, "sh") {
			spec.Task.Config[key] = "/no/such/program"
		}
	}
	_, err := s.d.Start(s.ctx, spec)
	var missing *drivers.NoProgram
	if !errors.As(err, &missing) || missing.Code != 127 {
		s.Fatalf("a program that is not there: %v, want NoProgram with 127", err)
	}
	s.kind("its kind", err, structs.Invalid, structs.NotFound)
	_, err = s.d.Recover(s.ctx, spec, nil)
	s.kind("what is left of it", err, structs.NotFound)
}

func stop(s *suite) {
	task := s.start(s.spec(Script{Forever: true}))
	if err := task.Stop(s.ctx, "SIGTERM", patience); err != nil {
		s.Fatal(err)
	}
	if exit := s.wait(task); exit.Code != 0 && exit.Signal != 15 {
		s.Errorf("it ended by %+v", exit)
	}
	if err := task.Stop(s.ctx, "SIGTERM", patience); err != nil {
		s.Errorf("stop of an ended task: %v", err)
	}

	killed := func(grace time.Duration) {
		s.Helper()
		task := s.start(s.spec(Script{Forever: true, Stubborn: true}))
		if err := task.Stop(s.ctx, "SIGTERM", grace); err != nil {
			s.Fatal(err)
		}
		if exit := s.wait(task); exit.Code != 137 || exit.Signal != 9 || exit.OOM {
			s.Errorf("it ended by %+v, want signal 9", exit)
		}
	}
	killed(0)
	killed(50 * time.Millisecond)

	task = s.start(s.spec(Script{Forever: true}))
	s.kind("a signal that is none", task.Stop(s.ctx, "SIGNONE", time.Second), structs.Invalid)
	// A stop that is given up during the grace leaves a task that can be stopped.
	stubborn := s.start(s.spec(Script{Forever: true, Stubborn: true}))
	short, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
	defer cancel()
	if err := stubborn.Stop(short, "SIGTERM", patience); err == nil {
		s.Error("a stop that was given up has an answer")
	}
	if err := stubborn.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Error(err)
	}
}

func signal(s *suite) {
	task := s.start(s.spec(Script{Forever: true, ExitOnUSR1: 7}))
	s.kind("a signal that is none", task.Signal(s.ctx, "SIGNONE"), structs.Invalid)
	if err := task.Signal(s.ctx, "SIGUSR1"); err != nil {
		s.Fatal(err)
	}
	if s.h.Scripted {
		return
	}
	if exit := s.wait(task); exit.Code != 7 || exit.Signal != 0 {
		s.Errorf("it ended by %+v, want the 7 of its trap", exit)
	}
}

func outOfMemory(s *suite) {
	if exit := s.wait(s.start(s.spec(Script{Eat: true}))); !exit.OOM || exit.Code != 137 {
		s.Errorf("exit %+v, want an OOM with 137", exit)
	}
}

func recovered(s *suite) {
	spec := s.spec(Script{Forever: true})
	first := s.start(spec)
	ended := s.spec(Script{ExitCode: 4})
	over := s.start(ended)
	s.wait(over)
	later := s.h.New(s.T)
	for _, handle := range [][]byte{first.Handle(), nil} {
		if handle == nil && s.h.Scripted {
			continue
		}
		task, err := later.Recover(s.ctx, spec, handle)
		if err != nil {
			s.Fatalf("recover with handle %q: %v", handle, err)
		}
		if string(task.Handle()) != string(first.Handle()) {
			s.Errorf("it is another one: %q and %q", task.Handle(), first.Handle())
		}
		if _, err := task.Stats(s.ctx); err != nil {
			s.Errorf("it does not run: %v", err)
		}
	}
	for _, handle := range [][]byte{over.Handle(), nil} {
		if handle == nil && s.h.Scripted {
			continue
		}
		task, err := later.Recover(s.ctx, ended, handle)
		if err != nil {
			s.Fatalf("recover an ended one with handle %q: %v", handle, err)
		}
		if exit := s.wait(task); exit.Code != 4 {
			s.Errorf("an ended one: %+v, want code 4", exit)
		}
	}
	if _, err := later.Recover(s.ctx, s.spec(Script{}), nil); structs.KindOf(err) != structs.NotFound {
		s.Errorf("one that was never started: %v", err)
	}
	task, err := later.Recover(s.ctx, spec, first.Handle())
	if err != nil {
		s.Fatal(err)
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	if exit := s.wait(task); exit.Signal != 9 {
		s.Errorf("a recovered one ended by %+v", exit)
	}
	if s.h.Scripted {
		return // each driver has a machine of its own
	}
	if exit := s.wait(first); exit.Signal != 9 {
		s.Errorf("the first one sees %+v", exit)
	}
}

func output(s *suite) {
	spec := s.spec(Script{Stdout: "to stdout", Stderr: "to stderr"})
	s.wait(s.start(spec))
	s.await("output", func() bool {
		return s.text(spec, "stdout") == "to stdout\n" && s.text(spec, "stderr") == "to stderr\n"
	})
	// The next start of the task goes on behind it.
	spec.ID = strings.TrimSuffix(spec.ID, "1") + "2"
	spec.Task.Config = s.h.Config(Script{Stdout: "again"})
	s.wait(s.start(spec))
	s.await("more output", func() bool { return s.text(spec, "stdout") == "to stdout\nagain\n" })
}

func destroy(s *suite) {
	spec := s.spec(Script{Forever: true})
	task := s.start(spec)
	s.kind("destroy of a task that runs", task.Destroy(s.ctx), structs.Conflict)
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	for range 2 {
		if err := task.Destroy(s.ctx); err != nil {
			s.Errorf("destroy: %v", err)
		}
	}
	_, err := s.d.Recover(s.ctx, spec, nil)
	s.kind("recover after destroy", err, structs.NotFound)
}

func sweep(s *suite) {
	sweeper, ok := s.d.(drivers.Sweeper)
	if !ok {
		s.Skip("it forgets nothing by itself")
	}
	known, unknown := s.spec(Script{}), s.spec(Script{})
	for _, spec := range []*drivers.Spec{known, unknown} {
		s.wait(s.start(spec))
	}
	if err := sweeper.Sweep(s.ctx, func(id string) bool { return id != unknown.ID }); err != nil {
		s.Fatal(err)
	}
	if _, err := s.d.Recover(s.ctx, known, nil); err != nil {
		s.Errorf("one that is known: %v", err)
	}
	_, err := s.d.Recover(s.ctx, unknown, nil)
	s.kind("one that nobody knows", err, structs.NotFound)
}

// callsEnd: a call whose context ended returns. Its answer may still be right: some calls have nothing to wait for.
func callsEnd(s *suite) {
	task := s.start(s.spec(Script{Forever: true, Stubborn: true}))
	gone, cancel := context.WithCancel(s.ctx)
	cancel()
	s.d.Fingerprint(gone)
	spec := s.spec(Script{Forever: true})
	if started, err := s.d.Start(gone, spec); err == nil {
		s.end(started)
	} else if found, err := s.d.Recover(s.ctx, spec, nil); err == nil {
		s.end(found)
	} else {
		s.kind("after a start that was given up", err, structs.NotFound)
	}
	s.d.Recover(gone, spec, nil)
	task.Signal(gone, "SIGUSR2")
	task.Stats(gone)
	task.Destroy(gone)
	if _, err := task.Exec(gone, drivers.Command{Args: []string{"sleep", "1000"}}); err == nil && !s.h.Scripted {
		s.Error("a command that was given up has an answer")
	}
	if err := task.Stop(gone, "SIGTERM", patience); err == nil {
		s.Error("a stop that was given up has an answer")
	}
	if _, err := task.Wait(gone); err == nil {
		s.Error("a wait that was given up has an answer")
	}
}

// hang: what runs the tasks answers nothing. Every call ends with its context, the node says so, and all goes on afterwards.
func hang(s *suite) {
	task := s.start(s.spec(Script{Forever: true}))
	stubborn := s.start(s.spec(Script{Forever: true}))
	resume := s.h.Hang(s.T)
	resumed := false
	defer func() {
		if !resumed {
			resume()
		}
	}()
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
		s.Cleanup(cancel)
		return ctx
	}
	if f := s.d.Fingerprint(short()); f != nil && f.Healthy {
		s.Error("it is healthy")
	} else if f != nil && f.Why == "" {
		s.Error("it does not say why it is not healthy")
	}
	spec := s.spec(Script{Forever: true})
	_, startErr := s.d.Start(short(), spec)
	calls := map[string]error{"start": startErr}
	_, calls["recover"] = s.d.Recover(short(), spec, nil)
	_, calls["wait"] = task.Wait(short())
	_, calls["stats"] = task.Stats(short())
	_, calls["exec"] = task.Exec(short(), drivers.Command{Args: []string{"true"}})
	calls["signal"] = task.Signal(short(), "SIGUSR2")
	calls["stop"] = stubborn.Stop(short(), "SIGTERM", time.Second)
	for what, err := range calls {
		if err == nil || structs.KindOf(err) == structs.NotFound || structs.KindOf(err) == structs.Invalid {
			s.Errorf("%s: %v", what, err)
		}
	}
	resume()
	resumed = true
	s.await("health", func() bool { f := s.d.Fingerprint(s.ctx); return f != nil && f.Healthy })
	if found, err := s.d.Recover(s.ctx, spec, nil); err == nil {
		s.end(found)
	} else {
		s.kind("after the start", err, structs.NotFound)
	}
	if err := stubborn.Stop(s.ctx, "SIGTERM", patience); err != nil {
		s.Errorf("stop afterwards: %v", err)
	}
	s.wait(stubborn)
	if _, err := task.Stats(s.ctx); err != nil {
		s.Errorf("stats afterwards: %v", err)
	}
}
