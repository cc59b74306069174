package command

import (
	"bytes"
	"context"

	"github.com/proffer/proffer/agent/api"
)

// writeMore shows what not every driver and host can say.
func writeMore(b *bytes.Buffer, stats *api.AllocStats) {
	t := newTable("TASK", "FOLDER", "READ", "WRITTEN", "CPU STALL", "MEMORY STALL", "IO STALL")
	gpus := newTable("TASK", "GPU", "BUSY", "MEMORY")
	devices, rows := 0, 0
	for _, name := range sortedKeys(stats.Tasks) {
		s := stats.Tasks[name]
		if s == nil {
			continue
		}
		for _, g := range s.GPUs {
			gpus.row(name, g.ID, percent(g.Busy), g.Memory.Human()+" of "+g.MemoryTotal.Human())
			devices++
		}
		if s.IO == nil && s.Pressure == nil && s.Disk == 0 {
			continue
		}
		rows++
		read, written, cpu, memory, io := "", "", "", "", ""
		if s.IO != nil {
			read, written = s.IO.ReadBytes.Human(), s.IO.WriteBytes.Human()
		}
		if p := s.Pressure; p != nil {
			cpu, memory, io = percent(p.CPU.Some), percent(p.Memory.Some), percent(p.IO.Some)
		}
		t.row(name, s.Disk.Human(), read, written, cpu, memory, io)
	}
	if rows > 0 {
		b.WriteByte('\n')
		t.write(b)
	}
	if devices > 0 {
		b.WriteByte('\n')
		gpus.write(b)
	}
}

func allocStats(e *Environment) *command {
	c := newCommand(e, "alloc stats", "ALLOC", "Show what the tasks of an allocation use").reads()
	c.min, c.max = 1, 1
	c.predict = predictAllocs(e)
	job := c.flags.Bool("job", false, "the argument is the name of a job")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		alloc, err := allocOf(ctx, client, args[0], *job)
		if err != nil {
			return err
		}
		stats, err := client.AllocationStats(ctx, alloc)
		if err != nil {
			return err
		}
		return c.show(stats, func(b *bytes.Buffer) error {
			if len(stats.Tasks) == 0 {
				b.WriteString("None of its tasks runs.\n")
				return nil
			}
			t := newTable("TASK", "CPU", "CPU TIME", "THROTTLED", "MEMORY", "PEAK", "LIMIT", "OOM KILLS", "PIDS")
			for _, name := range sortedKeys(stats.Tasks) {
				s := stats.Tasks[name]
				if s == nil {
					continue
				}
				t.row(name, s.CPU, rounded(s.CPUTime), rounded(s.Throttled), s.Memory.Human(), s.MemoryMax.Human(), s.Limit.Human(), s.OOMKills, s.Pids)
			}
			t.write(b)
			writeMore(b, stats)
			return nil
		})
	}
	return c
}
