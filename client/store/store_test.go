package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/msgpack/twin"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/store/faultdisk"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

func open(t testing.TB, d store.Disk) *store.Store {
	t.Helper()
	s, err := store.Open(d, "state")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func example() (*structs.Allocation, *structs.JobVersion) {
	two := 2
	job := &structs.JobVersion{Version: 3, Job: &structs.Job{Name: "web", Type: structs.ServiceJob, Meta: map[string]string{"a": "b"},
		Groups: []*structs.Group{{Name: "g", Count: &two, Restart: &structs.Restart{Attempts: &two, Interval: 5},
			Tasks: []*structs.Task{{Name: "t", Driver: "mock", Env: map[string]string{"X": "1"}, Config: map[string]any{
				"run_for": "5s", "exit_code": int64(3), "flag": true, "args": []any{"a", int64(1), map[string]any{"k": "v"}}, "f": 1.5}}}}}}}
	alloc := &structs.Allocation{ID: "a1", Job: "web", Version: 3, Group: "g", Index: 1, Incarnation: 9, CreateIndex: 7,
		Resources: structs.Resources{CPU: 100, Custom: map[string]structs.Milli{"gpus": 1000}},
		Ports:     []structs.AssignedPort{{Label: "http", Host: "10.0.0.1", Port: 20000}}}
	return alloc, job
}

// TestRecordsComeBackAsTheyWere writes every record and reads it after a crash.
func TestRecordsComeBackAsTheyWere(t *testing.T) {
	d := faultdisk.New()
	s := open(t, d)
	alloc, job := example()
	node := &store.Node{Format: store.Format, ID: "n1", Region: "eu", Generation: "g1", Index: 5, Boot: "b", Lease: 77}
	state := &store.State{Stop: "why", Fail: true, Started: 5, Restarts: 2}
	task := &store.Task{Start: 4, Running: true, Handle: []byte{1, 2}, Failures: []structs.Time{1, 2},
		State: structs.TaskState{Status: structs.TaskRunning, Events: []structs.TaskEvent{{Time: 3, Type: "started", Text: "x"}}}}
	ended := &store.Ended{Update: structs.AllocUpdate{ID: "a0", Status: structs.AllocFailed, Tasks: map[string]*structs.TaskState{
		"t": {ExitCode: 3}, "u": {ExitCode: 4}}}, Job: "web", Tasks: []string{"t", "u"}, Folder: true}
	ops := append(store.End("a0", ended), store.PutNode(node), store.PutJob(job), store.PutAlloc(alloc),
		store.PutState("a1", state), store.PutTask("a1", "t", task))
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, d.Crash(rand.New(rand.NewPCG(1, 1))))
	defer s.Close()
	gotNode, err := s.Node("eu")
	if err != nil {
		t.Fatal(err)
	}
	allocs, problems := s.Allocs()
	if len(problems) > 0 || len(allocs) != 1 {
		t.Fatalf("%d allocations, problems %v", len(allocs), problems)
	}
	gotEnded, err := s.Ended("a0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want any }{{gotNode, node}, {allocs[0].Alloc, alloc}, {allocs[0].Job, job},
		{allocs[0].State, state}, {allocs[0].Tasks["t"], task}, {gotEnded, ended}} {
		if got, want := show(c.got), show(c.want); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if _, err := s.Node("us"); structs.KindOf(err) != structs.Conflict || !strings.Contains(err.Error(), `region "eu", not "us"`) {
		t.Errorf("another region: %v", err)
	}
	if _, err := s.Ended("zz"); structs.KindOf(err) != structs.NotFound {
		t.Errorf("an unknown end: %v", err)
	}
}

func show(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// TestEndLeavesNothingElse shows that the records of an allocation go with its end.
func TestEndLeavesNothingElse(t *testing.T) {
	d := faultdisk.New()
	s := open(t, d)
	alloc, job := example()
	must(t, s.Commit(t.Context(), store.PutJob(job), store.PutAlloc(alloc), store.PutState("a1", &store.State{}),
		store.PutTask("a1", "t", &store.Task{Start: 1})))
	must(t, s.Commit(t.Context(), store.End("a1", &store.Ended{Tasks: []string{"t"}})...))
	if allocs, problems := s.Allocs(); len(allocs)+len(problems) > 0 {
		t.Errorf("left: %v %v", allocs, problems)
	}
	if ids := s.EndedIDs(); !slices.Equal(ids, []structs.AllocID{"a1"}) {
		t.Errorf("ends: %v", ids)
	}
	must(t, s.Commit(t.Context(), store.Forget("a1"), store.DeleteJob("web", 3)))
	if ids, jobs := s.EndedIDs(), s.Jobs(); len(ids)+len(jobs) > 0 {
		t.Errorf("left: %v %v", ids, jobs)
	}
	must(t, s.Close())
}

// TestNothingAcknowledgedIsLost cuts the machine off at random points, also while the store is begun anew, lets operations
// fail, and compares what comes back with a map. The dumb twin: key -> newest acknowledged value, and values in doubt.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	defer store.SetCompactFloor(2000)()
	rapid.Check(t, func(rt *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		d := faultdisk.New()
		sure := map[structs.AllocID]uint64{}           // Start of task "t"
		doubt := map[structs.AllocID]map[uint64]bool{} // written, not acknowledged
		var number uint64
		for range rapid.IntRange(1, 6).Draw(rt, "lives") {
			budget := rapid.IntRange(0, 150).Draw(rt, "operations until the crash")
			failEvery := rapid.SampledFrom([]int{0, 0, 3, 10}).Draw(rt, "fail every")
			calls := 0
			faults := rand.New(rand.NewPCG(random.Uint64(), 0)) // the disk calls Fail from one goroutine at a time
			d.Fail(func(op, name string) error {
				calls++
				if calls > budget {
					return syscall.EIO // it hangs in the air: the crash follows
				}
				if failEvery > 0 && faults.IntN(failEvery) == 0 {
					return []error{syscall.EIO, syscall.ENOSPC}[faults.IntN(2)]
				}
				return nil
			})
			s, err := store.Open(d, "state")
			if err == nil {
				check(rt, s, sure, doubt)
				for range 40 {
					id := structs.AllocID(fmt.Sprintf("a%d", random.IntN(2)))
					number++
					err := s.Commit(context.Background(), store.PutAlloc(&structs.Allocation{ID: id}), store.PutTask(id, "t", &store.Task{Start: number}))
					if err == nil {
						sure[id] = number
						delete(doubt, id)
					} else {
						if doubt[id] == nil {
							doubt[id] = map[uint64]bool{}
						}
						doubt[id][number] = true
					}
				}
				s.Close()
			} else if structs.KindOf(err) == structs.Invalid {
				rt.Fatalf("a crash looks like damage: %v", err)
			}
			d.Fail(nil)
			if rapid.Bool().Draw(rt, "power") {
				d = d.Crash(random)
			} else {
				d = d.Kill()
			}
		}
		s, err := store.Open(d, "state")
		if err != nil {
			rt.Fatal(err)
		}
		check(rt, s, sure, doubt)
		s.Close()
	})
}

// check compares, and makes what it saw sure: a later life must keep it.
func check(rt *rapid.T, s *store.Store, sure map[structs.AllocID]uint64, doubt map[structs.AllocID]map[uint64]bool) {
	got := s.Starts("t")
	for id, want := range sure {
		if got[id] != want && !doubt[id][got[id]] {
			rt.Fatalf("%s: start %d came back, %d was acknowledged, in doubt were %v", id, got[id], want, slices.Collect(maps.Keys(doubt[id])))
		}
	}
	for id, n := range got {
		if sure[id] != n && !doubt[id][n] {
			rt.Fatalf("%s: start %d was never written", id, n)
		}
	}
	if s.Err() != nil {
		return // it could not be written again: what was read may be in memory only
	}
	for id, n := range got {
		sure[id] = n
	}
	clear(doubt)
}

// TestManyCommitsShareOneSync shows the grouping, which the rate of short tasks lives on.
func TestManyCommitsShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := faultdisk.New()
		hold := make(chan struct{})
		s := open(t, d)
		before := d.Syncs
		first := true
		d.Fail(func(op, name string) error {
			if op == "sync" && first {
				first = false
				<-hold
			}
			return nil
		})
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() {
				if err := s.Commit(t.Context(), store.PutTask(structs.AllocID(fmt.Sprint(i)), "t", &store.Task{Start: 1})); err != nil {
					t.Error(err)
				}
			})
			if i == 0 {
				synctest.Wait() // the writer holds in its first sync
			}
		}
		synctest.Wait() // all others wait for the next one
		close(hold)
		all.Wait()
		if n := d.Syncs - before; n > 3 {
			t.Errorf("%d syncs for 500 commits", n)
		}
		must(t, s.Close())
	})
}

