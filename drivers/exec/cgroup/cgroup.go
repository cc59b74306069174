//go:build linux

// Package cgroup makes, limits, reads, kills and removes the control groups of tasks, for version 1, hybrid hosts and
// version 2. A task has one group: a folder in one hierarchy (v2) or the same folder in several (v1).
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Layout is how the host's cgroups are mounted, and the folder in them that is ours.
type Layout struct {
	Version int // 1 or 2
	base    string
	// roots are mount points by controller: v1 cpu, cpuacct, memory, pids (those that exist); v2 only "".
	roots map[string]string
	names []string // the folders to make, without repetition: v1 controllers mounted together count once
	// homes are hierarchies that the supervisor itself moves in, so that a service manager does not end it.
	homes []string
	// others are the remaining hierarchies of v1: a container's runtime makes a group in every one.
	others []string
	// unified is where version 2 is mounted beside version 1, if it is: nothing is limited there, and a guard of ports can be attached.
	unified string

	has   map[string]bool // of version 2: the controllers beside those that have to be there
	cores error           // why whole cores cannot be given
}

// Limits of one group. Zero leaves a limit out.
type Limits struct {
	CPU, CPULimit structs.Milli
	Memory        structs.Bytes
	Pids          int

	Cores []int // that it has for itself alone; nil: it runs on Rest
	Rest  string
	IO    *structs.TaskIO // of Disk
	Disk  Disk

	Unified bool // it has a group of version 2, where there are such ones
}

// Detect finds the hierarchies and makes base (a relative path, such as "proffer/1a2b3c4d") in them.
func Detect(base string) (*Layout, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	l := layoutOf(raw, base)
	if l == nil {
		return nil, errors.New("no cgroup hierarchy with the memory controller is mounted")
	}
	if l.Version == 2 {
		err := l.prepare2()
		l.cores = l.prepareCores()
		return l, err
	}
	for _, dir := range l.names {
		if err := os.MkdirAll(filepath.Join(dir, base), 0o755); err != nil {
			return nil, err
		}
	}
	if dir := l.roots["blkio"]; dir != "" {
		if err := os.MkdirAll(filepath.Join(dir, base), 0o755); err != nil {
			delete(l.roots, "blkio")
		}
	}
	l.cores = l.prepareCores()
	return l, nil
}

// layoutOf reads mountinfo(5).
func layoutOf(mountinfo []byte, base string) *Layout {
	l := &Layout{Version: 1, base: base, roots: map[string]string{}}
	unified := ""
	for line := range strings.Lines(string(mountinfo)) {
		left, right, ok := strings.Cut(line, " - ")
		fields, kinds := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kinds) < 3 {
			continue
		}
		switch point := fields[4]; kinds[0] {
		case "cgroup2":
			unified = point
		case "cgroup":
			l.others = append(l.others, point)
			for opt := range strings.SplitSeq(kinds[2], ",") {
				switch opt {
				case "cpu", "cpuacct", "memory", "pids", "cpuset", "blkio":
					l.roots[opt] = point
				case "name=systemd":
					l.homes = append(l.homes, point)
				}
			}
		}
	}
	if l.unified = unified; unified != "" {
		l.homes = append(l.homes, unified)
	}
	if l.roots["memory"] == "" {
		if unified == "" {
			return nil
		}
		l.Version, l.roots, l.names, l.homes, l.others = 2, map[string]string{"": unified}, []string{unified}, nil, nil
		return l
	}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids"} {
		if dir := l.roots[c]; dir != "" && !slices.Contains(l.names, dir) {
			l.names = append(l.names, dir)
		}
	}
	l.others = slices.DeleteFunc(l.others, func(dir string) bool { return slices.Contains(l.names, dir) || slices.Contains(l.homes, dir) })
	return l
}

