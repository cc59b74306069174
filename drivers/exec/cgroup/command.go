//go:build linux

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Commands. What a command in a task began can leave its session and its parents, and not its control group. So a command has one of its
// own, below the task's: without limits and controllers, so that all of it still counts to the task. With version 1 it is in the pids
// hierarchy alone, and elsewhere the command is in the task's groups.

// Commands reports whether commands can have groups of their own, and Controller of which hierarchy they are.
func (l *Layout) Commands() bool { return l.Version == 2 || l.alone("pids") }

// alone reports whether a hierarchy of version 1 has that one of the controllers that we use, and no other: a group in it has nothing but
// the numbers of processes.
func (l *Layout) alone(controller string) bool {
	root := l.roots[controller]
	if root == "" || slices.Contains(l.homes, root) {
		return false
	}
	for other, at := range l.roots {
		if other != controller && at == root {
			return false
		}
	}
	return true
}

// OfCommand is the group of a command in the task of g, whether it is there or not.
func (g *Group) OfCommand(name string) *Group {
	c := &Group{l: g.l, Path: g.Path + "/" + name, names: g.l.names, task: g}
	if g.l.Version == 1 {
		c.names = []string{g.l.roots["pids"]}
	}
	return c
}

// Command makes the group of a command in the task of g. Only where Commands says so.
func (g *Group) Command(name string) (*Group, error) {
	c := g.OfCommand(name)
	dir := c.names[0] + "/" + c.Path
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return c, nil
}

// removeCommands removes the groups of commands from that of a task, as far as nothing is in them.
func removeCommands(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			unix.Rmdir(filepath.Join(dir, e.Name()))
		}
	}
}
