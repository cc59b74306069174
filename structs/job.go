package structs

// Job is what a user submits: groups of tasks and how they shall run. The same value is read from HCL and JSON. Its
// versions are stored as JobVersion; what the region knows of it is its JobRecord.
type Job struct {
	Name               string            `json:"name" hcl:"label" change:"replace" doc:"The name of the job, unique in the region."`
	Type               string            `json:"type,omitempty" change:"replace" doc:"The built-in framework that runs it: service (keeps count running) or batch (runs to completion). Default service."`
	Role               string            `json:"role,omitempty" change:"replace" doc:"The role whose share it uses. Default: default."`
	Priority           string            `json:"priority,omitempty" change:"in_place" doc:"Band and level: monitoring, production, batch or best-effort, with a level such as batch+10. Default: that of its role."`
	Owner              string            `json:"owner,omitempty" change:"in_place" doc:"Whose work it is, for the user_limit of its role. The command line fills in who runs it; it is believed, until tokens say who somebody is."`
	FrameworkScheduler bool              `json:"framework_scheduler,omitempty" change:"in_place" doc:"It is the scheduler of a framework, which gets its work in its own ways: it counts for max_framework_share of its role."`
	Placement          string            `json:"placement,omitempty" change:"in_place" doc:"Which node is taken of those that will do: pack (the fullest, so that others stay free) or spread (the emptiest). Without it, what the role says."`
	Datacenters        []string          `json:"datacenters,omitempty" change:"replace" doc:"Datacenters it may run in; a trailing * matches any rest. Default: all."`
	Constraints        []*Constraint     `json:"constraint,omitempty" hcl:"block" change:"replace" doc:"What a node must satisfy."`
	Affinities         []*Affinity       `json:"affinity,omitempty" hcl:"block" change:"in_place" doc:"What a node should satisfy."`
	Spreads            []*Spread         `json:"spread,omitempty" hcl:"block" change:"in_place" doc:"What the allocations should be spread over."`
	Gang               *Gang             `json:"gang,omitempty" hcl:"block" change:"replace" doc:"Makes a gang of all allocations of a batch job: they are placed together or not at all, and when one of them ends otherwise than well, all are stopped and run again."`
	Update             *Update           `json:"update,omitempty" hcl:"block" change:"in_place" doc:"How a changed job replaces running work."`
	Tags               []string          `json:"tags,omitempty" change:"replace" doc:"Names that rules of other jobs, and its own, find its allocations by: beside and not_beside."`
	Meta               map[string]string `json:"meta,omitempty" hcl:"map" change:"replace" doc:"Free names and values, given to tasks as PROFFER_META_name."`
	Parameterized      *Parameterized    `json:"parameterized,omitempty" hcl:"block" change:"in_place" doc:"Makes a batch job one that is dispatched: it does not run by itself, and each dispatch is a job of its own."`
	Groups             []*Group          `json:"group,omitempty" hcl:"block" change:"replace" doc:"The groups."`
	Dispatched         *Dispatched       `json:"dispatched,omitempty" hcl:"-"`
}

// Job types.
const (
	ServiceJob = "service"
	BatchJob   = "batch"
)

// Placements of jobs and roles.
const (
	Pack        = "pack"
	SpreadApart = "spread"
)

// Constraint is a condition on a node's attribute, Attribute Operator Value, or on what runs there. It may be a wish, as an
// affinity is, until or since an allocation waited for some time.
type Constraint struct {
	Attribute   string   `json:"attribute,omitempty" doc:"What is looked at, such as ${attr.kernel.name}, ${meta.rack} or ${node.datacenter}. With beside and not_beside: how far they reach; without it, the node."`
	Operator    string   `json:"operator,omitempty" doc:"=, !=, >, >=, <, <=, regexp, not_regexp, version, semver, set_contains (the same as set_contains_all), set_contains_any, is_set, is_not_set, beside, not_beside, distinct_hosts or distinct_property. Default =."`
	Value       string   `json:"value,omitempty" doc:"What it is compared with. With beside and not_beside: tag=NAME, job=NAME or job=NAME/GROUP."`
	RelaxAfter  Duration `json:"relax_after,omitempty" doc:"When an allocation has waited so long, such nodes are preferred and no longer insisted on."`
	HardenAfter Duration `json:"harden_after,omitempty" doc:"Until an allocation has waited so long, such nodes are preferred and not insisted on."`
	Weight      int      `json:"weight,omitempty" doc:"How much such nodes are preferred as long as they are not insisted on, 1 to 100; 50 when it is not said. Only with relax_after or harden_after."`
}

