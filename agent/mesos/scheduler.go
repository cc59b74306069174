package mesos

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Bounds of the scheduler API.
const (
	MaxCall        = 8 << 20          // bytes of a call
	slowRead       = 30 * time.Second // for the body of a call
	slowWrite      = 30 * time.Second // for an event
	heartbeatEvery = 15 * time.Second
	patience       = 60 * time.Second // for the work of a call
)

// Scheduler serves the scheduler API. Its fields are not changed once it serves.
type Scheduler struct {
	Region Region
	Name   string // of the region
	Zone   string // of it, in which this server is
	Log    *slog.Logger

	Counts Counts
}

// refusal is an answer that says why not.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// Caller is who sent a request, as the service that let it in knows it.
type Caller struct {
	Actor string
	// Principal is who proved to be one; empty: nobody had to.
	Principal string
	// Passed says that another server passed the request on, since it took this one for the leader.
	Passed bool
}

// is refuses who proved to be another principal than one that a framework has, if it has one.
func (c Caller) is(principal string) error {
	if c.Principal == "" || principal == "" || c.Principal == principal {
		return nil
	}
	return refuse(http.StatusBadRequest, "Authenticated principal '%.300s' does not match principal '%.300s' set in `FrameworkInfo`", c.Principal, principal)
}

// owns refuses who says of a framework that it is another principal's.
func (c Caller) owns(info *wire.FrameworkInfo) error { return c.is(wire.TextOf(info.Principal)) }

// Serve answers one request. The order of the checks is that of Mesos: clients see the first one that fails.
func (s *Scheduler) Serve(w http.ResponseWriter, r *http.Request, who Caller) {
	answer(w, r, s.serve(w, r, who))
}

