package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/proffer/proffer/drivers"
)

// PruneImages has all drivers remove the images that no task uses, but for those that keep names. A driver that cannot does not stop the others.
func (c *Client) PruneImages(ctx context.Context, keep []string) error {
	var failed []error
	for _, d := range c.config.Drivers {
		if p, ok := d.(drivers.Pruner); ok {
			if err := p.Prune(ctx, keep); err != nil {
				failed = append(failed, fmt.Errorf("driver %s: %w", d.Name(), err))
			}
		}
	}
	return errors.Join(failed...)
}
