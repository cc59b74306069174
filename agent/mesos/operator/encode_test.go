package operator

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// A text is written as encoding/json writes it, wherever in it the byte is that needs an escape.
func TestText(t *testing.T) {
	encoded := func(s string) string {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	// Those of HTML are escaped by encoding/json alone.
	letter := rapid.SampledFrom([]rune("abcXYZ019 -_./:~!#\x00\x01\x1f\x20\x21\x22\x23\x5b\x5c\x5d\x7f\u0080éü€𝄞\u2028\ufffd"))
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(letter, 0, 40, -1).Draw(t, "text")
		e := newEncoder()
		e.text(s)
		if got, want := string(e.buf), encoded(s); got != want {
			t.Fatalf("%q: got %s, want %s", s, got, want)
		}
	})
	for at := range 17 {
		for c := range 256 {
			s := []byte("abcdefghijklmnopq")
			s[at] = byte(c)
			if got, want := plain(string(s)), c >= ' ' && c != '"' && c != '\\' && c < 0x80; got != want {
				t.Errorf("byte %#x at %d: plain %v, want %v", c, at, got, want)
			}
		}
	}
}
