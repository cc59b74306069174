package client

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

func TestVictims(t *testing.T) {
	const hour = structs.Time(time.Hour)
	limits := GC{MaxAge: 24 * time.Hour, MaxCount: 3}
	all := []folder{{"new", 47 * hour, false}, {"gone", 47 * hour, true}, {"old", 23 * hour, false}, {"edge", 24 * hour, false},
		{"c", 40 * hour, false}, {"b", 39 * hour, false}, {"a", 39 * hour, false}}
	certain, next := victims(all, limits, 48*hour)
	var got []string
	for _, v := range certain {
		got = append(got, string(v.id)+": "+v.why)
	}
	want := "old: it had ended 25h ago, more than 24h (client.gc.max_age); edge: it had ended 24h ago, more than 24h (client.gc.max_age); " +
		"a: more than 3 ended allocations had a folder (client.gc.max_allocs); b: more than 3 ended allocations had a folder (client.gc.max_allocs); gone: the region forgot the allocation"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if len(next) != 2 || next[0].id != "c" || next[1].id != "new" {
		t.Errorf("next: %v", next)
	}
}

// ended runs n batch allocations to their end, a minute apart.
func (w *world) over(n int) {
	j := w.batch("short", script{"stdout": "hello"}, nil)
	for i := range n {
		w.run(fmt.Sprintf("e%d", i), j)
		after(time.Minute)
	}
}

func (w *world) folders(n int) (left string) {
	for i := range n {
		if w.hasFolder(fmt.Sprintf("e%d", i)) {
			left += fmt.Sprint(i)
		}
	}
	return left
}

func TestFoldersGoByCountAgeDiskAndWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.tune = func(c *Config) { c.GC.MaxCount = 5 }
		w.start()
		w.welcome("g1")
		w.over(7)
		if got := w.folders(7); got != "23456" {
			t.Errorf("by count: %s are left", got)
		}
		w.used.Store(87) // less by 3 each time it is asked
		after(time.Minute)
		if got := w.folders(7); got != "3456" {
			t.Errorf("by disk: %s are left", got)
		}
		tells := func(alloc structs.AllocID, why string) {
			t.Helper()
			var logs strings.Builder
			if _, err := w.agent.Logs(w.t.Context(), LogRequest{Alloc: alloc}, &logs); structs.KindOf(err) != structs.NotFound || !strings.Contains(err.Error(), why) {
				t.Errorf("logs of a removed folder: %v", err)
			}
		}
		tells("e2", "its folder was removed after its end: the disk was 87% full, more than 85% (client.gc.disk_use)")
		w.up.node.Desired(&session.Desired{Index: w.index, Gone: []structs.AllocID{"e2", "e4", "nobody"}})
		after(5 * time.Second)
		if got := w.folders(7); got != "356" {
			t.Errorf("by word of the region: %s are left", got)
		}
		if ids := fmt.Sprint(w.agent.store.EndedIDs()); ids != "[e0 e1 e3 e5 e6]" {
			t.Errorf("ends that are still known: %s", ids)
		}
		if f := w.agent.Figures(); f.Ended != 7 || f.Folders != 3 || f.Removed != 4 || f.Unremoved != 0 || f.Tasks[structs.TaskFinished] != 7 || f.FolderAge != 24*time.Hour {
			t.Errorf("figures: %+v", f)
		}
		w.stop()
		w.start() // what was removed is remembered
		if u, err := w.agent.Usage(w.t.Context(), 0); err != nil || u.Ended != 5 {
			t.Errorf("usage: %+v, %v", u, err)
		}
		tells("e1", "more than 5 ended allocations had a folder (client.gc.max_allocs)")
		after(25 * time.Hour)
		if got := w.folders(7); got != "" {
			t.Errorf("by age: %s are left", got)
		}
		w.welcome("g1")
		w.index++
		w.full() // the region knows none of them any more
		if ids := w.agent.store.EndedIDs(); len(ids) > 0 {
			after(time.Second)
			if ids := w.agent.store.EndedIDs(); len(ids) > 0 {
				t.Errorf("ends that are still known: %v", ids)
			}
		}
		w.stop()
	})
}
