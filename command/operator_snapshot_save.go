package command

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/proffer/proffer/client/replace"
	"github.com/proffer/proffer/structs"
)

func snapshotSave(e *Environment) *command {
	c := newCommand(e, "operator snapshot save", "FILE", "Save a snapshot of the region").remote()
	c.about = "Save a snapshot of the region to FILE, which is only there once it is whole. FILE must not exist. Variables, and the secrets\n" +
		"of volumes and tasks, in it are sealed, and the keys are not in it: without them, what is sealed is lost with the servers."
	c.min, c.max = 1, 1
	keys := c.flags.String("keys", "", "save the keys of the variables to this `FILE`, too, in clear")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		for _, path := range []string{args[0], *keys} {
			if err := freeName(path); err != nil {
				return err
			}
		}
		body, err := client.SaveSnapshot(ctx)
		if err != nil {
			return err
		}
		defer body.Close()
		n, err := saveFile(args[0], body)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "Saved %s (%s).\n", args[0], structs.Bytes(n).Human())
		if *keys != "" {
			return exportKeys(ctx, e, client, *keys)
		}
		if list, err := client.RegionKeys(ctx); err == nil && len(list) > 0 {
			fmt.Fprintln(e.Out, "It does not have the keys of the variables in it: save them once with operator key export, after each rotation again.")
		}
		return nil
	}
	return c
}

// freeName refuses the name of what exists; an empty one is none.
func freeName(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return structs.Errorf(structs.Conflict, path, "it exists").Advise("give another name")
	}
	return nil
}

// saveFile writes all of r to path, which is there once it is whole.
func saveFile(path string, r io.Reader) (int64, error) {
	n, err := replace.File(path, r)
	if err != nil {
		return 0, structs.Errorf(structs.Unavailable, path, "it cannot be written: %w", err).Advise("try again")
	}
	return n, nil
}
