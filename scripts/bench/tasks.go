//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// job makes a job of count tasks that need next to nothing.
func job(name, kind string, count int, driver string, config map[string]any) *structs.Job {
	return &structs.Job{Name: name, Type: kind, Groups: []*structs.Group{{Name: "g", Count: &count, Tasks: []*structs.Task{{
		Name: "t", Driver: driver, Config: config, KillTimeout: structs.Duration(10 * time.Second),
		Resources: &structs.TaskResources{CPU: 1, Memory: 4 << 20}}}}}}
}

func command(words ...any) map[string]any {
	c := map[string]any{"command": words[0]}
	if len(words) > 1 {
		c["args"] = words[1:]
	}
	return c
}

// seen is what a bench looks at in the records of events.
type seen struct {
	ID     structs.AllocID     `json:"id"`
	Job    string              `json:"job"`
	Name   string              `json:"name"`
	Status structs.AllocStatus `json:"status"` // of a job it has other values
	Why    string              `json:"why"`
}

var errSeen = errors.New("seen")

// watch calls look with each changed record of a topic until it returns true. began is closed once the stream stands.
func (a *agent) watch(ctx context.Context, q api.EventQuery, began chan<- struct{}, look func(topic string, gone bool, s *seen) (bool, error)) error {
	err := a.Events(ctx, q, func(e *api.Events) error {
		if began != nil {
			close(began)
			began = nil
		}
		for _, one := range e.Events {
			s := &seen{}
			if one.Record != nil {
				if err := json.Unmarshal(one.Record, s); err != nil {
					return err
				}
			}
			done, err := look(one.Topic, one.Gone, s)
			if err != nil {
				return err
			}
			if done {
				return errSeen
			}
		}
		return nil
	})
	if errors.Is(err, errSeen) {
		return nil
	}
	return err
}

// submitAndWait submits a job and waits until an event satisfies look.
func (a *agent) submitAndWait(ctx context.Context, j *structs.Job, topic string, look func(*seen) (bool, error)) (time.Duration, error) {
	begun := time.Now()
	done, err := a.SubmitJob(ctx, j, nil)
	if err != nil {
		return 0, err
	}
	err = a.watch(ctx, api.EventQuery{Job: j.Name, Topics: []string{topic}, Index: &done.Index}, nil, func(_ string, gone bool, s *seen) (bool, error) {
		return look(s)
	})
	return time.Since(begun), err
}

// end stops a job and waits until all of its allocations ended.
func (a *agent) end(ctx context.Context, name string) error {
	if _, err := a.StopJob(ctx, name, false); err != nil {
		return err
	}
	q := &api.Query{}
	for {
		j, meta, err := a.Job(ctx, name, q)
		if err != nil {
			return err
		}
		left := 0
		for _, g := range j.Groups {
			left += g.Pending + g.Running
		}
		if left == 0 {
			return nil
		}
		q.Index = meta.Index
	}
}

func running(s *seen) (bool, error) {
	switch s.Status {
	case structs.AllocRunning:
		return true, nil
	case structs.AllocFailed, structs.AllocComplete:
		return false, fmt.Errorf("job %q is %s: %s", s.Job, s.Status, s.Why)
	}
	return false, nil
}

func complete(s *seen) (bool, error) {
	switch s.Status {
	case structs.AllocComplete:
		return true, nil
	case structs.AllocFailed:
		return false, fmt.Errorf("%s%s failed: %s", s.Job, s.Name, s.Why)
	}
	return false, nil
}

// measureLatency submits jobs of one task that sleeps, each after the last one ended, and waits on the event stream.
func measureLatency(ctx context.Context, b *bench) error {
	a, err := b.devAgent(ctx)
	if err != nil {
		return err
	}
	var times spread
	before := a.cost()
	for i := range b.samples + 5 {
		j := job(fmt.Sprintf("latency-%d", i), structs.ServiceJob, 1, "exec", command("/bin/sleep", "100000"))
		took, err := a.submitAndWait(ctx, j, "allocation", running)
		if err != nil {
			return err
		}
		if i >= 5 { // the first ones are to warm up
			times = append(times, took)
		}
		if err := a.end(ctx, j.Name); err != nil {
			return err
		}
	}
	note := a.cost().since(before, b.samples+5, "job with its end")
	what := fmt.Sprintf("submit to running, exec, %d samples", len(times))
	b.add(figure{What: what + ", p50", Unit: "ms", Must: 15, Aim: 5, Got: ms(times.at(0.5)), Note: note})
	b.add(figure{What: what + ", p99", Unit: "ms", Must: 50, Aim: 10, Got: ms(times.at(0.99)), Note: fmt.Sprintf("worst %.1f ms", ms(times.at(1)))})
	return nil
}

