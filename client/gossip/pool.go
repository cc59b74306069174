// Package gossip finds the members of a region: servers and nodes in one memberlist pool. What it says is a hint. See
// DESIGN.md.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/structs"
)

const (
	forgetAfter   = 24 * time.Hour   // members that are gone are listed for so long
	reconnectTick = 5 * time.Second  // between tries to reach a member again that is gone
	pushPull      = 15 * time.Second // between exchanges of the whole state in a small pool; memberlist stretches it with size
	joinAtOnce    = 8                // addresses that Join contacts at the same time
)

// Config is what a pool needs.
type Config struct {
	Local     Member                        // Status and Addr are ignored
	Keys      *cluster.Keyring              // nil: plain text (development)
	Transport memberlist.NodeAwareTransport // of the cluster port
	Snapshot  string                        // file that remembers peers for the next start; "": none
	Logger    *slog.Logger

	sizes sizes // of segments; zero: the default
}

// Pool is the membership of one agent.
type Pool struct {
	config    Config
	log       *slog.Logger
	sizes     sizes
	queue     *memberlist.TransmitLimitedQueue
	disagreed chan string // address of a member that knows something else
	saving    chan struct{}
	greeting  chan struct{}
	quiet     quietLog

	population atomic.Int64 // alive, for size

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	announcing chan struct{} // has room for one announcement at a time

	mu          sync.Mutex
	list        *memberlist.Memberlist // another one after a move
	life        int                    // of the list
	splits      byte                   // log2 of the number of segments that the list goes by
	resizing    time.Time              // when that changes; zero: not
	growing     bool                   // it will be more
	moved       time.Time              // last move; zero: nobody is unheard any more
	lonely      loneliness
	local       Member
	run         uint32
	meta        []byte
	members     map[string]*record // the local one too
	alive       int
	notices     map[string]*notice
	digest      [2]uint64    // sum of the hashes of living members: servers, clients
	changed     [2]time.Time // last time that it changed; for servers also that a notice came
	exchanged   time.Time    // last exchange that a disagreement caused
	subscribers map[chan Event]struct{}
	leaving     bool
	peers       []string // of the snapshot
}

// Start makes a pool of one member and begins to gossip.
func Start(c Config) (*Pool, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pool{
		config:      c,
		log:         c.Logger,
		disagreed:   make(chan string, 1),
		saving:      make(chan struct{}, 1),
		greeting:    make(chan struct{}, 1),
		announcing:  make(chan struct{}, 1),
		sizes:       c.sizes.orDefault(),
		local:       c.Local,
		run:         rand.Uint32(),
		members:     map[string]*record{},
		notices:     map[string]*notice{},
		subscribers: map[chan Event]struct{}{},
		changed:     [2]time.Time{time.Now(), time.Now()},
	}
	if !structs.ValidName(c.Local.Name) {
		return nil, structs.Errorf(structs.Invalid, "member", "the name %q may not name an agent", c.Local.Name).
			Advise("use up to 128 letters, digits, '-', '_' and '.'")
	}
	var err error
	if p.meta, err = p.local.meta(p.run); err != nil {
		return nil, err
	}
	p.peers = readSnapshot(c.Snapshot, p.log)
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.queue = &memberlist.TransmitLimitedQueue{NumNodes: p.size, RetransmitMult: 4}
	list, err := p.create(0)
	if err != nil {
		p.stop()
		c.Transport.Shutdown()
		return nil, structs.Errorf(structs.Unavailable, "gossip", "cannot start: %w", err)
	}
	p.mu.Lock()
	p.list = list
	p.local.Addr = addressOf(p.list.LocalNode())
	p.mu.Unlock()
	p.wg.Go(p.exchange)
	p.wg.Go(p.reconnect)
	p.wg.Go(p.save)
	return p, nil
}

