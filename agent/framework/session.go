package framework

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// session is one subscription, from SUBSCRIBED to the end of its stream.
type session struct {
	d       *Driver
	ctx     context.Context
	end     context.CancelCauseFunc
	server  string // URL of the leader
	stream  string // Mesos-Stream-Id
	first   Subscription
	body    io.ReadCloser
	read    *bufio.Reader
	beat    time.Duration // between heartbeats
	watch   *time.Timer   // ends the session when it fires
	begun   chan struct{} // closed when the scheduler knows of it
	said    uint64        // which of what the framework says of itself was in SUBSCRIBE
	calls   chan func()   // that nobody waits for
	turn    chan struct{} // holds one while the region is told what is wanted
	open    bool          // the region makes offers, as far as it was told; who has the turn may touch it
	mu      sync.Mutex
	offers  map[string]*offered // that are good
	leaving bool                // TEARDOWN is under way
}

// offered is an offer that is out.
type offered struct {
	*Offer
	held bool
}

var errTornDown = errors.New("the framework was torn down")

// refused is an answer that is not the one that was hoped for.
type refused struct {
	status   int
	location string
	why      string
}

func (r *refused) Error() string { return fmt.Sprintf("status %d: %s", r.status, r.why) }

// connect keeps a session until ctx ends or nothing can be done any more.
func (d *Driver) connect(ctx context.Context) {
	server, failed, hops, next := d.config.Servers[0], 0, 0, 1
	for ctx.Err() == nil {
		s, err := d.subscribe(ctx, server)
		served := err == nil
		if served {
			began := time.Now()
			err = d.serve(ctx, s)
			if time.Since(began) > lastPause { // servers that send a scheduler to each other are given pauses, too
				failed, hops = 0, 0
			}
			d.push(ctx, event{of: s, over: err})
			// The id that it was given goes into the next SUBSCRIBE, which without it would be that of another framework.
			select {
			case <-s.begun:
			case <-ctx.Done():
			}
		}
		var no *refused
		if errors.As(err, &no) && no.location != "" && hops < maxRedirects {
			if to, ok := redirect(server, no.location); ok {
				server, hops = to, hops+1
				continue
			}
		}
		if fatal := d.fatal(err, served); fatal != nil {
			d.push(ctx, event{fatal: fatal})
			return
		}
		failed, hops = failed+1, 0
		d.config.Log.Info("the framework is not subscribed", "framework", d.config.Name, "server", server, "err", err)
		server, next = d.config.Servers[next%len(d.config.Servers)], next+1
		pause.For(ctx, d.config.backoff(failed))
	}
}

// redirect returns the server that a Location names: only its host and port count.
func redirect(from, location string) (string, bool) {
	base, err := url.Parse(from)
	to, bad := url.Parse(location)
	if err != nil || bad != nil || to.Host == "" {
		return "", false
	}
	return base.Scheme + "://" + to.Host, true
}

// fatal returns the error with which Run ends, or nil when it helps to try again. served: there was a subscription, which a call ended that was
// refused: SUBSCRIBE may be taken nevertheless.
func (d *Driver) fatal(err error, served bool) error {
	object := "framework " + d.config.Name
	var e *structs.Error
	if errors.Is(err, errTornDown) || errors.As(err, &e) {
		return err
	}
	var no *refused
	if served || !errors.As(err, &no) {
		return nil
	}
	switch no.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return structs.Errorf(structs.Forbidden, object, "the region does not let it in: %s", no.why).Advise("set Principal and Token")
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge,
		http.StatusNotFound, http.StatusMethodNotAllowed:
		return structs.Errorf(structs.Invalid, object, "the region refuses its SUBSCRIBE (%d): %s", no.status, no.why)
	}
	return nil
}

// push gives the scheduler's goroutine an event. What a stream brought is dropped when its session ends; that it began and ended is not.
func (d *Driver) push(ctx context.Context, e event) {
	until := ctx.Done()
	if e.wire != nil {
		until = e.of.ctx.Done()
	}
	select {
	case d.events <- e:
	case <-until:
	}
}

