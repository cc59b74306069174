package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// process is a custom executor of the test, as far as its node sees it.
type process struct {
	w      *world
	id     string // of the allocation
	stream *runner.ExecutorStream
	said   map[string]int
}

// executor runs an allocation with a custom executor and a first task.
func (w *world) executor(id string, config script, tasks ...string) *process {
	j := w.batch("", config, func(g *structs.Group) {
		g.Tasks[0].Name, g.Tasks[0].KillTimeout = "executor", structs.Duration(10*time.Second)
		g.Restart = &structs.Restart{Attempts: new(0)}
	})
	a := w.alloc(id, j)
	a.Framework = "f"
	a.External = &structs.External{Executor: "x", Custom: true}
	w.index++
	p := &process{w: w, id: id, said: map[string]int{}}
	p.w.allocs[a.ID] = p.with(a, false, tasks...)
	w.want(p.w.allocs[a.ID])
	return p
}

func (p *process) with(a *structs.Allocation, together bool, tasks ...string) *structs.Allocation {
	p.w.index++
	next, x := *a, *a.External
	next.WantIndex, next.ModifyIndex = p.w.index, p.w.index
	x.Tasks = append([]*structs.ExternalTask(nil), x.Tasks...)
	for _, name := range tasks {
		x.Tasks = append(x.Tasks, &structs.ExternalTask{ID: name, Name: name, Info: []byte(name), Launch: p.w.index, Together: together})
	}
	next.External = &x
	return &next
}

func (p *process) add(together bool, tasks ...string) {
	a := p.with(p.w.allocs[structs.AllocID(p.id)], together, tasks...)
	p.w.allocs[a.ID] = a
	p.w.want(a)
}

func (p *process) kill(task string) {
	p.w.want(p.w.change(p.id, func(a *structs.Allocation) {
		x := *a.External
		x.Tasks = append([]*structs.ExternalTask(nil), x.Tasks...)
		for i, t := range x.Tasks {
			if t.ID == task {
				killed := *t
				killed.Kill = &structs.TaskKill{}
				x.Tasks[i] = &killed
			}
		}
		a.External = &x
	}))
}

func (p *process) node() *runner.Executor {
	p.w.t.Helper()
	e := p.w.agent.Executor("f", "x")
	if e == nil {
		p.w.t.Fatal("the node has no such executor")
	}
	return e
}

func (p *process) subscribe(tasks []string, updates ...runner.ExecutorUpdate) {
	p.w.t.Helper()
	s, err := p.node().Subscribe(context.Background(), tasks, updates)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.stream = s
}

func (p *process) update(task string, state structs.TaskStatus) runner.ExecutorUpdate {
	p.said[task]++
	return runner.ExecutorUpdate{Task: task, Update: structs.TaskUpdate{State: state, UUID: fmt.Appendf(nil, "%-16s", fmt.Sprint(task, p.said[task]))}}
}

func (p *process) says(task string, state structs.TaskStatus) {
	p.w.t.Helper()
	if err := p.node().Update(context.Background(), p.update(task, state)); err != nil {
		p.w.t.Error(err)
	}
}

// hears demands what the executor is told next, and that there is no more.
func (p *process) hears(want ...string) {
	p.w.t.Helper()
	var got []string
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		e, err := p.stream.Next(ctx)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				got = append(got, err.Error())
			}
			break
		}
		switch {
		case e.Launch != nil:
			var names []string
			for _, raw := range e.Launch {
				names = append(names, string(raw))
			}
			got = append(got, fmt.Sprintf("launch %s %v", strings.Join(names, "+"), e.Group))
		case e.Kill != nil:
			got = append(got, "kill "+e.Task)
		case e.Acknowledged != nil:
			got = append(got, "ack "+strings.TrimSpace(string(e.Acknowledged)))
		case e.Message != nil:
			got = append(got, "message "+string(e.Message))
		case e.Shutdown:
			got = append(got, "shutdown")
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.w.t.Errorf("it hears %q, want %q", got, want)
	}
}

// told draws what the region was told of a task by the executor, all together.
func (p *process) told(task string) string {
	var out []string
	for _, s := range p.w.agent.held[structs.AllocID(p.id)].run.Full().Said {
		if s.Task == task {
			out = append(out, fmt.Sprintf("%d %s", s.Seq, s.Update.State))
		}
	}
	return strings.Join(out, ", ")
}

var serves = script{"run_for": "forever"}

