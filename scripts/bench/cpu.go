//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc: 1/100 s wherever Go runs.
const tick = 10 * time.Millisecond

// process is one that a bench started, directly or not.
type process struct {
	pid, parent int
	args        string // words separated by spaces
}

// processes lists those that have dir in their command line or in their environment, and what descends from them.
func processes(dir string) (found []process) {
	var all []process
	ours := map[int]bool{}
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		proc := filepath.Dir(path)
		pid, _ := strconv.Atoi(filepath.Base(proc))
		if pid == os.Getpid() {
			continue
		}
		all = append(all, process{pid, parentOf(pid), strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " "))})
		if env, err := os.ReadFile(filepath.Join(proc, "environ")); bytes.Contains(raw, []byte(dir)) || err == nil && bytes.Contains(env, []byte(dir)) {
			ours[pid] = true
		}
	}
	for more := true; more; {
		more = false
		for _, p := range all {
			if ours[p.parent] && !ours[p.pid] {
				ours[p.pid], more = true, true
			}
		}
	}
	for _, p := range all {
		if ours[p.pid] {
			found = append(found, p)
		}
	}
	return found
}

// stat returns the fields of /proc/pid/stat from the state on.
func stat(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
}

func parentOf(pid int) (parent int) {
	if f := stat(pid); len(f) > 1 {
		parent, _ = strconv.Atoi(f[1])
	}
	return parent
}

// cpuOf returns the CPU time that a process used, and with children that of those it waited for.
func cpuOf(pid int, children bool) time.Duration {
	f := stat(pid)
	if len(f) < 15 {
		return 0
	}
	var sum int64
	last := 13
	if children {
		last = 15
	}
	for _, s := range f[11:last] {
		n, _ := strconv.ParseInt(s, 10, 64)
		sum += n
	}
	return time.Duration(sum) * tick
}

// memoryOf returns the resident memory of a process in MB (10⁶ bytes).
func memoryOf(pid int) float64 { return megabytes(pid, "VmRSS") }

// mappedOf returns how much of that is pages of files: of the program, which all processes that run it share.
func mappedOf(pid int) float64 { return megabytes(pid, "RssFile") }

func megabytes(pid int, name string) float64 {
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", pid), name), " kB"), 64)
	return kib * 1024 / 1e6
}

// others is what programs that have nothing to do with a bench used.
type others struct{ share float64 }

// watchOthers begins to count what does not run below dir; done ends it.
func watchOthers(dir string) (o *others, done func()) {
	o = &others{}
	begun, busy, own := time.Now(), busyTime(), ownTime(dir)
	return o, func() {
		used := busyTime() - busy - (ownTime(dir) - own)
		o.share = max(0, float64(used)/float64(time.Since(begun))/float64(runtime.NumCPU()))
	}
}

// busyTime is the CPU time that all cores have worked since the machine started.
func busyTime() time.Duration {
	raw, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(raw), "\n")
	var sum int64
	for i, s := range strings.Fields(line) {
		if i >= 1 && i <= 8 && i != 4 && i != 5 { // idle and iowait are not work
			n, _ := strconv.ParseInt(s, 10, 64)
			sum += n
		}
	}
	return time.Duration(sum) * tick
}

// ownTime is the CPU time of this process, of its children that ended, and of those that run below dir.
func ownTime(dir string) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	for _, p := range processes(dir) {
		sum += cpuOf(p.pid, true)
	}
	return sum
}