// statusOf is what an error of the region is in this API.
func statusOf(err error) int {
	switch structs.KindOf(err) {
	case structs.NotFound, structs.Invalid:
		return http.StatusBadRequest
	case structs.Forbidden, structs.Conflict:
		return http.StatusForbidden
	case structs.Exhausted:
		return http.StatusTooManyRequests
	case structs.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}

// plain is the text of an error as Mesos would say it: without what it is about, unless nobody would know then what it is.
func plain(err error) string {
	var e *structs.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	said := structs.Error{Why: e.Why, Do: e.Do}
	if strings.HasPrefix(e.Why, "it ") || strings.HasPrefix(e.Why, "its ") {
		said.Object = e.Object
	}
	return said.Error()
}

func (s *Scheduler) serve(w http.ResponseWriter, r *http.Request, who Caller) error {
	elsewhere := s.elsewhere(w, r, who, s.Region.LeaderHTTP)
	if elsewhere != nil && elsewhere.status == http.StatusTemporaryRedirect {
		return elsewhere
	}
	call, err := readSchedulerCall(w, r)
	switch {
	case elsewhere != nil && (err != nil || *call.Type != wire.CallSubscribe):
		return elsewhere
	case err != nil:
		return err
	case elsewhere != nil: // a framework would only ask again
		if elsewhere = s.elsewhere(w, r, who, s.Region.NextLeaderHTTP); elsewhere != nil {
			return elsewhere
		}
	}
	s.Counts.Count(call)
	switch *call.Type {
	case wire.CallSubscribe:
		return s.subscribe(w, r, who, call)
	case wire.CallReconcileOperations: // as if its answer had a body
		if _, ok := acceptable(r); !ok {
			return notAcceptable()
		}
	}
	id, stream := structs.FrameworkID(call.FrameworkID.Value), r.Header.Get("Mesos-Stream-Id")
	if f := s.Region.Framework(id); f != nil {
		if err := who.is(f.Principal); err != nil {
			return err
		}
	}
	if err := s.Region.CheckSubscribed(id, stream); err != nil {
		s.Counts.dropped.Add(1)
		return err
	}
	s.Counts.Framework(id).call(call)
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if *call.Type == wire.CallUpdateFramework {
		return s.update(ctx, w, who, stream, call.Update)
	}
	if err := s.call(ctx, who, id, stream, call); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// elsewhere says where a caller has to go, or that there is nobody to go to; nil: this server leads.
func (s *Scheduler) elsewhere(w http.ResponseWriter, r *http.Request, who Caller, look func(context.Context) (string, bool, error)) *refusal {
	leader, self, err := look(r.Context())
	switch {
	case self:
		return nil
	case leader != "" && !who.Passed:
		w.Header().Set("Location", "//"+leader+r.URL.Path)
		return refuse(http.StatusTemporaryRedirect, "")
	case err != nil:
		s.Log.Debug("the leader does not say where it serves", "err", err)
	}
	return refuse(http.StatusServiceUnavailable, "No leader elected")
}

// readSchedulerCall reads a call that is well formed.
func readSchedulerCall(w http.ResponseWriter, r *http.Request) (*wire.Call, error) {
	if err := onlyPost(w, r); err != nil {
		return nil, err
	}
	encoding, err := bodyEncoding(r)
	if err != nil {
		return nil, err
	}
	call := &wire.Call{}
	if err := readCall(w, r, encoding, call); err != nil {
		return nil, err
	}
	return call, check(call)
}

// update changes what a framework said of itself. Its answer says what became of that: nothing is told of it in events.
func (s *Scheduler) update(ctx context.Context, w http.ResponseWriter, who Caller, stream string, c *wire.UpdateFramework) error {
	if err := who.owns(&c.FrameworkInfo); err != nil {
		return err
	}
	f, err := s.frameworkOf(&c.FrameworkInfo, c.SuppressedRoles, c.OfferConstraints)
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", plain(err))
	}
	if err := s.Region.UpdateFramework(ctx, who.Actor, stream, f); err != nil {
		return err
	}
	s.Log.Info("a framework changed what it says of itself", "framework", f.Name, "id", f.ID)
	w.WriteHeader(http.StatusOK)
	return nil
}

// bodyEncoding says how the body of a request is encoded.
func bodyEncoding(r *http.Request) (wire.Encoding, error) {
	given := r.Header.Get("Content-Type")
	if given == "" {
		return 0, refuse(http.StatusBadRequest, "Expecting 'Content-Type' to be present")
	}
	kind, _, _ := mime.ParseMediaType(given)
	switch kind {
	case wire.JSON.ContentType():
		return wire.JSON, nil
	case wire.Protobuf.ContentType():
		return wire.Protobuf, nil
	}
	return 0, refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of %s or %s", wire.JSON.ContentType(), wire.Protobuf.ContentType())
}

func notAcceptable() *refusal {
	return refuse(http.StatusNotAcceptable, "Expecting 'Accept' to allow %s or %s", wire.JSON.ContentType(), wire.Protobuf.ContentType())
}

// acceptable returns how to encode what is sent: JSON when both will do.
func acceptable(r *http.Request) (wire.Encoding, bool) {
	var all []string
	for _, line := range r.Header.Values("Accept") {
		all = append(all, strings.Split(line, ",")...)
	}
	if len(all) == 0 {
		return wire.JSON, true
	}
	takes := map[string]bool{}
	for _, one := range all {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(one))
		if err != nil {
			continue
		}
		q := params["q"]
		takes[kind] = takes[kind] || strings.Trim(q, "0.") != "" || q == ""
	}
	given := func(e wire.Encoding) bool {
		for _, kind := range []string{e.ContentType(), "application/*", "*/*"} {
			if takes, said := takes[kind]; said {
				return takes
			}
		}
		return false
	}
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		if given(e) {
			return e, true
		}
	}
	return 0, false
}

// readBody reads the body of a request, and unpacks it where it is said to be packed.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxCall { // before it is read
		return nil, tooLarge()
	}
	packed := strings.ToLower(r.Header.Get("Content-Encoding"))
	if packed != "" && packed != "identity" && packed != "gzip" {
		return nil, refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Encoding' of gzip, or none")
	}
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(slowRead))
	raw, err := unpacked(http.MaxBytesReader(w, r.Body, MaxCall), packed == "gzip")
	if err == nil { // else it holds for what the HTTP server reads of the rest
		rc.SetReadDeadline(time.Time{})
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge()
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "Failed to read body: %s", err)
	}
	return raw, nil
}

func tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "a call of more than %d bytes", MaxCall)
}

// unpacked reads all of a body, which may be packed: what it becomes has the same bound.
func unpacked(body io.Reader, packed bool) ([]byte, error) {
	if packed {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = io.LimitReader(z, MaxCall+1)
	}
	raw, err := io.ReadAll(body)
	if err == nil && len(raw) > MaxCall {
		err = &http.MaxBytesError{Limit: MaxCall}
	}
	return raw, err
}

// readCall reads the body of a request into call.
func readCall(w http.ResponseWriter, r *http.Request, encoding wire.Encoding, call any) error {
	raw, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := encoding.Unmarshal(raw, call); err != nil {
		return refuse(http.StatusBadRequest, "Failed to parse body into Call: %s", err)
	}
	return nil
}

// check refuses calls that say too little.
func check(c *wire.Call) error {
	if c.Type == nil {
		return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: Expecting 'type' to be present")
	}
	missing := func(what string) error {
		return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: Expecting '%s' to be present", what)
	}
	if *c.Type == wire.CallSubscribe {
		if c.Subscribe == nil {
			return missing("subscribe")
		}
		if own := c.Subscribe.FrameworkInfo.ID; idOf(c.FrameworkID) != idOf(own) {
			return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'")
		}
		return nil
	}
	if idOf(c.FrameworkID) == "" {
		return missing("framework_id")
	}
	var payload string
	switch *c.Type {
	case wire.CallUnknown:
		return refuse(http.StatusNotImplemented, "")
	case wire.CallAccept:
		payload = absent(c.Accept == nil, "accept")
	case wire.CallDecline:
		payload = absent(c.Decline == nil, "decline")
	case wire.CallAcceptInverseOffers:
		payload = absent(c.AcceptInverse == nil, "accept_inverse_offers")
	case wire.CallDeclineInverseOffers:
		payload = absent(c.DeclineInverse == nil, "decline_inverse_offers")
	case wire.CallKill:
		payload = absent(c.Kill == nil, "kill")
	case wire.CallShutdown:
		payload = absent(c.Shutdown == nil, "shutdown")
	case wire.CallAcknowledge:
		payload = absent(c.Acknowledge == nil, "acknowledge")
		if payload == "" && len(c.Acknowledge.UUID) != 16 {
			return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: 'uuid' has %d bytes and not 16", len(c.Acknowledge.UUID))
		}
	case wire.CallReconcile:
		payload = absent(c.Reconcile == nil, "reconcile")
	case wire.CallMessage:
		payload = absent(c.Message == nil, "message")
	case wire.CallAcknowledgeOperationStatus:
		payload = absent(c.AckOperation == nil, "acknowledge_operation_status")
		if payload == "" && len(c.AckOperation.UUID) != 16 {
			return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: 'uuid' has %d bytes and not 16", len(c.AckOperation.UUID))
		}
	case wire.CallReconcileOperations:
		payload = absent(c.ReconcileOps == nil, "reconcile_operations")
	case wire.CallRequest:
		payload = absent(c.Request == nil, "request")
	case wire.CallUpdateFramework:
		payload = absent(c.Update == nil, "update_framework")
		if payload == "" && idOf(c.FrameworkID) != idOf(c.Update.FrameworkInfo.ID) {
			return refuse(http.StatusBadRequest, "Failed to validate scheduler::Call: 'framework_id' differs from 'update_framework.framework_info.id'")
		}
	}
	if payload != "" {
		return missing(payload)
	}
	return nil
}

func absent(is bool, name string) string {
	if is {
		return name
	}
	return ""
}

func idOf(id *wire.ID) string {
	if id == nil {
		return ""
	}
	return id.Value
}

func offerIDs(ids []wire.ID) (out []structs.OfferID) {
	for _, id := range ids {
		out = append(out, structs.OfferID(id.Value))
	}
	return out
}