// subscribe begins a session with one server. It returns when the first event is there.
func (d *Driver) subscribe(ctx context.Context, server string) (_ *session, err error) {
	s := &session{d: d, server: server, begun: make(chan struct{}), calls: make(chan func(), mostCalls), turn: make(chan struct{}, 1),
		offers: map[string]*offered{}}
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.watch = time.AfterFunc(firstWithin, func() { s.end(fmt.Errorf("%s does not answer", server)) })
	defer func() {
		if err != nil {
			s.close(err)
		}
	}()
	call, known := s.subscribeCall()
	response, err := s.post(s.ctx, call, true)
	if err != nil {
		return nil, s.cause(err)
	}
	s.body, s.stream = response.Body, response.Header.Get("Mesos-Stream-Id")
	s.read = bufio.NewReader(s.body)
	e, err := s.next()
	switch {
	case err != nil:
		return nil, s.cause(err)
	case e.Error != nil:
		return nil, d.refusal(e.Error.Message)
	case e.Subscribed == nil || e.Subscribed.FrameworkID.Value == "":
		return nil, errors.New("the first event is not SUBSCRIBED")
	}
	s.beat = usualBeat
	if x := e.Subscribed.HeartbeatInterval; x != nil && *x > 0 && *x < 1e6 {
		s.beat = time.Duration(*x * 1e9)
	}
	s.first = Subscription{Framework: e.Subscribed.FrameworkID.Value, Again: known, Leader: strings.SplitN(server, "://", 2)[1]}
	return s, nil
}

// refusal is what an ERROR event means: nothing that trying again would mend.
func (d *Driver) refusal(message string) error {
	d.mu.Lock()
	leaving := d.leaving
	d.mu.Unlock()
	if leaving && message == "Framework has been removed" {
		return errTornDown
	}
	kind := structs.Invalid
	switch message {
	case "Framework failed over", "Framework has been removed":
		kind = structs.Conflict
	}
	return structs.Errorf(kind, "framework "+d.config.Name, "the region says: %.1000s", message)
}

// subscribeCall is the SUBSCRIBE of a session that begins.
func (s *session) subscribeCall() (call *wire.Call, known bool) {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	s.said, s.open = d.said, !d.unwanting()
	u := d.about.wire(d.id, !s.open)
	return &wire.Call{Type: new(wire.CallSubscribe), FrameworkID: u.FrameworkInfo.ID, Subscribe: &wire.Subscribe{FrameworkInfo: u.FrameworkInfo,
		SuppressedRoles: u.SuppressedRoles, OfferConstraints: u.OfferConstraints}}, d.id != ""
}

// serve reads the stream of a session until it ends, and returns why when nothing of the session is left.
func (d *Driver) serve(ctx context.Context, s *session) error {
	d.config.Log.Info("the framework is subscribed", "framework", d.config.Name, "id", s.first.Framework, "server", s.server)
	s.watch.Reset(beatsMissed * s.beat)
	var work sync.WaitGroup
	for range callers {
		work.Go(s.carryOut)
	}
	work.Go(s.tend)
	d.push(ctx, event{of: s, subscribed: &s.first})
	err := s.follow()
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	s.close(err)
	d.mu.Lock()
	if d.now == s {
		d.now = nil
	}
	d.mu.Unlock()
	work.Wait()
	return err
}

// follow passes on what the stream brings.
func (s *session) follow() error {
	for {
		e, err := s.next()
		if err != nil {
			s.awaitTeardown()
			return s.cause(err)
		}
		s.watch.Reset(beatsMissed * s.beat)
		switch {
		case e.Error != nil:
			return s.d.refusal(e.Error.Message)
		case e.Type != nil && *e.Type == wire.EventHeartbeat:
		default:
			s.d.push(s.ctx, event{of: s, wire: e})
		}
	}
}

// awaitTeardown waits, when TEARDOWN is under way, for its answer: the stream ends before that. The watch ends the session if none comes.
func (s *session) awaitTeardown() {
	if s.isLeaving() {
		<-s.ctx.Done()
	}
}

func (s *session) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

func (s *session) next() (*wire.Event, error) {
	raw, err := wire.ReadRecord(s.read)
	if err != nil {
		return nil, err
	}
	e := &wire.Event{}
	return e, wire.Protobuf.Unmarshal(raw, e)
}

// cause prefers why the session was ended to what came of it.
func (s *session) cause(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}

func (s *session) close(err error) {
	s.watch.Stop()
	s.end(err)
	if s.body != nil {
		s.body.Close()
	}
}

// post sends a call. Of a stream the caller closes the body, else there is none.
func (s *session) post(ctx context.Context, call *wire.Call, stream bool) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server+"/api/v1/scheduler", bytes.NewReader(wire.Protobuf.Marshal(call)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", wire.Protobuf.ContentType())
	r.Header.Set("Accept", wire.Protobuf.ContentType())
	if s.stream != "" {
		r.Header.Set("Mesos-Stream-Id", s.stream)
	}
	if s.d.config.Token != "" {
		r.SetBasicAuth(s.d.config.Principal, s.d.config.Token)
	}
	response, err := s.d.http.Do(r)
	if err != nil {
		return nil, err
	}
	if stream && response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if !stream && response.StatusCode/100 == 2 {
		return response, nil
	}
	no := &refused{status: response.StatusCode, why: strings.TrimSpace(string(raw))}
	if response.StatusCode == http.StatusTemporaryRedirect {
		no.location = response.Header.Get("Location")
	}
	return nil, no
}