// An executor gets tasks when it subscribes and later, alone and in groups; what it says is recorded, acknowledged to it and told.
func TestAnExecutorRunsTasks(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		w.expectTask("a", "one", structs.TaskStaging, "")
		w.expectTask("a", "executor", structs.TaskRunning, "")
		p.subscribe(nil)
		p.hears("launch one false")
		p.says("one", structs.TaskRunning)
		p.says("one", structs.TaskFinished)
		p.hears("ack one1", "ack one2")
		w.expectTask("a", "one", structs.TaskFinished, "")
		if got := p.told("one"); got != "1 running, 2 finished" {
			t.Errorf("the region is told %s", got)
		}
		p.add(true, "two", "three")
		p.hears("launch two+three true")
		// What was said before, of a task that ended or that nobody knows is acknowledged, and changes nothing.
		p.said["one"] = 0
		p.says("one", structs.TaskRunning)
		p.says("other", structs.TaskRunning)
		p.hears("ack one1", "ack other1")
		p.kill("two")
		p.hears("kill two")
		p.node().Message([]byte("hi"))
		p.hears("message hi")
		p.says("two", structs.TaskKilled)
		p.hears("ack two1")
		w.want(w.change("a", stopped))
		synctest.Wait()
		p.hears("shutdown")
		p.says("three", structs.TaskKilled)
		after(11 * time.Second) // it did not go by itself
		w.expect("a", structs.AllocComplete, "the user stopped it")
		w.expectTask("a", "three", structs.TaskKilled, "")
		w.expectRunning()
		if _, err := p.stream.Next(context.Background()); structs.KindOf(err) != structs.Conflict {
			t.Errorf("its stream ends with %v", err)
		}
	})
}

// The executor and what it said outlive the agent, and a power failure; what it was given and does not know is lost.
func TestAnExecutorOutlivesTheAgent(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one", "two", "three")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false", "launch two false", "launch three false")
		p.says("one", structs.TaskRunning)
		w.crash(rand.New(rand.NewPCG(1, 1)), false)
		w.start()
		w.welcome("g1")
		after(time.Second)
		w.expectTask("a", "one", structs.TaskRunning, "")
		w.expectStarts("a/executor/1")
		p.subscribe([]string{"two"}, p.update("one", structs.TaskFinished))
		p.hears("ack one2")
		w.expectTask("a", "three", structs.TaskDropped, "does not know the task")
		if got := w.task("a", "three").Reason; got != "AGENT_RESTARTED" {
			t.Errorf("the reason is %s", got)
		}
		w.expectTask("a", "two", structs.TaskStaging, "")
		if got := p.told("one"); got != "1 running, 2 finished" {
			t.Errorf("the region is told %s", got)
		}
		p.says("two", structs.TaskRunning)
		p.hears("ack two1")
		// A second subscription ends the first.
		old := p.stream
		p.subscribe(nil)
		if _, err := old.Next(context.Background()); structs.KindOf(err) != structs.Conflict {
			t.Errorf("the older stream ends with %v", err)
		}
		p.hears()
	})
}

// An executor that ends, or never subscribes, ends its tasks, and the region hears why.
func TestTasksEndWithTheirExecutor(t *testing.T) {
	reason := func(w *world, task, want string) {
		t.Helper()
		if got := w.task("a", task); string(got.Status)+" "+got.Reason != want {
			t.Errorf("%s: %s %s (%s), want %s", task, got.Status, got.Reason, got.Why, want)
		}
	}
	bubble(t, func(w *world) {
		p := w.executor("a", script{"run_for": "1m", "exit_code": 3}, "one")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false")
		p.says("one", structs.TaskRunning)
		after(2 * time.Minute)
		w.expect("a", structs.AllocFailed, "exit code 3")
		reason(w, "one", "failed EXECUTOR_TERMINATED")
	})
	bubble(t, func(w *world) {
		w.executor("a", serves, "one")
		after(59 * time.Second)
		w.expect("a", structs.AllocRunning, "")
		after(30 * time.Second)
		w.expect("a", structs.AllocFailed, "did not subscribe within 1m")
		reason(w, "one", "failed EXECUTOR_REGISTRATION_TIMEOUT")
	})
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false")
		p.says("one", structs.TaskRunning)
		w.stop()
		w.start()
		w.welcome("g1")
		after(90 * time.Second)
		reason(w, "one", "gone EXECUTOR_REREGISTRATION_TIMEOUT")
	})
}