// measureRun takes the wall time of a command that runs another one on the node.
func measureRun(ctx context.Context, b *bench) error {
	a, err := b.devAgent(ctx)
	if err != nil {
		return err
	}
	var times spread
	var used time.Duration
	for i := range min(b.samples, 100) + 3 {
		cmd := exec.CommandContext(ctx, b.program, "run", "--", "true")
		cmd.Env = append(cmd.Environ(), "PROFFER_ADDR="+a.Address())
		begun := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("proffer run: %w\n%s", err, out)
		}
		if i >= 3 {
			times = append(times, time.Since(begun))
			used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
	}
	b.add(figure{What: "proffer run -- true, wall time, p50", Unit: "ms", Must: 60, Aim: 25, Got: ms(times.at(0.5)),
		Note: fmt.Sprintf("p99 %.1f ms; the command itself used %.1f ms CPU", ms(times.at(0.99)), ms(used)/float64(len(times)))})
	return nil
}

// measureBatch runs short processes in one job, some times, and takes the middle one.
func measureBatch(ctx context.Context, b *bench) error {
	const count = 1000
	a, err := b.devAgent(ctx)
	if err != nil {
		return err
	}
	var times spread
	before := a.cost()
	for i := range b.rounds {
		j := job(fmt.Sprintf("batch-%d", i), structs.BatchJob, count, "exec", command("/bin/true"))
		took, err := a.submitAndWait(ctx, j, "job", complete)
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	b.add(figure{What: "1,000 × /bin/true, one batch job, one node", Unit: "tasks/s", Must: 300, Aim: 600, More: true,
		Got: count / times.at(0.5).Seconds(), Note: a.cost().since(before, count*b.rounds, "task")})
	return nil
}

// measureJobs has 8 clients submit jobs of one mock task that ends at once. One event stream tells when all were placed
// and when all were done.
func measureJobs(ctx context.Context, b *bench) error {
	const count, clients = 1000, 8
	a, err := b.devAgent(ctx)
	if err != nil {
		return err
	}
	var submitted, placed, done spread
	before := a.cost()
	for i := range b.rounds {
		s, p, d, err := submitMany(ctx, a, fmt.Sprintf("jobs-%d-", i), count, clients)
		if err != nil {
			return err
		}
		submitted, placed, done = append(submitted, s), append(placed, p), append(done, d)
	}
	note := a.cost().since(before, count*b.rounds, "job")
	rate := func(s spread) float64 { return count / s.at(0.5).Seconds() }
	b.add(figure{What: "1,000 jobs by 8 clients, placed", Unit: "jobs/s", Must: 2000, Aim: 10000, More: true, Got: rate(placed),
		Note: fmt.Sprintf("while the node runs them; submitted %.0f/s", rate(submitted))})
	b.add(figure{What: "1,000 jobs by 8 clients, mock driver, to done", Unit: "jobs/s", Must: 1000, Aim: 5000, More: true, Got: rate(done), Note: note})
	return nil
}

func submitMany(ctx context.Context, a *agent, prefix string, count, clients int) (submitted, placed, done time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var begun time.Time
	began := make(chan struct{})
	var watched error
	var watching sync.WaitGroup
	watching.Go(func() {
		placedIDs, doneIDs := map[structs.AllocID]bool{}, map[structs.AllocID]bool{}
		watched = a.watch(ctx, api.EventQuery{Topics: []string{"allocation"}}, began, func(_ string, _ bool, s *seen) (bool, error) {
			if !strings.HasPrefix(s.Job, prefix) {
				return false, nil
			}
			if !placedIDs[s.ID] {
				placedIDs[s.ID] = true
				if len(placedIDs) == count {
					placed = time.Since(begun)
				}
			}
			if end, err := complete(s); err != nil || !end {
				return false, err
			}
			doneIDs[s.ID] = true
			done = time.Since(begun)
			return len(doneIDs) == count, nil
		})
		if watched != nil {
			cancel(watched)
		}
	})
	select {
	case <-began:
	case <-ctx.Done():
		watching.Wait()
		return 0, 0, 0, context.Cause(ctx)
	}
	begun = time.Now()
	var submitting sync.WaitGroup
	failures := make([]error, clients)
	for c := range clients {
		submitting.Go(func() {
			client, err := api.New(api.Config{Address: a.Address(), Actor: "bench"})
			if err != nil {
				failures[c] = err
				return
			}
			defer client.Close()
			for i := c; i < count; i += clients {
				j := job(fmt.Sprint(prefix, i), structs.BatchJob, 1, "mock", nil)
				if _, err := client.SubmitJob(ctx, j, nil); err != nil {
					failures[c] = err
					cancel(err)
					return
				}
			}
		})
	}
	submitting.Wait()
	submitted = time.Since(begun)
	watching.Wait()
	if err = errors.Join(failures...); err == nil && watched != nil {
		err = watched
	}
	return submitted, placed, done, err
}
