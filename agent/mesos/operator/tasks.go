package operator

import (
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// page is where tasks are written.
type page struct {
	*lens
	*encoder
}

// task writes one task.
func (d *document) task(t *task) { page{d.lens, d.encoder}.task(t) }

func (d page) task(t *task) {
	e, a := d.encoder, t.alloc
	info := t.info()
	e.open('{')
	e.textAt("id", t.id)
	e.textAt("slave_id", string(a.Node))
	e.textAt("executor_id", t.executor())
	e.textAt("state", stateName(t.state))
	if a.External != nil {
		d.common(t, info)
		e.resources("resources", t.holds(), rangesOf(t.ports()))
		d.about(info)
	} else {
		d.fixed(t)
		if ports := t.ports(); len(ports) > 0 {
			e.resources("resources", t.holds(), rangesOf(ports))
			d.discovery(t)
		}
	}
	e.key("statuses")
	e.open('[')
	d.status(t)
	e.close(']')
	e.close('}')
	e.part()
}

// fixed writes what tasks of built-in frameworks share with those of the same group: it is made once for all of them.
func (d page) fixed(t *task) {
	key := t.spec.Name + "/" + t.alloc.Role
	if len(t.ports()) > 0 {
		key += "/ports"
	}
	if s := t.alloc.OfSlack(); t.alone && !s.IsZero() {
		key += "/" + s.String()
	}
	raw := t.group.fixed[key]
	if raw == nil {
		part := page{d.lens, &encoder{bare: true}}
		part.common(t, nil)
		if len(t.ports()) == 0 {
			part.resources("resources", t.holds(), nil)
			part.discovery(t)
		}
		raw = part.buf
		t.group.fixed[key] = raw
	}
	d.raw(raw)
}

// common writes what a task has of its framework and its text.
func (d page) common(t *task, info *wire.TaskInfo) {
	e := d.encoder
	e.textAt("name", t.name)
	e.textAt("framework_id", string(t.alloc.Framework))
	e.textAt("role", mesos.RoleOut(t.alloc.Role))
	if user := d.user(t, info); user != "" {
		e.textAt("user", user)
	}
	if t.spec != nil {
		e.labels(labelsIn(t))
	}
}

// labelsIn are the free names and values of a task of a job.
func labelsIn(t *task) map[string]string {
	if len(t.group.job.Meta)+len(t.group.Meta)+len(t.spec.Meta) == 0 {
		return nil
	}
	all := maps.Clone(t.group.job.Meta)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, t.group.Meta)
	maps.Copy(all, t.spec.Meta)
	return all
}

// attributes writes the meta of a node as masters and agents write attributes: numbers as such, all else as text.
func (e *encoder) attributes(meta map[string]string) {
	e.key("attributes")
	e.open('{')
	for _, a := range mesos.AttributesOf(meta) {
		e.named(a.Name)
		if a.Scalar != nil {
			e.raw([]byte(meta[a.Name]))
		} else {
			e.text(meta[a.Name])
		}
	}
	e.close('}')
}

func (e *encoder) labels(all map[string]string) {
	if len(all) == 0 {
		return
	}
	e.key("labels")
	e.open('[')
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e.open('{')
		e.textAt("key", name)
		e.textAt("value", all[name])
		e.close('}')
	}
	e.close(']')
}

// discovery says by what services the group of a task of a job is found.
func (d page) discovery(t *task) {
	if len(t.group.Services) == 0 || !t.first {
		return
	}
	e := d.encoder
	e.key("discovery")
	e.open('{')
	e.textAt("visibility", wire.VisibleCluster.String())
	e.textAt("name", t.group.Services[0].Name)
	e.key("ports")
	e.open('{')
	e.key("ports")
	e.open('[')
	for _, p := range t.alloc.Ports {
		e.open('{')
		e.intAt("number", int64(p.Port))
		if p.Label != "" {
			e.textAt("name", p.Label)
		}
		if p.Protocol != "" {
			e.textAt("protocol", p.Protocol)
		}
		e.close('}')
	}
	e.close(']')
	e.close('}')
	e.close('}')
}

