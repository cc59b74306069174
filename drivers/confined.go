package drivers

import "github.com/proffer/proffer/structs"

// Unconfined is the error of a task that asks for seccomp = "unconfined" on a node that does not allow it.
func Unconfined(object string) error {
	return structs.Errorf(structs.Forbidden, object+".config.seccomp", "this node does not allow tasks without a filter for system calls").
		Advise("leave it out, or allow it with client.seccomp_unconfined in the node's configuration")
}
