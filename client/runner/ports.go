package runner

import (
	"context"
	"slices"
	"sync"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// portsGiven is what the drivers were told of the ports of an allocation whose tasks come and go: with them come and go ports, while a
// process runs that was started with others.
type portsGiven struct {
	sync.Mutex // held while they are told
	told       bool
	last       []structs.AssignedPort
}

// givePorts tells the drivers of the tasks which ports the allocation has now, unless they know.
func (a *Alloc) givePorts(ctx context.Context) error {
	g := &a.portsGiven
	g.Lock()
	defer g.Unlock()
	a.mu.Lock()
	ports := a.alloc.Ports
	var keepers []drivers.PortKeeper
	for _, t := range a.tasks {
		if k, ok := a.node.Drivers[driverOf(t.def)].(drivers.PortKeeper); ok && !slices.Contains(keepers, k) {
			keepers = append(keepers, k)
		}
	}
	a.mu.Unlock()
	if g.told && slices.Equal(g.last, ports) {
		return nil
	}
	for _, k := range keepers {
		if err := k.GivePorts(ctx, a.id, ports); err != nil {
			return err
		}
	}
	g.told, g.last = true, ports
	return nil
}

// keepPorts is givePorts where nobody waits for new ones: those that it has no more are not its own any more. The next change, or start, says
// it again.
func (a *Alloc) keepPorts(ctx context.Context) {
	if err := a.givePorts(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn("its tasks can still take ports that it gave back", "err", err)
	}
}
