package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/structs"
)

// Every server must make the same of an entry, whatever it went through before.

// A server that restored a snapshot has nil where the others have an empty map.
func TestAScaleThatWasTakenBackLeavesNothing(t *testing.T) {
	r := newRegion(t)
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
	r.must(&ScaleJob{Name: "web", Group: "a", Count: 3})
	r.must(&ScaleJob{Name: "web", Group: "a", Count: -1})
	r.fork()
	r.must(&SubmitJob{Job: job("web", "service", 2, "a")})
}

// Which of too many tasks are kept must not depend on the order of a map.
func TestTooManyTasksAreCutAlike(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("web", "service", 1, "a")})
	a := r.place("web", "a", 0, id)
	r.fork()
	tasks := map[string]*structs.TaskState{}
	for i := range 2 * maxTasks {
		tasks[fmt.Sprint("task", i)] = &structs.TaskState{Status: structs.TaskRunning}
	}
	r.must(&Observe{Node: id, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: "running", Tasks: tasks}}})
}

// halfway changes something and then fails.
type halfway struct {
	StopJob
	panics bool
}

func (c *halfway) Apply(tx *Tx) (any, error) {
	tx.putJob(nil, structs.JobRecord{Name: "half", Ended: 1})
	if c.panics {
		panic("on purpose")
	}
	return nil, structs.Errorf(structs.Conflict, "half", "on purpose")
}

// What failed has changed no table, and its error is the same text on every server.
func TestAFailureLeavesNoTrace(t *testing.T) {
	s := New()
	s.Apply(1, &Entry{Envelopes: []Envelope{{Command: &SubmitJob{Job: job("web", "service", 1, "a")}}}})
	before := s.Snapshot().TableIndex(Jobs)
	for _, panics := range []bool{false, true} {
		err := s.Apply(2, &Entry{Envelopes: []Envelope{{Command: &halfway{panics: panics}}}})[0].Err
		if err == nil || strings.Contains(structs.AsError(err).Why, "goroutine") {
			t.Errorf("error %v", err)
		}
		if got := s.Snapshot().TableIndex(Jobs); got != before || s.Snapshot().EndedJobCount() != 0 {
			t.Errorf("the jobs changed at %d, says the state at %d", got, before)
		}
	}
}

// A status that was on its way while the last work of a batch job finished does not bring it back to life.
func TestALateStatusDoesNotReviveABatchJob(t *testing.T) {
	r := newRegion(t)
	id := r.node("1", 8000)
	r.must(&SubmitJob{Job: job("nightly", "batch", 1, "a")})
	r.observe(r.place("nightly", "a", 0, id), structs.AllocComplete, structs.TaskFinished)
	r.must(&Place{Statuses: []*SetJobStatus{{Name: "nightly", Version: 1, Status: structs.JobRunning, Why: "0 of 1 done"}}})
	if j := r.store.Snapshot().Job("nightly"); j.Status != structs.JobDone || j.Ended == 0 {
		t.Errorf("it is %s (%s), ended at %d", j.Status, j.Why, j.Ended)
	}
}

// A batch job that wants nothing is done, also after a restart.
func TestARestartOfNothingIsDone(t *testing.T) {
	r := newRegion(t)
	r.must(&SubmitJob{Job: job("nightly", "batch", 0, "a")})
	r.must(&RestartJob{Name: "nightly"})
	if j := r.store.Snapshot().Job("nightly"); j.Status != structs.JobDone || j.Ended == 0 {
		t.Errorf("it is %s, ended at %d", j.Status, j.Ended)
	}
}

// After a restored snapshot the index is lower than before for a moment. Who waits with an index from before is told that
// all may be different, and who waits with that of the snapshot is not told so over and over.
func TestWaitersOverARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		put := func(index uint64, name string) {
			s.Apply(index, &Entry{Envelopes: []Envelope{{Command: &PutRole{Role: &structs.Role{Name: name}}}}})
		}
		put(5, "a")
		var file bytes.Buffer
		if err := s.Image().Persist(&file); err != nil {
			t.Fatal(err)
		}
		put(9, "b")
		if err := s.Restore(&file); err != nil {
			t.Fatal(err)
		}
		told := func(index uint64) bool {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := s.Wait(ctx, index, OfTable(Roles))
				ended <- err
			}()
			synctest.Wait()
			cancel()
			return <-ended == nil
		}
		if !told(9) {
			t.Error("a waiter with the index from before the restore waits for the next change")
		}
		if told(5) {
			t.Error("a waiter with the index of the snapshot is told that something changed")
		}
		var lagged *Lagged
		if _, _, err := s.SubscribeAfter(9, 0); !errors.As(err, &lagged) {
			t.Errorf("a subscriber behind an index from before: %v", err)
		}
		_, feed, err := s.SubscribeAfter(5, 0)
		if err != nil {
			t.Fatal(err)
		}
		put(12, "c")
		if b, err := feed.Try(); err != nil || b == nil || b.Index != 12 {
			t.Errorf("the next batch: %+v, %v", b, err)
		}
	})
}
