//go:build unix

package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/drivers"
)

// Whatever the table's file holds, it is refused, or what was read is written so that it can be read again.
func FuzzTable(f *testing.F) {
	path := filepath.Join(f.TempDir(), "table")
	tab, _, err := openTable(path, "boot")
	if err != nil {
		f.Fatal(err)
	}
	tab.put(testRecord(1))
	tab.change(&change{Seq: 1, PID: 77, Birth: 5, Started: 9, Exit: &drivers.Exit{Code: 3}})
	tab.put(testRecord(2))
	tab.delete(2)
	tab.close()
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for at := 0; at < len(raw); at += 50 {
		f.Add(append(append(raw[:at:at], 0xc0), raw[at+1:]...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "table")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		tab, fresh, err := openTable(path, "boot")
		if err != nil {
			return
		}
		tab.close()
		again, stale, err := openTable(path, "boot")
		if err != nil || stale || len(again.live) != len(tab.live) || fresh && len(tab.live) > 0 {
			t.Fatalf("%d records, then %d, fresh %v and %v, %v", len(tab.live), len(again.live), fresh, stale, err)
		}
		again.close()
	})
}

// Requests and answers are read with their bounds.
func FuzzMessages(f *testing.F) {
	for _, v := range []any{&request{ID: 1, Op: opStart, Launch: testRecord(1).Launch}, &response{ID: 1, Exit: &drivers.Exit{Code: 1}}, hello{Version: 1, PID: 2}} {
		raw, err := encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		decode(bytes.NewReader(raw), maxRequest, new(hello))
		decode(bytes.NewReader(raw), maxRequest, new(response))
		req := new(request)
		if decode(bytes.NewReader(raw), maxRequest, req) != nil {
			return
		}
		out, err := encode(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(bytes.NewReader(out), 4*maxRequest, new(request)); err != nil {
			t.Fatal(err)
		}
	})
}
