package docker

import (
	"context"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// spare is left to a container when its memory is bounded anew: engines set the limit whatever is used, and some kernels kill for it at once,
// so that what the container takes between our look and that must have room.
const spare = 8 << 20

// Limit has the engine give the container other limits.
func (t *task) Limit(ctx context.Context, to drivers.Limits) error {
	var now container.InspectResponse
	err := t.d.engine.look(ctx, t.object(), "look at its container", func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerInspect(ctx, t.id, client.ContainerInspectOptions{})
		now = r.Container
		return err
	})
	if err != nil {
		return err
	}
	if now.State == nil || !now.State.Running || now.HostConfig == nil {
		return structs.Errorf(structs.Conflict, t.object(), "it has ended")
	}
	r := relimited(to, &now.HostConfig.Resources)
	var short error
	if r.Memory > 0 && (now.HostConfig.Memory == 0 || r.Memory < now.HostConfig.Memory) {
		s, err := t.Stats(ctx)
		if err != nil {
			return err
		}
		if int64(s.Memory) > r.Memory-spare {
			short = structs.Errorf(structs.Exhausted, t.object(), "it uses %v of memory, and a limit of %v is too near to that", s.Memory, structs.Bytes(r.Memory))
			r.Memory, r.MemorySwap, r.MemoryReservation = 0, 0, 0
		}
	}
	err = t.d.engine.look(ctx, t.object(), "change its limits", func(ctx context.Context, api *client.Client) error {
		_, err := api.ContainerUpdate(ctx, t.id, client.ContainerUpdateOptions{Resources: r})
		return err
	})
	if err != nil {
		if state, look := t.inspect(ctx); look == nil && !state.Running {
			return structs.Errorf(structs.Conflict, t.object(), "it has ended")
		}
		return err
	}
	return short
}

// relimited are limits for a container that has others. To an engine nothing is no change, so what is not limited any more says so.
func relimited(to drivers.Limits, now *container.Resources) *container.Resources {
	if to.CPU == 0 {
		to.CPU = 1000
	}
	r := &container.Resources{}
	limits(to, r)
	if r.CPUQuota == 0 && now.CPUQuota > 0 {
		r.CPUQuota = -1
	}
	if r.Memory == 0 && now.Memory > 0 {
		r.Memory, r.MemorySwap = structs.Boundless, structs.Boundless // an engine cannot take a limit away, only change it
	}
	if r.Memory > 0 && r.MemoryReservation == 0 && now.MemoryReservation > 0 {
		r.MemoryReservation = r.Memory
	}
	return r
}
