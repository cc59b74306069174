package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	sse       = "text/event-stream"
	heartbeat = 10 * time.Second // between lines of an event stream in which nothing happens
	feedLimit = 4096             // changes that a slow reader may be behind
)

// topics are the names of tables in events.
var topics = map[string]state.Table{"node": state.Nodes, "job": state.Jobs, "version": state.Versions, "allocation": state.Allocs,
	"role": state.Roles, "framework": state.Frameworks, "reservation": state.Reservations, "volume": state.Volumes, "variable": state.Variables}

// events follows the change feed: a line of JSON, or a server-sent event, for each index that changed something.
func events(c *call) (any, error) {
	follow, err := c.eventFilter()
	if err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	after, resume := c.number("index"), c.query.Has("index")
	if last := c.r.Header.Get("Last-Event-ID"); last != "" && !resume {
		if after, err = strconv.ParseUint(last, 10, 63); err != nil {
			return nil, structs.Errorf(structs.Invalid, "header Last-Event-ID", "%.40q is not an index", last)
		}
		resume = true
	}
	var feed *state.Feed
	var snap *state.Snapshot
	if resume {
		snap, feed, err = c.s.Region.Store().SubscribeAfter(after, feedLimit, follow.keys...)
		if lag := (*state.Lagged)(nil); errors.As(err, &lag) {
			return nil, refuse(410, structs.Conflict, fmt.Sprintf("events after %d", after), "they are not kept any more").
				advise("read the lists again, and follow from their X-Proffer-Index")
		}
		if err != nil {
			return nil, err
		}
	} else {
		snap, feed = c.s.Region.Store().Subscribe(feedLimit, follow.keys...)
		after = snap.Index()
	}
	defer feed.Close()
	out := c.lazyStream(ndjson)
	if c.accepts(sse) {
		out.kind = sse
	}
	c.headers(snap)
	if err := out.event(&api.Events{Index: after}); err != nil {
		return nil, err
	}
	for {
		batch, err := next(ctx, feed)
		if ctx.Err() != nil {
			return nil, nil // the client is gone, or the agent stops: it may resume
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = out.event(&api.Events{Index: after})
			if err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			e := structs.AsError(err)
			if lag := (*state.Lagged)(nil); errors.As(err, &lag) {
				e = structs.Errorf(structs.Exhausted, "events", "the reader was too slow, and events were lost").
					Advise("read the lists again, and follow from their X-Proffer-Index")
			}
			return nil, out.event(&api.Events{Index: after, Err: e})
		}
		after = batch.Index
		line := &api.Events{Index: batch.Index}
		for i := range batch.Changes {
			if e, ok := follow.event(&batch.Changes[i]); ok {
				line.Events = append(line.Events, e)
			}
		}
		if len(line.Events) == 0 {
			continue
		}
		if err := out.event(line); err != nil {
			return nil, err
		}
	}
}

// next is feed.Next with the heartbeat as its time limit.
func next(ctx context.Context, feed *state.Feed) (*state.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	return feed.Next(ctx)
}

// event writes one line or server-sent event.
func (s *lazyStream) event(e *api.Events) error {
	if s.kind != sse {
		return s.line(e)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s, "id: %d\ndata: %s\n\n", e.Index, raw)
	return err
}

// eventFilter is what a stream follows.
type eventFilter struct {
	keys   []state.Key
	tables []state.Table
	job    string
	node   structs.NodeID
}

func (c *call) eventFilter() (*eventFilter, error) {
	f := &eventFilter{job: c.str("job")}
	for _, topic := range c.query["topic"] {
		table, ok := topics[topic]
		if !ok {
			names := make([]string, 0, len(topics))
			for name := range topics {
				names = append(names, name)
			}
			slices.Sort(names)
			return nil, advise(structs.Errorf(structs.Invalid, `query parameter "topic"`, "%.40q is none of %v", topic, names), topic, names)
		}
		f.tables = append(f.tables, table)
	}
	if f.job != "" && !structs.ValidName(f.job) {
		return nil, structs.Errorf(structs.Invalid, `query parameter "job"`, "%.140q is not a valid name", f.job)
	}
	if given := c.str("node"); given != "" {
		snap, err := c.snapshot()
		if err != nil {
			return nil, err
		}
		n, err := nodeByPrefix(snap, given)
		if err != nil {
			return nil, err
		}
		f.node = n.ID
	}
	switch {
	case f.job != "":
		f.keys = []state.Key{state.OfJob(f.job), state.OfVersions(f.job), state.OfJobAllocs(f.job)}
	case f.node != "":
		f.keys = []state.Key{state.OfNode(f.node), state.OfNodeAllocs(f.node)}
	case len(f.tables) > 0:
		for _, t := range f.tables {
			f.keys = append(f.keys, state.OfTable(t))
		}
	}
	return f, nil
}

// event returns a change as it is sent, if the stream follows it.
func (f *eventFilter) event(change *state.Change) (*api.Event, bool) {
	if len(f.tables) > 0 && !slices.Contains(f.tables, change.Table) {
		return nil, false
	}
	e := &api.Event{}
	record := change.New
	if e.Gone = record == nil; e.Gone {
		record = change.Old
	}
	switch r := record.(type) {
	case *structs.Node:
		e.Topic, e.Key, e.Node = "node", string(r.ID), r.ID
	case *structs.JobRecord:
		e.Topic, e.Key, e.Job = "job", r.Name, r.Name
	case *structs.JobVersion:
		e.Topic, e.Key, e.Job = "version", r.Job.Name+"/"+strconv.FormatUint(r.Version, 10), r.Job.Name
	case *structs.Allocation:
		e.Topic, e.Key, e.Job, e.Node = "allocation", string(r.ID), r.Job, r.Node
	case *structs.Role:
		e.Topic, e.Key = "role", r.Name
	case *structs.Framework:
		e.Topic, e.Key = "framework", string(r.ID)
	case *structs.Variable:
		if was, _ := change.Old.(*structs.Variable); was != nil && !e.Gone && was.ModifyIndex == r.ModifyIndex {
			return nil, false // it was sealed with another key
		}
		e.Topic, e.Key = "variable", r.Path // the record has no values
	default:
		return nil, false // not for users
	}
	if f.job != "" && e.Job != f.job || f.node != "" && e.Node != f.node {
		return nil, false
	}
	if !e.Gone {
		e.Record, _ = json.Marshal(record) // records are data: it cannot fail
	}
	return e, true
}
