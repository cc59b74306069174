package mesos

import (
	"sync"
	"sync/atomic"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Counts is what a server counted of schedulers since it began. Its methods may be called from any goroutine.
type Counts struct {
	calls        [wire.CallUpdateFramework + 1]atomic.Uint64
	again        atomic.Uint64
	dropped      atomic.Uint64
	passed, lost atomic.Uint64

	frameworks sync.Map // by id: *FrameworkCounts
	kept       atomic.Int64
}

// maxCounted bounds the frameworks that are counted one by one.
const maxCounted = 10_000

// FrameworkCounts are those of one framework.
type FrameworkCounts struct {
	calls      [wire.CallUpdateFramework + 1]atomic.Uint64
	events     [wire.EventUpdateOperationStatus + 1]atomic.Uint64
	operations [wire.OperationDestroyDisk + 1]atomic.Uint64
}

// Calls says how many well-formed calls of a type came, also such as were refused then. Of SUBSCRIBE it says how many of them were of
// frameworks that had an id.
func (c *Counts) Calls(kind wire.CallType) (all, again uint64) {
	if kind == wire.CallSubscribe {
		again = c.again.Load()
	}
	return c.calls[kind].Load(), again
}

// Dropped says how many calls were refused because their framework was not subscribed here, or another one of its schedulers was.
func (c *Counts) Dropped() uint64 { return c.dropped.Load() }

// Messages says how many messages for executors were given to their nodes, and how many were not.
func (c *Counts) Messages() (passed, lost uint64) { return c.passed.Load(), c.lost.Load() }

// Framework returns what is counted of one, or nil.
func (c *Counts) Framework(id structs.FrameworkID) *FrameworkCounts {
	found, _ := c.frameworks.Load(id)
	counts, _ := found.(*FrameworkCounts)
	return counts
}

// framework begins to count what a framework does that subscribes. When there are very many, those are forgotten for which lives does not
// hold; nil: it is not counted.
func (c *Counts) framework(id structs.FrameworkID, lives func(structs.FrameworkID) bool) *FrameworkCounts {
	if known := c.Framework(id); known != nil {
		return known
	}
	if c.kept.Load() >= maxCounted {
		for key := range c.frameworks.Range {
			if !lives(key.(structs.FrameworkID)) {
				if _, was := c.frameworks.LoadAndDelete(key); was {
					c.kept.Add(-1)
				}
			}
		}
		if c.kept.Load() >= maxCounted {
			return nil
		}
	}
	made, known := c.frameworks.LoadOrStore(id, &FrameworkCounts{})
	if !known {
		c.kept.Add(1)
	}
	return made.(*FrameworkCounts)
}

// Count counts one call.
func (c *Counts) Count(call *wire.Call) {
	add(c.calls[:], int(*call.Type))
	if *call.Type == wire.CallSubscribe && idOf(call.FrameworkID) != "" {
		c.again.Add(1)
	}
}

// message counts a message to an executor.
func (c *Counts) message(err error) {
	if err != nil {
		c.lost.Add(1)
	} else {
		c.passed.Add(1)
	}
}

// call counts a call of the framework, and its operations.
func (c *FrameworkCounts) call(call *wire.Call) {
	if c == nil {
		return
	}
	add(c.calls[:], int(*call.Type))
	if call.Accept == nil || *call.Type != wire.CallAccept {
		return
	}
	for i := range call.Accept.Operations {
		if kind := call.Accept.Operations[i].Type; kind != nil {
			add(c.operations[:], int(*kind))
		}
	}
}

// event counts an event for the framework.
func (c *FrameworkCounts) event(kind wire.EventType) {
	if c != nil {
		add(c.events[:], int(kind))
	}
}

// add counts one of a kind, if there is such a kind.
func add(to []atomic.Uint64, kind int) {
	if kind >= 0 && kind < len(to) {
		to[kind].Add(1)
	}
}

// Calls, Events and Operations yield how many there were of each type, in the order of their numbers.

func (c *FrameworkCounts) Calls(yield func(wire.CallType, uint64) bool) { kinds(c.calls[:], yield) }

func (c *FrameworkCounts) Events(yield func(wire.EventType, uint64) bool) { kinds(c.events[:], yield) }

func (c *FrameworkCounts) Operations(yield func(wire.OperationType, uint64) bool) {
	kinds(c.operations[:], yield)
}

func kinds[K ~int32](of []atomic.Uint64, yield func(K, uint64) bool) {
	for kind := 1; kind < len(of); kind++ { // 0 is UNKNOWN
		if !yield(K(kind), of[kind].Load()) {
			return
		}
	}
}

// ExecutorCounts is what a client counted of executors since it began. Its methods may be called from any goroutine.
type ExecutorCounts struct{ updates, refused, messages, lost atomic.Uint64 }

// Updates says how many updates of tasks executors sent that were taken, and how many that were not.
func (c *ExecutorCounts) Updates() (taken, refused uint64) { return c.updates.Load(), c.refused.Load() }

// Messages says how many messages of schedulers there were for executors on the node, and for others.
func (c *ExecutorCounts) Messages() (taken, lost uint64) { return c.messages.Load(), c.lost.Load() }

// Message counts a message of a scheduler.
func (c *ExecutorCounts) Message(known bool) {
	if known {
		c.messages.Add(1)
	} else {
		c.lost.Add(1)
	}
}

func (c *ExecutorCounts) update(err error) {
	switch {
	case c == nil:
	case err != nil:
		c.refused.Add(1)
	default:
		c.updates.Add(1)
	}
}
