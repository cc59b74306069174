//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// folder is a group of files that enforce nothing.
func folder(t *testing.T, version int, files map[string]string) (*Group, func(string) string) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "g"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, "g", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := &Layout{Version: version, roots: map[string]string{"": dir, "cpu": dir, "memory": dir}, names: []string{dir}}
	return l.Open("g"), func(name string) string {
		raw, err := os.ReadFile(filepath.Join(dir, "g", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimRight(string(raw), " ") // the kernel takes a value whole, and a file keeps what is longer
	}
}

// pad makes a value as long as any: a file keeps the end of a longer one.
func pad(s string) string { return fmt.Sprintf("%-20s", s) }

// Memory that is used is not taken back, with version 2 either; all else is set at once.
func TestLimitsOfAGroupThatRuns(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		now, use, cache int64
		to              structs.Bytes
		want            string
	}{
		{64 * mib, 60 * mib, 0, 128 * mib, "134217728"},
		{64 * mib, 60 * mib, 0, 0, "max"},
		{64 * mib, 30 * mib, 0, 32 * mib, "33554432"},
		{64 * mib, 33 * mib, 0, 32 * mib, "stays"},
		{64 * mib, 33 * mib, 2 * mib, 32 * mib, "stays"}, // these files drop no cache
		{0, 33 * mib, 0, 32 * mib, "stays"},
		{0, 31 * mib, 0, 32 * mib, "33554432"},
	} {
		before := "max"
		if c.now > 0 {
			before = fmt.Sprint(c.now)
		}
		g, read := folder(t, 2, map[string]string{"memory.max": pad(before), "memory.high": pad("1"), "memory.current": fmt.Sprint(c.use),
			"memory.stat": fmt.Sprintf("inactive_file %d\nactive_file 0\n", c.cache), "cpu.weight": pad("7"), "cpu.max": pad("7 7")})
		err := g.Limit(Limits{CPU: 1500, Memory: c.to})
		want := c.want
		if stays := want == "stays"; stays != (structs.KindOf(err) == structs.Exhausted) || !stays && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if want == "stays" {
			want = before
		}
		if got := read("memory.max"); !strings.HasPrefix(got, want) {
			t.Errorf("%+v: memory.max is %q, want %s", c, got, want)
		}
		if high := read("memory.high"); !strings.HasPrefix(high, "max") {
			t.Errorf("%+v: memory.high is left at %q", c, high)
		}
		if cpu := read("cpu.weight") + " " + read("cpu.max"); cpu != "150 max 100000" {
			t.Errorf("%+v: CPU %q", c, cpu)
		}
	}
	g, read := folder(t, 1, map[string]string{"memory.limit_in_bytes": pad(fmt.Sprint(64 * mib)), "memory.usage_in_bytes": fmt.Sprint(33 * mib), "memory.stat": "total_inactive_file 2097152\n",
		"cpu.shares": pad("7"), "cpu.cfs_quota_us": pad("7")})
	if err := g.Limit(Limits{CPULimit: 500, Memory: 16 * mib}); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("version 1, below what is used: %v", err)
	}
	if err := g.Limit(Limits{Memory: 32 * mib}); err != nil {
		t.Errorf("version 1, page cache does not count: %v", err)
	}
	if got := read("memory.limit_in_bytes") + " " + read("cpu.shares") + " " + read("cpu.cfs_quota_us"); !strings.HasPrefix(got, "33554432 1024 -1") {
		t.Errorf("version 1: %s", got)
	}
}