// TestLazyRecordsTravelAlone shows that Enqueue needs no Commit.
func TestLazyRecordsTravelAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := faultdisk.New()
		s := open(t, d)
		s.Enqueue(store.PutTask("a", "t", &store.Task{Start: 5}))
		synctest.Wait()
		if got := s.Starts("t")["a"]; got != 0 {
			t.Errorf("written at once")
		}
		time.Sleep(2 * store.LazyDelay)
		if got := s.Starts("t")["a"]; got != 5 {
			t.Errorf("start %d after a while", got)
		}
		must(t, s.Close())
	})
}

// TestFullDisk shows a clear error, no damage, and work again once there is room.
func TestFullDisk(t *testing.T) {
	d := faultdisk.New()
	s := open(t, d)
	must(t, s.Commit(t.Context(), store.PutTask("a", "t", &store.Task{Start: 1})))
	d.Capacity = d.Size("state/state-00000001.log") + 30
	err := s.Commit(t.Context(), store.PutTask("a", "t", &store.Task{Start: 2}))
	if structs.KindOf(err) != structs.Exhausted || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("full disk: %v", err)
	}
	if s.Err() == nil {
		t.Error("the store does not say so")
	}
	if got := s.Starts("t")["a"]; got != 1 {
		t.Errorf("start %d", got)
	}
	d.Capacity = 0
	must(t, s.Commit(t.Context(), store.PutTask("a", "t", &store.Task{Start: 3})))
	must(t, s.Close())
	s = open(t, d.Crash(rand.New(rand.NewPCG(2, 2))))
	if got := s.Starts("t")["a"]; got != 3 {
		t.Errorf("start %d after the crash", got)
	}
	must(t, s.Close())
}

