//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Pressure reads what the kernel says of stalls (PSI): that of the host in /proc/pressure, with ext empty, or that of a group of version 2
// in its folder, with ext ".pressure". nil: it does not measure them.
func Pressure(dir, ext string) *drivers.Pressure {
	p := &drivers.Pressure{}
	for name, s := range map[string]*drivers.Stall{"cpu": &p.CPU, "memory": &p.Memory, "io": &p.IO} {
		raw, err := os.ReadFile(filepath.Join(dir, name+ext))
		if err != nil {
			return nil
		}
		parseStall(string(raw), s)
	}
	return p
}

// parseStall reads lines such as "some avg10=1.25 avg60=0.50 avg300=0.10 total=123456", in percent and microseconds.
func parseStall(text string, s *drivers.Stall) {
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(line, " ")
		for field := range strings.FieldsSeq(rest) {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "avg10":
				whole, cents, _ := strings.Cut(value, ".")
				n, err := strconv.ParseInt(whole+cents, 10, 32) // hundredths of a percent
				if err == nil && kind == "some" {
					s.Some = structs.Milli(n / 10)
				} else if err == nil {
					s.Full = structs.Milli(n / 10)
				}
			case "total":
				n, err := strconv.ParseInt(value, 10, 64)
				if total := structs.Duration(time.Duration(n) * time.Microsecond); err == nil && kind == "some" {
					s.SomeTotal = total
				} else if err == nil {
					s.FullTotal = total
				}
			}
		}
	}
}

// maxCounted bounds the processes whose reads and writes are added up.
const maxCounted = 512

// io adds up what the group read and wrote. With version 2 the kernel counts it for the group; with version 1 it is what its processes
// say, of which each has that of the children it waited for.
func (g *Group) io() *drivers.IOStats {
	s := &drivers.IOStats{}
	if g.l.Version == 2 {
		raw, err := os.ReadFile(g.file("", "io.stat"))
		if err != nil {
			return nil
		}
		for field := range strings.FieldsSeq(string(raw)) {
			key, value, _ := strings.Cut(field, "=")
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				continue
			}
			switch key {
			case "rbytes":
				s.ReadBytes += structs.Bytes(n)
			case "wbytes":
				s.WriteBytes += structs.Bytes(n)
			case "rios":
				s.ReadOps += n
			case "wios":
				s.WriteOps += n
			}
		}
		return s
	}
	pids, err := g.Pids()
	if err != nil || len(pids) > maxCounted {
		return nil
	}
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err != nil {
			continue // it ended
		}
		for line := range strings.Lines(string(raw)) {
			key, value, _ := strings.Cut(line, ":")
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				continue
			}
			switch key {
			case "read_bytes":
				s.ReadBytes += structs.Bytes(n)
			case "write_bytes":
				s.WriteBytes += structs.Bytes(n)
			}
		}
	}
	return s
}
