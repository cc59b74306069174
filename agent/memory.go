package agent

import (
	"context"
	"runtime/debug"
	rt "runtime/metrics" // metrics are the agent's own
	"time"
)

// A Go program keeps the memory of its busiest moment for minutes, and of what it does after that up to as much again as is
// in use. Under load that is what makes it fast; an agent that has become quiet gives it back.
const (
	memoryLook    = 10 * time.Second
	memoryQuiet   = 1 << 20  // bytes allocated in a second, at most, by an agent that is quiet
	memorySurplus = 16 << 20 // bytes, and a quarter of what is in use: less is not worth a collection
)

// memory is what the runtime says of the heap, in bytes.
type memory struct {
	allocated uint64 // ever
	live      uint64 // found by the last collection
	held      uint64 // objects, dead ones too, and room for more that was not given back
}

func readMemory() memory {
	s := []rt.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	rt.Read(s)
	return memory{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(),
		held: s[2].Value.Uint64() + s[3].Value.Uint64() + s[4].Value.Uint64()}
}

// wasteful reports whether a program that was like before some time ago is quiet and holds much that it does not use.
func (m memory) wasteful(before memory, passed time.Duration) bool {
	return float64(m.allocated-before.allocated) <= memoryQuiet*passed.Seconds() && m.held > m.live+max(memorySurplus, m.live/4)
}

// giveMemoryBack does so whenever the agent has become quiet, until ctx ends.
func giveMemoryBack(ctx context.Context) {
	tick := time.NewTicker(memoryLook)
	defer tick.Stop()
	before, at := readMemory(), time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := readMemory()
		if now.wasteful(before, time.Since(at)) {
			debug.FreeOSMemory()
		}
		before, at = now, time.Now()
	}
}
