package command

import (
	"bytes"
	"context"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

func jobInspect(e *Environment) *command {
	c := newCommand(e, "job inspect", "JOB", "Print the text of a job").reads()
	c.about = "Print the text of a job as HCL that job run takes, with the defaults written out; with -json as JSON that it takes too."
	c.min, c.max = 1, 1
	c.predict = predictJobs(e)
	number := c.flags.Uint64("version", 0, "`VERSION` to print. Default: the newest")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		versions, _, err := client.JobVersions(ctx, args[0], nil)
		if err != nil {
			return err
		}
		var job *structs.Job
		for _, v := range versions {
			if *number == 0 || v.Version == *number {
				job = v.Job
				break
			}
		}
		if job == nil {
			return structs.Errorf(structs.NotFound, `job "`+args[0]+`"`, "version %d is not kept", *number).
				Advise("proffer job history %s lists those that are", args[0])
		}
		return c.show(job, func(b *bytes.Buffer) error { b.Write(spec.FormatHCL(job)); return nil })
	}
	return c
}
