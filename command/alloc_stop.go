package command

import (
	"context"
	"fmt"
)

func allocStop(e *Environment) *command {
	c := newCommand(e, "alloc stop", "ALLOC", "Stop an allocation").remote()
	c.about = "Stop an allocation. Its job places another one if it still wants it."
	c.min, c.max = 1, 1
	c.predict = predictAllocs(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.StopAllocation(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Allocation %s is being stopped.\n", args[0])
		return err
	}
	return c
}
