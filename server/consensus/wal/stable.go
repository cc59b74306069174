package wal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/structs"
)

// The stable file holds what Raft must not forget outside of the log (its term and its vote), and how far the log is
// known to have been acknowledged. It is one block, written twice: the second copy only after the first was synced, and
// acknowledged after both. So one copy is whole at any moment, and damage to either one loses nothing.
const (
	stableName    = "stable"
	stableNewName = "stable.new"
	stableMagic   = "PROFSTB1"
	stableHeader  = 8 + 8 + 8 + 8 + 4 + 4
)

// watermark is a point in the log that was acknowledged: at least this much must be there. It moves when a segment
// is made and when the log is closed.
type watermark struct {
	life  uint64
	end   int64
	chain uint32
}

// stable is the content of the stable file. Records are replaced, never changed.
type stable struct {
	seq    uint64
	mark   watermark
	values map[string]string
}

func stableSum(block []byte, slot int) uint32 {
	return crc32.Checksum(block[:blockSize-4], castagnoli) ^ uint32(slot+1)*0x9E3779B1
}

// encode returns the block for one of the two slots, or false when the values do not fit.
func (s *stable) encode(slot int) ([]byte, bool) {
	b := append(make([]byte, 0, blockSize), stableMagic...)
	b = order.AppendUint64(b, s.seq)
	b = order.AppendUint64(b, s.mark.life)
	b = order.AppendUint64(b, uint64(s.mark.end))
	b = order.AppendUint32(b, s.mark.chain)
	b = order.AppendUint32(b, uint32(len(s.values)))
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		value := s.values[key]
		if len(b)+4+len(key)+len(value) > blockSize-4 {
			return nil, false
		}
		b = order.AppendUint16(b, uint16(len(key)))
		b = order.AppendUint16(b, uint16(len(value)))
		b = append(append(b, key...), value...)
	}
	b = b[:blockSize]
	order.PutUint32(b[blockSize-4:], stableSum(b, slot))
	return b, true
}

func decodeStable(b []byte, slot int) (*stable, bool) {
	if order.Uint32(b[blockSize-4:]) != stableSum(b, slot) || string(b[:8]) != stableMagic {
		return nil, false
	}
	s := &stable{
		seq:    order.Uint64(b[8:]),
		mark:   watermark{order.Uint64(b[16:]), int64(order.Uint64(b[24:])), order.Uint32(b[32:])},
		values: map[string]string{},
	}
	rest := b[stableHeader : blockSize-4]
	for n := order.Uint32(b[36:]); n > 0; n-- {
		if len(rest) < 4 {
			return nil, false
		}
		k, v := int(order.Uint16(rest)), int(order.Uint16(rest[2:]))
		if rest = rest[4:]; len(rest) < k+v {
			return nil, false
		}
		s.values[string(rest[:k])] = string(rest[k : k+v])
		rest = rest[k+v:]
	}
	return s, true
}

// writeSlots writes s to both slots, one after the other.
func (s *stable) writeSlots(f disk.File, slots [2]int) error {
	for _, slot := range slots {
		b, ok := s.encode(slot)
		if !ok {
			return structs.Errorf(structs.Exhausted, stableName, "the values need more than one block of %d bytes", blockSize)
		}
		if _, err := f.WriteAt(b, int64(slot)*blockSize); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// createStable makes an empty stable file. The name appears when the contents are durable.
func createStable(d disk.Disk) (disk.File, *stable, error) {
	f, err := d.Create(stableNewName)
	if err != nil {
		return nil, nil, err
	}
	s := &stable{seq: 1, values: map[string]string{}}
	err = s.writeSlots(f, [2]int{0, 1})
	if err == nil {
		err = d.Rename(stableNewName, stableName)
	}
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, s, nil
}

// openStable reads the stable file and writes it again: after a sync that failed, the page cache may show what the disk
// does not have, and from now on both copies must be what was shown. The copy that may be missing on the disk goes first.
func openStable(d disk.Disk) (disk.File, *stable, error) {
	f, err := d.Open(stableName)
	if err != nil {
		return nil, nil, err
	}
	var copies [2]*stable
	for slot := range copies {
		b := make([]byte, blockSize)
		if _, err := f.ReadAt(b, int64(slot)*blockSize); err == nil {
			copies[slot], _ = decodeStable(b, slot)
		}
	}
	a, b := copies[0], copies[1]
	var now *stable
	slots := [2]int{0, 1}
	switch {
	case a == nil && b == nil:
		return nil, nil, errors.Join(damage(stableName, 0, "both copies are damaged"), f.Close())
	case a == nil || b != nil && b.seq > a.seq:
		now = b
	case b == nil || a.seq == b.seq:
		now, slots = a, [2]int{1, 0}
	default:
		now = a
	}
	if err := now.writeSlots(f, slots); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, now, nil
}

// Set stores a value for a key. All keys and values together fit in one block of 4 KiB.
func (l *Log) Set(key, val []byte) error { return l.set(pair{key, val}) }

// SetBoth stores a number for one key and a value for another: both or none of them.
func (l *Log) SetBoth(number []byte, n uint64, key, val []byte) error {
	return l.set(pair{number, order.AppendUint64(nil, n)}, pair{key, val})
}

type pair struct{ key, value []byte }

func (l *Log) set(pairs ...pair) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.usable("store"); err != nil {
		return err
	}
	next := &stable{seq: l.stable.seq + 1, mark: l.stable.mark, values: maps.Clone(l.stable.values)}
	for _, p := range pairs {
		next.values[string(p.key)] = string(p.value)
	}
	if maps.Equal(next.values, l.stable.values) {
		return nil
	}
	return l.saveStable(next)
}

// saveStable makes next durable. The caller holds writing.
func (l *Log) saveStable(next *stable) error {
	if _, fits := next.encode(0); !fits {
		return structs.Errorf(structs.Exhausted, l.path(stableName), "the values need more than one block of %d bytes", blockSize)
	}
	if err := next.writeSlots(l.stableFile, [2]int{0, 1}); err != nil {
		return l.final("store", stableName, err) // the first copy may have it, and a restart would show it
	}
	l.mu.Lock()
	l.stable = next
	l.mu.Unlock()
	return nil
}

// Get returns the value of a key, or nil if it has none.
func (l *Log) Get(key []byte) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	value, ok := l.stable.values[string(key)]
	if !ok {
		return nil, nil
	}
	return []byte(value), nil
}

// SetUint64 stores a number for a key.
func (l *Log) SetUint64(key []byte, val uint64) error {
	return l.Set(key, order.AppendUint64(nil, val))
}

// GetUint64 returns the number stored for a key, or 0 if it has none.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil || len(value) == 0 {
		return 0, err
	}
	if len(value) != 8 {
		return 0, structs.Errorf(structs.Invalid, string(bytes.ToValidUTF8(key, []byte("?"))), "the value is not a number")
	}
	return order.Uint64(value), nil
}
