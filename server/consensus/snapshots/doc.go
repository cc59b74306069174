// Package snapshots keeps the snapshots of a server in one folder, a file each. A file gets its name once its contents
// are durable, and what Close acknowledged is there after any crash. It takes the place of raft's FileSnapshotStore,
// which makes a folder a snapshot and syncs its files, but not their names in it.
package snapshots
