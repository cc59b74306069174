package network

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Provider makes Networks what the runner asks for networks.
type Provider struct{ *Networks }

var _ runner.Provider = Provider{}

// Name is "network".
func (Provider) Name() string { return "network" }

// Needs reports whether the group has a network of its own, or says how names are looked up.
func (Provider) Needs(_ *structs.Allocation, group *structs.Group) bool {
	return group.Network.Own() || group.Network != nil && group.Network.DNS != nil
}

// Provide gives the allocation its network, and each task the files that belong to it.
func (p Provider) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	g, err := p.Networks.Provide(ctx, &Need{Alloc: need.Alloc.ID, Job: need.Alloc.Job, Group: need.Alloc.Group, Ask: need.Group.Network, Ports: need.Alloc.Ports})
	if err != nil {
		return err
	}
	given.Netns, given.Addresses, given.Hostname = g.Netns, g.Addresses, g.Hostname
	for _, path := range slices.Sorted(maps.Keys(g.Files)) {
		given.Files = append(given.Files, drivers.Mount{Source: g.Files[path], Target: path, ReadOnly: true})
	}
	return nil
}

// keepEvery is how often is looked for what belongs to nobody.
const keepEvery = 10 * time.Minute

// Keep does what Networks does once, and again until it succeeded.
func (p Provider) Keep(ctx context.Context, known func(structs.AllocID) bool) {
	for {
		wait := keepEvery
		if err := p.Networks.Keep(ctx, known); err != nil {
			p.warn("networks that belong to nobody cannot be removed", err)
			wait = 10 * time.Second
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}
