// Package conformance is the test that every driver passes: what drivers.Driver promises, on whatever the driver runs tasks with.
// It does not know how a driver is configured; a Harness says that.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Harness is one driver with what the suite has to know about it.
type Harness struct {
	// New makes a driver over what runs the tasks, as an agent does that starts. The suite calls it again to recover tasks. What
	// has to end with a driver is for t.Cleanup.
	New func(t *testing.T) drivers.Driver
	// Config makes the config of a task that does what a script says.
	Config func(Script) map[string]any
	// Named makes the config of a task whose program is called by another name. busybox is in its PATH. nil: the driver has no other names.
	Named func(program, arg0 string, args ...any) map[string]any
	// Bad are configs that Validate refuses.
	Bad []map[string]any
	// User is whom tasks run as; see drivers.Spec.
	User string
	// Folder makes a folder that tasks of User can reach. nil: t.TempDir.
	Folder func(t *testing.T) string

	Scripted bool // tasks have no processes: what the driver runs is played
	Limits   bool // memory limits hold, and an OOM is reported
	Mounts   bool // tasks have a root of their own, in which volumes are mounted
	Commands bool // those that are given up end with all that they began, also with what left their session
	Profiles bool // it has those of Profiles
	Slow     bool // scripts in which processes wait for each other may take seconds
	// Hang makes what runs the tasks answer no call until resume is called. nil: nothing outside of the driver can hang.
	Hang func(t *testing.T) (resume func())
}

// Script is what a task does, in this order.
type Script struct {
	Stdout, Stderr string // lines to write
	ExitOnUSR1     int    // >0: SIGUSR1 ends it with this code
	Stubborn       bool   // it ignores SIGTERM
	Forever        bool   // it runs until a signal ends it, with 0 after SIGTERM unless it is Stubborn
	Eat            bool   // it takes memory until that is refused
	Hold           bool   // it keeps 8 MiB of memory
	Folder         bool   // it makes a folder, or ends with 33
	ExitCode       int
}

// Shell is a script for a POSIX shell with sleep, printf and dd.
func (s Script) Shell() string {
	var b strings.Builder
	switch {
	case s.Stubborn:
		b.WriteString("trap '' TERM\n")
	case s.Forever:
		b.WriteString("trap 'exit 0' TERM\n")
	}
	if s.ExitOnUSR1 > 0 {
		fmt.Fprintf(&b, "trap 'exit %d' USR1\n", s.ExitOnUSR1)
	}
	if s.Stdout != "" {
		fmt.Fprintf(&b, "printf '%%s\\n' '%s'\n", s.Stdout)
	}
	if s.Stderr != "" {
		fmt.Fprintf(&b, "printf '%%s\\n' '%s' >&2\n", s.Stderr)
	}
	if s.Folder {
		b.WriteString("mkdir /tmp/made || exit 33\n")
	}
	if s.Hold {
		b.WriteString(hold)
	}
	if s.Eat {
		b.WriteString("exec dd if=/dev/zero of=/dev/null bs=512M count=1\n")
	}
	if s.Forever {
		b.WriteString("echo ready\nwhile :; do sleep 1000 & wait $!; done\n") // a shell runs traps while it waits
	}
	fmt.Fprintf(&b, "exit %d\n", s.ExitCode)
	return b.String()
}

// patience bounds what must happen; it says nothing about how long it takes.
const patience = 5 * time.Minute

// suite is one run over a harness.
type suite struct {
	*testing.T
	h   *Harness
	ctx context.Context
	d   drivers.Driver
	dir string
}

// serial makes ids unique in a process, and started in all: an engine remembers more than one test.
var serial atomic.Uint64

var started = strconv.FormatInt(time.Now().UnixNano(), 36)