// SoftAfter reports whether c is only a wish when an allocation has waited so long.
func (c *Constraint) SoftAfter(waited Duration) bool {
	return c.RelaxAfter > 0 && waited >= c.RelaxAfter || c.HardenAfter > 0 && waited < c.HardenAfter
}

// Affinity is a wish: nodes that satisfy it score Weight (-100 to 100) higher.
type Affinity struct {
	Attribute string `json:"attribute,omitempty" doc:"As in a constraint."`
	Operator  string `json:"operator,omitempty" doc:"As in a constraint, without distinct_hosts and distinct_property."`
	Value     string `json:"value,omitempty" doc:"As in a constraint."`
	Weight    int    `json:"weight,omitempty" doc:"-100 to 100; a negative weight repels. Default 50."`
}

// Spread asks that allocations are distributed over the values of an attribute.
type Spread struct {
	Attribute string          `json:"attribute,omitempty" doc:"As in a constraint."`
	Weight    int             `json:"weight,omitempty" doc:"1 to 100. Default 50."`
	Targets   []*SpreadTarget `json:"target,omitempty" hcl:"block" doc:"Wanted shares; without any, even."`
}

// SpreadTarget is the wanted share of one value.
type SpreadTarget struct {
	Value   string `json:"value" hcl:"label" doc:"A value of the attribute."`
	Percent int    `json:"percent,omitempty" doc:"Wanted share in percent. Each value that is no target counts as one that wants what is left of 100."`
}

// Update bounds a rolling change.
type Update struct {
	MaxParallel    int      `json:"max_parallel,omitempty" doc:"How many allocations of a group are replaced at a time. Default 1."`
	MinHealthyTime Duration `json:"min_healthy_time,omitempty" doc:"How long an allocation must run to count as healthy. Default 1s."`
	HealthyTimeout Duration `json:"healthy_timeout,omitempty" doc:"How long to wait for one to become healthy before the change stops. Default 5m."`
}

// Group is a set of tasks that are placed together on one node, Count times.
type Group struct {
	Name           string            `json:"name" hcl:"label" change:"replace" doc:"The name of the group, unique in the job."`
	Count          *int              `json:"count,omitempty" change:"in_place" doc:"How many allocations. Default 1; 0 is allowed."`
	Constraints    []*Constraint     `json:"constraint,omitempty" hcl:"block" change:"replace" doc:"Conditions beside those of the job."`
	Affinities     []*Affinity       `json:"affinity,omitempty" hcl:"block" change:"in_place" doc:"Wishes beside those of the job."`
	Spreads        []*Spread         `json:"spread,omitempty" hcl:"block" change:"in_place" doc:"Spreads beside those of the job."`
	Restart        *Restart          `json:"restart,omitempty" hcl:"block" change:"in_place" doc:"How failed tasks are started again on the node."`
	Reschedule     *Reschedule       `json:"reschedule,omitempty" hcl:"block" change:"in_place" doc:"How failed allocations are placed again."`
	Migrate        *Migrate          `json:"migrate,omitempty" hcl:"block" change:"in_place" doc:"How a drain moves allocations of a service to other nodes."`
	OnLost         string            `json:"on_lost,omitempty" change:"in_place" doc:"What happens when the node is cut off: replace, wait(DURATION) or fence. Default: replace; fence with a volume that no other allocation may have."`
	MaxRunDuration Duration          `json:"max_run_duration,omitempty" change:"replace" doc:"When an allocation is stopped at the latest after its start."`
	Disk           Bytes             `json:"disk,omitempty" change:"replace" doc:"Space of the shared alloc folder."`
	Network        *Network          `json:"network,omitempty" hcl:"block" change:"replace" doc:"What network the tasks of the group share, and its ports."`
	Volumes        []*GroupVolume    `json:"volume,omitempty" hcl:"block" change:"replace" doc:"Storage of the group, which its tasks mount with volume_mount."`
	Services       []*Service        `json:"service,omitempty" hcl:"block" change:"in_place" doc:"Names under which allocations of the group are found while they run and are ready."`
	Tags           []string          `json:"tags,omitempty" change:"replace" doc:"Tags beside those of the job."`
	Meta           map[string]string `json:"meta,omitempty" hcl:"map" change:"replace" doc:"As in the job; wins over it."`
	Tasks          []*Task           `json:"task,omitempty" hcl:"block" change:"replace" doc:"The tasks."`
}

