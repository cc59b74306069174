// Package consensus replicates the state of a region: hashicorp/raft with commands committed in groups, linearizable
// reads, leadership terms, snapshots and the clean-up of dead servers. See DESIGN.md.
package consensus
