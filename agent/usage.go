package agent

import (
	"time"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// usageFigures has what the tasks of the node use together, how the machine is, and, for as many tasks as the configuration says, each.
func usageFigures(gauge func(name, help string, v float64, labels ...string), u *client.Usage) {
	seconds := func(d structs.Duration) float64 { return time.Duration(d).Seconds() }
	gauge("client_throttled_seconds", "Time that running tasks were held back by their cpu_limit.", seconds(u.Throttled))
	gauge("client_oom_kills", "Processes of running tasks that the kernel killed for their memory.", float64(u.OOMKills))
	gauge("client_pids", "Processes and threads of tasks.", float64(u.Pids))
	gauge("client_read_bytes", "What running tasks read from disks.", float64(u.IO.ReadBytes))
	gauge("client_written_bytes", "What running tasks wrote to disks.", float64(u.IO.WriteBytes))
	if p := u.Pressure; p != nil {
		for what, s := range map[string]drivers.Stall{"cpu": p.CPU, "memory": p.Memory, "io": p.IO} {
			const help = "Time in which some, or all, work of the machine stood still for want of something (PSI)."
			gauge("client_pressure_seconds", help, seconds(s.SomeTotal), "resource", what, "of", "some")
			gauge("client_pressure_seconds", help, seconds(s.FullTotal), "resource", what, "of", "full")
		}
	}
	for _, g := range u.GPUs {
		gauge("client_gpu_busy", "Part of the time in which a GPU worked, 0 to 1.", float64(g.Busy)/1000, "gpu", g.ID)
		gauge("client_gpu_memory_bytes", "Memory of a GPU in use.", float64(g.Memory), "gpu", g.ID)
	}
	for _, t := range u.Each {
		of := func(name, help string, v float64) {
			gauge(name, help, v, "alloc", string(t.Alloc), "job", t.Job, "group", t.Group, "task", t.Task)
		}
		of("task_cpu_seconds", "CPU time of a task.", seconds(t.Stats.CPUTime))
		of("task_throttled_seconds", "Time that a task was held back by its cpu_limit.", seconds(t.Stats.Throttled))
		of("task_memory_bytes", "Memory of a task.", float64(t.Stats.Memory))
		of("task_oom_kills", "Processes of a task that the kernel killed for their memory.", float64(t.Stats.OOMKills))
		of("task_pids", "Processes and threads of a task.", float64(t.Stats.Pids))
		if io := t.Stats.IO; io != nil {
			of("task_read_bytes", "What a task read from disks.", float64(io.ReadBytes))
			of("task_written_bytes", "What a task wrote to disks.", float64(io.WriteBytes))
		}
	}
}
