package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// The names of the one group and task of what run submits.
const runName = "run"

// drainTime is how long run waits for the rest of the output of a task that has ended.
const drainTime = 30 * time.Second

func run(e *Environment) *command {
	c := newCommand(e, "run", "[--] CMD [ARGS]", "Run a command on the cluster as if it ran here").remote()
	c.about = `Run a command on the cluster: stdout and stderr come here as they are written, the exit code is the command's, and an
interrupt stops it (a second one kills it). It is a batch job with one task, which is forgotten afterwards. The command has
no input. When there is no such program the exit code is 127, and 126 when it cannot be executed.`
	c.min, c.max = 1, -1
	c.own = true
	o := &runOptions{}
	c.flags.StringVar(&o.cpu, "cpu", "", "`CORES` that it needs. Default: 0.1")
	c.flags.StringVar(&o.memory, "memory", "", "`SIZE` of memory that it needs, such as 1GiB. Default: 128MiB")
	c.flags.StringVar(&o.disk, "disk", "", "`SIZE` of disk that it needs")
	c.flags.StringVar(&o.name, "name", "", "`NAME` of the job. Default: run-, the user, and some digits")
	c.flags.StringVar(&o.role, "role", "", "`ROLE` whose share it uses. Default: default")
	c.flags.StringVar(&o.priority, "priority", "", "`PRIORITY`, such as batch+10. Default: that of the role")
	c.flags.StringVar(&o.user, "user", "", "`USER` that it runs as. Default: as the agent decides")
	c.flags.StringVar(&o.driver, "driver", "", "`DRIVER` that runs it. Default: exec")
	c.flags.Var(&o.env, "env", "`NAME=VALUE` for its environment; may be repeated")
	c.flags.Var(&o.datacenters, "datacenter", "`NAME` of a datacenter that it may run in; may be repeated. Default: all")
	c.flags.Var(&o.constraints, "constraint", "`ATTRIBUTE=VALUE` that its node must have; may be repeated")
	c.flags.DurationVar(&o.limit, "timeout", 0, "stop it after this `TIME`")
	c.flags.DurationVar(&o.place, "place-timeout", 30*time.Second, "give up when it could not be placed for this `TIME`; 0: wait for ever")
	c.flags.BoolVar(&o.keep, "keep", false, "do not forget the job afterwards")
	c.run = func(_ context.Context, args []string) error {
		job, err := o.job(e, args)
		if err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		defer client.Close()
		err = (&session{env: e, client: client, job: job, options: o}).run()
		var code exitCode
		if err != nil && !errors.As(err, &code) {
			e.printError(err)
			return exitCode(exitProffer)
		}
		return err
	}
	return c
}

type runOptions struct {
	cpu, memory, disk, name, role, priority, user, driver string

	env, datacenters, constraints listFlag
	limit, place                  time.Duration
	keep                          bool
}

// job makes the job of a command line.
func (o *runOptions) job(e *Environment, args []string) (*structs.Job, error) {
	var problem error
	size := func(flag, text string) structs.Bytes {
		if text == "" {
			return 0
		}
		v, err := structs.ParseBytes(text)
		if err != nil && problem == nil {
			problem = usagef("-%s: %v", flag, err)
		}
		return v
	}
	resources := &structs.TaskResources{Memory: size("memory", o.memory), Disk: size("disk", o.disk)}
	if o.cpu != "" {
		v, err := structs.ParseMilli(o.cpu)
		if err != nil {
			problem = usagef("-cpu: %v", err)
		}
		resources.CPU = v
	}
	none, never := 0, false
	task := &structs.Task{Name: runName, Driver: o.driver, User: o.user, Resources: resources, Config: map[string]any{"command": args[0]}}
	if len(args) > 1 {
		rest := make([]any, len(args)-1)
		for i, a := range args[1:] {
			rest[i] = a
		}
		task.Config["args"] = rest
	}
	for _, pair := range o.env {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("-env: %q is not NAME=VALUE", pair)
		}
		if task.Env == nil {
			task.Env = map[string]string{}
		}
		task.Env[name] = value
	}
	job := &structs.Job{Name: o.name, Type: structs.BatchJob, Role: o.role, Priority: o.priority, Owner: actor(e.Getenv), Datacenters: o.datacenters,
		Groups: []*structs.Group{{Name: runName, Tasks: []*structs.Task{task}, MaxRunDuration: structs.Duration(o.limit),
			Restart:    &structs.Restart{Attempts: &none, Mode: "fail"},
			Reschedule: &structs.Reschedule{Attempts: &none, Unlimited: &never}}}}
	for _, pair := range o.constraints {
		attribute, value, ok := strings.Cut(pair, "=")
		if !ok || attribute == "" {
			return nil, usagef("-constraint: %q is not ATTRIBUTE=VALUE", pair)
		}
		if !strings.HasPrefix(attribute, "${") {
			attribute = "${" + attribute + "}"
		}
		job.Constraints = append(job.Constraints, &structs.Constraint{Attribute: attribute, Value: value})
	}
	if job.Name == "" {
		user := strings.Map(func(r rune) rune {
			if structs.ValidName(string(r)) {
				return r
			}
			return -1
		}, actor(e.Getenv))
		job.Name = joinNonEmpty("-", "run", user[:min(len(user), 32)], structs.NewID()[:8])
	}
	return job, problem
}

