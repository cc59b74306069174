package snapshots_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/server/consensus/disk/faulty"
	"github.com/proffer/proffer/server/consensus/snapshots"
	"github.com/proffer/proffer/structs"
)

var (
	errIO   = &os.PathError{Op: "sync", Path: "disk", Err: syscall.EIO}
	errFull = &os.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
)

func open(t testing.TB, d disk.Disk) *snapshots.Store {
	t.Helper()
	s, err := snapshots.Open(d, "snapshots", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func contents(index uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "state %d ", index), 200*int(index))
}

// save takes a snapshot.
func save(s *snapshots.Store, index uint64) error {
	members := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "here"}}}
	k, err := s.Create(raft.SnapshotVersionMax, index, 3, members, 1, nil)
	if err != nil {
		return err
	}
	if _, err := k.Write(contents(index)); err != nil {
		return errors.Join(err, k.Cancel())
	}
	return k.Close()
}

// newest reads the newest snapshot in full and returns its index, 0 if there is none.
func newest(t testing.TB, s *snapshots.Store) uint64 {
	t.Helper()
	metas, err := s.List()
	if err != nil || len(metas) > 2 {
		t.Fatalf("%d snapshots, %v", len(metas), err)
	}
	for _, meta := range metas {
		got, r, err := s.Open(meta.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(b, contents(meta.Index)) || got.Index != meta.Index || got.Size != int64(len(b)) ||
			got.Term != 3 || len(got.Configuration.Servers) != 1 || got.ConfigurationIndex != 1 || got.Version != raft.SnapshotVersionMax {
			t.Fatalf("snapshot %+v reads as %d bytes: %v", got, len(b), err)
		}
		r.Close()
	}
	if len(metas) == 0 {
		return 0
	}
	return metas[0].Index
}

// TestEachCall lets each call to the disk fail in each way, once. What was acknowledged is there after a loss of power,
// and what was not is there in full or not at all.
func TestEachCall(t *testing.T) {
	clean := faulty.New(1)
	s := open(t, clean)
	for index := uint64(1); index <= 4; index++ {
		if err := save(s, index); err != nil {
			t.Fatal(err)
		}
	}
	for at := 1; at <= clean.Calls(); at++ {
		for _, fault := range []error{faulty.ErrCrash, errIO, errFull} {
			for seed := range uint64(5) {
				failAt(t, at, fault, seed)
			}
		}
	}
}

func failAt(t *testing.T, at int, fault error, seed uint64) {
	d := faulty.New(seed)
	op, off := "", false
	d.Fail = func(c faulty.Call) error {
		if c.Number == at {
			op, off = c.Op+" "+c.Name, fault == faulty.ErrCrash
			return fault
		}
		return nil
	}
	acked, tried := uint64(0), uint64(0)
	s, err := snapshots.Open(d, "snapshots", nil)
	if err == nil {
		for tried < 4 && !off {
			tried++
			if err := save(s, tried); err == nil {
				acked = tried
			} else if fault == errFull && structs.KindOf(err) != structs.Exhausted && op != "sync folder " {
				t.Errorf("%s: a full disk gives %v", op, err)
			}
		}
	}
	what := fmt.Sprintf("call %d (%s) fails with %v", at, op, fault)
	if op != "sync folder " && !off && err == nil && acked < 3 {
		t.Errorf("%s: the store does not go on", what)
	}
	for range 2 {
		d.Restart(true)
		have := newest(t, open(t, d))
		if have < acked || have > tried {
			t.Fatalf("%s: the newest is %d, %d was acknowledged and %d tried", what, have, acked, tried)
		}
		acked, tried = have, have // what was shown once stays
	}
	s = open(t, d)
	if err := save(s, 5); err != nil || newest(t, s) != 5 {
		t.Errorf("%s: afterwards: %v", what, err)
	}
	names, err := d.Names()
	if err != nil || len(names) > 2 {
		t.Errorf("%s: left over: %v, %v", what, names, err)
	}
}

// TestFailedFolderSync takes no further snapshot when names may not be on the disk, whatever a later sync says.
func TestFailedFolderSync(t *testing.T) {
	d := faulty.New(1)
	s := open(t, d)
	d.Fail = func(c faulty.Call) error {
		if c.Op == "sync folder" {
			return errIO
		}
		return nil
	}
	if err := save(s, 1); !errors.Is(err, syscall.EIO) || newest(t, s) != 0 {
		t.Errorf("the snapshot counts: %v", err)
	}
	d.Fail = nil
	if err := save(s, 2); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("it goes on: %v", err)
	}
}

// TestDamage changes each byte of the newest snapshot: opening fails and names the file. An older one is left out.
func TestDamage(t *testing.T) {
	d := faulty.New(1)
	s := open(t, d)
	for index := range uint64(2) {
		if err := save(s, index+1); err != nil {
			t.Fatal(err)
		}
	}
	names, err := d.Names()
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		whole := d.File(name)
		for off := range whole {
			b := slices.Clone(whole)
			b[off] ^= 1 << (off % 8)
			tryDamaged(t, d, name, b, name == names[1], off < len(whole)-400)
		}
		for _, size := range []int{0, 10, len(whole) / 2, len(whole) - 1} {
			tryDamaged(t, d, name, whole[:size], name == names[1], false)
		}
	}
}

func tryDamaged(t *testing.T, d *faulty.Disk, name string, b []byte, last, inState bool) {
	t.Helper()
	c := d.Clone(1)
	c.SetFile(name, b)
	s, err := snapshots.Open(c, "snapshots", nil)
	if last {
		if err == nil || !strings.Contains(err.Error(), name) || structs.KindOf(err) != structs.Internal {
			t.Fatalf("%s: %v", name, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	metas, _ := s.List()
	if inState { // an older one is read when it is wanted
		_, _, err := s.Open(metas[len(metas)-1].ID)
		if structs.KindOf(err) != structs.Internal {
			t.Fatalf("%s: opened: %v", name, err)
		}
	} else if len(metas) == 2 {
		if _, _, err := s.Open(metas[1].ID); structs.KindOf(err) != structs.Internal {
			t.Fatalf("%s: opened: %v", name, err)
		}
	}
}

// FuzzOpen opens files of garbage: an error, or a snapshot that reads in full.
func FuzzOpen(f *testing.F) {
	d := faulty.New(1)
	if err := save(open(f, d), 1); err != nil {
		f.Fatal(err)
	}
	names, _ := d.Names()
	f.Add(d.File(names[0]))
	f.Add(d.File(names[0])[1500:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := faulty.New(1)
		c.SetFile(names[0], b)
		s, err := snapshots.Open(c, "snapshots", nil)
		if err != nil {
			return
		}
		metas, _ := s.List()
		for _, m := range metas {
			_, r, err := s.Open(m.ID)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); n != m.Size || err != nil {
				t.Fatal(n, err)
			}
		}
	})
}

// TestFolder uses a real folder, made with those above it.
func TestFolder(t *testing.T) {
	path := t.TempDir() + "/a/b/c"
	for index := uint64(1); index <= 4; index++ {
		d, err := disk.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, d)
		if newest(t, s) != index-1 {
			t.Errorf("the newest is %d", newest(t, s))
		}
		if err := save(s, index); err != nil {
			t.Fatal(err)
		}
		k, err := s.Create(1, index, 3, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Cancel(); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := os.ReadDir(path); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}
