// Package gossip finds the members of a region: servers and nodes in one memberlist pool. What it says is a hint. See DESIGN.md.
package gossip

import (
	"context"
	"log/slog"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/client/cluster"
)

// Role is what a member is. An agent that is both says RoleServer.
type Role byte

const (
	RoleClient Role = 'c'
	RoleServer Role = 's'
)

// Status is what the pool thinks of a member.
type Status string

const (
	Alive  Status = "alive"
	Failed Status = "failed" // it stopped answering
	Left   Status = "left"   // it said goodbye, or an operator said it for it
)

// Member is what a member says of itself, and what the pool thinks of it.
type Member struct {
	Name       string
	ID         string // 32 hex digits; the Raft id of a server
	Role       Role
	Region     string
	Datacenter string
	Addr       string // host:port of its cluster port
	FeatureMin int
	FeatureMax int
	Expect     int // bootstrap_expect of a server; 0 when it has none or has bootstrapped
	Status     Status
}

// EventType says what happened to a member.
type EventType string

const (
	Joined  EventType = "join"
	Gone    EventType = "left"
	Broken  EventType = "failed"
	Changed EventType = "update"
)

// Event is one change of the pool.
type Event struct {
	Type   EventType
	Member Member
}

// Config is what a pool needs.
type Config struct {
	Local     Member                        // Status is ignored; Addr is that of the port
	Keys      *cluster.Keyring              // nil: plain text (development)
	Transport memberlist.NodeAwareTransport // of the cluster port
	Snapshot  string                        // file that remembers peers for Rejoin; "": none
	Logger    *slog.Logger
}

// Pool is the membership of one agent.
type Pool struct{}

// Start makes a pool of one member and begins to gossip.
func Start(c Config) (*Pool, error) { panic("soon") }

// Join contacts the addresses and returns how many answered; an error when none did.
func (p *Pool) Join(ctx context.Context, addrs []string) (int, error) { panic("soon") }

// Peers returns the addresses of the peers that the snapshot remembers, for Join.
func (p *Pool) Peers() []string { panic("soon") }

// Members returns all members that are known, also failed and left ones, sorted by name.
func (p *Pool) Members() []Member { panic("soon") }

// Servers returns the addresses of the living servers, in random order, those of the same datacenter first.
func (p *Pool) Servers() []string { panic("soon") }

// Local returns this member.
func (p *Pool) Local() Member { panic("soon") }

// Update changes what this member says of itself (Role, features, Expect) and tells the pool.
func (p *Pool) Update(change func(*Member)) error { panic("soon") }

// Subscribe returns the changes from now on, after a Joined event for every member that is alive. A subscriber that is
// more than 1,024 events behind gets a closed channel and subscribes again. cancel ends it.
func (p *Pool) Subscribe() (events <-chan Event, cancel func()) { panic("soon") }

// ForceLeave declares a failed member left, on every member. NotFound when nobody knows it, Conflict when it is alive.
func (p *Pool) ForceLeave(name string) error { panic("soon") }

// Leave tells the pool that this member goes.
func (p *Pool) Leave(ctx context.Context) error { panic("soon") }

// Close stops gossiping without a word and waits for its goroutines. The transport is closed too.
func (p *Pool) Close() error { panic("soon") }
