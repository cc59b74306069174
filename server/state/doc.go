// Package state is the replicated state of a region: an immutable store with snapshots, watches by key and a change
// feed. A change is a Command, a value whose Apply is deterministic; whoever wants to react to a change subscribes.
//
// Records are pointers to structs that nobody changes once they are stored. A Snapshot is one consistent state; it is
// free to take, may be kept as long as one likes and read from any goroutine without a lock. See DESIGN.md.
package state
