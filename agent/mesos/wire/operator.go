package wire

// The operator API of masters.

// OperatorCall is what an operator asks of a master.
type OperatorCall struct {
	Type            *OperatorCallType `w:"type,1"`
	GetMetrics      *GetMetrics       `w:"get_metrics,2"`
	SetLoggingLevel *SetLoggingLevel  `w:"set_logging_level,3"`
	ListFiles       *ListFiles        `w:"list_files,4"`
	ReadFile        *ReadFile         `w:"read_file,5"`
	UpdateWeights   *Weights          `w:"update_weights,6"`
	Reserve         *AgentReserve     `w:"reserve_resources,7"`
	Unreserve       *AgentUnreserve   `w:"unreserve_resources,8"`
	Create          *AgentVolumes     `w:"create_volumes,9"`
	Destroy         *AgentVolumes     `w:"destroy_volumes,10"`
	UpdateSchedule  *MaintenancePlan  `w:"update_maintenance_schedule,11"`
	StartMachines   *Machines         `w:"start_maintenance,12"`
	StopMachines    *Machines         `w:"stop_maintenance,13"`
	SetQuota        *SetQuota         `w:"set_quota,14"`
	RemoveQuota     *RemoveQuota      `w:"remove_quota,15"`
	Teardown        *Teardown         `w:"teardown,16"`
	MarkGone        *NamedAgent       `w:"mark_agent_gone,17"`
	Grow            *AgentGrow        `w:"grow_volume,18"`
	Shrink          *AgentShrink      `w:"shrink_volume,19"`
	UpdateQuota     *UpdateQuota      `w:"update_quota,20"`
	Drain           *DrainAgent       `w:"drain_agent,21"`
	Deactivate      *NamedAgent       `w:"deactivate_agent,22"`
	Reactivate      *NamedAgent       `w:"reactivate_agent,23"`

	// Beyond what Mesos has.
	Subscribe *Follow `w:"subscribe,1000"`
}

// Follow chooses what a subscriber is told, and where it goes on. What it names no kind of is not bounded by that kind.
type Follow struct {
	Types      []string `w:"types,1"`
	Frameworks []ID     `w:"framework_ids,2"`
	Roles      []string `w:"roles,3"`
	Agents     []ID     `w:"agent_ids,4"`
	After      *string  `w:"after,5"` // the id of the last event that it took
}

type GetMetrics struct {
	Timeout *DurationInfo `w:"timeout,1"`
}

type SetLoggingLevel struct {
	Level    uint32       `w:"level,1,required"`
	Duration DurationInfo `w:"duration,2,required"`
}

type ListFiles struct {
	Path string `w:"path,1,required"`
}

type ReadFile struct {
	Path   string  `w:"path,1,required"`
	Offset uint64  `w:"offset,2,required"`
	Length *uint64 `w:"length,3"`
}

type Weights struct {
	Weights []WeightInfo `w:"weight_infos,1"`
}

type WeightInfo struct {
	Weight float64 `w:"weight,1,required"`
	Role   *string `w:"role,2"`
}

type AgentReserve struct {
	AgentID   ID         `w:"agent_id,1,required"`
	Resources []Resource `w:"resources,2"`
	Source    []Resource `w:"source,3"`
}

type AgentUnreserve struct {
	AgentID   ID         `w:"agent_id,1,required"`
	Resources []Resource `w:"resources,2"`
}

type AgentVolumes struct {
	AgentID ID         `w:"agent_id,1,required"`
	Volumes []Resource `w:"volumes,2"`
}

type AgentGrow struct {
	AgentID  *ID      `w:"agent_id,1"`
	Volume   Resource `w:"volume,2,required"`
	Addition Resource `w:"addition,3,required"`
}

type AgentShrink struct {
	AgentID  *ID      `w:"agent_id,1"`
	Volume   Resource `w:"volume,2,required"`
	Subtract Scalar   `w:"subtract,3,required"`
}

// MaintenancePlan is a call's or an answer's schedule.
type MaintenancePlan struct {
	Schedule Schedule `w:"schedule,1,required"`
}

type Schedule struct {
	Windows []Window `w:"windows,1"`
}

type Window struct {
	Machines       []MachineID    `w:"machine_ids,1"`
	Unavailability Unavailability `w:"unavailability,2,required"`
}

