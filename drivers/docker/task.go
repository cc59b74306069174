package docker

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// task is the driver's view of a container. It implements drivers.Task.
type task struct {
	d    *Driver
	id   string // of the container
	spec string // Spec.ID
	out  *output

	mu    sync.Mutex
	at    structs.Time // of the last Stats
	spent structs.Duration

	measuring sync.Mutex // guards written
	written   written
}

func (t *task) object() string { return "task " + t.spec }

// Handle is the container's id.
func (t *task) Handle() []byte { return []byte(t.id) }

// inspect asks for the state of the container.
func (t *task) inspect(ctx context.Context) (state *container.State, err error) {
	err = t.d.engine.look(ctx, t.object(), "look at its container", func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerInspect(ctx, t.id, client.ContainerInspectOptions{})
		if state = r.Container.State; err == nil && state == nil {
			state = &container.State{}
		}
		return err
	})
	return state, err
}

// Addresses are those that the engine gave the container.
func (t *task) Addresses(ctx context.Context) (first []string, joined []structs.JoinedNetwork, err error) {
	err = t.d.engine.look(ctx, t.object(), "look at its container", func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerInspect(ctx, t.id, client.ContainerInspectOptions{})
		if err != nil || r.Container.NetworkSettings == nil {
			return err
		}
		has := maps.Clone(r.Container.NetworkSettings.Networks)
		if c := r.Container.Config; c != nil && c.Labels[labelJoined] != "" {
			for name := range strings.SplitSeq(c.Labels[labelJoined], ",") {
				joined = append(joined, structs.JoinedNetwork{Name: name, Addresses: addressesOf(has[name])})
				delete(has, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(has)) {
			first = append(first, addressesOf(has[name])...)
		}
		slices.SortStableFunc(first, func(a, b string) int { return strings.Count(a, ":") - strings.Count(b, ":") })
		return nil
	})
	return first, joined, err
}

// addressesOf are those that a container has in a network; nil: it is not in it.
func addressesOf(n *network.EndpointSettings) (out []string) {
	if n == nil {
		return nil
	}
	for _, a := range []netip.Addr{n.IPAddress, n.GlobalIPv6Address} {
		if a.IsValid() {
			out = append(out, a.String())
		}
	}
	return out
}

// Wait returns when the container ended and its output is in the files. An engine that cannot be asked is asked again.
func (t *task) Wait(ctx context.Context) (drivers.Exit, error) {
	state, err := t.ended(ctx)
	if err != nil {
		return drivers.Exit{}, err
	}
	t.out.drained(ctx)
	return exitOf(state), nil
}

// ended waits for the end of the container.
func (t *task) ended(ctx context.Context) (*container.State, error) {
	for {
		err := t.notRunning(ctx)
		if err == nil {
			var state *container.State
			if state, err = t.inspect(ctx); err == nil && !state.Running {
				return state, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case structs.KindOf(err) == structs.NotFound:
			return nil, err
		}
		// An engine that answers, but not this, is not asked without a pause.
		if t.d.engine.up(ctx) != nil || !pause.For(ctx, 100*time.Millisecond) {
			return nil, context.Cause(ctx)
		}
	}
}

// notRunning waits without a deadline: it is what a task is for.
func (t *task) notRunning(ctx context.Context) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	api, err := t.d.engine.client(waiting)
	if err != nil {
		return err
	}
	r := api.ContainerWait(waiting, t.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-r.Result:
		return nil
	case err := <-r.Error:
		return t.d.engine.explain(ctx, waiting, t.object(), "wait for its container", structs.Unavailable, err)
	}
}

// cutOff reports whether an engine was killed between making a container's process and starting its program. The next one finds the process
// and says that the container runs, for ever, whatever becomes of it; it has no time of a start.
func cutOff(s *container.State) bool {
	at, err := time.Parse(time.RFC3339Nano, s.StartedAt)
	return s.Running && err == nil && at.IsZero()
}

// exitOf says how a container ended. Engines report a signal as 128+n and so does a shell: one cannot tell them apart.
func exitOf(s *container.State) drivers.Exit {
	e := drivers.Exit{Code: s.ExitCode, OOM: s.OOMKilled, Why: firstLine(s.Error)}
	if e.Code > 128 && e.Code < 128+32 {
		e.Signal = e.Code - 128
	}
	return e
}

func (t *task) Signal(ctx context.Context, name string) error {
	n, err := drivers.Signal(name)
	if err != nil {
		return err
	}
	return t.kill(ctx, n)
}

func (t *task) kill(ctx context.Context, signal int) error {
	return t.d.engine.look(ctx, t.object(), "signal its container", func(ctx context.Context, api *client.Client) error {
		_, err := api.ContainerKill(ctx, t.id, client.ContainerKillOptions{Signal: strconv.Itoa(signal)})
		return err
	})
}

// Stop signals, waits and kills by itself: each step is a call that ends, where the engine's own stop would hang as long as it takes.
func (t *task) Stop(ctx context.Context, name string, grace time.Duration) error {
	n, err := drivers.Signal(name)
	if err != nil {
		return err
	}
	if grace <= 0 {
		n = 9
	}
	for first := true; ; first = false {
		if !first {
			n = 9
		}
		switch err := t.kill(ctx, n); structs.KindOf(err) {
		case "":
		case structs.Conflict: // it does not run, or is about to
			if state, err := t.inspect(ctx); err == nil && !state.Running {
				return nil
			}
		default:
			return err
		}
		limit := t.d.opts.CallTimeout
		if first && n != 9 {
			limit = grace
		}
		waiting, cancel := context.WithTimeout(ctx, limit)
		_, err := t.ended(waiting)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case structs.KindOf(err) == structs.NotFound:
			return err
		}
	}
}

