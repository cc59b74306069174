//go:build unix

package client

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// apart makes a command whose whole process group is killed when ctx ends.
func apart(ctx context.Context, args []string) *exec.Cmd {
	p := exec.CommandContext(ctx, args[0], args[1:]...)
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }
	p.WaitDelay = time.Second
	return p
}

// ownerOf returns whose a file is, or -1 where that cannot be given to others.
func ownerOf(info fs.FileInfo) (uid, gid int) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return -1, -1
	}
	return int(s.Uid), int(s.Gid)
}

// linksOf returns how many names a file has, and whose it is.
func linksOf(info fs.FileInfo) (links int, uid, gid uint32) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1, 0, 0
	}
	return int(s.Nlink), s.Uid, s.Gid
}