// Restart is the policy of the node for tasks that fail.
type Restart struct {
	Attempts *int     `json:"attempts,omitempty" doc:"Restarts within the interval. Default 2 for service, 3 for batch."`
	Interval Duration `json:"interval,omitempty" doc:"The window in which attempts are counted. Default 30m."`
	Delay    Duration `json:"delay,omitempty" doc:"Pause before a restart; doubles with each one up to ten times it. Default 1s."`
	Mode     string   `json:"mode,omitempty" doc:"What follows when attempts are used up: fail (the allocation fails) or delay (wait for the next interval). Default fail."`
}

// Reschedule is the policy of the region for allocations that failed.
type Reschedule struct {
	Attempts  *int     `json:"attempts,omitempty" doc:"Placements after failures within the interval; ignored when unlimited. Default 1 for batch."`
	Interval  Duration `json:"interval,omitempty" doc:"The window in which attempts are counted. Default 24h."`
	Delay     Duration `json:"delay,omitempty" doc:"Pause before the first; doubles with each one. Default 5s for service, 5s for batch."`
	MaxDelay  Duration `json:"max_delay,omitempty" doc:"Upper bound of the pause. Default 1h."`
	Unlimited *bool    `json:"unlimited,omitempty" doc:"No bound on attempts. Default true for service without attempts."`
}

// Task is one process tree run by a driver.
type Task struct {
	Name            string            `json:"name" hcl:"label" change:"replace" doc:"The name of the task, unique in the group."`
	Driver          string            `json:"driver,omitempty" change:"replace" doc:"exec, docker, oci or mock. Default exec."`
	Config          map[string]any    `json:"config,omitempty" hcl:"any" change:"replace" doc:"What the driver needs; see the drivers."`
	Env             map[string]string `json:"env,omitempty" hcl:"map" change:"replace" doc:"Environment variables."`
	Meta            map[string]string `json:"meta,omitempty" hcl:"map" change:"replace" doc:"As in the group; wins over it."`
	User            string            `json:"user,omitempty" change:"replace" doc:"Who the task runs as: a name, a number, or uid:gid. Default: nobody when the agent is root, the agent's user otherwise; with docker and oci that of the image."`
	KillTimeout     Duration          `json:"kill_timeout,omitempty" change:"in_place" doc:"How long a stopped task may take before it is killed. Default 5s."`
	KillSignal      string            `json:"kill_signal,omitempty" change:"in_place" doc:"What asks the task to stop. Default SIGTERM."`
	Logs            *Logs             `json:"logs,omitempty" hcl:"block" change:"replace" doc:"How output is rotated."`
	Resources       *TaskResources    `json:"resources,omitempty" hcl:"block" change:"replace" doc:"What the task needs."`
	Lifecycle       *Lifecycle        `json:"lifecycle,omitempty" hcl:"block" change:"replace" doc:"Makes it a helper of the main tasks."`
	Artifacts       []*Artifact       `json:"artifact,omitempty" hcl:"block" change:"replace" doc:"Files and archives that are fetched before the task starts."`
	Templates       []*Template       `json:"template,omitempty" hcl:"block" change:"replace" doc:"Files that are written before the task starts, and again when what they say changes."`
	DispatchPayload *DispatchPayload  `json:"dispatch_payload,omitempty" hcl:"block" change:"replace" doc:"Gives the task the payload of its dispatch as a file."`
	Ready           []*Check          `json:"ready,omitempty" hcl:"block" change:"in_place" doc:"Checks that tell whether the task can do its work."`
	Live            []*Check          `json:"live,omitempty" hcl:"block" change:"in_place" doc:"Checks that have the task started again when they fail."`

	CSIPlugin    *CSIPlugin     `json:"csi_plugin,omitempty" hcl:"block" change:"replace" doc:"Makes the task a storage plugin, which volumes of its kind are mounted with."`
	VolumeMounts []*VolumeMount `json:"volume_mount,omitempty" hcl:"block" change:"replace" doc:"Where the task sees volumes of the group."`
	Binds        []*Bind        `json:"binds,omitempty" hcl:"-"`
	Tmpfs        []*Tmpfs       `json:"tmpfs,omitempty" hcl:"block" change:"replace" doc:"File systems in memory, gone with the task."`
	ImageMounts  []*ImageMount  `json:"image_mount,omitempty" hcl:"block" change:"replace" doc:"Images whose files the task sees in a folder, beside its own root."`
}

