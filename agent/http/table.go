package http

import (
	"encoding/json"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

const (
	text        = "text/plain"
	octets      = "application/octet-stream"
	maxSnapshot = 64 << 30
)

var (
	checkParam = Param{Name: "check", Type: "integer", Doc: "Only if this is the job's version now; 0: only if there is no such job."}
	pathOfFile = Param{Name: "path", Type: "string", Doc: "Relative to the allocation's folder. Default: the folder itself."}
	force      = Param{Name: "force", Type: "boolean", Doc: "Also when a limit is below what is in use, or more is guaranteed than the ready nodes have."}
	offset     = Param{Name: "offset", Type: "integer", Doc: "Bytes to leave out at the beginning."}
)

// Routes returns the table: all calls of the API.
func Routes() []Route {
	return []Route{
		{Method: "GET", Path: "/v1/jobs", Name: "Jobs", Flags: Read | List, Result: []*api.JobSummary{}, Handle: jobList,
			Summary: "Lists jobs by name."},
		{Method: "POST", Path: "/v1/jobs", Name: "SubmitJob", Flags: Write, Takes: jobTypes, MaxBody: maxJob, Body: structs.Job{}, Result: api.JobSubmitted{},
			Params: []Param{checkParam, varParam}, Handle: jobSubmit,
			Summary: "Submits a job, in JSON or in HCL: a new one, or a new version."},
		{Method: "POST", Path: "/v1/jobs/parse", Name: "ParseJob", Takes: jobTypes, MaxBody: maxJob, Body: structs.Job{}, Result: structs.Job{},
			Gives: jobTypes, Handle: jobParse,
			Params:  []Param{varParam, {Name: "format", Type: "string", Doc: "json (default) or hcl: how to answer."}},
			Summary: "Reads and checks a job, and returns it with its defaults. Nothing is changed."},
		{Method: "POST", Path: "/v1/jobs/plan", Name: "PlanJob", Takes: jobTypes, MaxBody: maxJob, Body: structs.Job{}, Result: api.JobPlan{},
			Params: []Param{varParam}, Handle: jobPlan,
			Summary: "Says what submitting a job would change and where it would go. Nothing is changed."},
		{Method: "GET", Path: "/v1/job/{name}", Name: "Job", Flags: Read, Result: api.JobDetail{}, Handle: jobGet,
			Summary: "Returns a job with its text and counts."},
		{Method: "DELETE", Path: "/v1/job/{name}", Name: "StopJob", Flags: Write, Result: api.Written{}, Handle: jobStop,
			Params:  []Param{{Name: "purge", Type: "boolean", Doc: "Also forget the job."}},
			Summary: "Stops a job."},
		{Method: "GET", Path: "/v1/job/{name}/status", Name: "JobStatus", Flags: Read, Result: api.JobStatus{}, Handle: jobStatus,
			Summary: "Returns a job with its allocations, newest first."},
		{Method: "GET", Path: "/v1/job/{name}/versions", Name: "JobVersions", Flags: Read, Result: []*structs.JobVersion{}, Handle: jobVersions,
			Summary: "Lists the versions of a job that are kept, newest first."},
		{Method: "GET", Path: "/v1/job/{name}/allocations", Name: "JobAllocations", Flags: Read | List, Result: []*structs.Allocation{}, Handle: jobAllocs,
			Summary: "Lists the allocations of a job by id."},
		{Method: "GET", Path: "/v1/job/{name}/explain", Name: "ExplainJob", Result: api.Explanation{}, Handle: jobExplain,
			Params:  []Param{{Name: "group", Type: "string", Doc: "Only this group."}, {Name: "stale", Type: "boolean", Doc: "As in reads."}},
			Summary: "Says why the groups of a job are where they are, or why they wait."},
		{Method: "POST", Path: "/v1/job/{name}/scale", Name: "ScaleJob", Flags: Write, Body: api.JobScale{}, Result: api.Written{}, Handle: jobScale,
			Summary: "Sets how many allocations of a group are wanted."},
		{Method: "POST", Path: "/v1/job/{name}/restart", Name: "RestartJob", Flags: Write, Result: api.Written{}, Handle: jobRestart,
			Summary: "Replaces all allocations of a job, a few at a time; the work of a batch job runs again."},
		{Method: "POST", Path: "/v1/job/{name}/revert", Name: "RevertJob", Flags: Write, Body: api.JobRevert{}, Result: api.JobSubmitted{}, Handle: jobRevert,
			Summary: "Submits the text of an older version as a new one."},

		{Method: "GET", Path: "/v1/allocations", Name: "Allocations", Flags: Read | List, Result: []*structs.Allocation{}, Handle: allocList,
			Summary: "Lists allocations by id."},
		{Method: "GET", Path: "/v1/allocation/{id}", Name: "Allocation", Flags: Read, Result: api.AllocDetail{}, Handle: allocGet,
			Summary: "Returns an allocation."},
		{Method: "POST", Path: "/v1/allocation/{id}/stop", Name: "StopAllocation", Flags: Write, Result: api.Written{}, Handle: allocStop,
			Summary: "Stops an allocation; its job places another one if it still wants it."},
		{Method: "POST", Path: "/v1/allocation/{id}/restart", Name: "RestartAllocation", Flags: Write, Body: api.AllocRestart{}, Result: api.Written{}, Handle: allocRestart,
			Summary: "Restarts a task, or all tasks, of an allocation on its node."},
		{Method: "POST", Path: "/v1/allocation/{id}/signal", Name: "SignalAllocation", Flags: Write, Body: api.AllocSignal{}, Result: api.Written{}, Handle: allocSignal,
			Summary: "Sends a signal to a task, or to all main tasks."},
		{Method: "GET", Path: "/v1/allocation/{id}/stats", Name: "AllocationStats", Result: api.AllocStats{}, Handle: allocStats,
			Summary: "Says what the running tasks of an allocation use now."},
		{Method: "GET", Path: "/v1/allocation/{id}/logs/{task}", Name: "Logs", Flags: Stream, Gives: octets + " " + ndjson, Result: api.LogFrame{}, Handle: allocLogs,
			Params: []Param{{Name: "stream", Type: "string", Doc: "stdout, stderr or both (default)."},
				{Name: "follow", Type: "boolean", Doc: "Go on until the task has ended for good."}, offset,
				{Name: "tail", Type: "integer", Doc: "At most so many bytes before the end."}},
			Summary: "Sends the output of a task: bytes, or with Accept: application/x-ndjson frames with the stream that they are of."},
		{Method: "GET", Path: "/v1/allocation/{id}/fs/list", Name: "ListFiles", Params: []Param{pathOfFile}, Result: []*api.FileInfo{}, Handle: fsList,
			Summary: "Lists a folder of an allocation."},
		{Method: "GET", Path: "/v1/allocation/{id}/fs/stat", Name: "StatFile", Params: []Param{pathOfFile}, Result: api.FileInfo{}, Handle: fsStat,
			Summary: "Returns what is known of a file of an allocation."},
		{Method: "GET", Path: "/v1/allocation/{id}/fs/cat", Name: "ReadFile", Flags: Stream, Gives: octets, Result: []byte{}, Handle: fsCat,
			Params:  []Param{pathOfFile, offset, {Name: "limit", Type: "integer", Doc: "At most so many bytes. Default: all."}},
			Summary: "Sends a file of an allocation."},
		{Method: "GET", Path: "/v1/allocation/{id}/exec/{task}", Name: "Exec", Flags: Write | Stream, Gives: "websocket", Result: api.ExecResult{}, Handle: exec,
			Params: []Param{{Name: "command", Type: "string", Repeat: true, Doc: "The command and its arguments, one each."},
				{Name: "tty", Type: "boolean", Doc: "Run it in a terminal."},
				{Name: "rows", Type: "integer", Doc: "Height of the terminal."}, {Name: "cols", Type: "integer", Doc: "Width of the terminal."}},
			Summary: "Runs a command in a running task over a websocket."},

		{Method: "GET", Path: "/v1/nodes", Name: "Nodes", Flags: Read | List, Result: []*structs.Node{}, Handle: nodeList,
			Summary: "Lists nodes by id."},
		{Method: "GET", Path: "/v1/node/{id}", Name: "Node", Flags: Read, Result: api.NodeDetail{}, Handle: nodeGet,
			Summary: "Returns a node, what of it is used, and its allocations (at most 1,000)."},
		{Method: "GET", Path: "/v1/node/{id}/allocations", Name: "NodeAllocations", Flags: Read | List, Result: []*structs.Allocation{}, Handle: nodeAllocs,
			Summary: "Lists the allocations of a node by id."},
		{Method: "POST", Path: "/v1/node/{id}/eligibility", Name: "SetEligibility", Flags: Write, Body: api.NodeEligibility{}, Result: api.Written{}, Handle: nodeEligibility,
			Summary: "Lets work be placed on a node, or not."},
		{Method: "POST", Path: "/v1/node/{id}/drain", Name: "DrainNode", Flags: Write, Body: api.NodeDrain{}, Result: api.Written{}, Handle: nodeDrain,
			Summary: "Has a node emptied, or ends that."},
		{Method: "POST", Path: "/v1/node/{id}/purge", Name: "PurgeNode", Flags: Write, Result: api.Written{}, Handle: nodePurge,
			Summary: "Forgets a node that is lost or left."},

		{Method: "GET", Path: "/v1/roles", Name: "Roles", Flags: Read | List, Result: []*api.RoleStatus{}, Handle: roleList,
			Summary: "Lists roles and what they use."},
		{Method: "GET", Path: "/v1/role/{name...}", Name: "Role", Flags: Read, Result: api.RoleStatus{}, Handle: roleGet,
			Summary: "Returns a role and what it uses."},
		{Method: "PUT", Path: "/v1/role/{name...}", Name: "PutRole", Flags: Write, Takes: jobTypes, Body: structs.Role{}, Result: api.Written{}, Handle: rolePut,
			Params: []Param{force}, Summary: "Stores a role, in JSON or in HCL."},
		{Method: "PUT", Path: "/v1/roles", Name: "PutRoles", Flags: Write, Takes: jobTypes, Body: []*structs.Role{}, Result: api.Written{}, Handle: rolesPut,
			Params: []Param{force}, Summary: "Stores roles, in JSON or in HCL: all of them or none."},
		{Method: "DELETE", Path: "/v1/role/{name...}", Name: "DeleteRole", Flags: Write, Result: api.Written{}, Handle: roleDelete,
			Params:  []Param{{Name: "force", Type: "boolean", Doc: "Also when jobs or frameworks use it; their work goes on."}},
			Summary: "Removes a role that nothing uses."},
		{Method: "GET", Path: "/v1/quotas", Name: "Quotas", Flags: Read | List, Result: []*api.QuotaStatus{}, Handle: quotaList,
			Summary: "Lists what roles may have, what they have and what waits."},
		{Method: "GET", Path: "/v1/quota/{name...}", Name: "Quota", Flags: Read, Result: api.QuotaStatus{}, Handle: quotaGet,
			Summary: "Returns what a role may have, what it has and what waits."},
		{Method: "GET", Path: "/v1/frameworks", Name: "Frameworks", Flags: Read | List, Result: []*structs.Framework{}, Handle: frameworkList,
			Summary: "Lists frameworks by id."},
		{Method: "GET", Path: "/v1/framework/{id}", Name: "Framework", Flags: Read, Result: structs.Framework{}, Handle: frameworkGet,
			Summary: "Returns a framework by id, its beginning, or name."},
		{Method: "GET", Path: "/v1/offers", Name: "Offers", Params: listParams, Result: []*structs.Offer{}, Handle: offerList,
			Summary: "Lists the outstanding offers by id."},

		{Method: "GET", Path: "/v1/events", Name: "Events", Flags: Stream, Gives: ndjson + " " + sse, Result: api.Events{}, Handle: events,
			Params: []Param{{Name: "topic", Type: "string", Repeat: true, Doc: "job, version, allocation, node, role or framework. Default: all."},
				{Name: "job", Type: "string", Doc: "Only what belongs to this job."}, {Name: "node", Type: "string", Doc: "Only what belongs to this node."},
				{Name: "index", Type: "integer", Doc: "Begin behind this index. Default: now. Last-Event-ID does the same."},
				{Name: "stale", Type: "boolean", Doc: "As in reads; for node."}},
			Summary: "Follows all changes of the region, one line or server-sent event for each index. The first line says where it begins."},

		{Method: "GET", Path: "/v1/status/leader", Name: "Leader", Result: api.Leader{}, Handle: statusLeader,
			Summary: "Returns who leads the region."},
		{Method: "GET", Path: "/v1/status/peers", Name: "Peers", Result: []*api.RaftPeer{}, Handle: raftPeers,
			Summary: "Lists the servers of the region."},
		{Method: "GET", Path: "/v1/servers", Name: "Members", Flags: Local, Result: []*api.Member{}, Handle: memberList,
			Summary: "Lists the agents of the gossip pool, as this one sees them."},
		{Method: "POST", Path: "/v1/servers/join", Name: "JoinServers", Flags: Local | Write, Body: api.Join{}, Result: api.Joined{}, Handle: memberJoin,
			Summary: "Has this agent join others."},
		{Method: "POST", Path: "/v1/servers/force-leave", Name: "ForceLeave", Flags: Local | Write, Body: api.ForceLeave{}, Result: api.Done{}, Handle: memberForceLeave,
			Summary: "Forgets a member that failed."},

		{Method: "GET", Path: "/v1/operator/raft/peers", Name: "RaftPeers", Result: []*api.RaftPeer{}, Handle: raftPeers,
			Summary: "Lists the members of the Raft group."},
		{Method: "DELETE", Path: "/v1/operator/raft/peer/{id}", Name: "RemoveRaftPeer", Flags: Write, Result: api.Done{}, Handle: raftRemove,
			Summary: "Removes a member from the Raft group."},
		{Method: "POST", Path: "/v1/operator/raft/transfer", Name: "TransferLeader", Flags: Write, Body: api.RaftServer{}, Result: api.Done{}, Handle: raftTransfer,
			Summary: "Makes another server the leader: the one that is named, or any."},
		{Method: "GET", Path: "/v1/operator/snapshot", Name: "SaveSnapshot", Flags: Stream, Gives: octets, Result: []byte{}, Handle: snapshotSave,
			Summary: "Sends a snapshot of the region."},
		{Method: "PUT", Path: "/v1/operator/snapshot", Name: "RestoreSnapshot", Flags: Write | Stream, Takes: octets, MaxBody: maxSnapshot, Body: []byte{}, Result: api.SnapshotInfo{}, Handle: snapshotRestore,
			Summary: "Replaces the state of the region with that of a snapshot."},
		{Method: "POST", Path: "/v1/operator/snapshot/inspect", Name: "InspectSnapshot", Flags: Local | Stream, Takes: octets, MaxBody: maxSnapshot, Body: []byte{}, Result: api.SnapshotInfo{}, Handle: snapshotInspect,
			Summary: "Says what is in a snapshot. Nothing is changed."},
		{Method: "GET", Path: "/v1/operator/keyring", Name: "Keyring", Flags: Local, Result: api.Keyring{}, Handle: keyringList,
			Summary: "Lists the gossip keys in use."},
		{Method: "POST", Path: "/v1/operator/keyring", Name: "ChangeKeyring", Flags: Local | Write, Body: api.KeyringChange{}, Result: api.Keyring{}, Handle: keyringChange,
			Summary: "Installs, uses or removes a gossip key on all members."},

		{Method: "GET", Path: "/v1/agent/self", Name: "Self", Flags: Local, Result: api.Self{}, Handle: agentSelf,
			Summary: "Returns what this agent says of itself."},
		{Method: "GET", Path: "/v1/agent/health", Name: "Health", Flags: Local, Result: api.Health{}, Handle: agentHealth,
			Summary: "Answers 200 when this agent does its work, 503 otherwise."},
		{Method: "GET", Path: "/v1/agent/metrics", Name: "Metrics", Flags: Local, Gives: text, Result: "", Handle: agentMetrics,
			Summary: "Sends all metrics as Prometheus text."},
		{Method: "GET", Path: "/v1/agent/monitor", Name: "Monitor", Flags: Local | Stream, Gives: text, Result: "", Handle: agentMonitor,
			Params:  []Param{{Name: "level", Type: "string", Doc: "debug, info (default), warn or error."}, {Name: "json", Type: "boolean", Doc: "Lines of JSON."}},
			Summary: "Follows the log of this agent."},
		{Method: "POST", Path: "/v1/agent/reload", Name: "Reload", Flags: Local | Write, Result: api.Reloaded{}, Handle: agentReload,
			Summary: "Reads the configuration again and says what took effect."},
		{Method: "GET", Path: "/v1/openapi.json", Name: "OpenAPI", Flags: Local, Result: json.RawMessage{}, Handle: openAPI,
			Summary: "Returns this description."},
	}
}
