//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Disk is a block device by its numbers.
type Disk struct{ Major, Minor int64 }

func (d Disk) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// DiskOf returns the whole disk that a file is on: limits are set for disks, not for their partitions.
func DiskOf(path string) (Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Disk{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	d := Disk{int64(unix.Major(uint64(st.Dev))), int64(unix.Minor(uint64(st.Dev)))}
	dir, err := filepath.EvalSymlinks("/sys/dev/block/" + d.String())
	if err != nil {
		return Disk{}, fmt.Errorf("%s is not on a disk of its own, but on %s", path, d)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err != nil {
		return d, nil
	}
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "dev"))
	if err != nil {
		return Disk{}, err
	}
	a, b, _ := strings.Cut(strings.TrimSpace(string(raw)), ":")
	if d.Major, err = strconv.ParseInt(a, 10, 32); err == nil {
		d.Minor, err = strconv.ParseInt(b, 10, 32)
	}
	return d, err
}

// IO says why the use of a disk cannot be bounded; nil: it can.
func (l *Layout) IO() error {
	switch {
	case l.Version == 2 && !l.has["io"]:
		return errors.New("the io controller is not there")
	case l.Version == 1 && l.roots["blkio"] == "":
		return errors.New("the blkio controller is not mounted")
	}
	return nil
}

// ioSettings are bounds of disk use in files.
func ioSettings(version int, disk Disk, io *structs.TaskIO, add func(controller, file, value string)) {
	if io == nil {
		return
	}
	for _, b := range []struct {
		v2, v1 string
		n      int64
	}{
		{"rbps", "read_bps", int64(io.ReadBps)}, {"wbps", "write_bps", int64(io.WriteBps)}, {"riops", "read_iops", int64(io.ReadIops)}, {"wiops", "write_iops", int64(io.WriteIops)},
	} {
		switch {
		case b.n == 0:
		case version == 2:
			add("io", "io.max", fmt.Sprintf("%s %s=%d", disk, b.v2, b.n))
		default:
			add("blkio", "blkio.throttle."+b.v1+"_device", fmt.Sprintf("%s %d", disk, b.n))
		}
	}
}
