package fingerprint

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
	"golang.org/x/sys/unix"
)

// system adds what the kernel and the distribution say.
func system(a map[string]string) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		a["kernel.version"] = unix.ByteSliceToString(u.Release[:])
		a["kernel.arch"] = unix.ByteSliceToString(u.Machine[:])
		a["unique.hostname"] = unix.ByteSliceToString(u.Nodename[:])
	}
	release := pairs("/etc/os-release", "=")
	if id := release["ID"]; id != "" {
		a["os.name"] = id
	}
	if v := release["VERSION_ID"]; v != "" {
		a["os.version"] = v
	}
	if model := pairs("/proc/cpuinfo", ":")["model name"]; model != "" {
		a["cpu.model"] = model
	}
	a["cgroup.version"] = cgroupVersion("/sys/fs/cgroup")
}

// cgroupVersion is 2 for the unified hierarchy alone, 1 for the old one (also with an unused unified one beside it), 0 for
// none.
func cgroupVersion(root string) string {
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return "2"
	}
	if _, err := os.Stat(root + "/memory"); err == nil {
		return "1"
	}
	return "0"
}

// pairs reads the first value of each key in a small file of lines; quotes around values are dropped.
func pairs(file, separator string) map[string]string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	out := make(map[string]string)
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan() && n < 200; n++ {
		key, value, ok := strings.Cut(lines.Text(), separator)
		if key = strings.TrimSpace(key); ok && out[key] == "" {
			out[key] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return out
}

// memoryOf returns the machine's memory, or what the agent's container may use of it.
func memoryOf() structs.Bytes {
	kib, err := strconv.ParseInt(strings.TrimSuffix(pairs("/proc/meminfo", ":")["MemTotal"], " kB"), 10, 64)
	if err != nil {
		return 0
	}
	memory := structs.Bytes(kib) << 10
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && limit > 0 {
			memory = min(memory, structs.Bytes(limit))
		}
	}
	return memory
}

// defaultInterface returns the name of the interface with the IPv4 default route; empty when there is none.
func defaultInterface() string {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 2 && fields[1] == "00000000" {
			return fields[0]
		}
	}
	return ""
}
