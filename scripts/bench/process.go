//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func measureSize(_ context.Context, b *bench) error {
	info, err := os.Stat(b.program)
	if err != nil {
		return err
	}
	note := "built as a release is"
	if !strings.HasPrefix(b.program, b.dir) {
		note = b.program
	}
	b.add(figure{What: "binary", Unit: "MB", Must: 60, Aim: 35, Got: float64(info.Size()) / 1e6, Note: note})
	return nil
}

// settle is how long an agent is left alone before its memory counts as idle.
const settle = 10 * time.Second

// measureIdle looks at an agent that has just started and has nothing to do.
func measureIdle(ctx context.Context, b *bench) error {
	a, err := b.startDev(ctx)
	if err != nil {
		return err
	}
	before := a.cost()
	if err := pause(ctx, settle); err != nil {
		return errors.Join(err, a.stop())
	}
	idle := a.cost()
	supervisor := 0.0
	for _, p := range processes(a.dir) {
		if p.pid != a.cmd.Process.Pid {
			supervisor += memoryOf(p.pid)
		}
	}
	b.add(figure{What: "idle dev agent, resident memory", Unit: "MB", Must: 60, Aim: 35, Got: memoryOf(a.cmd.Process.Pid),
		Note: fmt.Sprintf("%.1f MB of it are pages of the program's file; its supervisor has %.1f MB; both use %.2f%% of a core", mappedOf(a.cmd.Process.Pid), supervisor,
			100*float64(idle.agent+idle.tasks-before.agent-before.tasks)/float64(settle))})
	return a.stop()
}

// measureReattach kills an agent under 200 tasks, starts it again, and asks for each of them.
func measureReattach(ctx context.Context, b *bench) (err error) {
	const count = 200
	at := address()
	ports, err := freePorts(at, 3)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "reattach")
	path, err := b.config("reattach", fmt.Sprintf("server {\n  bootstrap_expect = 1\n}\nclient {}\nencrypt = [%q]\n", key()))
	if err != nil {
		return err
	}
	args := []string{"-config", path, "-data-dir", dir, "-bind", at, "-http-port", ports[0], "-executor-port", ports[1], "-cluster-port", ports[2], "-log-level", "warn"}
	a, err := b.start(ctx, dir, args...)
	if err != nil {
		return err
	}
	defer func() {
		a.end(context.WithoutCancel(ctx), "sleepers") // tasks outlive an agent
		err = errors.Join(err, a.stop())
	}()
	if err := a.nodeReady(ctx); err != nil {
		return err
	}
	if _, err := a.SubmitJob(ctx, job("sleepers", structs.ServiceJob, count, "exec", command("/bin/sleep", "100000")), nil); err != nil {
		return err
	}
	before, err := a.allRunning(ctx, "sleepers", count)
	if err != nil {
		return err
	}
	tasks := sleepers(dir)
	if len(tasks) != count {
		return fmt.Errorf("%d processes for %d tasks", len(tasks), count)
	}
	if err := a.kill(); err != nil {
		return err
	}
	begun := time.Now()
	if a, err = b.start(ctx, dir, args...); err != nil {
		return err
	}
	if err := a.nodeReady(ctx); err != nil {
		return err
	}
	ready := time.Since(begun)
	if err := a.ask(ctx, before); err != nil {
		return err
	}
	attached := time.Since(begun)
	after, err := a.allRunning(ctx, "sleepers", count)
	if err != nil {
		return err
	}
	lost := 0
	for id, incarnation := range before {
		if after[id] != incarnation {
			lost++
		}
	}
	now := sleepers(dir)
	for pid := range tasks {
		if !now[pid] {
			lost++
		}
	}
	b.add(figure{What: "agent kill -9 with 200 running tasks: tasks lost", Unit: "lost", Got: float64(lost), Note: "same allocations, same processes"})
	b.add(figure{What: "the same: start of the agent to all re-attached", Unit: "s", Aim: 1, Got: attached.Seconds(),
		Note: fmt.Sprintf("the node was ready after %.2f s", ready.Seconds())})
	return nil
}

// sleepers returns the tasks below dir.
func sleepers(dir string) map[int]bool {
	pids := map[int]bool{}
	for _, p := range processes(dir) {
		if strings.HasPrefix(p.args, "/bin/sleep ") {
			pids[p.pid] = true
		}
	}
	return pids
}

// allRunning waits until count allocations of a job run and returns their incarnations.
func (a *agent) allRunning(ctx context.Context, name string, count int) (map[structs.AllocID]uint64, error) {
	q := &api.Query{}
	for {
		j, meta, err := a.Job(ctx, name, q)
		if err != nil {
			return nil, err
		}
		if j.Groups[0].Running == count {
			break
		}
		q.Index = meta.Index
	}
	allocs, err := a.allocations(ctx, name)
	running := map[structs.AllocID]uint64{}
	for _, one := range allocs {
		if one.Status == structs.AllocRunning {
			running[one.ID] = one.Incarnation
		}
	}
	return running, err
}

func (a *agent) allocations(ctx context.Context, job string) ([]*structs.Allocation, error) {
	allocs, _, err := api.Collect(ctx, nil, func(ctx context.Context, q *api.Query) ([]*structs.Allocation, *api.Meta, error) {
		return a.JobAllocations(ctx, job, q)
	})
	return allocs, err
}

// ask asks the node what each allocation uses, until all of them were answered: then the agent is attached to them.
func (a *agent) ask(ctx context.Context, allocs map[structs.AllocID]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ids := make(chan structs.AllocID, len(allocs))
	for id := range allocs {
		ids <- id
	}
	close(ids)
	errs := make([]error, 4)
	var asking sync.WaitGroup
	for i := range errs {
		asking.Go(func() {
			for id := range ids {
				for {
					s, err := a.AllocationStats(ctx, string(id))
					if err == nil && len(s.Tasks) == 1 {
						break
					}
					if ctx.Err() != nil {
						errs[i] = fmt.Errorf("allocation %s: %w", id, errors.Join(ctx.Err(), err))
						return
					}
				}
			}
		})
	}
	asking.Wait()
	return errors.Join(errs...)
}