// TestDamageIsNotTakenForACrash flips a byte in the middle: what follows was acknowledged, so the store must not go on
// without it.
func TestDamageIsNotTakenForACrash(t *testing.T) {
	d := faultdisk.New()
	s := open(t, d)
	for i := range 10 {
		must(t, s.Commit(t.Context(), store.PutTask("a", "t", &store.Task{Start: uint64(i)})))
	}
	must(t, s.Close())
	d.Corrupt("state/state-00000001.log", 60)
	if _, err := store.Open(d, "state"); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "damaged at byte") {
		t.Fatalf("damage: %v", err)
	}
}

// TestSegmentsStaySmall writes one key for ever.
func TestSegmentsStaySmall(t *testing.T) {
	d := faultdisk.New()
	s := open(t, d)
	big := make([]byte, 100_000)
	for i := range 200 {
		must(t, s.Commit(t.Context(), store.PutTask("a", "t", &store.Task{Start: uint64(i), Handle: big})))
	}
	must(t, s.Close())
	names, _ := d.ReadDir("state")
	if len(names) != 1 || d.Size("state/"+names[0]) > 6<<20 {
		t.Errorf("%v, %d bytes", names, d.Size("state/"+names[0]))
	}
	s = open(t, d)
	if got := s.Starts("t")["a"]; got != 199 {
		t.Errorf("start %d", got)
	}
	must(t, s.Close())
}

// TestRealFiles does a round on the file system of the machine.
func TestRealFiles(t *testing.T) {
	dir := t.TempDir() + "/deep/state"
	for i := range 3 {
		s, err := store.Open(store.OS{}, dir)
		must(t, err)
		if got := s.Starts("t")["a"]; got != uint64(i) {
			t.Errorf("start %d in life %d", got, i)
		}
		must(t, s.Commit(t.Context(), store.PutAlloc(&structs.Allocation{ID: "a"}), store.PutTask("a", "t", &store.Task{Start: uint64(i + 1)})))
		must(t, s.Close())
		must(t, s.Close())
		if err := s.Commit(t.Context()); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("closed: %v", err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecordsAreAsTheyWere: a node reads what it wrote before it used package msgpack.
func TestRecordsAreAsTheyWere(t *testing.T) {
	twin.Check(t, 1, 60, store.Node{}, structs.JobVersion{}, structs.Allocation{}, store.State{}, store.Task{}, store.Ended{})
}
