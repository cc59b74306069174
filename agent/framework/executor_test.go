package framework_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
	"github.com/proffer/proffer/structs"
)

// hosted is a task of the executor "x".
func hosted(id, data string) *framework.Task {
	return &framework.Task{ID: id, Resources: shape(250), Data: []byte(data), Executor: &framework.ExecutorInfo{ID: "x", Resources: shape(250),
		Command: &framework.Command{Args: []string{"worker"}}, Grace: 10 * time.Second}}
}

// worker is an executor, in the bubble of its region, whose tasks do what their data says.
func (p *play) worker() {
	p.Program("worker", func(ctx context.Context, x *frameworktest.Process) int {
		c, err := framework.FromEnvironment(x.Getenv)
		if err != nil {
			p.t.Error(err)
			return 2
		}
		c.Transport, c.Jitter = x.Transport, func(max time.Duration) time.Duration { return max / 2 }
		d := framework.NewExecutor(c)
		err = framework.RunTasks(ctx, d, func(ctx context.Context, t *framework.Launched, say func(framework.TaskNews) error) error {
			switch string(t.Data) {
			case "fail":
				time.Sleep(time.Second)
				return errors.New("as it was told")
			case "fail in 5s":
				time.Sleep(5 * time.Second)
				return errors.New("as it was told")
			case "talk":
				if err := say(framework.TaskNews{State: structs.TaskRunning, Data: []byte("half"), Message: "half of it"}); err != nil {
					return err
				}
				if err := d.Message(ctx, []byte("hello from "+t.ID)); err != nil {
					return err
				}
				frameworktest.Sleep(ctx, time.Second)
				return nil
			}
			<-ctx.Done()
			return nil
		})
		if err != nil {
			return 1
		}
		return 0
	})
}

func TestAnExecutorRunsManyTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.worker()
		p.add(hosted("long", ""), hosted("bad", "fail"), hosted("talks", "talk"))
		p.tells("long", "running")
		p.tells("bad", "running failed")
		p.tells("talks", "running running finished")
		p.do(func(l *launcher) {
			if fmt.Sprint(l.messages) != "[hello from talks]" || l.last["bad"].Message != "as it was told" || l.last["long"].Executor != "x" {
				t.Errorf("messages %v, bad %+v", l.messages, l.last["bad"])
			}
		})
		if n := len(p.Running()); n != 1 {
			t.Errorf("%d processes run", n)
		}
		if err := p.run.Driver.Kill(t.Context(), "long"); err != nil {
			t.Fatal(err)
		}
		p.tells("long", "running killed")
	})
}

func TestAnExecutorOutlivesTheAgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.worker()
		p.add(hosted("a", ""))
		p.tells("a", "running")
		p.Node(0).KillAgent()
		time.Sleep(10 * time.Second)
		p.Node(0).Boot()
		time.Sleep(2 * time.Minute)
		p.add(hosted("b", "fail"))
		p.tells("b", "running failed")
		if err := p.run.Driver.Kill(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		p.Until("a is killed", func() (over bool) {
			p.do(func(l *launcher) { over = l.last["a"].State == structs.TaskKilled })
			return over
		})
	})
}

func TestWhatATaskSaysWhileTheAgentIsDownArrives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.worker()
		p.add(hosted("a", "fail in 5s"))
		p.tells("a", "running")
		p.Node(0).KillAgent()
		time.Sleep(8 * time.Second)
		p.Node(0).Boot()
		p.tells("a", "running failed")
	})
}

// slow is an executor that says nothing of its tasks for a while.
type slow struct {
	d    *framework.ExecutorDriver
	work sync.WaitGroup
}

func (x *slow) Launch(ctx context.Context, l *framework.Launched) {
	x.work.Go(func() {
		frameworktest.Sleep(ctx, 20*time.Second)
		x.d.Update(ctx, framework.TaskNews{Task: l.ID, State: structs.TaskRunning})
	})
}

func (x *slow) Kill(context.Context, string, time.Duration) {}

func TestATaskOfWhichNothingWasSaidOutlivesTheAgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		launched := make(chan struct{})
		p.Program("worker", func(ctx context.Context, x *frameworktest.Process) int {
			c, err := framework.FromEnvironment(x.Getenv)
			if err != nil {
				t.Error(err)
			}
			c.Transport = x.Transport
			e := &slow{d: framework.NewExecutor(c)}
			defer e.work.Wait()
			close(launched)
			e.d.Run(ctx, e)
			return 0
		})
		p.add(hosted("a", ""))
		<-launched
		time.Sleep(5 * time.Second)
		p.Node(0).KillAgent()
		time.Sleep(5 * time.Second)
		p.Node(0).Boot()
		p.tells("a", "running")
	})
}

func TestTasksOfAPodEndTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.do(func(l *launcher) {
			l.hold = true
			l.d.Want(framework.Want{Resources: shape(1000)})
		})
		p.Until("there is an offer", func() (there bool) {
			p.do(func(l *launcher) { there = len(l.held) > 0 })
			return there
		})
		p.do(func(l *launcher) {
			err := l.d.Accept(t.Context(), l.held[:1], 0, framework.LaunchGroup{Executor: &framework.ExecutorInfo{ID: "pod", Resources: shape(100)},
				Tasks: []*framework.Task{sh("a", "sleep infinity"), sh("b", "fails")}})
			if err != nil {
				t.Error(err)
			}
		})
		p.Until("b failed, and a is killed", func() (over bool) {
			p.do(func(l *launcher) {
				a, b := l.last["a"], l.last["b"]
				over = a != nil && b != nil && a.State == structs.TaskKilled && b.State == structs.TaskFailed
			})
			return over
		})
	})
}

func TestShutdownEndsAnExecutorWithItsTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := begin(t, frameworktest.Config{})
		p.worker()
		p.add(hosted("a", ""))
		p.tells("a", "running")
		if err := p.run.Driver.Shutdown(t.Context(), p.Node(0).ID(), "x"); err != nil {
			t.Fatal(err)
		}
		p.tells("a", "running killed")
		p.Until("its end is told", func() (told bool) {
			p.do(func(l *launcher) { told = len(l.ended) == 1 && l.ended[0] == "x 0" })
			return told
		})
	})
}
