//go:build unix

package supervisor

import (
	"context"

	"github.com/proffer/proffer/structs"
)

// GivePorts says which ports an allocation has from now on.
func (c *Client) GivePorts(ctx context.Context, alloc structs.AllocID, ports []structs.AssignedPort) error {
	_, err := c.do(ctx, &request{Op: opPorts, Alloc: string(alloc), Ports: ports})
	return err
}

// givePorts notes it with each task of the allocation that runs, for the supervisor that follows.
func (s *server) givePorts(alloc string, ports []structs.AssignedPort) error {
	s.world.RLock()
	defer s.world.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.rec.alloc() != alloc || t.rec.Exit != nil || t.rec.Within != 0 {
			continue
		}
		select {
		case <-t.started:
		default:
			continue // it brings those that it was launched with
		}
		if err := s.table.change(&change{Seq: t.rec.Seq, Given: &given{ports}}); err != nil {
			return err
		}
	}
	return s.host.give(alloc, ports)
}
