//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// raftRegion is three servers in this process: real connections over loopback, folders that are synced, the offer loop.
type raftRegion struct {
	servers   []*server.Server
	addresses []string // of their cluster ports
	end       []func()
}

func (r *raftRegion) close() {
	for i := len(r.end) - 1; i >= 0; i-- {
		r.end[i]()
	}
}

func openRaftRegion(ctx context.Context, dir string) (r *raftRegion, err error) {
	r = &raftRegion{}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	log := slog.New(slog.DiscardHandler)
	var addresses []string
	for i := range 3 {
		port, err := cluster.Listen(cluster.Config{Bind: "127.0.0.1:0", Region: "bench", Logger: log})
		if err != nil {
			return nil, err
		}
		r.end = append(r.end, func() { port.Close() })
		id := fmt.Sprintf("%032d", i+1)
		pool, serving := rpc.NewPool(port.DialRPC, rpc.Options{Logger: log}), rpc.NewServer(rpc.Options{Logger: log})
		r.end = append(r.end, func() { pool.Close() }, func() { serving.Close() })
		members, err := gossip.Start(gossip.Config{Transport: port.GossipTransport(), Logger: log, Local: gossip.Member{
			Name: fmt.Sprint("s", i), ID: id, Role: gossip.RoleServer, Region: "bench", Datacenter: "dc1", Addr: port.Addr(),
			FeatureMin: 1, FeatureMax: 1, Expect: 3}})
		if err != nil {
			return nil, err
		}
		r.end = append(r.end, func() { members.Close() })
		wire := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: port.RaftLayer(), MaxPool: 3,
			Timeout: 10 * time.Second, Logger: consensus.RaftLogger(log)})
		r.end = append(r.end, func() { wire.Close() })
		folder, err := consensus.OpenFolder(filepath.Join(dir, fmt.Sprint(i)), "bench")
		if err != nil {
			return nil, err
		}
		r.end = append(r.end, func() { folder.Close() })
		// The nodes have no sessions: the lease is longer than the measurement.
		s, err := server.Start(server.Config{ID: id, Name: fmt.Sprint("s", i), Region: "bench", Datacenter: "dc1", Address: port.Addr(), HTTP: port.Addr(),
			Folder: folder, Expect: 3, Transport: wire, RPC: serving, Pool: pool, Gossip: members, Logger: log, Lease: time.Hour,
			Replaces: func(old, new *structs.Job, group string) bool { return true }})
		if err != nil {
			return nil, err
		}
		r.end = append(r.end, func() { s.Kill() })
		go serving.Serve(port.Listener(cluster.RPC))
		if len(addresses) > 0 {
			members.Join(ctx, addresses)
		}
		r.servers, addresses = append(r.servers, s), append(addresses, port.Addr())
		r.addresses = addresses
	}
	return r, nil
}

// propose commits commands, many at a time, through the first server.
func (r *raftRegion) propose(ctx context.Context, commands []state.Command) error {
	var next int
	var mu sync.Mutex
	var proposing sync.WaitGroup
	errs := make([]error, 64)
	for w := range errs {
		proposing.Go(func() {
			for errs[w] == nil {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(commands) {
					return
				}
				_, _, errs[w] = r.servers[0].Propose(ctx, "", "bench", commands[i])
			}
		})
	}
	proposing.Wait()
	return errors.Join(errs...)
}

// settle waits until the loop has seen what was committed and looked at all jobs. Of those with many allocations it puts the
// next look off, by a second at most.
func (r *raftRegion) settle(ctx context.Context) error {
	_, feed := r.servers[0].Store().Subscribe(1 << 18)
	defer feed.Close()
	one, job := 1, newFleet(0).shapeJobs(1)[0]
	job.Name, job.Type, job.Groups[0].Count = "settled", structs.BatchJob, &one
	job.Canonicalize()
	if err := r.propose(ctx, []state.Command{&state.SubmitJob{Job: job}}); err != nil {
		return err
	}
	for {
		batch, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		for _, c := range batch.Changes {
			if a, _ := c.New.(*structs.Allocation); a != nil && a.Job == job.Name {
				runtime.GC()
				return pause(ctx, 3*time.Second)
			}
		}
	}
}

