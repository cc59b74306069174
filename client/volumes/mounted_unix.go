//go:build unix

package volumes

import (
	"os"
	"path/filepath"
	"syscall"
)

// ownFileSystem reports whether a folder is on another file system than the folder above it.
func ownFileSystem(path string) (bool, error) {
	device := func(path string) (uint64, error) {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return uint64(info.Sys().(*syscall.Stat_t).Dev), nil
	}
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, err
	}
	own, err := device(at)
	if err != nil {
		return false, err
	}
	above, err := device(filepath.Dir(at))
	return own != above, err
}
