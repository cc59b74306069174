package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask, answers are made one after the other, and who asks while one is made gets the next.
func TestSharedIsMadeOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		made, under, most := 0, 0, 0
		build := func(context.Context, *body) (*body, error) {
			under++
			most = max(most, under)
			time.Sleep(time.Second)
			under--
			made++
			return &body{size: made}, nil
		}
		var all sync.WaitGroup
		got := map[string]int{}
		var mu sync.Mutex
		ask := func(name string, n int) {
			for range n {
				all.Go(func() {
					b, err := s.get(t.Context(), build)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					got[fmt.Sprint(name, b.size)]++
					mu.Unlock()
				})
			}
		}
		ask("first", 1)
		synctest.Wait()
		time.Sleep(500 * time.Millisecond)
		ask("meanwhile", 10)
		all.Wait()
		if made != 2 || most != 1 || got["first1"] != 1 || got["meanwhile2"] != 10 {
			t.Errorf("%d were made, %d at a time: %v", made, most, got)
		}
	})
}

// When who makes an answer goes, the others still get one.
func TestSharedOutlivesItsMaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		slow := func(ctx context.Context, _ *body) (*body, error) {
			select {
			case <-time.After(time.Second):
				return &body{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		var all sync.WaitGroup
		all.Go(func() { s.get(t.Context(), slow) }) // it has the turn
		synctest.Wait()
		gone, leave := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := s.get(gone, slow); !errors.Is(err, context.Canceled) && !errors.Is(err, errAbandoned) {
				t.Errorf("it went and got %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if b, err := s.get(t.Context(), slow); b == nil || err != nil {
				t.Errorf("%v, %v", b, err)
			}
		})
		synctest.Wait()
		leave()
		all.Wait()
	})
}
