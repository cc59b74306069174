//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
)

// TestTown measures a small town, to see that it can be measured, or what measureGossip asks for. It runs in a bubble of its
// own time, in which computing takes none: ten thousand agents on a few cores are too slow to answer each other in real time.
func TestTown(t *testing.T) {
	members := 30
	if text := os.Getenv(townMembers); text != "" {
		var err error
		if members, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		figures, err := measureTown(t.Context(), members, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		if path := os.Getenv(townFigures); path != "" {
			raw, err := json.Marshal(figures)
			if err == nil {
				err = os.WriteFile(path, raw, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// town is a region of agents that gossip, in this process, over a network in memory: three servers, the others clients.
type town struct {
	mesh  *cluster.Mesh
	ports []*cluster.Port
	pools []*gossip.Pool
}

const townServers = 3

// gossip starts agents, waits until each knows whom it has to know, and adds one. A client of a large region has to know its
// own segment and the servers, a server everybody.
func measureTown(ctx context.Context, members int, progress func(string, ...any)) ([]*figure, error) {
	v := &town{mesh: cluster.NewMesh()}
	defer v.close()
	before := heap()
	begun := time.Now()
	const wave = 250 // that start together
	for len(v.pools) < members {
		if err := v.grow(ctx, min(wave, members-len(v.pools))); err != nil {
			return nil, err
		}
		if n := len(v.pools); n%1000 == 0 {
			progress("%d agents after %s of their time", n, time.Since(begun).Round(time.Second))
		}
	}
	if err := v.settle(ctx); err != nil {
		return nil, err
	}
	whole := time.Since(begun)
	each := (heap() - before) / float64(len(v.pools))
	newcomer, err := v.start(len(v.pools))
	if err != nil {
		return nil, err
	}
	joined := time.Now()
	if _, err := newcomer.Join(ctx, []string{v.address(0)}); err != nil {
		return nil, err
	}
	known, err := v.knownToAll(ctx, newcomer)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d gossiping agents in memory", members)
	return []*figure{
		{What: what + ", memory of one", Unit: "MB", Must: 2, Aim: 0.2, Got: each / 1e6,
			Note: fmt.Sprintf("heap and stacks, with the network in memory; all knew whom they must after %s", whole.Round(time.Second))},
		{What: what + ", a new one known to all", Unit: "s", Must: 10, Aim: 3, Got: time.Since(joined).Seconds(),
			Note: fmt.Sprintf("in a bubble, where computing takes no time; all are its segment and the servers: %d agents", known)},
	}, nil
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

func (v *town) ip(i int) string      { return fmt.Sprintf("10.%d.%d.%d", i/62500, i/250%250, i%250+1) }
func (v *town) address(i int) string { return v.ip(i) + ":5052" }

func (v *town) start(i int) (*gossip.Pool, error) {
	m := gossip.Member{Name: fmt.Sprintf("agent-%d", i), ID: fmt.Sprintf("%032x", i+1), Role: gossip.RoleClient, Region: "bench",
		Datacenter: "dc1", FeatureMin: 1, FeatureMax: 1}
	if i < townServers {
		m.Role = gossip.RoleServer
	}
	port, err := cluster.Listen(cluster.Config{Network: v.mesh.Host(v.ip(i)), Bind: v.address(i), Region: "bench"})
	if err != nil {
		return nil, err
	}
	v.ports = append(v.ports, port)
	p, err := gossip.Start(gossip.Config{Local: m, Transport: port.GossipTransport()})
	if err != nil {
		return nil, err
	}
	v.pools = append(v.pools, p)
	return p, nil
}

// grow starts n more and has them join the servers in turn, a few at a time.
func (v *town) grow(ctx context.Context, n int) error {
	first := len(v.pools)
	for i := first; i < first+n; i++ {
		if _, err := v.start(i); err != nil {
			return err
		}
	}
	errs := make([]error, n)
	slots := make(chan struct{}, 8)
	var joining sync.WaitGroup
	for i := max(first, 1); i < first+n; i++ {
		slots <- struct{}{}
		joining.Go(func() {
			defer func() { <-slots }()
			_, errs[i-first] = v.pools[i].Join(ctx, []string{v.address(i % min(i, townServers))})
		})
	}
	joining.Wait()
	return errors.Join(errs...)
}

// look is how often it is looked who knows whom: it bounds how exact the times are.
const look = 100 * time.Millisecond

// settle waits until the servers know all, and each client as many as those that it knows.
func (v *town) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		why := v.unsettled()
		if why == "" {
			return nil
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return fmt.Errorf("the agents do not come to know each other: %s: %w", why, err)
		}
	}
}

// unsettled says who does not know enough; empty: nobody.
func (v *town) unsettled() string {
	known := make([]map[string]bool, len(v.pools))
	counts := map[string]int{} // by the name of a client
	for i, p := range v.pools {
		known[i] = alive(p)
		if i < townServers && len(known[i]) != len(v.pools) {
			return fmt.Sprintf("server %d knows %d of %d", i, len(known[i]), len(v.pools))
		}
		if i >= townServers {
			counts[p.Local().Name] = len(known[i])
		}
	}
	for i := townServers; i < len(v.pools); i++ {
		if len(known[i]) <= townServers {
			return fmt.Sprintf("agent %d knows %d", i, len(known[i]))
		}
		for name := range known[i] {
			if n, client := counts[name]; client && n != len(known[i]) {
				return fmt.Sprintf("agent %d knows %d, and %s, which it knows, %d", i, len(known[i]), name, n)
			}
		}
	}
	return ""
}

func alive(p *gossip.Pool) map[string]bool {
	names := map[string]bool{}
	for _, m := range p.Members() {
		if m.Status == gossip.Alive {
			names[m.Name] = true
		}
	}
	return names
}

// knownToAll waits until all that have to know a newcomer do: those that it knows itself, which must be as many as one of
// its segment has.
func (v *town) knownToAll(ctx context.Context, newcomer *gossip.Pool) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	name := newcomer.Local().Name
	byName := map[string]*gossip.Pool{}
	for _, p := range v.pools {
		byName[p.Local().Name] = p
	}
	for {
		mine := alive(newcomer)
		known := 0
		for other := range mine {
			if knows(byName[other], name) {
				known++
			}
		}
		complete := len(mine) > townServers
		for other := range mine { // one of its segment has nobody that it lacks
			if byName[other].Local().Role == gossip.RoleClient && byName[other] != newcomer {
				complete = complete && len(alive(byName[other])) == len(mine)
				break
			}
		}
		if complete && known == len(mine) {
			return known, nil
		}
		if err := pause(ctx, look); err != nil {
			return 0, fmt.Errorf("%d of %d know the new one: %w", known, len(mine), err)
		}
	}
}

func knows(p *gossip.Pool, name string) bool {
	for _, m := range p.Members() {
		if m.Name == name {
			return m.Status == gossip.Alive
		}
	}
	return false
}

// close ends the town, inside of its bubble.
func (v *town) close() {
	var closing sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, p := range v.pools {
		slots <- struct{}{}
		closing.Go(func() { p.Close(); <-slots })
	}
	closing.Wait()
	for _, p := range v.ports {
		p.Close()
	}
	time.Sleep(time.Minute) // memberlist's probes run out on their own
}
