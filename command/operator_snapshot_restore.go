package command

import (
	"context"
	"fmt"
	"os"

	"github.com/posener/complete"
)

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
		fmt.Fprintf(e.Out, "Restored the state of index %d.\n", info.Index)
		if list, err := client.RegionKeys(ctx); err == nil {
			if lost := lostKeys(list); lost != "" {
				fmt.Fprintln(e.Out, lost)
			}
		}
		return nil
	}
	return c
}

func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return f, nil
}
