//go:build linux || darwin

package drivers

import (
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// room is what the disk of a path can still take, and its size. ok: it could be asked.
func room(path string) (free, size structs.Bytes, ok bool) {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return 0, 0, false
	}
	return structs.Bytes(s.Bavail) * structs.Bytes(s.Bsize), structs.Bytes(s.Blocks) * structs.Bytes(s.Bsize), true
}
