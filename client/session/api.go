package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/proffer/proffer/structs"
)

// Method is the RPC stream method of a session.
const Method = "Node.Session"

// Stream is what a session talks over; *rpc.Stream is one.
type Stream interface {
	Send(v any) error
	Recv(into any) error
	Close() error
}

// Instant is a reading of Clock: time since an arbitrary start (the boot), which counts while the machine is suspended.
type Instant time.Duration

// Clock counts also while the machine is suspended.
type Clock interface{ Now() Instant }

// BootClock is CLOCK_BOOTTIME (Linux) or the nearest thing that the system has.
func BootClock() Clock { panic("soon") }

// Node is what the client implements: the session calls these one at a time, from its own goroutine. They should not block
// for long.
type Node interface {
	// Hello says who the node is and what it holds. The session fills in Version.
	Hello() *Hello
	// Welcome is called when a server took the node in; an error closes the session.
	Welcome(*Welcome) error
	// Observed returns the full observed state; it is called after Welcome, and after it the deltas of Client.Observe follow.
	Observed() []*structs.AllocUpdate
	// Desired brings what the region wants.
	Desired(*Desired)
	// Lease says until when the node holds its lease, on the session's Clock.
	Lease(until Instant)
	// Lost says that the session ended; the next one is tried by itself.
	Lost(err error)
}

// Config is what a Client needs.
type Config struct {
	Node    Node
	Servers func() []string                                        // candidates, best first; called before each try
	Dial    func(ctx context.Context, addr string) (Stream, error) // opens Method on a server
	Clock   Clock                                                  // nil: BootClock
	Batch   time.Duration                                          // how long deltas wait for company; 3 ms
	Logger  *slog.Logger
}

// Client keeps a node in session.
type Client struct{}

// New makes a client; Run starts it.
func New(c Config) *Client { panic("soon") }

// Run keeps a session with one of the servers until ctx ends. It returns ctx's error.
func (c *Client) Run(ctx context.Context) error { panic("soon") }

// Observe reports changed allocations; it never blocks. Several updates of one allocation are merged while they wait.
func (c *Client) Observe(updates ...*structs.AllocUpdate) {}

// Fingerprint reports a changed node; the newest one wins.
func (c *Client) Fingerprint(n *structs.Node) {}

// Leave says goodbye and waits until it was sent, or for ctx. Call it once the work is stopped.
func (c *Client) Leave(ctx context.Context) error { panic("soon") }

// Conn is the server's end of a session.
type Conn struct{}

// Accept reads the Hello of a new stream, within 10 s. Refuse or Welcome follows.
func Accept(ctx context.Context, s Stream) (*Conn, *Hello, error) { panic("soon") }

// Welcome takes the node in and starts the writer. Call it once.
func (c *Conn) Welcome(w *Welcome) error { panic("soon") }

// Refuse answers why not, and closes.
func (c *Conn) Refuse(err *structs.Error) error { panic("soon") }

// Send queues a message and never blocks. When the node is too far behind (1,024 messages) the session is cut off, and this
// and every later call returns why (Exhausted).
func (c *Conn) Send(m *FromServer) error { panic("soon") }

// Recv returns the next message of the node.
func (c *Conn) Recv() (*FromNode, error) { panic("soon") }

// Close says Bye with a reason (may be nil) and closes; what is queued is given up.
func (c *Conn) Close(reason *structs.Error) error { panic("soon") }
