package evil

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bind tries to take a port, as in "tcp4 127.0.0.1 20001" or "udp6 :: 0", in all ways in which two sockets may have one, and lets go of it. A
// fourth word does something else there: connect, or a listen without a bind. It returns "done", or the name of the error.
func Bind(what string) string {
	f := strings.Fields(what)
	kind := map[string][3]int{"tcp4": {unix.AF_INET, unix.SOCK_STREAM, 0}, "tcp6": {unix.AF_INET6, unix.SOCK_STREAM, 0}, "udp4": {unix.AF_INET, unix.SOCK_DGRAM, 0},
		"udp6": {unix.AF_INET6, unix.SOCK_DGRAM, 0}, "mptcp4": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}}[f[0]]
	fd, err := unix.Socket(kind[0], kind[1], kind[2])
	if err != nil {
		return nameOf(err)
	}
	defer unix.Close(fd)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	var port int
	if _, err := fmt.Sscan(f[2], &port); err != nil {
		return err.Error()
	}
	ip := net.ParseIP(f[1])
	var at unix.Sockaddr = &unix.SockaddrInet6{Port: port, Addr: [16]byte(ip.To16())}
	if kind[0] == unix.AF_INET {
		at = &unix.SockaddrInet4{Port: port, Addr: [4]byte(ip.To4())}
	}
	switch {
	case len(f) == 3:
		err = unix.Bind(fd, at)
	case f[3] == "connect":
		err = unix.Connect(fd, at)
	default:
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		return nameOf(err)
	}
	return "done"
}

func nameOf(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
