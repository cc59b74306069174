package client

import (
	"context"
	"maps"

	"github.com/proffer/proffer/structs"
)

// watchPlugins tells the region at once when a storage plugin is another than before.
func (c *Client) watchPlugins(ctx context.Context) {
	for {
		c.refresh(func(old *structs.Node) *structs.Node {
			now := c.config.Plugins.Nodes()
			if maps.EqualFunc(old.Plugins, now, (*structs.NodePlugin).Equal) {
				return old
			}
			n := *old
			n.Plugins = now
			return &n
		})
		select {
		case <-c.config.Plugins.News():
		case <-ctx.Done():
			return
		}
	}
}
