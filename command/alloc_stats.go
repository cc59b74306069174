package command

import (
	"bytes"
	"context"
)

func allocStats(e *Environment) *command {
	c := newCommand(e, "alloc stats", "ALLOC", "Show what the tasks of an allocation use").reads()
	c.min, c.max = 1, 1
	c.predict = predictAllocs(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		stats, err := client.AllocationStats(ctx, args[0])
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
			return nil
		})
	}
	return c
}
