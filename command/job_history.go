package command

import (
	"bytes"
	"context"
	"fmt"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

func jobHistory(e *Environment) *command {
	c := newCommand(e, "job history", "JOB", "List the versions of a job").reads()
	c.min, c.max = 1, 1
	c.predict = predictJobs(e)
	diffs := c.flags.Bool("p", false, "show what each version changed")
	revert := c.flags.Uint64("revert", 0, "submit `VERSION` again as a new one")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if *revert > 0 {
			done, err := client.RevertJob(ctx, args[0], *revert)
			if err != nil {
				return err
			}
			return c.show(done, func(b *bytes.Buffer) error {
				fmt.Fprintf(b, "Job %q has the text of version %d again, as version %d.\n", args[0], *revert, done.Version)
				return nil
			})
		}
		versions, _, err := client.JobVersions(ctx, args[0], nil)
		if err != nil {
			return err
		}
		return c.show(versions, func(b *bytes.Buffer) error {
			if *diffs {
				writeDiffs(b, versions)
				return nil
			}
			t := newTable("VERSION", "BY", "AGE", "GROUPS")
			for _, v := range versions {
				t.row(v.Version, orDash(v.Actor), age(e.Now(), v.Time), len(v.Job.Groups))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func writeDiffs(b *bytes.Buffer, versions []*structs.JobVersion) {
	for i, v := range versions {
		fmt.Fprintf(b, "Version %d, by %s, %s\n", v.Version, orDash(cell(v.Actor)), moment(v.Time))
		if i+1 < len(versions) {
			b.WriteString(indent(clean(spec.Compare(versions[i+1].Job, v.Job).Text()), "  "))
			b.WriteString("\n\n")
		}
	}
}
