package wire

// The enums, by the names and numbers of Mesos.

// CallType is what a framework asks for.
type CallType int32

const (
	CallUnknown                    CallType = 0
	CallSubscribe                  CallType = 1
	CallTeardown                   CallType = 2
	CallAccept                     CallType = 3
	CallDecline                    CallType = 4
	CallRevive                     CallType = 5
	CallKill                       CallType = 6
	CallShutdown                   CallType = 7
	CallAcknowledge                CallType = 8
	CallReconcile                  CallType = 9
	CallMessage                    CallType = 10
	CallRequest                    CallType = 11
	CallSuppress                   CallType = 12
	CallAcceptInverseOffers        CallType = 13
	CallDeclineInverseOffers       CallType = 14
	CallAcknowledgeOperationStatus CallType = 15
	CallReconcileOperations        CallType = 16
	CallUpdateFramework            CallType = 17
)

var namesCallType = map[int32]string{
	0:  "UNKNOWN",
	1:  "SUBSCRIBE",
	2:  "TEARDOWN",
	3:  "ACCEPT",
	4:  "DECLINE",
	5:  "REVIVE",
	6:  "KILL",
	7:  "SHUTDOWN",
	8:  "ACKNOWLEDGE",
	9:  "RECONCILE",
	10: "MESSAGE",
	11: "REQUEST",
	12: "SUPPRESS",
	13: "ACCEPT_INVERSE_OFFERS",
	14: "DECLINE_INVERSE_OFFERS",
	15: "ACKNOWLEDGE_OPERATION_STATUS",
	16: "RECONCILE_OPERATIONS",
	17: "UPDATE_FRAMEWORK",
}

// Names returns the names of all values.
func (CallType) Names() map[int32]string { return namesCallType }

func (x CallType) String() string { return namesCallType[int32(x)] }

// EventType is what a framework is told.
type EventType int32

const (
	EventUnknown               EventType = 0
	EventSubscribed            EventType = 1
	EventOffers                EventType = 2
	EventRescind               EventType = 3
	EventUpdate                EventType = 4
	EventMessage               EventType = 5
	EventFailure               EventType = 6
	EventError                 EventType = 7
	EventHeartbeat             EventType = 8
	EventInverseOffers         EventType = 9
	EventRescindInverseOffer   EventType = 10
	EventUpdateOperationStatus EventType = 11
)

var namesEventType = map[int32]string{
	0:  "UNKNOWN",
	1:  "SUBSCRIBED",
	2:  "OFFERS",
	3:  "RESCIND",
	4:  "UPDATE",
	5:  "MESSAGE",
	6:  "FAILURE",
	7:  "ERROR",
	8:  "HEARTBEAT",
	9:  "INVERSE_OFFERS",
	10: "RESCIND_INVERSE_OFFER",
	11: "UPDATE_OPERATION_STATUS",
}

// Names returns the names of all values.
func (EventType) Names() map[int32]string { return namesEventType }

func (x EventType) String() string { return namesEventType[int32(x)] }

// ValueType says which field of a resource or an attribute has its value.
type ValueType int32

const (
	ValueScalar ValueType = 0
	ValueRanges ValueType = 1
	ValueSet    ValueType = 2
	ValueText   ValueType = 3
)

var namesValueType = map[int32]string{
	0: "SCALAR",
	1: "RANGES",
	2: "SET",
	3: "TEXT",
}

// Names returns the names of all values.
func (ValueType) Names() map[int32]string { return namesValueType }

func (x ValueType) String() string { return namesValueType[int32(x)] }

// OperationType is what is done with an offer.
type OperationType int32

const (
	OperationUnknown      OperationType = 0
	OperationLaunch       OperationType = 1
	OperationReserve      OperationType = 2
	OperationUnreserve    OperationType = 3
	OperationCreate       OperationType = 4
	OperationDestroy      OperationType = 5
	OperationLaunchGroup  OperationType = 6
	OperationGrowVolume   OperationType = 11
	OperationShrinkVolume OperationType = 12
	OperationCreateDisk   OperationType = 13
	OperationDestroyDisk  OperationType = 14
)

var namesOperationType = map[int32]string{
	0:  "UNKNOWN",
	1:  "LAUNCH",
	2:  "RESERVE",
	3:  "UNRESERVE",
	4:  "CREATE",
	5:  "DESTROY",
	6:  "LAUNCH_GROUP",
	11: "GROW_VOLUME",
	12: "SHRINK_VOLUME",
	13: "CREATE_DISK",
	14: "DESTROY_DISK",
}

// Names returns the names of all values.
func (OperationType) Names() map[int32]string { return namesOperationType }

func (x OperationType) String() string { return namesOperationType[int32(x)] }

// ReservationType says who reserved.
type ReservationType int32

const (
	ReservationUnknown ReservationType = 0
	ReservationStatic  ReservationType = 1
	ReservationDynamic ReservationType = 2
)

var namesReservationType = map[int32]string{
	0: "UNKNOWN",
	1: "STATIC",
	2: "DYNAMIC",
}