// Run runs the suite.
func Run(t *testing.T, h *Harness) {
	without := map[string]bool{"NoProgram": h.Scripted, "Terminal": h.Scripted, "Named": h.Scripted, "OutOfMemory": !h.Limits, "Mounts": !h.Mounts, "Mountable": !h.Mounts, "Propagation": !h.Mounts, "Block": !h.Mounts, "Seccomp": !h.Profiles, "Hang": h.Hang == nil}
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Fingerprint", fingerprint}, {"Validate", validate}, {"Ends", ends}, {"StartedOnce", startedOnce}, {"NoProgram", noProgram},
		{"Stop", stop}, {"Signal", signal}, {"Exec", execute}, {"Detach", detach}, {"Named", named}, {"Terminal", terminal}, {"Stats", stats}, {"Limit", limit}, {"OutOfMemory", outOfMemory}, {"Mounts", mounts},
		{"Mountable", mountable}, {"Propagation", propagation}, {"Block", block}, {"Seccomp", profiles},
		{"Recover", recovered}, {"Output", output}, {"Destroy", destroy}, {"Sweep", sweep}, {"CallsEnd", callsEnd}, {"Hang", hang},
	} {
		if without[test.name] {
			continue // the harness says that there is nothing of it
		}
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			t.Cleanup(cancel)
			s := &suite{T: t, h: h, ctx: ctx, d: h.New(t)}
			if h.Folder != nil {
				s.dir = h.Folder(t)
			} else {
				s.dir = t.TempDir()
			}
			test.run(s)
		})
	}
}

// spec makes a task of its own.
func (s *suite) spec(script Script) *drivers.Spec {
	alloc := fmt.Sprintf("conf-%s-%d", started, serial.Add(1))
	dir := filepath.Join(s.dir, alloc)
	return &drivers.Spec{
		ID: alloc + "/main/1", Alloc: structs.AllocID(alloc), Job: "conformance", Group: "g", Incarnation: 1,
		Task: &structs.Task{Name: "main", Config: s.h.Config(script), User: s.h.User}, User: s.h.User,
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, CPU: 100, Memory: 64 << 20, MemoryMax: 64 << 20,
		AllocDir: filepath.Join(dir, "alloc"), TaskDir: filepath.Join(dir, "main"), LogDir: filepath.Join(dir, "logs"),
		Output: func(stream string) drivers.Output { return newOutput(filepath.Join(dir, "logs"), "main."+stream) },
	}
}

// start starts a task that is taken away at the end of the test.
func (s *suite) start(spec *drivers.Spec) drivers.Task {
	s.Helper()
	if p, ok := s.d.(drivers.Preparer); ok {
		if err := p.Prepare(s.ctx, spec); err != nil {
			s.Fatalf("prepare: %v", err)
		}
	}
	task, err := s.d.Start(s.ctx, spec)
	if err != nil {
		s.Fatalf("start: %v", err)
	}
	s.Cleanup(func() { s.end(task) })
	if script := s.text(spec, "stdout"); script == "" {
		s.await("the beginning of the script", func() bool { return !s.waits(spec) || s.text(spec, "stdout") != "" })
	}
	return task
}

// waits reports whether a script says that it is ready for signals.
func (s *suite) waits(spec *drivers.Spec) bool {
	return !s.h.Scripted && strings.Contains(fmt.Sprint(spec.Task.Config), "echo ready")
}

func (s *suite) end(task drivers.Task) {
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil && structs.KindOf(err) != structs.NotFound { // destroyed already
		s.Errorf("stop at the end: %v", err)
	}
	if err := task.Destroy(s.ctx); err != nil {
		s.Errorf("destroy at the end: %v", err)
	}
}

func (s *suite) wait(task drivers.Task) drivers.Exit {
	s.Helper()
	exit, err := task.Wait(s.ctx)
	if err != nil {
		s.Fatalf("wait: %v", err)
	}
	return exit
}

// await looks until something is so.
func (s *suite) await(what string, so func() bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("waited for %s", what)
		}
	}
}

// kind fails unless err has one of the kinds.
func (s *suite) kind(what string, err error, want ...structs.Kind) {
	s.Helper()
	if err == nil || !slices.Contains(want, structs.KindOf(err)) {
		s.Errorf("%s: %v (kind %q), want %v", what, err, structs.KindOf(err), want)
	}
}

// text is all that a stream has had.
func (s *suite) text(spec *drivers.Spec, stream string) string { return s.said(spec, "main."+stream) }

// said is what is in the files of a stream in the log folder.
func (s *suite) said(spec *drivers.Spec, stream string) string {
	files, _ := filepath.Glob(filepath.Join(spec.LogDir, stream+".*"))
	slices.SortFunc(files, func(a, b string) int { return int(offsetOf(a) - offsetOf(b)) })
	var b strings.Builder
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.Errorf("read output: %v", err)
		}
		b.Write(raw)
	}
	return b.String()
}

func offsetOf(path string) int64 {
	n, _ := strconv.ParseInt(path[strings.LastIndexByte(path, '.')+1:], 10, 64)
	return n
}
