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
	forget := c.flags.Bool("forget", false, "of volumes of a plugin: forget them without asking the plugin, for one that is gone; what the storage has of them stays there")
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
			if *forget {
				if _, err := client.DeleteVolume(ctx, name, nil, true); err != nil {
					return err
				}
				fmt.Fprintf(e.Out, "Volume %q is forgotten. What its storage has of it stays there.\n", name)
				continue
			}
			if _, err := client.DeleteVolume(ctx, name, &stays, false); err != nil {
				return err
			}
			fmt.Fprintf(e.Out, "Volume %q is deleted.%s\n", name, left(client.Volume(ctx, name, nil)))
		}
		return nil
	}
	return c
}

// left says what is left of a volume that was deleted, from what the region has of it then.
func left(v *api.VolumeDetail, _ *api.Meta, err error) string {
	switch {
	case structs.KindOf(err) == structs.NotFound:
		return " Nothing is left of it."
	case err != nil: // it may not be looked at
	case v.Status == structs.VolumePurging:
		return " Its data is removed."
	case v.Status == structs.VolumeDeleted:
		return fmt.Sprintf(" Its data stays until %s: volume undelete takes it back.", v.Purge)
	}
	return ""
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
	c.about = "Change how much of the disk of its node a volume takes. It can become smaller only while nothing uses it; one of a plugin\n" +
		"cannot, but a size that its plugin has not given it yet can be taken back."
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
		if v, _, err := client.Volume(ctx, args[0], nil); err == nil && v.CSI != nil && v.CSI.Capacity < size {
			_, err = fmt.Fprintf(e.Out, "Volume %q is to have %s: volume status shows when its plugin has made it so.\n", args[0], size.Human())
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Volume %q has %s.\n", args[0], size.Human())
		return err
	}
	return c
}
