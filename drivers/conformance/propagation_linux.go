package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// propagation: what is mounted below a mount after the task started is seen on the sides that its propagation says, and on no other.
// What was mounted before is there too, and what the task mounted is gone with it from nowhere but the host.
func propagation(s *suite) {
	top := filepath.Join(s.dir, "shared")
	s.mount(top, unix.MS_SHARED)
	s.mount(filepath.Join(top, "early"), unix.MS_SHARED)
	mark := func(dir string) {
		s.Helper()
		if err := os.WriteFile(filepath.Join(dir, "mark"), []byte("marked"), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	mark(filepath.Join(top, "early"))
	spec := s.spec(Script{Forever: true})
	const both, live, alone = "/srv/propagation/both", "/srv/propagation/live", "/srv/propagation/alone"
	spec.Mounts = []drivers.Mount{{Source: top, Target: alone}, {Source: top, Target: both, Propagation: structs.PropagationBidirectional},
		{Source: top, Target: live, Propagation: structs.PropagationHostToTask}}
	task := s.start(spec)
	has := func(path string) bool {
		s.Helper()
		exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"test", "-e", path}})
		if err != nil {
			s.Fatal(err)
		}
		return exit.Code == 0
	}
	late := filepath.Join(top, "late")
	s.mount(late, unix.MS_SHARED)
	mark(late)
	for path, want := range map[string]bool{live + "/early/mark": true, both + "/early/mark": true, live + "/late/mark": true, both + "/late/mark": true,
		alone + "/late": true, alone + "/late/mark": false} {
		if has(path) != want {
			s.Errorf("%s in the task: %v", path, !want)
		}
	}
	for _, dir := range []string{"of-both", "of-live"} {
		if err := os.Mkdir(filepath.Join(top, dir), 0o755); err != nil {
			s.Fatal(err)
		}
	}
	if err := inTask(both, func() error {
		return errors.Join(mountMarked(both+"/of-both"), mountMarked(live+"/of-live"))
	}); err != nil {
		s.Fatal(err)
	}
	for path, want := range map[string]bool{"of-both/mark": true, "of-live/mark": false} {
		if _, err := os.Stat(filepath.Join(top, path)); (err == nil) != want {
			s.Errorf("%s on the host: %v", path, err)
		}
	}
	if !has(live + "/of-live/mark") {
		s.Error("what the task mounted is not there for it")
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	if err := task.Destroy(s.ctx); err != nil {
		s.Fatal(err)
	}
	if err := unix.Unmount(filepath.Join(top, "of-both"), unix.MNT_DETACH); err != nil { // it is the host's as well: it stays
		s.Errorf("what the task mounted: %v", err)
	}
}

// mount makes a file system in memory at a new folder until the test ends.
func (s *suite) mount(at string, propagation uintptr) {
	s.Helper()
	err := os.Mkdir(at, 0o755)
	if err == nil {
		err = unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k,mode=755")
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	if err := unix.Mount("", at, "", propagation, ""); err != nil {
		s.Fatal(err)
	}
}

func mountMarked(at string) error {
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	return os.WriteFile(at+"/mark", nil, 0o644)
}

// inTask runs f among the mounts of the task that has one at a path.
func inTask(path string, f func() error) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		raw, err := os.ReadFile("/proc/" + e.Name() + "/mountinfo")
		if err != nil || !bytes.Contains(raw, []byte(" "+path+" ")) {
			continue
		}
		ns, err := os.Open("/proc/" + e.Name() + "/ns/mnt")
		if err != nil {
			continue
		}
		defer ns.Close()
		return onThread(func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
				return err
			}
			return f()
		})
	}
	return errors.New("no task has a mount at " + path)
}

// onThread runs f on a thread that ends with it, which is not the first one: that would stay, and what others read of the process is its.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never let go
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}
