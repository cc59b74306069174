//go:build linux

package cgroup

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Usage is what a group used.
type Usage struct {
	CPU, Throttled time.Duration
	Memory         structs.Bytes // without page cache that can be dropped at once
	Peak, Limit    structs.Bytes // Limit 0: none
	OOMKills       int
	Pids           int

	IO       *drivers.IOStats  // nil: it is not counted
	Pressure *drivers.Pressure // nil: it is not measured
}

// Usage reads the group. What a host does not count is zero.
func (g *Group) Usage() Usage {
	var u Usage
	if g.l.Version == 2 {
		cpu := fields(g.file("", "cpu.stat"))
		u.CPU = time.Duration(cpu["usage_usec"]) * time.Microsecond
		u.Throttled = time.Duration(cpu["throttled_usec"]) * time.Microsecond
		u.Memory = structs.Bytes(max(number(g.file("", "memory.current"))-fields(g.file("", "memory.stat"))["inactive_file"], 0))
		u.Peak = structs.Bytes(number(g.file("", "memory.peak")))
		u.Limit = structs.Bytes(number(g.file("", "memory.max")))
		u.Pids = int(number(g.file("", "pids.current")))
	} else {
		u.CPU = time.Duration(number(g.file("cpuacct", "cpuacct.usage")))
		u.Throttled = time.Duration(fields(g.file("cpu", "cpu.stat"))["throttled_time"])
		u.Memory = structs.Bytes(max(number(g.file("memory", "memory.usage_in_bytes"))-
			fields(g.file("memory", "memory.stat"))["total_inactive_file"], 0))
		u.Peak = structs.Bytes(number(g.file("memory", "memory.max_usage_in_bytes")))
		u.Limit = structs.Bytes(number(g.file("memory", "memory.limit_in_bytes")))
		u.Pids = int(number(g.file("pids", "pids.current")))
	}
	if u.Limit >= structs.Boundless {
		u.Limit = 0
	}
	u.OOMKills = g.OOMKills()
	u.IO = g.io()
	if g.l.Version == 2 {
		u.Pressure = Pressure(g.l.names[0]+"/"+g.Path, ".pressure")
	}
	return u
}

// OOMKills returns how many processes of the group the kernel killed for memory.
func (g *Group) OOMKills() int {
	if g.l.Version == 2 {
		return int(fields(g.file("", "memory.events"))["oom_kill"])
	}
	return int(fields(g.file("memory", "memory.oom_control"))["oom_kill"])
}

func number(path string) int64 {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil {
		return 0 // "max"
	}
	return int64(min(n, 1<<62))
}

func fields(path string) map[string]int64 {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	m := map[string]int64{}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			m[name] = n
		}
	}
	return m
}
