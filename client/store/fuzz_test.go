package store_test

import (
	"testing"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/store/faultdisk"
	"github.com/proffer/proffer/structs"
)

// Whatever a file of the node's state holds, it is refused, or can be read and written.
func FuzzOpen(f *testing.F) {
	alloc, job := example()
	first := faultdisk.New()
	s := open(f, first)
	must(f, s.Commit(f.Context(), append(store.End("a0", &store.Ended{Tasks: []string{"t"}}), store.PutNode(&store.Node{}), store.PutJob(job),
		store.PutAlloc(alloc), store.PutState("a1", &store.State{}), store.PutTask("a1", "t", &store.Task{Start: 1}))...))
	must(f, s.Close())
	const name = "state/state-00000001.log"
	data := make([]byte, first.Size(name))
	file, err := first.Open(name)
	must(f, err)
	file.ReadAt(data, 0)
	for _, at := range []int{0, 20, 40, 60, len(data) - 3} {
		f.Add(at, []byte{0xff, 0xff, 0xff, 0xff})
	}
	f.Add(len(data), []byte("more"))
	f.Fuzz(func(t *testing.T, at int, b []byte) {
		at = int(uint(at) % uint(len(data)+1))
		damaged := append(append(data[:at:at], b...), data[min(len(data), at+len(b)):]...)
		store.Reseal(damaged)
		d := faultdisk.New()
		file, err := d.Create(name)
		must(t, err)
		if _, err := file.WriteAt(damaged, 0); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(d, "state")
		if err != nil {
			if structs.KindOf(err) != structs.Invalid {
				t.Fatal(err)
			}
			return
		}
		s.Node("global")
		s.Allocs()
		s.Jobs()
		for _, id := range s.EndedIDs() {
			s.Ended(id)
		}
		must(t, s.Commit(t.Context(), store.PutJob(job)))
		must(t, s.Close())
	})
}
