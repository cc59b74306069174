//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/proffer/proffer/structs"
)

// measureFinished compares an agent with few finished tasks behind it, of which the state keeps the newest 5,000, with the
// same agent after all of them. What it grows from is the twentieth part, at which its buffers are full (the newest 16 MiB of
// the log stay in memory, 64 MiB on the disk behind a snapshot); a hundredth part is given beside it. The first process is a
// fresh one on an empty folder; the last one has done nineteen twentieths of the work without a restart.
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
	young, err := h.after(ctx, b.finished/100)
	if err != nil {
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
	note := func(unit string, of func(age) float64) string {
		return fmt.Sprintf("%.4g %s after %d, %.4g after %d, %.4g after all", of(young), unit, b.finished/100, of(first), b.finished/20, of(last))
	}
	for _, f := range []struct {
		what, unit, note string
		of               func(age) float64
	}{
		{"memory, quiet", "MB", fmt.Sprintf("a minute after the last task; %.0f tasks/s on the way", last.rate), func(a age) float64 { return a.quiet }},
		{"memory, busy", "MB", "the middle one of up to ten looks, after every 5,000 tasks", func(a age) float64 { return a.busy }},
		{"restart time", "ms", fmt.Sprintf("from start to the first confirmed read, the middle one of %d", restarts), func(a age) float64 { return ms(a.restart) }},
		{"CPU time of a restart", "ms", "user and system, until then", func(a age) float64 { return ms(a.restartCPU) }},
	} {
		b.add(figure{What: what + ": growth of " + f.what, Unit: "%", Must: 10, Got: growth(f.of(first), f.of(last)),
			Note: note(f.unit, f.of) + "; " + f.note})
	}
	return nil
}

// giveBack is how long an agent that has nothing to do may take to give back the memory of its busiest moment.
const giveBack = time.Minute

// restarts is of how many the middle one counts.
const restarts = 9

// history is an agent that gets older.
type history struct {
	bench *bench
	agent *agent
	dir   string
	args  []string
	done  int
}

type age struct {
	quiet, busy         float64 // resident memory in MB
	restart, restartCPU time.Duration
	rate                float64 // tasks a second on the way
}

// after runs tasks until so many have ended, and looks.
func (h *history) after(ctx context.Context, total int) (out age, err error) {
	const chunk = 5000
	begun, before := time.Now(), h.done
	var busy []float64
	for h.done < total {
		n := min(chunk, total-h.done)
		if _, err := h.agent.submitAndWait(ctx, job(fmt.Sprint("done-", h.done), structs.BatchJob, n, "mock", nil), "job", complete); err != nil {
			return out, err
		}
		h.done += n
		busy = append(busy, memoryOf(h.agent.cmd.Process.Pid))
		fmt.Fprintf(h.bench.progress, "finished: %d tasks, %.1f MB\n", h.done, busy[len(busy)-1])
	}
	out.rate = float64(h.done-before) / time.Since(begun).Seconds()
	if err := pause(ctx, giveBack); err != nil {
		return out, err
	}
	busy = busy[max(0, len(busy)-10):]
	slices.Sort(busy)
	out.quiet, out.busy = memoryOf(h.agent.cmd.Process.Pid), busy[len(busy)/2]
	if out.quiet == 0 {
		return out, fmt.Errorf("the agent is gone:\n%s", h.agent.said())
	}
	var times, used spread
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
		times, used = append(times, time.Since(begun)), append(used, cpuOf(h.agent.cmd.Process.Pid, false))
	}
	out.restart, out.restartCPU = times.at(0.5), used.at(0.5)
	fmt.Fprintf(h.bench.progress, "finished: quiet %.1f MB, busy %.1f MB, restart %v, %v CPU\n", out.quiet, out.busy, out.restart, out.restartCPU)
	return out, h.agent.nodeReady(ctx)
}