// about writes what a framework said of its task beside what is asked for.
func (d page) about(info *wire.TaskInfo) {
	if info == nil {
		return
	}
	if info.Labels != nil && len(info.Labels.Labels) > 0 {
		d.key("labels")
		d.raw(listJSON(info.Labels))
	}
	for name, message := range map[string]any{"discovery": info.Discovery, "container": info.Container, "health_check": info.HealthCheck} {
		if raw := objectJSON(message); raw != nil {
			d.key(name)
			d.raw(raw)
		}
	}
}

// listJSON returns the list in a message that has nothing else.
func listJSON(l *wire.Labels) []byte {
	raw := string(wire.JSON.Marshal(l))
	return []byte(strings.TrimSuffix(strings.TrimPrefix(raw, `{"labels":`), "}"))
}

// status writes how a task is now.
func (d page) status(t *task) {
	e := d.encoder
	e.open('{')
	e.textAt("state", stateName(t.state))
	e.secondsAt("timestamp", t.since())
	e.key("container_status")
	e.open('{')
	e.key("container_id")
	e.containerID(t.container())
	if own := d.ownNetworks(t); own != nil {
		e.key("network_infos")
		e.open('[')
		for _, info := range mesos.NetworkInfos(own) {
			e.raw(wire.JSON.Marshal(&info))
		}
		e.close(']')
	} else if host := d.address(t); host != "" {
		e.key("network_infos")
		e.open('[')
		e.open('{')
		e.key("ip_addresses")
		e.open('[')
		e.open('{')
		e.textAt("protocol", protocolOf(host))
		e.textAt("ip_address", host)
		e.close('}')
		e.close(']')
		e.close('}')
		e.close(']')
	}
	e.close('}')
	if h := t.healthy(); h != nil {
		e.boolAt("healthy", *h)
	}
	e.close('}')
}

func protocolOf(host string) string {
	if strings.Contains(host, ":") {
		return "IPv6"
	}
	return "IPv4"
}

func (e *encoder) containerID(id wire.ContainerID) {
	e.open('{')
	e.textAt("value", id.Value)
	if id.Parent != nil {
		e.key("parent")
		e.open('{')
		e.textAt("value", id.Parent.Value)
		e.close('}')
	}
	e.close('}')
}

// taskQuery is what /tasks is asked for.
type taskQuery struct {
	framework, task string
	limit, offset   int
	oldestFirst     bool
}

// tasksPage writes the answer to /tasks: some of all tasks, by the age of their allocations.
func (d *document) tasksPage(q taskQuery) {
	allocs := d.chosen(q.framework, q.task)
	slices.SortStableFunc(allocs, func(a, b *structs.Allocation) int {
		if a.CreateIndex == b.CreateIndex {
			return strings.Compare(string(a.ID), string(b.ID))
		}
		if (a.CreateIndex < b.CreateIndex) == q.oldestFirst {
			return -1
		}
		return 1
	})
	e := d.encoder
	e.open('{')
	e.key("tasks")
	e.open('[')
	skip, left := q.offset, q.limit
	for _, a := range allocs {
		if left == 0 {
			break
		}
		d.tasks(a, func(t *task) bool {
			switch {
			case q.task != "" && t.id != q.task:
				return true
			case skip > 0:
				skip--
				return true
			}
			d.task(t)
			left--
			return left > 0
		})
	}
	e.close(']')
	e.close('}')
}

// chosen returns the allocations that may have the tasks that are asked for.
func (d *document) chosen(framework, id string) (out []*structs.Allocation) {
	if id != "" {
		alloc, _, _ := strings.Cut(id, ".")
		if a := d.Alloc(structs.AllocID(alloc)); a != nil && a.External == nil && (framework == "" || string(a.Framework) == framework) {
			return []*structs.Allocation{a}
		}
	}
	if framework != "" {
		return slices.Clone(d.workOf(structs.FrameworkID(framework)).allocs)
	}
	return slices.Collect(d.Allocs())
}
