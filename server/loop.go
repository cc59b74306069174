package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	// placeChunk bounds the placements in one command, far below the cap of an entry.
	placeChunk = 512
	// placesInFlight bounds the commands whose outcome is awaited while the loop decides on.
	placesInFlight = 3
	// refusedPause is how long a job whose placement was refused waits: the feed brings what the decision did not know. It
	// doubles with each command in which everything of the job was refused, up to refusedLongest.
	refusedPause   = 50 * time.Millisecond
	refusedLongest = 5 * time.Second
)

// offerLoop is the door to the loop of the current term.
type offerLoop struct {
	mu      sync.Mutex
	current *loop
	changed chan struct{} // closed when current changes
	entries proposals     // where its decisions are committed

	steps, waits timing.Times // see Figures
}

// proposals commits commands, as consensus.Node does.
type proposals interface {
	Propose(ctx context.Context, key, actor string, cmd state.Command) (answer any, index uint64, err error)
}

// into returns where decisions are committed.
func (o *offerLoop) into() proposals {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.entries
}

func (o *offerLoop) set(l *loop) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.current = l
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// look returns the loop, or nil, and a channel that is closed when that is another one.
func (o *offerLoop) look() (*loop, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.current, o.changed
}

// get returns the loop, or that there is none here.
func (o *offerLoop) get() (*loop, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current == nil {
		return nil, noLoop()
	}
	return o.current, nil
}

func noLoop() error {
	return &structs.Error{Kind: structs.Unavailable, Op: opNotLeader, Why: "the offer loop does not run here"}
}

// loop hosts the allocator and the built-in frameworks for one term: what commits goes in, decisions come out and are
// committed, and what became of them goes in again. An outcome that is not known ends it, and it is built anew from the
// state.
//
// One goroutine runs it. mu is held while the allocator is used, for those who ask from outside.
type loop struct {
	server *Server
	log    *slog.Logger
	number uint64 // of the term

	mu        sync.Mutex
	allocator *allocator.Allocator

	jobs     map[string]*jobLoop
	stored   map[string]struct{} // those of jobs with persistent volumes
	dirty    map[string]struct{}
	wakes    *deadlines // by job name
	placing  map[structs.AllocID]uint64
	out      outbox
	answers  chan placed
	nudge    chan struct{} // holds one: the allocator was told something by others than the loop
	inFlight int
	slack    *slackReports
	subs     subscriptions // of external frameworks

	feed    *state.Feed  // of what commits
	batches chan arrival // of feed
	since   time.Time    // when the oldest batch came that nothing was decided on; zero: there is none

	changed   bool      // since tellAt was set
	tellAt    time.Time // when it is looked at why jobs wait; zero: when something has changed
	tellPause time.Duration
}

// arrival is what committed, and when it came here.
type arrival struct {
	*state.Batch
	at time.Time
}

// placed is what became of one Place command.
type placed struct {
	cmd    *state.Place
	answer *state.Placed
	err    error
}

// runLoop keeps a loop going until the term ends.
func (s *Server) runLoop(term context.Context) {
	for number := uint64(0); term.Err() == nil; number++ {
		if number > 0 { // the subscriptions of the last one are over, whatever the state says of them
			if err := s.cutOff(term); err != nil && term.Err() == nil {
				s.log.Warn("cannot record that frameworks must subscribe again", "err", err)
			}
		}
		l := &loop{server: s, log: s.log.With("part", "loop"), number: s.raft.Stats().Term<<16 + number,
			jobs: map[string]*jobLoop{}, stored: map[string]struct{}{}, dirty: map[string]struct{}{}, wakes: newDeadlines(),
			placing: map[structs.AllocID]uint64{}, out: newOutbox(), answers: make(chan placed, placesInFlight), slack: newSlackReports(),
			nudge: make(chan struct{}, 1), subs: newSubscriptions()}
		err := l.run(term)
		s.loop.set(nil)
		if term.Err() != nil {
			return
		}
		l.log.Warn("the offer loop is built anew from the state", "err", err)
		// After an outcome that is not known, the state must have whatever was committed.
		for term.Err() == nil {
			pause.For(term, 100*time.Millisecond)
			if _, err := s.raft.ReadIndex(term); err == nil {
				break
			}
		}
	}
}

