// Package replace puts a file in the place of another, so that a crash leaves the old one or the new one and never a part.
package replace

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// File writes what r has to a private file beside path, whatever has a name there, and renames it over path. It is on the disk when File
// returns. size is what was written; after an error path is as it was.
func File(path string, r io.Reader) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	size, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return size, nil
	}
	dir.Sync() // not every file system can
	dir.Close()
	return size, nil
}

// Bytes is File for what is in memory.
func Bytes(path string, raw []byte) error {
	_, err := File(path, bytes.NewReader(raw))
	return err
}
