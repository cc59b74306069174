package command

import (
	"context"
	"fmt"

	"github.com/posener/complete"
)

func jobValidate(e *Environment) *command {
	c := newCommand(e, "job validate", "FILE", "Check a job without an agent")
	c.about = "Check a job file, driver configuration included, and print all that is wrong. It needs no agent. FILE - is the input."
	c.min, c.max = 1, 1
	c.predict = complete.PredictFiles("*")
	var file jobFile
	file.flags(c)
	c.run = func(_ context.Context, args []string) error {
		job, err := file.read(e, args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Job %q is valid: %s, %s.\n", job.Name, job.Type, counted(len(job.Groups), "group", "groups"))
		return err
	}
	return c
}
