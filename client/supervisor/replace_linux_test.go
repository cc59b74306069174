package supervisor_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/supervisor"
)

// serving returns the pid of the supervisor that takes connections, without the help of a client; 0: there is none.
func (n *node) serving() int {
	conn, err := net.Dial("unix", filepath.Join(n.opts.Dir, "supervisor.sock"))
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		n.t.Fatal(err)
	}
	var cred *unix.Ucred
	raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil {
		n.t.Fatal(err)
	}
	return int(cred.Pid)
}

func TestASupervisorThatDiesIsFollowedByAnother(t *testing.T) {
	n := newNode(t)
	for range 3 {
		pid := n.serving()
		syscall.Kill(pid, syscall.SIGKILL)
		gone(t, pid)
		for until := time.Now().Add(patience); ; {
			if now := n.serving(); now != 0 && now != pid {
				break
			}
			if time.Now().After(until) {
				n.fatalf("nobody follows")
			}
		}
	}
	if exit, out := n.run(n.spec("echo well", none)); exit.Code != 0 || out != "well\n" {
		t.Errorf("exit = %+v, %q", exit, out)
	}
}

// Without its agent a supervisor stays for its tasks, and after the last one only as long as the agent may still come back.
func TestASupervisorEndsAfterItsLastTask(t *testing.T) {
	for name, leave := range map[string]func(*node){
		"after an orderly stop": func(n *node) {
			if err := n.client.Release(n.ctx); err != nil {
				t.Fatal(err)
			}
		},
		"after a death": func(*node) {},
	} {
		n := newNode(t)
		if name == "after a death" { // with an hour it would stay for that long
			n.client.Close()
			n.opts.Linger = time.Millisecond
			n.connect()
		}
		s := n.spec(`echo ready; read line < gate; exit 3`, none)
		os.MkdirAll(filepath.Join(s.TaskDir, "local"), 0o755)
		gate := filepath.Join(s.TaskDir, "local", "gate")
		if err := syscall.Mkfifo(gate, 0o666); err != nil {
			t.Fatal(err)
		}
		n.start(s)
		n.until(s, "ready")
		pid := n.serving()
		leave(n)
		n.client.Close()
		if now := n.serving(); now != pid {
			t.Errorf("%s: the supervisor is %d, and was %d", name, now, pid)
		}
		if err := os.WriteFile(gate, []byte("on\n"), 0); err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
		n.connect()
		task, err := n.driver.Recover(n.ctx, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if exit := n.wait(task); exit.Code != 3 {
			t.Errorf("%s: exit = %+v", name, exit)
		}
	}
}

// An agent with another program or other settings gets a supervisor that has them too: the same process, with its tasks.
func TestAnAgentThatChangedReplacesItsSupervisorInPlace(t *testing.T) {
	n := newNode(t)
	s := n.spec(`echo ready; trap 'exit 5' USR1; while :; do sleep 0.01; done`, none)
	n.start(s)
	n.until(s, "ready")
	pid := n.serving()
	program := func() string {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	arguments := func() string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "\x00", " ")
	}
	again := func() {
		t.Helper()
		n.client.Close()
		n.connect()
		if now := n.serving(); now != pid {
			t.Fatalf("pid %d, want %d", now, pid)
		}
	}
	before := arguments()
	again()
	if now := arguments(); now != before {
		t.Errorf("nothing changed, and %q became %q", before, now)
	}
	n.opts.Hide = []string{"/opt/hidden", "/etc/hidden"}
	again()
	if now := arguments(); !strings.Contains(now, "-hide /etc/hidden -hide /opt/hidden") {
		t.Errorf("arguments %q", now)
	}
	next := filepath.Join(n.dir, "next")
	duplicate(t, n.opts.Binary[0], next)
	n.opts.Binary = []string{next, "supervisor"}
	again()
	if now := program(); now != next {
		t.Errorf("program %q, want %q", now, next)
	}
	// The same name, another file.
	newer := filepath.Join(n.dir, "newer")
	duplicate(t, next, newer)
	if err := os.Rename(newer, next); err != nil {
		t.Fatal(err)
	}
	again()
	if now := program(); now != next {
		t.Errorf("program %q, want %q", now, next)
	}
	task, err := n.driver.Recover(n.ctx, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Signal(n.ctx, "USR1"); err != nil {
		t.Fatal(err)
	}
	if exit := n.wait(task); exit.Code != 5 {
		t.Errorf("exit = %+v", exit)
	}
	// One that does not start is not worth the supervisor that there is.
	n.client.Close()
	opts := n.opts
	opts.Binary = []string{"/etc/passwd"}
	c, err := supervisor.Connect(n.ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if now := n.serving(); now != pid {
		t.Errorf("pid %d, want %d", now, pid)
	}
}

func duplicate(t *testing.T, from, to string) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
