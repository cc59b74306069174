package drivers

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	flags, extsize, nextents, project, cowextsize uint32
	_                                             [8]byte
}

const (
	fsGetXattr     = 0x801c581f
	fsSetXattr     = 0x401c5820
	inheritProject = 0x200
)

// Project returns the project of a file, by which some file systems count what it takes. 0: it has none.
func Project(f *os.File) (uint32, error) {
	var x fsxattr
	err := xattr(f, fsGetXattr, &x)
	return x.project, err
}

// SetProject gives a file a project, and a folder's is inherited by what is made in it from then on.
func SetProject(f *os.File, project uint32, folder bool) error {
	var x fsxattr
	if err := xattr(f, fsGetXattr, &x); err != nil {
		return err
	}
	x.project = project
	if folder {
		x.flags |= inheritProject
	}
	return xattr(f, fsSetXattr, &x)
}

func xattr(f *os.File, request uintptr, x *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(x)))
	if errno != 0 {
		return &os.PathError{Op: "ioctl", Path: f.Name(), Err: errno}
	}
	return nil
}
