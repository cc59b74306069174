package framework

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// errChanged ends a session whose SUBSCRIBE said what was true before a Change.
var errChanged = errors.New("what the framework says of itself has changed since it subscribed")

// wire is what a framework says of itself, in SUBSCRIBE and in UPDATE_FRAMEWORK.
func (c *Config) wire(id string, suppressed bool) *wire.UpdateFramework {
	info := wire.FrameworkInfo{User: c.User, Name: c.Name, Roles: c.Roles, Principal: wire.Optional(c.Principal), WebURL: wire.Optional(c.WebURL),
		Labels: wire.LabelsOf(c.Labels), FailoverTimeout: new(c.Failover.Seconds()), Checkpoint: new(true)}
	for _, name := range append([]string{"MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT", "TASK_KILLING_STATE"}, c.Capabilities...) {
		if is, known := capability(name); known {
			info.Capabilities = append(info.Capabilities, wire.Capability{Type: &is})
		}
	}
	if id != "" {
		info.ID = &wire.ID{Value: id}
	}
	u := &wire.UpdateFramework{FrameworkInfo: info, OfferConstraints: c.Constraints.wire()}
	if suppressed {
		u.SuppressedRoles = c.Roles
	}
	return u
}

// unwanting reports whether the framework wants no offers. The caller holds mu.
func (d *Driver) unwanting() bool { return d.choosy && len(d.wants) == 0 }

// Change changes what the framework says of itself, now and in each later subscription: change may set Roles, WebURL, Labels, Capabilities,
// Failover and Constraints; what else it sets does not count. Offers follow when it returns nil: those of roles that it left are rescinded. After
// an error all is as before; after Unknown and Unavailable it is so once the driver has subscribed again.
func (d *Driver) Change(ctx context.Context, change func(*Config)) error {
	s, err := d.session()
	if err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.done()
	d.mu.Lock()
	next, closed := d.about, d.unwanting()
	d.mu.Unlock()
	wish := next
	wish.Roles, wish.Capabilities, wish.Labels = slices.Clone(next.Roles), slices.Clone(next.Capabilities), maps.Clone(next.Labels)
	wish.Constraints = maps.Clone(next.Constraints)
	change(&wish)
	next.Roles, next.Capabilities, next.Labels = slices.Clone(wish.Roles), slices.Clone(wish.Capabilities), maps.Clone(wish.Labels)
	next.WebURL, next.Failover, next.Constraints = wish.WebURL, wish.Failover, maps.Clone(wish.Constraints)
	if err := next.fill(); err != nil {
		return err
	}
	if err := s.call(ctx, &wire.Call{Type: new(wire.CallUpdateFramework), Update: next.wire(s.first.Framework, closed)}); err != nil {
		return err
	}
	s.open = !closed
	d.mu.Lock()
	d.about = next
	d.said++
	s.said = d.said
	if d.now != nil && d.now.said != d.said {
		d.now.end(errChanged) // it is another one, which began meanwhile
	}
	d.mu.Unlock()
	d.poke() // what was wanted meanwhile
	return nil
}

// begin takes the session's turn to say what is wanted, so that one who says it does not undo what another one said.
func (s *session) begin(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return structs.Errorf(structs.Unavailable, "framework "+s.d.config.Name, "its subscription ended: %w", context.Cause(s.ctx)).
			Advise("wait for the next one: the driver subscribes by itself")
	}
}

func (s *session) done() { <-s.turn }
