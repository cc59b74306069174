package csi

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// socketIn opens what is in the place of the socket in a folder and returns a path that leads to that and to nothing else, whatever its task
// puts there meanwhile, and that is short. The caller closes it. A link is not followed: it could lead to any other socket.
func socketIn(folder string) (path string, is os.FileMode, f *os.File, err error) {
	dir, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", 0, nil, &os.PathError{Op: "open", Path: folder, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, socketName, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", 0, nil, &os.PathError{Op: "open", Path: socketName, Err: err}
	}
	f = os.NewFile(uintptr(fd), socketName)
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return "", 0, nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), info.Mode(), f, nil
}
