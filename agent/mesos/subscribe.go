package mesos

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// stream is the answer to a SUBSCRIBE.
type stream struct {
	to       http.ResponseWriter
	rc       *http.ResponseController
	slow     time.Duration // how long it may take to send one event
	encoding wire.Encoding
	leader   string // host:port of this server
	of       *structs.Framework
}

// subscribe serves a subscription until it ends, or the scheduler goes.
func (s *Scheduler) subscribe(w http.ResponseWriter, r *http.Request, who Caller, c *wire.Call) error {
	encoding, ok := acceptable(r)
	if !ok {
		return refuse(http.StatusNotAcceptable, "Expecting 'Accept' to allow %s or %s", wire.JSON.ContentType(), wire.Protobuf.ContentType())
	}
	if r.Header.Get("Mesos-Stream-Id") != "" {
		return refuse(http.StatusBadRequest, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
	}
	info := &c.Subscribe.FrameworkInfo
	if who.Principal != "" && info.Principal != nil && *info.Principal != who.Principal {
		return refuse(http.StatusBadRequest, "Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", who.Principal, *info.Principal)
	}
	out := &stream{to: w, rc: http.NewResponseController(w), slow: slowWrite, encoding: encoding}
	f, err := frameworkOf(info, c.Subscribe.SuppressedRoles, c.Subscribe.OfferConstraints)
	if err != nil {
		return out.refused("", err)
	}
	if f.Principal == "" {
		f.Principal = who.Principal
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	sub, err := s.Region.Subscribe(ctx, who.Actor, f)
	cancel()
	if err != nil {
		switch structs.KindOf(err) {
		case structs.Invalid, structs.Forbidden, structs.Conflict, structs.NotFound:
			return out.refused("", err)
		}
		return err
	}
	defer sub.Close()
	f.ID = sub.Framework
	out.of = f
	out.leader, _, _ = s.Region.LeaderHTTP(r.Context())
	s.Log.Info("a framework subscribed", "framework", f.Name, "id", f.ID, "again", sub.Again)
	err = out.run(r.Context(), sub)
	s.Log.Info("the subscription of a framework ended", "framework", f.Name, "id", f.ID, "err", err)
	return nil
}

// refused answers a SUBSCRIBE that is well formed and not granted: the stream begins, says why, and ends.
func (o *stream) refused(connection string, why error) error {
	o.begin(connection)
	o.send(&wire.Event{Type: new(wire.EventError), Error: &wire.Error{Message: plain(why)}})
	return nil
}

func (o *stream) begin(connection string) {
	h := o.to.Header()
	h.Set("Content-Type", o.encoding.ContentType())
	if connection != "" {
		h.Set("Mesos-Stream-Id", connection)
	}
	o.to.WriteHeader(http.StatusOK)
}

// send writes one event, whole. A scheduler that does not take it in time is cut off: what waits for it is bounded.
func (o *stream) send(e *wire.Event) error {
	record := o.encoding.Marshal(e)
	o.rc.SetWriteDeadline(time.Now().Add(o.slow))
	if _, err := o.to.Write(wire.AppendRecord(make([]byte, 0, len(record)+8), record)); err != nil {
		return err
	}
	return o.rc.Flush()
}

// run sends what there is to tell.
func (o *stream) run(ctx context.Context, sub *server.Subscription) error {
	o.begin(sub.Connection)
	interval := heartbeatEvery.Seconds()
	err := o.send(&wire.Event{Type: new(wire.EventSubscribed), Subscribed: &wire.Subscribed{FrameworkID: wire.ID{Value: string(sub.Framework)},
		HeartbeatInterval: &interval, MasterInfo: masterInfo(o.leader)}})
	beat := &wire.Event{Type: new(wire.EventHeartbeat)}
	if err == nil {
		err = o.send(beat)
	}
	next := time.Now().Add(heartbeatEvery)
	for err == nil {
		waiting, cancel := context.WithDeadline(ctx, next)
		events, failed := sub.Next(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(failed, context.DeadlineExceeded):
			err = o.send(beat)
			next = time.Now().Add(heartbeatEvery)
		case failed != nil:
			if structs.KindOf(failed) == structs.Conflict {
				o.send(&wire.Event{Type: new(wire.EventError), Error: &wire.Error{Message: plain(failed)}})
			}
			return failed
		default:
			err = o.sendAll(events)
		}
	}
	return err
}

// offersAtOnce bounds the offers of one event, far below the size of a record that clients take.
const offersAtOnce = 256

// sendAll sends events in their order; offers that follow each other go together.
func (o *stream) sendAll(events []server.FrameworkEvent) error {
	var offers []wire.Offer
	flush := func() error {
		if len(offers) == 0 {
			return nil
		}
		e := &wire.Event{Type: new(wire.EventOffers), Offers: &wire.Offers{Offers: offers}}
		offers = nil
		return o.send(e)
	}
	for i := range events {
		x := &events[i]
		if x.Offer != nil && x.Offer.On != nil {
			if offers = append(offers, offerOf(o.of, x.Offer)); len(offers) < offersAtOnce {
				continue
			}
		}
		if err := flush(); err != nil {
			return err
		}
		if e := o.eventOf(x); e != nil {
			if err := o.send(e); err != nil {
				return err
			}
		}
	}
	return flush()
}

// eventOf returns the event for what is no offer, or nil.
func (o *stream) eventOf(x *server.FrameworkEvent) *wire.Event {
	switch {
	case x.Rescind != "":
		return &wire.Event{Type: new(wire.EventRescind), Rescind: &wire.Rescind{OfferID: wire.ID{Value: string(x.Rescind)}}}
	case x.RescindInverse != "":
		return &wire.Event{Type: new(wire.EventRescindInverseOffer), RescindInverse: &wire.RescindInverse{OfferID: wire.ID{Value: string(x.RescindInverse)}}}
	case x.Inverse != nil:
		return &wire.Event{Type: new(wire.EventInverseOffers), InverseOffers: &wire.InverseOffers{InverseOffers: []wire.InverseOffer{inverseOf(x.Inverse)}}}
	case x.Update != nil:
		return &wire.Event{Type: new(wire.EventUpdate), Update: &wire.Update{Status: statusFrom(o.of, x.Update)}}
	case x.Lost != "":
		return &wire.Event{Type: new(wire.EventFailure), Failure: &wire.Failure{AgentID: &wire.ID{Value: string(x.Lost)}}}
	}
	return nil
}

// masterInfo says where this server is, if it can be said so.
func masterInfo(leader string) *wire.MasterInfo {
	host, port, err := net.SplitHostPort(leader)
	addr, bad := netip.ParseAddr(host)
	number, wrong := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || wrong != nil {
		return nil
	}
	m := &wire.MasterInfo{ID: leader, Port: uint32(number), Hostname: &host, Address: &wire.Address{Hostname: &host, IP: &host, Port: int32(number)}}
	if addr = addr.Unmap(); addr.Is4() {
		raw := addr.As4()
		m.IP = binary.LittleEndian.Uint32(raw[:]) // in the order of the network, as it lies in memory
	}
	return m
}
