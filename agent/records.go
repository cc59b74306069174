package agent

import (
	"bufio"
	"errors"
	"io"
	nethttp "net/http"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// byRecord gives the body of an answer record by record: a Read returns one, whole, or a piece of one that is larger than its buffer. The
// leader writes each record of a stream in JSON as a chunk of HTTP of its own, since clients in use take a chunk for a record, and a proxy
// that copies what it reads at once would put several into one. A record waits for nothing but the rest of itself.
type byRecord struct {
	io.Closer
	in   *bufio.Reader
	left int // bytes of a large record that are to come
}

// errFraming ends a stream that is not one of records.
var errFraming = errors.New("the leader's stream has a record without a length")

func newByRecord(body io.ReadCloser) *byRecord {
	return &byRecord{Closer: body, in: bufio.NewReader(body)}
}

func (b *byRecord) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		head, err := b.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return copy(p, head), err
		}
		size, bad := strconv.Atoi(strings.TrimSuffix(string(head), "\n"))
		switch {
		case err != nil || bad != nil || size < 0 || size > wire.MaxRecord:
			return 0, errFraming
		case len(head) > len(p):
			return 0, io.ErrShortBuffer
		}
		n, b.left = copy(p, head), size
	}
	m, err := io.ReadFull(b.in, p[n:min(len(p), n+b.left)])
	b.left -= m
	return n + m, err
}

// recordsApart has the records of an answer in JSON, if it is such a stream, reach the client in chunks of their own.
func recordsApart(r *nethttp.Response) {
	kind := r.Header.Get("Content-Type")
	if kind == mesos.RecordIO {
		kind = r.Header.Get("Message-Content-Type")
	}
	if r.StatusCode == nethttp.StatusOK && r.ContentLength < 0 && kind == wire.JSON.ContentType() && r.Header.Get("Mesos-Stream-Id") != "" {
		r.Body = newByRecord(r.Body)
	}
}
