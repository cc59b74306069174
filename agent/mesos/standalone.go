package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// What Mesos calls a standalone container, one that an operator launches on an agent and no framework: a job with one task, on that node alone.

const (
	// ContainersRole is the role of those whose resources name none.
	ContainersRole = "containers"
	// ContainerMeta is the name in the meta of such a job under which the id of the container is.
	ContainerMeta = "mesos_container"
	// ContainerGroup is the group of such a job.
	ContainerGroup = "container"
)

// ContainerJobName is what the job of a standalone container of a node is called: other nodes may have containers of the same id.
func ContainerJobName(node structs.NodeID, id string) string {
	sum := sha256.Sum256([]byte(string(node) + "/" + id))
	name := "container-" + id + "-" + hex.EncodeToString(sum[:6])
	if !structs.ValidName(name) {
		return "container-" + hex.EncodeToString(sum[:16])
	}
	return name
}

// ContainerID is the id of the standalone container of a node that a job is; empty: it is none.
func ContainerID(node structs.NodeID, j *structs.Job) string {
	if id := j.Meta[ContainerMeta]; id != "" && ContainerJobName(node, id) == j.Name {
		return id
	}
	return ""
}

// ContainerJob returns the job that a standalone container of a node is. It runs once: what ended is not begun again.
func ContainerJob(node structs.NodeID, l *wire.LaunchAnyContainer) (*structs.Job, error) {
	id := l.ContainerID.Value
	t := &wire.TaskInfo{Name: id, TaskID: wire.ID{Value: id}, AgentID: wire.ID{Value: string(node)}, Resources: l.Resources, Command: l.Command,
		Container: l.Container, Limits: l.Limits}
	if t.Command == nil {
		return nil, errors.New("Expecting 'launch_container.command' to be present")
	}
	role := ContainersRole
	for i := range l.Resources {
		r := &l.Resources[i]
		switch {
		case r.Allocation != nil && r.Allocation.Role != nil && *r.Allocation.Role != "*":
			role = *r.Allocation.Role
		case reserved(r):
			x, _ := reservationOf(r)
			role = wire.TextOf(x.Role)
		}
	}
	if !structs.ValidRole(role) {
		return nil, errors.New("The role of the resources is no role")
	}
	if len(t.Resources) == 0 { // as a task of a job that does not say what it needs
		t.Resources = Resources("", structs.Resources{CPU: 100, Memory: 128 * mib}, nil)
	}
	launch, err := launchOf(&structs.Framework{Roles: []string{role}}, t)
	if err != nil {
		return nil, err
	}
	task, x := launch.Group.Tasks[0], launch.External.Tasks[0]
	switch {
	case len(launch.Volumes) > 0 || len(task.Binds) > 0 || len(task.VolumeMounts) > 0:
		return nil, errors.New("Volumes of a container within no other are not served: submit a job whose group has volumes")
	case !launch.Slack.IsZero():
		return nil, errors.New("A container within no other uses no revocable resources")
	case len(x.Secrets) > 0:
		return nil, errors.New("Secrets by VALUE of a container within no other are not served: its job would show them; put a variable, and name it with REFERENCE")
	case x.Terminal != nil:
		return nil, errors.New("A container within no other has no terminal: launch a session within it")
	case len(launch.Resources.Ranges)+len(launch.Resources.Sets) > 0:
		return nil, errors.New("A container within no other uses no ranges but ports, and no sets")
	}
	group := launch.Group
	group.Name = ContainerGroup
	group.Reschedule = &structs.Reschedule{Attempts: new(0)}
	group.OnLost = "wait(24h)" // it may run nowhere else: while the node is cut off, what runs there is all that there can be
	for _, p := range launch.Ports {
		if group.Network == nil {
			group.Network = &structs.Network{}
		}
		label := p.Label
		if label == "" {
			label = "p" + strconv.Itoa(p.Port)
		}
		group.Network.Ports = append(group.Network.Ports, &structs.Port{Label: label, Static: p.Port, To: p.To, Protocol: p.Protocol, Network: p.Network})
	}
	return &structs.Job{Name: ContainerJobName(node, id), Type: structs.BatchJob, Role: role, Meta: map[string]string{ContainerMeta: id}, Groups: []*structs.Group{group},
		Constraints: []*structs.Constraint{{Attribute: "${node.id}", Operator: "=", Value: string(node)}}}, nil
}
