package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

func jobPlan(e *Environment) *command {
	c := newCommand(e, "job plan", "FILE", "Show what running a job would change").reads()
	c.about = "Show what job run would change, which changes replace running work and which are made in place, where it would\n" +
		"be placed now, and what would be stopped to make room for it. Nothing is changed. FILE - is the input."
	c.min, c.max = 1, 1
	c.predict = complete.PredictFiles("*")
	var file jobFile
	file.flags(c)
	code := c.flags.Bool("exit-code", false, "exit with 10 when something would change")
	c.run = func(ctx context.Context, args []string) error {
		job, err := file.read(e, args[0])
		if err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		plan, diff, err := planOf(ctx, client, job)
		if err != nil {
			return err
		}
		err = c.show(plan, func(b *bytes.Buffer) error { writePlan(b, job.Name, args[0], plan, diff); return nil })
		if err == nil && *code && diff.Kind != "" {
			return exitCode(exitChanges)
		}
		return err
	}
	return c
}

// planOf asks what running a job would change.
func planOf(ctx context.Context, client *api.Client, job *structs.Job) (plan *api.JobPlan, diff spec.Diff, err error) {
	if plan, err = client.PlanJob(ctx, job); err != nil {
		return nil, diff, err
	}
	if err := json.Unmarshal(plan.Diff, &diff); err != nil {
		return nil, diff, structs.Errorf(structs.Internal, "diff", "%w", err)
	}
	return plan, diff, nil
}

// writePlan prints what would change, where it would go, and what would be stopped for it.
func writePlan(b *bytes.Buffer, job, file string, plan *api.JobPlan, diff spec.Diff) {
	if diff.Kind == "" {
		fmt.Fprintf(b, "Job %q: nothing would change (version %d).\n", job, plan.Version)
	} else {
		b.WriteString(clean(strings.TrimRight(plan.Text, "\n")) + "\n")
	}
	if plan.Explanation != nil {
		b.WriteByte('\n')
		writeExplanation(b, plan.Explanation)
	} else if plan.Unexplained != "" {
		fmt.Fprintf(b, "\nWhere it would go is not known now: %s\n", clean(plan.Unexplained))
	}
	fmt.Fprintf(b, "\nTo run exactly this: proffer job run -check %d %s\n", plan.Version, file)
}