type MachineID struct {
	Hostname *string `w:"hostname,1"`
	IP       *string `w:"ip,2"`
}

type Machines struct {
	Machines []MachineID `w:"machines,1"`
}

type SetQuota struct {
	Request QuotaRequest `w:"quota_request,1,required"`
}

type QuotaRequest struct {
	Force     *bool      `w:"force,1"`
	Role      *string    `w:"role,2"`
	Guarantee []Resource `w:"guarantee,3"`
}

type RemoveQuota struct {
	Role string `w:"role,1,required"`
}

type Teardown struct {
	FrameworkID ID `w:"framework_id,1,required"`
}

// NamedAgent is a call about one agent.
type NamedAgent struct {
	AgentID ID `w:"agent_id,1,required"`
}

type UpdateQuota struct {
	Force   *bool         `w:"force,1"`
	Configs []QuotaConfig `w:"quota_configs,2"`
}

type QuotaConfig struct {
	Role       string             `w:"role,1,required"`
	Guarantees map[string]*Scalar `w:"guarantees,2"`
	Limits     map[string]*Scalar `w:"limits,3"`
}

type DrainAgent struct {
	AgentID  ID        `w:"agent_id,1,required"`
	MaxGrace *Duration `w:"max_grace_period,2"`
	MarkGone *bool     `w:"mark_gone,3,def=false"`
}

// Duration is that of protobuf itself: seconds and a rest.
type Duration struct {
	Seconds *int64 `w:"seconds,1"`
	Nanos   *int32 `w:"nanos,2"`
}

// OperatorResponse is what a master answers.
type OperatorResponse struct {
	Type         *OperatorResponseType `w:"type,1"`
	Health       *Health               `w:"get_health,2"`
	Flags        *Flags                `w:"get_flags,3"`
	Version      *GetVersion           `w:"get_version,4"`
	Metrics      *Metrics              `w:"get_metrics,5"`
	LoggingLevel *LoggingLevel         `w:"get_logging_level,6"`
	State        *GetState             `w:"get_state,9"`
	Agents       *GetAgents            `w:"get_agents,10"`
	Frameworks   *GetFrameworks        `w:"get_frameworks,11"`
	Executors    *GetExecutors         `w:"get_executors,12"`
	Tasks        *GetTasks             `w:"get_tasks,13"`
	Roles        *GetRoles             `w:"get_roles,14"`
	Weights      *Weights              `w:"get_weights,15"`
	Master       *GetMaster            `w:"get_master,16"`
	Maintenance  *MaintenanceStatus    `w:"get_maintenance_status,17"`
	Schedule     *MaintenancePlan      `w:"get_maintenance_schedule,18"`
	Quota        *GetQuota             `w:"get_quota,19"`
	Operations   *GetOperations        `w:"get_operations,20"`
}

type Health struct {
	Healthy bool `w:"healthy,1,required"`
}

type Flags struct {
	Flags []Flag `w:"flags,1"`
}

type Flag struct {
	Name  string  `w:"name,1,required"`
	Value *string `w:"value,2"`
}

type GetVersion struct {
	Info VersionInfo `w:"version_info,1,required"`
}

type VersionInfo struct {
	Version string `w:"version,1,required"`
}

type Metrics struct {
	Metrics []Metric `w:"metrics,1"`
}

type Metric struct {
	Name  string   `w:"name,1,required"`
	Value *float64 `w:"value,2"`
}

type LoggingLevel struct {
	Level uint32 `w:"level,1,required"`
}

type GetState struct {
	Tasks      *GetTasks      `w:"get_tasks,1"`
	Executors  *GetExecutors  `w:"get_executors,2"`
	Frameworks *GetFrameworks `w:"get_frameworks,3"`
	Agents     *GetAgents     `w:"get_agents,4"`
}

type GetAgents struct {
	Agents    []Agent     `w:"agents,1"`
	Recovered []AgentInfo `w:"recovered_agents,2"`
}

