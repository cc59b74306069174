package state

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/proffer/proffer/structs"
)

// filled returns a store with 100 nodes and n running allocations of one job.
func filled(tb testing.TB, n int) (*Store, []*structs.Allocation) {
	s := New()
	index := uint64(0)
	apply := func(cs ...Command) {
		index++
		e := &Entry{Time: structs.Time(index)}
		for _, c := range cs {
			e.Envelopes = append(e.Envelopes, Envelope{Command: c})
		}
		for _, r := range s.Apply(index, e) {
			if r.Err != nil {
				tb.Fatal(r.Err)
			}
		}
	}
	for i := range 100 {
		apply(&RegisterNode{Node: &structs.Node{ID: structs.NodeID(fmt.Sprintf("%032x", i)), Name: fmt.Sprint("node", i),
			Resources: structs.Resources{CPU: 1 << 40, Memory: 1 << 50}}})
	}
	apply(&SubmitJob{Job: job("load", structs.BatchJob, n, "g")})
	for i := 0; i < n; i += 500 {
		p := &Place{}
		for k := i; k < min(n, i+500); k++ {
			p.Placements = append(p.Placements, &Placement{NodeIncarnation: 1, Alloc: &structs.Allocation{
				ID: structs.AllocID(structs.NewID()), Framework: "batch", Job: "load", Group: "g", Index: k, Version: 1,
				Node: structs.NodeID(fmt.Sprintf("%032x", k%100)), Resources: structs.Resources{CPU: 100, Memory: 1 << 20}}})
		}
		apply(p)
	}
	var all []*structs.Allocation
	for a := range s.Snapshot().Allocs() {
		all = append(all, a)
	}
	if len(all) != n {
		tb.Fatalf("%d allocations", len(all))
	}
	return s, all
}

// BenchmarkObserve is the store's part of a status update: decode, apply, publish, in entries of 1, 50 and 500.
func BenchmarkObserve(b *testing.B) {
	for _, size := range []int{1, 50, 500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, all := filled(b, 100_000)
			status := []structs.AllocStatus{structs.AllocRunning, structs.AllocPending}
			var entries [][]byte
			for i := 0; i < 20_000; i += size {
				raw := AppendHeader(nil, 1)
				for k := range size {
					a := all[(i+k)*7%len(all)]
					one, err := EncodeEnvelope(Envelope{Command: &Observe{Node: a.Node, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{
						ID: a.ID, Incarnation: a.Incarnation, Status: status[(i/size)%2],
						Tasks: map[string]*structs.TaskState{"main": {Status: structs.TaskRunning, Started: structs.Time(i)}}}}}})
					if err != nil {
						b.Fatal(err)
					}
					raw = append(raw, one...)
				}
				entries = append(entries, raw)
			}
			b.ReportAllocs()
			index := s.Snapshot().Index()
			b.ResetTimer()
			for i := 0; i < b.N; i += size {
				index++
				if _, err := s.ApplyEntry(index, entries[i/size%len(entries)]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// BenchmarkPersist writes a state of 100,000 allocations.
func BenchmarkPersist(b *testing.B) {
	s, _ := filled(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Image().Persist(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEndedMemory reports what one finished allocation keeps, indexes included.
func BenchmarkEndedMemory(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		before := heap()
		const n = 100_000
		s, all := filled(b, n)
		clear(all)
		index := s.Snapshot().Index()
		for a := range s.Snapshot().Allocs() {
			index++
			tasks := map[string]*structs.TaskState{"main": {Status: structs.TaskFinished, Events: make([]structs.TaskEvent, 6)}}
			raw, err := EncodeEnvelope(Envelope{Command: &Observe{Node: a.Node, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{
				ID: a.ID, Incarnation: a.Incarnation, Status: structs.AllocComplete, Tasks: tasks}}}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.ApplyEntry(index, append(AppendHeader(nil, 1), raw...)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((heap()-before)/n, "B/allocation")
		runtime.KeepAlive(s)
	}
}

// BenchmarkAccept is the store's part of what a framework launches, hears and acknowledges: decode, apply, publish, in entries of 100.
func BenchmarkAccept(b *testing.B) {
	const each = 100
	s, _ := filled(b, 0)
	index := s.Snapshot().Index()
	node := structs.NodeID(fmt.Sprintf("%032x", 1))
	apply := func(c Command) (size int) {
		raw, err := EncodeEnvelope(Envelope{Actor: "framework f", Command: c})
		if err != nil {
			b.Fatal(err)
		}
		index++
		results, err := s.ApplyEntry(index, append(AppendHeader(nil, 1), raw...))
		if err != nil || results[0].Err != nil {
			b.Fatal(err, results[0].Err)
		}
		return len(raw)
	}
	apply(&ConnectFramework{Framework: &structs.Framework{ID: "f", Name: "f", User: "root", Roles: []string{"default"}, Connection: "c"}})
	bytes := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += each {
		a, o := &Accept{Framework: "f", Node: node, NodeIncarnation: 1}, &Observe{Node: node, NodeIncarnation: 1}
		for k := range each {
			name, id, ask := fmt.Sprint("task-", i+k), structs.AllocID(structs.NewID()), structs.Resources{CPU: 10, Memory: 1 << 20}
			group := &structs.Group{Name: "task", Tasks: []*structs.Task{{Name: name, Driver: "exec", User: "root",
				Config: map[string]any{"command": "/bin/sleep", "args": []any{"1"}}, Resources: &structs.TaskResources{CPU: 10, Memory: 1 << 20}}}}
			j := &structs.Job{Type: structs.BatchJob, Role: "default", Groups: []*structs.Group{group}}
			j.Canonicalize()
			a.Operations = append(a.Operations, &Operation{Launch: &Placement{Job: j, Alloc: &structs.Allocation{ID: id, Framework: "f", Role: "default",
				Priority: structs.DefaultPriority, Group: "task", Node: node, Resources: ask, OnLost: "replace",
				External: &structs.External{Tasks: []*structs.ExternalTask{{ID: name, Name: name}}}}}})
			o.Updates = append(o.Updates, &structs.AllocUpdate{ID: id, Status: structs.AllocRunning,
				Tasks: map[string]*structs.TaskState{name: {Status: structs.TaskRunning, Started: 1}}})
		}
		bytes += apply(&Place{Accepts: []*Accept{a}})
		for _, u := range o.Updates {
			u.Incarnation = s.Snapshot().Alloc(u.ID).Incarnation
		}
		bytes += apply(o)
		acks := &AcknowledgeUpdates{Framework: "f"}
		for _, u := range o.Updates {
			x := s.Snapshot().Alloc(u.ID).External.Tasks[0]
			acks.Updates = append(acks.Updates, Acknowledged{Task: x.ID, UUID: x.Outstanding().UUID})
		}
		bytes += apply(acks)
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "B/task")
}
