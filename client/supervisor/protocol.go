package supervisor

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// Version is that of the protocol on the socket. Both sides send a hello first; an agent that is newer than the running
// supervisor upgrades it, see Client.Upgrade, so only `upgrade` must never change.
const Version = 1

// Bounds of a frame, in bytes. A list of many tasks is the largest.
const (
	maxRequest  = 1 << 20
	maxResponse = 64 << 20
	maxPending  = 8192 // requests of one connection
)

type hello struct {
	Version int
	PID     int
	// Settings are what the supervisor runs with, as flags; an agent sends none.
	Settings []string `codec:",omitempty"`
}

// Operations.
const (
	opCancel   = "cancel" // of the request with this ID; it has no answer
	opFeatures = "features"
	opStart    = "start"
	opList     = "list"
	opStatus   = "status"
	opWait     = "wait"
	opSignal   = "signal"
	opStop     = "stop"
	opExec     = "exec" // three descriptors travel with it: stdin, stdout, stderr
	opDetach   = "detach"
	opTerminal = "terminal" // one travels with it: a socket, over which the terminal's master comes back
	opStats    = "stats"
	opForget   = "forget"
	opRenew    = "renew"
	opRelease  = "release"
	opKeepOff  = "keep off"
	opLimit    = "limit"
	opPorts    = "ports"
	opMount    = "mount"
	opUnmount  = "unmount"
	opUpgrade  = "upgrade"
)

type request struct {
	ID     uint64
	Op     string
	Task   string        `codec:",omitempty"`
	Launch *exec.Launch  `codec:",omitempty"`
	Signal int           `codec:",omitempty"`
	Grace  time.Duration `codec:",omitempty"`
	Until  time.Duration `codec:",omitempty"`
	Args   []string      `codec:",omitempty"` // of exec; of upgrade: the binary and its arguments
	Arg0   *string       `codec:",omitempty"` // of exec, and Env
	Env    []string      `codec:",omitempty"`
	TTY    bool          `codec:",omitempty"`
	// Group and PidFile of exec, see exec.Command.
	Group   string       `codec:",omitempty"`
	PidFile string       `codec:",omitempty"`
	Cores   []int        `codec:",omitempty"` // of keep off
	Detach  *exec.Detach `codec:",omitempty"`
	// Limits of limit.
	Limits *drivers.Limits `codec:",omitempty"`
	// Alloc and Ports of ports.
	Alloc string                 `codec:",omitempty"`
	Ports []structs.AssignedPort `codec:",omitempty"`
	// Mount of mount and unmount.
	Mount *drivers.Mount `codec:",omitempty"`
	// Settings of upgrade: flags for the binary; nil: as they are.
	Settings []string `codec:",omitempty"`
}

type response struct {
	ID       uint64
	Err      *structs.Error `codec:",omitempty"`
	Tasks    []*exec.Status `codec:",omitempty"`
	Exit     *drivers.Exit  `codec:",omitempty"`
	Stats    *drivers.Stats `codec:",omitempty"`
	Features *exec.Features `codec:",omitempty"`
}

// encode returns a frame: four bytes of length, then msgpack.
func encode(v any) ([]byte, error) {
	b, err := msgpack.Append(make([]byte, 4, 512), v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

// decode reads one frame of at most limit bytes.
func decode(r io.Reader, limit int, v any) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(n[:]))
	if size > limit {
		return structs.Errorf(structs.Exhausted, "supervisor", "a message of %d bytes is larger than %d", size, limit)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if err := msgpack.Decode(b, v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
