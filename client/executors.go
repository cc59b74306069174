package client

import (
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/structs"
)

// Executor returns a custom executor of an external framework whose allocation the node holds, or nil.
func (c *Client) Executor(framework structs.FrameworkID, executor string) *runner.Executor {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		if x := h.alloc.External; x != nil && x.Custom && x.Executor == executor && h.alloc.Framework == framework {
			return h.run.Executor()
		}
	}
	return nil
}
