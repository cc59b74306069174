package wire

// The operator API of agents.

// AgentCall is what an operator asks of an agent.
type AgentCall struct {
	Type            *AgentCallType   `w:"type,1"`
	GetMetrics      *GetMetrics      `w:"get_metrics,2"`
	SetLoggingLevel *SetLoggingLevel `w:"set_logging_level,3"`
	ListFiles       *ListFiles       `w:"list_files,4"`
	ReadFile        *ReadFile        `w:"read_file,5"`
	GetContainers   *AskContainers   `w:"get_containers,20"`

	LaunchNested    *LaunchContainer      `w:"launch_nested_container,6"`
	WaitNested      *NamedContainer       `w:"wait_nested_container,7"`
	KillNested      *KillContainer        `w:"kill_nested_container,8"`
	LaunchSession   *LaunchContainer      `w:"launch_nested_container_session,9"`
	AttachInput     *AttachContainerInput `w:"attach_container_input,10"`
	AttachOutput    *NamedContainer       `w:"attach_container_output,11"`
	RemoveNested    *NamedContainer       `w:"remove_nested_container,12"`
	LaunchContainer *LaunchAnyContainer   `w:"launch_container,13"`
	WaitContainer   *NamedContainer       `w:"wait_container,14"`
	KillContainer   *KillContainer        `w:"kill_container,15"`
	RemoveContainer *NamedContainer       `w:"remove_container,16"`
	PruneImages     *PruneImages          `w:"prune_images,21"`
}

// AskContainers says which containers are wanted beside those of executors.
type AskContainers struct {
	Nested     *bool `w:"show_nested,1"`
	Standalone *bool `w:"show_standalone,2"`
}

// PruneImages says which images stay.
type PruneImages struct {
	Excluded []Image `w:"excluded_images,1"`
}

// AgentResponse is what an agent answers.
type AgentResponse struct {
	Type         *AgentResponseType  `w:"type,1"`
	Health       *Health             `w:"get_health,2"`
	Flags        *Flags              `w:"get_flags,3"`
	Version      *GetVersion         `w:"get_version,4"`
	Metrics      *Metrics            `w:"get_metrics,5"`
	LoggingLevel *LoggingLevel       `w:"get_logging_level,6"`
	ListFiles    *FileInfos          `w:"list_files,7"`
	ReadFile     *FileData           `w:"read_file,8"`
	State        *GetAgentState      `w:"get_state,9"`
	Containers   *GetContainers      `w:"get_containers,10"`
	Frameworks   *GetAgentFrameworks `w:"get_frameworks,11"`
	Executors    *GetAgentExecutors  `w:"get_executors,12"`
	Tasks        *GetAgentTasks      `w:"get_tasks,13"`
	Agent        *GetAgent           `w:"get_agent,15"`
	Operations   *GetOperations      `w:"get_operations,18"`

	Providers *GetResourceProviders `w:"get_resource_providers,17"`

	WaitNested    *ContainerEnd `w:"wait_nested_container,14"`
	WaitContainer *ContainerEnd `w:"wait_container,16"`
}

type GetResourceProviders struct {
	Providers []ResourceProvider `w:"resource_providers,1"`
}

type ResourceProvider struct {
	Info  ResourceProviderInfo `w:"resource_provider_info,1,required"`
	Total []Resource           `w:"total_resources,2"`
}

type ResourceProviderInfo struct {
	ID         *ID              `w:"id,1"`
	Attributes []Attribute      `w:"attributes,2"`
	Type       string           `w:"type,3,required"`
	Name       string           `w:"name,4,required"`
	Storage    *StorageProvider `w:"storage,6"`
}

type StorageProvider struct {
	Plugin CSIPluginInfo `w:"plugin,1,required"`
}

// CSIPluginInfo is a storage plugin without the containers that it is made of: it is a task here.
type CSIPluginInfo struct {
	Type string  `w:"type,1,required"`
	Name *string `w:"name,2,def=default"`
}

type FileInfos struct {
	Files []FileInfo `w:"file_infos,1"`
}

type FileInfo struct {
	Path  string    `w:"path,1,required"`
	Links *int32    `w:"nlink,2"`
	Size  *uint64   `w:"size,3"`
	MTime *TimeInfo `w:"mtime,4"`
	Mode  *uint32   `w:"mode,5"`
	UID   *string   `w:"uid,6"`
	GID   *string   `w:"gid,7"`
}

type FileData struct {
	Size uint64 `w:"size,1,required"`
	Data []byte `w:"data,2,required"`
}

type GetAgentState struct {
	Tasks      *GetAgentTasks      `w:"get_tasks,1"`
	Executors  *GetAgentExecutors  `w:"get_executors,2"`
	Frameworks *GetAgentFrameworks `w:"get_frameworks,3"`
}

type GetAgentTasks struct {
	Pending    []Task `w:"pending_tasks,1"`
	Queued     []Task `w:"queued_tasks,2"`
	Launched   []Task `w:"launched_tasks,3"`
	Terminated []Task `w:"terminated_tasks,4"`
	Completed  []Task `w:"completed_tasks,5"`
}

type GetAgentExecutors struct {
	Executors []AgentExecutor `w:"executors,1"`
	Completed []AgentExecutor `w:"completed_executors,2"`
}

type AgentExecutor struct {
	Info ExecutorInfo `w:"executor_info,1,required"`
}

type GetAgentFrameworks struct {
	Frameworks []AgentFramework `w:"frameworks,1"`
	Completed  []AgentFramework `w:"completed_frameworks,2"`
}

type AgentFramework struct {
	Info FrameworkInfo `w:"framework_info,1,required"`
}

type GetAgent struct {
	Info         *AgentInfo   `w:"agent_info,1"`
	Drain        *DrainConfig `w:"drain_config,2"`
	DrainStarted *TimeInfo    `w:"estimated_drain_start_time,3"`
}

type GetContainers struct {
	Containers []Container `w:"containers,1"`
}

// Container is one that runs on an agent.
type Container struct {
	FrameworkID  *ID                 `w:"framework_id,1"`
	ExecutorID   *ID                 `w:"executor_id,2"`
	ExecutorName *string             `w:"executor_name,3"`
	ContainerID  ContainerID         `w:"container_id,4,required"`
	Status       *ContainerStatus    `w:"container_status,5"`
	Statistics   *ResourceStatistics `w:"resource_statistics,6"`
}

// ResourceStatistics is what a container uses, as far as a node measures it.
type ResourceStatistics struct {
	Timestamp    float64  `w:"timestamp,1,required"`
	CPUUser      *float64 `w:"cpus_user_time_secs,2"`
	CPUSystem    *float64 `w:"cpus_system_time_secs,3"`
	CPULimit     *float64 `w:"cpus_limit,4"`
	MemRSS       *uint64  `w:"mem_rss_bytes,5"`
	MemLimit     *uint64  `w:"mem_limit_bytes,6"`
	CPUThrottled *float64 `w:"cpus_throttled_time_secs,9"`
	DiskLimit    *uint64  `w:"disk_limit_bytes,26"`
	Threads      *uint32  `w:"threads,31"`
	MemTotal     *uint64  `w:"mem_total_bytes,36"`
}
