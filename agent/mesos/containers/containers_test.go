package containers

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers"
)

func named(parts ...string) *wire.NamedContainer {
	return &wire.NamedContainer{ContainerID: id(parts...)}
}

func launch(cmd *wire.CommandInfo, parts ...string) *wire.LaunchContainer {
	return &wire.LaunchContainer{ContainerID: id(parts...), Command: cmd}
}

// A session: what is typed comes to the command, what it says comes back, and how it ended is known until it is removed.
func TestASession(t *testing.T) {
	serve(t, func(p *port) {
		out := p.session(id("one", "s"), run("cat", "x"), nil)
		if kind := out.from.Header.Get("Content-Type"); kind != p.as.ContentType() || len(out.from.TransferEncoding) != 1 {
			t.Errorf("the answer is of the type %q, and sent %v", kind, out.from.TransferEncoding)
		}
		in := p.attach(id("one", "s"))
		in.types("hello")
		in.beats(1e9)
		out.hears(wire.DataStdout, "hello")
		in.resizes(10, 20) // it has no terminal
		in.types(" again")
		out.hears(wire.DataStdout, " again")
		in.types("")
		out.ends()
		in.answered(200)
		if end := p.end(id("one", "s")); *end.ExitStatus != 0 || *end.State != wire.TaskFinished {
			t.Errorf("it ended %+v", end)
		}
		p.want(202, wire.AgentLaunchNestedContainerSession, wire.AgentCall{LaunchSession: launch(run("cat"), "one", "s")})
		p.want(200, wire.AgentRemoveNestedContainer, wire.AgentCall{RemoveNested: named("one", "s")})
		p.want(404, wire.AgentWaitNestedContainer, wire.AgentCall{WaitNested: named("one", "s")})
		if got := fmt.Sprint(p.node.ran); got != "[[cat x]]" {
			t.Errorf("ran %s", got)
		}
	})
}

// Clients in use ask for records by their name, and send Accept twice.
func TestFormatsOfAnOutput(t *testing.T) {
	serve(t, func(p *port) {
		kind := p.as.ContentType()
		r := p.send(wire.AgentLaunchNestedContainerSession, wire.AgentCall{LaunchSession: launch(run("fail"), "one", "s")},
			"Accept: "+mesos.RecordIO, "Message-Accept: "+kind)
		if r.Header.Get("Content-Type") != mesos.RecordIO || r.Header.Get("Message-Content-Type") != kind {
			t.Errorf("the head is %v", r.Header)
		}
		out := p.listen(r)
		out.hears(wire.DataStderr, "no\n")
		out.ends()
		if end := p.end(id("one", "s")); *end.ExitStatus != 3<<8 || *end.State != wire.TaskFailed {
			t.Errorf("it ended %+v", end)
		}
		attach := wire.AgentCall{AttachOutput: named("one", "s")}
		p.want(406, wire.AgentAttachContainerOutput, attach, "Message-Accept: "+kind)
		p.want(406, wire.AgentAttachContainerOutput, attach, "Accept: "+mesos.RecordIO, "Message-Accept: text/html")
		again := p.listen(p.send(wire.AgentAttachContainerOutput, attach)) // it is kept
		again.hears(wire.DataStderr, "no\n")
		again.ends()
	})
}

// What a session began ends with its connection, and whoever is quiet hears that it goes on.
func TestASessionThatIsLeft(t *testing.T) {
	serve(t, func(p *port) {
		out := p.session(id("one", "s"), run("sleep"), nil)
		began := time.Now()
		if m, err := out.next(); err != nil || m.Control == nil || *m.Control.Type != wire.ControlHeartbeat || time.Since(began) != beatEvery {
			t.Errorf("after %v it hears %+v, %v", time.Since(began), m, err)
		}
		in := p.attach(id("one", "s"))
		synctest.Wait()
		out.from.Body.Close()
		in.answered(200)
		if end := p.end(id("one", "s")); *end.ExitStatus != 9 || *end.State != wire.TaskKilled || !p.gaveUp("sleep") {
			t.Errorf("it ended %+v", end)
		}
	})
}

