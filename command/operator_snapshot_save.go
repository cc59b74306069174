package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/proffer/proffer/structs"
)

func snapshotSave(e *Environment) *command {
	c := newCommand(e, "operator snapshot save", "FILE", "Save a snapshot of the region").remote()
	c.about = "Save a snapshot of the region to FILE, which is only there once it is whole. FILE must not exist."
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := os.Lstat(args[0]); err == nil {
			return structs.Errorf(structs.Conflict, args[0], "it exists").Advise("give another name")
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
		_, err = fmt.Fprintf(e.Out, "Saved %s (%s).\n", args[0], structs.Bytes(n).Human())
		return err
	}
	return c
}

// saveFile writes all of r to path by way of a file beside it.
func saveFile(path string, r io.Reader) (int64, error) {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, structs.Errorf(structs.Invalid, path, "it cannot be written: %w", err)
	}
	n, err := io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		os.Remove(part)
		return 0, structs.Errorf(structs.Unavailable, path, "the snapshot is not whole: %w", err).Advise("try again")
	}
	return n, nil
}
