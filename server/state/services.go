package state

import (
	"iter"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Services have no records: who gives one is read from the allocations of the jobs that have it. The index says which jobs
// these are, so that allocations cost nothing more, and nothing of an allocation can stay behind.

// serviceKey orders versions of jobs by the services of their groups.
type serviceKey struct {
	service, job string
	version      uint64
}

func (a serviceKey) less(b serviceKey) bool {
	if c := strings.Compare(a.service, b.service); c != 0 {
		return c < 0
	}
	if c := strings.Compare(a.job, b.job); c != 0 {
		return c < 0
	}
	return a.version < b.version
}

// servicesOf returns the names of the services of a job, each once.
func servicesOf(job *structs.Job) (names []string) {
	for _, g := range job.Groups {
	next:
		for _, s := range g.Services {
			for _, name := range names {
				if name == s.Name {
					continue next
				}
			}
			names = append(names, s.Name)
		}
	}
	return names
}

// indexVersion keeps the index of services.
func (t *trees) indexVersion(old, new any) (d dirty) {
	if v, ok := old.(*structs.JobVersion); ok {
		for _, name := range servicesOf(v.Job) {
			t.byService.Delete(serviceKey{name, v.Job.Name, v.Version})
			d = dirtyByService
		}
	}
	if v, ok := new.(*structs.JobVersion); ok {
		for _, name := range servicesOf(v.Job) {
			t.byService.Set(serviceKey{name, v.Job.Name, v.Version})
			d = dirtyByService
		}
	}
	return d
}

// Services yields the names of the services that versions of jobs have, from a name on, each with those jobs by name.
func (s *Snapshot) Services(first string) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		var jobs []string
		name, stopped := "", false
		s.byService.Ascend(serviceKey{service: first}, func(k serviceKey) bool {
			if k.service != name && len(jobs) > 0 {
				if stopped = !yield(name, jobs); stopped {
					return false
				}
				jobs = nil
			}
			name = k.service
			if len(jobs) == 0 || jobs[len(jobs)-1] != k.job {
				jobs = append(jobs, k.job)
			}
			return true
		})
		if !stopped && len(jobs) > 0 {
			yield(name, jobs)
		}
	}
}

// ServiceJobs returns the jobs of which a version has a service, by name.
func (s *Snapshot) ServiceJobs(service string) []string {
	for name, jobs := range s.Services(service) {
		if name == service {
			return jobs
		}
		break
	}
	return nil
}

// ServiceKeys returns what ServiceInstances hangs on.
func (s *Snapshot) ServiceKeys(service string) []Key {
	keys := []Key{OfService(service)}
	nodes := map[structs.NodeID]bool{}
	for _, job := range s.ServiceJobs(service) {
		keys = append(keys, OfJobAllocs(job))
		for a := range s.AllocsOfJob(job) {
			if !a.Ended() && !nodes[a.Node] {
				nodes[a.Node] = true
				keys = append(keys, OfNode(a.Node))
			}
		}
	}
	return keys
}

// ServiceInstances returns the allocations that give a service now, by job, group and index, and how many there are that
// would if they were ready. A service that no version of a job has is not known.
func (s *Snapshot) ServiceInstances(service string) (list []*structs.ServiceInstance, allocs int, known bool) {
	list = []*structs.ServiceInstance{}
	for _, job := range s.ServiceJobs(service) {
		known = true
		var version *structs.JobVersion
		for a := range s.AllocsOfJob(job) {
			if a.Ended() || a.Desired != structs.DesiredRun {
				continue
			}
			if version == nil || version.Version != a.Version {
				if version = s.version(job, a.Version); version == nil {
					continue
				}
			}
			g := version.Job.Group(a.Group)
			if g == nil {
				continue
			}
			for _, x := range g.Services {
				if x.Name != service {
					continue
				}
				allocs++
				if a.Provides() {
					list = append(list, s.instance(g, a, x))
				}
			}
		}
	}
	return list, allocs, known
}

// instance says where an allocation gives a service.
func (s *Snapshot) instance(g *structs.Group, a *structs.Allocation, x *structs.Service) *structs.ServiceInstance {
	i := &structs.ServiceInstance{Service: x.Name, Tags: x.Tags, Alloc: a.ID, Index: a.Index, Job: a.Job, Group: a.Group, Role: a.Role,
		Node: a.Node, NodeName: a.NodeName, Since: a.Started}
	n := s.Node(a.Node)
	if n != nil {
		i.Datacenter = n.Datacenter
	}
	var port *structs.AssignedPort
	for k := range a.Ports {
		if a.Ports[k].Label == x.Port && x.Port != "" {
			port = &a.Ports[k]
		}
	}
	i.Address, i.Port = x.At(g, a, port, n)
	return i
}