// A client that reads nothing slows the command, and after a while ends it.
func TestASessionWhoseClientDoesNotRead(t *testing.T) {
	serve(t, func(p *port) {
		out := p.session(id("one", "s"), run("yes"), nil)
		began := time.Now()
		if end := p.end(id("one", "s")); *end.State != wire.TaskKilled || time.Since(began) > time.Minute {
			t.Errorf("after %v it ended %+v", time.Since(began), end)
		}
		out.from.Body.Close()
	})
}

func TestASessionOnATerminal(t *testing.T) {
	serve(t, func(p *port) {
		out := p.session(id("one", "s"), run("size"), &wire.TTYInfo{WindowSize: &wire.WindowSize{Rows: 33, Columns: 111}})
		out.hears(wire.DataStdout, "33 111 0\n")
		in := p.attach(id("one", "s"))
		in.resizes(40, 1<<20)
		out.hears(wire.DataStdout, "40 10000 1\n")
		out.ends()
		in.answered(200)
	})
}

// A container that is no session goes on without its agent: how it ended is known afterwards, also when that was meanwhile, and what it says is
// there. What was within a session ends, as the session did.
func TestContainersOutliveTheAgent(t *testing.T) {
	serve(t, func(p *port) {
		nested := func(cmd *wire.CommandInfo, parts ...string) {
			p.t.Helper()
			p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(cmd, parts...)})
		}
		nested(run("many"), "two", "two.a", "n")
		nested(run("sleep"), "two", "two.a", "n", "inner")
		nested(run("sleep"), "two", "two.a", "gone")
		nested(run("fail"), "one", "f")
		p.end(id("one", "f"))
		nested(run("sleep"), "one", "stays")
		out := p.session(id("one", "s"), run("sleep"), nil)
		nested(run("sleep"), "one", "s", "inner")
		p.all.Close()
		out.from.Body.Close()
		if len(p.node.owns) != 6 {
			t.Fatalf("%d commands are left", len(p.node.owns))
		}
		p.node.mu.Lock()
		for _, o := range p.node.owns {
			if o.Exit != nil && o.Label != "one/f" {
				t.Errorf("%s ended with the agent", o.Label)
			}
			if o.Label == "two/two.a/gone" {
				p.node.endOwn(o, drivers.Exit{Code: 7})
			}
		}
		p.node.mu.Unlock()

		p.begin()
		synctest.Wait()
		if end := p.end(id("two", "two.a", "gone")); *end.ExitStatus != 7<<8 || *end.State != wire.TaskFailed {
			t.Errorf("one that ended meanwhile: %+v", end)
		}
		if end := p.end(id("one", "f")); *end.ExitStatus != 3<<8 {
			t.Errorf("one that had ended before: %+v", end)
		}
		if end := p.end(id("one", "s", "inner")); *end.ExitStatus != 9 || *end.State != wire.TaskKilled {
			t.Errorf("one within a session: %+v", end)
		}
		p.want(404, wire.AgentWaitNestedContainer, wire.AgentCall{WaitNested: named("one", "s")})
		p.want(202, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), "one", "stays")})
		said := p.listen(p.send(wire.AgentAttachContainerOutput, wire.AgentCall{AttachOutput: named("two", "two.a", "n")}))
		said.hears(wire.DataStdout, strings.Repeat("p", recent))
		p.want(200, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("two", "two.a", "n")}})
		said.ends()
		p.end(id("two", "two.a", "n"))
		if end := p.end(id("two", "two.a", "n", "inner")); *end.State != wire.TaskKilled {
			t.Errorf("one whose parent was killed: %+v", end)
		}
		p.want(409, wire.AgentRemoveNestedContainer, wire.AgentCall{RemoveNested: named("one", "stays")})
		p.want(200, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("one", "stays"), Signal: new(int32(15))}})
		if end := p.end(id("one", "stays")); *end.ExitStatus != 15 || *end.State != wire.TaskKilled {
			t.Errorf("one that was signalled: %+v", end)
		}
		for _, c := range [][]string{{"one", "stays"}, {"one", "f"}, {"one", "s", "inner"}, {"two", "two.a", "n", "inner"}, {"two", "two.a", "n"}, {"two", "two.a", "gone"}} {
			p.want(200, wire.AgentRemoveNestedContainer, wire.AgentCall{RemoveNested: named(c...)})
		}
		if len(p.node.owns) != 0 || len(p.all.all) != 0 || len(p.all.ended) != 0 {
			t.Errorf("there are left %v, %v, %v", p.node.owns, p.all.all, p.all.ended)
		}
	})
}

