package drivers

import "github.com/proffer/proffer/structs"

// MinPids is the smallest limit of processes that a container may have. What a runtime begins it with is in it already and has threads of
// its own, some ten where it is written in Go: where it cannot make one more it dies, and the container with it, now and then.
const MinPids = 16

// Unconfined is the error of a task that asks for seccomp = "unconfined" on a node that does not allow it.
func Unconfined(object string) error {
	return structs.Errorf(structs.Forbidden, object+".config.seccomp", "this node does not allow tasks without a filter for system calls").
		Advise("leave it out, or allow it with client.seccomp_unconfined in the node's configuration")
}
