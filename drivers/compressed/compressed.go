// Package compressed reads what may be compressed, by what it begins with: names and media types are wrong too often.
package compressed

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// Bounds of the memory that a stream may ask for: zstd's, and that of xz, which is what "xz -9" takes.
const (
	maxWindow     = 128 << 20
	maxDictionary = 64 << 20
)

// Open returns the plain bytes of what is compressed by gzip, bzip2, zstd or xz, and anything else as it is. A result that is an
// io.Closer is to be closed.
func Open(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	magic, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(b), nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		x, err := xz.NewReader(b, maxDictionary)
		return &xzReader{x}, tooLarge(err)
	}
	return b, nil
}

// xzReader says what to do about a stream that would take too much memory.
type xzReader struct{ *xz.Reader }

func (x *xzReader) Read(b []byte) (int, error) {
	n, err := x.Reader.Read(b)
	return n, tooLarge(err)
}

func tooLarge(err error) error {
	if errors.Is(err, xz.ErrMemlimit) {
		return fmt.Errorf("it needs more than 64 MiB of memory to be read: pack it with xz -9 or less (%w)", err)
	}
	return err
}