// Containers lie as deep as in Mesos, and all within one end with it.
func TestContainersWithinEachOther(t *testing.T) {
	serve(t, func(p *port) {
		chain := []string{"one"}
		for i := range maxDepth - 1 {
			chain = append(chain, fmt.Sprint("c", i))
			p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), chain...)})
		}
		p.want(400, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), append(chain, "more")...)})
		p.want(200, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id(chain[:2]...)}})
		if end := p.end(id(chain...)); *end.State != wire.TaskKilled {
			t.Errorf("the innermost: %+v", end)
		}
		synctest.Wait()
		if p.all.running != 0 {
			t.Errorf("%d run", p.all.running)
		}
	})
}

// What cannot begin as such: a program that is not there is how it ended, and others are refused.
func TestContainersThatDoNotBegin(t *testing.T) {
	serve(t, func(p *port) {
		p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("missing"), "one", "m")})
		if end := p.end(id("one", "m")); *end.ExitStatus != 127<<8 || end.Message == nil {
			t.Errorf("it ended %+v", end)
		}
		p.want(200, wire.AgentRemoveNestedContainer, wire.AgentCall{RemoveNested: named("one", "m")})
		p.want(503, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("broken"), "one", "b")})
		p.want(404, wire.AgentWaitNestedContainer, wire.AgentCall{WaitNested: named("one", "b")})
		p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), "one", "k")})
		p.want(400, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("one", "k"), Signal: new(int32(99))}})
		tty := launch(run("sleep"), "one", "tty")
		tty.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, TTY: &wire.TTYInfo{}}
		p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: tty})
		in := p.attach(id("one", "tty"))
		in.types("hello")
		synctest.Wait()
		if got := p.node.typed.String(); got != "hello" {
			t.Errorf("typed is %q", got)
		}
		for _, c := range []string{"k", "tty"} {
			p.want(200, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("one", c)}})
			p.end(id("one", c))
		}
		in.answered(200)
	})
}

// Where commands end with whoever began them, a container that is no session keeps the end of what it says, and ends what is within it.
func TestAContainerThatIsHeld(t *testing.T) {
	serve(t, func(p *port) {
		p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("many"), "held", "held.h", "n")})
		p.want(200, wire.AgentLaunchContainer, wire.AgentCall{LaunchContainer: &wire.LaunchAnyContainer{ContainerID: id("held", "held.h", "n", "inner"), Command: run("sleep")}})
		synctest.Wait()
		out := p.listen(p.send(wire.AgentAttachContainerOutput, wire.AgentCall{AttachOutput: named("held", "held.h", "n")}))
		for c := 'm'; c <= 'p'; c++ { // the last of what it said
			out.hears(wire.DataStdout, strings.Repeat(string(c), maxPiece))
		}
		out.from.Body.Close()
		in := p.attach(id("held", "held.h", "n"))
		in.answered(400) // it has no input
		p.want(409, wire.AgentRemoveNestedContainer, wire.AgentCall{RemoveNested: named("held", "held.h", "n")})
		p.want(400, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("held", "held.h", "n"), Signal: new(int32(1))}})
		p.want(200, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("held", "held.h", "n"), Signal: new(int32(15))}})
		if end := p.end(id("held", "held.h", "n")); *end.State != wire.TaskKilled {
			t.Errorf("it ended %+v", end)
		}
		p.end(id("held", "held.h", "n", "inner"))
		p.want(400, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("cat"), "held", "held.h", "n", "late")})
		p.want(200, wire.AgentRemoveContainer, wire.AgentCall{RemoveContainer: named("held", "held.h", "n")})
	})
}

