//go:build unix

package supervisor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

const socketName = "supervisor.sock"

// socketPath returns a name for the socket that fits in an address, which holds about a hundred bytes. done is called
// after the name was used.
func socketPath(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, socketName)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return linked(dir)
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName), func() { d.Close() }, nil
}

// linked is a shorter name by way of the temporary folder, where there is no /proc.
func linked(dir string) (path string, done func(), err error) {
	tmp, err := os.MkdirTemp("", "s")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(tmp) }
	if err := os.Symlink(dir, filepath.Join(tmp, "d")); err != nil {
		done()
		return "", nil, err
	}
	return filepath.Join(tmp, "d", socketName), done, nil
}

func dialSocket(dir string) (*net.UnixConn, error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// rightsOf encodes descriptors for a message.
func rightsOf(files []*os.File) []byte {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return unix.UnixRights(fds...)
}
