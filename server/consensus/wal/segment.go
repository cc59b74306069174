package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/structs"
)

const (
	spareName    = "spare.wal"
	segmentMagic = "PROFWAL1"
	headerLength = 8 + 7*8
)

// segment is one file of the log: a block with the header, then frames. It is born with its first frame, so the one
// with the highest number always holds something.
type segment struct {
	header
	name   string
	end    int64  // where the next frame goes
	frames uint32 // the number of the last frame
	chain  uint32 // over all frames up to the last
	live   int    // entries of the log that are in it

	inUse sync.RWMutex // readers share it; who closes or renames the file holds it alone
	file  disk.File    // nil once dropped
}

// header says what was so when the segment was made. It makes everything before it final: the segment before ends
// at prevEnd, and whatever lies behind that was never acknowledged.
type header struct {
	life      uint64 // the number of the segment, from 1, never used twice
	size      int64
	prevLife  uint64
	prevEnd   int64
	prevChain uint32
	first     uint64 // the log had count entries from first on
	count     uint64
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerLength), segmentMagic...)
	for _, v := range []uint64{
		uint64(h.size), h.prevLife, uint64(h.prevEnd), uint64(h.prevChain), h.first, h.count, h.life,
	} {
		b = order.AppendUint64(b, v)
	}
	return b
}

func decodeHeader(b []byte) (header, bool) {
	u := func(i int) uint64 { return order.Uint64(b[8*i:]) }
	h := header{
		size: int64(u(1)), prevLife: u(2), prevEnd: int64(u(3)), prevChain: uint32(u(4)),
		first: u(5), count: u(6), life: u(7),
	}
	ok := string(b[:8]) == segmentMagic && h.size >= 2*blockSize && h.size <= 2*maxFrame && h.prevEnd >= 0
	return h, ok
}

func segmentName(life uint64) string { return fmt.Sprintf("%016d.wal", life) }

func segmentLife(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".wal")
	life, err := strconv.ParseUint(digits, 10, 64)
	return life, ok && err == nil && life > 0 && segmentName(life) == name
}

// damage is the error for bytes that were acknowledged and cannot be read back.
func damage(name string, off int64, format string, args ...any) error {
	e := structs.Errorf(structs.Internal, fmt.Sprintf("%s, offset %d", name, off), format, args...)
	e.Op = "read log"
	return e.Advise("the disk lost or changed what was stored: take this server out, remove its data folder and let " +
		"it join again, or restore a snapshot")
}

// openSegment opens the file and reads its header.
func openSegment(d disk.Disk, life uint64) (*segment, error) {
	name := segmentName(life)
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	s := &segment{name: name, file: f, end: blockSize}
	var sector [sectorSize]byte
	if _, err := f.ReadAt(sector[:], 0); err != nil {
		return nil, errors.Join(damage(name, 0, "cannot read the header: %w", err), f.Close())
	}
	state, number := readSector(sector[:], life, 0)
	h, ok := decodeHeader(sector[:])
	if state != current || number != 0 || !ok || h.life != life {
		return nil, errors.Join(damage(name, 0, "the header is damaged"), f.Close())
	}
	s.header, s.chain = h, h.prevChain
	return s, nil
}

// contents reads the file up to limit, or all of it when limit is 0.
func (s *segment) contents(limit int64) ([]byte, error) {
	size, err := s.file.Size()
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = s.size
	}
	if size < limit {
		return nil, damage(s.name, size, "the file ends here and should have %d bytes", limit)
	}
	b := make([]byte, limit)
	if n, err := s.file.ReadAt(b, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
		return nil, damage(s.name, int64(n), "cannot read: %w", err)
	}
	return b, nil
}

