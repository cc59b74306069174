//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

const (
	checkedTasks = 200
	checksOfTask = 5
	checkedFor   = 30 * time.Second
)

// measureChecks has a node check tasks that sleep, and looks at what the agent and its supervisor take for it. The ports of the
// tasks are listened on here.
func measureChecks(ctx context.Context, b *bench) (err error) {
	a, err := b.startDev(ctx)
	if err != nil {
		return err
	}
	defer func() {
		a.end(context.WithoutCancel(ctx), "checked")
		err = errors.Join(err, a.stop())
	}()
	if err := pause(ctx, settle); err != nil {
		return err
	}
	before := a.memory()
	j := job("checked", structs.ServiceJob, checkedTasks, "exec", command("/bin/sleep", "100000"))
	j.Groups[0].Network = &structs.Network{Ports: []*structs.Port{{Label: "http"}}}
	ask := func(kind string, n int) {
		var all []*structs.Check
		for i := range n {
			c := &structs.Check{Name: fmt.Sprint("c", i), Type: kind, Port: "http", Interval: structs.Duration(10 * time.Second)}
			if kind == "exec" {
				c.Port, c.Command = "", []string{"/bin/true"}
			}
			all = append(all, c)
		}
		j.Groups[0].Tasks[0].Ready = all
	}
	measure := func(kind string, n int) (share float64, err error) {
		ask(kind, n)
		if _, err := a.SubmitJob(ctx, j, nil); err != nil {
			return 0, err
		}
		if err := a.allReady(ctx, "checked", checkedTasks, n); err != nil {
			return 0, err
		}
		if err := pause(ctx, settle); err != nil {
			return 0, err
		}
		at := a.cost()
		if err := pause(ctx, checkedFor); err != nil {
			return 0, err
		}
		now := a.cost()
		return 100 * float64(now.agent+now.tasks-at.agent-at.tasks) / float64(checkedFor), nil
	}
	idle, err := measure("http", 0)
	if err != nil {
		return err
	}
	each := (a.memory() - before) / checkedTasks * 1000
	closeAll, err := a.listenFor(ctx, "checked")
	defer closeAll()
	if err != nil {
		return err
	}
	web, err := measure("http", checksOfTask)
	if err != nil {
		return err
	}
	exec, err := measure("exec", checksOfTask)
	if err != nil {
		return err
	}
	b.add(figure{What: "200 idle tasks, 1,000 http checks at 10 s: CPU of a core", Unit: "%", Must: 10, Aim: 3, Got: web,
		Note: fmt.Sprintf("agent and supervisor; %.2f%% without checks, %.1f%% when each runs a command in its task", idle, exec)})
	b.add(figure{What: "memory of agent, supervisor and stage for a running task", Unit: "kB", Must: 1000, Aim: 100, Got: each, Note: "of 200"})
	return nil
}

// memory is what the agent, its supervisor, and the starters and stages of tasks have resident, without the tasks, in MB.
func (a *agent) memory() (sum float64) {
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", a.cmd.Process.Pid))
	for _, p := range processes(a.dir) {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)); err == nil && (exe == program || strings.HasPrefix(p.args, "proffer-starter")) {
			sum += memoryOf(p.pid)
		}
	}
	return sum
}

// allReady waits until the checks of all allocations of a job pass.
func (a *agent) allReady(ctx context.Context, name string, count, checks int) error {
	for {
		if _, err := a.allRunning(ctx, name, count); err != nil {
			return err
		}
		allocs, err := a.allocations(ctx, name)
		if err != nil {
			return err
		}
		ready := 0
		for _, one := range allocs {
			if t := one.Tasks["t"]; one.Status == structs.AllocRunning && t != nil && len(t.Checks) == checks && t.Ready() {
				ready++
			}
		}
		if ready == count {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// listenFor answers on the ports of a job's allocations.
func (a *agent) listenFor(ctx context.Context, name string) (closeAll func(), err error) {
	var servers []*http.Server
	closeAll = func() {
		for _, s := range servers {
			s.Close()
		}
	}
	allocs, err := a.allocations(ctx, name)
	for _, one := range allocs {
		for _, p := range one.Ports {
			l, err := net.Listen("tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.Port)))
			if err != nil {
				return closeAll, err
			}
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fine") })}
			servers = append(servers, s)
			go s.Serve(l)
		}
	}
	return closeAll, err
}
