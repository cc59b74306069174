package command

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

func volumeStatus(e *Environment) *command {
	c := newCommand(e, "volume status", "NAME", "Show a volume and who has it").reads()
	c.min, c.max = 1, 1
	c.predict = predictVolumes(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		v, _, err := client.Volume(ctx, args[0], nil)
		if err != nil {
			return err
		}
		return c.show(v, func(b *bytes.Buffer) error {
			line := func(name string, value any) { fmt.Fprintf(b, "%-9s %v\n", name, value) }
			line("Name", v.Name)
			line("ID", v.ID)
			line("Status", volumeState(&v.Volume))
			line("Size", v.Size.Human())
			line("Access", v.Access)
			line("Role", v.Role)
			if v.CSI != nil {
				showPlugin(line, v.CSI)
			} else if v.Node == "" {
				line("Node", "none yet: where the first work that uses it goes")
			} else {
				line("Node", fmt.Sprintf("%s (%s)", v.NodeName, structs.Short(v.Node)))
			}
			if v.Disk != "" {
				line("Disk", v.Disk)
			}
			if v.Persistence != "" {
				line("Offered", fmt.Sprintf("to frameworks of role %s as %q", v.Role, v.Persistence))
			}
			if v.Orphaned != 0 {
				line("Orphaned", fmt.Sprintf("its framework went at %s; it stays until it is deleted", v.Orphaned))
			}
			line("Made", fmt.Sprintf("%s by %s", v.Made, orDash(madeBy(&v.Volume))))
			for _, name := range slices.Sorted(maps.Keys(v.Labels)) {
				line("Label", name+"="+v.Labels[name])
			}
			b.WriteByte('\n')
			if len(v.Claims) == 0 {
				b.WriteString("Nothing uses it.\n")
				return nil
			}
			t := newTable("ALLOC", "JOB", "GROUP", "INDEX", "STATUS", "USE", "FENCING NUMBER")
			for _, x := range v.Claims {
				use := "writes"
				if x.ReadOnly {
					use = "reads"
				}
				if x.Alone {
					use += ", alone"
				}
				t.row(structs.Short(x.Alloc), x.Job, x.Group, x.Index, x.Status, use, x.Incarnation)
			}
			t.write(b)
			return nil
		})
	}
	return c
}

// showPlugin shows what a volume is to its plugin, and the nodes that it is attached to.
func showPlugin(line func(string, any), c *structs.CSIVolume) {
	line("Plugin", c.Plugin)
	line("Storage", orDash(c.External))
	if c.Block {
		line("Used as", "a block device")
	}
	if c.Unchecked {
		line("Checked", "not yet: its plugin is asked whether it has it before anything uses it")
	}
	if c.Capacity > 0 {
		line("Capacity", c.Capacity.Human())
	}
	for _, id := range slices.Sorted(maps.Keys(c.Attached)) {
		at := c.Attached[id]
		line("Node", fmt.Sprintf("%s (%s): %s since %s", at.NodeName, structs.Short(id), at.State, at.Since))
		if at.Unfenced != "" {
			line("Unfenced", fmt.Sprintf("allocation %s on node %s, which is cut off, may still write to it; nobody else may until its end is known", structs.Short(at.Unfenced), at.NodeName))
		}
	}
	if c.Error != "" {
		line("Trouble", c.Error)
	}
}

func madeBy(v *structs.Volume) string {
	if v.Job != "" {
		return fmt.Sprintf("job %q", v.Job)
	}
	if v.Framework != "" {
		return "framework " + string(v.Framework)
	}
	return v.Principal
}
