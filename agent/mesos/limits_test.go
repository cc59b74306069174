package mesos

import (
	"math"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Limits of tasks: of a command they are its own, of a custom executor's they count for the process; Infinity is none.
func TestLimitsOfTasks(t *testing.T) {
	inf := math.Inf(1)
	x := &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "x"}, Command: &wire.CommandInfo{Value: new("run")}}
	for _, c := range []struct {
		limits map[string]float64
		want   string
	}{
		{nil, "0 0"},
		{map[string]float64{"cpus": 1, "mem": 32}, "1 32MiB"},
		{map[string]float64{"cpus": 2.5, "mem": 64}, "2.5 64MiB"},
		{map[string]float64{"cpus": inf, "mem": inf}, "all all"},
		{map[string]float64{"cpus": 0.5}, "refused: the limit of 'cpus' is below"},
		{map[string]float64{"mem": 31}, "refused: the limit of 'mem' is below"},
		{map[string]float64{"mem": 0}, "refused: the limit of 'mem' is below"},
		{map[string]float64{"mem": -inf}, "refused: limit of 'mem'"},
		{map[string]float64{"gpus": 1}, "refused: 'gpus' has no limits"},
	} {
		for _, e := range both {
			task := taskInfo("one", func(t *wire.TaskInfo) {
				t.Limits = map[string]*wire.Scalar{}
				for name, most := range c.limits {
					t.Limits[name] = &wire.Scalar{Value: most}
				}
			})
			draw := func(cpu structs.Milli, memory structs.Bytes) string {
				out := cpu.String() + " " + memory.String()
				if cpu >= structs.Boundless {
					out = "all " + memory.String()
				}
				if memory >= structs.Boundless {
					out = strings.TrimSuffix(out, memory.String()) + "all"
				}
				return strings.ReplaceAll(out, "0B", "0")
			}
			got := ""
			if l, err := launchOf(spark, sent(t, e, task)); err != nil {
				got = "refused: " + err.Error()
			} else {
				r := l.Group.Tasks[0].Resources
				got = draw(r.CPULimit, r.MemoryMax)
			}
			want := strings.Replace(c.want, "all all", "0 all", 1) // to a driver no limit of CPU is 0
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: a command with limits %v: %s, want %s", e.ContentType(), c.limits, got, want)
			}
			task.Command, task.Executor = nil, x
			if l, err := launchOf(spark, sent(t, e, task)); err != nil {
				got = "refused: " + err.Error()
			} else {
				got = draw(l.External.Tasks[0].CPULimit, l.External.Tasks[0].MemoryMax)
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: a task of an executor with limits %v: %s, want %s", e.ContentType(), c.limits, got, c.want)
			}
		}
	}
}
