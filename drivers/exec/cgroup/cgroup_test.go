//go:build linux

package cgroup

import (
	"fmt"
	"slices"
	"testing"
)

func TestLayoutsOfHosts(t *testing.T) {
	const (
		v2     = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid = "31 23 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n" +
			"32 23 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
			"33 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"34 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"35 23 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
			"36 23 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
		split = "33 23 0:29 / /c/cpu rw - cgroup cgroup rw,cpu\n34 23 0:30 / /c/cpuacct rw - cgroup cgroup rw,cpuacct\n" +
			"35 23 0:31 / /c/memory rw - cgroup cgroup rw,memory\n"
	)
	for name, c := range map[string]struct {
		mounts  string
		version int
		folders []string
		homes   []string
		missing string
	}{
		"v2":     {v2, 2, []string{"/sys/fs/cgroup"}, nil, ""},
		"hybrid": {hybrid, 1, []string{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"}, []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"}, ""},
		"split":  {split, 1, []string{"/c/cpu", "/c/cpuacct", "/c/memory"}, nil, "cgroup controllers not mounted: pids"},
		"none":   {"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", 0, nil, nil, ""},
	} {
		l := layoutOf([]byte(c.mounts), "proffer/x")
		if c.version == 0 {
			if l != nil {
				t.Errorf("%s: %+v", name, l)
			}
			continue
		}
		if l == nil || l.Version != c.version || !slices.Equal(l.names, c.folders) || !slices.Equal(l.homes, c.homes) || l.Missing() != c.missing {
			t.Errorf("%s: %+v, %q", name, l, l.Missing())
		}
	}
}

func TestLimitsBecomeFiles(t *testing.T) {
	limits := Limits{CPU: 1500, CPULimit: 2500, Memory: 1 << 20, Pids: 7}
	for version, want := range map[int]string{
		1: "[{cpu cpu.shares 1536 false} {cpu cpu.cfs_quota_us 250000 false} {memory memory.limit_in_bytes 1048576 false} " +
			"{memory memory.memsw.limit_in_bytes 1048576 true} {pids pids.max 7 false}]",
		2: "[{cpu cpu.weight 150 false} {cpu cpu.max 250000 100000 false} {memory memory.max 1048576 false} " +
			"{memory memory.swap.max 0 true} {pids pids.max 7 false}]",
	} {
		if got := fmt.Sprint(settings(version, limits)); got != want {
			t.Errorf("v%d: %s\nwant %s", version, got, want)
		}
	}
	for version, want := range map[int]string{1: "[{cpu cpu.shares 2 false} {cpu cpu.cfs_quota_us 1000 false}]", 2: "[{cpu cpu.weight 1 false} {cpu cpu.max 1000 100000 false}]"} {
		if got := fmt.Sprint(settings(version, Limits{CPU: 1, CPULimit: 1})); got != want {
			t.Errorf("v%d least: %s", version, got)
		}
	}
	if got := settings(2, Limits{CPU: 1e9}); got[0].value != "10000" {
		t.Errorf("weight %v", got)
	}
}
