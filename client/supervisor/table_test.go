package supervisor

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/client/msgpack/twin"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

func testRecord(seq uint64) *record {
	return &record{Seq: seq, Slot: uint32(seq), Launch: &exec.Launch{ID: fmt.Sprint("task", seq), Program: "/bin/true", Args: []string{"a", ""},
		Env: []string{"A=1"}, Rlimits: []exec.Rlimit{{Resource: 7, Soft: 1, Hard: ^uint64(0)}}, Memory: 1 << 30}}
}

// Whatever was written is read again, wherever a crash cut the file: at worst the last entry is missing.
func TestTheTableSurvivesACutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "table")
	tab, fresh, err := openTable(path, "boot")
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	type point struct {
		size int64
		want string
	}
	show := func(tab *table) string {
		var b strings.Builder
		for _, seq := range slices.Sorted(maps.Keys(tab.live)) {
			r := tab.live[seq]
			fmt.Fprintf(&b, "%d %s pid=%d exit=%v\n", seq, r.Launch.ID, r.PID, r.Exit)
		}
		return b.String()
	}
	points := []point{{tab.size, show(tab)}}
	do := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, point{tab.size, show(tab)})
	}
	do(tab.put(testRecord(1)))
	do(tab.put(testRecord(2)))
	do(tab.change(&change{Seq: 1, PID: 77, Birth: 5, Started: 9}))
	do(tab.change(&change{Seq: 1, Ended: 10, Exit: &drivers.Exit{Code: 137, Signal: 9, OOM: true, Why: "memory"}}))
	do(tab.delete(2))
	do(tab.put(testRecord(3)))
	tab.close()
	raw, err := os.ReadFile(path)
	if err != nil || int64(len(raw)) != points[len(points)-1].size {
		t.Fatal(len(raw), err)
	}
	for cut := int64(len(raw)); cut >= points[0].size; cut-- {
		if cut%7 != 0 && !slices.ContainsFunc(points, func(p point) bool { return p.size-1 <= cut && cut <= p.size+5 }) {
			continue // every byte near the border of an entry, and samples between
		}
		if err := os.WriteFile(path, raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		tab, fresh, err := openTable(path, "boot")
		if err != nil || fresh {
			t.Fatalf("cut at %d: %v, %v", cut, fresh, err)
		}
		want := points[0].want
		for _, p := range points {
			if p.size <= cut {
				want = p.want
			}
		}
		if got := strings.ReplaceAll(show(tab), "0x", ""); stripPointers(got) != stripPointers(want) {
			t.Fatalf("cut at %d: %q, want %q", cut, got, want)
		}
		tab.close()
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if tab, fresh, err = openTable(path, "another boot"); err != nil || !fresh || len(tab.live) != 0 {
		t.Errorf("after a reboot: %v, %v, %v", tab.live, fresh, err)
	}
	tab.close()
}

func stripPointers(s string) string { return strings.ReplaceAll(s, "&", "") }

func TestTheTableStaysSmall(t *testing.T) {
	tab, _, err := openTable(filepath.Join(t.TempDir(), "table"), "boot")
	if err != nil {
		t.Fatal(err)
	}
	defer tab.close()
	keep := testRecord(1)
	if err := tab.put(keep); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(2); seq < 10_000; seq++ {
		if err := tab.put(testRecord(seq)); err != nil {
			t.Fatal(err)
		}
		if err := tab.delete(seq); err != nil {
			t.Fatal(err)
		}
	}
	if tab.size > 2<<20 {
		t.Errorf("the table has %d bytes for one record", tab.size)
	}
	tab.close()
	again, _, err := openTable(tab.path, "boot")
	if err != nil || !reflect.DeepEqual(again.live, map[uint64]*record{1: keep}) {
		t.Errorf("%v, %v", again.live, err)
	}
	again.close()
}

func TestFramesHaveBounds(t *testing.T) {
	frame, err := encode(&request{ID: 7, Op: opStart, Launch: testRecord(1).Launch})
	if err != nil {
		t.Fatal(err)
	}
	var got request
	if err := decode(bytes.NewReader(frame), maxRequest, &got); err != nil || got.ID != 7 || !reflect.DeepEqual(got.Launch, testRecord(1).Launch) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := decode(bytes.NewReader(frame), 10, &got); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("a frame beyond the limit: %v", err)
	}
	if err := decode(bytes.NewReader([]byte{0, 0, 0, 4, 1, 2, 3, 4}), maxRequest, &got); err == nil {
		t.Error("garbage was decoded")
	}
	resp := &response{ID: 1, Err: structs.Errorf(structs.Conflict, "task x", "it runs").Advise("stop it")}
	frame, err = encode(resp)
	if err != nil {
		t.Fatal(err)
	}
	var back response
	if err := decode(bytes.NewReader(frame), maxResponse, &back); err != nil || back.Err.Kind != structs.Conflict || back.Err.Error() != resp.Err.Error() {
		t.Errorf("%+v, %v", back, err)
	}
}

