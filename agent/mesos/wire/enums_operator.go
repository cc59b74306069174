package wire

// The enums of the operator API, by the names and numbers of Mesos.

// OperatorCallType is what an operator asks a master for.
type OperatorCallType int32

const (
	OperatorUnknown                   OperatorCallType = 0
	OperatorGetHealth                 OperatorCallType = 1
	OperatorGetFlags                  OperatorCallType = 2
	OperatorGetVersion                OperatorCallType = 3
	OperatorGetMetrics                OperatorCallType = 4
	OperatorGetLoggingLevel           OperatorCallType = 5
	OperatorSetLoggingLevel           OperatorCallType = 6
	OperatorListFiles                 OperatorCallType = 7
	OperatorReadFile                  OperatorCallType = 8
	OperatorGetState                  OperatorCallType = 9
	OperatorGetAgents                 OperatorCallType = 10
	OperatorGetFrameworks             OperatorCallType = 11
	OperatorGetExecutors              OperatorCallType = 12
	OperatorGetTasks                  OperatorCallType = 13
	OperatorGetRoles                  OperatorCallType = 14
	OperatorGetWeights                OperatorCallType = 15
	OperatorUpdateWeights             OperatorCallType = 16
	OperatorGetMaster                 OperatorCallType = 17
	OperatorSubscribe                 OperatorCallType = 18
	OperatorReserveResources          OperatorCallType = 19
	OperatorUnreserveResources        OperatorCallType = 20
	OperatorCreateVolumes             OperatorCallType = 21
	OperatorDestroyVolumes            OperatorCallType = 22
	OperatorGetMaintenanceStatus      OperatorCallType = 23
	OperatorGetMaintenanceSchedule    OperatorCallType = 24
	OperatorUpdateMaintenanceSchedule OperatorCallType = 25
	OperatorStartMaintenance          OperatorCallType = 26
	OperatorStopMaintenance           OperatorCallType = 27
	OperatorGetQuota                  OperatorCallType = 28
	OperatorSetQuota                  OperatorCallType = 29
	OperatorRemoveQuota               OperatorCallType = 30
	OperatorTeardown                  OperatorCallType = 31
	OperatorMarkAgentGone             OperatorCallType = 32
	OperatorGetOperations             OperatorCallType = 33
	OperatorGrowVolume                OperatorCallType = 34
	OperatorShrinkVolume              OperatorCallType = 35
	OperatorUpdateQuota               OperatorCallType = 36
	OperatorDrainAgent                OperatorCallType = 37
	OperatorDeactivateAgent           OperatorCallType = 38
	OperatorReactivateAgent           OperatorCallType = 39
)

var namesOperatorCallType = map[int32]string{
	0:  "UNKNOWN",
	1:  "GET_HEALTH",
	2:  "GET_FLAGS",
	3:  "GET_VERSION",
	4:  "GET_METRICS",
	5:  "GET_LOGGING_LEVEL",
	6:  "SET_LOGGING_LEVEL",
	7:  "LIST_FILES",
	8:  "READ_FILE",
	9:  "GET_STATE",
	10: "GET_AGENTS",
	11: "GET_FRAMEWORKS",
	12: "GET_EXECUTORS",
	13: "GET_TASKS",
	14: "GET_ROLES",
	15: "GET_WEIGHTS",
	16: "UPDATE_WEIGHTS",
	17: "GET_MASTER",
	18: "SUBSCRIBE",
	19: "RESERVE_RESOURCES",
	20: "UNRESERVE_RESOURCES",
	21: "CREATE_VOLUMES",
	22: "DESTROY_VOLUMES",
	23: "GET_MAINTENANCE_STATUS",
	24: "GET_MAINTENANCE_SCHEDULE",
	25: "UPDATE_MAINTENANCE_SCHEDULE",
	26: "START_MAINTENANCE",
	27: "STOP_MAINTENANCE",
	28: "GET_QUOTA",
	29: "SET_QUOTA",
	30: "REMOVE_QUOTA",
	31: "TEARDOWN",
	32: "MARK_AGENT_GONE",
	33: "GET_OPERATIONS",
	34: "GROW_VOLUME",
	35: "SHRINK_VOLUME",
	36: "UPDATE_QUOTA",
	37: "DRAIN_AGENT",
	38: "DEACTIVATE_AGENT",
	39: "REACTIVATE_AGENT",
}

