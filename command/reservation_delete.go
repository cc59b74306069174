package command

import (
	"context"
	"fmt"
)

func reservationDelete(e *Environment) *command {
	c := newCommand(e, "reservation delete", "ID...", "Release what is reserved").remote()
	c.about = "Release what is reserved, by id or the beginning of it. What runs in it goes on, as any other work."
	c.min, c.max = 1, -1
	c.predict = predictReservations(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		for _, id := range args {
			if _, err := client.Unreserve(ctx, id); err != nil {
				return err
			}
			fmt.Fprintf(e.Out, "Reservation %s is released.\n", id)
		}
		return nil
	}
	return c
}
