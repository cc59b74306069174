package command

import (
	"bytes"
	"context"
	"io"

	"github.com/proffer/proffer/structs"
)

func allocFS(e *Environment) *command {
	c := newCommand(e, "alloc fs", "ALLOC [PATH]", "List a folder of an allocation, or print a file").reads()
	c.about = "List a folder of an allocation, or print a file. PATH is relative to the allocation's folder."
	c.min, c.max = 1, 2
	c.predict = predictAllocs(e)
	job := c.flags.Bool("job", false, "the first argument is the name of a job")
	stat := c.flags.Bool("stat", false, "say what PATH is instead of its content")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		path := ""
		if len(args) == 2 {
			path = args[1]
		}
		alloc, err := allocOf(ctx, client, args[0], *job)
		if err != nil {
			return err
		}
		info, err := client.StatFile(ctx, alloc, path)
		if err != nil {
			return err
		}
		if *stat {
			return c.show(info, func(b *bytes.Buffer) error {
				var d details
				d.add("Name", info.Name)
				d.add("Mode", info.Mode)
				d.add("Size", structs.Bytes(info.Size))
				d.add("Changed", info.Time)
				d.say("Points to", info.Target)
				d.write(b)
				return nil
			})
		}
		if !info.Dir {
			file, err := client.ReadFile(ctx, alloc, path, 0, -1)
			if err != nil {
				return err
			}
			defer file.Close()
			if _, err := io.Copy(e.Out, file); err != nil {
				return structs.Errorf(structs.Unknown, path, "it broke off: %w", err)
			}
			return nil
		}
		list, err := client.ListFiles(ctx, alloc, path)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			t := newTable("MODE", "SIZE", "CHANGED", "NAME")
			for _, f := range list {
				name := f.Name
				if f.Dir {
					name += "/"
				}
				if f.Target != "" {
					name += " -> " + f.Target
				}
				t.row(f.Mode, structs.Bytes(f.Size).Human(), moment(f.Time), name)
			}
			t.write(b)
			return nil
		})
	}
	return c
}
