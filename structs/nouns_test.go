package structs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPriorityOrder(t *testing.T) {
	order := []string{"monitoring+1", "monitoring", "production+100", "production", "production-100", "batch+10", "batch", "batch-5", "best-effort+100", "best-effort"}
	for i, a := range order {
		p, err := ParsePriority(a)
		if err != nil || p.String() != a {
			t.Fatalf("%s: %v, %v", a, p, err)
		}
		for k, b := range order {
			q, _ := ParsePriority(b)
			if c := p.Compare(q); (c > 0) != (i < k) || (c == 0) != (i == k) {
				t.Errorf("%s against %s: %d", a, b, c)
			}
		}
	}
	if p, err := ParsePriority(""); err != nil || p != DefaultPriority || p.String() != "batch" {
		t.Errorf("the default is %v, %v", p, err)
	}
	if p, err := ParsePriority("batch+0"); err != nil || p.String() != "batch" {
		t.Errorf("%v, %v", p, err)
	}
	for s, want := range map[string]string{
		"batch+101":  `"batch+101": a level is a whole number from -100 to 100`,
		"batch+":     `"batch+": a level is a whole number from -100 to 100`,
		"batch++1":   `"batch++1": a level is a whole number from -100 to 100`,
		"batches":    `"batches" is not a priority: a band (best-effort, batch, production, monitoring) with an optional level, such as "batch+10"`,
		"Production": `"Production" is not a priority: a band (best-effort, batch, production, monitoring) with an optional level, such as "batch+10"`,
	} {
		if p, err := ParsePriority(s); err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
}

func TestErrors(t *testing.T) {
	e := Errorf(Unavailable, `job "web"`, "no leader: %w", io.EOF).Advise("try again in %d s", 1)
	e.Op = "submit"
	if got, want := e.Error(), `job "web": submit: no leader: EOF (try again in 1 s)`; got != want {
		t.Errorf("got %s", got)
	}
	if !errors.Is(e, io.EOF) {
		t.Error("the cause is lost")
	}
	wrapped := fmt.Errorf("outer: %w", e)
	for _, x := range []struct {
		err  error
		want Kind
	}{
		{nil, ""}, {wrapped, Unavailable}, {io.EOF, Internal}, {context.Canceled, Unknown}, {fmt.Errorf("x: %w", context.DeadlineExceeded), Unknown},
	} {
		if got := KindOf(x.err); got != x.want {
			t.Errorf("%v is %s", x.err, got)
		}
		if x.err != nil && AsError(x.err).Kind != x.want {
			t.Errorf("%v becomes %s", x.err, AsError(x.err).Kind)
		}
	}
	if AsError(nil) != nil {
		t.Error("nil became an error")
	}

	var p Problems
	if p.Err() != nil {
		t.Error("no problems are an error")
	}
	p.Add("a", "is %d", 1)
	if got := p.Err().Error(); got != "a: is 1" {
		t.Error(got)
	}
	p.Add("b", "is 2").Advise("make it 3")
	if got := p.Err().Error(); got != "2 problems:\n  a: is 1\n  b: is 2 (make it 3)" || KindOf(p.Err()) != Invalid {
		t.Error(got)
	}
}

func TestNames(t *testing.T) {
	for _, s := range []string{"a", "a-b_c.d", "0", strings.Repeat("x", 128)} {
		if !ValidName(s) {
			t.Errorf("%q is a name", s)
		}
	}
	for _, s := range []string{"", "-a", ".", "..", "a/b", "a b", "é", "a\x00", strings.Repeat("x", 129)} {
		if ValidName(s) {
			t.Errorf("%q is no name", s)
		}
	}
	for s, want := range map[string]bool{"a": true, "a/b": true, "": false, "/": false, "a/": false, "/a": false, "a//b": false,
		"1/2/3/4/5/6/7/8": true, "1/2/3/4/5/6/7/8/9": false} {
		if ValidRole(s) != want {
			t.Errorf("role %q: %v", s, !want)
		}
	}
	if id := NewID(); len(id) != 32 || Short(AllocID(id)) != id[:8] || NewID() == id {
		t.Error("ids")
	}
}

func TestOnLost(t *testing.T) {
	for s, want := range map[string]OnLost{"": {Mode: "replace"}, "replace": {Mode: "replace"}, "fence": {Mode: "fence"}, "wait(5m)": {"wait", Duration(5 * 60e9)}} {
		if got, err := ParseOnLost(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"wait", "wait()", "wait(5)", "wait(1ms)", "wait(9999h)", "wait(5m", "Fence", "wait(5m))"} {
		if got, err := ParseOnLost(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestNearest(t *testing.T) {
	options := []string{"count", "constraint", "task", "template", "resources", "user", "env"}
	for word, want := range map[string]string{"cout": "count", "conut": "count", "tsak": "task", "resource": "resources", "usr": "user",
		"evn": "env", "xyz": "", "": "", "counts": "count", "kill": "", strings.Repeat("x", 1000): ""} {
		if got := Nearest(word, options); got != want {
			t.Errorf("%q: %q", word, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching(`[abc]{0,6}`).Draw(t, "a"), rapid.StringMatching(`[abc]{0,6}`).Draw(t, "b")
		if d := edits(a, b, 100); d != edits(b, a, 100) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("%q to %q: %d", a, b, d)
		}
	})
}

func TestClone(t *testing.T) {
	n := 3
	j := &Job{Name: "j", Meta: map[string]string{"a": "1"}, Datacenters: []string{"x"}, Groups: []*Group{{Name: "g", Count: &n,
		Tasks: []*Task{{Name: "t", Config: map[string]any{"args": []any{"a", map[string]any{"b": 1.5}}, "nil": nil}, Env: map[string]string{}}}}}}
	c := j.Clone()
	if !reflect.DeepEqual(c, j) {
		t.Fatalf("%+v", c)
	}
	c.Groups[0].Tasks[0].Config["args"].([]any)[1].(map[string]any)["b"] = 2.0
	c.Meta["a"] = "2"
	c.Datacenters[0] = "y"
	*c.Groups[0].Count = 4
	if j.Groups[0].Tasks[0].Config["args"].([]any)[1].(map[string]any)["b"] != 1.5 || j.Meta["a"] != "1" || j.Datacenters[0] != "x" || n != 3 {
		t.Error("the copy shares something")
	}
	if (*Job)(nil).Clone() != nil || (*Role)(nil).Clone() != nil {
		t.Error("nil stays nil")
	}
}

func TestCanonicalizeTwice(t *testing.T) {
	for _, kind := range []string{"", ServiceJob, BatchJob} {
		three := 3
		j := &Job{Name: "j", Type: kind, Priority: "batch+0", Groups: []*Group{{Name: "g", Tasks: []*Task{{Name: "t"}}},
			{Name: "h", Reschedule: &Reschedule{Attempts: &three}, Tasks: []*Task{{Name: "t"}}}}}
		j.Canonicalize()
		if j.Priority != "batch" {
			t.Errorf("priority %s", j.Priority)
		}
		if r := j.Groups[1].Reschedule; *r.Unlimited || *r.Attempts != 3 {
			t.Errorf("attempts that are written bound: %v, %d", *r.Unlimited, *r.Attempts)
		}
		if r := j.Groups[0].Reschedule; *r.Unlimited != (kind != BatchJob) {
			t.Errorf("%s: unlimited %v", kind, *r.Unlimited)
		}
		if err := j.Validate(nil); err != nil {
			t.Error(err)
		}
		again := j.Clone()
		again.Canonicalize()
		if !reflect.DeepEqual(again, j) {
			t.Error("the second time changes something")
		}
	}
}

func TestRecords(t *testing.T) {
	two := 2
	r := &JobRecord{Counts: map[string]int{"scaled": 7}}
	if r.CountOf(&Group{Name: "scaled"}) != 7 || r.CountOf(&Group{Name: "x"}) != 1 || r.CountOf(&Group{Name: "x", Count: &two}) != 2 {
		t.Error("CountOf")
	}
	r.Stopped = true
	if r.CountOf(&Group{Name: "scaled"}) != 0 {
		t.Error("a stopped job wants nothing")
	}
	if !AllocFailed.Ended() || AllocRunning.Ended() || !TaskLost.Ended() || TaskUnreachable.Ended() {
		t.Error("Ended")
	}
	if (&Allocation{Status: AllocRunning, Desired: DesiredStop}).Holds() == false {
		t.Error("a stopping allocation holds its resources")
	}
	n := &Node{Status: NodeReady, Eligible: true, Resources: Resources{CPU: 4000}, Reserved: Resources{CPU: 500}}
	if !n.Schedulable() || n.Available().CPU != 3500 {
		t.Error("node")
	}
	n.Drain = &Drain{}
	if n.Schedulable() {
		t.Error("a draining node takes nothing")
	}
}
