//go:build !linux

package drivers

import (
	"errors"
	"os"
)

func Project(f *os.File) (uint32, error) { return 0, nil }

func SetProject(f *os.File, project uint32, folder bool) error { return errors.ErrUnsupported }
