package conformance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/proffer/proffer/drivers"
)

// file is an Output in one file that is never rotated.
type file struct {
	path string
	f    *os.File
}

func newOutput(dir, name string) drivers.Output { return &file{path: filepath.Join(dir, name+".0")} }

func (o *file) Write(b []byte) (int, error) {
	if o.f == nil {
		err := os.MkdirAll(filepath.Dir(o.path), 0o755)
		if err == nil {
			o.f, err = os.OpenFile(o.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		}
		if err != nil {
			return 0, err
		}
	}
	return o.f.Write(b)
}

func (o *file) Offset() (int64, error) {
	info, err := os.Stat(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o *file) Close() error {
	if o.f == nil {
		return nil
	}
	return o.f.Close()
}
