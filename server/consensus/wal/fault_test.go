package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/proffer/proffer/server/consensus/disk/faulty"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/structs"
)

var (
	errIO   = &os.PathError{Op: "sync", Path: "disk", Err: syscall.EIO}
	errFull = &os.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
)

// step is one call of a script and what it makes of the model.
type step struct {
	call func(*wal.Log) error
	next func(model) model
}

func appending(logs []*raft.Log) step {
	return step{func(l *wal.Log) error { return l.StoreLogs(logs) }, func(m model) model { return m.with(logs) }}
}

func deleting(low, high uint64) step {
	return step{
		func(l *wal.Log) error { return l.DeleteRange(low, high) },
		func(m model) model { return m.without(low, high) },
	}
}

func setting(key, value string) step {
	return step{
		func(l *wal.Log) error { return l.Set([]byte(key), []byte(value)) },
		func(m model) model { return m.set(key, value) },
	}
}

// script passes through everything: several segments, a frame larger than one, conflicts, compaction, reuse of a
// segment, an emptied log that starts again elsewhere.
var script = []step{
	setting("term", "1"),
	appending(run(1, 1, 10, 20, 30)),
	appending(run(4, 1, 3000)),
	setting("vote", "a"),
	appending(run(5, 1, 3000, 5000)),
	deleting(6, 6),
	appending(run(6, 2, 100, 0, 9000)),
	deleting(1, 5),
	appending(run(9, 2, 40000)),
	deleting(6, 8),
	appending(run(10, 2, 100)),
	appending(run(11, 2, 6000)),
	appending(run(12, 2, 6000)),
	setting("term", "2"),
	deleting(0, 99),
	appending(run(500, 3, 10, 700)),
	appending(run(502, 3, 10)),
}

func options(disk *faulty.Disk) wal.Options {
	return wal.Options{SegmentBytes: 16 << 10, CacheBytes: 1, Disk: disk}.Inline()
}

func open(t testing.TB, disk *faulty.Disk) *wal.Log {
	t.Helper()
	log, err := wal.Open("log", options(disk))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// play runs the script from a step on, without faults.
func play(t testing.TB, log *wal.Log, steps []step, m model) model {
	t.Helper()
	for i, s := range steps {
		if err := s.call(log); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		m = s.next(m)
	}
	if why := m.diff(log); why != "" {
		t.Fatal(why)
	}
	return m
}

// TestEachCall lets each call to the disk fail in each way, once.
func TestEachCall(t *testing.T) {
	clean := faulty.New(1)
	play(t, open(t, clean), script, model{})
	calls := clean.Calls()
	if calls < 60 {
		t.Fatalf("the script makes only %d calls", calls)
	}
	for at := 1; at <= calls; at++ {
		for _, fault := range []error{faulty.ErrCrash, errIO, errFull} {
			for _, power := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/%v/power=%v", at, fault, power), func(t *testing.T) {
					failAt(t, at, fault, power)
				})
			}
		}
	}
}

func failAt(t *testing.T, at int, fault error, power bool) {
	disk := faulty.New(uint64(at))
	var op string
	disk.Fail = func(c faulty.Call) error {
		if c.Number == at {
			op = c.Op + " " + c.Name
			return fault
		}
		return nil
	}
	log, err := wal.Open("log", options(disk))
	if err != nil {
		if fault == errFull && structs.KindOf(err) != structs.Exhausted {
			t.Errorf("%s: kind %s of %v", op, structs.KindOf(err), err)
		}
		disk.Restart(power)
		play(t, open(t, disk), script, model{})
		return
	}
	var now model
	for i, s := range script {
		err := s.call(log)
		if err == nil {
			now = s.next(now)
			continue
		}
		if structs.KindOf(err) == structs.Exhausted {
			if err := s.call(log); err != nil {
				t.Fatalf("%s: step %d, tried again with room: %v", op, i, err)
			}
			now = s.next(now)
			continue
		}
		if err := log.StoreLogs(run(now.last()+1, 9, 1)); structs.KindOf(err) != structs.Unavailable {
			t.Fatalf("%s: an append after %v: %v", op, err, err)
		}
		if err := log.Set([]byte("term"), []byte("99")); structs.KindOf(err) != structs.Unavailable {
			t.Fatalf("%s: a set after the fault: %v", op, err)
		}
		if why := now.diff(log); fault != faulty.ErrCrash && why != "" {
			t.Fatalf("%s: reading after the fault: %s", op, why)
		}
		disk.Restart(power)
		log = open(t, disk)
		if s.next(now).diff(log) == "" {
			now = s.next(now)
		} else if why := now.diff(log); why != "" {
			t.Fatalf("%s: after the restart: %s", op, why)
		} else if err := s.call(log); err != nil {
			t.Fatalf("%s: step %d again: %v", op, i, err)
		} else {
			now = s.next(now)
		}
		// What was shown once stays, whatever the failed sync left on the disk.
		disk.Restart(true)
		log = open(t, disk)
		if why := now.diff(log); why != "" {
			t.Fatalf("%s: after the second restart: %s", op, why)
		}
	}
	disk.Fail = nil
	disk.Restart(power)
	if why := now.diff(open(t, disk)); why != "" {
		t.Fatalf("%s: at the end: %s", op, why)
	}
}

