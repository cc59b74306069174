package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// A segment is a header and frames. A frame is written and synced before the next one is begun, so only the last one can
// be torn; it is one unit, applied whole or not at all.
//
//	header  "PROFFER-NODE\x00\x01\r\n" then 0
//	frame   magic u32 | length u32 | number u64 | crc32c u32 of the three and the payload | payload
//	payload records: op byte | key length uvarint | key | (put) value length uvarint | value
const (
	header      = "PROFFER-NODE\x00\x01\r\n\x00"
	frameMagic  = 0x50664e31
	frameHeader = 20
	maxFrame    = 64 << 20
)

const (
	opPut    = 1
	opDelete = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where a value is in the current segment.
type place struct {
	offset int64
	length uint32
}

// sealFrame fills the header of a frame whose payload begins at frameHeader.
func sealFrame(frame []byte, number uint64) {
	binary.LittleEndian.PutUint32(frame[0:], frameMagic)
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.LittleEndian.PutUint64(frame[8:], number)
	binary.LittleEndian.PutUint32(frame[16:], frameSum(frame))
}

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:16], castagnoli), castagnoli, frame[frameHeader:])
}

func appendPut(frame []byte, key string, value []byte) []byte {
	frame = append(frame, opPut)
	frame = binary.AppendUvarint(frame, uint64(len(key)))
	frame = append(frame, key...)
	frame = binary.AppendUvarint(frame, uint64(len(value)))
	return append(frame, value...)
}

func appendDelete(frame []byte, key string) []byte {
	frame = append(frame, opDelete)
	frame = binary.AppendUvarint(frame, uint64(len(key)))
	return append(frame, key...)
}

var errRecord = errors.New("a record in a valid frame cannot be read")

// eachRecord calls f for the records of a payload; at is where the payload begins in the segment. A delete has length -1.
func eachRecord(payload []byte, at int64, f func(key string, offset int64, length int)) error {
	rest := payload
	uvarint := func() (int, bool) {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > uint64(len(rest)) {
			return 0, false
		}
		rest = rest[n:]
		return int(v), v <= uint64(len(rest))
	}
	for len(rest) > 0 {
		op := rest[0]
		rest = rest[1:]
		n, ok := uvarint()
		if !ok {
			return errRecord
		}
		key := string(rest[:n])
		rest = rest[n:]
		switch op {
		case opDelete:
			f(key, 0, -1)
		case opPut:
			n, ok := uvarint()
			if !ok {
				return errRecord
			}
			f(key, at+int64(len(payload)-len(rest)), n)
			rest = rest[n:]
		default:
			return errRecord
		}
	}
	return nil
}

// scan reads a segment into an index. It returns where the valid frames end and the number of the last one. A torn last
// frame is not an error; a damaged one with a valid, later one behind it is.
func scan(f File) (index map[string]place, end int64, number uint64, err error) {
	size, err := f.Size()
	if err != nil {
		return nil, 0, 0, err
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !(errors.Is(err, io.EOF)) {
		return nil, 0, 0, err
	}
	if !bytes.HasPrefix(data, []byte(header)) {
		return nil, 0, 0, errors.New("it is not a node state file of this version of Proffer")
	}
	index = make(map[string]place)
	end = int64(len(header))
	for {
		frame, ok := frameAt(data, end)
		if !ok {
			break
		}
		number = binary.LittleEndian.Uint64(frame[8:])
		err := eachRecord(frame[frameHeader:], end+frameHeader, func(key string, offset int64, length int) {
			if length < 0 {
				delete(index, key)
				return
			}
			index[key] = place{offset, uint32(length)}
		})
		if err != nil {
			return nil, 0, 0, err
		}
		end += int64(len(frame))
	}
	if later := laterFrame(data, end, number); later >= 0 {
		return nil, 0, 0, fmt.Errorf("it is damaged at byte %d: a valid frame follows at byte %d", end, later)
	}
	return index, end, number, nil
}

// frameAt returns the valid frame at an offset.
func frameAt(data []byte, at int64) ([]byte, bool) {
	if int64(len(data))-at < frameHeader {
		return nil, false
	}
	rest := data[at:]
	length := binary.LittleEndian.Uint32(rest[4:])
	if binary.LittleEndian.Uint32(rest) != frameMagic || length > maxFrame || int64(length) > int64(len(rest)-frameHeader) {
		return nil, false
	}
	frame := rest[:frameHeader+int(length)]
	return frame, frameSum(frame) == binary.LittleEndian.Uint32(frame[16:])
}

// laterFrame looks for a valid frame behind a damaged place whose number says that what is missing was acknowledged.
func laterFrame(data []byte, from int64, number uint64) int64 {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], frameMagic)
	for at := from + 1; at < int64(len(data)); at++ {
		i := bytes.Index(data[at:], magic[:])
		if i < 0 {
			return -1
		}
		at += int64(i)
		if frame, ok := frameAt(data, at); ok && binary.LittleEndian.Uint64(frame[8:]) > number+1 {
			return at
		}
	}
	return -1
}

func segmentName(n uint64) string { return fmt.Sprintf("state-%08d.log", n) }

// segments returns the numbers of the complete segments in a folder, ascending, and the names of unfinished ones.
func segments(names []string) (complete []uint64, unfinished []string) {
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			unfinished = append(unfinished, name)
			continue
		}
		var n uint64
		if _, err := fmt.Sscanf(name, "state-%d.log", &n); err == nil && segmentName(n) == name {
			complete = append(complete, n)
		}
	}
	slices.Sort(complete)
	return complete, unfinished
}

// errNamed wraps a failure after which the new segment may or may not carry its final name.
type errNamed struct{ error }

func (e errNamed) Unwrap() error { return e.error }

// newSegment makes segment n with the live records of an old one (nil: none), durably. It returns the new file, its index,
// its end and the number of its last frame. After an errNamed nothing may be added to the old segment: a crash could bring
// the new one back, which would not have it.
func newSegment(d Disk, dir string, n uint64, old File, live map[string]place) (
	f File, index map[string]place, end int64, number uint64, err error) {
	temporary := filepath.Join(dir, segmentName(n)+".tmp")
	f, err = d.Create(temporary)
	if err != nil {
		return nil, nil, 0, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
			d.Remove(temporary)
		}
	}()
	if _, err = f.WriteAt([]byte(header), 0); err != nil {
		return
	}
	index, end = make(map[string]place, len(live)), int64(len(header))
	keys := make([]string, 0, len(live))
	for key := range live {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int { return int(live[a].offset - live[b].offset) })
	frame := make([]byte, frameHeader)
	flush := func() error {
		if len(frame) == frameHeader {
			return nil
		}
		number++
		sealFrame(frame, number)
		if _, err := f.WriteAt(frame, end); err != nil {
			return err
		}
		end += int64(len(frame))
		frame = frame[:frameHeader]
		return nil
	}
	for _, key := range keys {
		value := make([]byte, live[key].length)
		if _, err = old.ReadAt(value, live[key].offset); err != nil {
			return
		}
		frame = appendPut(frame, key, value)
		index[key] = place{end + int64(len(frame)-len(value)), uint32(len(value))}
		if len(frame) > 1<<20 {
			if err = flush(); err != nil {
				return
			}
		}
	}
	if err = flush(); err != nil {
		return
	}
	if err = f.Sync(); err != nil {
		return
	}
	if err = d.Rename(temporary, filepath.Join(dir, segmentName(n))); err == nil {
		err = d.SyncDir(dir)
	}
	if err != nil {
		err = errNamed{err}
		return
	}
	return f, index, end, number, nil
}
