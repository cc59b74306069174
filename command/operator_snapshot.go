package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
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

func snapshotRestore(e *Environment) *command {
	c := newCommand(e, "operator snapshot restore", "FILE", "Replace the state of the region").remote()
	c.about = "Replace the state of the region with that of a snapshot, which is checked first. What runs on nodes and is not in the\nsnapshot is quarantined and reported, not killed."
	c.min, c.max = 1, 1
	c.predict = complete.PredictFiles("*")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		f, err := openFile(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := client.RestoreSnapshot(ctx, f)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Restored the state of index %d.\n", info.Index)
		return err
	}
	return c
}

func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, structs.Errorf(structs.NotFound, path, "it cannot be read: %w", err)
	}
	return f, nil
}

func snapshotInspect(e *Environment) *command {
	c := newCommand(e, "operator snapshot inspect", "FILE", "Say what is in a snapshot").reads()
	c.min, c.max = 1, 1
	c.predict = complete.PredictFiles("*")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		f, err := openFile(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := client.InspectSnapshot(ctx, f)
		if err != nil {
			return err
		}
		return c.show(info, func(b *bytes.Buffer) error { writeSnapshot(b, info); return nil })
	}
	return c
}

func writeSnapshot(b *bytes.Buffer, info *api.SnapshotInfo) {
	var d details
	d.add("Region", info.Region)
	d.say("Generation", info.Generation)
	d.add("Index", info.Index)
	d.add("Term", info.Term)
	d.add("Time", info.Time)
	d.add("Format", info.Version)
	d.add("Size", info.Size.Human())
	d.add("SHA-256", info.SHA256)
	d.write(b)
	heading(b, "Records")
	t := newTable("TABLE", "RECORDS")
	for _, name := range sortedKeys(info.Records) {
		t.row(name, info.Records[name])
	}
	t.write(b)
}
