//go:build linux && system

package system

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rootEnv names the folder of everything that the tests make. Who has it is the child that runs them.
const rootEnv = "PROFFER_SYSTEM_TEST"

var (
	root   string // the folder
	binary string // proffer, built with the race detector
	ports  struct{ http, executor, cluster int }
)

func TestMain(m *testing.M) {
	if os.Getenv("MESOS_EXECUTOR_ID") != "" { // a node started it
		if err := beExecutor(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if root = os.Getenv(rootEnv); root == "" {
		os.Exit(keep())
	}
	flag.Parse()
	flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))) // they wait more than they work
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "the system tests cannot begin:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// keep runs the tests in a child, adopts every orphan of theirs and ends them all. It returns the exit code.
func keep() int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the system tests need root")
		return 1
	}
	dir, err := os.MkdirTemp("", "prf-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // tasks of other users are below it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer removeAll(dir)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	runtime.LockOSThread() // the child dies with the thread that made it
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env: append(os.Environ(), rootEnv+"="+dir), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, unix.SIGTERM, unix.SIGQUIT)
	go func() {
		for s := range signals {
			child.Signal(s)
		}
	}()
	code := 1
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			break
		}
		if pid == child.Pid {
			if code = status.ExitStatus(); status.Signaled() {
				code = 128 + int(status.Signal())
			}
			break
		}
	}
	for {
		rest := descendants(os.Getpid())
		for _, pid := range rest {
			unix.Kill(pid, unix.SIGKILL)
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			break // no child is left
		}
	}
	return code
}

// removeAll unmounts and removes what the tests left, network namespaces included.
func removeAll(dir string) {
	for _, name := range namespaces() {
		if strings.HasPrefix(name, filepath.Base(dir)+"-") {
			exec.Command("ip", "netns", "del", name).Run()
		}
	}
	for _, b := range bridgesOf(dir) {
		exec.Command("ip", "link", "del", b).Run()
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir) {
			unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
	}
}

// prepare builds the binary and finds ports.
func prepare() error {
	binary = filepath.Join(root, "proffer")
	build := exec.Command("go", "build", "-race", "-o", binary, ".")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	go starter()
	for _, port := range []*int{&ports.http, &ports.executor, &ports.cluster} {
		var err error
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	return nil
}

// next is where freePort goes on. The ports are below those that the kernel gives out, so that none is taken between the
// look and the use, and below those that nodes give to tasks.
var next = 15000 + os.Getpid()%97*40

// freePort returns a port that nothing on this machine listens on, at any address.
func freePort() (int, error) {
	for range 500 {
		next++
		tcp, err := net.Listen("tcp", ":"+strconv.Itoa(next))
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", ":"+strconv.Itoa(next))
		tcp.Close()
		if err != nil {
			continue
		}
		udp.Close()
		return next, nil
	}
	return 0, errors.New("no port is free")
}

var finding sync.Mutex

// anotherPort returns a port for one test alone.
func anotherPort(t *testing.T) int {
	t.Helper()
	finding.Lock()
	defer finding.Unlock()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Processes are started by one thread that never ends, so that the kernel kills them when the tests die.
var starts = make(chan func())

func starter() {
	runtime.LockOSThread()
	for f := range starts {
		f()
	}
}

func start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	done := make(chan error, 1)
	starts <- func() { done <- cmd.Start() }
	return <-done
}

// process is one line of the process table.
type process struct {
	pid, parent int
	state       string
}

func processes() (all []process) {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		pid, _, _ := strings.Cut(string(raw), " ")
		_, rest, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
		f := strings.Fields(rest)
		if len(f) < 2 {
			continue
		}
		p := process{state: f[0]}
		p.pid, _ = strconv.Atoi(pid)
		p.parent, _ = strconv.Atoi(f[1])
		all = append(all, p)
	}
	return all
}

// descendants returns the processes below pid that have not ended.
func descendants(pid int) (below []int) {
	children := map[int][]process{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p)
	}
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		for _, p := range children[todo[0]] {
			todo = append(todo, p.pid)
			if p.state != "Z" {
				below = append(below, p.pid)
			}
		}
	}
	return below
}

// alive reports whether a process exists and has not ended.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// patience bounds every wait. It only has to be longer than the slowest machine needs.
const patience = 4 * time.Minute

// await looks again and again until check has no error.
func await(t *testing.T, what string, check func() error) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s: %v", patience, what, err)
		}
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatalf("until %s: %v", what, err)
		}
	}
}
