package command

import (
	"context"
	"fmt"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func volumeDetach(e *Environment) *command {
	c := newCommand(e, "volume detach", "NAME NODE", "Free a volume of a plugin from a node that is cut off").remote()
	c.about = "Say that nothing on NODE writes to volume NAME of a plugin any more, such as when the machine is switched off. The region then forgets\n" +
		"that the volume is attached there, without asking its storage, and lets others write to it. If something there still writes, the\n" +
		"volume has two writers, and what is in it may be destroyed."
	c.min, c.max = 2, 2
	c.predict = predictVolumes(e)
	force := c.flags.Bool("force", false, "nothing on the node writes to the volume: I have made sure")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if !*force {
			return structs.Errorf(structs.Invalid, fmt.Sprintf("volume %q", args[0]), "the region takes your word that nothing on node %s writes to it", args[1]).
				Advise("make sure of that, and then add -force; a volume that nothing uses is detached by itself")
		}
		if _, err := client.DetachVolume(ctx, args[0], &api.VolumeDetach{Node: args[1]}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Volume %q is not attached to node %s any more.\n", args[0], args[1])
		return err
	}
	return c
}
