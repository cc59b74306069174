//go:build !linux && !darwin

package fingerprint

import (
	"errors"

	"github.com/proffer/proffer/structs"
)

// Disk is not known on this system.
func Disk(string) (free, total structs.Bytes, err error) { return 0, 0, errors.ErrUnsupported }
