// Package wal is the write-ahead log under Raft: raft.LogStore and raft.StableStore in one folder, with one write and
// one fdatasync for each StoreLogs. What a call acknowledged survives a crash at any moment; damage to it is
// reported with file and offset and never repaired by forgetting. DESIGN.md has the format and the reasons.
package wal
