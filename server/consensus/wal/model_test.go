package wal_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/proffer/proffer/server/consensus/disk/faulty"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// model is the naive log: what a caller may rely on.
type model struct {
	logs   []*raft.Log
	values map[string]string
}

func (m model) first() uint64 {
	if len(m.logs) == 0 {
		return 0
	}
	return m.logs[0].Index
}

func (m model) last() uint64 {
	if len(m.logs) == 0 {
		return 0
	}
	return m.logs[len(m.logs)-1].Index
}

func (m model) with(logs []*raft.Log) model {
	m.logs = append(slices.Clone(m.logs), logs...)
	return m
}

func (m model) without(low, high uint64) model {
	m.logs = slices.DeleteFunc(slices.Clone(m.logs), func(l *raft.Log) bool { return low <= l.Index && l.Index <= high })
	return m
}

func (m model) set(key, value string) model {
	m.values = maps.Clone(m.values)
	if m.values == nil {
		m.values = map[string]string{}
	}
	m.values[key] = value
	return m
}

// diff tells where the log differs from the model; "" means nowhere.
func (m model) diff(l *wal.Log) string {
	first, err1 := l.FirstIndex()
	last, err2 := l.LastIndex()
	if err1 != nil || err2 != nil || first != m.first() || last != m.last() {
		return fmt.Sprintf("the log goes from %d to %d, want %d to %d (%v, %v)", first, last, m.first(), m.last(), err1, err2)
	}
	for _, want := range m.logs {
		var got raft.Log
		if err := l.GetLog(want.Index, &got); err != nil {
			return fmt.Sprintf("entry %d: %v", want.Index, err)
		}
		if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) ||
			!bytes.Equal(got.Extensions, want.Extensions) || !got.AppendedAt.Equal(want.AppendedAt) ||
			got.AppendedAt.IsZero() != want.AppendedAt.IsZero() {
			return fmt.Sprintf("entry %d is %+v, want %+v", want.Index, got, *want)
		}
	}
	for _, index := range []uint64{m.first() - 1, m.last() + 1} {
		if err := l.GetLog(index, new(raft.Log)); err != raft.ErrLogNotFound {
			return fmt.Sprintf("entry %d outside of the log: %v", index, err)
		}
	}
	for _, key := range []string{"term", "vote"} {
		got, err := l.Get([]byte(key))
		if err != nil || string(got) != m.values[key] {
			return fmt.Sprintf("%s is %q (%v), want %q", key, got, err, m.values[key])
		}
	}
	return ""
}

// entry makes an entry whose contents tell its index and term.
func entry(index, term uint64, size int) *raft.Log {
	l := &raft.Log{Index: index, Term: term, Type: raft.LogType(index % 6)}
	if size > 0 {
		l.Data = bytes.Repeat([]byte{byte(index), byte(term), 0xA5, byte(size)}, size/4+1)[:size]
	}
	if index%3 == 0 {
		l.Extensions = []byte{1, 2, byte(index)}
	}
	if index%4 != 0 {
		l.AppendedAt = time.Unix(int64(index), int64(term)).UTC()
	}
	return l
}

func run(first, term uint64, sizes ...int) []*raft.Log {
	var logs []*raft.Log
	for i, size := range sizes {
		logs = append(logs, entry(first+uint64(i), term, size))
	}
	return logs
}

