package wire

// What several messages have in common.

// ID is the id of anything: a framework, an offer, an agent (a node), a task, an executor or a container.
type ID struct {
	Value string `w:"value,1,required"`
}

// Scalar is an amount. Three decimals of it count.
type Scalar struct {
	Value float64 `w:"value,1,required"`
}

// Range is the whole numbers from Begin to End, both included.
type Range struct {
	Begin uint64 `w:"begin,1,required"`
	End   uint64 `w:"end,2,required"`
}

type Ranges struct {
	Range []Range `w:"range,1"`
}

type Set struct {
	Item []string `w:"item,1"`
}

type Text struct {
	Value string `w:"value,1,required"`
}

// Resource is an amount of one kind, and whose it is. A resource is unreserved, or reserved in the old form (Role and, when it
// is dynamic, Reservation), or in the new one (Reservations, the last of them counts).
type Resource struct {
	Name         string          `w:"name,1,required"`
	Type         ValueType       `w:"type,2,required"`
	Scalar       *Scalar         `w:"scalar,3"`
	Ranges       *Ranges         `w:"ranges,4"`
	Set          *Set            `w:"set,5"`
	Role         *string         `w:"role,6"`
	Reservation  *Reservation    `w:"reservation,8"`
	Revocable    *Revocable      `w:"revocable,9"`
	Shared       *Shared         `w:"shared,10"`
	Allocation   *AllocationInfo `w:"allocation_info,11"`
	Disk         *DiskInfo       `w:"disk,7"`
	Provider     *ID             `w:"provider_id,12"`
	Reservations []Reservation   `w:"reservations,13"`
}

type AllocationInfo struct {
	Role *string `w:"role,1"`
}

type Reservation struct {
	Principal *string          `w:"principal,1"`
	Labels    *Labels          `w:"labels,2"`
	Role      *string          `w:"role,3"`
	Type      *ReservationType `w:"type,4"`
}

type Revocable struct{}

type Shared struct{}

type Labels struct {
	Labels []Label `w:"labels,1"`
}

type Label struct {
	Key   string  `w:"key,1,required"`
	Value *string `w:"value,2"`
}

type Attribute struct {
	Name   string    `w:"name,1,required"`
	Type   ValueType `w:"type,2,required"`
	Scalar *Scalar   `w:"scalar,3"`
	Ranges *Ranges   `w:"ranges,4"`
	Text   *Text     `w:"text,5"`
	Set    *Set      `w:"set,6"`
}

type Address struct {
	Hostname *string `w:"hostname,1"`
	IP       *string `w:"ip,2"`
	Port     int32   `w:"port,3,required"`
}

type URL struct {
	Scheme  string  `w:"scheme,1,required"`
	Address Address `w:"address,2,required"`
	Path    *string `w:"path,3"`
}

type TimeInfo struct {
	Nanoseconds int64 `w:"nanoseconds,1,required"`
}

type DurationInfo struct {
	Nanoseconds int64 `w:"nanoseconds,1,required"`
}

type Unavailability struct {
	Start    TimeInfo      `w:"start,1,required"`
	Duration *DurationInfo `w:"duration,2"`
}

type FrameworkInfo struct {
	User            string                   `w:"user,1,required"`
	Name            string                   `w:"name,2,required"`
	ID              *ID                      `w:"id,3"`
	FailoverTimeout *float64                 `w:"failover_timeout,4,def=0.0"`
	Checkpoint      *bool                    `w:"checkpoint,5,def=false"`
	Role            *string                  `w:"role,6"`
	Hostname        *string                  `w:"hostname,7"`
	Principal       *string                  `w:"principal,8"`
	WebURL          *string                  `w:"webui_url,9"`
	Capabilities    []Capability             `w:"capabilities,10"`
	Labels          *Labels                  `w:"labels,11"`
	Roles           []string                 `w:"roles,12"`
	OfferFilters    map[string]*OfferFilters `w:"offer_filters,13"`
}