// The terminal of a task is typed on by one at a time, and its output is what the task says.
func TestTheTerminalOfATask(t *testing.T) {
	serve(t, func(p *port) {
		out := p.listen(p.send(wire.AgentAttachContainerOutput, wire.AgentCall{AttachOutput: named("one")}))
		out.hears(wire.DataStdout, "$ ")
		first := p.attach(id("one"))
		first.types("ls\n")
		first.resizes(30, 90)
		first.types("")
		synctest.Wait()
		p.attach(id("one")).answered(409)
		first.ends(200)
		second := p.attach(id("one"))
		second.types("exit\n")
		synctest.Wait()
		p.want(200, wire.AgentKillContainer, wire.AgentCall{KillContainer: &wire.KillContainer{ContainerID: id("one")}})
		out.ends()
		second.answered(200) // though the client would go on
		if end := p.end(id("one")); *end.ExitStatus != 0 || *end.State != wire.TaskFinished {
			t.Errorf("it ended %+v", end)
		}
		if got := p.node.typed.String(); got != "ls\nexit\n" || fmt.Sprint(p.node.sizes) != fmt.Sprint([]drivers.Size{{Rows: 30, Cols: 90}}) {
			t.Errorf("typed %q, of the sizes %v", got, p.node.sizes)
		}
	})
}

// A client that said how often it beats, and does not any more, is gone; one that never beats may be quiet for as long as it likes. In a
// bubble.
func TestClientsThatGrowQuiet(t *testing.T) {
	serve(t, func(p *port) {
		in := p.attach(id("one"))
		synctest.Wait()
		time.Sleep(24 * time.Hour)
		in.types("x")
		in.beats(int64(10 * time.Second))
		began := time.Now()
		in.answered(400)
		if passed := time.Since(began); passed != 50*time.Second {
			t.Errorf("it is gone after %v", passed)
		}
		if late := p.stream(); late != nil {
			began = time.Now()
			late.answered(400)
			if passed := time.Since(began); passed != slowRead {
				t.Errorf("a stream without a record is answered after %v", passed)
			}
		}
	})
}

// Everything that can be wrong has its status.
func TestCallsAboutContainersThatAreRefused(t *testing.T) {
	serve(t, func(p *port) {
		nested := func(l *wire.LaunchContainer) wire.AgentCall { return wire.AgentCall{LaunchNested: l} }
		for _, c := range []struct {
			name   string
			status int
			kind   wire.AgentCallType
			call   wire.AgentCall
		}{
			{"an unknown allocation", 404, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "none", "n"))},
			{"an unknown task", 404, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "two", "two.c", "n"))},
			{"one of several tasks", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "two", "n"))},
			{"a task that ended", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "two", "two.b", "n"))},
			{"no parent", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "one"))},
			{"a parent that is not there", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "one", "x", "n"))},
			{"an id with a dot", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "one", "a.b"))},
			{"an id with a slash", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), "one", "a/b"))},
			{"too deep", 400, wire.AgentLaunchNestedContainer, nested(launch(run("cat"), append([]string{"one"}, strings.Split(strings.Repeat("x ", 32), " ")...)...))},
			{"no command", 400, wire.AgentLaunchNestedContainer, nested(launch(nil, "one", "n"))},
			{"a user", 400, wire.AgentLaunchNestedContainer, nested(launch(&wire.CommandInfo{Value: new("x"), User: new("root")}, "one", "n"))},
			{"files", 400, wire.AgentLaunchNestedContainer, nested(launch(&wire.CommandInfo{Value: new("x"), URIs: []wire.URI{{Value: "http://x"}}}, "one", "n"))},
			{"an image", 400, wire.AgentLaunchNestedContainer, nested(&wire.LaunchContainer{ContainerID: id("one", "n"), Command: run("cat"),
				Container: &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker}}}})},
			{"input without records", 415, wire.AgentAttachContainerInput, wire.AgentCall{AttachInput: &wire.AttachContainerInput{}}},
			{"an unknown output", 404, wire.AgentAttachContainerOutput, wire.AgentCall{AttachOutput: named("one", "n")}},
			{"an unknown end", 404, wire.AgentWaitContainer, wire.AgentCall{WaitContainer: named("one", "n")}},
			{"nothing to kill", 404, wire.AgentKillContainer, wire.AgentCall{KillContainer: &wire.KillContainer{ContainerID: id("one", "n")}}},
			{"a task to kill that ended", 400, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("two", "two.b")}}},
			{"nothing to remove", 404, wire.AgentRemoveContainer, wire.AgentCall{RemoveContainer: named("one", "n")}},
			{"a task to remove", 400, wire.AgentRemoveContainer, wire.AgentCall{RemoveContainer: named("one")}},
		} {
			r := p.send(c.kind, c.call)
			raw, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if r.StatusCode != c.status {
				t.Errorf("%s: %s %q, and not %d", c.name, r.Status, raw, c.status)
			}
		}
		if end := p.end(id("two", "two.b")); *end.ExitStatus != 9 || *end.State != wire.TaskFailed {
			t.Errorf("a task that was killed ended %+v", end)
		}
		if len(p.node.ran) > 0 {
			t.Errorf("ran %v", p.node.ran)
		}

		p.stream("Message-Content-Type: ").answered(400)
		p.stream("Message-Content-Type: text/plain").answered(415)
		p.stream().ends(400) // no record
		for name, raw := range map[string]string{"no length": "x", "too long": "300000\n" + strings.Repeat("x", 300_000), "no message": "3\n{}}"} {
			in := p.stream()
			in.to.Write([]byte(raw))
			if r := <-in.answer; r.StatusCode != 400 {
				t.Errorf("%s: %s", name, r.Status)
			}
			in.to.Close()
		}
		in := p.stream()
		in.types("first")
		in.answered(400)
		p.attach(id("two", "two.a")).answered(400) // without a terminal
		p.attach(id("one", "n")).answered(404)
		in = p.attach(id("one"))
		in.record(&wire.AttachContainerInput{Type: new(wire.AttachInputContainer)})
		in.answered(400)
	})
}

