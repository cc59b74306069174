package cluster

import (
	"context"
	"net"
	"syscall"
	"time"
)

// System returns the network of this machine.
func System() Network { return systemNetwork{} }

type systemNetwork struct{}

var errAddrInUse error = syscall.EADDRINUSE

// keepAlive finds peers that went without a word in half a minute, also on idle connections.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

func (systemNetwork) Listen(addr string) (net.Listener, error) {
	c := net.ListenConfig{KeepAliveConfig: keepAlive}
	return c.Listen(context.Background(), "tcp", addr)
}

func (systemNetwork) ListenPacket(addr string) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", addr)
	if udp, ok := conn.(*net.UDPConn); ok {
		// Bursts of gossip in a large pool; what the system grants is enough.
		udp.SetReadBuffer(2 << 20)
	}
	return conn, err
}

func (systemNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	return d.DialContext(ctx, "tcp", addr)
}
