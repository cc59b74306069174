package runner

import (
	"fmt"
	"path"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// seenSocket is the folder in which a custom executor with a root of its own sees the socket of its node.
const seenSocket = "/run/mesos"

// executorSocket has a custom executor see the domain socket of its node, and returns its path there; empty: it has none. rooted is whether the
// executor has a root of its own. What is mounted is the folder: an agent that begins anew makes the socket anew.
func (t *task) executorSocket(alloc *structs.Allocation, spec *drivers.Spec, rooted bool) string {
	socket := t.alloc.node.ExecutorSocket
	if socket == "" || !alloc.External.Custom || !rooted {
		return socket
	}
	dir, name := filepath.Split(socket)
	spec.Mounts = append(spec.Mounts[:len(spec.Mounts):len(spec.Mounts)], drivers.Mount{Source: filepath.Clean(dir), Target: seenSocket, ReadOnly: true})
	return path.Join(seenSocket, name)
}

// executorEnv is what programs of Mesos expect in their environment, for a task of an external framework. sandbox is its folder as it
// sees it, directory as the node does, socket what executorSocket returned.
func (t *task) executorEnv(alloc *structs.Allocation, def *structs.Task, sandbox, directory, socket string) (out []string) {
	x, n := alloc.External, t.alloc.node
	set := func(name, value string) {
		if _, own := def.Env[name]; !own && value != "" {
			out = append(out, name+"="+value)
		}
	}
	id := x.Executor
	if id == "" && len(x.Tasks) > 0 {
		id = x.Tasks[0].ID
	}
	set("MESOS_FRAMEWORK_ID", string(alloc.Framework))
	set("MESOS_EXECUTOR_ID", id)
	set("MESOS_DIRECTORY", directory)
	set("MESOS_SANDBOX", sandbox)
	set("MESOS_SLAVE_ID", string(alloc.Node))
	role := alloc.Role
	if role == structs.DefaultRole {
		role = "*"
	}
	set("MESOS_ALLOCATION_ROLE", role)
	if !x.Custom {
		return out
	}
	set("MESOS_AGENT_ENDPOINT", n.Executors)
	set("MESOS_SLAVE_PID", "slave(1)@"+n.Executors)
	set("MESOS_DOMAIN_SOCKET", socket)
	set("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", stout(def.KillTimeout.Std()))
	set("MESOS_CHECKPOINT", "1") // executors always outlive the agent
	set("MESOS_RECOVERY_TIMEOUT", "15mins")
	set("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs")
	set("MESOS_HTTP_COMMAND_EXECUTOR", "0")
	set("LIBPROCESS_PORT", "0")
	if n.ExecutorToken != nil {
		set("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", n.ExecutorToken(alloc.Framework, id, alloc.ID))
	}
	return out
}

// stout writes a duration as programs of Mesos read it.
func stout(d time.Duration) string {
	switch {
	case d%time.Second == 0:
		return fmt.Sprintf("%dsecs", d/time.Second)
	case d%time.Millisecond == 0:
		return fmt.Sprintf("%dms", d/time.Millisecond)
	}
	return fmt.Sprintf("%dns", d)
}
