package api

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Jobs lists jobs by name, a page at a time; see Collect.
func (c *Client) Jobs(ctx context.Context, q *Query) ([]*JobSummary, *Meta, error) {
	return get[[]*JobSummary](ctx, c, q, "/v1/jobs")
}

// JobText is a job as a user wrote it.
type JobText struct {
	HCL  []byte   // a text in HCL
	Vars []string // name=value for its variables
}

// SubmitJob submits a job. With expect it must be the job's version now; 0: there must be no such job.
func (c *Client) SubmitJob(ctx context.Context, job *structs.Job, expect *uint64) (*JobSubmitted, error) {
	v := url.Values{}
	if expect != nil {
		v.Set("check", strconv.FormatUint(*expect, 10))
	}
	return write[JobSubmitted](ctx, c, "POST", "/v1/jobs", v, job)
}

// ParseJob has an agent read and check a text.
func (c *Client) ParseJob(ctx context.Context, text JobText) (*structs.Job, error) {
	job := new(structs.Job)
	_, err := c.do(ctx, call{method: "POST", path: "/v1/jobs/parse", query: url.Values{"var": text.Vars}, contentType: "application/hcl", body: text.HCL}, job)
	if err != nil {
		return nil, err
	}
	return job, nil
}

// PlanJob says what submitting a job would do.
func (c *Client) PlanJob(ctx context.Context, job *structs.Job) (*JobPlan, error) {
	return write[JobPlan](ctx, c, "POST", "/v1/jobs/plan", nil, job)
}

// Job returns a job.
func (c *Client) Job(ctx context.Context, name string, q *Query) (*JobDetail, *Meta, error) {
	return get[*JobDetail](ctx, c, q, jobPath(name))
}

// StopJob stops a job; with purge it is forgotten too.
func (c *Client) StopJob(ctx context.Context, name string, purge bool) (*Written, error) {
	v := url.Values{}
	if purge {
		v.Set("purge", "true")
	}
	return write[Written](ctx, c, "DELETE", jobPath(name), v, nil)
}

// JobStatus returns a job with its allocations.
func (c *Client) JobStatus(ctx context.Context, name string, q *Query) (*JobStatus, *Meta, error) {
	return get[*JobStatus](ctx, c, q, jobPath(name, "status"))
}

// JobVersions lists the versions of a job that are kept, newest first.
func (c *Client) JobVersions(ctx context.Context, name string, q *Query) ([]*structs.JobVersion, *Meta, error) {
	return get[[]*structs.JobVersion](ctx, c, q, jobPath(name, "versions"))
}

// JobAllocations lists the allocations of a job by id, a page at a time.
func (c *Client) JobAllocations(ctx context.Context, name string, q *Query) ([]*structs.Allocation, *Meta, error) {
	return get[[]*structs.Allocation](ctx, c, q, jobPath(name, "allocations"))
}

// ExplainJob says why a job's groups are where they are; group may be empty for all.
func (c *Client) ExplainJob(ctx context.Context, name, group string) (*Explanation, error) {
	v := url.Values{}
	if group != "" {
		v.Set("group", group)
	}
	out, _, err := getWith[*Explanation](ctx, c, v, jobPath(name, "explain"))
	return out, err
}

// DispatchJob submits a job made of a parameterized one, with meta and a payload. The answer has its name.
func (c *Client) DispatchJob(ctx context.Context, name string, in JobDispatch) (*JobSubmitted, error) {
	return write[JobSubmitted](ctx, c, "POST", jobPath(name, "dispatch"), nil, in)
}

// ScaleJob sets how many allocations of a group are wanted; a negative count goes back to that of the job's text. group
// may be empty when the job has one.
func (c *Client) ScaleJob(ctx context.Context, name, group string, count int) (*Written, error) {
	return write[Written](ctx, c, "POST", jobPath(name, "scale"), nil, JobScale{group, &count})
}

// RestartJob replaces all allocations of a job.
func (c *Client) RestartJob(ctx context.Context, name string) (*Written, error) {
	return write[Written](ctx, c, "POST", jobPath(name, "restart"), nil, nil)
}

