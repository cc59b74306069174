package client

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// draw says what the node knows, one allocation after the other.
func draw(known []Known) (out string) {
	for _, k := range known {
		out += fmt.Sprintf("%s of %s %s %v", k.Alloc.ID, k.Alloc.Framework, k.Alloc.Status, k.Tasks)
		if x := k.Alloc.External; x != nil {
			out += " as " + x.Executor
			for _, t := range x.Tasks {
				is := structs.TaskStatus("nothing")
				if s := k.Alloc.Tasks[t.Name]; s != nil {
					is = s.Status
				}
				out += fmt.Sprintf(" %s:%s", t.ID, is)
			}
		}
		switch {
		case (k.Ended == 0) != (k.Job != nil):
			out += " and its job does not fit"
		case k.Ended != 0:
			out += " ended"
		}
		out += "\n"
	}
	return strings.ReplaceAll(out, "  ", " ")
}

// The node says what it has and had, also after its agent was killed: whose it was is remembered with the end.
func TestKnowsItsAllocations(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("x1", script{"run_for": "forever"}, "t1", "t2")
		after(time.Second)
		p.subscribe(nil)
		p.says("t1", structs.TaskRunning)
		b := w.alloc("b", w.batch("k", script{"run_for": "1s"}, nil))
		b.Framework = "batch"
		w.want(b)
		after(500 * time.Millisecond)
		const executor = "x1 of f running [executor] as x t1:running t2:staging\n"
		if got, want := draw(w.agent.Known(10)), executor+"b of batch running [main]\n"; got != want {
			t.Errorf("it knows\n%swant\n%s", got, want)
		}
		after(2 * time.Second)
		const ended = "b of batch complete [main] ended\n"
		if got := draw(w.agent.Known(10)); got != executor+ended {
			t.Errorf("it knows\n%s", got)
		}
		if got := draw(w.agent.Known(0)); got != executor {
			t.Errorf("without what ended it knows\n%s", got)
		}
		w.stop()
		c := w.start()
		for id, want := range map[structs.AllocID]string{"x1": executor, "b": ended} {
			if k, err := c.Find(id); err != nil || draw([]Known{k}) != want {
				t.Errorf("after a restart it finds %s, %v", draw([]Known{k}), err)
			}
		}
		_, err := c.Find("z")
		kindIs(t, "an unknown one", err, structs.NotFound)
		w.want(w.change("x1", stopped))
		after(time.Minute)
		if got, want := draw(c.Known(1)), "x1 of f complete [executor] as x t1:failed t2:killed ended\n"; got != want {
			t.Errorf("the newest end is\n%swant\n%s", got, want)
		}
	})
}

// Output is read by offsets that rotation does not change.
func TestReadsOutput(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", nil))
		after(time.Second)
		c, dir := w.agent, filepath.Join(w.dir, "allocs", "a", "logs")
		if o, err := c.Output("a", "main", "stdout"); err != nil || o != (Output{}) {
			t.Errorf("before the first byte: %+v, %v", o, err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"main.stdout.100": "hello ", "main.stdout.106": "world", "main.stderr.0": "no"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if o, err := c.Output("a", "main", "stdout"); err != nil || o.First != 100 || o.End != 111 || o.Changed == 0 {
			t.Errorf("output: %+v, %v", o, err)
		}
		for _, x := range []struct {
			offset, from int64
			room         int
			want         string
		}{{0, 100, 100, "hello "}, {103, 103, 2, "lo"}, {106, 106, 100, "world"}, {111, 111, 10, ""}, {500, 500, 10, ""}, {100, 100, 0, ""}} {
			buf := make([]byte, x.room)
			from, n, of, err := c.ReadOutput("a", "main", "stdout", x.offset, buf)
			if err != nil || from != x.from || string(buf[:n]) != x.want || of.End != 111 {
				t.Errorf("at %d: %q at %d, %+v, %v", x.offset, buf[:n], from, of, err)
			}
		}
		for _, x := range []struct {
			alloc        structs.AllocID
			task, stream string
			kind         structs.Kind
		}{{"z", "main", "stdout", structs.NotFound}, {"a", "other", "stdout", structs.NotFound}, {"a", "main", "secrets", structs.Invalid}} {
			_, err := c.Output(x.alloc, x.task, x.stream)
			kindIs(t, fmt.Sprint(x), err, x.kind)
		}
	})
}