// TestFullDisk keeps the disk full over many appends: reads go on, nothing is lost, and work goes on when there is room.
func TestFullDisk(t *testing.T) {
	disk := faulty.New(1)
	log := open(t, disk)
	m := play(t, log, script[:3], model{})
	disk.Fail = func(c faulty.Call) error {
		if c.Op == "reserve" || c.Op == "write" {
			return errFull
		}
		return nil
	}
	for range 5 {
		err := log.StoreLogs(run(m.last()+1, 1, 3000, 3000, 3000))
		if structs.KindOf(err) != structs.Exhausted || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk is full") {
			t.Fatalf("append to a full disk: %v", err)
		}
	}
	if why := m.diff(log); why != "" {
		t.Fatal(why)
	}
	disk.Fail = nil
	m = play(t, log, []step{appending(run(m.last()+1, 1, 3000, 3000, 3000)), setting("vote", "b")}, m)
	disk.Restart(true)
	if why := m.diff(open(t, disk)); why != "" {
		t.Fatal(why)
	}
}

// TestTornAppend tries every pattern of sectors that a power loss may leave of the last append: it is there when all of
// them are, and otherwise it is not, and nothing else is touched.
func TestTornAppend(t *testing.T) {
	for _, reused := range []bool{false, true} {
		for _, size := range []int{10, 1900, 6000} { // 1, 4 and 13 sectors
			t.Run(fmt.Sprintf("reused=%v/size=%d", reused, size), func(t *testing.T) { tearAppend(t, reused, size) })
		}
	}
}

func tearAppend(t *testing.T, reused bool, size int) {
	disk := faulty.New(1)
	options := options(disk)
	options.SegmentBytes = 64 << 10
	open := func(t testing.TB, disk *faulty.Disk) *wal.Log {
		options.Disk = disk
		log, err := wal.Open("log", options)
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	log := open(t, disk)
	m := play(t, log, []step{setting("term", "7"), appending(run(1, 1, 100))}, model{})
	if reused {
		// Several segments are filled and dropped, so that their files are in use again under other names.
		for range 20 {
			m = play(t, log, []step{appending(run(m.last()+1, 1, 3900, 3900))}, m)
			m = play(t, log, []step{deleting(m.first(), m.last()-1)}, m)
		}
	}
	m = play(t, log, []step{appending(run(m.last()+1, 1, 50))}, m)
	before := disk.Clone(1)
	added := appending(run(m.last()+1, 2, size))
	after := play(t, log, []step{added}, m)
	name := newest(t, disk)
	old, new := before.File(name), disk.File(name)
	if old == nil {
		t.Fatal("the append made a segment")
	}
	var changed []int
	for i := 0; i < len(new); i += 512 {
		if string(old[i:i+512]) != string(new[i:i+512]) {
			changed = append(changed, i)
		}
	}
	if reused && string(old[changed[0]:changed[0]+512]) == string(make([]byte, 512)) {
		t.Fatal("the segment was not used before")
	}
	patterns := 1 << len(changed)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range min(patterns, 300) {
		pattern := n
		if patterns > 300 && n > 0 {
			pattern = random.IntN(patterns)
		}
		if n == 299 {
			pattern = patterns - 1
		}
		mixed := slices.Clone(old)
		whole := true
		for bit, at := range changed {
			if pattern>>bit&1 == 1 {
				copy(mixed[at:at+512], new[at:at+512])
			} else if string(new[at+496:at+504]) != string(make([]byte, 8)) {
				whole = false // a sector of the frame, not of its padding
			}
		}
		d := before.Clone(uint64(n))
		d.SetFile(name, mixed)
		want := m
		if whole {
			want = after
		}
		options.Disk = d
		log, err := wal.Open("log", options)
		if err != nil {
			t.Fatalf("pattern %b: %v", pattern, err)
		}
		if why := want.diff(log); why != "" {
			t.Fatalf("pattern %b: %s", pattern, why)
		}
		want = play(t, log, []step{appending(run(want.last()+1, 3, 10))}, want)
		d.Restart(true)
		if why := want.diff(open(t, d)); why != "" {
			t.Fatalf("pattern %b, after an append: %s", pattern, why)
		}
	}
}

func segments(t testing.TB, disk *faulty.Disk) []string {
	t.Helper()
	names, err := disk.Names()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "0") })
}

