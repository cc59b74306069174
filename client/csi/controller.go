package csi

import (
	"cmp"
	"context"
	"sync"

	"github.com/proffer/proffer/client/grpc"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/structs"
)

// Method is the RPC by which the leader has a node ask the controller of a plugin that runs there.
const Method = "Node.Storage"

// Order is one call to a controller. All of them may be repeated.
type Order struct {
	Do      Deed
	Volume  *structs.Volume // with its secrets
	NodeID  string          // as the storage calls it, of Attach and Detach
	Node    structs.NodeID  // likewise
	Number  uint64          // of a volume and node: an order with a lower one than was seen is out of date
	Size    structs.Bytes   // of Make and Grow
	Context map[string]string
	From    []structs.Segments // of Make: where it is to be reached from; empty: wherever the plugin likes
}

// Deed is what a controller is asked for.
type Deed string

const (
	Make   Deed = "make"
	Check  Deed = "check" // that the storage has it, and that it can be used as the volume says
	Remove Deed = "remove"
	Attach Deed = "attach"
	Detach Deed = "detach"
	Grow   Deed = "grow"
)

// Answer is what a controller said.
type Answer struct {
	External string
	Context  map[string]string // of the volume with Make, of its publishing with Attach
	Capacity structs.Bytes
	Topology []structs.Segments
	// None is why the storage has no such disk, and will have none; of Make, for one that is made of a raw disk. It is no error, which could be
	// that of the call: then nobody knows what the storage has.
	None string
}

// Serve takes orders of the leader.
func Serve(s *rpc.Server, p *Plugins) {
	rpc.Handle(s, Method, func(ctx context.Context, o *Order) (*Answer, error) {
		if o.Volume == nil || o.Volume.CSI == nil {
			return nil, structs.Errorf(structs.Invalid, "storage", "there is no volume of a plugin")
		}
		return p.Controller(ctx, o)
	})
}

// orders keeps one call at a time to a volume, and late ones of an earlier leader away.
type orders struct {
	turns flight.Turns // by volume

	mu   sync.Mutex
	seen map[orderKey]uint64
}

type orderKey struct {
	volume structs.VolumeID
	node   structs.NodeID
}

// mostSeen bounds the numbers that are remembered; the oldest orders are long over when there are more.
const mostSeen = 100_000

// begin waits until nothing else is asked about the volume. The caller calls end.
func (o *orders) begin(ctx context.Context, x *Order) (end func(), err error) {
	end, err = o.turns.Take(ctx, string(x.Volume.ID))
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "volume "+x.Volume.Name, "its plugin has not answered an earlier call yet")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	key := orderKey{x.Volume.ID, x.Node}
	if x.Number < o.seen[key] {
		end()
		return nil, structs.Errorf(structs.Conflict, "volume "+x.Volume.Name, "the order is out of date")
	}
	if o.seen == nil || len(o.seen) >= mostSeen {
		o.seen = map[orderKey]uint64{}
	}
	if x.Number > 0 {
		o.seen[key] = x.Number
	}
	return end, nil
}

