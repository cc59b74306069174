//go:build linux

package cgroup

import (
	"errors"

	"golang.org/x/sys/unix"
)

// TryRemove removes the group where nothing is in it, without waiting, and reports whether it is gone.
func (g *Group) TryRemove() bool {
	for _, root := range g.names {
		if err := unix.Rmdir(root + "/" + g.Path); err != nil && !errors.Is(err, unix.ENOENT) {
			return false
		}
	}
	return true
}
