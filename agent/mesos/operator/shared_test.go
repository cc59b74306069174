package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask, answers are made one after the other, and who asks while one is made gets the next.
func TestSharedIsMadeOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		made, under, most := 0, 0, 0
		build := func(context.Context, *body) (*body, func(), error) {
			under++
			most = max(most, under)
			time.Sleep(time.Second)
			under--
			made++
			b := newBody()
			b.end(true, fmt.Append(nil, made))
			return b, nil, nil
		}
		var all sync.WaitGroup
		got := map[string]int{}
		var mu sync.Mutex
		ask := func(name string, n int) {
			for range n {
				all.Go(func() {
					err := s.get(t.Context(), build, func(b *body) error {
						mu.Lock()
						got[name+string(b.chunks[0])]++
						mu.Unlock()
						return nil
					})
					if err != nil {
						t.Error(err)
					}
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
		slow := func(ctx context.Context, _ *body) (*body, func(), error) {
			select {
			case <-time.After(time.Second):
				return newBody(), nil, nil
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		var sent atomic.Int32
		send := func(*body) error { sent.Add(1); return nil }
		var all sync.WaitGroup
		all.Go(func() { s.get(t.Context(), slow, send) }) // it has the turn
		synctest.Wait()
		gone, leave := context.WithCancel(t.Context())
		all.Go(func() {
			if err := s.get(gone, slow, send); !errors.Is(err, context.Canceled) && !errors.Is(err, errAbandoned) {
				t.Errorf("it went and got %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if err := s.get(t.Context(), slow, send); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		leave()
		all.Wait()
		if n := sent.Load(); n != 2 {
			t.Errorf("%d answers were sent", n)
		}
	})
}

// An answer is sent while it is written, to all who asked for it; when what writes it fails, none of them takes what came for the whole.
func TestSharedIsSentWhileItIsWritten(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newShared()
			build := func(context.Context, *body) (*body, func(), error) {
				time.Sleep(time.Second)
				b := newBody()
				return b, func() {
					for range 3 {
						b.add([]byte("part"))
						time.Sleep(time.Second)
					}
					if fails {
						panic("what it writes is wrong")
					}
					b.end(true)
				}, nil
			}
			var all sync.WaitGroup
			began := time.Now()
			ask := func(mine bool, after time.Duration) {
				all.Go(func() {
					defer func() {
						if fault := recover(); (fault != nil) != (fails && mine) {
							t.Errorf("it ended with %v", fault)
						}
					}()
					w := httptest.NewRecorder()
					first := time.Duration(0)
					err := s.get(t.Context(), build, func(b *body) error {
						if _, _, err := b.from(0); err == nil {
							first = time.Since(began)
						}
						return padding("").send(w, b)
					})
					if first != after || errors.Is(err, errCut) != fails || !fails && w.Body.String() != "partpartpart" {
						t.Errorf("the first part came after %s; %q, %v", first, w.Body, err)
					}
				})
			}
			ask(true, time.Second)
			synctest.Wait()
			ask(true, 5*time.Second) // it makes the next one, for the others too
			for range 4 {
				synctest.Wait()
				ask(false, 5*time.Second)
			}
			all.Wait()
			if took := time.Since(began); took != 8*time.Second {
				t.Errorf("all had theirs after %s", took)
			}
			if len(s.turn) != 0 {
				t.Error("the turn was not given back")
			}
		})
	}
}
