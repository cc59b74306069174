package seal

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// What was sealed opens with the same key and path and with nothing else, and a changed byte is noticed.
func TestSealAndOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, _ := Open("")
		key := NewKey()
		if err := r.Add(key, NewKey()); err != nil {
			t.Fatal(err)
		}
		items := rapid.MapOfN(rapid.StringMatching("[a-z]{1,5}"), rapid.String(), 0, 5).Draw(t, "items")
		s, err := r.Seal(ID(key), "eng/db", items)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Open("eng/db", s)
		if err != nil || !maps.Equal(got, items) {
			t.Fatalf("%v: %v, want %v", err, got, items)
		}
		if _, err := r.Open("eng/other", s); structs.KindOf(err) != structs.Invalid {
			t.Fatalf("opened at another path: %v", err)
		}
		bad := structs.Sealed{Key: s.Key, Data: slices.Clone(s.Data)}
		bad.Data[rapid.IntRange(0, len(bad.Data)-1).Draw(t, "at")] ^= 1
		if _, err := r.Open("eng/db", bad); structs.KindOf(err) != structs.Invalid {
			t.Fatalf("opened although it was changed: %v", err)
		}
		for _, value := range items {
			if len(value) > 8 && strings.Contains(string(s.Data), value) {
				t.Fatal("a value is in clear")
			}
		}
	})
}

func TestRingIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	key := NewKey()
	if err := r.Add(key); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	again, err := Open(path)
	if err != nil || !slices.Equal(again.IDs(), []string{ID(key)}) {
		t.Fatalf("%v %v", again, err)
	}
	var missing *Missing
	if _, err := again.Seal("none", "a/b", nil); !errors.As(err, &missing) || missing.ID != "none" {
		t.Errorf("%v", err)
	}
	if err := again.Add([]byte("short")); structs.KindOf(err) != structs.Invalid {
		t.Errorf("%v", err)
	}
	if err := again.Drop(ID(key)); err != nil {
		t.Error(err)
	}
	if r, _ := Open(path); len(r.IDs()) != 0 {
		t.Error("it is still kept")
	}
	raw, _ := os.ReadFile(path)
	for _, damaged := range []string{"", "{", `{"keys":{"x":"AAAA"}}`} {
		os.WriteFile(path, []byte(damaged), 0o600)
		if _, err := Open(path); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%q: %v", damaged, err)
		}
	}
	os.WriteFile(path, raw, 0o600)
}
