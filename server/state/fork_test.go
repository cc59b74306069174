package state

import (
	"fmt"
	"sync"
	"testing"

	"github.com/proffer/proffer/structs"
)

// Forks of one snapshot, and the store that it is of, go on without seeing anything of each other.
func TestFork(t *testing.T) {
	store := New()
	put := func(s *Store, index uint64, name string) {
		if r := s.Apply(index, &Entry{Envelopes: []Envelope{{Command: &PutRole{Role: &structs.Role{Name: name}}}}})[0]; r.Err != nil {
			t.Error(r.Err)
		}
	}
	put(store, 1, "before")
	snap := store.Snapshot()
	was := dump(snap)
	var forks sync.WaitGroup
	for i := range 4 {
		forks.Go(func() {
			fork := snap.Fork()
			for n := range uint64(100) {
				put(fork, 2+n, fmt.Sprintf("fork%d-%d", i, n))
				put(fork, 200+n, "before")
			}
			if got := fork.Snapshot(); got.Role("later") != nil || got.Role(fmt.Sprintf("fork%d-99", i)) == nil || got.Role(fmt.Sprintf("fork%d-99", (i+1)%4)) != nil {
				t.Errorf("fork %d has what is not its own", i)
			}
		})
	}
	for n := range uint64(100) {
		put(store, 2+n, "later")
	}
	forks.Wait()
	if now := store.Snapshot(); dump(snap) != was || now.Role("fork0-0") != nil || now.Role("later") == nil {
		t.Error("a fork reached the store, or the snapshot changed")
	}
}
