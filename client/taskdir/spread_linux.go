package taskdir

import (
	"os"

	"golang.org/x/sys/unix"
)

// topOfHierarchies is FS_TOPDIR_FL.
const topOfHierarchies = 0x00020000

// Spread asks the file system to place each folder below root apart from the others. Ext4 then uses all of its block groups
// and not one. In one group the inodes of what was removed in the last minutes, which it does not use again so soon, are
// looked at with each new folder: where work is short, 200 µs of CPU and more for a folder instead of 25. A file system that
// does not know it is left alone.
func Spread(root string) {
	f, err := os.Open(root)
	if err != nil {
		return
	}
	defer f.Close()
	fd := int(f.Fd())
	if flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); err == nil && flags&topOfHierarchies == 0 {
		unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|topOfHierarchies)
	}
}
