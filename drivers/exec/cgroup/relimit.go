//go:build linux

package cgroup

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Limit gives a group that has processes other limits: of CPU and memory, and leaves the others. It is repeated after a death in between.
//
// The kernel kills for a limit of memory below what is used, with version 2 at once, so such a limit is not set: the old one stays, and the
// answer is Exhausted. Page cache does not count: the kernel drops it. What the group takes between our look and the new limit cannot make it
// kill either: version 1 refuses a limit that it cannot reach, and with version 2 a soft limit (memory.high) comes first, which holds the
// group back until the hard one is known to fit.
func (g *Group) Limit(to Limits) error {
	for _, s := range resettings(g.l.Version, to) {
		if path := g.file(s.controller, s.file); path != "" {
			if err := write(path, s.value); err != nil {
				return err
			}
		}
	}
	if g.l.Version == 2 {
		return g.limitMemory2(to.Memory)
	}
	return g.limitMemory1(to.Memory)
}

// resettings are settings of CPU for a group that may have had others: what is not limited says so.
func resettings(version int, to Limits) []setting {
	cpu := Limits{CPU: to.CPU, CPULimit: to.CPULimit}
	if cpu.CPU == 0 {
		cpu.CPU = 1000 // what the kernel gives a group of which nothing is said
	}
	list := settings(version, cpu)
	switch {
	case to.CPULimit > 0:
	case version == 2:
		list = append(list, setting{controller: "cpu", file: "cpu.max", value: "max " + strconv.Itoa(period)})
	default:
		list = append(list, setting{controller: "cpu", file: "cpu.cfs_quota_us", value: "-1"})
	}
	return list
}

func needs(used, limit structs.Bytes) error {
	return structs.Errorf(structs.Exhausted, "cgroup", "it uses %v of memory, which is more than a limit of %v", used, limit)
}

// used is what the kernel could not take from a group without killing.
func used(now int64, stat map[string]int64, inactive, active string) structs.Bytes {
	return structs.Bytes(max(now-stat[inactive]-stat[active], 0))
}

func (g *Group) limitMemory2(to structs.Bytes) error {
	most, high, now := g.file("", "memory.max"), g.file("", "memory.high"), g.file("", "memory.current")
	if err := write(high, "max"); err != nil { // of one who died in between
		return err
	}
	before := number(most) // 0: none
	if to == 0 || before != 0 && int64(to) >= before {
		value := "max"
		if to > 0 {
			value = strconv.FormatInt(int64(to), 10)
		}
		return write(most, value)
	}
	if use := used(number(now), fields(g.file("", "memory.stat")), "inactive_file", "active_file"); use > to {
		return needs(use, to)
	}
	value := strconv.FormatInt(int64(to), 10)
	err := write(high, value) // it drops page cache down to that
	if err == nil {
		if left := structs.Bytes(number(now)); left > to {
			err = needs(left, to)
		} else {
			err = write(most, value)
		}
	}
	return errors.Join(err, write(high, "max"))
}

func (g *Group) limitMemory1(to structs.Bytes) error {
	most, swap, now := g.file("memory", "memory.limit_in_bytes"), g.file("memory", "memory.memsw.limit_in_bytes"), g.file("memory", "memory.usage_in_bytes")
	value := "-1"
	if to > 0 {
		value = strconv.FormatInt(int64(to), 10)
	}
	order := []string{swap, most} // the limit with swap is never below the other
	if to > 0 && int64(to) < number(most) {
		order = []string{most, swap}
		if use := used(number(now), fields(g.file("memory", "memory.stat")), "total_inactive_file", "total_active_file"); use > to {
			return needs(use, to)
		}
	}
	for _, path := range order {
		switch err := write(path, value); {
		case errors.Is(err, unix.EBUSY): // it cannot be reached
			return needs(structs.Bytes(number(now)), to)
		case err != nil && !(path == swap && errors.Is(err, os.ErrNotExist)):
			return err
		}
	}
	return nil
}
