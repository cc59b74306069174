package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

const (
	welcomeTime = 10 * time.Second       // from the dial to Welcome
	firstPause  = 100 * time.Millisecond // before the next try, doubled with each failure, and drawn between 0 and it
	longPause   = 10 * time.Second       // at most
	lookAgain   = 100 * time.Millisecond // likewise, while no server is known
	byeTime     = 5 * time.Second        // for the server to end the session after Leave
	deltaSize   = 256                    // updates in one Observed that is not Full
)

// Node is what the client implements. The session calls these one at a time, from the goroutine of Run; they should not
// block for long.
type Node interface {
	// Hello says who the node is and what it holds. The session fills in Version.
	Hello() *Hello
	// Welcome is called when a server took the node in; an error closes the session.
	Welcome(*Welcome) error
	// Observed returns the full observed state. It is called after Welcome; the deltas of Client.Observe follow it.
	Observed() []*structs.AllocUpdate
	// Desired brings what the region wants.
	Desired(*Desired)
	// Items brings items that the node wants, as they are now.
	Items(items []*Item)
	// Lease says until when the node holds its lease, on the session's Clock.
	Lease(until Instant)
	// MarkedGone says that an operator marked the node gone. When the node takes it, no other session is tried.
	MarkedGone(*Gone) bool
	// Lost says that a session ended that Welcome began; the next one is tried by itself.
	Lost(err error)
}

// Config is what a Client needs.
type Config struct {
	Node    Node
	Servers func() []string                                        // candidates, best first; called before each try
	Dial    func(ctx context.Context, addr string) (Stream, error) // opens Method on a server; ctx is that of the stream
	Clock   Clock                                                  // nil: BootClock
	Batch   time.Duration                                          // between messages with deltas: what comes meanwhile travels together; 0: 3 ms
	Logger  *slog.Logger
}

// Client keeps a node in session with one of the servers.
type Client struct {
	config Config
	wake   chan struct{} // something to send

	mu      sync.Mutex
	updates map[structs.AllocID]*structs.AllocUpdate // to send, merged
	order   []structs.AllocID                        // of updates
	node    *structs.Node                            // to send
	leaving bool
	left    chan struct{}      // closed when the server heard it
	slack   *structs.Slack     // as last said; nil: nothing was
	early   bool               // a renewal is due for it
	purged  []structs.VolumeID // to send
	gone    bool               // the node was marked gone; of Run
	wants   map[Ref]bool       // what the node wants
	unsaid  map[Ref]bool       // what the server does not know of that: true to add, false to drop
}

