package cluster

import (
	"bytes"
	"testing"
)

// What a stranger sends first is read before anything is known of him.
func FuzzHello(f *testing.F) {
	f.Add(newHello("region", "id", 2).append(nil))
	f.Add(newHello("", "", 0).append(nil))
	f.Add([]byte{1, 2, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := readHello(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if again := h.append(nil); !bytes.HasPrefix(raw, again) {
			t.Fatalf("%x became %x", raw, again)
		}
	})
}