// A task that is killed before the executor has it never runs, with its group; an executor that is left without any is shut down.
func TestTasksKilledBeforeTheyBegin(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		p.add(true, "two", "three")
		p.kill("three")
		after(time.Second)
		w.expectTask("a", "two", structs.TaskKilled, "")
		w.expectTask("a", "three", structs.TaskKilled, "")
		p.kill("one")
		after(time.Second)
		w.expectTask("a", "one", structs.TaskKilled, "")
		w.expectTask("a", "executor", structs.TaskRunning, "")
		p.subscribe(nil)
		p.hears("shutdown")
		after(11 * time.Second)
		w.expect("a", structs.AllocComplete, "killed before")
	})
}

// Of a task that changes often the newest updates are kept, those that the region was not told of among them.
func TestTheNewestThatAnExecutorSaidIsKept(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		p.subscribe(nil)
		for range structs.MaxUpdates + 1 {
			p.says("one", structs.TaskRunning)
		}
		after(time.Second)
		w.stop()
		w.start()
		w.welcome("g1")
		after(time.Second)
		p.subscribe([]string{"one"}, p.update("one", structs.TaskRunning), p.update("one", structs.TaskKilling), p.update("one", structs.TaskKilled))
		if got := p.told("one"); !strings.HasSuffix(got, "17 running, 18 running, 19 killing, 20 killed") {
			t.Errorf("the region is told %s", got)
		}
	})
}

// An executor that takes nothing is cut off, and what waits for it is bounded.
func TestAnExecutorThatTakesNothingIsCutOff(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		p.subscribe(nil)
		for range 100 {
			p.node().Message(make([]byte, 200<<10))
		}
		if _, err := p.stream.Next(context.Background()); structs.KindOf(err) != structs.Exhausted {
			t.Errorf("its stream ends with %v", err)
		}
		if p.node().Subscribed() {
			t.Error("it is subscribed")
		}
	})
}

// An executor that leaves its stream as soon as it was told to shut down has its time to do so all the same.
func TestAnExecutorEndsByItself(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", script{"run_for": "5s"}, "one")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false")
		left := make(chan error, 1)
		go func() {
			e, err := p.stream.Next(context.Background())
			if err == nil && !e.Shutdown {
				err = fmt.Errorf("it hears %+v", e)
			}
			p.stream.Close()
			left <- err
		}()
		synctest.Wait()
		w.want(w.change("a", stopped))
		if err := <-left; err != nil {
			t.Error(err)
		}
		after(10 * time.Second)
		w.expectTask("a", "executor", structs.TaskFinished, "")
	})
}

// limits is what the process of an executor may use, as its machine sees it.
func (p *process) limits() string {
	synctest.Wait()
	l, known := p.w.machine.Limits(p.id + "/executor/1")
	if !known {
		return "none"
	}
	text := fmt.Sprintf("cpu %s/%s memory %s", l.CPU, l.CPULimit, l.Hard())
	if l.Revocable {
		text += ", revocable"
	}
	return text
}

// holding is a task that holds something, and may use more.
func holding(name string, cpu, most structs.Milli, memory, limit structs.Bytes) *structs.ExternalTask {
	return &structs.ExternalTask{ID: name, Name: name, Info: []byte(name), Resources: structs.Resources{CPU: cpu, Memory: memory}, CPULimit: most, MemoryMax: limit}
}

// begin adds tasks as they are.
func (p *process) begin(tasks ...*structs.ExternalTask) {
	a := p.with(p.w.allocs[structs.AllocID(p.id)], false)
	a.External.Tasks = append(a.External.Tasks, tasks...)
	p.w.allocs[a.ID] = a
	p.w.want(a)
}