// call sends a call of the session. One that fails in a way that puts the session in doubt ends it: what was asked for is then either done
// or never, and reconciliation tells.
func (s *session) call(ctx context.Context, call *wire.Call) error {
	call.FrameworkID = &wire.ID{Value: s.first.Framework}
	both, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	_, err := s.post(both, call, false)
	if err == nil {
		return nil
	}
	what := "call " + call.Type.String()
	if *call.Type != wire.CallTeardown && s.isLeaving() {
		return structs.Errorf(structs.Unavailable, what, "the framework is being torn down: %w", err)
	}
	var no *refused
	switch {
	case errors.As(err, &no):
		switch no.status {
		case http.StatusTooManyRequests:
			return structs.Errorf(structs.Exhausted, what, "the region is busy: %s", no.why).Advise("try again later")
		case http.StatusRequestEntityTooLarge, http.StatusNotImplemented:
			return structs.Errorf(structs.Invalid, what, "%s", no.why)
		case http.StatusBadRequest:
			if *call.Type == wire.CallUpdateFramework { // what it says is wrong; of a stream that is not good any more its end tells
				return structs.Errorf(structs.Invalid, what, "%s", no.why)
			}
		}
		s.end(fmt.Errorf("%s: %w", what, err))
		if no.status < 500 { // beyond that the leader may not know itself what came of it
			return structs.Errorf(structs.Unavailable, what, "the subscription is not good any more: %s", no.why)
		}
	case ctx.Err() != nil && s.ctx.Err() == nil && *call.Type != wire.CallAccept && *call.Type != wire.CallUpdateFramework:
		// What was asked for may be asked for again, and only the caller gave up.
	default:
		s.end(fmt.Errorf("%s: %w", what, err))
	}
	return structs.Errorf(structs.Unknown, what, "it was not answered: %w", err)
}

// soon has a call made that the scheduler need not wait for. While there are too many of them it waits.
func (s *session) soon(call func()) {
	select {
	case s.calls <- call:
	case <-s.ctx.Done():
	}
}

// carryOut makes such calls, one after the other.
func (s *session) carryOut() {
	for {
		select {
		case call := <-s.calls:
			call()
		case <-s.ctx.Done():
			return
		}
	}
}

// acknowledge acknowledges what the scheduler took. What cannot be acknowledged now comes again.
func (s *session) acknowledge(call *wire.Call) {
	if err := s.call(s.ctx, call); err != nil {
		s.d.config.Log.Debug("an update is not acknowledged yet", "call", call.Type, "err", err)
	}
}

func (u *Update) acknowledgement() *wire.Call {
	return &wire.Call{Type: new(wire.CallAcknowledge),
		Acknowledge: &wire.Acknowledge{AgentID: wire.ID{Value: u.Node}, TaskID: wire.ID{Value: u.Task}, UUID: u.uuid}}
}

func (u *OperationUpdate) acknowledgement() *wire.Call {
	a := &wire.AckOperation{OperationID: wire.ID{Value: u.ID}, UUID: u.uuid}
	if u.Node != "" {
		a.AgentID = &wire.ID{Value: u.Node}
	}
	return &wire.Call{Type: new(wire.CallAcknowledgeOperationStatus), AckOperation: a}
}

// take notes offers that came.
func (s *session) take(all []*Offer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range all {
		s.offers[o.ID] = &offered{Offer: o}
	}
}

// give forgets an offer, and reports whether it was good and known.
func (s *session) give(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.offers[id] != nil
	delete(s.offers, id)
	return known
}

// leave forgets those of all that are good and not held, and returns them.
func (s *session) leave(all []*Offer) (left []wire.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range all {
		if x := s.offers[o.ID]; x != nil && !x.held {
			delete(s.offers, o.ID)
			left = append(left, wire.ID{Value: o.ID})
		}
	}
	return left
}

// decline gives offers back that were forgotten, when the framework had said so often what it wants. Calls overtake each other: what was wanted since then
// is told once more, since the region takes the later word for the newer one, and would offer nothing of these for refuse.
func (s *session) decline(ctx context.Context, refuse time.Duration, offers []wire.ID, wished uint64) error {
	defer func() {
		if s.d.wishes() != wished {
			s.d.poke()
		}
	}()
	return s.call(ctx, &wire.Call{Type: new(wire.CallDecline), Decline: &wire.Decline{OfferIDs: offers, Filters: seconds(refuse)}})
}
