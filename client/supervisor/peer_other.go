//go:build unix && !linux

package supervisor

import "net"

// allowed accepts everybody who could open the socket, which is of mode 0600 in a folder of mode 0700.
func allowed(*net.UnixConn) error { return nil }
