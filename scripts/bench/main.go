//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// measurement is one part of the table. Those that are long run with -full, or when -only names them.
type measurement struct {
	name, about string
	long        bool
	run         func(context.Context, *bench) error
}

var measurements = []measurement{
	{"size", "the binary", false, measureSize},
	{"idle", "an idle agent", false, measureIdle},
	{"latency", "submit to running, one job after the other", false, measureLatency},
	{"run", "proffer run -- true", false, measureRun},
	{"batch", "1,000 × /bin/true as one batch job", false, measureBatch},
	{"jobs", "1,000 jobs by 8 clients", false, measureJobs},
	{"commits", "committed state changes, three servers with fsync", false, measureCommits},
	{"allocator", "the allocator alone, on one core", true, measureAllocator},
	{"placements", "placements of generated jobs, three servers with fsync", false, measureThroughRaft},
	{"state", "/state with 100,000 tasks", true, measureState},
	{"reattach", "kill -9 of an agent with 200 tasks", false, measureReattach},
	{"checks", "200 tasks with 1,000 checks", true, measureChecks},
	{"docker", "a docker task beside docker run", true, measureDocker},
	{"oci", "containers without an engine, and pulls beside docker pull", true, measureOCI},
	{"accept", "ACCEPT of a framework to TASK_RUNNING", false, measureAccept},
	{"stream", "tasks through one scheduler stream", false, measureStream},
	{"sdk", "tasks through one scheduler of the SDK", false, measureSDK},
	{"connected", "10,000 connected frameworks", true, measureConnected},
	{"first-offer", "leader killed under 100,000 tasks of frameworks", true, measureFirstOffer},
	{"failover", "kill -9 of the leader of three servers", true, measureFailover},
	{"finished", "a million finished tasks", true, measureFinished},
	{"gossip", "10,000 gossiping agents", true, measureGossip},
}

// bench is one run of the command.
type bench struct {
	dir      string // temporary; everything that it starts has it in its command line
	program  string
	progress io.Writer
	samples  int
	rounds   int
	kills    int
	finished int
	members  int

	dev     *agent // shared by measurements that need one agent
	figures []*figure
}

func main() {
	b := &bench{progress: os.Stderr}
	only := flag.String("only", "", "measure these `names` alone, separated by commas")
	full := flag.Bool("full", false, "measure also what takes many minutes")
	asJSON := flag.Bool("json", false, "print JSON")
	list := flag.Bool("list", false, "list what can be measured")
	trace := flag.Uint64("trace", 0, "measure nothing, and write the trace of a day that this `seed` makes, for operator simulate")
	flag.StringVar(&b.program, "program", "", "measure this `FILE` and do not build the program")
	flag.IntVar(&b.samples, "samples", 200, "`number` of samples of a latency")
	flag.IntVar(&b.rounds, "rounds", 3, "`number` of rounds of batch and of jobs; the middle one counts")
	flag.IntVar(&b.kills, "kills", 100, "`number` of leaders that are killed")
	flag.IntVar(&b.finished, "finished", 1_000_000, "`number` of finished tasks")
	flag.IntVar(&b.members, "members", 10_000, "`number` of gossiping agents")
	profile := flag.String("profile", "", "write a CPU profile of this process, with the servers that run in it, to this `FILE`")
	flag.Parse()
	if *trace != 0 {
		if err := writeTrace(os.Stdout, *trace); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if *list {
		for _, m := range measurements {
			fmt.Printf("%-10s %s%s\n", m.name, m.about, map[bool]string{true: " (with -full)"}[m.long])
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen, err := choose(*only, *full)
	if err == nil {
		err = profiled(*profile, func() error { return b.run(ctx, chosen, *asJSON) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// profiled does it with a CPU profile in a file, which pprof reads; empty: without.
func profiled(file string, do func() error) error {
	if file == "" {
		return do()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

func choose(only string, full bool) (chosen []measurement, err error) {
	if only == "" {
		for _, m := range measurements {
			if full || !m.long {
				chosen = append(chosen, m)
			}
		}
		return chosen, nil
	}
next:
	for name := range strings.SplitSeq(only, ",") {
		for _, m := range measurements {
			if m.name == name {
				chosen = append(chosen, m)
				continue next
			}
		}
		return nil, fmt.Errorf("-only: there is nothing called %q: see -list", name)
	}
	return chosen, nil
}

// run measures what was chosen and prints it. What could not be measured is in the error; the others are printed.
func (b *bench) run(ctx context.Context, chosen []measurement, asJSON bool) (err error) {
	if b.dir, err = os.MkdirTemp("", "proffer-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.sweep(), os.RemoveAll(b.dir)) }()
	if err := os.Chmod(b.dir, 0o755); err != nil { // tasks of other users live below it
		return err
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	fmt.Fprintln(b.progress, "looking at the machine …")
	machine, err := describe(b.dir)
	if err != nil {
		return err
	}
	var problems []error
	for _, m := range chosen {
		if ctx.Err() != nil {
			problems = append(problems, errors.New("interrupted"))
			break
		}
		fmt.Fprintf(b.progress, "%s: %s …\n", m.name, m.about)
		begun := time.Now()
		before := len(b.figures)
		others, done := watchOthers(b.dir)
		if err := m.run(ctx, b); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", m.name, err))
		}
		done()
		for _, f := range b.figures[before:] {
			f.Measurement, f.Others = m.name, others.share
		}
		fmt.Fprintf(b.progress, "%s: %s\n", m.name, time.Since(begun).Round(time.Millisecond))
	}
	problems = append(problems, b.endDev())
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		problems = append(problems, e.Encode(map[string]any{"machine": machine, "figures": b.figures}))
	} else {
		table(os.Stdout, machine, b.figures)
	}
	return errors.Join(problems...)
}

// add notes a figure.
func (b *bench) add(f figure) { b.figures = append(b.figures, &f) }

// pause waits where a measurement needs a fixed time to pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
