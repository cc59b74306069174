package wire

// The enums of the operator API of agents, by the names and numbers of Mesos.

// AgentCallType is what an operator asks an agent for.
type AgentCallType int32

const (
	AgentUnknown                      AgentCallType = 0
	AgentGetHealth                    AgentCallType = 1
	AgentGetFlags                     AgentCallType = 2
	AgentGetVersion                   AgentCallType = 3
	AgentGetMetrics                   AgentCallType = 4
	AgentGetLoggingLevel              AgentCallType = 5
	AgentSetLoggingLevel              AgentCallType = 6
	AgentListFiles                    AgentCallType = 7
	AgentReadFile                     AgentCallType = 8
	AgentGetState                     AgentCallType = 9
	AgentGetContainers                AgentCallType = 10
	AgentGetFrameworks                AgentCallType = 11
	AgentGetExecutors                 AgentCallType = 12
	AgentGetTasks                     AgentCallType = 13
	AgentLaunchNestedContainer        AgentCallType = 14
	AgentWaitNestedContainer          AgentCallType = 15
	AgentKillNestedContainer          AgentCallType = 16
	AgentLaunchNestedContainerSession AgentCallType = 17
	AgentAttachContainerInput         AgentCallType = 18
	AgentAttachContainerOutput        AgentCallType = 19
	AgentGetAgent                     AgentCallType = 20
	AgentRemoveNestedContainer        AgentCallType = 21
	AgentLaunchContainer              AgentCallType = 22
	AgentWaitContainer                AgentCallType = 23
	AgentKillContainer                AgentCallType = 24
	AgentRemoveContainer              AgentCallType = 25
	AgentGetResourceProviders         AgentCallType = 26
	AgentAddResourceProviderConfig    AgentCallType = 27
	AgentUpdateResourceProviderConfig AgentCallType = 28
	AgentRemoveResourceProviderConfig AgentCallType = 29
	AgentPruneImages                  AgentCallType = 30
	AgentGetOperations                AgentCallType = 31
	AgentMarkResourceProviderGone     AgentCallType = 32
)

var namesAgentCallType = map[int32]string{
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
	10: "GET_CONTAINERS",
	11: "GET_FRAMEWORKS",
	12: "GET_EXECUTORS",
	13: "GET_TASKS",
	14: "LAUNCH_NESTED_CONTAINER",
	15: "WAIT_NESTED_CONTAINER",
	16: "KILL_NESTED_CONTAINER",
	17: "LAUNCH_NESTED_CONTAINER_SESSION",
	18: "ATTACH_CONTAINER_INPUT",
	19: "ATTACH_CONTAINER_OUTPUT",
	20: "GET_AGENT",
	21: "REMOVE_NESTED_CONTAINER",
	22: "LAUNCH_CONTAINER",
	23: "WAIT_CONTAINER",
	24: "KILL_CONTAINER",
	25: "REMOVE_CONTAINER",
	26: "GET_RESOURCE_PROVIDERS",
	27: "ADD_RESOURCE_PROVIDER_CONFIG",
	28: "UPDATE_RESOURCE_PROVIDER_CONFIG",
	29: "REMOVE_RESOURCE_PROVIDER_CONFIG",
	30: "PRUNE_IMAGES",
	31: "GET_OPERATIONS",
	32: "MARK_RESOURCE_PROVIDER_GONE",
}

// Names returns the names of all values.
func (AgentCallType) Names() map[int32]string { return namesAgentCallType }

func (x AgentCallType) String() string { return namesAgentCallType[int32(x)] }

// AgentResponseType says which answer of an agent it is.
type AgentResponseType int32

const (
	AgentAnswerUnknown              AgentResponseType = 0
	AgentAnswerGetHealth            AgentResponseType = 1
	AgentAnswerGetFlags             AgentResponseType = 2
	AgentAnswerGetVersion           AgentResponseType = 3
	AgentAnswerGetMetrics           AgentResponseType = 4
	AgentAnswerGetLoggingLevel      AgentResponseType = 5
	AgentAnswerListFiles            AgentResponseType = 6
	AgentAnswerReadFile             AgentResponseType = 7
	AgentAnswerGetState             AgentResponseType = 8
	AgentAnswerGetContainers        AgentResponseType = 9
	AgentAnswerGetFrameworks        AgentResponseType = 10
	AgentAnswerGetExecutors         AgentResponseType = 11
	AgentAnswerGetTasks             AgentResponseType = 12
	AgentAnswerWaitNestedContainer  AgentResponseType = 13
	AgentAnswerGetAgent             AgentResponseType = 14
	AgentAnswerWaitContainer        AgentResponseType = 15
	AgentAnswerGetResourceProviders AgentResponseType = 16
	AgentAnswerGetOperations        AgentResponseType = 17
)

var namesAgentResponseType = map[int32]string{
	0:  "UNKNOWN",
	1:  "GET_HEALTH",
	2:  "GET_FLAGS",
	3:  "GET_VERSION",
	4:  "GET_METRICS",
	5:  "GET_LOGGING_LEVEL",
	6:  "LIST_FILES",
	7:  "READ_FILE",
	8:  "GET_STATE",
	9:  "GET_CONTAINERS",
	10: "GET_FRAMEWORKS",
	11: "GET_EXECUTORS",
	12: "GET_TASKS",
	13: "WAIT_NESTED_CONTAINER",
	14: "GET_AGENT",
	15: "WAIT_CONTAINER",
	16: "GET_RESOURCE_PROVIDERS",
	17: "GET_OPERATIONS",
}

// Names returns the names of all values.
func (AgentResponseType) Names() map[int32]string { return namesAgentResponseType }

func (x AgentResponseType) String() string { return namesAgentResponseType[int32(x)] }
