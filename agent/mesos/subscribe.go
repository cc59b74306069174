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
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// stream is the answer to a SUBSCRIBE.
type stream struct {
	records
	region Region
	leader string             // host:port of this server
	in     string             // name of the region
	zone   string             // of it, in which this server is
	of     *structs.Framework // as it was when it was last told something
	counts *FrameworkCounts   // nil: nobody counts
}

func (o *stream) send(e *wire.Event) error {
	o.counts.event(*e.Type)
	return o.records.send(e)
}

func (o *stream) add(e *wire.Event) error {
	o.counts.event(*e.Type)
	return o.records.add(e)
}

// records is an answer of events, one record each.
type records struct {
	to       http.ResponseWriter
	rc       *http.ResponseController
	slow     time.Duration // how long it may take to send what is written at once
	encoding wire.Encoding
	waiting  []byte // records that are not written yet, at most some more than atOnce
	framed   bool   // the client takes recordio by its name: the media type of a record is said apart
}

// atOnce is how many bytes of records are written with one call of the kernel.
const atOnce = 32 << 10

// subscribe serves a subscription until it ends, or the scheduler goes.
func (s *Scheduler) subscribe(w http.ResponseWriter, r *http.Request, who Caller, c *wire.Call) error {
	encoding, ok := acceptable(r)
	if !ok {
		return notAcceptable()
	}
	if r.Header.Get("Mesos-Stream-Id") != "" {
		return refuse(http.StatusBadRequest, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
	}
	info := &c.Subscribe.FrameworkInfo
	if err := who.owns(info); err != nil {
		return err
	}
	out := &stream{region: s.Region, in: s.Name, zone: s.Zone, records: records{to: w, rc: http.NewResponseController(w), slow: slowWrite, encoding: encoding}}
	f, err := s.frameworkOf(info, c.Subscribe.SuppressedRoles, c.Subscribe.OfferConstraints)
	if err != nil {
		return out.refused("", err)
	}
	if f.Principal == "" {
		f.Principal = who.Principal
	}
	sub, err := s.subscription(w, r, who, f)
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
	out.counts = s.Counts.framework(f.ID, func(id structs.FrameworkID) bool {
		f := s.Region.Framework(id)
		return f != nil && f.Ended == 0
	})
	out.counts.call(c)
	out.leader, _, _ = s.Region.LeaderHTTP(r.Context())
	s.Log.Info("a framework subscribed", "framework", f.Name, "id", f.ID, "again", sub.Again)
	err = out.run(r.Context(), sub)
	s.Log.Info("the subscription of a framework ended", "framework", f.Name, "id", f.ID, "err", err)
	return nil
}

// subscription subscribes a framework here, or says where: the leader may change at that moment, and a framework that is told so has nothing else
// to do than to ask again.
func (s *Scheduler) subscription(w http.ResponseWriter, r *http.Request, who Caller, f *structs.Framework) (sub *server.Subscription, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	for ; ; pause.For(ctx, 50*time.Millisecond) { // that it leads no more, a server may hear later than its log
		sub, err = s.Region.Subscribe(ctx, who.Actor, f)
		if kind := structs.KindOf(err); err == nil || kind != structs.Unavailable && kind != structs.Unknown {
			return sub, err
		}
		if elsewhere := s.elsewhere(w, r, who, s.Region.NextLeaderHTTP); elsewhere != nil {
			return nil, elsewhere
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

// refused answers a SUBSCRIBE that is well formed and not granted: the stream begins, says why, and ends.
func (o *stream) refused(connection string, why error) error {
	o.begin(connection)
	o.send(&wire.Event{Type: new(wire.EventError), Error: &wire.Error{Message: plain(why)}})
	return nil
}

func (o *records) begin(connection string) {
	h := o.to.Header()
	h.Set("Content-Type", o.encoding.ContentType())
	if o.framed {
		h.Set("Message-Content-Type", h.Get("Content-Type"))
		h.Set("Content-Type", RecordIO)
	}
	if connection != "" {
		h.Set("Mesos-Stream-Id", connection)
	}
	o.to.WriteHeader(http.StatusOK)
}

// send writes one event, whole, and those that were added before it.
func (o *records) send(e any) error {
	if err := o.add(e); err != nil {
		return err
	}
	return o.flush()
}

// add has an event written with those that follow it: at the latest by flush. In JSON each record is a chunk of HTTP of its own, as in
// Mesos: clients in use take a chunk for a record, and pass over what has two.
func (o *records) add(e any) error { return o.addRecord(o.encoding.Marshal(e)) }

// addRecord is add for an event that is encoded.
func (o *records) addRecord(record []byte) error {
	if o.waiting == nil {
		o.waiting = make([]byte, 0, len(record)+8)
	}
	if o.waiting = wire.AppendRecord(o.waiting, record); len(o.waiting) < atOnce && o.encoding != wire.JSON {
		return nil
	}
	return o.flush()
}

// flush writes what was added. Who does not take it in time is cut off: what waits for it is bounded.
func (o *records) flush() error {
	if len(o.waiting) == 0 {
		return nil
	}
	out := o.waiting
	o.waiting = nil // most streams have long pauses, and there are many
	o.rc.SetWriteDeadline(time.Now().Add(o.slow))
	if _, err := o.to.Write(out); err != nil {
		return err
	}
	return o.rc.Flush()
}

// run sends what there is to tell.
func (o *stream) run(ctx context.Context, sub *server.Subscription) error {
	o.begin(sub.Connection)
	interval := heartbeatEvery.Seconds()
	master := masterInfo(o.leader)
	if master != nil {
		master.Domain = DomainOf(o.in, o.zone)
	}
	err := o.send(&wire.Event{Type: new(wire.EventSubscribed), Subscribed: &wire.Subscribed{FrameworkID: wire.ID{Value: string(sub.Framework)},
		HeartbeatInterval: &interval, MasterInfo: master}})
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
			if f := o.region.Framework(sub.Framework); f != nil {
				o.of = f
			}
			err = o.sendAll(events)
		}
	}
	return err
}

// Bounds of the offers of one event. Clients refuse a record of more than wire.MaxRecord, and the ports of a node may be in thousands of ranges.
const (
	offersAtOnce = 256
	offersBytes  = wire.MaxRecord / 2
)

// sendAll sends events in their order; offers that follow each other go together.
func (o *stream) sendAll(events []server.FrameworkEvent) error {
	var offers []wire.Offer
	together := func() error {
		all := offers
		offers = nil
		return o.offer(all)
	}
	for i := range events {
		x := &events[i]
		if x.Offer != nil && x.Offer.On != nil {
			offer := offerOf(o.of, x.Offer)
			offer.Domain = DomainOf(o.in, x.Offer.On.Datacenter)
			if offers = append(offers, offer); len(offers) < offersAtOnce {
				continue
			}
		}
		if err := together(); err != nil {
			return err
		}
		if e := o.eventOf(x); e != nil {
			if err := o.add(e); err != nil {
				return err
			}
		}
	}
	if err := together(); err != nil {
		return err
	}
	return o.flush()
}

// offer tells of offers together, in as many events as that takes.
func (o *stream) offer(all []wire.Offer) error {
	if len(all) == 0 {
		return nil
	}
	record := o.encoding.Marshal(&wire.Event{Type: new(wire.EventOffers), Offers: &wire.Offers{Offers: all}})
	if half := len(all) / 2; half > 0 && len(record) > offersBytes {
		if err := o.offer(all[:half]); err != nil {
			return err
		}
		return o.offer(all[half:])
	}
	o.counts.event(wire.EventOffers)
	return o.addRecord(record)
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
	case x.Executor != nil:
		return &wire.Event{Type: new(wire.EventFailure), Failure: &wire.Failure{AgentID: &wire.ID{Value: string(x.Executor.Node)},
			ExecutorID: &wire.ID{Value: x.Executor.Executor}, Status: new(int32(x.Executor.Status))}}
	case x.Message != nil:
		return &wire.Event{Type: new(wire.EventMessage), Message: &wire.Message{AgentID: wire.ID{Value: string(x.Message.Node)},
			ExecutorID: wire.ID{Value: x.Message.Executor}, Data: x.Message.Data}}
	case x.Operation != nil:
		return operationEvent(x.Operation)
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
