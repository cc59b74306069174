package wire

// ExecutorCall is what an executor sends to its node.
type ExecutorCall struct {
	ExecutorID  ID                 `w:"executor_id,1,required"`
	FrameworkID ID                 `w:"framework_id,2,required"`
	Type        *ExecutorCallType  `w:"type,3"`
	Subscribe   *ExecutorSubscribe `w:"subscribe,4"`
	Update      *Update            `w:"update,5"`
	Message     *ExecutorMessage   `w:"message,6"`
}

// ExecutorSubscribe has what the executor was told or told and was not acknowledged.
type ExecutorSubscribe struct {
	Tasks   []TaskInfo `w:"unacknowledged_tasks,1"`
	Updates []Update   `w:"unacknowledged_updates,2"`
}

// ExecutorMessage is a message of the executor to its scheduler.
type ExecutorMessage struct {
	Data []byte `w:"data,2,required"`
}

// ExecutorEvent is what an executor is told.
type ExecutorEvent struct {
	Type         *ExecutorEventType    `w:"type,1"`
	Subscribed   *ExecutorSubscribed   `w:"subscribed,2"`
	Acknowledged *ExecutorAcknowledged `w:"acknowledged,3"`
	Launch       *ExecutorLaunch       `w:"launch,4"`
	Kill         *ExecutorKill         `w:"kill,5"`
	Message      *MessageToExecutor    `w:"message,6"`
	Error        *Error                `w:"error,7"`
	LaunchGroup  *ExecutorLaunchGroup  `w:"launch_group,8"`
}

type ExecutorSubscribed struct {
	ExecutorInfo  ExecutorInfo  `w:"executor_info,1,required"`
	FrameworkInfo FrameworkInfo `w:"framework_info,2,required"`
	AgentInfo     AgentInfo     `w:"agent_info,3,required"`
	ContainerID   *ContainerID  `w:"container_id,4"`
}

type AgentInfo struct {
	Hostname   string      `w:"hostname,1,required"`
	Resources  []Resource  `w:"resources,3"`
	Attributes []Attribute `w:"attributes,5"`
	ID         *ID         `w:"id,6"`
	Port       *int32      `w:"port,8"`
	Domain     *Domain     `w:"domain,10"`
}

type ExecutorAcknowledged struct {
	TaskID ID     `w:"task_id,1,required"`
	UUID   []byte `w:"uuid,2,required"`
}

type ExecutorLaunch struct {
	Task TaskInfo `w:"task,1,required"`
}

type ExecutorLaunchGroup struct {
	Tasks TaskGroupInfo `w:"task_group,1,required"`
}

type ExecutorKill struct {
	TaskID     ID          `w:"task_id,1,required"`
	KillPolicy *KillPolicy `w:"kill_policy,2"`
}

type MessageToExecutor struct {
	Data []byte `w:"data,1,required"`
}
