//go:build !linux

package namespaces

import (
	"errors"
	"os"

	"github.com/proffer/proffer/structs"
)

// There are none to share on other systems, and no task is isolated.

func able() bool { return false }

// Kept is false.
func Kept(string) bool { return false }

// Drop does nothing.
func Drop(string) error { return nil }

func touch(string) error                         { return errors.ErrUnsupported }
func memory(string, string, structs.Bytes) error { return errors.ErrUnsupported }
func keepOf(int, string) error                   { return errors.ErrUnsupported }
func remove(dir string) error                    { return os.RemoveAll(dir) }
