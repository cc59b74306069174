//go:build !linux

package network

import (
	"context"
	"net"

	"github.com/proffer/proffer/structs"
)

// Networks gives networks to the allocations of one node: on this system none.
type Networks struct{}

// New returns what gives none.
func New(Options) (*Networks, error) { return &Networks{}, nil }

// Close does nothing.
func (*Networks) Close() error { return nil }

// Features says why there are none.
func (*Networks) Features() map[string]string {
	const no = "no: it takes Linux"
	return map[string]string{"network.bridge": no, "network.none": no, "network.egress": no}
}

// Provide refuses.
func (*Networks) Provide(_ context.Context, need *Need) (*Given, error) {
	return nil, structs.Errorf(structs.Invalid, "network of allocation "+structs.Short(need.Alloc), "it takes Linux")
}

// Release does nothing.
func (*Networks) Release(context.Context, structs.AllocID) error { return nil }

// Sandboxed is false.
func (*Networks) Sandboxed(structs.AllocID) bool { return false }

// Keep does nothing.
func (*Networks) Admit(context.Context) error { return nil }

func (*Networks) Keep(context.Context, func(structs.AllocID) bool) error { return nil }

func (*Networks) warn(string, error) {}

// Dial connects to an address of the node.
func Dial(ctx context.Context, _, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}