// TestCrashes runs random work against the model, while the disk crashes, fails and is full at any call. After each
// restart the log holds what was acknowledged, and of what was not acknowledged all or nothing.
func TestCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := faulty.New(rapid.Uint64().Draw(t, "seed"))
		options := wal.Options{
			SegmentBytes: int64(rapid.SampledFrom([]int{8, 16, 64}).Draw(t, "segment")) << 10,
			CacheBytes:   rapid.SampledFrom([]int{1, 4 << 10, 1 << 20}).Draw(t, "cache"),
			Disk:         disk,
		}.Inline()
		var now model
		var maybe []model // what may also be there, as the last change was not answered
		var log *wal.Log
		term := uint64(1)
		crashed := false
		reopen := func(power bool) {
			crashed = false
			for {
				disk.Restart(power)
				var err error
				if log, err = wal.Open("log", options); err == nil {
					break
				}
				if disk.Fail == nil {
					t.Fatalf("open: %v", err)
				}
				disk.Fail = nil
			}
			why := now.diff(log)
			for _, m := range maybe {
				if why == "" {
					break
				}
				if m.diff(log) == "" {
					now, why = m, ""
				}
			}
			if why != "" {
				t.Fatalf("after a restart: %s (%d alternatives)", why, len(maybe))
			}
			maybe = nil
			term++
		}
		// done takes the result of a change that leads to next.
		done := func(next model, err error) {
			if err == nil {
				now, maybe = next, nil
				return
			}
			if disk.Fail == nil && structs.KindOf(err) != structs.Unavailable {
				t.Fatalf("failed without a fault: %v", err)
			}
			if structs.KindOf(err) != structs.Unavailable {
				maybe = append(maybe, next)
			}
			if structs.KindOf(err) == structs.Exhausted {
				disk.Fail = nil // somebody made room
				return
			}
			if log.StoreLogs(run(now.last()+1, term, 1)) == nil {
				t.Fatalf("the log takes writes after %v", err)
			}
			disk.Fail = nil
			reopen(rapid.Bool().Draw(t, "power"))
		}
		reopen(false)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if crashed { // while it prepared the next segment, which no caller sees
					disk.Fail = nil
					reopen(rapid.Bool().Draw(t, "power"))
				}
				if why := now.diff(log); why != "" {
					t.Fatal(why)
				}
			},
			"append": func(t *rapid.T) {
				sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, 463, 464, 1000, 5000}), 1, 6).Draw(t, "sizes")
				first := now.last() + 1
				if len(now.logs) == 0 {
					first = rapid.Uint64Range(1, 1000).Draw(t, "first")
				}
				logs := run(first, term, sizes...)
				done(now.with(logs), log.StoreLogs(logs))
			},
			"drop head": func(t *rapid.T) {
				if len(now.logs) == 0 {
					return
				}
				high := rapid.Uint64Range(now.first(), now.last()).Draw(t, "high")
				done(now.without(0, high), log.DeleteRange(now.first(), high))
			},
			"drop tail": func(t *rapid.T) {
				if len(now.logs) == 0 {
					return
				}
				low := rapid.Uint64Range(now.first(), now.last()).Draw(t, "low")
				term++
				done(now.without(low, now.last()), log.DeleteRange(low, now.last()+2))
			},
			"set": func(t *rapid.T) {
				key, value := rapid.SampledFrom([]string{"term", "vote"}).Draw(t, "key"), rapid.StringN(1, 8, 64).Draw(t, "value")
				if now.values[key] == value {
					return
				}
				var still []model // an append that a full disk cut short may show until the next append
				for _, m := range maybe {
					still = append(still, m.set(key, value))
				}
				maybe = append(maybe, still...)
				err := log.Set([]byte(key), []byte(value))
				done(now.set(key, value), err)
				if err == nil {
					maybe = still
				}
			},
			"fault": func(t *rapid.T) {
				at := disk.Calls() + rapid.IntRange(1, 12).Draw(t, "call")
				err := rapid.SampledFrom([]error{faulty.ErrCrash, errIO, errFull}).Draw(t, "error")
				disk.Fail = func(c faulty.Call) error {
					if c.Op != "read" && c.Number >= at && (c.Number == at || err == errFull && c.Op != "sync") {
						crashed = err == faulty.ErrCrash
						return err
					}
					return nil
				}
			},
			"close": func(t *rapid.T) {
				disk.Fail = nil
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
				reopen(false)
			},
			"kill":       func(t *rapid.T) { reopen(false) },
			"power loss": func(t *rapid.T) { reopen(true) },
		})
	})
}