type Agent struct {
	Info         AgentInfo         `w:"agent_info,1,required"`
	Active       bool              `w:"active,2,required"`
	Version      string            `w:"version,3,required"`
	PID          *string           `w:"pid,4"`
	Registered   *TimeInfo         `w:"registered_time,5"`
	Reregistered *TimeInfo         `w:"reregistered_time,6"`
	Total        []Resource        `w:"total_resources,7"`
	Allocated    []Resource        `w:"allocated_resources,8"`
	Offered      []Resource        `w:"offered_resources,9"`
	Capabilities []AgentCapability `w:"capabilities,10"`
	Deactivated  *bool             `w:"deactivated,12"`
	Drain        *DrainInfo        `w:"drain_info,13"`
	DrainStarted *TimeInfo         `w:"estimated_drain_start_time,14"`
}

type AgentCapability struct {
	Type *AgentCapabilityType `w:"type,1"`
}

type DrainInfo struct {
	State  DrainState  `w:"state,1,required"`
	Config DrainConfig `w:"config,2,required"`
}

type DrainConfig struct {
	MaxGrace *DurationInfo `w:"max_grace_period,1"`
	MarkGone *bool         `w:"mark_gone,2,def=false"`
}

type GetFrameworks struct {
	Frameworks []Framework `w:"frameworks,1"`
	Completed  []Framework `w:"completed_frameworks,2"`
}

type Framework struct {
	Info         FrameworkInfo `w:"framework_info,1,required"`
	Active       bool          `w:"active,2,required"`
	Connected    bool          `w:"connected,3,required"`
	Registered   *TimeInfo     `w:"registered_time,4"`
	Unregistered *TimeInfo     `w:"unregistered_time,6"`
	Offers       []Offer       `w:"offers,7"`
	Allocated    []Resource    `w:"allocated_resources,9"`
	Offered      []Resource    `w:"offered_resources,10"`
	Recovered    bool          `w:"recovered,11,required"`
}

type GetExecutors struct {
	Executors []Executor `w:"executors,1"`
}

type Executor struct {
	Info    ExecutorInfo `w:"executor_info,1,required"`
	AgentID ID           `w:"agent_id,2,required"`
}

type GetTasks struct {
	Pending     []Task `w:"pending_tasks,1"`
	Tasks       []Task `w:"tasks,2"`
	Completed   []Task `w:"completed_tasks,3"`
	Unreachable []Task `w:"unreachable_tasks,5"`
}

// Task is what is known of a task.
type Task struct {
	Name        string         `w:"name,1,required"`
	TaskID      ID             `w:"task_id,2,required"`
	FrameworkID ID             `w:"framework_id,3,required"`
	ExecutorID  *ID            `w:"executor_id,4"`
	AgentID     ID             `w:"agent_id,5,required"`
	State       TaskState      `w:"state,6,required"`
	Resources   []Resource     `w:"resources,7"`
	Statuses    []TaskStatus   `w:"statuses,8"`
	UpdateState *TaskState     `w:"status_update_state,9"`
	Labels      *Labels        `w:"labels,11"`
	Discovery   *DiscoveryInfo `w:"discovery,12"`
	Container   *ContainerInfo `w:"container,13"`
	User        *string        `w:"user,14"`
	HealthCheck *HealthCheck   `w:"health_check,15"`
}

type GetRoles struct {
	Roles []Role `w:"roles,1"`
}

type Role struct {
	Name       string     `w:"name,1,required"`
	Weight     float64    `w:"weight,2,required"`
	Frameworks []ID       `w:"frameworks,3"`
	Resources  []Resource `w:"resources,4"`
}

type GetMaster struct {
	Info    *MasterInfo `w:"master_info,1"`
	Started *float64    `w:"start_time,2"`
	Elected *float64    `w:"elected_time,3"`
}

type MaintenanceStatus struct {
	Status ClusterStatus `w:"status,1,required"`
}

type ClusterStatus struct {
	Draining []DrainingMachine `w:"draining_machines,1"`
	Down     []MachineID       `w:"down_machines,2"`
}

type DrainingMachine struct {
	ID       MachineID       `w:"id,1,required"`
	Statuses []InverseStatus `w:"statuses,2"`
}

// InverseStatus is what a framework answered to an inverse offer.
type InverseStatus struct {
	Status      InverseAnswer `w:"status,1,required"`
	FrameworkID ID            `w:"framework_id,2,required"`
	Timestamp   TimeInfo      `w:"timestamp,3,required"`
}

type GetQuota struct {
	Status QuotaStatus `w:"status,1,required"`
}

type QuotaStatus struct {
	Infos   []QuotaInfo   `w:"infos,1"`
	Configs []QuotaConfig `w:"configs,2"`
}