func newest(t testing.TB, disk *faulty.Disk) string {
	names := segments(t, disk)
	return names[len(names)-1]
}

// stored is a log of several segments at rest, with its contents, and without its last append.
func stored(t testing.TB, closed bool) (disk *faulty.Disk, m, before model) {
	disk = faulty.New(1)
	log := open(t, disk)
	m = play(t, log, script[:8], model{})
	for _, size := range []int{6000, 6000, 100, 600, 30} {
		before = m
		m = play(t, log, []step{setting("vote", "c"), appending(run(m.last()+1, 4, size, size))}, m)
	}
	if closed {
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	} else {
		disk.Restart(true)
	}
	if n := len(segments(t, disk)); n < 3 {
		t.Fatalf("only %d segments", n)
	}
	return disk, m, before
}

// TestDamage changes bytes, sectors and blocks of a log at rest. Each change is reported with file and offset, or does
// no harm. After a crash there is one exception: a last append with a sector that reads as never written was cut short.
func TestDamage(t *testing.T) {
	t.Run("closed", func(t *testing.T) { testDamage(t, true) })
	t.Run("crashed", func(t *testing.T) { testDamage(t, false) })
}

func testDamage(t *testing.T, closed bool) {
	disk, m, before := stored(t, closed)
	check := func(name, what string, b []byte) bool {
		t.Helper()
		d := disk.Clone(1)
		d.SetFile(name, b)
		log, err := wal.Open("log", options(d))
		if err == nil {
			why := m.diff(log)
			if !closed && strings.Contains(what, "zeros") && before.diff(log) == "" {
				why = ""
			}
			if why != "" {
				t.Fatalf("%s: %s: not noticed: %s", name, what, why)
			}
			return false
		}
		if text := err.Error(); !strings.Contains(text, ".wal, offset ") {
			t.Fatalf("%s: %s: %v", name, what, err)
		}
		return true
	}
	reported := 0
	for _, name := range segments(t, disk) {
		whole := disk.File(name)
		for off := range whole {
			sector := whole[off/512*512 : off/512*512+512]
			if off%512 > 8 && off%37 != 0 || off%512 > 0 && string(sector) == string(make([]byte, 512)) {
				continue // all of the first bytes of each sector that is used, and a sample of the others
			}
			b := slices.Clone(whole)
			b[off] ^= 1 << (off % 8)
			if check(name, fmt.Sprintf("bit at %d", off), b) {
				reported++
			}
		}
		for _, size := range []int{512, 4096} {
			for off := 0; off < len(whole); off += size {
				b := slices.Clone(whole)
				clear(b[off : off+size])
				check(name, fmt.Sprintf("%d zeros at %d", size, off), b)
				if next := whole[(off+size)%len(whole):][:size]; string(next) != string(b[off:off+size]) {
					copy(b[off:], next)
					check(name, fmt.Sprintf("%d bytes misplaced at %d", size, off), b)
				}
			}
			check(name, "cut", whole[:len(whole)-size])
		}
		check(name, "empty", []byte{})
	}
	if reported < 300 {
		t.Errorf("only %d changes were reported", reported)
	}
}

