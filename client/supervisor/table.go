package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// record is what the table keeps of a task.
type record struct {
	Launch  *exec.Launch
	Seq     uint64        // unique for ever
	Slot    uint32        // in the slots file
	Cgroup  string        `codec:",omitempty"` // path in each hierarchy
	PID     int           `codec:",omitempty"` // of the stage; 0: it was not started yet
	Birth   uint64        `codec:",omitempty"` // start time of PID in clock ticks since boot, so that a reused PID is not mistaken
	Started structs.Time  `codec:",omitempty"`
	Ended   structs.Time  `codec:",omitempty"`
	Exit    *drivers.Exit `codec:",omitempty"`
	Given   *given        `codec:",omitempty"` // nil: Ports of Launch
	// Within is the Seq of the task that this is a detached command of; 0: it is a task. Of Launch it has what detachedLaunch says.
	Within uint64 `codec:",omitempty"`
	// Command is the control group of a detached command, below that of its task; empty: it has none.
	Command string `codec:",omitempty"`
	// Limits are those of its group now; nil: as Launch says. Guarded by server.mu.
	Limits *drivers.Limits `codec:",omitempty"`
}

// memory is its hard limit now.
func (r *record) memory() structs.Bytes {
	if r.Limits != nil {
		return r.Limits.Hard()
	}
	return r.Launch.Memory
}

// given are the ports that an allocation has instead of those that its task was launched with.
type given struct{ Ports []structs.AssignedPort }

func (r *record) ports() []structs.AssignedPort {
	if r.Given != nil {
		return r.Given.Ports
	}
	return r.Launch.Ports
}

// alloc is the allocation that a task is of.
func (r *record) alloc() string {
	alloc, _, _ := strings.Cut(r.Launch.ID, "/")
	return alloc
}

// table is the file of records: entries are appended and replayed, and it is written anew when most of it is old. There
// is no fsync: it has to survive this process, not the kernel, which ends the tasks as well. A record of another boot is
// of no use and dropped. It may be used by one goroutine at a time.
type table struct {
	path string
	boot string
	f    *os.File
	size int64 // of the file
	live map[uint64]*record
	envs map[uint64]int64 // where in the file the environments of those that have not ended are: they may be secret, and nobody needs them then
}

type entry struct {
	Boot   string  `codec:",omitempty"` // only in the first entry
	Put    *record `codec:",omitempty"`
	Change *change `codec:",omitempty"`
	Delete uint64  `codec:",omitempty"`
}

// change updates a record that was Put.
type change struct {
	Seq     uint64
	PID     int           `codec:",omitempty"`
	Birth   uint64        `codec:",omitempty"`
	Started structs.Time  `codec:",omitempty"`
	Ended   structs.Time  `codec:",omitempty"`
	Exit    *drivers.Exit `codec:",omitempty"`

	Limits *drivers.Limits `codec:",omitempty"`
	Given  *given          `codec:",omitempty"`
}

func (c *change) apply(r *record) {
	if c.Given != nil {
		r.Given = c.Given
	}
	if c.PID != 0 {
		r.PID, r.Birth, r.Started = c.PID, c.Birth, c.Started
	}
	if c.Ended != 0 {
		r.Ended, r.Exit = c.Ended, c.Exit
	}
	if c.Limits != nil {
		r.Limits = c.Limits
	}
}

// openTable reads the file. fresh: it is of another boot, or there was none.
func openTable(path, boot string) (t *table, fresh bool, err error) {
	t = &table{path: path, boot: boot, live: map[uint64]*record{}, envs: map[uint64]int64{}}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	r := bytes.NewReader(raw)
	var first entry
	if decode(r, maxResponse, &first) != nil || first.Boot != boot {
		return t, true, t.rewrite()
	}
	for {
		var e entry
		err := decode(r, maxResponse, &e)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			break // at worst the last entry is cut off: it was never answered
		}
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", path, err)
		}
		switch {
		case e.Put != nil:
			t.live[e.Put.Seq] = e.Put
		case e.Change != nil:
			if rec := t.live[e.Change.Seq]; rec != nil {
				e.Change.apply(rec)
			}
		default:
			delete(t.live, e.Delete)
		}
	}
	for seq, rec := range t.live {
		t.live[seq] = rec.kept()
	}
	return t, false, t.rewrite()
}