// next decodes the frame at s.end into scratch. It returns nil without an error when no whole frame is there: nothing,
// or one of which at least one sector was never written.
func (s *segment) next(file, scratch []byte) ([]byte, error) {
	off, want := s.end, s.frames+1
	if off == int64(len(file)) {
		return nil, nil
	}
	length, missing := frameHeader, false
	for i := 0; i < sectors(length); i++ {
		at := off + int64(i)*sectorSize
		if at+sectorSize > int64(len(file)) {
			return nil, damage(s.name, at, "frame %d runs over the end", want)
		}
		sector := file[at : at+sectorSize]
		state, number := readSector(sector, s.life, at)
		switch {
		case state == damaged:
			return nil, damage(s.name, at, "the sector does not match its checksum")
		case state == current && number != want:
			return nil, damage(s.name, at, "frame %d lies where frame %d should be", number, want)
		case state == blank && i == 0:
			return nil, nil
		case state == blank:
			missing = true
			continue
		}
		scratch = append(scratch, sector[:sectorRoom]...)
		if i == 0 {
			length += int(order.Uint32(scratch[8:]))
			if chain := order.Uint32(scratch[12:]); chain != s.chain {
				return nil, damage(s.name, at, "frame %d does not follow what is before it", want)
			}
		}
	}
	if missing {
		return nil, nil
	}
	return scratch[:length], nil
}

// accept moves behind a frame that next returned.
func (s *segment) accept(logical []byte) {
	s.end += blocks(sectors(len(logical)))
	s.frames++
	s.chain = chainOf(s.chain, logical)
}

// checkTail looks at everything behind the last whole frame. Parts of one further frame may be there: it was being
// written when the process or the machine died, and was not acknowledged, as a sector of it is missing. Anything else
// means that an acknowledged frame is damaged. It tells whether there was such a part.
func (s *segment) checkTail(file []byte) (torn bool, err error) {
	for at := s.end; at+sectorSize <= int64(len(file)); at += sectorSize {
		state, number := readSector(file[at:at+sectorSize], s.life, at)
		switch {
		case state == damaged:
			return false, damage(s.name, at, "the sector does not match its checksum")
		case state == current && number == s.frames+1:
			torn = true
		case state == current:
			return false, damage(s.name, s.end, "frame %d is missing, but frame %d behind it is there", s.frames+1, number)
		}
	}
	return torn, nil
}

func parseFrame(logical []byte) frame {
	return frame{
		kind:  frameKind(order.Uint32(logical)),
		count: order.Uint32(logical[4:]), index: order.Uint64(logical[16:]),
		payload: logical[frameHeader:],
	}
}

// place is where an entry lies: n bytes from byte pos of the frame at off.
type place struct {
	seg    *segment
	off    int64
	pos, n uint32
}

// read reads one entry. It may run beside appends, and answers raft.ErrLogNotFound when the segment was dropped.
func (p place) read(index uint64, log *raft.Log) error {
	s := p.seg
	s.inUse.RLock()
	defer s.inUse.RUnlock()
	if s.file == nil {
		return raft.ErrLogNotFound
	}
	from := int(p.pos / sectorRoom)
	to := sectors(int(p.pos + p.n))
	start := p.off + int64(from)*sectorSize
	b := make([]byte, (to-from)*sectorSize)
	if _, err := s.file.ReadAt(b, start); err != nil {
		return damage(s.name, start, "entry %d: cannot read: %w", index, err)
	}
	entry := b[:0]
	for i := 0; i < len(b); i += sectorSize {
		if state, _ := readSector(b[i:i+sectorSize], s.life, start+int64(i)); state != current {
			return damage(s.name, start+int64(i), "entry %d: the sector does not match its checksum", index)
		}
		entry = append(entry, b[i:i+sectorRoom]...)
	}
	skip := int(p.pos) - from*sectorRoom
	*log = decodeEntry(entry[skip:skip+int(p.n):skip+int(p.n)], index)
	return nil
}

// makeSpare writes a file of zeros, so that its blocks exist and appending to it changes no metadata. It flushes as it
// goes: one big flush would stand in the way of those of the log.
func makeSpare(d disk.Disk, size int64) (disk.File, error) {
	if err := d.Remove(spareName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := d.Create(spareName)
	if err != nil {
		return nil, err
	}
	const step = 1 << 20
	err = f.Reserve(size)
	chunk := make([]byte, min(size, step))
	for off := int64(0); err == nil && off < size; off += step {
		if _, err = f.WriteAt(chunk[:min(size-off, step)], off); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		return nil, errors.Join(err, discard(d, f))
	}
	return f, nil
}

// discard closes and removes the spare file.
func discard(d disk.Disk, f disk.File) error {
	return errors.Join(f.Close(), d.Remove(spareName))
}
