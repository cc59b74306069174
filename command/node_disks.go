package command

import (
	"bytes"
	"strings"

	"github.com/proffer/proffer/structs"
)

// writeDisks lists the disks of a node beside its own, with what is free on them and the volumes there.
func writeDisks(b *bytes.Buffer, n *structs.Node) {
	if len(n.Disks) == 0 {
		return
	}
	heading(b, "Disks for volumes")
	free := n.Available()
	t := newTable("DISK", "TYPE", "PATH", "SIZE", "FREE", "VOLUMES", "PROBLEM")
	for _, name := range sortedKeys(n.Disks) {
		d := n.Disks[name]
		var on []string
		for _, volume := range sortedKeys(n.Volumes) {
			if x := n.Volumes[volume]; x.Disk == name || x.Pool == name {
				on = append(on, volume)
			}
		}
		t.row(name, d.Type, orDash(d.Path), d.Size.Human(), structs.DiskSize(free.Custom[structs.DiskResource(name)]).Human(), orDash(strings.Join(on, ",")), orDash(d.Problem))
	}
	t.write(b)
}