// Names returns the names of all values.
func (ReservationType) Names() map[int32]string { return namesReservationType }

func (x ReservationType) String() string { return namesReservationType[int32(x)] }

// CapabilityType is what a framework understands.
type CapabilityType int32

const (
	CapabilityUnknown               CapabilityType = 0
	CapabilityRevocableResources    CapabilityType = 1
	CapabilityTaskKillingState      CapabilityType = 2
	CapabilityGpuResources          CapabilityType = 3
	CapabilitySharedResources       CapabilityType = 4
	CapabilityPartitionAware        CapabilityType = 5
	CapabilityMultiRole             CapabilityType = 6
	CapabilityReservationRefinement CapabilityType = 7
	CapabilityRegionAware           CapabilityType = 8
)

var namesCapabilityType = map[int32]string{
	0: "UNKNOWN",
	1: "REVOCABLE_RESOURCES",
	2: "TASK_KILLING_STATE",
	3: "GPU_RESOURCES",
	4: "SHARED_RESOURCES",
	5: "PARTITION_AWARE",
	6: "MULTI_ROLE",
	7: "RESERVATION_REFINEMENT",
	8: "REGION_AWARE",
}

// Names returns the names of all values.
func (CapabilityType) Names() map[int32]string { return namesCapabilityType }

func (x CapabilityType) String() string { return namesCapabilityType[int32(x)] }

// TaskState is how a task is.
type TaskState int32

const (
	TaskStarting       TaskState = 0
	TaskRunning        TaskState = 1
	TaskFinished       TaskState = 2
	TaskFailed         TaskState = 3
	TaskKilled         TaskState = 4
	TaskLost           TaskState = 5
	TaskStaging        TaskState = 6
	TaskError          TaskState = 7
	TaskKilling        TaskState = 8
	TaskDropped        TaskState = 9
	TaskUnreachable    TaskState = 10
	TaskGone           TaskState = 11
	TaskGoneByOperator TaskState = 12
	TaskUnknown        TaskState = 13
)

var namesTaskState = map[int32]string{
	0:  "TASK_STARTING",
	1:  "TASK_RUNNING",
	2:  "TASK_FINISHED",
	3:  "TASK_FAILED",
	4:  "TASK_KILLED",
	5:  "TASK_LOST",
	6:  "TASK_STAGING",
	7:  "TASK_ERROR",
	8:  "TASK_KILLING",
	9:  "TASK_DROPPED",
	10: "TASK_UNREACHABLE",
	11: "TASK_GONE",
	12: "TASK_GONE_BY_OPERATOR",
	13: "TASK_UNKNOWN",
}

// Names returns the names of all values.
func (TaskState) Names() map[int32]string { return namesTaskState }

func (x TaskState) String() string { return namesTaskState[int32(x)] }

// StatusSource says from whom a status is.
type StatusSource int32

const (
	SourceMaster   StatusSource = 0
	SourceAgent    StatusSource = 1
	SourceExecutor StatusSource = 2
)

var namesStatusSource = map[int32]string{
	0: "SOURCE_MASTER",
	1: "SOURCE_AGENT",
	2: "SOURCE_EXECUTOR",
}

// Names returns the names of all values.
func (StatusSource) Names() map[int32]string { return namesStatusSource }

func (x StatusSource) String() string { return namesStatusSource[int32(x)] }

// StatusReason says why a task is as it is.
type StatusReason int32

const (
	ReasonCommandExecutorFailed         StatusReason = 0
	ReasonExecutorTerminated            StatusReason = 1
	ReasonExecutorUnregistered          StatusReason = 2
	ReasonFrameworkRemoved              StatusReason = 3
	ReasonGcError                       StatusReason = 4
	ReasonInvalidFrameworkid            StatusReason = 5
	ReasonInvalidOffers                 StatusReason = 6
	ReasonMasterDisconnected            StatusReason = 7
	ReasonContainerLimitationMemory     StatusReason = 8
	ReasonReconciliation                StatusReason = 9
	ReasonAgentDisconnected             StatusReason = 10
	ReasonAgentRemoved                  StatusReason = 11
	ReasonAgentRestarted                StatusReason = 12
	ReasonAgentUnknown                  StatusReason = 13
	ReasonTaskInvalid                   StatusReason = 14
	ReasonTaskUnauthorized              StatusReason = 15
	ReasonTaskUnknown                   StatusReason = 16
	ReasonContainerPreempted            StatusReason = 17
	ReasonResourcesUnknown              StatusReason = 18
	ReasonContainerLimitation           StatusReason = 19
	ReasonContainerLimitationDisk       StatusReason = 20
	ReasonContainerLaunchFailed         StatusReason = 21
	ReasonContainerUpdateFailed         StatusReason = 22
	ReasonExecutorRegistrationTimeout   StatusReason = 23
	ReasonExecutorReregistrationTimeout StatusReason = 24
	ReasonTaskGroupInvalid              StatusReason = 25
	ReasonTaskGroupUnauthorized         StatusReason = 26
	ReasonIoSwitchboardExited           StatusReason = 27
	ReasonTaskCheckStatusUpdated        StatusReason = 28
	ReasonTaskHealthCheckStatusUpdated  StatusReason = 29
	ReasonTaskKilledDuringLaunch        StatusReason = 30
	ReasonAgentRemovedByOperator        StatusReason = 31
	ReasonAgentReregistered             StatusReason = 32
	ReasonMaxCompletionTimeReached      StatusReason = 33
	ReasonAgentDraining                 StatusReason = 34
)

