package network

import (
	"context"
	"net"
	"time"

	"github.com/proffer/proffer/client/namespaces"
)

// Dial connects to an address in the namespace at ns, or in the node's own when it is empty. address has an IP address and a port. At
// most one thread is in use while it waits; the caller bounds how many wait.
func Dial(ctx context.Context, ns, network, address string) (net.Conn, error) {
	d := net.Dialer{FallbackDelay: -1, Timeout: time.Minute} // all of it in this thread
	if ns == "" {
		return d.DialContext(ctx, network, address)
	}
	var conn net.Conn
	err := namespaces.Inside(ns, func() (err error) {
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
