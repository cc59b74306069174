package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func jobDispatch(e *Environment) *command {
	c := newCommand(e, "job dispatch", "JOB [FILE]", "Run a parameterized job with meta and a payload").remote()
	c.about = `Submit a job that is made of the parameterized job JOB, with meta and the content of FILE (- is the input) as its payload, and show
its progress until it is done, as job run does. The new job has a name of its own, which is printed first.`
	c.min, c.max = 1, 2
	c.predict = complete.PredictOr(predictJobs(e), complete.PredictFiles("*"))
	var meta listFlag
	c.flags.Var(&meta, "meta", "`NAME=VALUE` for the job's meta; may be repeated")
	detach := c.flags.Bool("detach", false, "return once the dispatch is accepted")
	c.run = func(ctx context.Context, args []string) error {
		in := api.JobDispatch{}
		for _, m := range meta {
			name, value, ok := strings.Cut(m, "=")
			if !ok {
				return usagef("-meta: %q is not NAME=VALUE", m)
			}
			if in.Meta == nil {
				in.Meta = map[string]string{}
			}
			in.Meta[name] = value
		}
		if len(args) == 2 {
			var err error
			if in.Payload, err = e.payload(args[1]); err != nil {
				return err
			}
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		done, err := client.DispatchJob(ctx, args[0], in)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "Job %q dispatched as %q\n", args[0], done.Name)
		if *detach {
			return nil
		}
		job, _, err := client.Job(ctx, done.Name, nil)
		if err != nil {
			return err
		}
		w := &watch{env: e, client: client, job: job.Job, version: done.Version, index: done.Index}
		return w.run(ctx)
	}
	return c
}

// payload reads a file of bounded size, or the input.
func (e *Environment) payload(path string) ([]byte, error) {
	in := e.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, structs.MaxPayload+1))
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, path, "it cannot be read: %w", err)
	}
	if len(raw) > structs.MaxPayload {
		return nil, structs.Errorf(structs.Invalid, path, "it is larger than %s, the most that a payload has", structs.Bytes(structs.MaxPayload))
	}
	return raw, nil
}
