//go:build linux && system

package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/client/volumes"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/oci"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// agentEnv holds the orders of a child that is an agent, as JSON.
const agentEnv = "PROFFER_FAULTS_AGENT"

// orders say what an agent is.
type orders struct {
	Dir      string // of the node
	Driver   string
	Endpoint string // of the docker engine
	Boot     string // names the boot of the machine
	Job      *structs.Job
	Stop     bool // its allocation is to be stopped already
}

// The child tells, a line each, and hears by line: "ready FD" → "", then the states of the allocation, → "stop" and "leave".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(supervisor.Main(os.Args[2:]))
	}
	raw := os.Getenv(agentEnv)
	if raw == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // many processes end here, a second each otherwise
		os.Exit(m.Run())
	}
	var o orders
	err := json.Unmarshal([]byte(raw), &o)
	if err == nil {
		err = agent(&o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the agent:", err)
		os.Exit(1)
	}
}

func supervisorOptions(dir string) (supervisor.Options, error) {
	self, err := os.Executable()
	return supervisor.Options{Dir: filepath.Join(dir, "supervisor"), Binary: []string{self, "supervisor"}, Linger: time.Hour}, err
}

const allocID = "a1110000-0000-0000-0000-000000000000"

// region is the session of a node with a region that wants one allocation.
type region struct {
	node session.Node
	o    *orders

	mu    sync.Mutex
	index uint64
}

type noGPUs struct{}

func (noGPUs) List(context.Context) ([]fingerprint.GPU, error) { return nil, nil }

func agent(o *orders) error {
	fd, err := setTrap()
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready", fd)
	if !in.Scan() {
		return in.Err()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	with, err := supervisorOptions(o.Dir)
	if err != nil {
		return err
	}
	with.Logger = log
	sup, err := supervisor.Connect(ctx, with)
	if err != nil {
		return err
	}
	var d drivers.Driver
	switch o.Driver {
	case "exec":
		d = exec.New(sup, exec.Options{Logger: log})
	case "docker":
		d = docker.New(docker.Options{Endpoint: o.Endpoint, Owner: o.Dir, Folder: filepath.Join(o.Dir, "docker"), KeepEvery: 200 * time.Millisecond, Logger: log})
	case "oci":
		store, err := images.Open(filepath.Join(o.Dir, "images"), images.Options{Logger: log})
		if err != nil {
			return err
		}
		defer store.Close()
		d = oci.New(sup, store, oci.Options{Dir: filepath.Join(o.Dir, "containers"), CleanEvery: 200 * time.Millisecond, Logger: log,
			HostPaths: []string{filepath.Join(o.Dir, "shared")}})
	}
	networks, err := network.New(networkOptions(o.Dir))
	if err != nil {
		return err
	}
	defer networks.Close()
	sandboxes := map[string]drivers.Sandboxer{}
	if s, ok := d.(drivers.Sandboxer); ok {
		sandboxes[d.Name()] = s
	}
	storage, err := volumes.Open(filepath.Join(o.Dir, "client", "volumes"), map[string]volumes.HostVolume{"shelf": {Path: filepath.Join(o.Dir, "shared")}}, log)
	if err != nil {
		return err
	}
	r := &region{o: o, index: 100}
	c, err := client.New(ctx, client.Config{DataDir: filepath.Join(o.Dir, "client"), Region: "eu", Name: "n1", Drivers: []drivers.Driver{d},
		Networks: networks.Features, Providers: []runner.Provider{network.Provider{Networks: networks, Sandboxes: sandboxes}, storage}, Volumes: storage,
		GPUs: noGPUs{}, Hosts: []string{nodeAddress}, Fencers: []client.Fencer{sup}, Log: log, BootID: o.Boot, GC: client.GC{MaxDiskUsed: 100, DiskFull: 100},
		Connect: func(n session.Node) client.Uplink { r.node = n; return r }})
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	for in.Scan() {
		switch in.Text() {
		case "stop":
			r.stop()
		case "leave":
			err := c.Stop(ctx)
			return first(err, sup.Close())
		}
	}
	return in.Err()
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// alloc is the allocation as the region has it now.
func (r *region) alloc() (*structs.Allocation, *structs.JobVersion) {
	j := &structs.JobVersion{Version: 1, Job: r.o.Job}
	a := &structs.Allocation{ID: allocID, Job: j.Job.Name, Version: 1, Group: j.Job.Groups[0].Name, Incarnation: 7, Desired: structs.DesiredRun,
		Status: structs.AllocPending, Role: "default", CreateIndex: 100, ModifyIndex: r.index, WantIndex: r.index}
	claims(a, j.Job.Groups[0])
	if r.o.Stop {
		a.Desired = structs.DesiredStop
	}
	return a, j
}

func (r *region) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.o.Stop = true
	r.index++
	r.want(false)
}

func (r *region) want(full bool) {
	a, j := r.alloc()
	r.node.Desired(&session.Desired{Index: r.index, Full: full, Confirmed: full, Allocs: []*structs.Allocation{a}, Jobs: []*structs.JobVersion{j}})
}

// Run begins a session that lasts.
func (r *region) Run(ctx context.Context) error {
	if err := r.node.Welcome(&session.Welcome{Server: "s1", Generation: "g1", Lease: structs.Duration(time.Minute)}); err != nil {
		return err
	}
	r.node.Lease(session.BootClock().Now() + session.Instant(time.Hour))
	r.Observe(r.node.Observed()...)
	r.mu.Lock()
	if r.o.Stop {
		r.index++
	}
	r.want(true)
	r.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (r *region) Observe(updates ...*structs.AllocUpdate) {
	for _, u := range updates {
		raw, err := json.Marshal(u)
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(append(raw, '\n'))
	}
}

func (r *region) Fingerprint(*structs.Node)     {}
func (r *region) Slack(structs.Slack)           {}
func (r *region) Purged(ids []structs.VolumeID) {}
func (r *region) Want(_, _ []session.Ref)       {}
func (r *region) Leave(context.Context) error   { return nil }
