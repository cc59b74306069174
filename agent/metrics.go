package agent

import (
	"context"
	"io"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/structs"
)

// metrics gathers figures when somebody asks for them, and nothing in between.
type metrics struct{ registry *prometheus.Registry }

func newMetrics(*Agent) *metrics {
	m := &metrics{prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (a *self) Metrics(ctx context.Context, w io.Writer) error {
	own := prometheus.NewRegistry() // for this request
	own.MustRegister(&figures{ctx, (*Agent)(a)})
	families, err := prometheus.Gatherers{a.metrics.registry, own}.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// figures is the collector of what is Proffer's own, for one request.
type figures struct {
	ctx   context.Context
	agent *Agent
}

// Describe names no metric, which makes the collector unchecked: what there is depends on what the agent is.
func (f *figures) Describe(chan<- *prometheus.Desc) {}

func (f *figures) Collect(out chan<- prometheus.Metric) {
	a := f.agent
	gauge := func(name, help string, v float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc("proffer_"+name, help, names, nil), prometheus.GaugeValue, v, values...)
		if err == nil {
			out <- m
		}
	}
	gauge("info", "Version of the agent.", 1, "version", a.version, "region", a.config.Region, "server",
		strconv.FormatBool(a.server != nil), "client", strconv.FormatBool(a.client != nil))
	members := map[[2]string]int{}
	for _, m := range a.gossip.Members() {
		role := "client"
		if m.Role == gossip.RoleServer {
			role = "server"
		}
		members[[2]string{role, string(m.Status)}]++
	}
	for k, n := range members {
		gauge("members", "Members of the pool.", float64(n), "role", k[0], "status", k[1])
	}
	if a.server != nil {
		st := a.server.Raft().Stats()
		leader := 0.0
		if st.State == "leader" {
			leader = 1
		}
		gauge("raft_leader", "1 on the leader.", leader)
		gauge("raft_term", "Raft term.", float64(st.Term))
		gauge("raft_commit_index", "Raft commit index.", float64(st.CommitIndex))
		gauge("raft_applied_index", "Index of the state.", float64(st.AppliedIndex))
		gauge("raft_last_contact_seconds", "Time since the leader was heard of.", st.LastContact.Seconds())
		gauge("raft_queued", "Commands that wait to be committed.", float64(st.Queued))
		for _, o := range a.server.OfferFigures() {
			offerFigures(gauge, o)
		}
		snap := a.server.Store().Snapshot()
		nodes := map[structs.NodeStatus]int{}
		for n := range snap.Nodes() {
			nodes[n.Status]++
		}
		for status, n := range nodes {
			gauge("nodes", "Nodes of the region.", float64(n), "status", string(status))
		}
		all, ended := snap.AllocCount()
		gauge("allocations", "Allocations in the state.", float64(all-ended), "ended", "false")
		gauge("allocations", "Allocations in the state.", float64(ended), "ended", "true")
		gauge("jobs", "Jobs in the state.", float64(snap.JobCount()-snap.EndedJobCount()), "ended", "false")
		gauge("jobs", "Jobs in the state.", float64(snap.EndedJobCount()), "ended", "true")
	}
	if a.client != nil {
		connected := 0.0
		if _, ok := a.client.Connected(); ok {
			connected = 1
		}
		gauge("client_connected", "1 when the node has a session.", connected)
		if u, err := a.client.Usage(f.ctx, a.config.Client.TaskMetrics); err == nil {
			usageFigures(gauge, u)
			gauge("client_allocations", "Allocations on this node that did not end.", float64(u.Allocs))
			gauge("client_tasks", "Tasks that run on this node.", float64(u.Tasks))
			gauge("client_cpu_cores", "Cores that tasks use.", float64(u.CPU)/1000)
			gauge("client_memory_bytes", "Memory that tasks use.", float64(u.Memory))
			gauge("client_disk_free_bytes", "Free space of the data folder's disk.", float64(u.DiskFree))
		}
	}
}

// offerFigures has what became of the offers to one framework, on the leader.
func offerFigures(gauge func(name, help string, v float64, labels ...string), o *structs.OfferStatus) {
	of := func(name, help string, v float64, labels ...string) {
		gauge(name, help, v, append([]string{"framework", string(o.Framework)}, labels...)...)
	}
	of("offers", "Outstanding offers.", float64(o.Outstanding))
	of("offers_share", "Largest part of any resource of the region that outstanding offers hold.", float64(o.Share)/1000)
	for outcome, n := range map[string]uint64{"used": o.Accepted, "declined": o.Declined, "expired": o.Expired, "rescinded": o.Rescinded} {
		of("offers_ended", "Offers that ended since the framework connected.", float64(n), "outcome", outcome)
	}
	of("offers_unused_in_a_row", "Offers in a row of which the framework used nothing.", float64(o.Unused))
	of("offers_ignored_in_a_row", "Offers in a row that the framework did not answer.", float64(o.Ignored))
	hoarding := 0.0
	if o.Hoarding {
		hoarding = 1
	}
	of("offers_hoarding", "1 for a framework that lets offers end without an answer.", hoarding)
}
