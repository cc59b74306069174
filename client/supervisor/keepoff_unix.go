//go:build unix

package supervisor

import (
	"context"
	"slices"
)

// KeepOff says which cores tasks have for themselves, whatever runs them. A supervisor that follows this one hears it too.
func (c *Client) KeepOff(ctx context.Context, cores []int) error {
	c.mu.Lock()
	c.cores = slices.Clone(cores)
	c.mu.Unlock()
	_, err := c.do(ctx, &request{Op: opKeepOff, Cores: cores})
	return err
}