// QuotaInfo is a guarantee in the old form.
type QuotaInfo struct {
	Role      *string    `w:"role,1"`
	Principal *string    `w:"principal,2"`
	Guarantee []Resource `w:"guarantee,3"`
}

// GetOperations are those of which their frameworks did not acknowledge what became.
type GetOperations struct {
	Operations []DecidedOperation `w:"operations,1"`
}

// DecidedOperation is one with what became of it.
type DecidedOperation struct {
	FrameworkID *ID               `w:"framework_id,1"`
	AgentID     *ID               `w:"agent_id,2"`
	Info        Operation         `w:"info,3,required"`
	Latest      OperationStatus   `w:"latest_status,4,required"`
	Statuses    []OperationStatus `w:"statuses,5"`
	UUID        UUID              `w:"uuid,6,required"`
}

// OperatorEvent is what an operator is told who subscribed.
type OperatorEvent struct {
	Type             *OperatorEventType  `w:"type,1"`
	Subscribed       *OperatorSubscribed `w:"subscribed,2"`
	TaskAdded        *TaskAdded          `w:"task_added,3"`
	TaskUpdated      *TaskUpdated        `w:"task_updated,4"`
	AgentAdded       *AgentAdded         `w:"agent_added,5"`
	AgentRemoved     *NamedAgent         `w:"agent_removed,6"`
	FrameworkAdded   *FrameworkChange    `w:"framework_added,7"`
	FrameworkUpdated *FrameworkChange    `w:"framework_updated,8"`
	FrameworkRemoved *FrameworkRemoved   `w:"framework_removed,9"`

	// Beyond what Mesos has, and for those alone whose SUBSCRIBE is: see Follow.After.
	ID *string `w:"id,1000"`
}

type OperatorSubscribed struct {
	State             *GetState `w:"get_state,1"`
	HeartbeatInterval *float64  `w:"heartbeat_interval_seconds,2"`
}

type TaskAdded struct {
	Task Task `w:"task,1,required"`
}

type TaskUpdated struct {
	FrameworkID ID         `w:"framework_id,1,required"`
	Status      TaskStatus `w:"status,2,required"`
	State       TaskState  `w:"state,3,required"`
}

type AgentAdded struct {
	Agent Agent `w:"agent,1,required"`
}

type FrameworkChange struct {
	Framework Framework `w:"framework,1,required"`
}

type FrameworkRemoved struct {
	Info FrameworkInfo `w:"framework_info,1,required"`
}

// DrainState is how far the emptying of an agent is.
type DrainState int32

const (
	DrainUnknown DrainState = 0
	Draining     DrainState = 1
	Drained      DrainState = 2
)

var namesDrainState = map[int32]string{0: "UNKNOWN", 1: "DRAINING", 2: "DRAINED"}

// Names returns the names of all values.
func (DrainState) Names() map[int32]string { return namesDrainState }

func (x DrainState) String() string { return namesDrainState[int32(x)] }

// AgentCapabilityType is something that an agent understands.
type AgentCapabilityType int32

var namesAgentCapabilityType = map[int32]string{0: "UNKNOWN", 1: "MULTI_ROLE", 2: "HIERARCHICAL_ROLE", 3: "RESERVATION_REFINEMENT",
	4: "RESOURCE_PROVIDER", 5: "RESIZE_VOLUME", 6: "AGENT_OPERATION_FEEDBACK", 7: "AGENT_DRAINING", 8: "TASK_RESOURCE_LIMITS"}

// Names returns the names of all values.
func (AgentCapabilityType) Names() map[int32]string { return namesAgentCapabilityType }

func (x AgentCapabilityType) String() string { return namesAgentCapabilityType[int32(x)] }

// InverseAnswer is an answer to an inverse offer.
type InverseAnswer int32

const (
	InverseUnknown  InverseAnswer = 1
	InverseAccepted InverseAnswer = 2
	InverseDeclined InverseAnswer = 3
)

var namesInverseAnswer = map[int32]string{1: "UNKNOWN", 2: "ACCEPT", 3: "DECLINE"}

// Names returns the names of all values.
func (InverseAnswer) Names() map[int32]string { return namesInverseAnswer }

func (x InverseAnswer) String() string { return namesInverseAnswer[int32(x)] }
