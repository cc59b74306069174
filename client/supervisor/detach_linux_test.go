package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

func TestADetachedCommandOutlivesSupervisorAndAgent(t *testing.T) {
	n := newNode(t)
	s := n.spec(``, none)
	detachedOutlives(t, n, s, s.AllocDir, func() drivers.Driver { return n.driver })
}

// detachedOutlives runs commands in a task that sees its shared folder at a path, while their supervisor is killed and replaced.
func detachedOutlives(t *testing.T, n *node, s *drivers.Spec, shared string, driver func() drivers.Driver) {
	t.Helper()
	s.Task.Config["args"] = []any{"-c", "while [ ! -e " + shared + "/end ]; do sleep 0.02; done"}
	_, err := driver().Start(n.ctx, s)
	if err != nil {
		n.fatalf("start: %v", err)
	}
	os.Chmod(s.AllocDir, 0o777)
	task := func() drivers.Task {
		t.Helper()
		task, err := driver().Recover(n.ctx, s, nil)
		if err != nil {
			n.fatalf("find the task: %v", err)
		}
		return task
	}
	said := func(name, want string) {
		t.Helper()
		of := *s
		of.Task = &structs.Task{Name: "of-" + name}
		n.until(&of, want)
	}
	begin := func(name, script string, terminal *drivers.Size) {
		t.Helper()
		_, err := task().(drivers.Detacher).Detach(n.ctx, &drivers.Detach{Name: name, Args: []string{"sh", "-c", script}, LogName: "of-" + name, Terminal: terminal})
		if err != nil {
			n.fatalf("detach %s: %v", name, err)
		}
	}
	find := func(name string) drivers.Detached {
		t.Helper()
		d, err := task().(drivers.Detacher).Detached(n.ctx, name)
		if err != nil {
			n.fatalf("find %s: %v", name, err)
		}
		return d
	}
	ends := func(name string, code int) {
		t.Helper()
		if exit, err := find(name).Wait(n.ctx); err != nil || exit.Code != code {
			t.Errorf("%s: %+v, %v, and not code %d", name, exit, err, code)
		}
	}
	const waits = `trap 'echo two; exit 7' USR1; echo one; while :; do sleep 0.02; done`
	for _, name := range []string{"killed", "replaced"} {
		begin(name, waits, nil)
		said(name, "one")
		pid := n.serving()
		if name == "killed" {
			syscall.Kill(pid, syscall.SIGKILL)
			gone(t, pid)
		} else if err := n.client.Upgrade(n.ctx); err != nil {
			n.fatalf("upgrade: %v", err)
		}
		if err := find(name).Signal(n.ctx, "SIGUSR1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ends(name, 7)
		said(name, "one\ntwo\n")
	}

	begin("shown", `stty -echo; echo "is $(stty size)"; read line; echo "got $line"; exit 5`, &drivers.Size{Rows: 33, Cols: 111})
	said("shown", "is 33 111")
	terminal, err := find("shown").(drivers.Typist).Terminal(n.ctx)
	if err != nil {
		n.fatalf("the terminal of a command: %v", err)
	}
	defer terminal.Close()
	if _, err := terminal.Write([]byte("it\n")); err != nil {
		t.Error(err)
	}
	said("shown", "got it")
	ends("shown", 5)

	begin("unseen", `while [ ! -e `+shared+`/go ]; do sleep 0.02; done; echo last; echo > `+shared+`/over; exit 9`, nil)
	begin("within", `sleep 100000`, nil)
	unattended := func() {
		pid := n.serving()
		n.client.Close()
		syscall.Kill(pid, syscall.SIGKILL)
		gone(t, pid)
	}
	mark := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.AllocDir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	over := filepath.Join(s.AllocDir, "over")
	if err := syscall.Mkfifo(over, 0o666); err != nil {
		t.Fatal(err)
	}
	os.Chmod(over, 0o666)
	unattended()
	mark("go")
	if _, err := os.ReadFile(over); err != nil { // it returns when the command has written
		t.Fatal(err)
	}
	n.connect()
	ends("unseen", 9)
	said("unseen", "last\n")

	unattended()
	mark("end")
	n.connect()
	if exit := n.wait(task()); exit.Code != 0 {
		t.Errorf("the task: %+v", exit)
	}
	ends("within", 137)
	if err := task().Destroy(n.ctx); err != nil {
		t.Error(err)
	}
	if _, err := n.client.Status(n.ctx, exec.DetachedID(s.ID, "within")); structs.KindOf(err) != structs.NotFound {
		t.Errorf("a command of a task that was destroyed: %v", err)
	}
}

// What a task cannot be asked, its commands cannot be either; and there are only so many.
func TestDetachedCommandsAreBounded(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo ready; exec sleep 100000`, none)
	task := n.start(s)
	for i := range drivers.MaxDetached + 1 {
		name := fmt.Sprint("c", i)
		_, err := task.(drivers.Detacher).Detach(n.ctx, &drivers.Detach{Name: name, Args: []string{"true"}, LogName: "x-" + name})
		if want := i == drivers.MaxDetached; want != (structs.KindOf(err) == structs.Exhausted) || !want && err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
	}
	id := exec.DetachedID(s.ID, "c0")
	_, err := n.client.Stats(n.ctx, id)
	if structs.KindOf(err) != structs.Invalid {
		t.Errorf("what a command uses: %v", err)
	}
	if err := n.client.Detach(n.ctx, id, &exec.Detach{Name: "a", Command: exec.Command{Args: []string{"true"}}, LogName: "a"}); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a command in a command: %v", err)
	}
	all, err := n.client.List(n.ctx)
	if err != nil || len(all) != 1 {
		t.Errorf("%d tasks are listed, %v", len(all), err)
	}
}