// create begins a memberlist of this member alone.
func (p *Pool) create(life int) (*memberlist.Memberlist, error) {
	d := delegate{p, life}
	m := memberlist.DefaultLANConfig()
	m.Name = p.config.Local.Name
	m.Transport = keptOpen{p.config.Transport}
	m.Keyring = p.config.Keys.Gossip()
	m.Delegate = d
	m.Events = d
	m.Alive = d
	m.Merge = d
	m.Conflict = d
	m.Ping = d
	m.Logger = newLogger(p.log)
	m.LogOutput = nil
	m.PushPullInterval = pushPull
	m.DeadNodeReclaimTime = time.Second // a failed member may come back at another address
	m.EnableCompression = false         // packets are small, and lzw costs more than it saves
	m.MsgpackUseNewTimeFormat = true
	return memberlist.Create(m)
}

// keptOpen is a transport that outlives a memberlist.
type keptOpen struct{ memberlist.NodeAwareTransport }

func (keptOpen) Shutdown() error { return nil }

func (p *Pool) memberlist() *memberlist.Memberlist {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list
}

// Join contacts the addresses ("host:port") and returns how many answered; an error when none did. Its own address is
// skipped.
func (p *Pool) Join(ctx context.Context, addrs []string) (int, error) {
	type result struct {
		n   int
		err error
	}
	var targets, problems []string
	for _, addr := range addrs {
		found, err := resolve(ctx, addr)
		if err != nil {
			problems = append(problems, err.Error())
		}
		targets = append(targets, found...)
	}
	slices.Sort(targets)
	targets = slices.Compact(targets)
	targets = slices.DeleteFunc(targets, func(a string) bool { return a == p.Local().Addr })
	results := make(chan result, len(targets))
	slots := make(chan struct{}, joinAtOnce)
	for _, addr := range targets {
		p.start(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				results <- result{0, ctx.Err()}
				return
			}
			n, err := p.memberlist().Join([]string{addr})
			results <- result{n, joinProblem(addr, err)}
		})
	}
	n := 0
	for range targets {
		var err error
		select {
		case r := <-results:
			n, err = n+r.n, r.err
		case <-ctx.Done():
			err = ctx.Err()
		case <-p.ctx.Done():
			err = p.ctx.Err()
		}
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	if n > 0 {
		p.mu.Lock()
		p.greetLocked(greetPeers)
		p.mu.Unlock()
		return n, nil
	}
	if len(problems) == 0 {
		return 0, structs.Errorf(structs.Invalid, "join", "no address other than our own was given")
	}
	slices.Sort(problems)
	return 0, structs.Errorf(structs.Unavailable, "join", "nobody answered as a member of region %q: %s", p.config.Local.Region,
		firstOf(slices.Compact(problems), 3)).Advise("check that an agent of this region with the same gossip key listens there")
}

// joinProblem says on one line why addr could not be joined. The library gives a list of several lines, even of one.
func joinProblem(addr string, err error) error {
	var list interface{ WrappedErrors() []error }
	if !errors.As(err, &list) {
		return err
	}
	var parts []string
	for _, one := range list.WrappedErrors() {
		text := strings.Join(strings.Fields(one.Error()), " ")
		text = strings.TrimPrefix(text, "failed to join "+addr+": ")
		parts = append(parts, strings.TrimPrefix(text, addr+": "))
	}
	return fmt.Errorf("%s: %s", addr, strings.Join(parts, "; "))
}

// firstOf joins the first n of a list, and says how many are left out.
func firstOf(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(list[:n], "; "), len(list)-n)
}

// start runs f in a goroutine that Close waits for; after Close it does nothing.
func (p *Pool) start(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.wg.Go(f)
	}
}

func resolve(ctx context.Context, addr string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "address "+addr, "%w", err)
	}
	if net.ParseIP(host) != nil {
		return []string{addr}, nil
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "address "+addr, "%w", err)
	}
	for i, ip := range ips {
		ips[i] = net.JoinHostPort(ip, port)
	}
	return ips, nil
}

// Peers returns the addresses of the peers that the snapshot of the last run remembers, for Join.
func (p *Pool) Peers() []string { return slices.Clone(p.peers) }

