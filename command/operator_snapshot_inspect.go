package command

import (
	"bytes"
	"context"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent"
	"github.com/proffer/proffer/agent/api"
)

func snapshotInspect(e *Environment) *command {
	c := newCommand(e, "operator snapshot inspect", "FILE", "Say what is in a snapshot")
	c.about = "Check a snapshot and say what is in it. No agent is needed."
	c.min, c.max = 1, 1
	c.prints()
	c.predict = complete.PredictFiles("*")
	c.run = func(_ context.Context, args []string) error {
		f, err := openFile(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := agent.InspectSnapshot(f)
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
	d.add("Time", moment(info.Time))
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