// TestDamagedStable damages one copy of the stable file at a time: nothing is lost. With both gone, the log says so.
func TestDamagedStable(t *testing.T) {
	disk, m, _ := stored(t, true)
	whole := disk.File("stable")
	for off := 0; off < len(whole); off += 17 {
		b := slices.Clone(whole)
		b[off] ^= 0x40
		d := disk.Clone(1)
		d.SetFile("stable", b)
		if why := m.diff(open(t, d)); why != "" {
			t.Fatalf("byte %d: %s", off, why)
		}
		b[(off+4096)%len(b)] ^= 0x40
		d = disk.Clone(1)
		d.SetFile("stable", b)
		if _, err := wal.Open("log", options(d)); err == nil || !strings.Contains(err.Error(), "both copies") {
			t.Fatalf("byte %d of both copies: %v", off, err)
		}
	}
}

// TestMissingFile removes one file at a time.
func TestMissingFile(t *testing.T) {
	disk, _, _ := stored(t, true)
	names, err := disk.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		d := disk.Clone(1)
		d.SetFile(name, nil)
		if _, err := wal.Open("log", options(d)); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "missing") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// FuzzOpen opens folders of garbage: an error or a log that can be read, and no more memory than the files have.
func FuzzOpen(f *testing.F) {
	disk, _, _ := stored(f, true)
	names := segments(f, disk)
	for i, name := range append(names, "stable") {
		f.Add(i, 24, []byte{1, 2, 3}, true)
		f.Add(i, 4096+8, []byte{0xff, 0xff, 0xff, 0xff}, true)
		f.Add(i, 0, disk.File(name)[:600], false)
	}
	f.Fuzz(func(t *testing.T, which, off int, b []byte, reseal bool) {
		all := append(slices.Clone(names), "stable")
		name := all[uint(which)%uint(len(all))]
		contents := disk.File(name)
		copy(contents[uint(off)%uint(len(contents)):], b)
		if reseal {
			wal.Reseal(name, contents)
		}
		d := disk.Clone(1)
		d.SetFile(name, contents)
		log, err := wal.Open("log", options(d))
		if err != nil {
			return
		}
		first, _ := log.FirstIndex()
		last, _ := log.LastIndex()
		for index := first; index <= last && index > 0; index++ {
			if err := log.GetLog(index, new(raft.Log)); err != nil {
				t.Fatalf("entry %d of an open log: %v", index, err)
			}
		}
		if err := log.StoreLogs(run(last+1, 9, 100)); err != nil && structs.KindOf(err) != structs.Invalid {
			t.Fatal(err)
		}
	})
}

// TestFolder uses a real folder: reading beside appends and truncations, segments dropped and used again.
func TestFolder(t *testing.T) {
	dir := t.TempDir() + "/a/log"
	o := wal.Options{SegmentBytes: 64 << 10, CacheBytes: 8 << 10}
	log, err := wal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, _ := log.FirstIndex()
				last, _ := log.LastIndex()
				for i := first; i <= last; i += 7 {
					if err := log.GetLog(i, new(raft.Log)); err != nil && err != raft.ErrLogNotFound {
						t.Errorf("entry %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	var m model
	for range 150 {
		m = play(t, log, []step{appending(run(m.last()+1, 1, 500, 500, 2000))}, m)
		if len(m.logs) > 60 {
			m = play(t, log, []step{deleting(m.first(), m.last()-30)}, m)
		}
	}
	close(stop)
	readers.Wait()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if log, err = wal.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	if why := m.diff(log); why != "" {
		t.Fatal(why)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 6 {
		t.Errorf("%d files are left: %v (%v)", len(files), files, err)
	}
	if err := log.StoreLog(entry(m.last()+1, 2, 10)); err != nil {
		t.Fatal(err)
	}
	if err := log.StoreLog(entry(m.last()+5, 2, 10)); structs.KindOf(err) != structs.Invalid {
		t.Errorf("an append with a gap: %v", err)
	}
	if err := log.DeleteRange(m.first()+1, m.last()-1); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a hole: %v", err)
	}
	if err := log.SetUint64([]byte("CurrentTerm"), 42); err != nil {
		t.Fatal(err)
	}
	if term, err := log.GetUint64([]byte("CurrentTerm")); term != 42 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.StoreLog(entry(m.last()+2, 2, 10)); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("an append after Close: %v", err)
	}
}

// BenchmarkStoreLogs appends 64 entries of 200 bytes a call.
func BenchmarkStoreLogs(b *testing.B) {
	log, err := wal.Open(b.TempDir(), wal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	sizes := make([]int, 64)
	for i := range sizes {
		sizes[i] = 200
	}
	next := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := log.StoreLogs(run(next, 1, sizes...)); err != nil {
			b.Fatal(err)
		}
		next += 64
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
}
