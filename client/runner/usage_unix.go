//go:build unix

package runner

import (
	"io/fs"
	"syscall"

	"github.com/proffer/proffer/structs"
)

// used is what a file takes of the disk: holes take nothing.
func used(info fs.FileInfo) structs.Bytes {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return structs.Bytes(st.Blocks) * 512
	}
	return structs.Bytes(info.Size())
}
