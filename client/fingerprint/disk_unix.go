//go:build linux || darwin

package fingerprint

import (
	"github.com/proffer/proffer/structs"
	"golang.org/x/sys/unix"
)

// Disk returns what is free for users without privileges on the disk that a folder is on, and what is free and used together:
// less than its size where some is kept for others. So df counts, too.
func Disk(dir string) (free, total structs.Bytes, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	unit := structs.Bytes(s.Bsize)
	free = structs.Bytes(s.Bavail) * unit
	return free, free + structs.Bytes(s.Blocks-s.Bfree)*unit, nil
}