// A command that cannot be run says why.
func TestACommandThatCannotBeRun(t *testing.T) {
	serve(t, func(p *port) {
		out := p.session(id("one", "s"), run("broken"), nil)
		m, err := out.next()
		if err != nil || *m.Data.Type != wire.DataStderr || !bytes.Contains(m.Data.Data, []byte("does not answer")) {
			t.Errorf("it says %+v, %v", m, err)
		}
		out.ends()
		if end := p.end(id("one", "s")); end.ExitStatus != nil || *end.State != wire.TaskFailed || end.Message == nil {
			t.Errorf("it ended %+v", end)
		}
		p.session(id("one", "env"), &wire.CommandInfo{Value: new("echo $A"), Environment: &wire.Environment{Variables: []wire.Variable{{Name: "A", Value: new("b c")}}}}, nil).ends()
		of := func(name, value string) wire.Variable { return wire.Variable{Name: name, Value: &value} }
		named := &wire.CommandInfo{Value: new("/bin/busybox"), Arguments: []string{"true", "-l"}, Shell: new(false),
			Environment: &wire.Environment{Variables: []wire.Variable{of("-B", "1"), of("A", "first"), of("A", "last")}}}
		p.session(id("one", "named"), named, nil).ends()
		p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(named, "one", "kept")})
		for i, want := range []string{`["A=b c"] called "" ["/bin/sh" "-c" "echo $A"]`, `["-B=1" "A=last"] called "true" ["/bin/busybox" "-l"]`,
			`["-B=1" "A=last"] called "true" ["/bin/busybox" "-l"]`} {
			if got := p.node.how[i+1]; got != want {
				t.Errorf("ran %s, and not %s", got, want)
			}
		}
	})
}

// So many run, and of so many the end is kept.
func TestContainersAreBounded(t *testing.T) {
	serve(t, func(p *port) {
		for i := range maxRunning {
			p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), "one", fmt.Sprint("n", i))})
		}
		p.want(429, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("sleep"), "one", "more")})
		p.want(200, wire.AgentKillNestedContainer, wire.AgentCall{KillNested: &wire.KillContainer{ContainerID: id("one", "n0")}})
		p.end(id("one", "n0"))
		for i := range maxEnded {
			p.want(200, wire.AgentLaunchNestedContainer, wire.AgentCall{LaunchNested: launch(run("fail"), "one", fmt.Sprint("m", i))})
			p.end(id("one", fmt.Sprint("m", i)))
		}
		p.want(404, wire.AgentWaitNestedContainer, wire.AgentCall{WaitNested: named("one", "n0")})
		if len(p.all.all) != maxRunning-1+maxEnded {
			t.Errorf("%d are known", len(p.all.all))
		}
	})
}
