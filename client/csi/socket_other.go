//go:build !linux

package csi

import (
	"os"
	"path/filepath"
)

// socketIn returns the path of the socket in a folder, and the folder.
func socketIn(folder string) (path string, is os.FileMode, f *os.File, err error) {
	path = filepath.Join(folder, socketName)
	info, err := os.Lstat(path)
	if err == nil {
		f, err = os.Open(folder)
	}
	if err != nil {
		return "", 0, nil, err
	}
	return path, info.Mode(), f, nil
}