// measureThroughRaft submits jobs to a region of generated nodes and counts the placements that are committed.
func measureThroughRaft(ctx context.Context, b *bench) error {
	const nodes, count, kinds = 10_000, 5_000, 200
	b.endDev()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	r, err := openRaftRegion(ctx, filepath.Join(b.dir, "region"))
	if err != nil {
		return err
	}
	defer r.close()
	f := newFleet(1)
	var specs []*structs.Node
	var commands []state.Command
	for i := range nodes {
		n := f.mixed(i)
		specs = append(specs, n)
		commands = append(commands, &state.RegisterNode{Node: n})
	}
	if err := r.propose(ctx, commands); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	// What the nodes are full of is placed by us: the loop has no node for it.
	old := map[string]*structs.Job{}
	var places []state.Command
	for _, n := range specs {
		p := &state.Place{}
		for _, piece := range f.pieces(n, 0.7) {
			name := fmt.Sprintf("old-%d-%d", f.rnd.IntN(20), f.rnd.IntN(20))
			job := old[name]
			if job == nil {
				job = &structs.Job{Name: name, Type: structs.BatchJob, Role: "team-" + name[4:5], Groups: []*structs.Group{{Name: "g",
					Constraints: []*structs.Constraint{{Attribute: "${meta.none}", Value: "1"}}, Tasks: []*structs.Task{{Name: "t", Driver: "exec"}}}}}
				old[name] = job
			}
			g := job.Groups[0]
			index := 0
			if g.Count != nil {
				index = *g.Count
			}
			more := index + 1
			g.Count = &more
			p.Placements = append(p.Placements, &state.Placement{NodeIncarnation: 1, Alloc: &structs.Allocation{ID: structs.AllocID(structs.NewID()),
				Framework: structs.BatchJob, Role: job.Role, Priority: structs.DefaultPriority, Job: name, Version: 1, Group: "g", Index: index,
				Node: n.ID, NodeName: n.Name, Resources: piece}})
		}
		places = append(places, p)
	}
	commands = commands[:0]
	for _, job := range old {
		job.Canonicalize()
		commands = append(commands, &state.SubmitJob{Job: job})
	}
	if err := r.propose(ctx, commands); err != nil {
		return fmt.Errorf("what runs: %w", err)
	}
	if err := r.propose(ctx, places); err != nil {
		return fmt.Errorf("place what runs: %w", err)
	}
	if err := r.settle(ctx); err != nil {
		return fmt.Errorf("until what runs is looked at: %w", err)
	}
	commands = commands[:0]
	for i, job := range f.shapeJobs(kinds) {
		each := count / kinds
		job.Name, job.Type, job.Role, job.Groups[0].Count = fmt.Sprint("new-", i), structs.BatchJob, fmt.Sprintf("team-%d", i%20), &each
		job.Canonicalize()
		commands = append(commands, &state.SubmitJob{Job: job})
	}
	snap, feed := r.servers[0].Store().Subscribe(1 << 18)
	defer feed.Close()
	before := 0
	for range snap.Allocs() {
		before++
	}
	submitted := make(chan error, 1)
	begun := time.Now()
	go func() { submitted <- r.propose(ctx, commands) }()
	for placed := 0; placed < count; {
		batch, err := feed.Next(ctx)
		if err != nil {
			return fmt.Errorf("%d of %d placed: %w", placed, count, err)
		}
		for _, c := range batch.Changes {
			if c.Table == state.Allocs && c.Old == nil {
				placed++
			}
		}
	}
	took := time.Since(begun)
	if err := <-submitted; err != nil {
		return err
	}
	b.add(figure{What: "10,000 mixed nodes 70% full, 5,000 of 200 shapes, through Raft", Unit: "placements/s", Must: 5_000, Aim: 20_000,
		Got: count / took.Seconds(), More: true, Note: fmt.Sprintf("%.0f ms, 200 submissions included; fsync, three servers and the loop in one process, %d run already",
			ms(took), before)})
	return nil
}

// largestRegion measures the memory of an allocator beside the records of what it knows.
func largestRegion(b *bench) error {
	const nodes, each, kinds = 50_000, 20, 200
	before := liveHeap()
	f, a := newFleet(5), allocator.New(allocator.Options{})
	allocs := make([]*structs.Allocation, 0, nodes*each)
	for i := range nodes {
		n := f.mixed(i)
		a.SetNode(n)
		for range each {
			role := f.rnd.IntN(200)
			alloc := &structs.Allocation{ID: structs.AllocID(structs.NewID()), Framework: structs.BatchJob, Role: fmt.Sprintf("team-%d", role),
				Priority: structs.DefaultPriority, Job: fmt.Sprintf("job-%d-%d", role, f.rnd.IntN(100)), Version: 1, Group: "g", Index: len(allocs),
				Node: n.ID, NodeName: n.Name, Status: structs.AllocRunning, Created: structs.Time(len(allocs)), Resources: structs.Resources{
					CPU: n.Resources.CPU * 7 / (10 * each), Memory: n.Resources.Memory * 7 / (10 * each)}}
			allocs = append(allocs, alloc)
			a.SetAllocation(alloc)
		}
	}
	asks, err := f.shapes(kinds)
	if err == nil {
		err = requestAll(a, "r", asks, 25)
	}
	if err == nil {
		err = decided(a.Step(1, 0), kinds*25)
	}
	if err != nil {
		return err
	}
	b.add(figure{What: "memory at 50,000 nodes and 1,000,000 allocations", Unit: "MB", Must: 4000, Aim: 2000, Got: (liveHeap() - before) / 1e6,
		Note: "live heap: allocator, records of nodes and allocations, indexes of 200 shapes"})
	runtime.KeepAlive(a)
	runtime.KeepAlive(allocs)
	return nil
}
