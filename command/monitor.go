package command

import (
	"context"
	"io"

	"github.com/posener/complete"

	"github.com/proffer/proffer/structs"
)

func monitor(e *Environment) *command {
	c := newCommand(e, "monitor", "", "Follow the log of the agent").remote()
	level := c.flags.String("level", "info", "`LEVEL` of lines to show: debug, info, warn or error")
	asJSON := c.flags.Bool("json", false, "lines of JSON")
	c.predict = complete.PredictNothing
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		body, err := client.Monitor(ctx, *level, *asJSON)
		if err != nil {
			return err
		}
		defer body.Close()
		if _, err := io.Copy(e.Out, body); err != nil {
			return structs.Errorf(structs.Unavailable, "log", "it broke off: %w", err)
		}
		return nil
	}
	return c
}
