package agent

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// However a stream of records comes, each is given alone and whole, but for what is larger than the buffer, and at once, and nothing is lost.
func TestRecordsAreKeptApart(t *testing.T) {
	var stream []byte
	var records []string
	for _, size := range []int{1, 9, 10, 300, 5000, 1, 32<<10 - 6, 100_000, 2} {
		record := strings.Repeat("x", size)
		stream = wire.AppendRecord(stream, []byte(record))
		records = append(records, string(wire.AppendRecord(nil, []byte(record))))
	}
	for name, from := range map[string]io.Reader{"all at once": strings.NewReader(string(stream)), "byte by byte": iotest.OneByteReader(strings.NewReader(string(stream))),
		"with the end": iotest.DataErrReader(strings.NewReader(string(stream))), "in pieces": &pieces{stream, rand.New(rand.NewPCG(1, 2))}} {
		b, p := newByRecord(io.NopCloser(from)), make([]byte, 32<<10)
		for i, want := range records {
			for want != "" {
				n, err := b.Read(p)
				if err != nil {
					t.Fatalf("%s: record %d: %v", name, i, err)
				}
				if got := string(p[:n]); !strings.HasPrefix(want, got) || n < min(len(p), len(want)) {
					t.Fatalf("%s: record %d: %d bytes came of %d", name, i, n, len(want))
				}
				want = want[n:]
			}
		}
		if n, err := b.Read(p); n != 0 || err != io.EOF {
			t.Errorf("%s: behind the last one %d bytes, %v", name, n, err)
		}
	}
}

// pieces are read of random size.
type pieces struct {
	rest   []byte
	random *rand.Rand
}

func (x *pieces) Read(p []byte) (int, error) {
	if len(x.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, x.rest[:min(len(x.rest), 1+x.random.IntN(700))])
	x.rest = x.rest[n:]
	return n, nil
}

func TestStreamsThatAreNoRecords(t *testing.T) {
	for stream, want := range map[string]error{"": io.EOF, "12": io.EOF, "5\nab": io.ErrUnexpectedEOF, "x\nab": errFraming, "-1\n": errFraming, "99999999\n": errFraming,
		strings.Repeat("1", 5000): errFraming} {
		b, p := newByRecord(io.NopCloser(strings.NewReader(stream))), make([]byte, 100)
		got, err := 0, error(nil)
		for err == nil {
			var n int
			n, err = b.Read(p)
			got += n
		}
		if !errors.Is(err, want) || want != errFraming && got != len(stream) {
			t.Errorf("%.20q: %d bytes, %v, want %v", stream, got, err, want)
		}
	}
	if _, err := newByRecord(io.NopCloser(strings.NewReader("5\nabcde"))).Read(make([]byte, 1)); err != io.ErrShortBuffer {
		t.Errorf("with no room for a length: %v", err)
	}
}
