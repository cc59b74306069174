//go:build linux

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/exec/cgroup"
)

// relikely has the processes of a group be as likely OOM victims as said, those that are as they were before: what chose otherwise for itself stays.
// A process that is born meanwhile has it of its parent, as it was, so the group is looked at until nothing changes.
func relikely(g *cgroup.Group, from, to string) error {
	for range 10 { // a group that forks faster than that has most of it
		pids, err := g.Pids()
		if err != nil {
			return err
		}
		changed := false
		for _, pid := range pids {
			is, err := relikelyOne(g, pid, from, to)
			if err != nil {
				return fmt.Errorf("oom_score_adj of process %d: %w", pid, err)
			}
			changed = changed || is
		}
		if !changed {
			break
		}
	}
	return nil
}

// relikelyOne changes one. Its folder in /proc is that of this process and of no later one of its number, and says whether it is of the group.
func relikelyOne(g *cgroup.Group, pid int, from, to string) (changed bool, err error) {
	dir, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, unlessGone(err)
	}
	defer unix.Close(dir)
	score, err := procFile(dir, "oom_score_adj")
	if err != nil || score != from {
		return false, unlessGone(err)
	}
	groups, err := procFile(dir, "cgroup") // lines of NUMBER:CONTROLLERS:PATH
	if err != nil || !slices.ContainsFunc(strings.Split(groups, "\n"), func(line string) bool { return strings.HasSuffix(line, "/"+g.Path) }) {
		return false, unlessGone(err)
	}
	fd, err := unix.Openat(dir, "oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, unlessGone(err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(to))
	return err == nil, unlessGone(err)
}

func procFile(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var out []byte
	buffer := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buffer)
		if out = append(out, buffer[:max(n, 0)]...); err != nil || n <= 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return strings.TrimSpace(string(out)), err
		}
	}
}

// unlessGone is nil for a process that ended.
func unlessGone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