// New makes a client; Run starts it.
func New(c Config) *Client {
	if c.Clock == nil {
		c.Clock = BootClock()
	}
	if c.Batch == 0 {
		c.Batch = 3 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{
		config:  c,
		wake:    make(chan struct{}, 1),
		updates: map[structs.AllocID]*structs.AllocUpdate{},
		left:    make(chan struct{}),
		wants:   map[Ref]bool{},
		unsaid:  map[Ref]bool{},
	}
}

// Run keeps a session with one of the servers until ctx ends (it returns ctx's error then), Leave went through (nil), or the session in
// which the node learnt that it is marked gone ended (nil). Call it once.
func (c *Client) Run(ctx context.Context) error {
	tried, failures := map[string]int{}, 0
	for number := 1; ; number++ {
		addr := choose(c.config.Servers(), tried, number)
		pause := lookAgain
		if addr != "" {
			welcomed, err := c.session(ctx, addr)
			select {
			case <-c.left:
				return nil
			default:
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if c.gone {
				return nil
			}
			if welcomed {
				failures = 0
				c.config.Logger.Warn("lost the session with the server", "server", addr, "err", err)
			} else {
				c.config.Logger.Info("no session with the server", "server", addr, "err", err)
			}
			pause = min(firstPause<<min(failures, 10), longPause)
			failures++
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// choose takes the candidate whose last try is the longest ago, the first of those that were not tried; tried has the
// numbers of the last tries.
func choose(servers []string, tried map[string]int, number int) (best string) {
	maps.DeleteFunc(tried, func(addr string, _ int) bool { return !slices.Contains(servers, addr) })
	for i, addr := range servers {
		if i == 0 || tried[addr] < tried[best] {
			best = addr
		}
	}
	if best != "" {
		tried[best] = number
	}
	return best
}

// session is one session from the dial to its end.
func (c *Client) session(ctx context.Context, addr string) (welcomed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(welcomeTime, func() {
		cancel(structs.Errorf(structs.Unavailable, "server "+addr, "no welcome within %v", welcomeTime))
	})
	defer late.Stop()
	stream, err := c.config.Dial(ctx, addr)
	if err != nil {
		return false, because(ctx, err)
	}
	// Close is safe to call twice, and ends blocked calls.
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	defer stream.Close()
	raiseLimit(stream)

	c.mu.Lock()
	c.node = nil // Hello has it; what changes from here on is sent after it
	c.mu.Unlock()
	hello := c.config.Node.Hello()
	hello.Version = Version
	if err := stream.Send(hello); err != nil {
		return false, because(ctx, err)
	}
	welcome := &Welcome{}
	if err := stream.Recv(welcome); err != nil {
		return false, because(ctx, err)
	}
	if welcome.Err != nil {
		c.gone = welcome.Gone != nil && c.config.Node.MarkedGone(welcome.Gone)
		return false, welcome.Err
	}
	if !late.Stop() || welcome.Lease <= 0 {
		return false, because(ctx, structs.Errorf(structs.Invalid, "server "+addr, "the welcome has no lease"))
	}
	if err := c.config.Node.Welcome(welcome); err != nil {
		return false, err
	}
	// What is observed from here on is sent after the full state. An update that is in both changes nothing.
	c.mu.Lock()
	clear(c.updates)
	c.order, c.purged = nil, nil
	clear(c.unsaid)
	for r := range c.wants {
		c.unsaid[r] = true
	}
	if c.leaving || c.node != nil || len(c.unsaid) > 0 {
		c.poke()
	}
	c.mu.Unlock()
	w := &writer{client: c, stream: stream, lease: welcome.Lease.Std(), sent: map[uint64]Instant{}}
	w.granted = c.config.Clock.Now()
	full := c.config.Node.Observed()

	var writing sync.WaitGroup
	writing.Go(func() { cancel(w.run(ctx, full)) })
	for err == nil {
		m := &FromServer{}
		if err = stream.Recv(m); err != nil {
			break
		}
		switch {
		case m.Desired != nil:
			c.config.Node.Desired(m.Desired)
		case m.Renewed != nil:
			if until, ok := w.renewed(m.Renewed.Seq); ok {
				c.config.Node.Lease(until)
			}
		case m.Items != nil:
			c.config.Node.Items(m.Items)
		case m.Gone != nil:
			c.gone = c.config.Node.MarkedGone(m.Gone)
		case m.Bye != nil:
			err = m.Bye
		}
	}
	if err == io.EOF && w.said() {
		close(c.left)
	}
	err = because(ctx, err)
	cancel(err)
	stream.Close()
	writing.Wait()
	c.config.Node.Lost(err)
	return true, err
}

// because prefers the reason why a session was ended here to what its stream says of that.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == io.EOF {
		return structs.Errorf(structs.Unavailable, "session", "the server ended it: %w", err)
	}
	return err
}

// Observe reports changed allocations; it never blocks, and may be called without a session: a session begins with the
// full state. Updates of one allocation are merged while they wait. The updates must not be changed any more.
func (c *Client) Observe(updates ...*structs.AllocUpdate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range updates {
		old := c.updates[u.ID]
		if old == nil {
			c.order = append(c.order, u.ID)
		}
		c.updates[u.ID] = merge(old, u)
	}
	c.poke()
}

// merge gives what a and then b say of an allocation.
func merge(a, b *structs.AllocUpdate) *structs.AllocUpdate {
	if a == nil || a.Incarnation < b.Incarnation {
		return b
	}
	if b.Incarnation < a.Incarnation {
		return a
	}
	both := *b
	both.Said = append(slices.Clip(a.Said), b.Said...)
	both.Tasks = make(map[string]*structs.TaskState, len(a.Tasks)+len(b.Tasks))
	for _, tasks := range []map[string]*structs.TaskState{a.Tasks, b.Tasks} {
		for name, t := range tasks {
			if t != nil {
				both.Tasks[name] = t
			}
		}
	}
	return &both
}

// Fingerprint reports a changed node; the newest one wins.
func (c *Client) Fingerprint(n *structs.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = n
	c.poke()
}

// Purged reports volumes whose data is gone. What a session loses is to be said again when the next one asks for it.
func (c *Client) Purged(ids []structs.VolumeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purged = append(c.purged, ids...)
	c.poke()
}

// Slack says how much is reserved on the node and not used. Less is said at once, more with the next renewal of the lease.
func (c *Client) Slack(s structs.Slack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.early = c.early || c.slack != nil && !c.slack.Within(s)
	c.slack = &s
	if c.early {
		c.poke()
	}
}

// Leave says goodbye and waits until a server heard it (Run returns then), or for ctx. Call it once the work is stopped.
func (c *Client) Leave(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	c.poke()
	c.mu.Unlock()
	select {
	case <-c.left:
		return nil
	case <-ctx.Done():
		return structs.Errorf(structs.Unavailable, "session", "no server heard that the node leaves: %w", ctx.Err()).
			Advise("the region takes the node for lost when its lease ends")
	}
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// writer is the sending half of a session.
type writer struct {
	client *Client
	stream Stream
	lease  time.Duration
	seq    uint64 // of Observed

	mu      sync.Mutex
	renewal uint64             // the last one sent
	sent    map[uint64]Instant // when the renewals that were not answered were sent
	granted Instant            // when the newest granted one was sent, or the session began
	leave   bool               // Leave was sent
}

// run sends until the session ends; the result is why.
func (w *writer) run(ctx context.Context, full []*structs.AllocUpdate) error {
	if err := w.observe(&Observed{Full: true, Updates: full}); err != nil {
		return err
	}
	if err := w.renew(); err != nil {
		return err
	}
	tick := time.NewTicker(w.lease / 3)
	defer tick.Stop()
	var company, bye <-chan time.Time
	var flushed time.Time // last
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := w.renew(); err != nil {
				return err
			}
		case <-w.client.wake:
			if company == nil { // at once after a quiet time
				company = time.After(w.client.config.Batch - time.Since(flushed))
			}
		case <-company:
			company, flushed = nil, time.Now()
			left, err := w.flush()
			if err != nil {
				return err
			}
			if left && bye == nil {
				bye = time.After(byeTime)
			}
		case <-bye:
			return errors.New("the server did not end the session after the node left")
		}
	}
}

// renew asks for the lease. When the server did not grant it for as long as it lasts, the session is worth nothing.
func (w *writer) renew() error {
	now := w.client.config.Clock.Now()
	w.mu.Lock()
	if now.Sub(w.granted) > w.lease {
		w.mu.Unlock()
		return structs.Errorf(structs.Unavailable, "session", "the server did not renew the lease for %v", w.lease)
	}
	w.renewal++
	m := &Renew{Seq: w.renewal}
	w.sent[m.Seq] = now // before it is sent
	w.mu.Unlock()
	w.client.mu.Lock()
	m.Slack, w.client.early = w.client.slack, false
	w.client.mu.Unlock()
	return w.stream.Send(&FromNode{Renew: m})
}

// renewed returns until when a granted renewal holds; false when it is no news.
func (w *writer) renewed(seq uint64) (until Instant, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.sent[seq]
	if !ok {
		return 0, false
	}
	for s := range w.sent {
		if s <= seq {
			delete(w.sent, s)
		}
	}
	w.granted = at
	return at.Add(w.lease), true
}

// flush sends what waits; left says that Leave was sent.
func (w *writer) flush() (left bool, err error) {
	c := w.client
	c.mu.Lock()
	node, leaving, early := c.node, c.leaving, c.early
	updates := make([]*structs.AllocUpdate, 0, len(c.order))
	for _, id := range c.order {
		updates = append(updates, c.updates[id])
	}
	purged, wants := c.purged, c.wanted()
	c.node, c.order, c.purged = nil, nil, nil
	clear(c.updates)
	c.mu.Unlock()
	if early {
		if err := w.renew(); err != nil {
			return false, err
		}
	}
	if node != nil {
		if err := w.stream.Send(&FromNode{Node: node}); err != nil {
			return false, err
		}
	}
	for some := range slices.Chunk(updates, deltaSize) {
		if err := w.observe(&Observed{Updates: some}); err != nil {
			return false, err
		}
	}
	if len(purged) > 0 {
		if err := w.stream.Send(&FromNode{Purged: purged}); err != nil {
			return false, err
		}
	}
	if wants != nil {
		if err := w.stream.Send(&FromNode{Wants: wants}); err != nil {
			return false, err
		}
	}
	if !leaving || w.leave {
		return w.leave, nil
	}
	if err := w.stream.Send(&FromNode{Leave: true}); err != nil {
		return false, err
	}
	w.mu.Lock()
	w.leave = true
	w.mu.Unlock()
	return true, nil
}

func (w *writer) said() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leave
}

func (w *writer) observe(o *Observed) error {
	w.seq++
	o.Seq = w.seq
	return w.stream.Send(&FromNode{Observed: o})
}