// rewrite writes what is live to a new file that takes the old one's place.
func (t *table) rewrite() error {
	var b bytes.Buffer
	envs := map[uint64]int64{}
	add := func(e entry) error {
		frame, err := encode(e)
		if e.Put != nil {
			noteEnv(envs, e.Put, frame, int64(b.Len()))
		}
		b.Write(frame)
		return err
	}
	if err := add(entry{Boot: t.boot}); err != nil {
		return err
	}
	for _, seq := range slices.Sorted(maps.Keys(t.live)) {
		if err := add(entry{Put: t.live[seq].kept()}); err != nil {
			return err
		}
	}
	if err := os.WriteFile(t.path+".new", b.Bytes(), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(t.path+".new", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := os.Rename(t.path+".new", t.path); err != nil {
		f.Close()
		return err
	}
	if t.f != nil {
		t.f.Close()
	}
	t.f, t.size, t.envs = f, int64(b.Len()), envs
	return nil
}

// kept is what the file has of a record: of one that has ended, no environment.
func (r *record) kept() *record {
	if r.Exit == nil {
		return r
	}
	out, l := *r, *r.Launch
	l.Env = nil
	out.Launch = &l
	return &out
}

// envField is the environment of a launch as an entry has it: the field and its value. Nil: it cannot be told.
func envField(env []string) []byte {
	raw, err := msgpack.Append(nil, &struct{ Env []string }{env})
	if err != nil {
		return nil
	}
	return raw[1:] // without the head of a map of one
}

// noteEnv notes where the environment of a record is whose entry is at an offset.
func noteEnv(envs map[uint64]int64, r *record, frame []byte, at int64) {
	if len(r.Launch.Env) == 0 || r.Exit != nil {
		return
	}
	if i := bytes.Index(frame, envField(r.Launch.Env)); i > 0 {
		envs[r.Seq] = at + int64(i)
	}
}

// blank overwrites the environment of a record that has ended with as many zeros.
func (t *table) blank(r *record) error {
	at, ok := t.envs[r.Seq]
	if !ok {
		return nil
	}
	delete(t.envs, r.Seq)
	zeros := make([]string, len(r.Launch.Env))
	for i, e := range r.Launch.Env {
		zeros[i] = strings.Repeat("\x00", len(e))
	}
	f, err := os.OpenFile(t.path, os.O_WRONLY, 0) // what is open appends
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(envField(zeros), at)
	return err
}

func (t *table) append(e entry) (frame []byte, err error) {
	frame, err = encode(e)
	if err != nil {
		return nil, err
	}
	n, err := t.f.Write(frame)
	t.size += int64(n)
	if err != nil {
		if n > 0 {
			t.f.Truncate(t.size - int64(n)) // no half entry before the next one
			t.size -= int64(n)
		}
		return nil, structs.Errorf(structs.Exhausted, filepath.Dir(t.path), "write the table of tasks: %w", err)
	}
	return frame, nil
}

// put adds a record. The table keeps it; later changes go through change.
func (t *table) put(r *record) error {
	at := t.size
	frame, err := t.append(entry{Put: r})
	if err != nil {
		return err
	}
	t.live[r.Seq] = r
	noteEnv(t.envs, r, frame, at)
	return nil
}

func (t *table) change(c *change) error {
	r := t.live[c.Seq]
	if r != nil {
		c.apply(r)
	}
	_, err := t.append(entry{Change: c})
	if r != nil && r.Exit != nil {
		err = errors.Join(err, t.blank(r))
	}
	return err
}

// delete forgets a record, and shrinks the file when it is large for what it holds.
func (t *table) delete(seq uint64) error {
	r := t.live[seq]
	delete(t.live, seq)
	if t.size > 1<<20+int64(len(t.live))*16<<10 {
		return t.rewrite()
	}
	_, err := t.append(entry{Delete: seq})
	if r != nil { // of a start that failed
		err = errors.Join(err, t.blank(r))
	}
	return err
}

func (t *table) close() { t.f.Close() }
