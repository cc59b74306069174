package containers

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Containers that are within no task: each is a job of the region with one task, on this node alone. See DESIGN.md.

// Jobs is what they need of the region. *api.Client is one.
type Jobs interface {
	SubmitJob(ctx context.Context, job *structs.Job, expect *uint64) (*api.JobSubmitted, error)
	JobAllocations(ctx context.Context, name string, q *api.Query) ([]*structs.Allocation, *api.Meta, error)
	ExplainJob(ctx context.Context, name, group string) (*api.Explanation, error)
	StopJob(ctx context.Context, name string, purge bool) (*api.Written, error)
}

// placeWithin is how long the region may take to give a container its place before the launch is refused. It gives one in milliseconds when
// there is room; this is for a change of leader, and for room that is just being made.
const placeWithin = 10 * time.Second

// mostKnown bounds the allocations that ended among which a container is looked for.
const mostKnown = 1000

// alone returns the newest allocation of a container that is within no task, as far as the node knows one.
func (c *Containers) alone(id string) (found structs.AllocID, ok bool) {
	name := mesos.ContainerJobName(c.node.Node().ID, id)
	newest := uint64(0)
	for _, k := range c.node.Known(mostKnown) { // one that was removed may still be ending
		if k.Alloc.Job == name && (!ok || k.Alloc.CreateIndex > newest) {
			found, newest, ok = k.Alloc.ID, k.Alloc.CreateIndex, true
		}
	}
	return found, ok
}

// beginAlone has the region run a container, and answers when it runs or cannot.
func (c *Containers) beginAlone(w http.ResponseWriter, r *http.Request, l *wire.LaunchAnyContainer, who mesos.Caller) error {
	job, err := mesos.ContainerJob(c.node.Node().ID, l)
	if err != nil {
		return mesos.Refuse(http.StatusBadRequest, "%v", err)
	}
	jobs, err := c.jobs(who.Actor)
	if err != nil {
		return err
	}
	ctx := r.Context()
	made, err := jobs.SubmitJob(ctx, job, new(uint64(0))) // there must be none
	switch structs.KindOf(err) {
	case "":
	case structs.Conflict: // it runs, or has ended and was not removed
		w.WriteHeader(http.StatusAccepted)
		return nil
	case structs.Invalid, structs.Forbidden, structs.Exhausted:
		return mesos.Refuse(http.StatusBadRequest, "%v", err)
	default:
		return err
	}
	c.log.Info("a container begins within no task", "container", l.ContainerID.Value, "job", job.Name, "role", job.Role, "actor", who.Actor)
	if err := c.placed(ctx, jobs, job, made.Index); err != nil {
		// Whoever asked does not hear that it runs, so it must not run later. If that fails, it is a job that people see and can stop.
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if _, failed := jobs.StopJob(after, job.Name, true); failed != nil {
			c.log.Warn("a container that was refused cannot be withdrawn", "job", job.Name, "err", failed)
		}
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// placed waits until the one task of a job began that was submitted at an index, and says why it does not. Allocations from before are of a container
// of the same id that was removed: they may still be ending.
func (c *Containers) placed(ctx context.Context, jobs Jobs, job *structs.Job, since uint64) error {
	by := time.Now().Add(placeWithin)
	for q := (api.Query{}); ; {
		all, meta, err := jobs.JobAllocations(ctx, job.Name, &q)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(a *structs.Allocation) bool { return a.CreateIndex <= since })
		wait := 5 * time.Minute // for a change of what is under way
		if len(all) > 0 {
			a := all[0]
			for _, s := range a.Tasks {
				if s.Started != 0 {
					return nil
				}
			}
			if a.Ended() {
				return mesos.Refuse(http.StatusBadRequest, "The container did not begin: %s", whyNot(a))
			}
		} else if wait = time.Until(by); wait <= 0 {
			return c.noPlace(ctx, jobs, job)
		}
		q.Index, q.Wait = meta.Index, wait
	}
}

// whyNot says why the task of an allocation never began.
func whyNot(a *structs.Allocation) string {
	for _, s := range a.Tasks {
		if s.Why != "" {
			return s.Why
		}
	}
	if a.Why != "" {
		return a.Why
	}
	return "its allocation is " + string(a.Status)
}

// noPlace says why a job has no place on the node.
func (c *Containers) noPlace(ctx context.Context, jobs Jobs, job *structs.Job) error {
	told, err := jobs.ExplainJob(ctx, job.Name, mesos.ContainerGroup)
	if err != nil {
		return err
	}
	return mesos.Refuse(http.StatusBadRequest, "The region has no place for the container on this node: %s", reasonsOf(told))
}

// reasonsOf puts into words what an explanation says of a job that may run on one node alone.
func reasonsOf(told *api.Explanation) string {
	var out []string
	for _, g := range told.Groups {
		for _, r := range g.Reasons {
			if strings.Contains(r.Subject, "${node.id}") {
				continue // of the other nodes
			}
			text := r.What
			if r.Nearest != "" {
				text += ": " + r.Nearest
			}
			out = append(out, text)
		}
		if g.Order != "" {
			out = append(out, g.Order)
		}
	}
	if len(out) == 0 {
		return "it is still being decided; ask again"
	}
	return strings.Join(out, "; ")
}

// stopAlone ends or removes a container that is within no task and that the node does not run, by its job.
func (c *Containers) stopAlone(ctx context.Context, id *wire.ContainerID, who mesos.Caller, remove bool) error {
	jobs, err := c.jobs(who.Actor)
	if err != nil {
		return err
	}
	_, err = jobs.StopJob(ctx, mesos.ContainerJobName(c.node.Node().ID, id.Value), remove)
	if structs.KindOf(err) == structs.NotFound {
		return unknown(id)
	}
	return err
}
