package cluster

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/structs"
)

const (
	maxPacket       = 65507            // bytes, what UDP over IPv4 carries
	maxCarriers     = 256              // connections kept to peers that get packets by TCP
	carrierQueue    = 64               // packets that wait for one; more are dropped, as UDP would
	carrierIdle     = 2 * time.Minute  // without a packet
	streamsOnlyTime = 2 * time.Minute  // how long a peer counts as one without UDP after a sign of it
	memberStream    = 10 * time.Second // memberlist's TCPTimeout: shorter dials are its TCP pings, see DialAddressTimeout
	packetQueue     = 1024             // received and not yet taken by memberlist
)

// GossipTransport returns what memberlist needs. There is one for a port; its Shutdown leaves the port open for the rest.
func (p *Port) GossipTransport() memberlist.NodeAwareTransport {
	p.gossip.start()
	return p.gossip
}

// gossipTransport carries packets by UDP and streams by the port's TCP.
//
// Packets go by TCP instead ("carriers") when this side has no UDP, when the peer sent its own that way, or when the peer
// answered memberlist's TCP ping after it did not answer the UDP one. A carrier is a connection in one direction: its kind,
// the advertised address of the sender (an IP address and port), then packets with their length before them. They are as (un)trusted as UDP ones:
// memberlist encrypts them.
type gossipTransport struct {
	port    *Port
	udp     net.PacketConn // nil: none
	packets chan *memberlist.Packet
	streams chan net.Conn

	once    sync.Once
	done    chan struct{}
	started sync.Once

	mu          sync.Mutex
	closed      bool
	carriers    map[string]*carrier
	streamsOnly map[string]time.Time // until when
}

var _ memberlist.NodeAwareTransport = (*gossipTransport)(nil)

func newGossipTransport(p *Port, udp net.PacketConn) *gossipTransport {
	return &gossipTransport{
		port:        p,
		udp:         udp,
		packets:     make(chan *memberlist.Packet, packetQueue),
		streams:     make(chan net.Conn),
		done:        make(chan struct{}),
		carriers:    map[string]*carrier{},
		streamsOnly: map[string]time.Time{},
	}
}

// start reads packets from when somebody wants them.
func (t *gossipTransport) start() {
	t.started.Do(func() {
		if t.udp == nil {
			return
		}
		t.port.mu.Lock()
		defer t.port.mu.Unlock()
		if !t.port.closed {
			t.port.wg.Go(t.receiveUDP)
		}
	})
}

func (t *gossipTransport) close() {
	t.once.Do(func() { close(t.done) })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.carriers {
		c.stop()
	}
	clear(t.carriers)
	if t.udp != nil {
		t.udp.Close()
	}
}

func (t *gossipTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	addr, err := net.ResolveTCPAddr("tcp", t.port.addr)
	if err != nil {
		return nil, 0, structs.Errorf(structs.Invalid, "advertise address "+t.port.addr, "%w", err)
	}
	ip := addr.IP
	if ip == nil || ip.IsUnspecified() {
		return nil, 0, structs.Errorf(structs.Invalid, "advertise address "+t.port.addr, "is not one that others can dial")
	}
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return ip, addr.Port, nil
}

func (t *gossipTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (t *gossipTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if t.udp == nil || t.isStreamsOnly(a.Addr) {
		t.carry(b, a.Addr)
		if t.udp == nil {
			return time.Now(), nil
		}
		// By UDP as well: it may work again.
	}
	addr, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.udp.WriteTo(b, net.UDPAddrFromAddrPort(addr))
	return time.Now(), err
}

func (t *gossipTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *gossipTransport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *gossipTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a gossip stream. memberlist dials with its TCPTimeout to exchange states, and with less than a
// probe interval to ping a peer by TCP that did not answer by UDP: that dial's success says that only streams reach it.
func (t *gossipTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := contextWithTimeout(t.done, timeout)
	defer cancel()
	c, err := t.port.Dial(ctx, Gossip, a.Addr)
	if err == nil && timeout < memberStream {
		t.setStreamsOnly(a.Addr)
	}
	return c, err
}

// Shutdown ends gossip; it is memberlist's last call.
func (t *gossipTransport) Shutdown() error {
	t.close()
	return nil
}

func (t *gossipTransport) isStreamsOnly(addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, ok := t.streamsOnly[addr]
	if ok && time.Now().After(until) {
		delete(t.streamsOnly, addr)
		ok = false
	}
	return ok
}

func (t *gossipTransport) setStreamsOnly(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.streamsOnly) >= 4*maxCarriers {
		for a, until := range t.streamsOnly {
			if now.After(until) {
				delete(t.streamsOnly, a)
			}
		}
		if len(t.streamsOnly) >= 4*maxCarriers {
			return // UDP only, then; exchanges of the whole state repair what is lost
		}
	}
	t.streamsOnly[addr] = now.Add(streamsOnlyTime)
}

// deliver hands an accepted stream to memberlist.
func (t *gossipTransport) deliver(c *conn) {
	timer := time.NewTimer(handshakeTime)
	defer timer.Stop()
	select {
	case t.streams <- c:
	case <-t.done:
		c.Close()
	case <-timer.C: // nobody gossips here
		c.Close()
	}
}

func (t *gossipTransport) receiveUDP() {
	buf := make([]byte, maxPacket+1)
	for {
		n, from, err := t.udp.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			select {
			case <-t.done:
				return
			case <-time.After(10 * time.Millisecond): // such as ICMP errors on some systems
				continue
			}
		}
		if n == 0 {
			continue
		}
		t.hand(&memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now})
	}
}

