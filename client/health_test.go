package client

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/structs"
)

func (u *uplink) problems() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.said) == 0 {
		return nil
	}
	return u.said[len(u.said)-1].Problems
}

// A disk that is too full even after ended work was removed is a problem of the node, until it is not.
func TestAFullDiskIsAProblemOfTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.welcome("g1")
		after(time.Second)
		if got := w.up.problems(); got != nil {
			t.Errorf("at first: %q", got)
		}
		w.used.Store(99)
		after(time.Minute)
		got := w.up.problems()
		if len(got) != 1 || !strings.Contains(got[0], "% full, more than 97% (client.gc.disk_full)") || w.agent.Node().Schedulable() {
			t.Errorf("full: %q", got)
		}
		attributes := w.agent.Node().Attributes
		if err := w.agent.Reconfigure(w.t.Context(), Settings{GC: GC{DiskFull: 98}}); err != nil {
			t.Fatal(err)
		}
		if n := w.agent.Node(); len(n.Problems) != 1 {
			t.Error("a reload forgets what is wrong")
		}
		if now := w.agent.Node().Attributes; !maps.Equal(now, attributes) || now["boot.id"] == "" {
			t.Errorf("a reload changed the attributes %v to %v", attributes, now)
		}
		w.used.Store(50)
		after(time.Minute)
		if got := w.up.problems(); got != nil {
			t.Errorf("no longer full: %q", got)
		}
		w.stop()
	})
}

func TestADataFolderThatCannotBeWrittenTo(t *testing.T) {
	dir := t.TempDir()
	if err := tryWrite(dir); err != nil {
		t.Error(err)
	}
	err := tryWrite(filepath.Join(dir, "none"))
	if err == nil || reasonOf(err) != "no such file or directory" {
		t.Error(err)
	}
}

// What the commands of the configuration find is a problem of the node. They are real processes.
func TestHealthChecksOfTheHost(t *testing.T) {
	w := newWorld(t)
	flag := filepath.Join(w.dir, "broken")
	w.tune = func(c *Config) {
		check := func(name, script string) *structs.Check {
			return &structs.Check{Name: name, Type: "exec", Command: []string{"/bin/sh", "-c", script, "sh", flag},
				Interval: structs.Duration(10 * time.Millisecond), Timeout: structs.Duration(time.Minute), Failures: 2, Successes: 1}
		}
		fine := check("fine", `[ "$0" = called ]`)
		fine.Command, fine.Arg0 = fine.Command[:3], new("called")
		c.Health = []*structs.Check{fine, check("disks", `if [ -e "$1" ]; then echo "sdb has bad sectors"; exit 1; fi`)}
	}
	w.start()
	defer w.stop()
	until := func(want ...string) {
		t.Helper()
		for !slices.Equal(w.up.problems(), want) {
			<-w.up.news
		}
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	until(`health check "disks" fails: exit code 1: sdb has bad sectors`)
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	until()
}
