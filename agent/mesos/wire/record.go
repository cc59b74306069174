package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// MaxRecord bounds one record. Clients in use refuse larger ones.
const MaxRecord = 4 << 20

// AppendRecord frames a record: its length in decimal digits, a line feed, and its bytes.
func AppendRecord(to, record []byte) []byte {
	to = append(strconv.AppendInt(to, int64(len(record)), 10), '\n')
	return append(to, record...)
}

// ReadRecord returns the next record; io.EOF when the stream ended between two.
func ReadRecord(r *bufio.Reader) ([]byte, error) { return ReadRecordUpTo(r, MaxRecord) }

// ReadRecordUpTo is ReadRecord with another bound.
func ReadRecordUpTo(r *bufio.Reader, most int) ([]byte, error) {
	size := 0
	for digits := 0; ; digits++ {
		c, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && digits == 0:
			return nil, io.EOF
		case err != nil:
			return nil, fmt.Errorf("the length of a record: %w", unexpected(err))
		case c == '\n' && digits > 0:
			if size == 0 {
				return nil, errors.New("a record of no bytes")
			}
			record := make([]byte, size)
			if _, err := io.ReadFull(r, record); err != nil {
				return nil, fmt.Errorf("a record of %d bytes: %w", size, unexpected(err))
			}
			return record, nil
		case c < '0' || c > '9':
			return nil, fmt.Errorf("the length of a record has %q", c)
		}
		if size = size*10 + int(c-'0'); size > most || digits > 9 {
			return nil, fmt.Errorf("a record of more than %d bytes", most)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
