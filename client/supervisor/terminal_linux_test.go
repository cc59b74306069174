package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func TestACommandCanNameItsTerminal(t *testing.T) { namesItsTerminal(t, newNode(t), none) }

// namesItsTerminal runs commands that use the terminal by its name.
func namesItsTerminal(t *testing.T, n *node, options ...option) {
	task := n.start(n.spec(`echo ready; exec sleep 100000`, options...))
	for range 2 { // one after the other may have the same name
		var screen bytes.Buffer
		resize := make(chan drivers.Size, 1)
		resize <- drivers.Size{Rows: 33, Cols: 111}
		exit, err := task.Exec(n.ctx, drivers.Command{TTY: true, Stdin: strings.NewReader("typed\n"), Stdout: &screen, Resize: resize,
			Args: []string{"sh", "-c", `stty -echo; stty size; name=$(tty); test -c "$name" && echo "is $name"; echo named > "$name"; echo own > /dev/tty; read line < "$name"; echo "read $line"; ls /proc/self/fd | tr '\n' ' '; exit 3`}})
		_, after, _ := strings.Cut(strings.ReplaceAll(screen.String(), "\r", ""), "33 111\nis /dev/pts/")
		_, after, _ = strings.Cut(after, "\n")
		if err != nil || exit.Code != 3 || after != "named\nown\nread typed\n0 1 2 3 " {
			t.Errorf("exit = %+v, %v; the screen shows %q", exit, err, screen.String())
		}
	}
	exit, err := task.Exec(n.ctx, drivers.Command{TTY: true, Args: []string{"no-such-program"}})
	if err != nil || exit.Code != 127 {
		t.Errorf("exec of a missing program = %+v, %v", exit, err)
	}
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	out := &onWrite{do: cancel}
	if _, err := task.Exec(ctx, drivers.Command{TTY: true, Args: []string{"sh", "-c", "echo go; exec sleep 100000"}, Stdout: out}); !errors.Is(err, context.Canceled) {
		t.Errorf("a command that was given up: %v", err)
	}
}

// An agent that takes the terminal and goes, without a word, keeps nobody waiting.
func TestATerminalThatNobodyWantsEndsTheCommand(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo ready; exec sleep 100000`, none)
	n.start(s)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := n.client.Exec(n.ctx, s.ID, []string{"sh"}, true, [3]*os.File{null, null, null}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("exec on a terminal that cannot be passed on: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.Close()
	if _, err := n.client.Exec(n.ctx, s.ID, []string{"sh"}, true, [3]*os.File{r, r, r}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("exec on a terminal that cannot be passed on: %v", err)
	}
}