// RevertJob submits an older version again.
func (c *Client) RevertJob(ctx context.Context, name string, version uint64) (*JobSubmitted, error) {
	return write[JobSubmitted](ctx, c, "POST", jobPath(name, "revert"), nil, JobRevert{version})
}

// Allocations lists allocations by id, a page at a time.
func (c *Client) Allocations(ctx context.Context, q *Query) ([]*structs.Allocation, *Meta, error) {
	return get[[]*structs.Allocation](ctx, c, q, "/v1/allocations")
}

// Allocation returns an allocation by its id or the beginning of it.
func (c *Client) Allocation(ctx context.Context, id string, q *Query) (*AllocDetail, *Meta, error) {
	return get[*AllocDetail](ctx, c, q, allocPath(id))
}

// StopAllocation stops an allocation.
func (c *Client) StopAllocation(ctx context.Context, id string) (*Written, error) {
	return write[Written](ctx, c, "POST", allocPath(id, "stop"), nil, nil)
}

// RestartAllocation restarts a task, or all when task is empty.
func (c *Client) RestartAllocation(ctx context.Context, id, task string) (*Written, error) {
	return write[Written](ctx, c, "POST", allocPath(id, "restart"), nil, AllocRestart{task})
}

// SignalAllocation sends a signal to a task, or to all main tasks when task is empty.
func (c *Client) SignalAllocation(ctx context.Context, id, task, signal string) (*Written, error) {
	return send[Written](ctx, c, call{method: "POST", path: allocPath(id, "signal"), write: true, once: true}, AllocSignal{task, signal})
}

// AllocationStats says what an allocation uses now.
func (c *Client) AllocationStats(ctx context.Context, id string) (*AllocStats, error) {
	out, _, err := getWith[*AllocStats](ctx, c, nil, allocPath(id, "stats"))
	return out, err
}

// NodeStats says what a node uses now.
func (c *Client) NodeStats(ctx context.Context, id string) (*NodeStats, error) {
	out, _, err := getWith[*NodeStats](ctx, c, nil, nodePath(id, "stats"))
	return out, err
}

// ListFiles lists a folder of an allocation.
func (c *Client) ListFiles(ctx context.Context, id, path string) ([]*FileInfo, error) {
	out, _, err := getWith[[]*FileInfo](ctx, c, url.Values{"path": {path}}, allocPath(id, "fs", "list"))
	return out, err
}

// StatFile returns what is known of a file.
func (c *Client) StatFile(ctx context.Context, id, path string) (*FileInfo, error) {
	out, _, err := getWith[*FileInfo](ctx, c, url.Values{"path": {path}}, allocPath(id, "fs", "stat"))
	return out, err
}

// Nodes lists nodes by id, a page at a time.
func (c *Client) Nodes(ctx context.Context, q *Query) ([]*structs.Node, *Meta, error) {
	return get[[]*structs.Node](ctx, c, q, "/v1/nodes")
}

// Node returns a node by its id or the beginning of it.
func (c *Client) Node(ctx context.Context, id string, q *Query) (*NodeDetail, *Meta, error) {
	return get[*NodeDetail](ctx, c, q, nodePath(id))
}

// NodeAllocations lists the allocations of a node by id, a page at a time.
func (c *Client) NodeAllocations(ctx context.Context, id string, q *Query) ([]*structs.Allocation, *Meta, error) {
	return get[[]*structs.Allocation](ctx, c, q, nodePath(id, "allocations"))
}

// SetEligibility lets work be placed on a node, or not.
func (c *Client) SetEligibility(ctx context.Context, id string, eligible bool, reason string) (*Written, error) {
	return write[Written](ctx, c, "POST", nodePath(id, "eligibility"), nil, NodeEligibility{&eligible, reason})
}

// DrainNode has a node emptied, or ends that.
func (c *Client) DrainNode(ctx context.Context, id string, drain NodeDrain) (*Written, error) {
	return write[Written](ctx, c, "POST", nodePath(id, "drain"), nil, drain)
}