// prepare2 makes the base folder of a v2 hierarchy and passes the controllers down to it.
func (l *Layout) prepare2() error {
	dir := l.names[0]
	steps := strings.Split(l.base, "/")
	for i := 0; ; i++ {
		have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !slices.Contains(strings.Fields(string(have)), c) {
				return fmt.Errorf("%s lacks the controller %s", dir, c)
			}
		}
		// All at once: cpu alone would succeed beside processes, and make a threaded group that can have no memory limits.
		pass := func() error { return write(filepath.Join(dir, "cgroup.subtree_control"), "+cpu +memory +pids") }
		err = pass()
		if i == 0 && errors.Is(err, unix.EBUSY) {
			if err = evacuate(dir); err == nil {
				err = pass()
			}
		}
		if err != nil {
			return err
		}
		l.has = map[string]bool{}
		for _, c := range []string{"cpuset", "io"} { // one that is missing takes what it is for
			if slices.Contains(strings.Fields(string(have)), c) && write(filepath.Join(dir, "cgroup.subtree_control"), "+"+c) == nil {
				l.has[c] = true
			}
		}
		if i == len(steps) {
			return nil
		}
		dir = filepath.Join(dir, steps[i])
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
}

// hostGroup is below the top one, for what evacuate finds there. It stays.
const hostGroup = "init"

