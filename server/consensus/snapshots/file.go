package snapshots

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/structs"
)

// A file holds the state, then what raft wants to know of it as JSON, then a trailer; all integers are little endian:
//
//	0   length of the state, uint64
//	8   length of the JSON, uint32
//	12  CRC-32C of the state
//	16  CRC-32C of the JSON and the 16 bytes above
//	20  magic, with the version of the format
const (
	magic         = "PROFSNP1"
	trailerLength = 8 + 4 + 4 + 4 + len(magic)
	metaLimit     = 1 << 20 // bytes of JSON

	suffix    = ".snapshot"
	newSuffix = ".new" // not whole yet
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	order      = binary.LittleEndian
)

// image is a snapshot on the disk.
type image struct {
	number   uint64 // of the file, never used twice
	meta     raft.SnapshotMeta
	sum      uint32 // of the state
	verified bool   // by this process
}

func fileName(number uint64) string { return fmt.Sprintf("%016d", number) }

func numberOf(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, ok && err == nil && fileName(number) == digits
}

func damage(name, format string, args ...any) error {
	e := structs.Errorf(structs.Internal, name, format, args...)
	e.Op = "read snapshot"
	return e.Advise("the disk lost or changed what was stored: take this server out, remove its data folder and let " +
		"it join again, or restore a snapshot")
}

// seal returns what follows the state.
func (i *image) seal() ([]byte, error) {
	b, err := json.Marshal(&i.meta)
	if err != nil {
		return nil, err
	}
	n := len(b)
	b = order.AppendUint64(b, uint64(i.meta.Size))
	b = order.AppendUint32(b, uint32(n))
	b = order.AppendUint32(b, i.sum)
	b = order.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, magic...), nil
}

// readImage reads what follows the state in a file.
func readImage(f disk.File, name string, number uint64) (*image, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < int64(trailerLength) {
		return nil, damage(name, "the file ends at %d", size)
	}
	var t [trailerLength]byte
	if err := readFull(f, t[:], size-int64(len(t))); err != nil {
		return nil, damage(name, "cannot read: %w", err)
	}
	if string(t[20:]) != magic {
		return nil, damage(name, "it does not end as a snapshot that this version can read")
	}
	state, length := order.Uint64(t[:]), order.Uint32(t[8:])
	if length > metaLimit || state > uint64(size) || int64(state)+int64(length)+int64(len(t)) != size {
		return nil, damage(name, "its parts do not add up to its %d bytes", size)
	}
	b := make([]byte, length, int(length)+16)
	if err := readFull(f, b, int64(state)); err != nil {
		return nil, damage(name, "cannot read: %w", err)
	}
	if crc32.Checksum(append(b, t[:16]...), castagnoli) != order.Uint32(t[16:]) {
		return nil, damage(name, "its description does not match its checksum")
	}
	i := &image{number: number, sum: order.Uint32(t[12:])}
	if err := json.Unmarshal(b, &i.meta); err != nil {
		return nil, damage(name, "its description: %w", err)
	}
	if i.meta.ID != fileName(number) || i.meta.Size != int64(state) {
		return nil, damage(name, "it describes another snapshot, %s", i.meta.ID)
	}
	return i, nil
}

// verify reads the whole state.
func (i *image) verify(f disk.File, name string) error {
	if i.verified {
		return nil
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, i.meta.Size)); err != nil {
		return damage(name, "cannot read: %w", err)
	}
	if sum.Sum32() != i.sum {
		return damage(name, "the state does not match its checksum")
	}
	i.verified = true
	return nil
}

func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	return errors.Join(err, io.ErrUnexpectedEOF)
}
