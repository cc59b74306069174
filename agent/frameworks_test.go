package agent

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/structs"
)

// A client asks what frameworks are once in a while, asks for new ones at once, and answers with what it knew while no server does.
func TestRemembersFrameworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f frameworks
		asked, name := 0, "first"
		var fault error
		look := func(ids ...structs.FrameworkID) string {
			out := ""
			for _, x := range f.of(t.Context(), ids, func(_ context.Context, ids []structs.FrameworkID) (all []*structs.Framework, err error) {
				asked++
				for _, id := range ids {
					if id != "gone" {
						all = append(all, &structs.Framework{ID: id, Name: name})
					}
				}
				return all, fault
			}) {
				out += string(x.ID) + "=" + x.Name + " "
			}
			return out
		}
		expect := func(got, want string, times int) {
			t.Helper()
			if got != want || asked != times {
				t.Errorf("%q after %d questions, want %q after %d", got, asked, want, times)
			}
		}
		time.Sleep(time.Hour) // the clock is at its beginning
		fault = errors.New("no server answers")
		expect(look("a"), "", 1)
		expect(look("a"), "", 1) // not again at once
		time.Sleep(frameworksRest + 1)
		fault = nil
		expect(look("a", "gone"), "a=first ", 2)
		expect(look("a", "gone"), "a=first ", 2)
		name = "second"
		expect(look("a", "b"), "a=second b=second ", 3)
		time.Sleep(frameworksAge + 1)
		fault = errors.New("no server answers")
		expect(look("b"), "b=second ", 4)
		time.Sleep(frameworksRest + 1)
		fault = nil
		expect(look("b"), "b=second ", 5)
		if len(f.known) != 1 {
			t.Errorf("it remembers %v", f.known)
		}
	})
}

// Who asks at the same time hears one answer. A caller that goes away while it asks is no server that does not answer: the next one asks.
func TestAsksOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour) // the clock is at its beginning
		var f frameworks
		var asked atomic.Int32
		ask := func(ctx context.Context, ids []structs.FrameworkID) ([]*structs.Framework, error) {
			asked.Add(1)
			select {
			case <-time.After(time.Second):
				return []*structs.Framework{{ID: ids[0], Name: "found"}}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		first, leave := context.WithCancel(t.Context())
		ids := []structs.FrameworkID{"a"}
		var group sync.WaitGroup
		group.Go(func() {
			if got := f.of(first, ids, ask); got != nil {
				t.Errorf("who went away was told %v", got)
			}
		})
		synctest.Wait()
		for range 3 {
			group.Go(func() {
				if got := f.of(t.Context(), ids, ask); len(got) != 1 || got[0].Name != "found" {
					t.Errorf("who waited was told %v", got)
				}
			})
		}
		group.Go(func() {
			waits, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			f.of(waits, ids, ask)
			if waits.Err() != context.DeadlineExceeded || asked.Load() != 1 {
				t.Errorf("who waits cannot go away: %v after %d questions", waits.Err(), asked.Load())
			}
		})
		time.Sleep(2 * time.Millisecond)
		leave()
		group.Wait()
		if asked.Load() != 2 {
			t.Errorf("servers were asked %d times, want 2: for who went away and for all others", asked.Load())
		}
	})
}