// evacuate moves the processes of a group to a group below it. In a container, what looks like the top of the
// hierarchy is a group like any other: the kernel refuses to limit groups below it while it has processes of its own.
func evacuate(dir string) error {
	to := filepath.Join(dir, hostGroup)
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for range 100 { // what is forked meanwhile is moved by the next round
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || len(raw) == 0 {
			return err
		}
		for pid := range strings.FieldsSeq(string(raw)) {
			if pid == "0" {
				return fmt.Errorf("%s has processes of another container", dir)
			}
			if err := write(filepath.Join(to, "cgroup.procs"), pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return fmt.Errorf("%s does not become empty", dir)
}

// MoveSelf moves this process to a group of its own in every hierarchy that a service manager kills by. Errors are
// joined; none of them hinders tasks.
func (l *Layout) MoveSelf(name string) error {
	var all error
	for _, root := range l.own() {
		dir := filepath.Join(root, l.base, name)
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = write(filepath.Join(dir, "cgroup.procs"), "0")
		}
		all = errors.Join(all, err)
	}
	return all
}

// Leave moves this process, which must be the last, out of its group of that name, and removes our folders. The parent is
// somebody else's and stays, unless it is empty and has the name that we give it by default.
func (l *Layout) Leave(self string) {
	for _, root := range l.own() {
		if write(filepath.Join(root, "cgroup.procs"), "0") != nil {
			write(filepath.Join(root, hostGroup, "cgroup.procs"), "0")
		}
	}
	l.Prune(l.base, self)
}

// Prune removes a folder that was ours, as far as it is empty.
func (l *Layout) Prune(base, self string) {
	for _, root := range append(l.all(), l.others...) {
		unix.Rmdir(filepath.Join(root, base, self))
		unix.Rmdir(filepath.Join(root, base, sharedGroup))
		unix.Rmdir(filepath.Join(root, base))
		if parent := filepath.Dir(base); parent == DefaultParent {
			unix.Rmdir(filepath.Join(root, parent))
		}
	}
}

// DefaultParent is the folder in which ours is unless the operator says otherwise.
const DefaultParent = "proffer"

// own are the hierarchies in which the supervisor has a group of its own.
func (l *Layout) own() []string {
	if l.Version == 2 {
		return l.names
	}
	return l.homes
}

func (l *Layout) all() []string {
	all := slices.Clone(l.homes)
	for _, root := range l.names {
		if !slices.Contains(all, root) {
			all = append(all, root)
		}
	}
	return all
}

// Group is the cgroup of one task, or of a command in it.
type Group struct {
	l     *Layout
	Path  string   // relative to the top of each hierarchy
	names []string // the folders that it has
	task  *Group   // of which this is a command's; nil: it is a task's
}

// Path returns that of a group below ours.
func (l *Layout) Path(name string) string { return l.base + "/" + name }

// Open returns the group of that path, which need not exist, nor be below ours.
func (l *Layout) Open(path string) *Group { return &Group{l: l, Path: path, names: l.names} }

// OpenWith returns one that was made with such limits: it may be in more hierarchies of version 1 than others.
func (l *Layout) OpenWith(path string, limits Limits) *Group {
	g := l.Open(path)
	if l.Version == 1 {
		g.names = slices.Clone(g.names)
		if len(limits.Cores) > 0 {
			g.names = append(g.names, l.roots["cpuset"])
		}
		if limits.IO != nil {
			g.names = append(g.names, l.roots["blkio"])
		}
		if limits.Unified && l.unified != "" {
			g.names = append(g.names, l.unified)
		}
	}
	return g
}

// List returns the paths of the groups below ours that exist in any hierarchy.
func (l *Layout) List() []string {
	var paths []string
	for _, root := range append(slices.Clone(l.names), l.roots["cpuset"], l.roots["blkio"], l.unified) {
		if root == "" {
			continue
		}
		entries, _ := os.ReadDir(filepath.Join(root, l.base))
		for _, e := range entries {
			if path := l.Path(e.Name()); e.IsDir() && e.Name() != sharedGroup && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

func (g *Group) file(controller, name string) string {
	if g.l.Version == 2 {
		controller = ""
	}
	root := g.l.roots[controller]
	if root == "" {
		return ""
	}
	return root + "/" + g.Path + "/" + name
}

// Create makes the group with its limits. On an error nothing is left.
func (l *Layout) Create(path string, limits Limits) (*Group, error) {
	g := l.OpenWith(path, limits)
	for _, root := range g.names {
		if err := unix.Mkdir(root+"/"+path, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			g.Remove()
			return nil, &os.PathError{Op: "mkdir", Path: root + "/" + path, Err: err}
		}
	}
	if len(limits.Cores) > 0 && l.Version == 1 {
		if err := fillCores(filepath.Join(l.roots["cpuset"], l.base), filepath.Join(l.roots["cpuset"], path)); err != nil {
			g.Remove()
			return nil, err
		}
	}
	for _, s := range settings(l.Version, limits) {
		path := g.file(s.controller, s.file)
		if path == "" {
			continue // the host lacks the controller; the fingerprint says so
		}
		if err := write(path, s.value); err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			g.Remove()
			return nil, err
		}
	}
	return g, nil
}

type setting struct {
	controller, file, value string
	optional                bool
}

const period = 100_000 // µs, of the hard CPU cap

// settings are what limits mean in files. One core is 1024 shares of v1 and a weight of 100 in v2.
func settings(version int, limits Limits) []setting {
	var list []setting
	add := func(controller, file, value string) {
		list = append(list, setting{controller, file, value, strings.Contains(file, "swap") || strings.Contains(file, "memsw")})
	}
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	quota := max(int64(limits.CPULimit)*period/1000, 1000)
	memory := num(int64(limits.Memory))
	switch {
	case len(limits.Cores) > 0:
		add("cpuset", "cpuset.cpus", drivers.FormatCores(limits.Cores))
	case version == 2 && limits.Rest != "":
		add("cpuset", "cpuset.cpus", limits.Rest)
	}
	ioSettings(version, limits.Disk, limits.IO, add)
	if version == 2 {
		if limits.CPU > 0 {
			add("cpu", "cpu.weight", num(min(max(int64(limits.CPU)/10, 1), 10_000)))
		}
		if limits.CPULimit > 0 {
			add("cpu", "cpu.max", num(quota)+" "+num(period))
		}
		if limits.Memory > 0 {
			add("memory", "memory.max", memory)
			add("memory", "memory.swap.max", "0")
		}
		if limits.Pids > 0 {
			add("pids", "pids.max", num(int64(limits.Pids)))
		}
		return list
	}
	if limits.CPU > 0 {
		add("cpu", "cpu.shares", num(min(max(int64(limits.CPU)*1024/1000, 2), 262_144)))
	}
	if limits.CPULimit > 0 {
		add("cpu", "cpu.cfs_quota_us", num(quota))
	}
	if limits.Memory > 0 {
		add("memory", "memory.limit_in_bytes", memory)
		add("memory", "memory.memsw.limit_in_bytes", memory)
	}
	if limits.Pids > 0 {
		add("pids", "pids.max", num(int64(limits.Pids)))
	}
	return list
}

// Entry is how a stage gets into a group: the folder's descriptor for v2, the `tasks` files for v1. Close closes them.
type Entry struct {
	Dir   int // -1: none of v2
	Tasks []int
}

// Entry opens what a stage needs to join. A process that is moved through `tasks` must be single-threaded; moving it
// through cgroup.procs would stall for milliseconds.
func (g *Group) Entry() (Entry, error) {
	e, all := Entry{Dir: -1}, g
	if g.task != nil {
		all = g.task
	}
	for _, root := range all.names {
		dir := root + "/" + all.Path
		if slices.Contains(g.names, root) {
			dir = root + "/" + g.Path
		}
		path, mode := dir+"/tasks", unix.O_WRONLY
		v2 := root == g.l.unified
		if v2 {
			path, mode = dir, unix.O_RDONLY|unix.O_DIRECTORY
		}
		fd, err := unix.Open(path, mode|unix.O_CLOEXEC, 0)
		if v2 && g.l.Version == 1 && errors.Is(err, unix.ENOENT) {
			continue // it was made when there was no guard
		}
		if err != nil {
			e.Close()
			return Entry{Dir: -1}, &os.PathError{Op: "open", Path: path, Err: err}
		}
		if v2 {
			e.Dir = fd
		} else {
			e.Tasks = append(e.Tasks, fd)
		}
	}
	return e, nil
}

// Close closes the descriptors.
func (e Entry) Close() {
	if e.Dir >= 0 {
		unix.Close(e.Dir)
	}
	for _, fd := range e.Tasks {
		unix.Close(fd)
	}
}

// Kill kills every process of the group, those that are being forked included, and returns when they are gone or give
// up waiting for them after about ten seconds.
func (g *Group) Kill() error {
	if g.l.Version == 2 {
		if err := write(g.file("", "cgroup.kill"), "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	} else if path := g.file("pids", "pids.max"); path != "" {
		write(path, "0") // nobody forks from here on, so that the loop below ends
	}
	pause := time.Millisecond
	for range 200 {
		pids, err := g.Pids()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(pause)
		pause = min(pause*2, 50*time.Millisecond)
	}
	return structs.Errorf(structs.Unavailable, "cgroup "+g.Path, "processes in it do not end")
}

// Pids lists the processes in any hierarchy of the group. A group that does not exist has none.
func (g *Group) Pids() ([]int, error) {
	var pids []int
	for _, root := range g.l.names {
		raw, err := os.ReadFile(root + "/" + g.Path + "/cgroup.procs")
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// Base returns the folder that is ours, relative to the top of each hierarchy.
func (l *Layout) Base() string { return l.base }

// Remove removes the group. What ended a moment ago may still hold it, so it tries for about ten seconds.
func (g *Group) Remove() error { return g.remove(g.names) }

// RemoveEverywhere removes what a container's runtime made: groups in hierarchies that we do not use too.
func (g *Group) RemoveEverywhere() error { return g.remove(append(g.l.all(), g.l.others...)) }

func (g *Group) remove(roots []string) error {
	var last error
	for _, root := range roots {
		dir := root + "/" + g.Path
		pause := time.Millisecond
		for range 200 {
			last = unix.Rmdir(dir)
			if !errors.Is(last, unix.EBUSY) && !errors.Is(last, unix.EINTR) {
				break
			}
			if g.task == nil {
				removeCommands(dir)
			}
			time.Sleep(pause)
			pause = min(pause*2, 50*time.Millisecond)
		}
		if last != nil && !errors.Is(last, unix.ENOENT) {
			return &os.PathError{Op: "rmdir", Path: dir, Err: last}
		}
	}
	return nil
}

// write writes a value to a file of the kernel. Those of the memory controller return EINTR when a signal arrives.
func write(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		if _, err = unix.Write(fd, []byte(value)); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return &os.PathError{Op: "write " + value + " to", Path: path, Err: err}
	}
	return nil
}

// Missing says which limits this host lacks; empty when none.
func (l *Layout) Missing() string {
	var lacks []string
	if l.Version == 1 {
		for _, c := range []string{"cpu", "cpuacct", "pids"} {
			if l.roots[c] == "" {
				lacks = append(lacks, c)
			}
		}
	}
	if lacks == nil {
		return ""
	}
	return "cgroup controllers not mounted: " + strings.Join(lacks, ", ")
}
