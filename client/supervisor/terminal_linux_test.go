package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
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
	if _, err := n.client.Exec(n.ctx, s.ID, exec.Command{Args: []string{"sh"}, TTY: true}, [3]*os.File{null, null, null}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("exec on a terminal that cannot be passed on: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.Close()
	if _, err := n.client.Exec(n.ctx, s.ID, exec.Command{Args: []string{"sh"}, TTY: true}, [3]*os.File{r, r, r}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("exec on a terminal that cannot be passed on: %v", err)
	}
}

func TestATaskOnATerminalOutlivesSupervisorAndAgent(t *testing.T) {
	n := newNode(t)
	typesFor(t, n, n.spec(conversation, none), n.driver)
}

// conversation is a task that answers what is typed for it.
const conversation = `stty -echo; trap 'again=1; echo interrupted' INT; echo "on $(tty), $TERM, $(stty size)"
while again=; read line || [ "$again" ]; do
	echo "got $line"
	case $line in
	size) stty size;;
	end) exit 7;;
	esac
done
echo hung up`

// typesFor starts a task on a terminal and types for it, while its supervisor is killed and replaced.
func typesFor(t *testing.T, n *node, s *drivers.Spec, d drivers.Driver) {
	t.Helper()
	s.Terminal = &drivers.Size{Rows: 33, Cols: 111}
	task, err := d.Start(n.ctx, s)
	if err != nil {
		n.fatalf("start: %v", err)
	}
	out := strings.ReplaceAll(n.until(s, "111"), "\r", "")
	if !strings.HasPrefix(out, "on /dev/pts/") || !strings.HasSuffix(out, ", xterm-256color, 33 111\n") && !strings.HasSuffix(out, ", xterm-256color, 33 111") {
		t.Errorf("it says %q", out)
	}
	open := func() drivers.Terminal {
		t.Helper()
		terminal, err := task.(drivers.Typist).Terminal(n.ctx)
		if err != nil {
			n.fatalf("open the terminal: %v", err)
		}
		return terminal
	}
	types := func(to drivers.Terminal, text, answer string) {
		t.Helper()
		if _, err := to.Write([]byte(text)); err != nil {
			n.fatalf("type %q: %v", text, err)
		}
		n.until(s, answer)
	}
	first, second := open(), open() // several may, one after the other
	types(first, "one\n", "got one")
	types(second, "two\n", "got two")
	if err := second.Resize(drivers.Size{Rows: 40, Cols: 120}); err != nil {
		t.Error(err)
	}
	types(second, "size\n", "40 120")
	first.Close()
	second.Close()

	pid := n.serving()
	syscall.Kill(pid, syscall.SIGKILL)
	gone(t, pid)
	if task, err = d.Recover(n.ctx, s, task.Handle()); err != nil {
		n.fatalf("find it again: %v", err)
	}
	third := open()
	defer third.Close()
	types(third, "three\n", "got three")
	types(third, "\x03", "interrupted")
	if err := n.client.Upgrade(n.ctx); err != nil {
		n.fatalf("upgrade: %v", err)
	}
	types(third, "four\n", "got four")
	types(open(), "end\n", "got end")
	if exit := n.wait(task); exit.Code != 7 {
		t.Errorf("exit = %+v; it said %q", exit, n.output(s, logs.Stdout))
	}
	if _, err := task.(drivers.Typist).Terminal(n.ctx); structs.KindOf(err) != structs.Conflict {
		t.Errorf("the terminal of a task that ended: %v", err)
	}
	if err := task.Destroy(n.ctx); err != nil {
		t.Error(err)
	}
}

// What a task wrote last is there after its end, and one that leaves its terminal goes on.
func TestTheEndOfATaskOnATerminal(t *testing.T) {
	n := newNode(t)
	terminal := func(s *drivers.Spec) { s.Terminal = &drivers.Size{} }
	exit, out := n.run(n.spec(`i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; exit 3`, none, terminal))
	if lines := strings.Count(out, "\n"); exit.Code != 3 || lines != 2000 || !strings.HasSuffix(out, "line 2000\r\n") {
		t.Errorf("exit = %+v, and %d lines", exit, lines)
	}
	if exit, out := n.run(n.spec(`echo before; exec < /dev/null > /dev/null 2>&1; sleep 0.1; exit 4`, none, terminal)); exit.Code != 4 || out != "before\r\n" {
		t.Errorf("exit = %+v, %q", exit, out)
	}
	_, err := n.driver.Start(n.ctx, n.spec(`exit`, none, terminal, config("command", "/no/such/program")))
	if missing := (*drivers.NoProgram)(nil); !errors.As(err, &missing) || missing.Code != 127 {
		t.Errorf("a program that is not there: %v", err)
	}
	plain := n.start(n.spec(`exec sleep 100000`, none))
	if _, err := plain.(drivers.Typist).Terminal(n.ctx); structs.KindOf(err) != structs.Conflict {
		t.Errorf("the terminal of a task without one: %v", err)
	}
}
