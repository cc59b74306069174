//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// quickNode is a node with a real session, whose tasks run as soon as it hears of them and never end.
type quickNode struct {
	fingerprint *structs.Node
	up          *session.Client

	mu    sync.Mutex
	held  map[structs.AllocID]*structs.AllocUpdate
	index uint64
}

func (n *quickNode) Hello() *session.Hello {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &session.Hello{Region: "bench", Node: n.fingerprint, Index: n.index, Work: len(n.held)}
}

func (n *quickNode) Welcome(*session.Welcome) error { return nil }

func (n *quickNode) Observed() (out []*structs.AllocUpdate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, u := range n.held {
		out = append(out, u)
	}
	return out
}

func (n *quickNode) Desired(d *session.Desired) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index = d.Index
	now := structs.At(time.Now())
	for _, a := range d.Allocs {
		if n.held[a.ID] != nil || a.Desired != structs.DesiredRun || a.Ended() {
			continue
		}
		u := &structs.AllocUpdate{ID: a.ID, Incarnation: a.Incarnation, Status: structs.AllocRunning, Time: now, Tasks: map[string]*structs.TaskState{}}
		for _, x := range a.External.Tasks {
			u.Tasks[x.Name] = &structs.TaskState{Status: structs.TaskRunning, Started: now}
		}
		n.held[a.ID] = u
		n.up.Observe(u)
	}
}

func (n *quickNode) Items([]*session.Item) {}
func (n *quickNode) Lease(session.Instant) {}
func (n *quickNode) Lost(error)            {}

func (n *quickNode) MarkedGone(*session.Gone) bool { return true }

// openSessions opens three servers and so many nodes with sessions, and waits for a leader that knows them.
func (b *bench) openSessions(ctx context.Context, name string, nodes int) (r *raftRegion, leader *server.Server, err error) {
	if err := b.endDev(); err != nil {
		return nil, nil, err
	}
	if r, err = openRaftRegion(ctx, filepath.Join(b.dir, name)); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	log := slog.New(slog.DiscardHandler)
	port, err := cluster.Listen(cluster.Config{Bind: "127.0.0.1:0", Region: "bench", Logger: log})
	if err != nil {
		return nil, nil, err
	}
	r.end = append(r.end, func() { port.Close() })
	pool := rpc.NewPool(port.DialRPC, rpc.Options{Logger: log})
	r.end = append(r.end, func() { pool.Close() })
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var sessions sync.WaitGroup
	r.end = append(r.end, func() { stop(); sessions.Wait() })
	for i := range nodes {
		fingerprint := node(i, 64, 384)
		fingerprint.Address = fmt.Sprintf("127.0.0.1:%d", i+1)
		n := &quickNode{fingerprint: fingerprint, held: map[structs.AllocID]*structs.AllocUpdate{}}
		n.up = session.New(session.Config{Node: n, Logger: log, Servers: func() []string { return r.addresses },
			Dial: func(ctx context.Context, addr string) (session.Stream, error) {
				return pool.Stream(ctx, addr, session.Method, nil)
			}})
		sessions.Go(func() { n.up.Run(running) })
	}
	for {
		if leader, err = r.leader(ctx); err == nil {
			ready, snap := 0, leader.Store().Snapshot()
			for n := range snap.Nodes() {
				if n.Status == structs.NodeReady {
					ready++
				}
			}
			if ready == nodes {
				return r, leader, nil
			}
			waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
			leader.Store().Wait(waiting, snap.Index(), state.OfTable(state.Nodes))
			cancel()
		} else if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, nil, err
		}
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("until all nodes are there: %w", ctx.Err())
		}
	}
}