func (l *loop) run(term context.Context) error {
	term, cancel := context.WithCancel(term)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	defer l.endSubscriptions()

	snap, feed := l.server.store.Subscribe(1 << 18)
	defer feed.Close()
	l.feed, l.batches = feed, make(chan arrival, 256)
	l.allocator = allocator.New(l.server.sharing(l.number))
	l.load(snap)
	l.server.loop.set(l)
	l.resettle() // the settings may have changed since

	lost := make(chan error, 1)
	helpers.Go(func() {
		for {
			next, err := feed.Next(term)
			if err != nil {
				lost <- err
				return
			}
			select {
			case l.batches <- arrival{next, time.Now()}:
			case <-term.Done():
				return
			}
		}
	})
	for {
		l.decide(term, &helpers)
		timer := time.NewTimer(l.sleep())
		select {
		case b := <-l.batches:
			l.take(b)
		case p := <-l.answers:
			if err := l.answered(p); err != nil {
				timer.Stop()
				return err
			}
		case err := <-lost:
			timer.Stop()
			return err
		case <-l.slack.news:
			l.takeSlack()
		case <-l.nudge:
		case <-timer.C:
		case <-term.Done():
			timer.Stop()
			return term.Err()
		}
		timer.Stop()
		// What else is there already is decided on together.
	more:
		for range 256 {
			select {
			case b := <-l.batches:
				l.take(b)
			case p := <-l.answers:
				if err := l.answered(p); err != nil {
					return err
				}
			default:
				break more
			}
		}
	}
}

// sleep returns how long nothing will happen by itself.
func (l *loop) sleep() time.Duration {
	l.mu.Lock()
	at, repeat := l.allocator.WakeAt().Std(), l.subs.repeats.next()
	l.mu.Unlock()
	for _, t := range [...]time.Time{l.wakes.next(), l.tellAt, repeat} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if at.IsZero() {
		return time.Hour
	}
	return max(time.Until(at), 0)
}

// decide looks at the jobs that changed, steps the allocator, and sends what came of both on its way.
func (l *loop) decide(term context.Context, helpers *sync.WaitGroup) {
	now := time.Now()
	for _, job := range l.wakes.ended(now) {
		l.dirty[string(job)] = struct{}{}
	}
	l.mu.Lock()
	l.sendAgain(now)
	l.lookAtJobs(now)
	for l.inFlight < placesInFlight {
		var decisions []allocator.Decision
		if len(l.out.next.Placements)+len(l.out.next.Accepts) == 0 { // otherwise an entry did not take all that was decided
			decisions = l.step(now)
		}
		for rest := decisions; len(rest) > 0; {
			n := 1
			switch d := rest[0]; {
			case d.Place != nil:
				n = together(rest)
				l.place(rest[:n])
			case d.Preempt != nil:
				l.preempt(d.Preempt)
			case d.Keep != nil:
				l.keep(d.Keep)
			case d.Hoard != nil:
				l.hoard(term, helpers, d.Hoard)
			default:
				l.offer(&d)
			}
			rest = rest[n:]
		}
		if !l.send(term, helpers) && len(decisions) == 0 {
			break
		}
	}
	l.tell(now)
	l.mu.Unlock()
}

// step has the allocator decide. The caller holds mu.
func (l *loop) step(now time.Time) []allocator.Decision {
	begun := time.Now()
	if !l.since.IsZero() {
		l.server.loop.waits.Took(begun.Sub(l.since))
		l.since = time.Time{}
	}
	decisions := l.allocator.Step(structs.At(now), placeChunk)
	l.server.loop.steps.Since(begun)
	return decisions
}

// together returns how many placements, from the first on, are of one gang; 1 when it is of none.
func together(decisions []allocator.Decision) int {
	n, gang := 1, decisions[0].Place.Gang
	for gang != "" && n < len(decisions) && decisions[n].Place != nil && decisions[n].Place.Gang == gang {
		n++
	}
	return n
}

// place turns a decision, or those of a gang, into placements of the next command.
func (l *loop) place(decisions []allocator.Decision) {
	placements := make([]*state.Placement, 0, len(decisions))
	for _, decision := range decisions {
		d := decision.Place
		job := l.jobs[d.Job]
		slot, ok := job.slot(d.Group, d.Slot.Index)
		if !ok {
			// The job does not want it any more; its request is on its way out.
			if err := l.allocator.Refuse(d.ID); err != nil {
				l.log.Error("a decision cannot be taken back", "job", d.Job, "err", err)
			}
			return
		}
		alloc := &structs.Allocation{
			ID: structs.AllocID(structs.NewID()), Framework: d.Framework, // role, priority and names are taken from job and node
			Job: d.Job, Version: job.version, Group: d.Group, Index: d.Slot.Index,
			Node: d.Node, Resources: d.Resources, Ports: d.Ports, Failures: slot.Failures, MaxRunDuration: d.MaxRun, Marks: d.Marks, Revocable: d.Revocable,
		}
		p := &state.Placement{Alloc: alloc, NodeIncarnation: d.Incarnation, Replaces: slot.Previous}
		if d.Gang != "" {
			p.Gang = decisions[0].Place.ID
		}
		placements = append(placements, p)
	}
	for i, p := range placements {
		l.placing[p.Alloc.ID] = decisions[i].Place.ID
		l.out.place(p)
	}
}

