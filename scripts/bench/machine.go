//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// fact is something about the machine.
type fact struct{ Name, Value string }

// describe says on what was measured. dir is on the disk that servers will write to.
func describe(dir string) ([]fact, error) {
	forks, err := forkRate(300)
	if err != nil {
		return nil, err
	}
	sync, err := syncTime(filepath.Join(dir, "sync"), 100)
	if err != nil {
		return nil, err
	}
	load, _ := os.ReadFile("/proc/loadavg")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return []fact{
		{"date", time.Now().UTC().Format(time.RFC3339)},
		{"cpu", field("/proc/cpuinfo", "model name")},
		{"cores", fmt.Sprint(runtime.NumCPU())},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"kernel", strings.TrimSpace(string(kernel))},
		{"cgroup", "v" + cgroupVersion()},
		{"load average", strings.TrimSpace(string(load))},
		{"sha256, one core", fmt.Sprintf("%.0f MB/s", hashRate())},
		{"bare fork+exec", fmt.Sprintf("%.0f/s", forks)},
		{"write 4 KiB and fsync", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms in %s", ms(sync.at(0.5)), ms(sync.at(0.99)), filepath.Dir(dir))},
		{"go", runtime.Version()},
	}, nil
}

// field returns the value of the first line "name: value" of a file.
func field(path, name string) string {
	raw, _ := os.ReadFile(path)
	for line := range strings.Lines(string(raw)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func cgroupVersion() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "2"
	}
	return "1"
}

func hashRate() float64 {
	block := make([]byte, 1<<20)
	begun, n := time.Now(), 0
	for ; time.Since(begun) < 300*time.Millisecond; n++ {
		sha256.Sum256(block)
	}
	return float64(n) * 1.048576 / time.Since(begun).Seconds()
}

// forkRate is how many times a second /bin/true is started and waited for, one after the other.
func forkRate(n int) (float64, error) {
	begun := time.Now()
	for range n {
		if err := exec.Command("/bin/true").Run(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

func syncTime(path string, n int) (times spread, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for range n {
		begun := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun))
	}
	return times, nil
}
