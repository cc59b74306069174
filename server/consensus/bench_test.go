//go:build unix

package consensus

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// benchCluster is three servers in this process with files, fsync and loopback TCP.
func benchCluster(b *testing.B) []*Node {
	var nodes []*Node
	var peers []Peer
	for i := range 3 {
		dir := b.TempDir()
		log, err := wal.Open(filepath.Join(dir, "log"), wal.Options{})
		if err != nil {
			b.Fatal(err)
		}
		quiet := hclog.New(&hclog.LoggerOptions{Output: io.Discard})
		snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, quiet)
		if err != nil {
			b.Fatal(err)
		}
		wire, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 3, 10*time.Second, quiet)
		if err != nil {
			b.Fatal(err)
		}
		id := fmt.Sprint("s", i)
		n, err := Open(Config{ID: id, Region: "bench", Store: state.New(), Transport: wire, Logs: log, Stable: log, Snapshots: snaps,
			Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, n)
		peers = append(peers, Peer{ID: id, Address: string(wire.LocalAddr())})
		b.Cleanup(func() {
			n.Close()
			wire.Close()
			log.Close()
		})
	}
	for _, n := range nodes {
		if err := n.Bootstrap(peers); err != nil {
			b.Fatal(err)
		}
	}
	return nodes
}

// benchPropose measures status reports of one allocation each, the most frequent command, committed by three servers
// and acknowledged one by one to a number of callers.
func benchPropose(b *testing.B, writers int, keyed bool) {
	nodes := benchCluster(b)
	var leader *Node
	for leader == nil {
		known, changed := nodes[0].LeaderChanged()
		for _, n := range nodes {
			if n.Leader().Self {
				leader = n
			}
		}
		if leader == nil && known.ID == "" {
			<-changed
		}
	}
	must := func(c state.Command) {
		if _, _, err := leader.Propose(b.Context(), "", "bench", c); err != nil {
			b.Fatal(err)
		}
	}
	const allocs = 20_000
	node := structs.NodeID(structs.NewID())
	must(&state.RegisterNode{Node: &structs.Node{ID: node, Name: "n", Resources: structs.Resources{CPU: 1 << 40}}})
	count := allocs
	must(&state.SubmitJob{Job: &structs.Job{Name: "load", Groups: []*structs.Group{{Name: "g", Count: &count}}}})
	for i := 0; i < allocs; i += 500 {
		p := &state.Place{}
		for k := range 500 {
			p.Placements = append(p.Placements, &state.Placement{NodeIncarnation: 1, Alloc: &structs.Allocation{
				ID: structs.AllocID(structs.NewID()), Framework: "service", Job: "load", Group: "g", Index: i + k, Version: 1, Node: node}})
		}
		must(p)
	}
	all := slices.Collect(leader.store.Snapshot().Allocs())
	began := cpuTime()
	entries := leader.raft.LastIndex()
	var left atomic.Int64
	left.Store(int64(b.N))
	latencies := make([][]time.Duration, writers)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				a := all[int(n)%len(all)]
				cmd := &state.Observe{Node: a.Node, NodeIncarnation: 1, Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation,
					Status: structs.AllocRunning, Tasks: map[string]*structs.TaskState{"main": {Status: structs.TaskRunning, Started: structs.Time(n)}}}}}
				key := ""
				if keyed {
					key = structs.NewID()
				}
				at := time.Now()
				if _, _, err := leader.Propose(b.Context(), key, "bench", cmd); err != nil {
					b.Error(err)
					return
				}
				latencies[w] = append(latencies[w], time.Since(at))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	took := b.Elapsed()
	sorted := slices.Sorted(slices.Values(slices.Concat(latencies...)))
	b.ReportMetric(float64(b.N)/took.Seconds(), "commits/s")
	b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/commit")
	b.ReportMetric(float64(b.N)/float64(leader.raft.LastIndex()-entries), "commits/entry")
	if n := len(sorted); n > 0 {
		b.ReportMetric(float64(sorted[n/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(sorted[n*99/100].Microseconds()), "p99-µs")
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkPropose1(b *testing.B)        { benchPropose(b, 1, false) }
func BenchmarkPropose64(b *testing.B)       { benchPropose(b, 64, false) }
func BenchmarkPropose512(b *testing.B)      { benchPropose(b, 512, false) }
func BenchmarkPropose64Keyed(b *testing.B)  { benchPropose(b, 64, true) }
func BenchmarkPropose512Keyed(b *testing.B) { benchPropose(b, 512, true) }