// TaskResources is what one task needs.
type TaskResources struct {
	CPU       Milli            `json:"cpu,omitempty" doc:"Cores. Default 0.1."`
	Cores     int              `json:"cores,omitempty" doc:"Whole cores that nobody else has, instead of cpu."`
	CPULimit  Milli            `json:"cpu_limit,omitempty" doc:"Hard cap in cores; without it idle cores may be used."`
	Memory    Bytes            `json:"memory,omitempty" doc:"Memory. Default 128MiB."`
	MemoryMax Bytes            `json:"memory_max,omitempty" doc:"Hard limit when it shall be above memory."`
	Disk      Bytes            `json:"disk,omitempty" doc:"Space of the task folder."`
	Ports     int              `json:"ports,omitempty" doc:"Host ports without a name, beside those of the network block."`
	Custom    map[string]Milli `json:"custom,omitempty" hcl:"map" doc:"Any other scalar resource, such as gpus."`
	IO        *TaskIO          `json:"io,omitempty" hcl:"block" doc:"Bounds of what it reads from and writes to the node's disk."`
}

// TaskIO bounds what a task does with the disk of the node's data folder, in bytes and operations a second. Zero: no bound.
type TaskIO struct {
	ReadBps   Bytes `json:"read_bps,omitempty" doc:"Bytes read a second."`
	WriteBps  Bytes `json:"write_bps,omitempty" doc:"Bytes written a second."`
	ReadIops  int   `json:"read_iops,omitempty" doc:"Reads a second."`
	WriteIops int   `json:"write_iops,omitempty" doc:"Writes a second."`
}

// Logs bounds a task's output files.
type Logs struct {
	MaxFiles    int      `json:"max_files,omitempty" doc:"Files kept for each of stdout and stderr. Default 10."`
	MaxFileSize Bytes    `json:"max_file_size,omitempty" doc:"Size at which a new file is begun. Default 10MiB."`
	MaxAge      Duration `json:"max_age,omitempty" doc:"Age at which a rotated file is removed. Default: none."`
}

// Lifecycle says when a helper task runs: Hook prestart (before the main tasks; ends unless Sidecar) or poststop.
type Lifecycle struct {
	Hook    string `json:"hook,omitempty" doc:"prestart or poststop."`
	Sidecar bool   `json:"sidecar,omitempty" doc:"A prestart task that goes on beside the main tasks."`
}

// JobVersion is one accepted text of a job.
type JobVersion struct {
	Job     *Job   `json:"job"`
	Version uint64 `json:"version"` // from 1
	Time    Time   `json:"time"`
	Actor   string `json:"actor,omitempty"`
	Index   uint64 `json:"index"` // the Raft index that made it
}

