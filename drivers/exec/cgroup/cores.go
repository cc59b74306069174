//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
)

// Whole cores. A task that has some runs on them alone, and every other task of ours keeps off them. With version 2, or in a container's
// own group, each other task's group says where it may run; with version 1 the tasks of a supervisor share one group of the cpuset
// hierarchy, in which its starters are and so their clones are born: a start costs nothing for it.

// sharedGroup is that group.
const sharedGroup = "shared"

// prepareCores makes what of the cpuset hierarchy is needed before any task, and says why whole cores cannot be given.
func (l *Layout) prepareCores() error {
	if l.Version == 2 {
		if !l.has["cpuset"] {
			return errors.New("the cpuset controller is not there")
		}
		return nil
	}
	root := l.roots["cpuset"]
	if root == "" {
		return errors.New("the cpuset controller is not mounted")
	}
	dir := root
	for _, step := range append(strings.Split(l.base, "/"), sharedGroup) {
		if err := fillCores(dir, filepath.Join(dir, step)); err != nil {
			return err
		}
		dir = filepath.Join(dir, step)
	}
	return nil
}

// fillCores makes a group of version 1 with what its parent has: an empty one takes no process.
func fillCores(parent, dir string) error {
	if err := unix.Mkdir(dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if raw, err := os.ReadFile(filepath.Join(dir, file)); err == nil && strings.TrimSpace(string(raw)) != "" && filepath.Base(dir) != sharedGroup {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, file), strings.TrimSpace(string(raw))); err != nil {
			return err
		}
	}
	return nil
}

// Cores says why whole cores cannot be given; nil: they can.
func (l *Layout) Cores() error { return l.cores }

// Adopt moves a starter, whose clones are tasks, to where tasks without cores of their own are.
func (l *Layout) Adopt(pid int) error {
	if l.Version == 2 || l.cores != nil {
		return nil
	}
	return write(filepath.Join(l.roots["cpuset"], l.base, sharedGroup, "cgroup.procs"), strconv.Itoa(pid))
}

// Rest are the cores, as the kernel writes them, that are left for tasks without any of their own; empty: they may run anywhere. Where
// all are taken, those tasks run everywhere: they have nothing reserved there.
func (l *Layout) Rest(taken []int) (string, error) {
	if len(taken) == 0 {
		return "", nil
	}
	path := filepath.Join(l.roots["cpuset"], l.base, "cpuset.effective_cpus")
	if l.Version == 2 {
		path = filepath.Join(l.names[0], l.base, "cpuset.cpus.effective")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	all, err := drivers.ParseCores(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	left := slices.DeleteFunc(all, func(n int) bool { return slices.Contains(taken, n) })
	return drivers.FormatCores(left), nil
}

// KeepOff lets the tasks of the given groups, and with version 1 all those that have none of their own, run on rest alone. A group that
// is not there is left out.
func (l *Layout) KeepOff(rest string, paths []string) error {
	if l.cores != nil {
		return nil
	}
	var all error
	root, every := l.names[0], "cpuset.cpus.effective"
	if l.Version == 1 {
		root, every = l.roots["cpuset"], "cpuset.cpus"
	}
	if rest == "" { // a group that has processes cannot be told that it has no list
		raw, err := os.ReadFile(filepath.Join(root, l.base, every))
		if err != nil {
			return err
		}
		rest = strings.TrimSpace(string(raw))
	}
	if l.Version == 1 {
		paths = append(slices.Clone(paths), filepath.Join(l.base, sharedGroup))
	}
	for _, path := range paths {
		if err := write(filepath.Join(root, path, "cpuset.cpus"), rest+"\n"); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			all = errors.Join(all, err)
		}
	}
	return all
}
