package conformance

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func execute(s *suite) {
	task := s.start(s.spec(Script{Forever: true}))
	if s.h.Scripted {
		var out bytes.Buffer
		if exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"echo", "hi"}, Stdout: &out}); err != nil || exit.Code != 0 || out.Len() == 0 {
			s.Errorf("%+v, %v, %q", exit, err, out.String())
		}
	} else {
		run := func(stdin string, args ...string) (code int, stdout, stderr string) {
			s.Helper()
			var out, errs bytes.Buffer
			cmd := drivers.Command{Args: args, Stdout: &out, Stderr: &errs}
			if stdin != "" {
				cmd.Stdin = strings.NewReader(stdin)
			}
			exit, err := task.Exec(s.ctx, cmd)
			if err != nil {
				s.Fatalf("%v: %v", args, err)
			}
			return exit.Code, out.String(), errs.String()
		}
		if code, out, errs := run("", "sh", "-c", "echo a; echo b >&2; exit 5"); code != 5 || out != "a\n" || errs != "b\n" {
			s.Errorf("exit code %d, %q, %q", code, out, errs)
		}
		many := strings.Repeat("0123456789abcde\n", 1<<15)
		if code, out, _ := run(many, "cat"); code != 0 || out != many {
			s.Errorf("exit code %d, %d of %d bytes came back", code, len(out), len(many))
		}
		if code, _, errs := run("", "/no/such/program"); code != 127 || errs == "" {
			s.Errorf("a program that is not there: exit code %d, %q", code, errs)
		}
		if code, _, _ := run("", "sh", "-c", "kill -9 $$"); code != 137 {
			s.Errorf("a command that a signal ended: exit code %d", code)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", "exit 2"}}); err != nil || exit.Code != 2 {
					s.Errorf("one of many: %+v, %v", exit, err)
				}
			})
		}
		all.Wait()
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	_, err := task.Exec(s.ctx, drivers.Command{Args: []string{"true"}})
	s.kind("a command in an ended task", err, structs.Conflict)
}

func terminal(s *suite) {
	task := s.start(s.spec(Script{Forever: true}))
	stdin, keys := io.Pipe()
	defer stdin.Close()
	screen := &screen{}
	sizes := make(chan drivers.Size, 1)
	sizes <- drivers.Size{Rows: 33, Cols: 77}
	done := make(chan drivers.Exit, 1)
	go func() {
		exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh"}, TTY: true, Stdin: stdin, Stdout: screen, Resize: sizes})
		if err != nil {
			s.Errorf("exec: %v", err)
		}
		done <- exit
	}()
	typed := func(line string) {
		if _, err := io.WriteString(keys, line+"\n"); err != nil {
			s.Errorf("type: %v", err)
		}
	}
	// The size comes to the terminal some time after the command began.
	typed(`[ -t 0 ] && echo "is a "terminal; until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; echo first" size"`)
	s.await("the first size", func() bool { return screen.has("is a terminal") && screen.has("first size") })
	sizes <- drivers.Size{Rows: 20, Cols: 100}
	typed(`until [ "$(stty size)" = "20 100" ]; do sleep 0.05; done; echo second" size"`)
	s.await("the second size", func() bool { return screen.has("second size") })
	typed("exit 9")
	select {
	case exit := <-done:
		if exit.Code != 9 {
			s.Errorf("exit %+v, want code 9", exit)
		}
	case <-s.ctx.Done():
		s.Fatalf("the command did not end; the screen: %q", screen.text())
	}
}

// screen is what a terminal showed.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *screen) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *screen) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

func (c *screen) has(text string) bool { return strings.Contains(c.text(), text) }

func stats(s *suite) {
	task := s.start(s.spec(Script{Forever: true}))
	st, err := task.Stats(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	if st.Time == 0 || st.Pids < 1 || st.Memory <= 0 {
		s.Errorf("%+v", st)
	}
	if s.h.Limits && st.Limit != 64<<20 {
		s.Errorf("the limit is %s", st.Limit)
	}
	again, err := task.Stats(s.ctx)
	if err != nil || again.CPUTime < st.CPUTime {
		s.Errorf("later: %+v, %v", again, err)
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	_, err = task.Stats(s.ctx)
	s.kind("stats of an ended task", err, structs.Conflict)
}