var namesStatusReason = map[int32]string{
	0:  "REASON_COMMAND_EXECUTOR_FAILED",
	1:  "REASON_EXECUTOR_TERMINATED",
	2:  "REASON_EXECUTOR_UNREGISTERED",
	3:  "REASON_FRAMEWORK_REMOVED",
	4:  "REASON_GC_ERROR",
	5:  "REASON_INVALID_FRAMEWORKID",
	6:  "REASON_INVALID_OFFERS",
	7:  "REASON_MASTER_DISCONNECTED",
	8:  "REASON_CONTAINER_LIMITATION_MEMORY",
	9:  "REASON_RECONCILIATION",
	10: "REASON_AGENT_DISCONNECTED",
	11: "REASON_AGENT_REMOVED",
	12: "REASON_AGENT_RESTARTED",
	13: "REASON_AGENT_UNKNOWN",
	14: "REASON_TASK_INVALID",
	15: "REASON_TASK_UNAUTHORIZED",
	16: "REASON_TASK_UNKNOWN",
	17: "REASON_CONTAINER_PREEMPTED",
	18: "REASON_RESOURCES_UNKNOWN",
	19: "REASON_CONTAINER_LIMITATION",
	20: "REASON_CONTAINER_LIMITATION_DISK",
	21: "REASON_CONTAINER_LAUNCH_FAILED",
	22: "REASON_CONTAINER_UPDATE_FAILED",
	23: "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
	24: "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
	25: "REASON_TASK_GROUP_INVALID",
	26: "REASON_TASK_GROUP_UNAUTHORIZED",
	27: "REASON_IO_SWITCHBOARD_EXITED",
	28: "REASON_TASK_CHECK_STATUS_UPDATED",
	29: "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED",
	30: "REASON_TASK_KILLED_DURING_LAUNCH",
	31: "REASON_AGENT_REMOVED_BY_OPERATOR",
	32: "REASON_AGENT_REREGISTERED",
	33: "REASON_MAX_COMPLETION_TIME_REACHED",
	34: "REASON_AGENT_DRAINING",
}

// Names returns the names of all values.
func (StatusReason) Names() map[int32]string { return namesStatusReason }

func (x StatusReason) String() string { return namesStatusReason[int32(x)] }

// VariableType says which field of a variable has its value.
type VariableType int32

const (
	VariableUnknown VariableType = 0
	VariableValue   VariableType = 1
	VariableSecret  VariableType = 2
)

var namesVariableType = map[int32]string{
	0: "UNKNOWN",
	1: "VALUE",
	2: "SECRET",
}

// Names returns the names of all values.
func (VariableType) Names() map[int32]string { return namesVariableType }

func (x VariableType) String() string { return namesVariableType[int32(x)] }

// ExecutorType says whose program an executor is.
type ExecutorType int32

const (
	ExecutorUnknown ExecutorType = 0
	ExecutorDefault ExecutorType = 1
	ExecutorCustom  ExecutorType = 2
)

var namesExecutorType = map[int32]string{
	0: "UNKNOWN",
	1: "DEFAULT",
	2: "CUSTOM",
}

// Names returns the names of all values.
func (ExecutorType) Names() map[int32]string { return namesExecutorType }

func (x ExecutorType) String() string { return namesExecutorType[int32(x)] }

// ContainerType says what runs a container.
type ContainerType int32

const (
	ContainerDocker ContainerType = 1
	ContainerMesos  ContainerType = 2
)

var namesContainerType = map[int32]string{
	1: "DOCKER",
	2: "MESOS",
}

// Names returns the names of all values.
func (ContainerType) Names() map[int32]string { return namesContainerType }

func (x ContainerType) String() string { return namesContainerType[int32(x)] }

// PseudoAttribute is what of a node is no attribute of it.
type PseudoAttribute int32

const (
	PseudoUnknown  PseudoAttribute = 0
	PseudoHostname PseudoAttribute = 1
	PseudoRegion   PseudoAttribute = 2
	PseudoZone     PseudoAttribute = 3
)

var namesPseudoAttribute = map[int32]string{
	0: "UNKNOWN",
	1: "HOSTNAME",
	2: "REGION",
	3: "ZONE",
}

// Names returns the names of all values.
func (PseudoAttribute) Names() map[int32]string { return namesPseudoAttribute }

func (x PseudoAttribute) String() string { return namesPseudoAttribute[int32(x)] }