// Names returns the names of all values.
func (OperatorCallType) Names() map[int32]string { return namesOperatorCallType }

func (x OperatorCallType) String() string { return namesOperatorCallType[int32(x)] }

// OperatorResponseType says which answer of a master it is.
type OperatorResponseType int32

const (
	AnswerUnknown                OperatorResponseType = 0
	AnswerGetHealth              OperatorResponseType = 1
	AnswerGetFlags               OperatorResponseType = 2
	AnswerGetVersion             OperatorResponseType = 3
	AnswerGetMetrics             OperatorResponseType = 4
	AnswerGetLoggingLevel        OperatorResponseType = 5
	AnswerListFiles              OperatorResponseType = 6
	AnswerReadFile               OperatorResponseType = 7
	AnswerGetState               OperatorResponseType = 8
	AnswerGetAgents              OperatorResponseType = 9
	AnswerGetFrameworks          OperatorResponseType = 10
	AnswerGetExecutors           OperatorResponseType = 11
	AnswerGetTasks               OperatorResponseType = 12
	AnswerGetRoles               OperatorResponseType = 13
	AnswerGetWeights             OperatorResponseType = 14
	AnswerGetMaster              OperatorResponseType = 15
	AnswerGetMaintenanceStatus   OperatorResponseType = 16
	AnswerGetMaintenanceSchedule OperatorResponseType = 17
	AnswerGetQuota               OperatorResponseType = 18
	AnswerGetOperations          OperatorResponseType = 19
)

var namesOperatorResponseType = map[int32]string{
	0:  "UNKNOWN",
	1:  "GET_HEALTH",
	2:  "GET_FLAGS",
	3:  "GET_VERSION",
	4:  "GET_METRICS",
	5:  "GET_LOGGING_LEVEL",
	6:  "LIST_FILES",
	7:  "READ_FILE",
	8:  "GET_STATE",
	9:  "GET_AGENTS",
	10: "GET_FRAMEWORKS",
	11: "GET_EXECUTORS",
	12: "GET_TASKS",
	13: "GET_ROLES",
	14: "GET_WEIGHTS",
	15: "GET_MASTER",
	16: "GET_MAINTENANCE_STATUS",
	17: "GET_MAINTENANCE_SCHEDULE",
	18: "GET_QUOTA",
	19: "GET_OPERATIONS",
}

// Names returns the names of all values.
func (OperatorResponseType) Names() map[int32]string { return namesOperatorResponseType }

func (x OperatorResponseType) String() string { return namesOperatorResponseType[int32(x)] }

// OperatorEventType is what an operator who subscribed is told.
type OperatorEventType int32

const (
	EventOperatorUnknown          OperatorEventType = 0
	EventOperatorSubscribed       OperatorEventType = 1
	EventOperatorTaskAdded        OperatorEventType = 2
	EventOperatorTaskUpdated      OperatorEventType = 3
	EventOperatorAgentAdded       OperatorEventType = 4
	EventOperatorAgentRemoved     OperatorEventType = 5
	EventOperatorFrameworkAdded   OperatorEventType = 6
	EventOperatorFrameworkUpdated OperatorEventType = 7
	EventOperatorFrameworkRemoved OperatorEventType = 8
	EventOperatorHeartbeat        OperatorEventType = 9
)

var namesOperatorEventType = map[int32]string{
	0: "UNKNOWN",
	1: "SUBSCRIBED",
	2: "TASK_ADDED",
	3: "TASK_UPDATED",
	4: "AGENT_ADDED",
	5: "AGENT_REMOVED",
	6: "FRAMEWORK_ADDED",
	7: "FRAMEWORK_UPDATED",
	8: "FRAMEWORK_REMOVED",
	9: "HEARTBEAT",
}

// Names returns the names of all values.
func (OperatorEventType) Names() map[int32]string { return namesOperatorEventType }

func (x OperatorEventType) String() string { return namesOperatorEventType[int32(x)] }
