package state

import (
	"bytes"
	"testing"

	"github.com/proffer/proffer/structs"
)

// Whatever an entry of the log holds, it is refused, or applied alike by two stores, and what it left is restored alike.
// A command that is sent as it is fuzzed may be absurd, but the state machine must not end because of it.
func FuzzEntry(f *testing.F) {
	seed := func(commands ...Command) {
		raw := AppendHeader(nil, 7)
		for _, c := range commands {
			one, err := EncodeEnvelope(Envelope{Key: "k", Actor: "ann", Command: c})
			if err != nil {
				f.Fatal(err)
			}
			raw = append(raw, one...)
		}
		f.Add(raw)
	}
	r := newRegion(f)
	r.node("a", 4000)
	for kind := range kinds {
		seed(kinds[kind].command())
	}
	seed(&PutRole{Role: &structs.Role{Name: "eng"}}, &SubmitJob{Job: job("web", structs.ServiceJob, 2)}, &StopJob{Name: "web", Purge: true})
	f.Fuzz(func(t *testing.T, raw []byte) {
		one, two := New(), New()
		a, errA := one.ApplyEntry(1, raw)
		b, errB := two.ApplyEntry(1, raw)
		if (errA == nil) != (errB == nil) || len(a) != len(b) {
			t.Fatalf("%d results, %v; then %d, %v", len(a), errA, len(b), errB)
		}
		was := dump(one.Snapshot())
		if again := dump(two.Snapshot()); again != was {
			t.Fatalf("two stores differ:\n%s\n---\n%s", was, again)
		}
		var file bytes.Buffer
		if err := one.Image().Persist(&file); err != nil {
			t.Fatal(err)
		}
		if errA != nil {
			return
		}
		if err := two.Restore(&file); err != nil {
			t.Fatal(err)
		}
		if again := dump(two.Snapshot()); again != was {
			t.Fatalf("restored:\n%s\n---\n%s", was, again)
		}
	})
}

// Whatever a snapshot holds, it is refused, or the store can be read.
func FuzzRestore(f *testing.F) {
	s, _ := filled(f, 3)
	var file bytes.Buffer
	if err := s.Image().Persist(&file); err != nil {
		f.Fatal(err)
	}
	data := file.Bytes()
	f.Add(0, []byte{})
	for at := 0; at < len(data); at += len(data) / 20 {
		f.Add(at, []byte{0xc0})
		f.Add(at, []byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, at int, b []byte) {
		at = int(uint(at) % uint(len(data)+1))
		damaged := append(append(data[:at:at], b...), data[min(len(data), at+len(b)):]...)
		Inspect(bytes.NewReader(damaged))
		s := New()
		if s.Restore(bytes.NewReader(damaged)) == nil {
			dump(s.Snapshot())
		}
	})
}