type Capability struct {
	Type *CapabilityType `w:"type,1"`
}

type OfferFilters struct {
	Smallest *MinAllocatable `w:"min_allocatable_resources,1"`
}

type MinAllocatable struct {
	Quantities []Quantities `w:"quantities,1"`
}

type Quantities struct {
	Quantities map[string]*Scalar `w:"quantities,1"`
}

type MasterInfo struct {
	ID       string   `w:"id,1,required"`
	IP       uint32   `w:"ip,2,required"`
	Port     uint32   `w:"port,3,required"`
	PID      *string  `w:"pid,4"`
	Hostname *string  `w:"hostname,5"`
	Version  *string  `w:"version,6"`
	Address  *Address `w:"address,7"`
	Domain   *Domain  `w:"domain,8"`
}

// Domain says where something is: what is in one region, or in one zone of it, tends to fail together.
type Domain struct {
	Fault *FaultDomain `w:"fault_domain,1"`
}

type FaultDomain struct {
	Region DomainName `w:"region,1,required"`
	Zone   DomainName `w:"zone,2,required"`
}

type DomainName struct {
	Name string `w:"name,1,required"`
}

type Offer struct {
	ID             ID              `w:"id,1,required"`
	FrameworkID    ID              `w:"framework_id,2,required"`
	AgentID        ID              `w:"agent_id,3,required"`
	Hostname       string          `w:"hostname,4,required"`
	Resources      []Resource      `w:"resources,5"`
	ExecutorIDs    []ID            `w:"executor_ids,6"`
	Attributes     []Attribute     `w:"attributes,7"`
	URL            *URL            `w:"url,8"`
	Unavailability *Unavailability `w:"unavailability,9"`
	Allocation     *AllocationInfo `w:"allocation_info,10"`
	Domain         *Domain         `w:"domain,11"`
}

type InverseOffer struct {
	ID             ID             `w:"id,1,required"`
	URL            *URL           `w:"url,2"`
	FrameworkID    ID             `w:"framework_id,3,required"`
	AgentID        *ID            `w:"agent_id,4"`
	Unavailability Unavailability `w:"unavailability,5,required"`
	Resources      []Resource     `w:"resources,6"`
}

// Operation is what is done with an offer. Operations that are not here are named by their type.
type Operation struct {
	Type        *OperationType `w:"type,1"`
	Launch      *Launch        `w:"launch,2"`
	Reserve     *Reserve       `w:"reserve,3"`
	Unreserve   *Unreserve     `w:"unreserve,4"`
	Create      *Volumes       `w:"create,5"`
	Destroy     *Volumes       `w:"destroy,6"`
	Group       *LaunchGroup   `w:"launch_group,7"`
	ID          *ID            `w:"id,12"`
	Grow        *GrowVolume    `w:"grow_volume,13"`
	Shrink      *ShrinkVolume  `w:"shrink_volume,14"`
	CreateDisk  *CreateDisk    `w:"create_disk,15"`
	DestroyDisk *DestroyDisk   `w:"destroy_disk,16"`
}

type Launch struct {
	Tasks []TaskInfo `w:"task_infos,1"`
}

type LaunchGroup struct {
	Executor ExecutorInfo  `w:"executor,1,required"`
	Tasks    TaskGroupInfo `w:"task_group,2,required"`
}

type TaskGroupInfo struct {
	Tasks []TaskInfo `w:"tasks,1"`
}

type Reserve struct {
	Resources []Resource `w:"resources,1"`
	Source    []Resource `w:"source,2"`
}

type Unreserve struct {
	Resources []Resource `w:"resources,1"`
}