const takenBack = "taken back: what it ran on is used again by those who reserved it"

// preempt has the victims stopped, with the notice that their jobs give them. Their jobs ask for them again at once, and
// keep their place in the order.
func (l *loop) preempt(d *allocator.Preempt) {
	if d.Request == "" {
		for _, id := range d.Victims {
			l.out.preempt(id, takenBack)
		}
		for _, id := range d.Parts {
			l.out.takeBack(id, takenBack)
		}
		l.log.Info("revocable work is stopped: what it ran on is used again", "node", d.NodeName, "stopped", len(d.Victims), "in_part", len(d.Parts))
		return
	}
	for _, id := range d.Victims {
		l.out.preempt(id, fmt.Sprintf("preempted: job %q (%s) needs the room", d.Job, d.Priority))
	}
	if len(d.Victims) > 0 {
		l.log.Info("work makes room", "job", d.Job, "index", d.Slot.Index, "role", d.Role, "priority", d.Priority,
			"node", d.NodeName, "stopped", len(d.Victims))
	}
}

// keep notes that room is kept for a job that others overtook.
func (l *loop) keep(d *allocator.Keep) {
	start := "not known"
	if d.Known {
		start = d.Start.String()
	}
	l.log.Info("room is kept for work that others overtook", "job", d.Job, "role", d.Role, "priority", d.Priority,
		"node", d.NodeName, "nodes", max(1, d.Nodes), "starts_by", start)
}

// send proposes what was gathered, as much as an entry takes, and reports whether there was anything. Its outcome arrives
// in answers.
func (l *loop) send(term context.Context, helpers *sync.WaitGroup) bool {
	cmd := l.out.take(l.server.entryBytes / 2)
	if cmd == nil {
		return false
	}
	l.inFlight++
	helpers.Go(func() {
		p := placed{cmd: cmd}
		p.answer, p.err = l.propose(term, cmd)
		select {
		case l.answers <- p:
		case <-term.Done():
		}
	})
	return true
}

// propose commits a command. While it certainly did not happen, because the queue is full or the disk slow, it is tried
// again: building the loop anew would only add to the load. So it needs no key, and its answer need not be remembered.
func (l *loop) propose(term context.Context, cmd *state.Place) (*state.Placed, error) {
	for {
		answer, _, err := l.server.loop.into().Propose(term, "", "server "+l.server.config.Name, cmd)
		if err == nil {
			return answer.(*state.Placed), nil
		}
		var notLeader *consensus.NotLeader
		kind := structs.KindOf(err)
		if errors.As(err, &notLeader) || term.Err() != nil || kind != structs.Exhausted && kind != structs.Unavailable {
			return nil, err
		}
		pause.For(term, 50*time.Millisecond)
	}
}

// answered takes what became of a command. Placements that were done come through the feed.
func (l *loop) answered(p placed) error {
	l.inFlight--
	if p.err != nil {
		var notLeader *consensus.NotLeader
		if errors.As(p.err, &notLeader) {
			return p.err
		}
		return structs.Errorf(structs.KindOf(p.err), "offer loop", "the outcome of %d placements is not known: %w", len(p.cmd.Placements), p.err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.answered(p.cmd)
	refused := map[string]string{} // why, by job
	for i, r := range p.answer.Placements {
		alloc := p.cmd.Placements[i].Alloc
		if r.Refused == "" {
			if j := l.jobs[alloc.Job]; j != nil {
				j.refusals, j.refused = 0, ""
			}
			continue
		}
		l.log.Debug("placement refused", "job", alloc.Job, "group", alloc.Group, "index", alloc.Index, "node", alloc.Node,
			"refused", r.Refused, "why", r.Why)
		if decision, ok := l.placing[r.ID]; ok {
			delete(l.placing, r.ID)
			if err := l.allocator.Refuse(decision); err != nil && p.cmd.Placements[i].Gang == 0 { // a gang's first one took all back
				l.log.Error("a decision cannot be taken back", "job", alloc.Job, "err", err)
			}
		}
		refused[alloc.Job] = cmp.Or(r.Why, string(r.Refused))
	}
	for name, why := range refused {
		l.backOff(name, why)
	}
	l.accepted(p.cmd, p.answer)
	for _, r := range p.answer.Updates {
		l.log.Debug("update refused", "alloc", r.ID, "refused", r.Refused, "why", r.Why)
	}
	return nil
}
