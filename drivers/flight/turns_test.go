package flight

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// One at a time has a turn, others wait as long as they like to, and nothing is kept of what nobody wants.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		end, err := turns.Take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if other, err := turns.Take(t.Context(), "b"); err != nil {
			t.Errorf("of something else: %v", err)
		} else {
			other()
		}
		tired, cancel := context.WithCancelCause(t.Context())
		gaveUp, inside := make(chan error, 1), make(chan struct{})
		go func() {
			_, err := turns.Take(tired, "a")
			gaveUp <- err
		}()
		go func() {
			if end, err := turns.Take(t.Context(), "a"); err == nil {
				close(inside)
				end()
			}
		}()
		synctest.Wait()
		why := errors.New("tired")
		cancel(why)
		if err := <-gaveUp; !errors.Is(err, why) {
			t.Errorf("who gave up got %v", err)
		}
		select {
		case <-inside:
			t.Error("two have a turn")
		default:
		}
		end()
		<-inside
		synctest.Wait()
		if len(turns.m) > 0 {
			t.Errorf("left: %v", turns.m)
		}
	})
}
