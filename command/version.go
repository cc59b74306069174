package command

import (
	"context"
	"fmt"
)

func version(e *Environment) *command {
	c := newCommand(e, "version", "", "Print the version")
	c.run = func(context.Context, []string) error {
		_, err := fmt.Fprintln(e.Out, "Proffer "+e.Version)
		return err
	}
	return c
}