// SetMaintenance gives a node a window of maintenance, or ends or cancels the one that it has.
func (c *Client) SetMaintenance(ctx context.Context, id string, m NodeMaintenance) (*Written, error) {
	return write[Written](ctx, c, "POST", nodePath(id, "maintenance"), nil, m)
}

// Maintenance lists the nodes with windows of maintenance by id, a page at a time.
func (c *Client) Maintenance(ctx context.Context, q *Query) ([]*structs.NodeMaintenance, *Meta, error) {
	return get[[]*structs.NodeMaintenance](ctx, c, q, "/v1/maintenance")
}

// PurgeNode forgets a node that is lost or left. With gone that may be one that is there: it stops its work, and never comes back under
// its id, and the volumes on its disks are lost.
func (c *Client) PurgeNode(ctx context.Context, id string, gone bool) (*NodePurged, error) {
	var params url.Values
	if gone {
		params = url.Values{"gone": {"true"}}
	}
	return write[NodePurged](ctx, c, "POST", nodePath(id, "purge"), params, nil)
}

// Roles lists roles by name, a page at a time.
func (c *Client) Roles(ctx context.Context, q *Query) ([]*RoleStatus, *Meta, error) {
	return get[[]*RoleStatus](ctx, c, q, "/v1/roles")
}

// Role returns a role.
func (c *Client) Role(ctx context.Context, name string, q *Query) (*RoleStatus, *Meta, error) {
	return get[*RoleStatus](ctx, c, q, rolePath(name))
}

// Shares says how roles stand, each followed by those below it; with role, only that one and those below it.
func (c *Client) Shares(ctx context.Context, role string) ([]*structs.RoleStanding, error) {
	v := url.Values{}
	if role != "" {
		v.Set("role", role)
	}
	out, _, err := getWith[[]*structs.RoleStanding](ctx, c, v, "/v1/shares")
	return out, err
}

// Quotas lists what roles may have, have and wait for, by name, a page at a time.
func (c *Client) Quotas(ctx context.Context, q *Query) ([]*QuotaStatus, *Meta, error) {
	return get[[]*QuotaStatus](ctx, c, q, "/v1/quotas")
}

// Quota returns what a role may have, has and waits for.
func (c *Client) Quota(ctx context.Context, role string, q *Query) (*QuotaStatus, *Meta, error) {
	return get[*QuotaStatus](ctx, c, q, strings.Replace(rolePath(role), "/v1/role/", "/v1/quota/", 1))
}

// PutRole stores a role.
func (c *Client) PutRole(ctx context.Context, role *structs.Role) (*Written, error) {
	return write[Written](ctx, c, "PUT", rolePath(role.Name), nil, role)
}

// PutRoles stores roles, all of them or none. With force limits may be below what is in use, and more may be guaranteed
// than the nodes have.
func (c *Client) PutRoles(ctx context.Context, roles []*structs.Role, force bool) (*Written, error) {
	return write[Written](ctx, c, "PUT", "/v1/roles", forced(force), roles)
}

// DeleteRole removes a role that nothing uses; with force also one that jobs or frameworks use.
func (c *Client) DeleteRole(ctx context.Context, name string, force bool) (*Written, error) {
	return write[Written](ctx, c, "DELETE", rolePath(name), forced(force), nil)
}

func forced(force bool) url.Values {
	if !force {
		return nil
	}
	return url.Values{"force": {"true"}}
}

// Reservations lists what is reserved by id, a page at a time; static ones come last.
func (c *Client) Reservations(ctx context.Context, q *Query) ([]*structs.Reservation, *Meta, error) {
	return get[[]*structs.Reservation](ctx, c, q, "/v1/reservations")
}

// Reservation returns a reservation by its id or the beginning of it.
func (c *Client) Reservation(ctx context.Context, id string, q *Query) (*structs.Reservation, *Meta, error) {
	return get[*structs.Reservation](ctx, c, q, elements("/v1/reservation", id, nil))
}

