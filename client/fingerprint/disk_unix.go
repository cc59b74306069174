//go:build linux || darwin

package fingerprint

import (
	"github.com/proffer/proffer/structs"
	"golang.org/x/sys/unix"
)

// Disk returns what is free for users without privileges, and the size, of the disk that a folder is on.
func Disk(dir string) (free, total structs.Bytes, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	unit := structs.Bytes(s.Bsize)
	return structs.Bytes(s.Bavail) * unit, structs.Bytes(s.Blocks) * unit, nil
}
