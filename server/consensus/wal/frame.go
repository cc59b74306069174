package wal

import (
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A frame is what one call made durable. It starts with 24 bytes:
//
//	0   kind, uint32
//	4   count: entries in it, uint32
//	8   length of what follows the header, uint32
//	12  chain: CRC-32C over all frames before it, in all segments, uint32
//	16  index, uint64
const frameHeader = 24

// maxFrame bounds a frame, in bytes: what one StoreLogs may carry.
const maxFrame = 1 << 30

type frameKind uint32

const (
	entries  frameKind = 1 // count entries from index on
	dropHead frameKind = 2 // entries below index are gone
	dropTail frameKind = 3 // entries from index on are gone
)

// frame is a decoded frame. Its payload belongs to whoever scans and is overwritten by the next frame.
type frame struct {
	kind    frameKind
	count   uint32
	index   uint64
	payload []byte
}

// appendHeader writes the header of a frame behind dst; the payload of length bytes follows it.
func appendHeader(dst []byte, f frame, length int, chain uint32) []byte {
	dst = order.AppendUint32(dst, uint32(f.kind))
	dst = order.AppendUint32(dst, f.count)
	dst = order.AppendUint32(dst, uint32(length))
	dst = order.AppendUint32(dst, chain)
	return order.AppendUint64(dst, f.index)
}

func chainOf(chain uint32, logical []byte) uint32 { return crc32.Update(chain, castagnoli, logical) }

// An entry inside a frame: term, type, time of append, lengths of data and extensions, and these two. Its index is
// that of the frame plus its place.
const entryHeader = 8 + 4 + 8 + 4 + 4 + 4

// noTime stands for the zero time.Time in the nanoseconds of an entry.
const noTime = ^uint32(0)

func entrySize(l *raft.Log) int { return entryHeader + len(l.Data) + len(l.Extensions) }

func appendEntry(dst []byte, l *raft.Log) []byte {
	sec, nsec := l.AppendedAt.Unix(), uint32(l.AppendedAt.Nanosecond())
	if l.AppendedAt.IsZero() {
		sec, nsec = 0, noTime
	}
	dst = order.AppendUint64(dst, l.Term)
	dst = order.AppendUint32(dst, uint32(l.Type))
	dst = order.AppendUint64(dst, uint64(sec))
	dst = order.AppendUint32(dst, nsec)
	dst = order.AppendUint32(dst, uint32(len(l.Data)))
	dst = order.AppendUint32(dst, uint32(len(l.Extensions)))
	dst = append(dst, l.Data...)
	return append(dst, l.Extensions...)
}

// entryLength is the size of the entry at the start of b, or false when b does not hold it.
func entryLength(b []byte) (int, bool) {
	if len(b) < entryHeader {
		return 0, false
	}
	n := uint64(entryHeader) + uint64(order.Uint32(b[24:])) + uint64(order.Uint32(b[28:]))
	return int(n), n <= uint64(len(b))
}

// decodeEntry reads an entry that entryLength accepted. The log shares b.
func decodeEntry(b []byte, index uint64) raft.Log {
	l := raft.Log{Index: index, Term: order.Uint64(b), Type: raft.LogType(order.Uint32(b[8:]))}
	if nsec := order.Uint32(b[20:]); nsec != noTime {
		l.AppendedAt = time.Unix(int64(order.Uint64(b[12:])), int64(nsec))
	}
	n := entryHeader + int(order.Uint32(b[24:]))
	if n > entryHeader {
		l.Data = b[entryHeader:n:n]
	}
	if len(b) > n {
		l.Extensions = b[n:]
	}
	return l
}
