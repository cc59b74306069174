//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// measureState asks the leader of a region with 100,000 running tasks of ten frameworks for /state, over loopback, and looks what that does
// to the loop. Something changes before each question, so that no answer serves twice.
func measureState(ctx context.Context, b *bench) (err error) {
	const nodes, each, frameworks = 1_000, 100, 10
	b.endDev()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	r, err := openRaftRegion(ctx, filepath.Join(b.dir, "state"))
	if err != nil {
		return err
	}
	defer r.close()
	leader, err := r.filled(ctx, nodes, each, frameworks)
	if err != nil {
		return err
	}
	tools := operator.NewServers(leader, func() operator.About { return operator.About{Region: "bench"} }, slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { tools.Serve(w, q, mesos.Caller{Actor: "bench"}) })}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	defer func() {
		if closed := errors.Join(web.Close(), <-served); !errors.Is(closed, http.ErrServerClosed) {
			err = errors.Join(err, closed)
		}
	}()
	url := "http://" + ln.Addr().String() + "/state"

	var times spread
	var size int64
	used := processorTime()
	for i := range 11 {
		if err := r.propose(ctx, []state.Command{&state.SetEligibility{Node: node(0, 1, 1).ID, Eligible: i%2 == 0}}); err != nil {
			return err
		}
		begun := time.Now()
		if size, err = fetchAll(ctx, url); err != nil {
			return err
		}
		times = append(times, time.Since(begun))
	}
	used = processorTime() - used
	quiet, err := r.latency(ctx, "quiet", 20)
	if err != nil {
		return err
	}
	polling, stop := context.WithCancel(ctx)
	var pollers sync.WaitGroup
	for range 4 {
		pollers.Go(func() {
			for polling.Err() == nil {
				fetchAll(polling, url)
			}
		})
	}
	polled, err := r.latency(ctx, "polled", 20)
	stop()
	pollers.Wait()
	if err != nil {
		return err
	}
	b.add(figure{What: "/state with 100,000 tasks", Unit: "ms", Must: 1000, Aim: 200, Got: ms(times.at(0.5)),
		Note: fmt.Sprintf("%.0f MB, the slowest of %d %.0f ms, CPU time of one with the client's %.0f ms; submit to placed with 4 clients that poll without a pause %.1f ms, without them %.1f ms",
			float64(size)/1e6, len(times), ms(times.at(1)), ms(used)/float64(len(times)), ms(polled.at(0.5)), ms(quiet.at(0.5)))})
	return nil
}

func fetchAll(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, res.Status)
	}
	return io.Copy(io.Discard, res.Body)
}

// leader returns the server that leads.
func (r *raftRegion) leader(ctx context.Context) (*server.Server, error) {
	for _, s := range r.servers {
		if _, self, err := s.LeaderHTTP(ctx); err == nil && self {
			return s, nil
		}
	}
	return nil, errors.New("no server leads")
}

// filled has tasks of frameworks run on nodes, and returns the leader once it knows all of them: it may be another one than before.
func (r *raftRegion) filled(ctx context.Context, nodes, each, frameworks int) (*server.Server, error) {
	if err := r.employ(ctx, nodes, each, frameworks); err != nil {
		return nil, fmt.Errorf("fill the region: %w", err)
	}
	if err := r.settle(ctx); err != nil {
		return nil, fmt.Errorf("until the loop knows the region: %w", err)
	}
	return r.leader(ctx)
}

// employ registers nodes, and has frameworks run so many tasks on each of them.
func (r *raftRegion) employ(ctx context.Context, nodes, each, frameworks int) error {
	var register, place, observe []state.Command
	for i := range frameworks {
		register = append(register, &state.ConnectFramework{Framework: &structs.Framework{ID: structs.FrameworkID(fmt.Sprint("framework-", i)), Name: fmt.Sprint("f", i),
			User: "root", Roles: []string{"eng"}, Connection: fmt.Sprint("c", i), Terms: map[string]*structs.OfferTerms{"eng": {Suppressed: true}}}})
	}
	for i := range nodes {
		register = append(register, &state.RegisterNode{Node: node(i, 64, 384)})
	}
	if err := r.propose(ctx, register); err != nil {
		return err
	}
	for i := range nodes {
		on, p := node(i, 64, 384), &state.Place{}
		for k := range each {
			id := fmt.Sprintf("task-%d-%d", i, k)
			p.Placements = append(p.Placements, &state.Placement{NodeIncarnation: 1,
				Job: &structs.Job{Groups: []*structs.Group{{Name: "task", Tasks: []*structs.Task{{Name: id, Driver: "exec", User: "root",
					Config: map[string]any{"command": "/bin/sh", "args": []any{"-c", "sleep 100000"}}}}}}},
				Alloc: &structs.Allocation{ID: structs.AllocID(structs.NewID()), Framework: structs.FrameworkID(fmt.Sprint("framework-", k%frameworks)), Role: "eng",
					Node: on.ID, NodeName: on.Name, Group: "task", Resources: structs.Resources{CPU: 100, Memory: 128 << 20},
					External: &structs.External{Tasks: []*structs.ExternalTask{{ID: id, Name: id}}}}})
		}
		place = append(place, p)
	}
	if err := r.propose(ctx, place); err != nil {
		return err
	}
	snap := r.servers[0].Store().Snapshot()
	for n := range snap.Nodes() {
		o := &state.Observe{Node: n.ID, NodeIncarnation: n.Incarnation}
		for a := range snap.HeldOnNode(n.ID) {
			o.Updates = append(o.Updates, &structs.AllocUpdate{ID: a.ID, Incarnation: a.Incarnation, Status: structs.AllocRunning,
				Tasks: map[string]*structs.TaskState{a.External.Tasks[0].Name: {Status: structs.TaskRunning, Started: structs.At(time.Now())}}})
		}
		observe = append(observe, o)
	}
	if all, _ := snap.AllocCount(); all != nodes*each {
		return fmt.Errorf("%d allocations instead of %d", all, nodes*each)
	}
	return r.propose(ctx, observe)
}

// latency submits jobs of one task, one after the other, and returns how long it took until each was placed.
func (r *raftRegion) latency(ctx context.Context, name string, samples int) (times spread, err error) {
	_, feed := r.servers[0].Store().Subscribe(1<<18, state.OfTable(state.Allocs))
	defer feed.Close()
	for i := range samples {
		one, job := 1, newFleet(0).shapeJobs(1)[0]
		job.Name, job.Type, job.Groups[0].Count = fmt.Sprintf("%s-%d", name, i), structs.BatchJob, &one
		job.Canonicalize()
		begun := time.Now()
		if err := r.propose(ctx, []state.Command{&state.SubmitJob{Job: job}}); err != nil {
			return nil, err
		}
		for placed := false; !placed; {
			batch, err := feed.Next(ctx)
			if err != nil {
				return nil, err
			}
			for _, c := range batch.Changes {
				a, _ := c.New.(*structs.Allocation)
				placed = placed || a != nil && a.Job == job.Name
			}
		}
		times = append(times, time.Since(begun))
	}
	return times, nil
}
