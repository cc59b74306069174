package docker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Whole cores. A container of a task that has some runs on them alone. Every other one of this node keeps off them: it is created with what
// is left, and those that are there are changed by Keep, which goes on trying while the engine does not answer.

// Labels of a container that say where it may run.
const (
	labelCores  = labelPrefix + "cores"  // that it has for itself
	labelCpuset = labelPrefix + "cpuset" // that its config asks for
)

// pins is where containers may run.
type pins struct {
	mu      sync.Mutex
	all     []int             // cores of the node
	left    []int             // for containers that have none of their own; nil: all
	owed    bool              // those that are there have still to hear of it
	news    chan struct{}     // has a value when they have
	missing map[string]string // why tasks can have no "cores" and no bounds of their "io"
}

// KeepOff notes which cores are taken, and has Keep change the containers that are there.
func (d *Driver) KeepOff(_ context.Context, taken, left []int) error {
	p := &d.pins
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.left
	p.all, p.left = slices.Concat(taken, left), nil
	slices.Sort(p.all)
	if len(taken) > 0 && len(left) > 0 {
		p.left = slices.Clone(left)
	}
	if p.owed = p.owed || !slices.Equal(before, p.left) || d.opts.Folder != "" && exists(d.keptOff()); p.owed {
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
	return nil
}

// runsOn is where a container without cores of its own may run, of those that it asks for; empty: anywhere.
func (d *Driver) runsOn(asked string) string {
	d.pins.mu.Lock()
	left := d.pins.left
	d.pins.mu.Unlock()
	if left == nil {
		return asked
	}
	if want, err := drivers.ParseCores(asked); err == nil && len(want) > 0 {
		left = slices.DeleteFunc(want, func(n int) bool { return !slices.Contains(left, n) })
	}
	if len(left) == 0 {
		return asked // it asked for nothing else
	}
	return drivers.FormatCores(left)
}

// exclusive puts the cores of the task, and the bounds of its disk use, into a container's limits.
func (d *Driver) exclusive(spec *drivers.Spec, c *config, r *container.Resources, labels map[string]string) error {
	object := "task " + spec.ID
	switch {
	case len(spec.Cores) == 0:
		r.CpusetCpus = d.runsOn(c.cpuset)
		if c.cpuset != "" {
			labels[labelCpuset] = c.cpuset
		}
	case c.cpuset != "":
		return structs.Errorf(structs.Invalid, object+".config.cpuset_cpus", "the task has whole cores, and the node says which").Advise("leave it out")
	case d.lacks("cores") != "":
		return structs.Errorf(structs.Unavailable, object, "it asks for cores for itself: %s", d.lacks("cores"))
	default:
		r.CpusetCpus = drivers.FormatCores(spec.Cores)
		labels[labelCores] = r.CpusetCpus
	}
	if spec.IO == nil {
		return nil
	}
	if why := d.lacks("io"); why != "" {
		return structs.Errorf(structs.Unavailable, object, "it asks for bounds of its disk use: %s", why)
	}
	return d.boundIO(spec, r)
}

// lacks says why tasks cannot have something; empty: they can.
func (d *Driver) lacks(what string) string {
	d.pins.mu.Lock()
	defer d.pins.mu.Unlock()
	return d.pins.missing[what]
}

// offers notes from what the engine says of itself whether tasks can have cores and bounds of their disk use, and says so in attrs.
func (d *Driver) offers(info *system.Info, attrs map[string]string) {
	missing := map[string]string{}
	if !strings.HasPrefix(d.opts.Endpoint, "unix:") {
		missing["cores"] = "the engine may be on another machine"
		missing["io"] = missing["cores"]
	}
	if !info.CPUSet {
		missing["cores"] = "the engine has no cpuset controller"
	}
	if i := slices.IndexFunc(info.Warnings, func(w string) bool { return strings.Contains(w, "blkio throttle") || strings.Contains(w, "io.max") }); i >= 0 {
		missing["io"] = "the engine says: " + info.Warnings[i]
	}
	for _, what := range []string{"cores", "io"} {
		if why := missing[what]; why != "" {
			attrs[what+".missing"] = why
		} else {
			attrs[what] = "1"
		}
	}
	d.pins.mu.Lock()
	d.pins.missing = missing
	d.pins.mu.Unlock()
}

// keptOff is a file that is there while containers are limited to some of the cores: an agent that is started anew looks for them then.
func (d *Driver) keptOff() string { return filepath.Join(d.opts.Folder, "kept-off") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// pin has the containers that are there keep off the cores that others have, if they do not yet.
func (d *Driver) pin(ctx context.Context) {
	p := &d.pins
	p.mu.Lock()
	owed, limited := p.owed, p.left != nil
	p.owed = false
	p.mu.Unlock()
	if !owed {
		return
	}
	err := d.pinAll(ctx, limited)
	if err == nil {
		return
	}
	p.mu.Lock()
	p.owed = true // at the next look
	p.mu.Unlock()
	if ctx.Err() == nil && structs.KindOf(err) != structs.Unavailable { // that the node's health says
		d.log.Warn("containers may run on cores that others have for themselves", "err", err)
	}
}

func (d *Driver) pinAll(ctx context.Context, limited bool) error {
	if limited && d.opts.Folder != "" {
		if err := os.MkdirAll(d.opts.Folder, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(d.keptOff(), nil, 0o600); err != nil {
			return err
		}
	}
	list, err := d.containers(ctx)
	if err != nil {
		return err
	}
	var fault error // the first one: the others keep off all the same
	for i := range list {
		c := &list[i]
		if c.Labels[labelCores] != "" || c.State == container.StateExited || c.State == container.StateDead {
			continue
		}
		t := &task{d: d, id: c.ID, spec: c.Labels[labelTask]}
		if err := t.move(ctx, c.Labels[labelCpuset]); err != nil && structs.KindOf(err) != structs.NotFound && structs.KindOf(err) != structs.Conflict {
			if structs.KindOf(err) == structs.Unavailable { // the engine does not answer
				return err
			}
			if fault == nil {
				fault = err
			}
		}
	}
	if fault != nil {
		return fault
	}
	if !limited && d.opts.Folder != "" {
		if err := os.Remove(d.keptOff()); !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// move says to the engine where a container may run. One that ended meanwhile is NotFound or Conflict.
func (t *task) move(ctx context.Context, asked string) error {
	on := t.d.runsOn(asked)
	if on == "" { // an empty list would be no change
		t.d.pins.mu.Lock()
		on = drivers.FormatCores(t.d.pins.all)
		t.d.pins.mu.Unlock()
	}
	if on == "" {
		return nil
	}
	return t.d.engine.look(ctx, t.object(), "say where it runs", func(ctx context.Context, api *client.Client) error {
		_, err := api.ContainerUpdate(ctx, t.id, client.ContainerUpdateOptions{Resources: &container.Resources{CpusetCpus: on}})
		return err
	})
}