// The limits of an executor's process follow its tasks, through restarts of the agent, and a task is given to it once it has room for it.
func TestLimitsOfAnExecutorFollowItsTasks(t *testing.T) {
	const mib = 1 << 20
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		expect := func(want string) {
			t.Helper()
			if got := p.limits(); got != want {
				t.Errorf("its process may use %s, want %s", got, want)
			}
		}
		after(time.Second)
		expect("cpu 0.001/0 memory 32MiB")
		p.subscribe(nil)
		p.hears("launch one false")
		p.begin(holding("two", 500, 0, 100*mib, 0))
		p.hears("launch two false")
		expect("cpu 0.5/0 memory 100MiB")
		p.begin(holding("three", 500, 2000, 100*mib, 300*mib))
		p.hears("launch three false")
		expect("cpu 1/2.5 memory 400MiB")
		p.begin(holding("four", 1, structs.Boundless, 1, structs.Boundless))
		p.hears("launch four false")
		expect("cpu 1.001/0 memory 0B")
		p.says("four", structs.TaskFinished)
		p.hears("ack four1")
		expect("cpu 1/2.5 memory 400MiB")
		// What others reserved of its cores has no weight against theirs, and counts for the bounds.
		soft := holding("soft", 1000, 0, 100*mib, 0)
		soft.Revocable = &structs.Slack{CPU: 1000, Memory: 100 * mib}
		p.begin(soft)
		p.hears("launch soft false")
		expect("cpu 1/3.5 memory 500MiB, revocable")
		p.says("soft", structs.TaskFinished)
		p.hears("ack soft1")
		expect("cpu 1/2.5 memory 400MiB")
		// Memory in use is not taken back before it is free; all else is.
		w.machine.Use("a/executor/1", 200*mib)
		p.says("three", structs.TaskFailed)
		p.hears("ack three1")
		expect("cpu 0.5/0 memory 400MiB")
		after(time.Minute)
		expect("cpu 0.5/0 memory 400MiB")
		w.crash(rand.New(rand.NewPCG(1, 1)), false)
		w.start()
		w.welcome("g1")
		after(time.Second)
		p.subscribe([]string{"one", "two"})
		p.hears()
		w.machine.Use("a/executor/1", mib)
		after(time.Minute)
		expect("cpu 0.5/0 memory 100MiB")
	})
}

// Without room a task waits.
func TestATaskWaitsForRoomInItsExecutor(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false")
		w.mu.Lock()
		w.unlimited = structs.Unavailable
		w.mu.Unlock()
		p.begin(holding("two", 500, 0, 100<<20, 0))
		p.hears()
		p.says("one", structs.TaskRunning)
		p.hears("ack one1")
		w.mu.Lock()
		w.unlimited = ""
		w.mu.Unlock()
		after(time.Minute)
		p.hears("launch two false")
		// Where nothing could ever change them, it does not.
		w.mu.Lock()
		w.unlimited = structs.Invalid
		w.mu.Unlock()
		p.begin(holding("three", 500, 0, 100<<20, 0))
		p.hears("launch three false")
	})
}

// A task whose secrets are sealed waits for their values, with its group, and the executor alone gets them: nothing is asked for any more then.
func TestValuesOfTasksAreAwaited(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		after(time.Second)
		p.subscribe(nil)
		p.hears("launch one false")
		secret := holding("two", 1, 0, 1, 0)
		secret.Together, secret.Launch = true, 7
		secret.Secrets = []*structs.SentSecret{{Name: "s1"}, {Name: "s2"}}
		other := holding("three", 1, 0, 1, 0)
		other.Together, other.Launch = true, 7
		p.begin(other, secret)
		synctest.Wait()
		p.hears()
		if got := fmt.Sprint(w.wanted()); got != "[secret:a/s1 secret:a/s2]" {
			t.Errorf("the node wants %s", got)
		}
		value := func(name, text string) *session.Item {
			return &session.Item{Ref: session.SecretRef("a", name), Secret: true, Values: map[string]string{"": text}}
		}
		w.offer(value("s1", "hunter"), &session.Item{Ref: session.SecretRef("a", "s2"), Missing: "its key is away", Unknown: true})
		synctest.Wait()
		p.hears()
		w.expectTask("a", "two", structs.TaskStaging, "its key is away")
		w.offer(value("s2", ""))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		e, err := p.stream.Next(ctx)
		if err != nil || fmt.Sprintf("%q %q", e.Launch, e.Values) != `["three" "two"] [[] ["hunter" ""]]` {
			t.Errorf("it hears %q with %q: %v", e.Launch, e.Values, err)
		}
		if got := w.wanted(); len(got) > 0 {
			t.Errorf("the node still wants %v", got)
		}
		// Another agent asks for what is left to be given, and for nothing of a task that is killed.
		late := holding("four", 1, 0, 1, 0)
		late.Secrets = []*structs.SentSecret{{Name: "s3"}}
		p.begin(late)
		w.stop()
		w.start()
		w.welcome("g1")
		after(time.Second)
		if got := fmt.Sprint(w.wanted()); got != "[secret:a/s3]" {
			t.Errorf("the node wants %s", got)
		}
		p.kill("four")
		synctest.Wait()
		if got := w.wanted(); len(got) > 0 {
			t.Errorf("the node still wants %v", got)
		}
	})
}
