//go:build linux

package stage

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Slots is the file in which each stage writes down its state, so that an exit status outlives the supervisor. Slot 0
// holds the end of the node's lease in CLOCK_BOOTTIME, which the stages of fenced tasks read.
type Slots struct{ f *os.File }

const slotSize = 32

// States of a slot, and why a stage ended its task itself.
const (
	Running   = 1
	Ended     = 2
	ByFence   = 1
	ByCommand = 2
)

// Slot is what a stage wrote.
type Slot struct {
	Seq    uint64
	PID    int32 // in the stage's own PID namespace
	State  uint32
	Status unix.WaitStatus
	Flags  uint32
}

// OpenSlots opens or makes the file.
func OpenSlots(path string) (*Slots, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &Slots{f}, nil
}

// Close closes the file; stages have their own descriptors of it.
func (s *Slots) Close() error { return s.f.Close() }

// Read returns slot n. A slot that was never written is zero.
func (s *Slots) Read(n uint32) Slot {
	var b [slotSize]byte
	unix.Pread(int(s.f.Fd()), b[:], int64(n)*slotSize)
	e := binary.NativeEndian
	return Slot{e.Uint64(b[0:]), int32(e.Uint32(b[8:])), e.Uint32(b[12:]), unix.WaitStatus(e.Uint32(b[16:])), e.Uint32(b[20:])}
}

// SetLease moves the end of the lease; zero means that there is none.
func (s *Slots) SetLease(until time.Duration) error {
	_, err := s.f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(until)), 0)
	return err
}

// Lease returns what SetLease last wrote.
func (s *Slots) Lease() time.Duration {
	var b [8]byte
	unix.Pread(int(s.f.Fd()), b[:], 0)
	return time.Duration(binary.NativeEndian.Uint64(b[:]))
}
