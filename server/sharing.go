package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// sharing is how this server shares the region as long as it leads. The draws of one term differ from those of another.
func (s *Server) sharing(term uint64) allocator.Options {
	o := *s.offering.Load()
	o.Term, o.Seed, o.Sorter, o.Policies, o.Exclude = term, term, s.config.Sorter, s.config.Policies, s.config.Exclude
	o.KeepAfter = structs.Duration(s.config.KeepRoomAfter)
	return o
}

// SetOffering changes how resources are offered, on the leader at once: of options, what allocator.SetOffering takes.
func (s *Server) SetOffering(o allocator.Options) {
	s.offering.Store(&o)
	if l, err := s.loop.get(); err == nil {
		l.reoffer()
	}
}

// reoffer has a loop take over the settings of offers that are in force.
func (l *loop) reoffer() {
	l.mu.Lock()
	l.allocator.SetOffering(*l.server.offering.Load(), structs.At(time.Now()))
	l.mu.Unlock()
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// knowsSorters refuses roles that name a sorter which this server does not have. It is asked on the leader, whose it would be.
func (s *Server) knowsSorters(cmd state.Command) error {
	var roles []*structs.Role
	switch c := cmd.(type) {
	case *state.PutRole:
		roles = []*structs.Role{c.Role}
	case *state.PutRoles:
		roles = c.Roles
	}
	known := allocator.Sorters(s.config.Policies)
	for _, r := range roles {
		if r != nil && r.Sorter != "" && !slices.Contains(known, r.Sorter) {
			return structs.Errorf(structs.Invalid, fmt.Sprintf("role %q: sorter", r.Name), "there is no %q", r.Sorter).
				Advise("this version has %s", strings.Join(known, ", "))
		}
	}
	return nil
}
