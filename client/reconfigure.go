package client

import (
	"context"
	"maps"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/volumes"
	"github.com/proffer/proffer/structs"
)

// Settings are what of a Config can change while the node runs.
type Settings struct {
	Meta       map[string]string
	Attributes map[string]string
	Resources  structs.Resources
	Reserved   structs.Resources
	For        map[string]*structs.Resources // set aside for roles
	Volumes    map[string]volumes.HostVolume
	Disks      map[string]volumes.Disk
	GC         GC
}

// Reconfigure takes new settings over and tells the servers what changed of the node. Work that no longer fits is for
// them to decide on. Invalid settings change nothing.
func (c *Client) Reconfigure(ctx context.Context, s Settings) error {
	check := c.config
	check.Meta, check.Attributes, check.Resources, check.Reserved, check.GC = s.Meta, s.Attributes, s.Resources, s.Reserved, s.GC
	check.ReservedFor = s.For
	if err := check.fill(); err != nil {
		return err
	}
	s.GC = check.GC
	if c.config.Volumes != nil {
		c.config.Volumes.SetHost(s.Volumes)
		c.config.Volumes.SetDisks(s.Disks)
	}
	before := c.settings.Swap(&s)
	fresh, err := fingerprint.Machine(ctx, c.machine())
	if err != nil {
		c.settings.CompareAndSwap(&s, before)
		return err
	}
	c.refresh(func(old *structs.Node) *structs.Node {
		n := *fresh
		n.ID, n.Name, n.Datacenter, n.Address, n.Version = old.ID, old.Name, old.Datacenter, old.Address, old.Version
		if s.Resources.Disk == 0 {
			n.Resources.Disk = old.Resources.Disk // what is free now lacks what allocations use of theirs
		}
		n.Attributes, n.Problems = maps.Clone(fresh.Attributes), old.Problems
		c.describe(&n)
		for _, name := range []string{attrQuarantine, attrState} {
			if v, ok := old.Attributes[name]; ok {
				n.Attributes[name] = v
			}
		}
		return &n
	})
	return nil
}
