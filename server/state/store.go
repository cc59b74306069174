package state

import (
	"context"
	"io"

	"github.com/proffer/proffer/structs"
)

// Store is the state of a region on this server. Apply and Restore are called by one goroutine, the Raft state machine;
// everything else from any.
type Store struct{}

// Tx is what a command changes the state through.
type Tx struct{}

// New returns an empty store.
func New() *Store { panic("") }

// Snapshot returns the state after the last entry.
func (s *Store) Snapshot() *Snapshot { panic("") }

// Wait returns a snapshot as soon as something under one of keys has changed after index, or at once when that is not
// known any more. It returns ctx's error when that ends first; take a Snapshot then.
func (s *Store) Wait(ctx context.Context, index uint64, keys ...Key) (*Snapshot, error) { panic("") }

// WaitIndex returns a snapshot as soon as the store has reached index.
func (s *Store) WaitIndex(ctx context.Context, index uint64) (*Snapshot, error) { panic("") }

// Subscribe returns the state and the changes that follow it, without a gap: those under keys, all when there are none.
// The feed holds up to limit changes that were not read; 0 means 4,096.
func (s *Store) Subscribe(limit int, keys ...Key) (*Snapshot, *Feed) { panic("") }

// SubscribeAfter is Subscribe for somebody who has seen the changes up to index; the feed begins behind it. It is a
// *Lagged error when those changes are not kept any more.
func (s *Store) SubscribeAfter(index uint64, limit int, keys ...Key) (*Snapshot, *Feed, error) {
	panic("")
}

// Feed is an ordered stream of changes.
type Feed struct{}

// Next returns the next batch. A feed whose reader is too slow, or whose store was restored, ends with a *Lagged error:
// subscribe again and begin from the snapshot.
func (f *Feed) Next(ctx context.Context) (*Batch, error) { panic("") }

// Close ends the subscription.
func (f *Feed) Close() { panic("") }

// Lagged says that changes were lost.
type Lagged struct{ After uint64 }

func (e *Lagged) Error() string { panic("") }

// Entry is what one Raft entry carries.
type Entry struct {
	Time      structs.Time
	Envelopes []Envelope
}

// Persist writes everything to w.
func (s *Store) Persist(w io.Writer) error { panic("") }

// Restore replaces everything.
func (s *Store) Restore(r io.Reader) error { panic("") }