// Members returns all members that are known, also those that are gone, sorted by name. Servers know everybody; clients
// of a large region know the servers and their own segment.
func (p *Pool) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Member, 0, len(p.members))
	for name, r := range p.members {
		all = append(all, r.member(name))
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Servers returns the addresses of the living servers in random order, those of the same datacenter first.
func (p *Pool) Servers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var near, far []string
	for name, r := range p.members {
		if r.status != Alive || r.role() != RoleServer {
			continue
		}
		if m := r.member(name); m.Datacenter == p.local.Datacenter {
			near = append(near, m.Addr)
		} else {
			far = append(far, m.Addr)
		}
	}
	for _, list := range [][]string{near, far} {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return append(near, far...)
}

// Local returns this member.
func (p *Pool) Local() Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.local
	m.Status = Alive
	if p.leaving {
		m.Status = Left
	}
	return m
}

// Update changes what this member says of itself (Role, Datacenter, feature levels, Expect) and tells the pool.
func (p *Pool) Update(change func(*Member)) error {
	p.mu.Lock()
	next := p.local
	change(&next)
	next.Name, next.ID, next.Region, next.Addr, next.splits = p.local.Name, p.local.ID, p.local.Region, p.local.Addr, p.local.splits
	meta, err := next.meta(p.run)
	if err == nil {
		p.local, p.meta = next, meta
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.announce()
	return nil
}

// announce tells the pool of new meta. When nobody can be told in time, exchanges of the state bring it.
func (p *Pool) announce() {
	// memberlist reads its own record without a lock, which another announcement writes. It takes seconds where nobody listens.
	select {
	case p.announcing <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	defer func() { <-p.announcing }()
	if err := p.memberlist().UpdateNode(5 * time.Second); err != nil {
		p.log.Debug("gossip is slow to tell of a change", "err", err)
	}
}

// ForceLeave says on every member that one that failed or left does not come back. When it does all the same, it is alive
// again. NotFound when it is not known here, Conflict while it is alive.
func (p *Pool) ForceLeave(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.members[name]
	switch {
	case r == nil:
		return structs.Errorf(structs.NotFound, "member "+name, "is not known").Advise("ask a server: it knows every member")
	case r.status == Alive:
		return structs.Errorf(structs.Conflict, "member "+name, "is alive").Advise("stop its agent; it leaves by itself")
	}
	p.noteLocked(name, r.run(), 0, true)
	return nil
}

// Leave tells the pool that this member goes, and waits until that was told, or for ctx.
func (p *Pool) Leave(ctx context.Context) error {
	p.mu.Lock()
	p.leaving = true
	n := p.noteLocked(p.local.Name, p.run, 0, false)
	list := p.list              // no move from now on
	var told []*memberlist.Node // made here: those of memberlist change under whoever reads them
	for name, r := range p.members {
		if r.status == Alive && name != p.config.Local.Name {
			told = append(told, &memberlist.Node{Name: name, Addr: r.addr.Addr().AsSlice(), Port: r.addr.Port()})
		}
	}
	p.mu.Unlock()

	// Three members hear it by TCP: packets may all be lost.
	rand.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
	if len(told) > 3 {
		told = told[:3]
	}
	sent := make(chan struct{}, len(told))
	for _, node := range told {
		p.start(func() {
			list.SendReliable(node, n.message())
			sent <- struct{}{}
		})
	}
	timeout := 5 * time.Second
	if by, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(by), time.Millisecond)
	}
	err := list.Leave(timeout)
	for range told {
		select {
		case <-sent:
		case <-ctx.Done():
			err = ctx.Err()
		case <-p.ctx.Done():
			err = p.ctx.Err()
		}
	}
	if err != nil {
		return structs.Errorf(structs.Unknown, "gossip", "perhaps not every member heard that we leave: %w", err)
	}
	return nil
}

// Close stops gossiping without a word and waits for its goroutines. The transport is shut down too. It may be called
// again.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.stop()
	list := p.list // no move from now on
	p.mu.Unlock()
	p.config.Transport.Shutdown()
	err := list.Shutdown()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for ch := range p.subscribers {
		close(ch)
	}
	clear(p.subscribers)
	return err
}

// size takes no lock: the queue calls it with its own held, and is called with p.mu held.
func (p *Pool) size() int { return max(int(p.population.Load()), 1) }
