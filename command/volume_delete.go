package command

import (
	"context"
	"fmt"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func volumeDelete(e *Environment) *command {
	c := newCommand(e, "volume delete", "NAME...", "Delete volumes").remote()
	c.about = "Delete volumes that nothing uses. Their data stays for some time, in which volume undelete takes it back."
	c.min, c.max = 1, -1
	c.predict = predictVolumes(e)
	keep := c.flags.String("keep", "72h", "`TIME` that the data stays")
	purge := c.flags.Bool("purge", false, "remove the data now, also of what was deleted before")
	c.run = func(ctx context.Context, args []string) error {
		stays, err := structs.ParseDuration(*keep)
		if err != nil {
			return usagef("-keep: %s", err)
		}
		if *purge {
			stays = 0
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		for _, name := range args {
			if _, err := client.DeleteVolume(ctx, name, &stays); err != nil {
				return err
			}
			what := "Its data is removed."
			if stays > 0 {
				what = fmt.Sprintf("Its data stays for %s: volume undelete takes it back.", stays)
			}
			fmt.Fprintf(e.Out, "Volume %q is deleted. %s\n", name, what)
		}
		return nil
	}
	return c
}

func volumeUndelete(e *Environment) *command {
	c := newCommand(e, "volume undelete", "NAME...", "Take deleted volumes back").remote()
	c.min, c.max = 1, -1
	c.predict = predictVolumes(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		for _, name := range args {
			if _, err := client.UndeleteVolume(ctx, name); err != nil {
				return err
			}
			fmt.Fprintf(e.Out, "Volume %q can be used again.\n", name)
		}
		return nil
	}
	return c
}

func volumeResize(e *Environment) *command {
	c := newCommand(e, "volume resize", "NAME SIZE", "Change the size of a volume").remote()
	c.about = "Change how much of the disk of its node a volume takes. It can become smaller only while nothing uses it."
	c.min, c.max = 2, 2
	c.predict = predictVolumes(e)
	c.run = func(ctx context.Context, args []string) error {
		size, err := structs.ParseBytes(args[1])
		if err != nil {
			return usagef("SIZE: %s", err)
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.ResizeVolume(ctx, args[0], &api.VolumeResize{Size: size}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Volume %q has %s.\n", args[0], size.Human())
		return err
	}
	return c
}
