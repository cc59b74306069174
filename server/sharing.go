package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Sharing is what of how a server shares the region, as long as it leads, can change while it runs.
type Sharing struct {
	Sorter  string   // how roles at the top take turns; empty: allocator.SorterDRF
	Exclude []string // resources that do not count in shares
	// KeepRoomAfter is how long work may get nothing while others are served before room is kept for it; 0: as the allocator
	// has it.
	KeepRoomAfter time.Duration
	Sealed        bool // nothing makes a role at the top by naming it
}

// SetSharing changes how this server shares the region, at once when it leads. It refuses sorters that there are not.
func (s *Server) SetSharing(x Sharing) error {
	x.Sorter = cmp.Or(x.Sorter, allocator.SorterDRF)
	if known := allocator.Sorters(s.config.Policies); !slices.Contains(known, x.Sorter) {
		return structs.Errorf(structs.Invalid, "server.sorter", "there is no %q", x.Sorter).Advise("this version has %s", strings.Join(known, ", "))
	}
	s.shared.Store(&x)
	s.resettle()
	return nil
}

// sharing is how this server shares the region as long as it leads. The draws of one term differ from those of another.
func (s *Server) sharing(term uint64) allocator.Options {
	o, x := *s.offering.Load(), s.shared.Load()
	o.Term, o.Seed, o.Sorter, o.Policies, o.Exclude = term, term, x.Sorter, s.config.Policies, x.Exclude
	o.KeepAfter = structs.Duration(x.KeepRoomAfter)
	return o
}

// SetOffering changes how resources are offered, on the leader at once: of options, what allocator.SetOffering takes.
func (s *Server) SetOffering(o allocator.Options) {
	s.offering.Store(&o)
	s.resettle()
}

func (s *Server) resettle() {
	if l, err := s.loop.get(); err == nil {
		l.resettle()
	}
}

// resettle has a loop take over the settings that are in force.
func (l *loop) resettle() {
	l.mu.Lock()
	o := l.server.sharing(l.number)
	l.allocator.SetSharing(o)
	l.allocator.SetOffering(o, structs.At(time.Now()))
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