// Reserve sets room on a node aside for a role; with force also room that others hold, which the role gets as it becomes free.
func (c *Client) Reserve(ctx context.Context, r *structs.Reservation, force bool) (*Reserved, error) {
	return write[Reserved](ctx, c, "POST", "/v1/reservations", forced(force), r)
}

// Unreserve releases a reservation.
func (c *Client) Unreserve(ctx context.Context, id string) (*Written, error) {
	return write[Written](ctx, c, "DELETE", elements("/v1/reservation", id, nil), nil, nil)
}

// Volumes lists persistent volumes by name, a page at a time.
func (c *Client) Volumes(ctx context.Context, q *Query) ([]*structs.Volume, *Meta, error) {
	return get[[]*structs.Volume](ctx, c, q, "/v1/volumes")
}

// Volume returns a volume and who has it.
func (c *Client) Volume(ctx context.Context, name string, q *Query) (*VolumeDetail, *Meta, error) {
	return get[*VolumeDetail](ctx, c, q, elements("/v1/volume", name, nil))
}

// CreateVolume makes a volume: on v.Node, or where the first work that uses it goes, or by the plugin of v.CSI.
func (c *Client) CreateVolume(ctx context.Context, v *NewVolume) (*VolumeMade, error) {
	return write[VolumeMade](ctx, c, "POST", "/v1/volumes", nil, v)
}

// ResizeVolume changes how much of the disk a volume takes.
func (c *Client) ResizeVolume(ctx context.Context, name string, r *VolumeResize) (*Written, error) {
	return write[Written](ctx, c, "POST", elements("/v1/volume", name, []string{"resize"}), nil, r)
}

// DeleteVolume deletes a volume; its data stays for keep, or as long as the server says when that is nil. With forget the record of a
// volume of a plugin goes at once, and what the storage has of it stays there.
func (c *Client) DeleteVolume(ctx context.Context, name string, keep *structs.Duration, forget bool) (*Written, error) {
	params := url.Values{}
	if forget {
		params.Set("forget", "true")
	}
	if keep != nil {
		params.Set("keep", keep.String())
	}
	return write[Written](ctx, c, "DELETE", elements("/v1/volume", name, nil), params, nil)
}

// DetachVolume forgets that a volume of a plugin is attached to a node, without asking its storage: whoever calls it vouches that nothing
// there writes to it.
func (c *Client) DetachVolume(ctx context.Context, name string, d *VolumeDetach) (*Written, error) {
	return write[Written](ctx, c, "POST", elements("/v1/volume", name, []string{"detach"}), nil, d)
}

// UndeleteVolume makes a deleted volume usable again.
func (c *Client) UndeleteVolume(ctx context.Context, name string) (*Written, error) {
	return write[Written](ctx, c, "POST", elements("/v1/volume", name, []string{"undelete"}), nil, nil)
}

// Frameworks lists frameworks by id, a page at a time.
func (c *Client) Frameworks(ctx context.Context, q *Query) ([]*structs.Framework, *Meta, error) {
	return get[[]*structs.Framework](ctx, c, q, "/v1/frameworks")
}

// Framework returns a framework by id, its beginning, or name.
func (c *Client) Framework(ctx context.Context, id string, q *Query) (*FrameworkDetail, *Meta, error) {
	return get[*FrameworkDetail](ctx, c, q, "/v1/framework/"+url.PathEscape(id))
}

// TeardownFramework removes an external framework: what runs of it is stopped, and what it reserved is kept for a while. With
// forget, the id of one that was removed may be taken again.
func (c *Client) TeardownFramework(ctx context.Context, id string, forget bool) (*Written, error) {
	var q url.Values
	if forget {
		q = url.Values{"forget": {"true"}}
	}
	return write[Written](ctx, c, "DELETE", "/v1/framework/"+url.PathEscape(id), q, nil)
}

// FrameworkOffers says how a framework stands with offers, and why it does not see nodes.
func (c *Client) FrameworkOffers(ctx context.Context, id string) (*structs.OfferStatus, error) {
	out, _, err := getWith[*structs.OfferStatus](ctx, c, nil, "/v1/framework/"+url.PathEscape(id)+"/offers")
	return out, err
}