// Stats fills in CPU from what the task used since the last call; the first one says 0.
func (t *task) Stats(ctx context.Context) (*drivers.Stats, error) {
	var raw container.StatsResponse
	err := t.d.engine.look(ctx, t.object(), "ask what it uses", func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerStats(ctx, t.id, client.ContainerStatsOptions{})
		if err != nil {
			return err
		}
		defer r.Body.Close()
		return json.NewDecoder(r.Body).Decode(&raw)
	})
	if err != nil {
		return nil, err
	}
	if raw.PidsStats.Current == 0 { // of an ended one there are zeros
		state, err := t.inspect(ctx)
		if err != nil {
			return nil, err
		}
		if !state.Running {
			return nil, structs.Errorf(structs.Conflict, t.object(), "it has ended")
		}
	}
	m := &raw.MemoryStats
	s := &drivers.Stats{Time: structs.At(time.Now()), CPUTime: structs.Duration(raw.CPUStats.CPUUsage.TotalUsage),
		Throttled: structs.Duration(raw.CPUStats.ThrottlingData.ThrottledTime), Memory: structs.Bytes(m.Usage - min(m.Usage, cache(m.Stats))),
		MemoryMax: structs.Bytes(m.MaxUsage), Limit: structs.Bytes(m.Limit), Pids: int(raw.PidsStats.Current), IO: ioOf(&raw.BlkioStats)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := s.Time.Sub(t.at); !t.at.IsZero() && d > 0 && s.CPUTime >= t.spent {
		s.CPU = structs.Milli((s.CPUTime - t.spent) * 1000 / d)
	}
	t.at, t.spent, s.MemoryMax = s.Time, s.CPUTime, max(s.MemoryMax, s.Memory)
	return s, nil
}

// ioOf adds up what was read from and written to all disks; nil: the engine counts nothing.
func ioOf(b *container.BlkioStats) *drivers.IOStats {
	if len(b.IoServiceBytesRecursive) == 0 {
		return nil
	}
	s := &drivers.IOStats{}
	for _, e := range b.IoServiceBytesRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			s.ReadBytes += structs.Bytes(e.Value)
		case "write":
			s.WriteBytes += structs.Bytes(e.Value)
		}
	}
	for _, e := range b.IoServicedRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			s.ReadOps += int64(e.Value)
		case "write":
			s.WriteOps += int64(e.Value)
		}
	}
	return s
}

// cache is page cache that can be dropped, by cgroups v1 and v2.
func cache(stats map[string]uint64) uint64 {
	if n, ok := stats["total_inactive_file"]; ok {
		return n
	}
	return stats["inactive_file"]
}

// Destroy removes the container with its anonymous volumes.
func (t *task) Destroy(ctx context.Context) error {
	if err := t.remove(ctx, false); err != nil {
		return err
	}
	t.d.forgetOutput(t.id)
	return nil
}

// remove removes the container; one that is gone is no error. With force it may run, otherwise that is Conflict. One that the engine
// goes on removing for call_timeout is Unavailable.
func (t *task) remove(ctx context.Context, force bool) error {
	for began := time.Now(); ; {
		err := t.d.engine.look(ctx, t.object(), "remove its container", func(ctx context.Context, api *client.Client) error {
			_, err := api.ContainerRemove(ctx, t.id, client.ContainerRemoveOptions{RemoveVolumes: true, Force: force})
			return err
		})
		switch structs.KindOf(err) {
		case structs.NotFound:
			return nil
		case structs.Conflict: // it runs, or is being removed
			state, look := t.inspect(ctx)
			switch {
			case structs.KindOf(look) == structs.NotFound:
				return nil
			case look != nil:
				return look
			case state.Running && !force:
				return structs.Errorf(structs.Conflict, t.object(), "it runs").Advise("stop it first")
			case time.Since(began) > t.d.opts.CallTimeout:
				return structs.Errorf(structs.Unavailable, t.object(), "the engine does not remove its container: %w", err)
			}
			if !pause.For(ctx, 20*time.Millisecond) {
				return context.Cause(ctx)
			}
			continue
		}
		return err
	}
}