// JobStatus is what a list of jobs shows.
type JobStatus string

const (
	JobPending JobStatus = "pending" // nothing of it runs yet
	JobRunning JobStatus = "running"
	JobDone    JobStatus = "complete" // batch: every allocation completed
	JobFailed  JobStatus = "failed"   // batch: an allocation failed for good
	JobStopped JobStatus = "stopped"
)

// JobRecord is what the region knows of a job beside its versions.
type JobRecord struct {
	Name     string         `json:"name"`
	Type     string         `json:"type"`
	Role     string         `json:"role"`
	Priority Priority       `json:"priority"`
	Version  uint64         `json:"version"`
	Stopped  bool           `json:"stopped"`
	Counts   map[string]int `json:"counts,omitempty"`  // by group, where scale changed them after Version
	Restart  uint64         `json:"restart,omitempty"` // allocations made before this Raft index are replaced (job restart)
	Status   JobStatus      `json:"status"`
	Why      string         `json:"why,omitempty"`
	// Finished has, by group of a batch job, the indexes whose work is complete in this Version: their allocations may have
	// left the state, and their work must not run again. FailedFor has those that failed for good.
	Finished  map[string][]Range `json:"finished,omitempty"`
	FailedFor map[string][]Range `json:"failed_for,omitempty"`
	// FinishedSince is the first version whose work counts in Finished: a change in place keeps what was done before it.
	FinishedSince uint64 `json:"finished_since,omitempty"`
	Parameterized bool   `json:"parameterized,omitempty"` // it runs nothing itself
	Wanted        int    `json:"wanted,omitempty"`        // allocations that should run now, or be placed; 0 when it is stopped or ended
	Submitted     Time   `json:"submitted"`
	Ended         Time   `json:"ended,omitempty"`
	CreateIndex   uint64 `json:"create_index"`
	ModifyIndex   uint64 `json:"modify_index"`
}

// CountOf returns how many allocations of g the job wants now.
func (r *JobRecord) CountOf(g *Group) int {
	if r.Stopped || r.Parameterized {
		return 0
	}
	if n, ok := r.Counts[g.Name]; ok {
		return n
	}
	if g.Count == nil {
		return 1
	}
	return *g.Count
}

// Group returns the group of that name, or nil.
func (j *Job) Group(name string) *Group {
	for _, g := range j.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// Task returns the task of that name, or nil.
func (g *Group) Task(name string) *Task {
	for _, t := range g.Tasks {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Ask returns what one allocation of g holds: the sum of its main and sidecar tasks, or of its prestart or poststop
// tasks where those need more, and the group's own disk and ports.
func (g *Group) Ask() Resources {
	var main, helpers Resources
	for _, t := range g.Tasks {
		r := t.Resources.amount()
		r.Memory += t.InMemory()
		if t.Lifecycle != nil && !t.Lifecycle.Sidecar {
			helpers = helpers.atLeast(r)
			continue
		}
		main = main.Add(r)
	}
	sum := main.atLeast(helpers)
	sum.Disk += g.Disk
	if g.Network != nil {
		sum.Ports += len(g.Network.Ports)
	}
	return sum
}

func (t *TaskResources) amount() Resources {
	if t == nil {
		return Resources{}
	}
	return Resources{CPU: t.CPU, Memory: t.Memory, Disk: t.Disk, Ports: t.Ports, Custom: t.Custom}
}

// atLeast returns the larger of each scalar.
func (r Resources) atLeast(o Resources) Resources {
	r.CPU, r.Memory, r.Disk, r.Ports = max(r.CPU, o.CPU), max(r.Memory, o.Memory), max(r.Disk, o.Disk), max(r.Ports, o.Ports)
	for name, v := range o.Custom {
		if v > r.Custom[name] {
			r = r.Add(Resources{Custom: map[string]Milli{name: v - r.Custom[name]}})
		}
	}
	return r
}
