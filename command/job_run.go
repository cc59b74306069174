package command

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/posener/complete"

	"github.com/proffer/proffer/structs"
)

func jobRun(e *Environment) *command {
	c := newCommand(e, "job run", "FILE", "Submit a job and watch it").remote()
	c.about = `Submit the job in FILE (- is the input), in HCL or JSON, and show its progress until it is healthy (service) or done
(batch): a live line for each group in a terminal, plain lines in a pipe. The job goes on when this command ends or is
interrupted. proffer help exit-codes says how it exits.`
	c.min, c.max = 1, 1
	c.predict = complete.PredictFiles("*")
	var file jobFile
	file.flags(c)
	detach := c.flags.Bool("detach", false, "return once the job is accepted")
	dry := c.flags.Bool("dry-run", false, "submit nothing: show what job plan shows, also what would be stopped to make room")
	check := c.flags.String("check", "", "only when the job has this `VERSION` now; 0: only when there is none")
	timeout := c.flags.Duration("timeout", 0, "watch for at most this `TIME`. Default: the healthy_timeout of a service, for ever for batch")
	place := c.flags.Duration("place-timeout", 10*time.Second, "`TIME` after which a job of which nothing could be placed is reported and no longer watched; 0: for ever")
	c.run = func(ctx context.Context, args []string) error {
		var expect *uint64
		if *check != "" {
			n, err := strconv.ParseUint(*check, 10, 63)
			if err != nil {
				return usagef("-check: %q is not a version", *check)
			}
			expect = &n
		}
		job, err := file.read(e, args[0])
		if err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		if *dry {
			plan, diff, err := planOf(ctx, client, job)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			writePlan(&b, job.Name, args[0], plan, diff)
			_, err = b.WriteTo(e.Out)
			return err
		}
		done, err := client.SubmitJob(ctx, job, expect)
		if err != nil {
			return err
		}
		what := "submitted"
		if !done.Changed {
			what = "unchanged"
		}
		fmt.Fprintf(e.Out, "Job %q %s, version %d\n", job.Name, what, done.Version)
		if job.Parameterized != nil {
			fmt.Fprintf(e.Out, "It runs when it is dispatched: proffer job dispatch %s\n", job.Name)
			return nil
		}
		if *detach {
			return nil
		}
		w := &watch{env: e, client: client, job: job, version: done.Version, index: done.Index, place: *place, timeout: *timeout}
		if w.timeout == 0 && job.Type != structs.BatchJob {
			w.timeout = w.healthyTimeout()
		}
		return w.run(ctx)
	}
	return c
}
