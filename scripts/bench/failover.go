//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// region is three servers and a client, processes with loopback addresses of their own and the shipped time-outs.
type region struct {
	bench   *bench
	names   []string
	args    map[string][]string
	servers map[string]*agent
	client  *agent
}

func (b *bench) startRegion(ctx context.Context) (c *region, err error) {
	c = &region{bench: b, args: map[string][]string{}, servers: map[string]*agent{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	const port = "7052"
	secret := key()
	var join []string
	for i := range 4 {
		name, at := fmt.Sprint("s", i+1), address()
		role := "server {\n  bootstrap_expect = 3\n}\n"
		if i == 3 {
			name, role = "c1", "client {\n  drivers = [\"mock\"]\n}\n"
		} else {
			c.names = append(c.names, name)
			join = append(join, at+":"+port)
		}
		path, err := b.config("failover-"+name, fmt.Sprintf("%sencrypt = [%q]\n", role, secret))
		if err != nil {
			return c, err
		}
		c.args[name] = []string{"-config", path, "-data-dir", filepath.Join(b.dir, "failover", name), "-node-name", name, "-bind", at,
			"-http-port", "7050", "-executor-port", "7051", "-cluster-port", port, "-log-level", "warn"}
	}
	for name := range c.args {
		c.args[name] = append(c.args[name], "-join", strings.Join(join, ","))
	}
	for _, name := range c.names {
		if c.servers[name], err = b.start(ctx, b.dir, c.args[name]...); err != nil {
			return c, err
		}
	}
	if c.client, err = b.start(ctx, b.dir, c.args["c1"]...); err != nil {
		return c, err
	}
	return c, c.servers["s1"].nodeReady(ctx)
}

func (c *region) stop() (err error) {
	if c.client != nil {
		err = c.client.stop()
	}
	for _, name := range c.names {
		if a := c.servers[name]; a != nil {
			err = errors.Join(err, a.stop())
		}
	}
	return err
}

// measureFailover kills the leader with -9, again and again, and each time has another server take a job at once. It
// counts from the kill to the event that the job was placed.
func measureFailover(ctx context.Context, b *bench) (err error) {
	c, err := b.startRegion(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	var times spread
	for i := range b.kills {
		took, err := c.kill(ctx, i)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		times = append(times, took)
	}
	what := fmt.Sprintf("leader kill -9 to next placement, %d times", len(times))
	b.add(figure{What: what + ", p50", Unit: "s", Must: 3, Aim: 1, Got: times.at(0.5).Seconds(), Note: "submitted to another server right after the kill"})
	b.add(figure{What: what + ", worst", Unit: "s", Must: 6, Aim: 2, Got: times.at(1).Seconds()})
	return nil
}

func (c *region) kill(ctx context.Context, round int) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	leader, err := c.servers["s1"].Leader(ctx)
	if err != nil {
		return 0, err
	}
	var other *agent
	for _, name := range c.names {
		if name != leader.Name {
			other = c.servers[name]
		}
	}
	killed := c.servers[leader.Name]
	if killed == nil {
		return 0, fmt.Errorf("the leader is %q", leader.Name)
	}
	begun := time.Now()
	if err := killed.kill(); err != nil {
		return 0, err
	}
	j := job(fmt.Sprint("failover-", round), structs.BatchJob, 1, "mock", nil)
	done, err := other.SubmitJob(ctx, j, nil)
	if err != nil {
		return 0, err
	}
	err = other.watch(ctx, api.EventQuery{Job: j.Name, Topics: []string{"allocation"}, Index: &done.Index}, nil,
		func(string, bool, *seen) (bool, error) { return true, nil })
	if err != nil {
		return 0, err
	}
	took = time.Since(begun)
	killed.Close()
	if c.servers[leader.Name], err = c.bench.start(ctx, c.bench.dir, c.args[leader.Name]...); err != nil {
		return 0, err
	}
	// A read that the leader confirmed says that it is back.
	_, _, err = c.servers[leader.Name].Job(ctx, j.Name, nil)
	return took, err
}
