package client

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// A node that learns that it is marked gone ends its work, says goodbye, and stays out over a restart, until somebody removes its file: then it
// is another node.
func TestMarkedGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.start()
		w.welcome("g")
		w.run("a", w.service("web", nil))
		w.run("b", w.service("db", func(g *structs.Group) {
			g.Tasks[0].Config["ignore_signals"] = true
			g.Tasks[0].KillTimeout = structs.Duration(5 * time.Second)
		}))
		after(time.Second)
		id := c.Node().ID
		for range 2 { // also one that hears it again
			if !w.up.node.MarkedGone(&session.Gone{Generation: "g"}) {
				t.Error("it does not take it")
			}
		}
		after(time.Second)
		w.run("late", w.service("late", nil))
		if w.state("late") != "failed" || w.up.left.Load() {
			t.Errorf("what comes late is %s; it left: %t", w.state("late"), w.up.left.Load())
		}
		after(10 * time.Second)
		if w.state("a") != "complete" || w.state("b") != "complete" || !w.up.left.Load() || len(c.held) != 0 {
			t.Errorf("a is %s, b is %s; it left: %t", w.state("a"), w.state("b"), w.up.left.Load())
		}
		text, err := os.ReadFile(c.goneFile())
		if err != nil || !strings.Contains(string(text), string(id)) {
			t.Errorf("its file: %q, %v", text, err)
		}
		w.stop()

		c = w.start()
		after(time.Minute)
		if c.Node().ID != id || !c.IsGone() || w.up.ran.Load() {
			t.Errorf("started again it is %s, not %s; gone: %t; it looks for servers: %t", c.Node().ID, id, c.IsGone(), w.up.ran.Load())
		}
		w.stop()

		if err := os.Remove(c.goneFile()); err != nil {
			t.Fatal(err)
		}
		c = w.start()
		w.welcome("g")
		w.full()
		w.run("new", w.service("web", nil))
		after(time.Second)
		if c.Node().ID == id || c.IsGone() || !w.up.ran.Load() || w.state("new") != "running" {
			t.Errorf("without the file it is %s, gone: %t, and runs: %s", c.Node().ID, c.IsGone(), w.state("new"))
		}
		w.stop()
	})
}

// An agent that is killed before all ended goes on with that; and what another generation decided ends nothing.
func TestMarkedGoneInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.welcome("g")
		w.run("a", w.service("web", func(g *structs.Group) {
			g.Tasks[0].Config["ignore_signals"] = true
			g.Tasks[0].KillTimeout = structs.Duration(time.Minute)
		}))
		after(time.Second)
		if w.up.node.MarkedGone(&session.Gone{Generation: "other"}) || w.agent.IsGone() {
			t.Error("it takes what a restored region says of other work")
		}
		after(time.Hour)
		if w.state("a") != "running" {
			t.Fatalf("a is %s", w.state("a"))
		}
		w.up.node.MarkedGone(&session.Gone{Generation: "g"})
		after(time.Second)
		w.crash(nil, false)
		if err := os.Remove(w.agent.goneFile()); err != nil { // too early: something runs
			t.Fatal(err)
		}
		id := w.agent.Node().ID
		c := w.start()
		after(2 * time.Minute)
		if c.Node().ID != id || !c.IsGone() || w.up.ran.Load() || len(c.held) != 0 {
			t.Errorf("started again it is %s, gone: %t; it looks for servers: %t; it holds %d", c.Node().ID, c.IsGone(), w.up.ran.Load(), len(c.held))
		}
		w.stop()
	})
}