// Offers lists the outstanding offers by id, a page at a time.
func (c *Client) Offers(ctx context.Context, q *Query) ([]*structs.Offer, *Meta, error) {
	return get[[]*structs.Offer](ctx, c, q, "/v1/offers")
}

// Leader returns who leads the region.
func (c *Client) Leader(ctx context.Context) (*Leader, error) {
	out, _, err := getWith[*Leader](ctx, c, nil, "/v1/status/leader")
	return out, err
}

// Peers lists the servers of the region.
func (c *Client) Peers(ctx context.Context) ([]*RaftPeer, error) {
	out, _, err := getWith[[]*RaftPeer](ctx, c, nil, "/v1/status/peers")
	return out, err
}

// Members lists the agents of the gossip pool.
func (c *Client) Members(ctx context.Context) ([]*Member, error) {
	out, _, err := getWith[[]*Member](ctx, c, nil, "/v1/servers")
	return out, err
}

// JoinServers has the agent join others, by the addresses (host:port) of their cluster ports.
func (c *Client) JoinServers(ctx context.Context, addresses ...string) (*Joined, error) {
	return write[Joined](ctx, c, "POST", "/v1/servers/join", nil, Join{addresses})
}

// ForceLeave says that a member that failed or left does not come back.
func (c *Client) ForceLeave(ctx context.Context, name string) (*Done, error) {
	return write[Done](ctx, c, "POST", "/v1/servers/force-leave", nil, ForceLeave{name})
}

// RaftPeers lists the members of the Raft group.
func (c *Client) RaftPeers(ctx context.Context) ([]*RaftPeer, error) {
	out, _, err := getWith[[]*RaftPeer](ctx, c, nil, "/v1/operator/raft/peers")
	return out, err
}

// RemoveRaftPeer removes a member from the Raft group.
func (c *Client) RemoveRaftPeer(ctx context.Context, id string) (*Done, error) {
	return write[Done](ctx, c, "DELETE", "/v1/operator/raft/peer/"+url.PathEscape(id), nil, nil)
}

// TransferLeader makes another server the leader: id, or any when it is empty.
func (c *Client) TransferLeader(ctx context.Context, id string) (*Done, error) {
	return send[Done](ctx, c, call{method: "POST", path: "/v1/operator/raft/transfer", write: true, once: true}, RaftServer{id})
}

// Keyring lists the gossip keys in use.
func (c *Client) Keyring(ctx context.Context) (*Keyring, error) {
	out, _, err := getWith[*Keyring](ctx, c, nil, "/v1/operator/keyring")
	return out, err
}

// ChangeKeyring installs, uses or removes a gossip key on all members.
func (c *Client) ChangeKeyring(ctx context.Context, op, key string) (*Keyring, error) {
	return write[Keyring](ctx, c, "POST", "/v1/operator/keyring", nil, KeyringChange{op, key})
}

// Self returns what the agent says of itself.
func (c *Client) Self(ctx context.Context) (*Self, error) {
	out, _, err := getWith[*Self](ctx, c, nil, "/v1/agent/self")
	return out, err
}

// Health returns nil as its error when the agent does its work.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	out, _, err := getWith[*Health](ctx, c, nil, "/v1/agent/health")
	return out, err
}

// Reload has the agent read its configuration again.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	return write[Reloaded](ctx, c, "POST", "/v1/agent/reload", nil, nil)
}

func jobPath(name string, rest ...string) string { return elements("/v1/job", name, rest) }

func allocPath(id string, rest ...string) string { return elements("/v1/allocation", id, rest) }

func nodePath(id string, rest ...string) string { return elements("/v1/node", id, rest) }

func elements(base, name string, rest []string) string {
	path := base + "/" + url.PathEscape(name)
	for _, r := range rest {
		path += "/" + url.PathEscape(r)
	}
	return path
}

// rolePath keeps the slashes of a role's name.
func rolePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/v1/role/" + strings.Join(parts, "/")
}
