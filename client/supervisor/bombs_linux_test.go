//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// launcher makes and starts tasks that run shell scripts: processes of the host, or containers.
type launcher struct {
	*node
	spec  func(script string, pids int, memory structs.Bytes) *drivers.Spec // 0: as usual
	start func(*drivers.Spec) drivers.Task
}

// counting is a task that counts, and advanced returns once it has counted on by some: whoever waits for that knows that it answers.
func (l launcher) counting() (task drivers.Task, advanced func()) {
	l.t.Helper()
	s := l.spec(`i=0; while :; do i=$((i+1)); echo $i > /alloc/new; mv /alloc/new /alloc/count; done`, 0, 0)
	task = l.start(s)
	read := func() int {
		raw, _ := os.ReadFile(filepath.Join(s.AllocDir, "count"))
		i, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
		return i
	}
	ticker := time.NewTicker(time.Millisecond)
	l.t.Cleanup(ticker.Stop)
	return task, func() {
		l.t.Helper()
		for from := read(); read() < from+20; <-ticker.C {
			if l.ctx.Err() != nil {
				l.fatalf("the neighbour stands still at %d", from)
			}
		}
	}
}

// latencies are how long a neighbour took for something, again and again.
type latencies []time.Duration

func (l *latencies) of(f func()) {
	begin := time.Now()
	f()
	*l = append(*l, time.Since(begin))
}

func (l latencies) String() string {
	slices.Sort(l)
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("p50 %s, worst %s of %d", round(l[len(l)/2]), round(l[len(l)-1]), len(l))
}

// besideBombs lets tasks bomb with processes and memory and fill a disk: their neighbour goes on, and new tasks start.
func (l launcher) besideBombs() {
	t := l.t
	neighbour, advanced := l.counting()
	var calm, bombed latencies
	for range 10 {
		calm.of(advanced)
	}
	forks := l.spec(`bomb() { while :; do (setsid sh -c "sleep 100000; :" &); done 2>/dev/null; }; trap '' TERM; bomb & bomb & echo ready; exec sleep 100000`, 60, 0)
	memory := l.spec(`echo ready; while :; do tail /dev/zero; done`, 0, 32<<20)
	disk := l.spec(`echo ready; while :; do dd if=/dev/zero of=/fill/x bs=64k 2>/alloc/said; mv /alloc/said /alloc/full; done`, 0, 0)
	disk.Task.Tmpfs = []*structs.Tmpfs{{Destination: "/fill", Size: 4 << 20}}
	tasks := []drivers.Task{neighbour}
	for _, s := range []*drivers.Spec{forks, memory, disk} {
		tasks = append(tasks, l.start(s))
		l.until(s, "ready")
	}
	stats := func(i int) *drivers.Stats {
		s, err := tasks[i].Stats(l.ctx)
		if err != nil {
			l.fatalf("%v", err)
		}
		return s
	}
	full := func() bool { // the fork bomb is at its limit, the other has burst, and the disk is full
		said, _ := os.ReadFile(filepath.Join(disk.AllocDir, "full"))
		return stats(1).Pids >= 50 && stats(2).OOMKills >= 3 && strings.Contains(string(said), "No space left on device")
	}
	for !full() || len(bombed) < 5 {
		bombed.of(advanced)
	}
	t.Logf("the neighbour's latency for 20 writes: %s; beside bombs: %s", calm, bombed)
	if most := stats(1).Pids; most > 60 {
		t.Errorf("the fork bomb has %d processes of 60", most)
	}
	another := l.spec(`echo here`, 0, 0)
	last := l.start(another)
	if exit := l.wait(last); exit.Code != 0 || l.output(another, logs.Stdout) != "here\n" {
		t.Errorf("another task: %+v %q", exit, l.output(another, logs.Stdout))
	}
	for _, task := range tasks[1:] {
		if err := task.Stop(l.ctx, "SIGKILL", 0); err != nil {
			t.Error(err)
		}
		l.wait(task)
	}
	advanced()
	if err := neighbour.Stop(l.ctx, "SIGKILL", 0); err != nil {
		t.Error(err)
	}
	for _, task := range append(tasks, last) {
		if err := task.Destroy(l.ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestANeighbourOfBombs(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	launcher{n, func(script string, pids int, memory structs.Bytes) *drivers.Spec {
		s := n.spec(script)
		if pids > 0 {
			s.Task.Config["pids"] = pids
		}
		if memory > 0 {
			s.Memory, s.MemoryMax = memory, memory
		}
		return s
	}, n.start}.besideBombs()
}

// TestOCINeighbourOfBombs: the same between containers.
func TestOCINeighbourOfBombs(t *testing.T) {
	p := newPier(t)
	driver := p.driver() // as an agent's it asks the runtime once, and not beside bombs
	launcher{p.node, func(script string, pids int, memory structs.Bytes) *drivers.Spec {
		s := p.container(script, nil)
		if pids > 0 {
			s.Task.Config["pids"] = pids
		}
		if memory > 0 {
			s.Memory, s.MemoryMax = memory, memory
		}
		return s
	}, func(s *drivers.Spec) drivers.Task {
		t.Helper()
		task, err := driver.Start(p.ctx, s)
		if err != nil {
			p.fatalf("start: %v", err)
		}
		return task
	}}.besideBombs()
}
