package operator

import (
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// containers lists what runs on the node, with what it uses. Those of the tasks of an allocation that has several are in that of the
// allocation, and are listed for themselves where nested asks for them; those that an operator launched within no other where alone does.
func (l *local) containers(used *client.Usage, nested, alone bool) (out []wire.Container) {
	type key struct {
		alloc structs.AllocID
		task  string
	}
	measured := map[key]*drivers.Stats{}
	for _, u := range used.Each {
		measured[key{u.Alloc, u.Task}] = u.Stats
	}
	for i := range l.known {
		k := &l.known[i]
		if k.Ended != 0 {
			continue
		}
		a := k.Alloc
		own := ""
		if k.Job != nil {
			own = mesos.ContainerID(l.node.ID, k.Job.Job)
		}
		if own != "" && !alone {
			continue
		}
		name, _ := l.executor(k)
		all := wire.Container{FrameworkID: new(id(a.Framework)), ExecutorID: &wire.ID{Value: executorOf(a)}, ExecutorName: &name,
			ContainerID: wire.ContainerID{Value: string(a.ID)}}
		if own != "" {
			all = wire.Container{ContainerID: wire.ContainerID{Value: own}}
		}
		all.Status = l.containerStatus(a, all.ContainerID)
		var sum *drivers.Stats
		var parts []wire.Container
		for _, task := range k.Tasks {
			s := measured[key{a.ID, task}]
			if s == nil {
				continue // it does not run
			}
			sum = together(sum, s)
			if nested && several(k) {
				part := all
				part.ContainerID = wire.ContainerID{Value: string(a.ID) + "." + task, Parent: &wire.ContainerID{Value: string(a.ID)}}
				part.Status = l.containerStatus(a, part.ContainerID)
				part.Statistics = statistics(s, structs.Resources{})
				parts = append(parts, part)
			}
		}
		if sum == nil {
			continue
		}
		all.Statistics = statistics(sum, a.Resources)
		out = append(append(out, all), parts...)
	}
	return out
}

// containerStatus says where what is in a container is reached.
func (l *local) containerStatus(a *structs.Allocation, container wire.ContainerID) *wire.ContainerStatus {
	out := &wire.ContainerStatus{ContainerID: &container}
	l.tasks(a, func(t *task) bool {
		out.NetworkInfos = l.networks(t)
		return false // one speaks for all: they share a network
	})
	return out
}

// together adds up what two tasks use. sum may be nil, and is the caller's otherwise.
func together(sum, s *drivers.Stats) *drivers.Stats {
	if sum == nil {
		own := *s
		return &own
	}
	sum.Time = max(sum.Time, s.Time)
	sum.CPUTime += s.CPUTime
	sum.Throttled += s.Throttled
	sum.Memory += s.Memory
	sum.Pids += s.Pids
	return sum
}

// statistics has what is measured by the names of Mesos; limits are what was asked for. The node measures the time of user and system
// together.
func statistics(s *drivers.Stats, limits structs.Resources) *wire.ResourceStatistics {
	memory := uint64(s.Memory)
	out := &wire.ResourceStatistics{Timestamp: float64(s.Time) / 1e9, CPUUser: new(s.CPUTime.Std().Seconds()), CPUSystem: new(0.0),
		CPUThrottled: new(s.Throttled.Std().Seconds()), MemRSS: &memory, MemTotal: &memory, Threads: new(uint32(max(s.Pids, 0)))}
	if limits.CPU > 0 {
		out.CPULimit = new(float64(limits.CPU) / 1000)
	}
	if limits.Memory > 0 {
		out.MemLimit = new(uint64(limits.Memory))
	}
	if limits.Disk > 0 {
		out.DiskLimit = new(uint64(limits.Disk))
	}
	return out
}

// list writes containers as /containers and /monitor/statistics list them.
func (l *local) list(e *encoder, all []wire.Container) {
	sources := map[string]string{}
	for i := range l.known {
		_, sources[string(l.known[i].Alloc.ID)] = l.executor(&l.known[i])
	}
	e.open('[')
	for i := range all {
		c := &all[i]
		root := c.ContainerID.Value
		if c.ContainerID.Parent != nil {
			root = c.ContainerID.Parent.Value
		}
		e.open('{')
		e.textAt("container_id", c.ContainerID.Value)
		e.textAt("executor_id", c.ExecutorID.Value)
		e.textAt("executor_name", wire.TextOf(c.ExecutorName))
		e.textAt("framework_id", c.FrameworkID.Value)
		e.textAt("source", sources[root])
		e.key("statistics")
		e.raw(wire.JSON.Marshal(c.Statistics))
		e.key("status")
		e.raw(wire.JSON.Marshal(c.Status))
		e.close('}')
		e.part()
	}
	e.close(']')
}