// session is one run of a command: the job, its events, and the output of its task.
type session struct {
	env     *Environment
	client  *api.Client
	job     *structs.Job
	options *runOptions

	mu      sync.Mutex
	placed  bool
	stopped bool // by an interrupt
	outputs sync.WaitGroup
	lost    error // why output is missing
}

// run submits the job, follows it to its end and returns how it ended.
func (s *session) run() (err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer func() {
		cancel(nil)
		s.outputs.Wait()
	}()
	signals := make(chan os.Signal, 2)
	if s.env.Signals != nil {
		s.env.Signals(signals)
	}
	zero := uint64(0)
	submitting, submitted := context.WithCancel(ctx)
	interrupts := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { s.watchSignals(signals, interrupts, submitting, cancel) })
	defer watcher.Wait()
	defer close(interrupts)

	done, err := s.client.SubmitJob(ctx, s.job, &zero)
	submitted()
	if err != nil {
		if errors.Is(context.Cause(ctx), errInterrupted) {
			s.forget()
			return errInterrupted
		}
		return err
	}
	defer s.forget()
	var giveUp *time.Timer
	if s.options.place > 0 {
		giveUp = time.AfterFunc(s.options.place, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.placed {
				cancel(errNotPlaced)
			}
		})
		defer giveUp.Stop()
	}
	end, err := s.follow(ctx, done.Index)
	if err != nil {
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errNotPlaced):
			fmt.Fprintf(s.env.Err, "Error: the command could not be placed for %s\n", s.options.place)
			s.env.explain(context.WithoutCancel(ctx), s.client, s.job.Name)
			return errNotPlaced
		case errors.Is(cause, errInterrupted):
			return errInterrupted
		}
		return err
	}
	s.drain(cancel)
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped {
		return errInterrupted
	}
	return s.result(end)
}

var errNotPlaced = exitCode(exitNotPlaced)

// watchSignals stops the job at the first interrupt and ends everything at the second one.
func (s *session) watchSignals(signals <-chan os.Signal, done <-chan struct{}, submitting context.Context, cancel context.CancelCauseFunc) {
	select {
	case <-signals:
	case <-done:
		return
	}
	if submitting.Err() == nil {
		cancel(errInterrupted)
		return
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	fmt.Fprintln(s.env.Err, "Stopping it; interrupt again to kill it.")
	stopping, stop := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := s.client.StopJob(stopping, s.job.Name, false); err != nil && stopping.Err() == nil {
			s.env.printError(err)
		}
	})
	select {
	case <-signals:
		cancel(errInterrupted)
	case <-done:
	}
	stop()
	asking.Wait()
}

// errEnded ends the event stream once the job's end is known.
var errEnded = errors.New("ended")

