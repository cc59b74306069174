//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/structs"
)

// measureFinished compares an agent that has a twentieth of the finished tasks behind it, which is already several times
// what stays in the state, with the same agent after all of them.
func measureFinished(ctx context.Context, b *bench) (err error) {
	at := address()
	ports, err := freePorts(at, 3)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "finished")
	path, err := b.config("finished", fmt.Sprintf("server {\n  bootstrap_expect = 1\n}\nclient {\n  drivers = [\"mock\"]\n}\nencrypt = [%q]\n", key()))
	if err != nil {
		return err
	}
	h := &history{bench: b, dir: dir, args: []string{"-config", path, "-data-dir", dir, "-bind", at, "-http-port", ports[0],
		"-executor-port", ports[1], "-cluster-port", ports[2], "-log-level", "warn"}}
	if h.agent, err = b.start(ctx, dir, h.args...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.agent.stop()) }()
	if err := h.agent.nodeReady(ctx); err != nil {
		return err
	}
	first, err := h.after(ctx, b.finished/20)
	if err != nil {
		return err
	}
	last, err := h.after(ctx, b.finished)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d finished tasks behind it", b.finished)
	growth := func(a, b float64) float64 { return max(0, 100*(b-a)/a) }
	b.add(figure{What: what + ": growth of memory", Unit: "%", Must: 10, Got: growth(first.memory, last.memory),
		Note: fmt.Sprintf("%.1f MB after %d, %.1f MB after all; %.0f tasks/s", first.memory, b.finished/20, last.memory, last.rate)})
	b.add(figure{What: what + ": growth of restart time", Unit: "%", Must: 10, Got: growth(first.restart.Seconds(), last.restart.Seconds()),
		Note: fmt.Sprintf("%.2f s and %.2f s from start to the first confirmed read, of %d", first.restart.Seconds(), last.restart.Seconds(), restarts)})
	return nil
}

// giveBack is how long a Go program that has nothing to do needs to collect and to give memory back: the runtime forces a
// collection every two minutes. Before that, the resident memory is that of the busiest moment.
const giveBack = 150 * time.Second

// restarts is of how many the middle one counts.
const restarts = 5

// history is an agent that gets older.
type history struct {
	bench *bench
	agent *agent
	dir   string
	args  []string
	done  int
}

type age struct {
	memory  float64 // MB, after a pause
	restart time.Duration
	rate    float64 // tasks a second on the way
}

// after runs tasks until so many have ended, and looks.
func (h *history) after(ctx context.Context, total int) (out age, err error) {
	const chunk = 5000
	begun, before := time.Now(), h.done
	for h.done < total {
		n := min(chunk, total-h.done)
		if _, err := h.agent.submitAndWait(ctx, job(fmt.Sprint("done-", h.done), structs.BatchJob, n, "mock", nil), "job", complete); err != nil {
			return out, err
		}
		h.done += n
		fmt.Fprintf(h.bench.progress, "finished: %d tasks, %.1f MB\n", h.done, memoryOf(h.agent.cmd.Process.Pid))
	}
	out.rate = float64(h.done-before) / time.Since(begun).Seconds()
	if err := pause(ctx, giveBack); err != nil {
		return out, err
	}
	out.memory = memoryOf(h.agent.cmd.Process.Pid)
	var times spread
	for range restarts {
		if err := h.agent.stop(); err != nil {
			return out, err
		}
		begun := time.Now()
		if h.agent, err = h.bench.start(ctx, h.dir, h.args...); err != nil {
			return out, err
		}
		if _, _, err := h.agent.Nodes(ctx, nil); err != nil {
			return out, err
		}
		times = append(times, time.Since(begun))
	}
	out.restart = times.at(0.5)
	return out, h.agent.nodeReady(ctx)
}
