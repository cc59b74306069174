package command

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
)

func version(e *Environment) *command {
	c := newCommand(e, "version", "", "Print the version").prints()
	c.run = func(context.Context, []string) error {
		about := map[string]string{"version": e.Version, "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH}
		return c.show(about, func(b *bytes.Buffer) error {
			fmt.Fprintln(b, "Proffer "+e.Version)
			return nil
		})
	}
	return c
}
