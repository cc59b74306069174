package compressed

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"
)

// What xz made of "hello, " and, after padding and with the filter for x86, of "world\n"; and of "hello" with a dictionary of 128 MiB.
const (
	xzTwo = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAGaGVsbG8sIAAAEDGD4NTJ+DYAAR8HFi64cx+2830BAAAAAARZWgAAAAD9N3pYWgAABObWtEYCAQQAIQEWAA2G" +
		"NR8BAAV3b3JsZAoAAABiXGL5zxhhwAABHgbBL6QdH7bzfQEAAAAABFla"
	xzLarge = "/Td6WFoAAATm1rRGAgAhAR4AAACbB1FmAQAEaGVsbG8AAAAAsTe52+XaHpsAAR0FuC2Arx+2830BAAAAAARZWg=="
)

func plain(t *testing.T, raw []byte) (string, error) {
	t.Helper()
	r, err := Open(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	got, err := io.ReadAll(r)
	return string(got), err
}

func decoded(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestXZ(t *testing.T) {
	raw := decoded(t, xzTwo)
	if got, err := plain(t, raw); got != "hello, world\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	// Whatever is missing or wrong, half of it is never taken for the whole. The first stream alone, with padding of whole words, is one.
	for n := 6; n < len(raw); n++ {
		if got, err := plain(t, raw[:n]); err == nil && (n < 64 || n > 68 || (n-64)%4 != 0) {
			t.Errorf("the first %d of %d bytes were taken for %q", n, len(raw), got)
		}
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x40
		if got, err := plain(t, bad); err == nil && i >= 6 {
			t.Errorf("with byte %d changed it was taken for %q", i, got)
		}
	}
}

// A stream says how much memory it needs, and does not get more than a node has for it.
func TestXZMemory(t *testing.T) {
	if _, err := plain(t, decoded(t, xzLarge)); err == nil || !strings.Contains(err.Error(), "xz -9") {
		t.Errorf("a dictionary of 128 MiB: %v", err)
	}
}
