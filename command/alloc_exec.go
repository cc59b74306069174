package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/drivers"
)

func allocExec(e *Environment) *command {
	c := newCommand(e, "alloc exec", "ALLOC [--] CMD [ARGS]", "Run a command in a running task").remote()
	c.about = "Run a command in a running task, with its input and output here, and exit with its code. In a terminal it gets one too."
	c.min, c.max = 2, -1
	c.predict = predictAllocs(e)
	task := c.flags.String("task", "", "`TASK` to run it in. Default: the first main one; with several it says so on stderr")
	job := c.flags.Bool("job", false, "the first argument is the name of a job")
	tty := c.flags.String("tty", "auto", "`WHETHER` to give it a terminal: yes, no or auto")
	noInput := c.flags.Bool("no-input", false, "give it no input")
	c.run = func(ctx context.Context, args []string) error {
		command := args[1:]
		if command[0] == "--" {
			command = command[1:]
		} else if strings.HasPrefix(command[0], "-") {
			return usagef("%s is behind ALLOC and would be the command: flags go before ALLOC, and -- before a command that begins with -", command[0])
		}
		if len(command) == 0 {
			return usagef("the command is missing")
		}
		if *tty != "yes" && *tty != "no" && *tty != "auto" {
			return usagef("-tty: %q is not yes, no or auto", *tty)
		}
		err := execIn(ctx, e, args[0], *job, *task, *tty, *noInput, command)
		var code exitCode
		if err == nil || errors.As(err, &code) || errors.Is(context.Cause(ctx), errInterrupted) {
			return err
		}
		e.printError(err)
		return exitCode(exitProffer)
	}
	return c
}

func execIn(ctx context.Context, e *Environment, given string, isJob bool, task, tty string, noInput bool, command []string) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	args := []string{given}
	if task != "" {
		args = append(args, task)
	}
	a, task, err := e.taskOf(ctx, client, args, isJob)
	if err != nil {
		return err
	}
	req := &api.ExecRequest{Alloc: string(a.ID), Task: task, Command: command, Stdout: e.Out, Stderr: e.Err}
	if !noInput {
		req.Stdin = e.In
	}
	in, terminal := e.In.(*os.File)
	terminal = terminal && term.IsTerminal(int(in.Fd()))
	req.TTY = tty == "yes" || tty == "auto" && terminal && e.Terminal
	if req.TTY && terminal {
		state, err := term.MakeRaw(int(in.Fd()))
		if err == nil {
			defer term.Restore(int(in.Fd()), state)
		}
		sizes, stop := watchSize(ctx, in)
		defer stop()
		req.Resize = sizes
		req.Size = sizeOf(in)
	}
	result, err := client.Exec(ctx, req)
	if err != nil {
		return err
	}
	switch {
	case result.Code == 0:
		return nil
	case result.Code < 0:
		fmt.Fprintln(e.Err, clean(cmp.Or(result.Why, "its exit code is not known")))
		return exitCode(exitProffer)
	case result.Code == 127 && len(args) == 1 && a.Tasks[command[0]] != nil:
		fmt.Fprintf(e.Err, "Hint: %q is a task of it: proffer alloc exec -task %s %s COMMAND\n", command[0], command[0], given)
	}
	return exitCode(result.Code) // why there was no command is in its output
}

func sizeOf(terminal *os.File) drivers.Size {
	cols, rows, err := term.GetSize(int(terminal.Fd()))
	if err != nil || cols <= 0 || rows <= 0 || cols > 10000 || rows > 10000 {
		return drivers.Size{Rows: 24, Cols: 80}
	}
	return drivers.Size{Rows: uint16(rows), Cols: uint16(cols)}
}

// watchSize sends the terminal's size when it changes; it looks four times a second, which works on every system. stop
// waits for it to end.
func watchSize(ctx context.Context, terminal *os.File) (sizes <-chan drivers.Size, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	out, done := make(chan drivers.Size, 1), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		last := sizeOf(terminal)
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now := sizeOf(terminal); now != last {
				last = now
				select {
				case out <- now:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, func() { cancel(); <-done }
}
