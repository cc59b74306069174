package allocator

import (
	"cmp"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// Options of an allocator. The zero value is usable.
type Options struct {
	Sorter       string            // how what is directly below the region takes turns; default SorterDRF
	Policies     map[string]Policy // others that roles may name as their sorter, each by its name
	Exclude      []string          // resources that do not count in any share
	Seed         uint64            // of the draws of SorterRandom
	Term         uint64            // leadership term; part of offer ids, so that an id never comes twice
	OfferTimeout structs.Duration  // how long an offer is held unanswered; default DefaultOfferTimeout
	// Smallest bundles: an offer has all that one of them names, unless the terms of its framework say otherwise. Default:
	// 0.01 cores, or 32MiB of memory.
	Smallest    []*structs.QuotaAmount
	MostOffers  int              // that a framework may have outstanding; 0: no bound
	MostOffered structs.Milli    // part of any resource of the region that they may hold before it gets no more; 0: no bound
	Backoff     structs.Duration // the longest, see FirstBackoff; default DefaultBackoff, negative for none
	// IndexBytes bounds, roughly, what the indexes of shapes may occupy; the least recently used one goes first. Default 256MiB.
	IndexBytes int
	// MostPreempted bounds the victims that have not ended yet. Default: a tenth of all allocations, and at least ten.
	MostPreempted int
	// KeepAfter is how long a group of requests gets nothing, and is overtaken, before room is kept for it; negative: never is.
	// Default DefaultKeepAfter.
	KeepAfter structs.Duration
}

// Defaults of offers.
const (
	DefaultOfferTimeout = structs.Duration(30e9)
	DefaultRefuse       = structs.Duration(5e9) // of a filter, for those who say none
	DefaultBackoff      = structs.Duration(30e9)
	// ClaimCheck is how often it is looked at whether there is free room elsewhere for what claims room: what is being
	// stopped may never end.
	ClaimCheck = structs.Duration(20e9)
	MaxRefuse  = structs.Duration(365 * 24 * 3600e9) // longer filters are cut to it
)

// Allocator is the state machine. See the package comment.
type Allocator struct {
	options Options
	custom  []string          // names of kinds from firstCustom on
	made    map[string]string // the raw disks that disks of the nodes were made of, both as resources

	sorters  map[string]*sorter
	excluded []int   // kinds that do not count in shares
	counted  []int64 // scratch of shareOf
	delta    []int64 // scratch of raise
	turns    uint64  // slots and offers so far: the order of turns, and which draw of SorterRandom it is

	root         *account
	total        []int64
	totalChanged bool

	nodes    map[structs.NodeID]*node
	byOrd    []*node // tombstones stay until their number is given away
	freeOrds []int
	pool     *placement.Pool
	grown    []*node
	open     bitset // nodes that can be offered
	slackful bitset // nodes of which the slack can be offered

	allocs    map[structs.AllocID]*hold
	decisions map[uint64]*hold
	placing   map[string]map[int]*hold // decisions by request and index
	lastID    uint64

	kin          map[kinKey]*kin // gangs that have committed allocations
	stirred      []*kin
	ofBand       [bands]int   // committed allocations by the band that they asked for
	blockedBands [bands]int   // blocked shapes by the highest band
	reclaims     []*reclaim   // that are kept, oldest first
	found        []*hold      // scratch of victims
	changed      []int32      // ords of nodes that changed, oldest first, while there are any
	changedFrom  int          // position of changed[0]
	preempted    int          // victims of preemption that have not ended
	byCheck      heap[*hold]  // claims by when they are checked
	claimed      uint64       // claims that were made
	now          structs.Time // of the last Step
	fewer        bool         // victims ended: MostPreempted may leave room again
	ripe         []*node      // with claims to look at
	tries        uint64       // epochs that were given to tries, see markGoing
	epoch        uint64       // of what is beyond a guarantee or exempt: what may be preempted changed everywhere
	seenEpoch    uint64       // by those who wait

	requests    map[string]*request
	gangs       map[string]*gang
	asleep      map[*gang]bool // gangs that did not fit
	changes     uint64         // of nodes
	shapes      map[string]*shape
	blocked     map[*shape]bool
	throttled   map[*shape]bool     // blocked because of MostPreempted
	kept        []*kept             // oldest first
	keptChanged bool                // the books of a node where room is kept
	fresh       []*group            // whose last slot went or whose first came
	byLook      heap[*group]        // groups that wait, by when they may be due for room to be kept
	lastServed  [bands]structs.Time // when something was served in a band

	work     *placement.Work
	peered   map[string]int // shapes of each job that look at its peers
	wants    map[string]int // shapes by the marks that they must be beside
	starting []*request     // whose clocks the next Step starts
	byChange heap[*request] // with a clock that runs, by when what they ask for changes
	tick     uint64
	indexed  int // indexes that were made, less those that evict dropped
	evictAt  int // evict looks at them when there are so many

	frameworks map[structs.FrameworkID]*framework
	offering   []*client // those that want offers
	smallest   []floor   // of the options
	floors     []floor   // these, and those of the terms of all frameworks
	offers     map[structs.OfferID]*offer
	standing   offerLine // the same, oldest first
	byUntil    heap[*filter]
	lastOffer  uint64
	windows    []*node                      // with maintenance
	stale      []*node                      // whose inverse offers are to be looked at
	inverse    map[structs.OfferID]*inverse // that were not answered
	byAgain    heap[*inverse]               // that are asked again

	reservations map[structs.ReservationID]*structs.Reservation
	lenders      []*node          // where some of them are needed from a time on only
	reservedIn   map[string]int   // on how many nodes room is reserved for a role
	views        map[string]*view // by role, of those for which room is reserved
	spares       *view            // of nodes with slack, as what is revocable sees them; nil: there is none
	shrunk       []*node          // where revocable work may hold more than there is

	out []Decision // decided by inputs, handed out by the next Step
}

// New returns an empty allocator.
func New(options Options) *Allocator {
	options.offering()
	if options.IndexBytes <= 0 {
		options.IndexBytes = 256 << 20
	}
	if options.KeepAfter == 0 {
		options.KeepAfter = DefaultKeepAfter
	}
	a := &Allocator{options: options, made: map[string]string{}, sorters: sortersOf(options.Policies), pool: placement.NewPool(),
		nodes: map[structs.NodeID]*node{}, allocs: map[structs.AllocID]*hold{}, decisions: map[uint64]*hold{},
		placing: map[string]map[int]*hold{}, requests: map[string]*request{}, gangs: map[string]*gang{},
		kin: map[kinKey]*kin{}, asleep: map[*gang]bool{}, shapes: map[string]*shape{},
		blocked: map[*shape]bool{}, throttled: map[*shape]bool{}, work: placement.NewWork(), peered: map[string]int{}, wants: map[string]int{},
		frameworks: map[structs.FrameworkID]*framework{}, offers: map[structs.OfferID]*offer{},
		inverse:      map[structs.OfferID]*inverse{},
		reservations: map[structs.ReservationID]*structs.Reservation{}, reservedIn: map[string]int{}, views: map[string]*view{}}
	a.byAgain = heap[*inverse]{less: func(x, y *inverse) bool { return x.again < y.again }, at: func(x *inverse) *int { return &x.againAt }}
	a.byUntil = heap[*filter]{less: func(x, y *filter) bool { return x.until < y.until }, at: func(f *filter) *int { return &f.at }}
	a.byChange = heap[*request]{less: func(x, y *request) bool { return cmp.Or(cmp.Compare(x.change, y.change), cmp.Compare(x.ID, y.ID)) < 0 },
		at: func(r *request) *int { return &r.changeAt }}
	a.byCheck = heap[*hold]{less: func(x, y *hold) bool { return cmp.Or(cmp.Compare(x.check, y.check), cmp.Compare(x.seq, y.seq)) < 0 },
		at: func(h *hold) *int { return &h.checkAt }}
	a.byLook = heap[*group]{less: func(x, y *group) bool { return x.look < y.look }, at: func(g *group) *int { return &g.lookAt }}
	if a.sorters[options.Sorter] == nil {
		a.options.Sorter = SorterDRF
	}
	a.exclude(options.Exclude)
	a.smallest = floorsOf(options.Smallest)
	a.floors = a.smallest
	a.root = a.newRole("", "", nil)
	return a
}