type TaskInfo struct {
	Name              string             `w:"name,1,required"`
	TaskID            ID                 `w:"task_id,2,required"`
	AgentID           ID                 `w:"agent_id,3,required"`
	Resources         []Resource         `w:"resources,4"`
	Executor          *ExecutorInfo      `w:"executor,5"`
	Data              []byte             `w:"data,6"`
	Command           *CommandInfo       `w:"command,7"`
	HealthCheck       *HealthCheck       `w:"health_check,8"`
	Container         *ContainerInfo     `w:"container,9"`
	Labels            *Labels            `w:"labels,10"`
	Discovery         *DiscoveryInfo     `w:"discovery,11"`
	KillPolicy        *KillPolicy        `w:"kill_policy,12"`
	Check             *Check             `w:"check,13"`
	MaxCompletionTime *DurationInfo      `w:"max_completion_time,14"`
	Limits            map[string]*Scalar `w:"limits,15"`
}

type KillPolicy struct {
	GracePeriod *DurationInfo `w:"grace_period,1"`
}

type ExecutorInfo struct {
	ExecutorID    ID             `w:"executor_id,1,required"`
	Data          []byte         `w:"data,4"`
	Resources     []Resource     `w:"resources,5"`
	Command       *CommandInfo   `w:"command,7"`
	FrameworkID   *ID            `w:"framework_id,8"`
	Name          *string        `w:"name,9"`
	Source        *string        `w:"source,10"`
	Container     *ContainerInfo `w:"container,11"`
	Discovery     *DiscoveryInfo `w:"discovery,12"`
	ShutdownGrace *DurationInfo  `w:"shutdown_grace_period,13"`
	Labels        *Labels        `w:"labels,14"`
	Type          *ExecutorType  `w:"type,15"`
}

type CommandInfo struct {
	URIs        []URI        `w:"uris,1"`
	Environment *Environment `w:"environment,2"`
	Value       *string      `w:"value,3"`
	User        *string      `w:"user,5"`
	Shell       *bool        `w:"shell,6,def=true"`
	Arguments   []string     `w:"arguments,7"`
}

type URI struct {
	Value      string  `w:"value,1,required"`
	Executable *bool   `w:"executable,2"`
	Extract    *bool   `w:"extract,3,def=true"`
	Cache      *bool   `w:"cache,4"`
	OutputFile *string `w:"output_file,5"`
}

type Environment struct {
	Variables []Variable `w:"variables,1"`
}

type Variable struct {
	Name   string        `w:"name,1,required"`
	Value  *string       `w:"value,2"`
	Type   *VariableType `w:"type,3,def=\"VALUE\""`
	Secret *Secret       `w:"secret,4"`
}

type TaskStatus struct {
	TaskID          ID               `w:"task_id,1,required"`
	State           TaskState        `w:"state,2,required"`
	Data            []byte           `w:"data,3"`
	Message         *string          `w:"message,4"`
	AgentID         *ID              `w:"agent_id,5"`
	Timestamp       *float64         `w:"timestamp,6"`
	ExecutorID      *ID              `w:"executor_id,7"`
	Healthy         *bool            `w:"healthy,8"`
	Source          *StatusSource    `w:"source,9"`
	Reason          *StatusReason    `w:"reason,10"`
	UUID            []byte           `w:"uuid,11"`
	Labels          *Labels          `w:"labels,12"`
	ContainerStatus *ContainerStatus `w:"container_status,13"`
	UnreachableTime *TimeInfo        `w:"unreachable_time,14"`
	CheckStatus     *CheckStatus     `w:"check_status,15"`
	Limitation      *Limitation      `w:"limitation,16"`
}

// Limitation is what a task hit.
type Limitation struct {
	Resources []Resource `w:"resources,1"`
}

type ContainerStatus struct {
	NetworkInfos []NetworkInfo `w:"network_infos,1"`
	ExecutorPID  *uint32       `w:"executor_pid,3"`
	ContainerID  *ContainerID  `w:"container_id,4"`
}

// ContainerID names a container; a task of an executor is in one within that of the executor.
type ContainerID struct {
	Value  string       `w:"value,1,required"`
	Parent *ContainerID `w:"parent,2"`
}

type Filters struct {
	RefuseSeconds *float64 `w:"refuse_seconds,1,def=5.0"`
}
