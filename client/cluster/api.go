// Package cluster is the one place where a connection of the cluster is accepted or dialled. An agent has one Port: a TCP
// listener whose connections say with their first byte what they carry (Raft, RPC, a gossip stream, gossip packets), and
// a UDP socket beside it. See DESIGN.md for the bytes and the handshake.
package cluster

import (
	"context"
	"log/slog"
	"net"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
)

// Kind is what a connection carries: the first byte that its dialler sends.
type Kind byte

const (
	Raft    Kind = 0x01 // hashicorp/raft, after the handshake
	RPC     Kind = 0x02 // client/rpc, after the handshake
	Gossip  Kind = 0x03 // one memberlist stream, which encrypts itself
	Packets Kind = 0x04 // gossip packets of a peer that has no UDP
)

// Network is where the sockets of one host come from: System, or a host of a Mesh. Addresses are "host:port".
type Network interface {
	Listen(addr string) (net.Listener, error)
	ListenPacket(addr string) (net.PacketConn, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// System returns the network of this machine.
func System() Network { panic("soon") }

// Mesh is a network in memory for tests: hosts, and what is cut between them. It works inside synctest bubbles; make it
// inside the bubble.
type Mesh struct{}

// NewMesh returns a mesh without hosts.
func NewMesh() *Mesh { panic("soon") }

// Host returns the network of a host, which is named by its address without a port ("10.0.0.1"). Port 0 picks one.
func (m *Mesh) Host(ip string) Network { panic("soon") }

// Cut holds back everything between the two sets of hosts, in both directions, until Heal.
func (m *Mesh) Cut(a, b []string) {}

// CutOneWay holds back what from sends to to.
func (m *Mesh) CutOneWay(from, to []string) {}

// Heal ends every cut; what was held back in connections flows on.
func (m *Mesh) Heal() {}

// Crash closes every socket of a host at once, as kill -9 does: peers see resets.
func (m *Mesh) Crash(ip string) {}

// Keyring holds the gossip keys of an agent, the primary one first. It is safe for concurrent use and may be kept in a file.
type Keyring struct{}

// NewKeyring makes a keyring that is not kept. The first key is the primary one; no key at all is Invalid.
func NewKeyring(keys ...[]byte) (*Keyring, error) { panic("soon") }

// OpenKeyring reads the keyring kept at path, or makes it of the given keys (base64) when there is none.
func OpenKeyring(path string, keys ...string) (*Keyring, error) { panic("soon") }

func (k *Keyring) List() []string              { panic("soon") } // base64, primary first
func (k *Keyring) Install(key string) error    { panic("soon") }
func (k *Keyring) Use(key string) error        { panic("soon") }
func (k *Keyring) Remove(key string) error     { panic("soon") }
func (k *Keyring) Keys() [][]byte              { panic("soon") }
func (k *Keyring) ring() *memberlist.Keyring   { panic("soon") }
func (k *Keyring) Gossip() *memberlist.Keyring { return k.ring() }

// NewKey returns a new random key in base64.
func NewKey() string { panic("soon") }

// Config is what a Port needs.
type Config struct {
	Network   Network  // nil: System()
	Bind      string   // "host:port"; port 0 picks one
	Advertise string   // "host:port" that others dial; "": the bound one
	Region    string   // connections of another region are refused
	Keys      *Keyring // nil: nothing is proved (development), allowed on loopback only
	NoUDP     bool     // gossip packets travel in TCP connections
	Logger    *slog.Logger
}

// Port is the cluster port of an agent.
type Port struct{}

// Listen opens the port and starts to accept.
func Listen(c Config) (*Port, error) { panic("soon") }

// Addr returns the advertised address.
func (p *Port) Addr() string { panic("soon") }

// Listener returns the accepted connections of Raft or RPC, which have proved themselves.
func (p *Port) Listener(k Kind) net.Listener { panic("soon") }

// Dial opens a connection to the port at addr and proves itself.
func (p *Port) Dial(ctx context.Context, k Kind, addr string) (net.Conn, error) { panic("soon") }

// DialRPC is Dial of RPC, in the shape that rpc.NewPool takes.
func (p *Port) DialRPC(ctx context.Context, addr string) (net.Conn, error) {
	return p.Dial(ctx, RPC, addr)
}

// RaftLayer returns what raft.NetworkTransport needs.
func (p *Port) RaftLayer() raft.StreamLayer { panic("soon") }

// GossipTransport returns what memberlist needs. There is one.
func (p *Port) GossipTransport() memberlist.NodeAwareTransport { panic("soon") }

// Close closes the port and every connection that it accepted or dialled and waits for its goroutines.
func (p *Port) Close() error { panic("soon") }
