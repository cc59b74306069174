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
type Provider struct {
	*Networks
	// Sandboxes are the drivers, by name, whose tasks join no namespace but one of theirs. A group may have tasks of one of them.
	Sandboxes map[string]drivers.Sandboxer
}

var _ runner.Provider = Provider{}

// Name is "network".
func (Provider) Name() string { return "network" }

// Needs reports whether the group has a network of its own, or says how names are looked up.
func (Provider) Needs(_ *structs.Allocation, group *structs.Group) bool {
	return group.Network.Own() || group.Network != nil && group.Network.DNS != nil
}

// Provide gives the allocation its network, and each task the files that belong to it.
func (p Provider) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	sandbox, err := p.sandbox(ctx, need)
	if err != nil {
		return err
	}
	g, err := p.Networks.Provide(ctx, &Need{Sandbox: sandbox, Alloc: need.Alloc.ID, Job: need.Alloc.Job, Group: need.Alloc.Group, Ask: need.Group.Network, Ports: need.Alloc.Ports})
	if err != nil {
		return err
	}
	given.Netns, given.Addresses, given.Joined, given.Hostname = g.Netns, g.Addresses, g.Joined, g.Hostname
	for _, path := range slices.Sorted(maps.Keys(g.Files)) {
		given.Files = append(given.Files, drivers.Mount{Source: g.Files[path], Target: path, ReadOnly: true})
	}
	return nil
}

// sandbox has a driver make the namespace, when one of the tasks can join no other.
func (p Provider) sandbox(ctx context.Context, need *runner.Need) (path string, err error) {
	if !need.Group.Network.Own() {
		return "", nil
	}
	by := ""
	for _, t := range need.Group.Tasks {
		d := p.Sandboxes[t.Driver]
		if d == nil || by == t.Driver {
			continue
		}
		if by != "" {
			return "", structs.Errorf(structs.Invalid, "group "+need.Group.Name, "tasks of %s and of %s cannot share a network", by, t.Driver)
		}
		by = t.Driver
		path, err = d.Sandbox(ctx, drivers.Sandbox{Alloc: need.Alloc.ID, Job: need.Alloc.Job, Group: need.Alloc.Group,
			Hostname: Hostname(need.Group.Network, need.Alloc.ID)})
		if err != nil {
			return "", err
		}
	}
	return path, nil
}

// Release takes back the network, and then the namespace of a driver.
func (p Provider) Release(ctx context.Context, alloc structs.AllocID) error {
	sandboxed := p.Networks.Sandboxed(alloc)
	if err := p.Networks.Release(ctx, alloc); err != nil {
		return err
	}
	if !sandboxed {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(p.Sandboxes)) {
		if err := p.Sandboxes[name].Unsandbox(ctx, alloc); err != nil {
			return err
		}
	}
	return nil
}

// Hostname is that of an allocation with a namespace of its own.
func Hostname(ask *structs.Network, alloc structs.AllocID) string {
	if ask.Hostname != "" {
		return ask.Hostname
	}
	return structs.Short(alloc)
}

// keepEvery is how often is looked for what belongs to nobody.
const keepEvery = 10 * time.Minute

// admitEvery is how soon a firewall of somebody else that came up is seen.
const admitEvery = 30 * time.Second

// Keep does what Networks does once, and again until it succeeded.
func (p Provider) Keep(ctx context.Context, known func(structs.AllocID) bool) {
	admit := time.NewTicker(admitEvery)
	defer admit.Stop()
	for {
		wait := keepEvery
		if err := p.Networks.Keep(ctx, known); err != nil {
			p.warn("networks that belong to nobody cannot be removed", err)
			wait = 10 * time.Second
		}
		for again := time.After(wait); again != nil; {
			select {
			case <-again:
				again = nil
			case <-admit.C:
				if err := p.Networks.Admit(ctx); err != nil && ctx.Err() == nil {
					p.warn("a firewall may drop the packets of tasks", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
