package drivers

import (
	"context"

	"github.com/proffer/proffer/structs"
)

// PortKeeper is a driver whose tasks, in the network of the node, can take no port but those of their allocation (Spec.Ports).
type PortKeeper interface {
	// GivePorts says which ports an allocation has from now on, whose tasks run already. It is called before anybody is told of new ones.
	GivePorts(ctx context.Context, alloc structs.AllocID, ports []structs.AssignedPort) error
}
