package operator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What a subscriber may say beyond what Mesos has: which events it wants, and behind which it goes on.

// mostNamed bounds the names of one kind in a filter.
const mostNamed = 1000

// follow is what a stream is to tell. Without what it may say a subscriber is told everything, and of no event which one it is.
type follow struct {
	said       bool // it knows of ids
	types      map[wire.OperatorEventType]bool
	frameworks map[string]bool
	roles      []string // with those below them
	agents     map[string]bool
	after      *mark // nil: it begins with the state
}

// mark is where a stream is: behind an event of a change of the entry of an index, or behind the whole entry. All servers number alike: what
// becomes of an entry is the same everywhere.
type mark struct {
	index  uint64
	change int // in the entry, from 1; 0: all of it was told
	event  int // of the change, from 1
}

func (p mark) String() string {
	if p.change == 0 {
		return strconv.FormatUint(p.index, 10)
	}
	return fmt.Sprintf("%d.%d.%d", p.index, p.change, p.event)
}

func markIn(s string) (p mark, ok bool) {
	parts := strings.Split(s, ".")
	var err error
	if p.index, err = strconv.ParseUint(parts[0], 10, 63); err != nil || p.index == 0 || len(parts) != 1 && len(parts) != 3 {
		return p, false
	}
	if len(parts) == 1 {
		return p, true
	}
	var wrong error
	p.change, err = strconv.Atoi(parts[1])
	p.event, wrong = strconv.Atoi(parts[2])
	return p, err == nil && wrong == nil && p.change > 0 && p.event > 0
}

// told reports whether an event was told to whoever was told everything up to p.
func (p *mark) told(index uint64, change, event int) bool {
	switch {
	case p == nil || index > p.index:
		return false
	case index < p.index || p.change == 0:
		return true
	}
	return change < p.change || change == p.change && event <= p.event
}

func followOf(c *wire.Follow) (*follow, error) {
	if c == nil {
		return &follow{}, nil
	}
	f := &follow{said: true}
	if len(c.Types) > mostNamed || len(c.Frameworks) > mostNamed || len(c.Roles) > mostNamed || len(c.Agents) > mostNamed {
		return nil, invalid("'subscribe' names more than %d of a kind", mostNamed)
	}
	for _, name := range c.Types {
		kind := wire.EventOperatorUnknown
		for n, is := range kind.Names() {
			if is == name {
				kind = wire.OperatorEventType(n)
			}
		}
		if kind == wire.EventOperatorUnknown {
			return nil, invalid("'subscribe.types': there is no event '%.100s'", name)
		}
		if f.types == nil {
			f.types = map[wire.OperatorEventType]bool{}
		}
		f.types[kind] = true
	}
	for _, role := range c.Roles {
		if role = mesos.RoleIn(role); !structs.ValidRole(role) {
			return nil, invalid("'subscribe.roles': role '%.300s' is invalid", role)
		}
		f.roles = append(f.roles, role)
	}
	f.frameworks, f.agents = setOf(c.Frameworks), setOf(c.Agents)
	if c.After != nil {
		p, ok := markIn(*c.After)
		if !ok {
			return nil, invalid("'subscribe.after': '%.100s' is the id of no event", *c.After)
		}
		f.after = &p
	}
	return f, nil
}

func setOf(ids []wire.ID) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	out := map[string]bool{}
	for _, id := range ids {
		out[id.Value] = true
	}
	return out
}

// wants reports whether events of what is of a framework, of roles and of a node are wanted; empty: of none.
func (f *follow) wants(framework structs.FrameworkID, node structs.NodeID, roles ...string) bool {
	return (f.frameworks == nil || f.frameworks[string(framework)]) && (f.agents == nil || f.agents[string(node)]) &&
		(f.roles == nil || slices.ContainsFunc(roles, f.inRole))
}

func (f *follow) inRole(role string) bool {
	return slices.ContainsFunc(f.roles, func(named string) bool { return role == named || strings.HasPrefix(role, named+"/") })
}

func (f *follow) framework(x *structs.Framework) bool { return f.wants(x.ID, "", x.Roles...) }
func (f *follow) node(n *structs.Node) bool           { return f.wants("", n.ID) }
func (f *follow) alloc(a *structs.Allocation) bool    { return f.wants(a.Framework, a.Node, a.Role) }

// change reports whether events of a change are wanted.
func (f *follow) change(c *state.Change) bool {
	record := c.New
	if record == nil {
		record = c.Old
	}
	switch x := record.(type) {
	case *structs.Framework:
		return f.framework(x)
	case *structs.Node:
		return f.node(x)
	case *structs.Allocation:
		return f.alloc(x)
	}
	return false
}

// kind reports whether events of a kind are wanted.
func (f *follow) kind(e *wire.OperatorEvent) bool { return f.types == nil || f.types[*e.Type] }

// feed returns the state and what changes from there, or behind the place where the stream goes on.
func (f *follow) feed(store *state.Store) (*state.Snapshot, *state.Feed, error) {
	tables := []state.Key{state.OfTable(state.Nodes), state.OfTable(state.Allocs), state.OfTable(state.Frameworks)}
	if f.after == nil {
		snap, feed := store.Subscribe(mostWaiting, tables...)
		return snap, feed, nil
	}
	gone := mesos.Refuse(http.StatusGone, "Events behind '%s' are not kept any more: subscribe without 'after', and begin with the state", f.after)
	if f.after.index > store.Snapshot().Index() {
		return nil, nil, gone // it is from another region, or from before a backup was restored
	}
	behind := f.after.index
	if f.after.change > 0 {
		behind--
	}
	snap, feed, err := store.SubscribeAfter(behind, mostWaiting, tables...)
	var lagged *state.Lagged
	if errors.As(err, &lagged) {
		return nil, nil, gone
	}
	return snap, feed, err
}
