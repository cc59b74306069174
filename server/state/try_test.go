package state

import (
	"sync"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A command that is tried answers as it would, and nothing comes of it, however many try.
func TestTry(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	r.place("web", "a", 0, id)
	s := r.store.Snapshot()
	before := dump(s)
	var trying sync.WaitGroup
	for range 8 {
		trying.Go(func() {
			got, err := s.Try(&StopJob{Name: "web", Purge: true}, r.clock)
			if receipt, _ := got.(*Receipt); err != nil || receipt == nil || receipt.Index != r.index+1 {
				t.Errorf("%+v, %v", got, err)
			}
			if _, err := s.Try(&SubmitJob{Job: job("db", "service", 1, "a"), MaxJobs: 1}, r.clock); structs.KindOf(err) != structs.Exhausted {
				t.Errorf("one too many: %v", err)
			}
		})
	}
	trying.Wait()
	if now := dump(s); now != before {
		t.Errorf("it became\n%s\nfrom\n%s", now, before)
	}
	r.must(&StopJob{Name: "web", Purge: true})
	r.check()
}