// follow reads the job's events from its submission on, starts to show the output of each allocation, and returns the
// last one when the job has ended.
func (s *session) follow(ctx context.Context, index uint64) (*structs.Allocation, error) {
	var last *structs.Allocation
	shown := map[structs.AllocID]bool{}
	err := s.client.Events(ctx, api.EventQuery{Job: s.job.Name, Topics: []string{"allocation", "job"}, Index: &index}, func(e *api.Events) error {
		for _, event := range e.Events {
			switch event.Topic {
			case "allocation":
				if event.Gone {
					continue
				}
				a := new(structs.Allocation)
				if err := json.Unmarshal(event.Record, a); err != nil {
					return structs.Errorf(structs.Internal, "event", "%w", err)
				}
				if !shown[a.ID] && began(a) {
					shown[a.ID] = true
					s.show(ctx, a.ID)
				}
				s.mu.Lock()
				s.placed = true
				s.mu.Unlock()
				last = a
				if a.Status == structs.AllocComplete || a.Status == structs.AllocFailed {
					return errEnded
				}
			case "job":
				job := new(structs.JobRecord)
				if event.Gone {
					return exitCode(exitStopped)
				}
				if err := json.Unmarshal(event.Record, job); err != nil {
					return structs.Errorf(structs.Internal, "event", "%w", err)
				}
				if job.Stopped && (last == nil || last.Ended()) || job.Status == structs.JobFailed || job.Status == structs.JobDone {
					return errEnded
				}
			}
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return last, nil
	}
	return last, err
}

// began reports whether the task of a has run, so that there is output, or none for good.
func began(a *structs.Allocation) bool {
	if t := a.Tasks[runName]; t != nil && !t.Started.IsZero() {
		return true
	}
	return a.Status == structs.AllocRunning
}

// show copies the output of an allocation to ours, in a goroutine of its own.
func (s *session) show(ctx context.Context, id structs.AllocID) {
	s.outputs.Go(func() {
		err := s.client.Logs(ctx, &api.LogsRequest{Alloc: id, Task: runName, Stdout: true, Stderr: true, Follow: true}, func(f *api.LogFrame) error {
			out := s.env.Out
			if f.Stream == "stderr" {
				out = s.env.Err
			}
			if f.Skipped > 0 {
				fmt.Fprintf(s.env.Err, "[%d bytes of %s are lost]\n", f.Skipped, f.Stream)
			}
			_, err := out.Write(f.Data)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.fault(err)
		}
	})
}

// drain waits for the rest of the output, and cuts it off when it does not end.
func (s *session) drain(cancel context.CancelCauseFunc) {
	cut := time.AfterFunc(drainTime, func() {
		s.fault(errors.New("it did not end in time"))
		cancel(nil)
	})
	defer cut.Stop()
	s.outputs.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		fmt.Fprintf(s.env.Err, "Warning: some of the output may be missing: %s\n", clean(s.lost.Error()))
	}
}

func (s *session) fault(err error) {
	s.mu.Lock()
	s.lost = err
	s.mu.Unlock()
}

// result is the exit code of the command, as an error.
func (s *session) result(a *structs.Allocation) error {
	if a == nil {
		fmt.Fprintln(s.env.Err, "Error: the job ended before it was placed")
		return exitCode(exitStopped)
	}
	t := a.Tasks[runName]
	switch {
	case a.Status == structs.AllocComplete && (t == nil || t.ExitCode == 0):
		if a.Desired == structs.DesiredStop && t != nil && t.Status == structs.TaskKilled {
			return exitCode(exitStopped)
		}
		return nil
	case t != nil && t.ExitCode > 0:
		if t.OOM {
			fmt.Fprintln(s.env.Err, "Error: the command was killed: out of memory")
		}
		if t.Status == structs.TaskError { // it never ran
			fmt.Fprintln(s.env.Err, "Error: "+clean(t.Why))
		}
		return exitCode(t.ExitCode)
	}
	why := a.Why
	if t != nil && t.Why != "" {
		why = t.Why
	}
	fmt.Fprintf(s.env.Err, "Error: the command did not run to its end: %s\n", cell(joinNonEmpty(": ", string(a.Status), why)))
	return exitCode(exitProffer)
}

// forget purges the job. What still runs of it is killed.
func (s *session) forget() {
	if s.options.keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := s.client.StopJob(ctx, s.job.Name, true); err != nil && structs.KindOf(err) != structs.NotFound {
		fmt.Fprintf(s.env.Err, "Warning: job %q could not be forgotten: %s\n", s.job.Name, clean(err.Error()))
	}
}