// Controller carries out an order.
func (p *Plugins) Controller(ctx context.Context, o *Order) (*Answer, error) {
	v, c := o.Volume, o.Volume.CSI
	s, err := p.serving(c.Plugin, false)
	if err != nil {
		return nil, err
	}
	end, err := p.orders.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	defer end()
	a := &Answer{}
	secrets := c.SecretsOf(structs.ControllerCall)
	var m message
	switch o.Do {
	case Make:
		m.text(1, "proffer-"+string(v.ID))
		m.bytes(2, capacity(o.Size))
		m.bytes(3, use(v.Access, c))
		m.texts(4, c.Parameters)
		m.texts(5, secrets)
		if len(o.From) > 0 {
			m.bytes(7, from(o.From))
		}
		raw, err := s.call(ctx, "Controller/CreateVolume", m)
		if v.MadeDisk() && (structs.KindOf(err) == structs.Invalid || grpc.Code(err) == grpc.ResourceExhausted) {
			return &Answer{None: structs.AsError(err).Error()}, nil
		}
		if err != nil {
			return nil, err
		}
		return a, made(raw, a)
	case Check:
		m.text(1, c.External)
		m.texts(2, c.Context)
		m.bytes(3, use(v.Access, c))
		m.texts(5, secrets)
		raw, err := s.call(ctx, "Controller/ValidateVolumeCapabilities", m)
		switch {
		case grpc.Code(err) == grpc.Unimplemented: // who does not say is believed, as one without a controller is
			return a, nil
		case structs.KindOf(err) == structs.NotFound:
			return nil, structs.Errorf(structs.NotFound, "volume "+v.Name, "plugin %q has no volume %q", c.Plugin, c.External).
				Advise("if that is no name of the storage, delete the volume with -forget and register it again")
		case err != nil:
			return nil, err
		}
		return a, confirmed(raw, v)
	case Remove:
		m.text(1, c.External)
		m.texts(2, secrets)
		_, err := s.call(ctx, "Controller/DeleteVolume", m)
		return a, unless(err, structs.NotFound)
	case Attach:
		m.text(1, c.External)
		m.text(2, o.NodeID)
		m.bytes(3, use(v.Access, c))
		m.texts(5, secrets)
		m.texts(6, c.Context)
		raw, err := s.call(ctx, "Controller/ControllerPublishVolume", m)
		if err != nil {
			return nil, err
		}
		err = each(raw, func(field uint64, _ int64, b []byte) error {
			if field != 1 {
				return nil
			}
			return pair(b, &a.Context)
		})
		return a, cmp.Or(err, said(a))
	case Detach:
		m.text(1, c.External)
		m.text(2, o.NodeID)
		m.texts(3, secrets)
		_, err := s.call(ctx, "Controller/ControllerUnpublishVolume", m)
		return a, unless(err, structs.NotFound)
	case Grow:
		m.text(1, c.External)
		m.bytes(2, capacity(o.Size))
		m.texts(3, secrets)
		m.bytes(4, use(v.Access, c))
		raw, err := s.call(ctx, "Controller/ControllerExpandVolume", m)
		if err != nil {
			return nil, err
		}
		return a, each(raw, func(field uint64, n int64, _ []byte) error {
			if field == 1 {
				a.Capacity = structs.Bytes(n)
			}
			return nil
		})
	}
	return nil, structs.Errorf(structs.Invalid, "volume "+v.Name, "%q is nothing that a controller does", o.Do)
}

// unless drops an error of a kind: what is not there is gone.
func unless(err error, kind structs.Kind) error {
	if structs.KindOf(err) == kind {
		return nil
	}
	return err
}

// made reads the answer to CreateVolume.
func made(raw []byte, a *Answer) error {
	err := each(raw, func(field uint64, _ int64, b []byte) error {
		if field != 1 {
			return nil
		}
		return each(b, func(field uint64, n int64, b []byte) error {
			switch field {
			case 1:
				a.Capacity = structs.Bytes(n)
			case 2:
				a.External = string(b)
			case 3:
				return pair(b, &a.Context)
			case 5:
				at, err := segments(b)
				a.Topology = append(a.Topology, at)
				return err
			}
			return nil
		})
	})
	if err == nil && a.External == "" {
		err = structs.Errorf(structs.Unavailable, "volume", "its plugin made it and did not say what it is called")
	}
	return cmp.Or(err, said(a))
}

// confirmed reads the answer to ValidateVolumeCapabilities: one without a confirmation is a no.
func confirmed(raw []byte, v *structs.Volume) error {
	yes, why := false, "it does not say why"
	err := each(raw, func(field uint64, _ int64, b []byte) error {
		switch field {
		case 1:
			yes = true
		case 2:
			why = brief(b)
		}
		return nil
	})
	if err != nil || yes {
		return err
	}
	return structs.Errorf(structs.Invalid, "volume "+v.Name, "plugin %q cannot let it be used with access %s and what else it says: %s", v.CSI.Plugin, v.Access, why).
		Advise("delete it with -forget and register it with what its storage can do")
}

// said refuses what a plugin says of a volume when it is too much to be kept. That is not its last word.
func said(a *Answer) error {
	var p structs.Problems
	structs.CheckSaid(&p, a.External, a.Context, a.Topology)
	if len(p) > 0 { // the first one will do
		return structs.Errorf(structs.Unavailable, "volume", "what its plugin says of it cannot be kept: %w", p[0])
	}
	return nil
}
