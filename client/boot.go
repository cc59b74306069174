package client

import (
	"strconv"
	"time"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// Attributes of a node's boot. attrBootCut is there when tasks ran as the boot before it ended.
const (
	attrBootID   = structs.AttrBoot + "id"
	attrBootTime = structs.AttrBoot + "time"
	attrBootCut  = structs.AttrBoot + "interrupted"
)

// noticeBoot finds out whether the machine was restarted since the last agent ran, with what that one recorded, and keeps what the node's
// attributes say of it.
func (c *Client) noticeBoot(known []*store.Alloc) {
	boot := c.config.BootID
	if boot == "" {
		return
	}
	if before := c.memory.Boot; before != boot {
		c.memory.Boot, c.memory.Lease, c.memory.Cut = boot, 0, 0
		if before != "" {
			c.node.Rebooted = true
			for _, a := range known {
				for _, t := range a.Tasks {
					if t.Running {
						c.memory.Cut++
					}
				}
			}
			c.log.Warn("the machine was restarted", "boot", boot, "before", before, "tasks", c.memory.Cut)
		}
		c.store.Enqueue(store.PutNode(&c.memory))
	}
	c.booted = map[string]string{
		attrBootID:   boot,
		attrBootTime: structs.At(time.Now().Add(-time.Duration(c.config.Clock.Now())).Round(time.Second)).String(),
	}
	if c.memory.Cut > 0 {
		c.booted[attrBootCut] = strconv.Itoa(c.memory.Cut)
	}
}
