package command

import (
	"bytes"
	"context"
	"fmt"
)

func nodeStats(e *Environment) *command {
	c := newCommand(e, "node stats", "NODE", "Show what a node uses").reads()
	c.about = "Show what the tasks of a node use together now, its disk, its GPUs, and how much of the last ten seconds the machine\nstood still for want of something."
	c.min, c.max = 1, 1
	c.predict = predictNodes(e)
	c.run = func(ctx context.Context, args []string) error {
		client, id, err := e.clientNode(ctx, args[0])
		if err != nil {
			return err
		}
		s, err := client.NodeStats(ctx, id)
		if err != nil {
			return err
		}
		return c.show(s, func(b *bytes.Buffer) error {
			var d details
			d.add("Tasks", fmt.Sprintf("%d in %s, %d processes and threads", s.Tasks, counted(s.Allocs, "allocation", "allocations"), s.Pids))
			d.add("Disk", fmt.Sprintf("%s free of %s", s.DiskFree.Human(), s.DiskTotal.Human()))
			d.add("Read, written", s.IO.ReadBytes.Human()+", "+s.IO.WriteBytes.Human()+" by tasks that run")
			d.add("Throttled", fmt.Sprintf("%s by cpu_limit", rounded(s.Throttled)))
			d.add("OOM kills", s.OOMKills)
			d.write(b)
			b.WriteByte('\n')
			t := newTable("RESOURCE", "USED", "RESERVED", "OF", "STALL SOME", "STALL FULL")
			some, full := [3]string{}, [3]string{}
			if p := s.Pressure; p != nil {
				some = [3]string{percent(p.CPU.Some), percent(p.Memory.Some), percent(p.IO.Some)}
				full = [3]string{percent(p.CPU.Full), percent(p.Memory.Full), percent(p.IO.Full)}
			}
			t.row("cpu", s.CPU, s.Held.CPU, s.Resources.CPU, some[0], full[0])
			t.row("memory", s.Memory.Human(), s.Held.Memory.Human(), s.Resources.Memory.Human(), some[1], full[1])
			t.row("disk", "", s.Held.Disk.Human(), s.Resources.Disk.Human(), some[2], full[2])
			t.write(b)
			if len(s.GPUs) > 0 {
				b.WriteByte('\n')
				t := newTable("GPU", "BUSY", "MEMORY")
				for _, g := range s.GPUs {
					t.row(g.ID, percent(g.Busy), g.Memory.Human()+" of "+g.MemoryTotal.Human())
				}
				t.write(b)
			}
			return nil
		})
	}
	return c
}
