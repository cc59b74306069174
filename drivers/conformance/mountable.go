package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// mountable: what is mounted in a task that runs is there and nowhere else, is taken away wherever the task moved it, never while the task uses
// it, and nothing that the task puts in the way leads anywhere else.
func mountable(s *suite) {
	folder := func(name string) string {
		s.Helper()
		dir := filepath.Join(s.dir, "lent-"+name)
		err := os.Mkdir(dir, 0o777)
		if err == nil {
			err = os.Chmod(dir, 0o777)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "of"), []byte("of "+name+"\n"), 0o644)
		}
		if err != nil {
			s.Fatal(err)
		}
		return dir
	}
	spec := s.spec(Script{Forever: true})
	task := s.start(spec)
	run := func(command string) string {
		s.Helper()
		var out bytes.Buffer
		if _, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", command}, Stdout: &out, Stderr: &out}); err != nil {
			s.Fatalf("%s: %v", command, err)
		}
		return strings.TrimSpace(out.String())
	}
	is := func(command, want string) {
		s.Helper()
		if got := run(command); got != want {
			s.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	into, can := task.(drivers.Mountable)
	if !can {
		return // so says its type
	}
	do := func(what func() error) {
		s.Helper()
		for range 2 { // it may be repeated
			if err := what(); err != nil {
				s.Errorf("%v", err)
			}
		}
	}
	lent := drivers.Mount{Source: folder("data"), Target: "/local/deep/a b/data"}
	do(func() error { return into.Mount(s.ctx, lent) })
	is("cat '/local/deep/a b/data/of' && echo new >'/local/deep/a b/data/made' && echo made", "of data\nmade")
	is("rmdir '/local/deep/a b/data' 2>/dev/null || echo kept; mkdir /local/deep/own && echo own", "kept\nown")
	if raw, err := os.ReadFile(filepath.Join(lent.Source, "made")); string(raw) != "new\n" {
		s.Errorf("on the host: %q, %v", raw, err)
	}
	if left, err := os.ReadDir(filepath.Join(spec.TaskDir, "local", "deep", "a b", "data")); err != nil || len(left) > 0 {
		s.Errorf("the host sees %v, %v", left, err)
	}
	// Read only, and beside it something that is in the way.
	fixed := drivers.Mount{Source: folder("fixed"), Target: "/local/fixed", ReadOnly: true}
	do(func() error { return into.Mount(s.ctx, fixed) })
	is("cat /local/fixed/of; echo x 2>/dev/null >/local/fixed/of || echo kept", "of fixed\nkept")
	is("ln -s /tmp /local/link; echo x >/local/file; echo done", "done")
	for _, target := range []string{"/local/link", "/local/link/x", "/local/file", "/local/file/x", "/local/fixed"} {
		s.kind(target, into.Mount(s.ctx, drivers.Mount{Source: lent.Source, Target: target}), structs.Invalid)
	}
	is("ls -A /tmp", "")
	// Somebody has it open; another agent asks again when nobody has.
	is("(cd '/local/deep/a b/data' && exec sleep 1000) </dev/null >/dev/null 2>&1 & echo $! >/local/pid; while [ \"$(readlink /proc/$!/cwd)\" != '/local/deep/a b/data' ]; do :; done; echo in", "in")
	s.kind("unmount what is used", into.Unmount(s.ctx, lent), structs.Unavailable)
	is("cat '/local/deep/a b/data/of'; kill -9 $(cat /local/pid); while [ -e /proc/$(cat /local/pid)/cwd ]; do :; done; echo out", "of data\nout")
	task, err := s.h.New(s.T).Recover(s.ctx, spec, task.Handle())
	if err != nil {
		s.Fatal(err)
	}
	into = task.(drivers.Mountable)
	// It is found where the task moved it, and what is in its place now is left alone.
	is("mv /local/deep /local/moved && mkdir /tmp/a /tmp/a/data && mkdir /local/deep && ln -s /tmp/a '/local/deep/a b' && cat '/local/moved/a b/data/of'", "of data")
	do(func() error { return into.Unmount(s.ctx, lent) })
	is("ls -A '/local/moved/a b'; ls -A /tmp/a; cat /local/fixed/of", "data\nof fixed")
	do(func() error { return into.Unmount(s.ctx, fixed) })
	is("ls -d /local/fixed 2>/dev/null || echo gone", "gone")
	if raw, err := os.ReadFile(filepath.Join(lent.Source, "of")); string(raw) != "of data\n" {
		s.Errorf("on the host there is left %q, %v", raw, err)
	}
	if raw, err := os.ReadFile("/proc/self/mountinfo"); err == nil && bytes.Contains(raw, []byte(s.dir)) {
		s.Errorf("left on the host: %s", raw)
	}
	if err := into.Mount(s.ctx, lent); err == nil {
		s.Errorf("through a link of the task it is mounted")
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	s.kind("mount in an ended task", into.Mount(s.ctx, fixed), structs.Conflict)
	s.kind("unmount in an ended task", into.Unmount(s.ctx, fixed), structs.Conflict)
}
