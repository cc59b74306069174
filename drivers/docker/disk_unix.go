//go:build unix

package docker

import "golang.org/x/sys/unix"

// full returns how full the disk of a folder is, in percent; 0 when that cannot be seen from here.
func full(dir string) int {
	var s unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &s) != nil || s.Blocks == 0 {
		return 0
	}
	free := uint64(s.Bavail)
	return int((uint64(s.Blocks) - free) * 100 / uint64(s.Blocks))
}
