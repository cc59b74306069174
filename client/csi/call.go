package csi

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/proffer/proffer/client/grpc"
	"github.com/proffer/proffer/structs"
)

const (
	socketName  = "csi.sock"
	answerLimit = 4 << 20
	askTime     = 5 * time.Second // for what a plugin says of itself
)

// socket is how to reach a plugin.
type socket struct {
	plugin string // for messages
	client *http.Client
}

// newSocket asks a plugin whose socket is in a folder. Nothing is kept open between calls.
func newSocket(plugin, folder string) *socket {
	t := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, folder) }}
	t.Protocols.SetUnencryptedHTTP2(true)
	return &socket{plugin, &http.Client{Transport: t}}
}

// dial connects to the socket in a folder, however long its path is.
func dial(ctx context.Context, folder string) (net.Conn, error) {
	at, is, f, err := socketIn(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if is.Type() != os.ModeSocket {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: os.ErrInvalid}
	}
	return new(net.Dialer).DialContext(ctx, "unix", at)
}

// call makes one call. The errors are those that a caller acts on: Invalid and NotFound are the plugin's last word, Unavailable is not.
func (s *socket) call(ctx context.Context, method string, m message) ([]byte, error) {
	raw, err := grpc.Call(ctx, s.client, "http://csi", "/csi.v1."+method, m, answerLimit)
	if err == nil {
		return raw, nil
	}
	kind := structs.Unavailable
	switch grpc.Code(err) {
	case grpc.InvalidArgument, grpc.OutOfRange, grpc.Unimplemented:
		kind = structs.Invalid
	case grpc.NotFound:
		kind = structs.NotFound
	case grpc.FailedPrecondition, grpc.AlreadyExists:
		kind = structs.Conflict
	}
	text := err.Error()
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	failed := structs.Errorf(kind, "plugin "+s.plugin, "%s: %s", method, text)
	failed.Err = err
	return nil, failed
}

// about is what a plugin says of itself.
type about struct {
	vendor, version string
	hasController   bool
	node            *structs.PluginNodePart
	controller      *structs.PluginControllerPart
}

// ready asks whether the plugin is.
func (s *socket) ready(ctx context.Context) error {
	raw, err := s.call(ctx, "Identity/Probe", nil)
	if err != nil {
		return err
	}
	ready := true
	err = each(raw, func(field uint64, _ int64, b []byte) error {
		if field == 1 { // a BoolValue: without its field it is false
			ready = false
			return each(b, func(field uint64, n int64, _ []byte) error {
				ready = ready || field == 1 && n != 0
				return nil
			})
		}
		return nil
	})
	if err == nil && !ready {
		err = structs.Errorf(structs.Unavailable, "plugin "+s.plugin, "it says that it is not ready")
	}
	return err
}

// describe asks for what a plugin is. Node and controller are asked only when they are served.
func (s *socket) describe(ctx context.Context, node, controller bool) (*about, error) {
	a := &about{}
	raw, err := s.call(ctx, "Identity/GetPluginInfo", nil)
	if err == nil {
		err = each(raw, func(field uint64, _ int64, b []byte) error {
			switch field {
			case 1:
				a.vendor = brief(b)
			case 2:
				a.version = brief(b)
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	if raw, err = s.call(ctx, "Identity/GetPluginCapabilities", nil); err != nil {
		return nil, err
	}
	services, err := capabilities(raw, 1)
	if err != nil {
		return nil, err
	}
	a.hasController = slices.Contains(services, 1)
	if node {
		if a.node, err = s.describeNode(ctx); err != nil {
			return nil, err
		}
	}
	if controller && a.hasController {
		raw, err := s.call(ctx, "Controller/ControllerGetCapabilities", nil)
		if err != nil {
			return nil, err
		}
		can, err := capabilities(raw, 1)
		if err != nil {
			return nil, err
		}
		a.controller = &structs.PluginControllerPart{Healthy: true, Makes: slices.Contains(can, 1), Attaches: slices.Contains(can, 2), Expands: slices.Contains(can, 9)}
	}
	return a, nil
}

func (s *socket) describeNode(ctx context.Context) (*structs.PluginNodePart, error) {
	raw, err := s.call(ctx, "Node/NodeGetInfo", nil)
	if err != nil {
		return nil, err
	}
	n := &structs.PluginNodePart{Healthy: true}
	err = each(raw, func(field uint64, number int64, b []byte) (err error) {
		switch field {
		case 1:
			n.ID = brief(b)
		case 2:
			n.MaxVolumes = max(number, 0)
		case 3:
			n.Topology, err = segments(b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if raw, err = s.call(ctx, "Node/NodeGetCapabilities", nil); err != nil {
		return nil, err
	}
	can, err := capabilities(raw, 1)
	if err != nil {
		return nil, err
	}
	n.Stages, n.Expands = slices.Contains(can, 1), slices.Contains(can, 3)
	var p structs.Problems
	if n.Check(&p, "node"); len(p) > 0 {
		return nil, structs.Errorf(structs.Unavailable, "plugin "+s.plugin, "what it says of the node cannot be kept: %w", p[0])
	}
	return n, nil
}

// brief bounds what a plugin calls itself or a node.
func brief(b []byte) string { return string(b[:min(len(b), 256)]) }

// Modes of access, as the storage calls them.
var modes = map[structs.VolumeAccess]int64{
	structs.AccessExclusive:    1, // SINGLE_NODE_WRITER
	structs.AccessSingleWriter: 4, // MULTI_NODE_SINGLE_WRITER
	structs.AccessShared:       5, // MULTI_NODE_MULTI_WRITER
}

// use is a VolumeCapability: how a volume is used.
func use(access structs.VolumeAccess, c *structs.CSIVolume) (m message) {
	var mount, mode message
	mount.text(1, c.FSType)
	for _, flag := range c.MountFlags {
		mount.bytes(2, []byte(flag))
	}
	mode.number(1, cmp.Or(c.Mode, modes[access]))
	if c.Block {
		m.bytes(1, nil)
	} else {
		m.bytes(2, mount)
	}
	m.bytes(3, mode)
	return m
}

// from is a TopologyRequirement: a volume is to be reached from one of these places.
func from(places []structs.Segments) (m message) {
	for _, field := range []uint64{1, 2} { // requisite, and preferred in this order
		for _, s := range places {
			var place message
			place.texts(1, s)
			m.bytes(field, place)
		}
	}
	return m
}

// capacity is a CapacityRange.
func capacity(size structs.Bytes) (m message) {
	m.number(1, int64(size))
	return m
}
