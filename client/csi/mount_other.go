//go:build !linux

package csi

import (
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func mounted(path string) (bool, error) { return false, nil }

func unmount(path string) error { return nil }

func spread(object, folder string) (drivers.Mount, error) {
	return drivers.Mount{}, structs.Errorf(structs.Invalid, object, "plugins that mount volumes need Linux")
}