// hand gives a packet to memberlist, or drops it when that is behind.
func (t *gossipTransport) hand(p *memberlist.Packet) {
	select {
	case t.packets <- p:
	default:
		t.port.quiet.warn("gossip is behind: dropped a packet", "from", p.From.String())
	}
}

// receive reads the packets of a carrier until it closes.
func (t *gossipTransport) receive(c *conn) {
	defer c.Close()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:1]); err != nil {
		return
	}
	name := make([]byte, size[0])
	if _, err := io.ReadFull(c, name); err != nil {
		return
	}
	from, err := netip.ParseAddrPort(string(name)) // never a name: a stranger could make us look it up
	if err != nil {
		return
	}
	udp := net.UDPAddrFromAddrPort(from)
	for {
		c.SetReadDeadline(time.Now().Add(2 * carrierIdle))
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		buf := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, buf); err != nil || len(buf) == 0 {
			return
		}
		t.setStreamsOnly(from.String())
		t.hand(&memberlist.Packet{Buf: buf, From: udp, Timestamp: time.Now()})
	}
}

// carry queues a packet for the carrier to addr, and starts one when there is none.
func (t *gossipTransport) carry(b []byte, addr string) {
	if len(b) > maxPacket {
		return
	}
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b)))
	framed = append(framed, b...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	c := t.carriers[addr]
	if c == nil {
		if len(t.carriers) >= maxCarriers {
			for old, one := range t.carriers { // any one: peers are gossiped to at random
				one.stop()
				delete(t.carriers, old)
				break
			}
		}
		c = &carrier{queue: make(chan []byte, carrierQueue), done: make(chan struct{})}
		t.carriers[addr] = c
		t.port.mu.Lock()
		if !t.port.closed {
			t.port.wg.Go(func() { t.runCarrier(c, addr) })
		}
		t.port.mu.Unlock()
	}
	select {
	case c.queue <- framed:
	default:
	}
}

// carrier is a connection that takes packets to one peer.
type carrier struct {
	queue chan []byte
	once  sync.Once
	done  chan struct{}
}

func (c *carrier) stop() { c.once.Do(func() { close(c.done) }) }

func (t *gossipTransport) runCarrier(c *carrier, addr string) {
	defer func() {
		t.mu.Lock()
		if t.carriers[addr] == c {
			delete(t.carriers, addr)
		}
		t.mu.Unlock()
	}()
	ctx, cancel := contextWithTimeout(c.done, handshakeTime)
	defer cancel()
	conn, err := t.port.Dial(ctx, Packets, addr)
	if err != nil {
		return // what is queued is lost, as it would be in UDP
	}
	defer conn.Close()
	ip, port, err := t.FinalAdvertiseAddr("", 0)
	if err != nil {
		return
	}
	name := net.JoinHostPort(ip.String(), strconv.Itoa(port))
	out := append([]byte{byte(len(name))}, name...)
	idle := time.NewTimer(carrierIdle)
	defer idle.Stop()
	for {
		if len(out) > 0 {
			conn.SetWriteDeadline(time.Now().Add(handshakeTime))
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
		select {
		case out = <-c.queue:
			idle.Reset(carrierIdle)
		case <-idle.C:
			return
		case <-c.done:
			return
		case <-t.done:
			return
		}
	}
}
