//go:build unix

package disk

import (
	"io/fs"
	"syscall"

	"github.com/proffer/proffer/structs"
)

// Flags with which opening waits for nobody and follows no link at the end of a path.
const (
	onlyFolder = syscall.O_DIRECTORY | syscall.O_NOFOLLOW
	noWait     = syscall.O_NONBLOCK | syscall.O_NOFOLLOW
)

// of is what a file takes: holes take nothing, and one with several names counts once.
func (w *walk) of(info fs.FileInfo) structs.Bytes {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return structs.Bytes(info.Size())
	}
	if st.Nlink > 1 && !info.IsDir() {
		if w.twice[uint64(st.Ino)] {
			return 0
		}
		w.twice[uint64(st.Ino)] = true
	}
	return structs.Bytes(st.Blocks) * 512
}
