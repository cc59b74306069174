//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// measureCommits runs three servers in this process: their Raft over loopback connections, logs that are synced, and the
// real store. A writer records that an allocation runs, waits for the answer, and goes on with the next one.
func measureCommits(ctx context.Context, b *bench) error {
	g, err := openGroup(ctx, filepath.Join(b.dir, "commits"))
	if err != nil {
		return err
	}
	defer g.close()
	for _, run := range []struct {
		writers   int
		must, aim float64
	}{{64, 15_000, 25_000}, {512, 50_000, 100_000}} {
		rate, p99, cpu, err := g.write(ctx, run.writers, 3*time.Second)
		if err != nil {
			return err
		}
		b.add(figure{What: fmt.Sprintf("commits, 3 servers, fsync, %d writers", run.writers), Unit: "commits/s", Must: run.must, Aim: run.aim,
			Got: rate, More: true, Note: fmt.Sprintf("p99 %.1f ms, %.0f µs CPU a commit, all three servers in one process", ms(p99), 1e3*ms(cpu))})
	}
	return nil
}

// group is three servers.
type group struct {
	nodes  []*consensus.Node
	end    []func()
	leader *consensus.Node
	allocs []*structs.Allocation
}

func openGroup(ctx context.Context, dir string) (g *group, err error) {
	g = &group{}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	var peers []consensus.Peer
	var stores []*state.Store
	for i := range 3 {
		wire, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 3, 10*time.Second, consensus.RaftLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			return nil, err
		}
		g.end = append(g.end, func() { wire.Close() })
		log, err := wal.Open(filepath.Join(dir, fmt.Sprint(i)), wal.Options{})
		if err != nil {
			return nil, err
		}
		g.end = append(g.end, func() { log.Close() })
		id, address := fmt.Sprint("s", i), string(wire.LocalAddr())
		store := state.New()
		node, err := consensus.Open(consensus.Config{ID: id, Address: address, Region: "bench", Store: store, Transport: wire,
			Logs: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		g.end = append(g.end, func() { node.Close() })
		g.nodes, stores = append(g.nodes, node), append(stores, store)
		peers = append(peers, consensus.Peer{ID: id, Address: address})
	}
	for _, n := range g.nodes {
		if err := n.Bootstrap(peers); err != nil {
			return nil, err
		}
	}
	leading := make(chan *consensus.Node, 3)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	ended := make(chan struct{})
	var watching sync.WaitGroup
	for _, n := range g.nodes {
		watching.Go(func() {
			n.Lead(ctx, func(term context.Context, _ uint64) {
				select {
				case leading <- n:
				default:
				}
				select {
				case <-term.Done():
				case <-ended:
				}
			})
		})
	}
	defer watching.Wait()
	defer cancel()
	defer close(ended)
	select {
	case g.leader = <-leading:
	case <-ctx.Done():
		return nil, fmt.Errorf("no leader: %w", ctx.Err())
	}
	return g, g.fill(ctx, stores)
}

// fill commits a hundred nodes and ten thousand allocations of one job.
func (g *group) fill(ctx context.Context, stores []*state.Store) error {
	const count = 10_000
	propose := func(c state.Command) error {
		_, _, err := g.leader.Propose(ctx, "", "bench", c)
		return err
	}
	node := func(i int) structs.NodeID { return structs.NodeID(fmt.Sprintf("%032x", i%100)) }
	for i := range 100 {
		if err := propose(&state.RegisterNode{Node: &structs.Node{ID: node(i), Name: fmt.Sprint("n", i),
			Resources: structs.Resources{CPU: 1 << 40, Memory: 1 << 50}}}); err != nil {
			return err
		}
	}
	if err := propose(&state.SubmitJob{Job: job("load", structs.BatchJob, count, "mock", nil)}); err != nil {
		return err
	}
	for i := 0; i < count; i += 500 {
		p := &state.Place{}
		for k := i; k < i+500; k++ {
			p.Placements = append(p.Placements, &state.Placement{NodeIncarnation: 1, Alloc: &structs.Allocation{
				ID: structs.AllocID(structs.NewID()), Framework: "batch", Job: "load", Group: "g", Index: k, Version: 1,
				Node: node(k), Resources: structs.Resources{CPU: 1, Memory: 1 << 20}}})
		}
		if err := propose(p); err != nil {
			return err
		}
	}
	if _, err := g.leader.ReadIndex(ctx); err != nil {
		return err
	}
	for i, n := range g.nodes {
		if n == g.leader {
			for a := range stores[i].Snapshot().Allocs() {
				g.allocs = append(g.allocs, a)
			}
		}
	}
	if len(g.allocs) != count {
		return fmt.Errorf("%d of %d allocations", len(g.allocs), count)
	}
	return nil
}

// write has writers commit for a time. It returns their common rate, their p99, and the CPU time of one commit.
func (g *group) write(ctx context.Context, writers int, d time.Duration) (rate float64, p99, cpu time.Duration, err error) {
	const warmup = 500 * time.Millisecond
	var counted atomic.Bool
	times := make([]spread, writers)
	errs := make([]error, writers)
	ctx, cancel := context.WithTimeout(ctx, warmup+d)
	defer cancel()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := w; ctx.Err() == nil; n += writers {
				a := g.allocs[n%len(g.allocs)]
				begun := time.Now()
				_, _, err := g.leader.Propose(context.WithoutCancel(ctx), "", "node", &state.Observe{Node: a.Node, NodeIncarnation: 1,
					Updates: []*structs.AllocUpdate{{ID: a.ID, Incarnation: a.Incarnation, Status: structs.AllocRunning, Time: structs.At(begun),
						Tasks: map[string]*structs.TaskState{"t": {Status: structs.TaskRunning, Started: structs.At(begun)}}}}})
				if err != nil {
					errs[w] = err
					return
				}
				if counted.Load() {
					times[w] = append(times[w], time.Since(begun))
				}
			}
		})
	}
	if err := pause(ctx, warmup); err != nil {
		return 0, 0, 0, err
	}
	var u, v syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	counted.Store(true)
	begun := time.Now()
	writing.Wait()
	took := time.Since(begun)
	syscall.Getrusage(syscall.RUSAGE_SELF, &v)
	var all spread
	for _, t := range times {
		all = append(all, t...)
	}
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return 0, 0, 0, errors.Join(err, ctx.Err())
	}
	used := time.Duration(v.Utime.Nano() + v.Stime.Nano() - u.Utime.Nano() - u.Stime.Nano())
	return float64(len(all)) / took.Seconds(), all.at(0.99), used / time.Duration(len(all)), nil
}

// close ends what was opened, newest first.
func (g *group) close() {
	for i := len(g.end) - 1; i >= 0; i-- {
		g.end[i]()
	}
}
