package disk

import (
	"encoding/binary"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Commands of quotactl_fd(2), for projects.
const (
	getQuota     = 0x800007
	setQuota     = 0x800008
	getNextQuota = 0x800009
	getState     = 'X'<<8 + 8
	ofProjects   = 2

	boundsValid  = 1 | 4 // of space and of files
	blockSize    = 1024
	enforced     = 0x20 // of qs_flags: bounds of projects hold
	stateVersion = 1
)

// dqblk is struct if_nextdqblk of linux/quota.h; struct if_dqblk is without the last field.
type dqblk struct {
	spaceHard, spaceSoft, space, filesHard, filesSoft, files, spaceTime, filesTime uint64
	valid, id                                                                      uint32
}

// usage is what a project has. The zero usage is nobody's.
type usage struct {
	space, limit structs.Bytes
	files, most  int64
}

func (q *dqblk) usage() usage {
	return usage{structs.Bytes(q.space), structs.Bytes(q.spaceHard) * blockSize, int64(q.files), int64(q.filesHard)}
}

func quotactl(f *os.File, command int, project uint32, into unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(command<<8|ofProjects), uintptr(project), uintptr(into), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("quotactl", errno)
	}
	return nil
}

// noQuota says why bounds of projects do not hold on the file system of a folder; empty: they do.
func noQuota(top *os.File) string {
	var state [512]byte // struct fs_quota_statv
	state[0] = stateVersion
	err := quotactl(top, getState, 0, unsafe.Pointer(&state[0]))
	switch {
	case errors.Is(err, unix.EPERM):
		return "the agent may not see quotas"
	case err != nil: // or a kernel without
		return "its file system has no quota: " + err.Error()
	case binary.NativeEndian.Uint16(state[2:])&enforced == 0:
		return "its file system is not mounted with prjquota"
	}
	return ""
}

// usageOf says what a project has, which may be nothing.
func usageOf(top *os.File, project uint32) (usage, error) {
	var q dqblk
	err := quotactl(top, getQuota, project, unsafe.Pointer(&q))
	if errors.Is(err, unix.ENOENT) { // of xfs: it never had any
		return usage{}, nil
	}
	return q.usage(), err
}

// nextUsage finds the next project, from one on, that has or had something.
func nextUsage(top *os.File, project uint32) (uint32, usage, error) {
	var q dqblk
	err := quotactl(top, getNextQuota, project, unsafe.Pointer(&q))
	return q.id, q.usage(), err
}

// setLimit bounds what a project may take, in bytes and in files; 0: nothing does.
func setLimit(top *os.File, project uint32, limit structs.Bytes, files int64) error {
	q := dqblk{spaceHard: uint64(limit+blockSize-1) / blockSize, filesHard: uint64(files), valid: boundsValid}
	return quotactl(top, setQuota, project, unsafe.Pointer(&q))
}