// call carries out a call that is no SUBSCRIBE. What fails because of what it names is told in events, or passed over: the call
// as such went well, and clients that are refused drop their subscription.
func (s *Scheduler) call(ctx context.Context, who Caller, id structs.FrameworkID, stream string, c *wire.Call) error {
	region := s.Region
	switch *c.Type {
	case wire.CallTeardown:
		return region.EndSubscription(ctx, who.Actor, id, stream)
	case wire.CallAccept:
		return s.accept(ctx, id, stream, c.Accept)
	case wire.CallDecline:
		return s.told(region.Decline(id, stream, offerIDs(c.Decline.OfferIDs), filterOf(c.Decline.Filters)))
	case wire.CallRevive:
		return s.told(region.Revive(id, stream, rolesOf(c.Revive)))
	case wire.CallSuppress:
		return s.told(region.Suppress(id, stream, rolesOf(c.Suppress)))
	case wire.CallAcceptInverseOffers:
		return s.told(region.AnswerInverse(id, stream, offerIDs(c.AcceptInverse.OfferIDs), true, filterOf(c.AcceptInverse.Filters)))
	case wire.CallDeclineInverseOffers:
		return s.told(region.AnswerInverse(id, stream, offerIDs(c.DeclineInverse.OfferIDs), false, filterOf(c.DeclineInverse.Filters)))
	case wire.CallKill:
		name := server.TaskName{Task: c.Kill.TaskID.Value, Node: structs.NodeID(idOf(c.Kill.AgentID))}
		if g := graceOf(c.Kill.KillPolicy); g != nil {
			name.Grace = new(structs.Duration(max(g.Nanoseconds, 0)))
		}
		return s.told(region.KillTask(ctx, id, stream, name))
	case wire.CallAcknowledge:
		return s.told(region.Acknowledge(ctx, id, stream, state.Acknowledged{Task: c.Acknowledge.TaskID.Value,
			Node: structs.NodeID(c.Acknowledge.AgentID.Value), UUID: c.Acknowledge.UUID}))
	case wire.CallReconcile:
		var names []server.TaskName
		for _, t := range c.Reconcile.Tasks {
			names = append(names, server.TaskName{Task: t.TaskID.Value, Node: structs.NodeID(idOf(t.AgentID))})
		}
		return s.told(region.Reconcile(id, stream, names))
	case wire.CallRequest:
		return s.told(region.Demand(id, stream, wantsOf(c.Request)))
	case wire.CallMessage:
		m := c.Message
		if len(m.Data) > server.MaxMessage {
			return refuse(http.StatusRequestEntityTooLarge, "a message of %d bytes, and %d are taken", len(m.Data), server.MaxMessage)
		}
		err := region.MessageExecutor(ctx, id, stream, server.ExecutorMessage{Node: structs.NodeID(m.AgentID.Value), Executor: m.ExecutorID.Value, Data: m.Data})
		if s.Counts.message(err); err != nil {
			s.Log.Debug("a message to an executor is lost", "framework", id, "executor", m.ExecutorID.Value, "err", err)
		}
		return nil
	case wire.CallShutdown:
		return s.told(region.StopExecutor(ctx, id, stream, structs.NodeID(c.Shutdown.AgentID.Value), c.Shutdown.ExecutorID.Value))
	case wire.CallAcknowledgeOperationStatus:
		a := c.AckOperation
		return s.told(region.AcknowledgeOperation(ctx, id, stream, state.AcknowledgedOperation{ID: a.OperationID.Value, UUID: a.UUID}))
	case wire.CallReconcileOperations:
		return s.told(region.ReconcileOperations(id, stream, asksFor(c.ReconcileOps)))
	}
	return refuse(http.StatusNotImplemented, "%s is not served yet", c.Type)
}

// told leaves of an error of the region only what says that nothing could be done at all.
func (s *Scheduler) told(err error) error {
	switch structs.KindOf(err) {
	case structs.Unavailable, structs.Unknown, structs.Exhausted, structs.Internal:
		return err
	}
	if err != nil {
		s.Log.Debug("a call of a framework came to nothing", "err", err)
	}
	return nil
}