// Limits that a task was given while it ran are those that its end is explained by, whoever reads the table.
func TestLimitsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	tab, _, err := openTable(path, "boot")
	if err != nil {
		t.Fatal(err)
	}
	rec := &record{Launch: &exec.Launch{ID: "a", Memory: 1 << 20}, Seq: 1}
	if err := tab.put(rec); err != nil {
		t.Fatal(err)
	}
	if err := tab.change(&change{Seq: 1, Limits: &drivers.Limits{CPU: 5, Memory: 2 << 20, MemoryMax: 3 << 20}}); err != nil {
		t.Fatal(err)
	}
	tab.close()
	for range 2 { // as it was written, and written anew
		tab, _, err = openTable(path, "boot")
		if err != nil {
			t.Fatal(err)
		}
		if got := tab.live[1]; got.memory() != 3<<20 || got.Limits.CPU != 5 || got.Launch.Memory != 1<<20 {
			t.Errorf("%+v with %v", got.Limits, got.memory())
		}
		tab.close()
	}
}

// TestFramesAreAsTheyWere: a supervisor reads what its agent, its table or its predecessor wrote before they used package msgpack.
func TestFramesAreAsTheyWere(t *testing.T) {
	twin.Check(t, 1, 60, hello{}, request{}, response{}, entry{}, handover{})
}

// The environment of a task, which may be secret, is in the file as long as the task runs, and then overwritten in its place.
func TestTheTableForgetsEnvironmentsOfWhatEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	tab, _, err := openTable(path, "boot")
	if err != nil {
		t.Fatal(err)
	}
	rec := func(seq uint64) *record {
		r := testRecord(seq)
		r.Launch.Args = []string{fmt.Sprint("secret=of-", seq), "A=1"}
		r.Launch.Env = []string{fmt.Sprint("secret=of-", seq), "A=1", strings.Repeat("long", 100), ""}
		r.Launch.Args[0] = fmt.Sprint("argument-", seq)
		return r
	}
	holds := func(when string, want ...uint64) {
		t.Helper()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for seq := range uint64(6) {
			if bytes.Contains(raw, fmt.Appendf(nil, "secret=of-%d", seq)) {
				got = append(got, seq)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s the file has the environments of %v, and not of %v", when, got, want)
		}
	}
	end := &drivers.Exit{Code: 3}
	for seq := uint64(1); seq <= 4; seq++ {
		if err := tab.put(rec(seq)); err != nil {
			t.Fatal(err)
		}
	}
	holds("while they run", 1, 2, 3, 4)
	for _, err := range []error{tab.change(&change{Seq: 2, PID: 7, Birth: 1, Started: 2}), tab.change(&change{Seq: 2, Ended: 9, Exit: end}), tab.delete(4)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	holds("after an end and a start that failed", 1, 3)
	tab.close()
	for range 2 { // what is written anew is overwritten as well
		if tab, _, err = openTable(path, "boot"); err != nil {
			t.Fatal(err)
		}
		if r := tab.live[2]; r.Exit == nil || r.Exit.Code != 3 || r.Launch.Env != nil || r.Launch.Args[0] != "argument-2" {
			t.Errorf("of the one that ended there is %+v", r)
		}
		if r := tab.live[1]; len(r.Launch.Env) != 4 || r.Launch.Env[0] != "secret=of-1" {
			t.Errorf("of one that runs there is %+v", r.Launch)
		}
		tab.close()
	}
	if tab, _, err = openTable(path, "boot"); err != nil {
		t.Fatal(err)
	}
	defer tab.close()
	if err := tab.change(&change{Seq: 3, Ended: 9, Exit: end}); err != nil {
		t.Fatal(err)
	}
	holds("after another end", 1)
}
