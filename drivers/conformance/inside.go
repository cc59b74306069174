package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
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
		// One that does not want its input is not ended for that, and the rest of the input is nobody's.
		if code, _, _ := run(many, "sh", "-c", "exec <&-; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 6"); code != 6 {
			s.Errorf("a command that closed its input: exit code %d", code)
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
		givenUp(s, task)
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	_, err := task.Exec(s.ctx, drivers.Command{Args: []string{"true"}})
	s.kind("a command in an ended task", err, structs.Conflict)
}

// givenUp: a command ends when its caller goes, with what it began, whether it has a terminal or not.
func givenUp(s *suite, task drivers.Task) {
	running := func() string {
		var out bytes.Buffer
		if _, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", "cat /proc/[0-9]*/cmdline 2>&1"}, Stdout: &out}); err != nil {
			s.Fatal(err)
		}
		return out.String()
	}
	for i, tty := range []bool{false, true} {
		// Commands of other suites may be seen as well.
		var numbers []any
		for j := range 3 {
			numbers = append(numbers, fmt.Sprint(10_000_000+10*os.Getpid()+3*i+j))
		}
		script := fmt.Sprintf("sleep %s & sleep %s; true", numbers[:2]...)
		if s.h.Commands {
			script = fmt.Sprintf("setsid sleep %[3]s & sleep %[1]s & sleep %[2]s; true", numbers...)
		} else {
			numbers = numbers[:2]
		}
		seen := func(all string) (n int) {
			for _, number := range numbers {
				if strings.Contains(all, "sleep\x00"+number.(string)) {
					n++
				}
			}
			return n
		}
		ctx, cancel := context.WithCancel(s.ctx)
		done := make(chan error, 1)
		stdin, keys := io.Pipe()
		go func() {
			_, err := task.Exec(ctx, drivers.Command{Args: []string{"sh", "-c", script}, TTY: tty, Stdin: stdin, Stdout: &screen{}})
			done <- err
		}()
		s.await("the command runs", func() bool { return seen(running()) == len(numbers) })
		cancel()
		select {
		case err := <-done:
			if err == nil {
				s.Error("a command that was given up ended as if it was not")
			}
		case <-s.ctx.Done():
			s.Fatal("the command did not end with its caller")
		}
		keys.Close()
		s.await("nothing of it runs", func() bool { return seen(running()) == 0 })
	}
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
