package drivers

import (
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// MinPids is the smallest limit of processes that a container may have. What a runtime begins it with is in it already and has threads of
// its own, some ten where it is written in Go: where it cannot make one more it dies, and the container with it, now and then.
const MinPids = 16

// Unconfined is the error of a task that asks for seccomp = "unconfined" on a node that does not allow it.
func Unconfined(object string) error {
	return structs.Errorf(structs.Forbidden, object+".config.seccomp", "this node does not allow tasks without a filter for system calls").
		Advise("leave it out, or allow it with client.seccomp_unconfined in the node's configuration")
}

// AllowHost is the error of a task that asks for a namespace of the node, by the mode that a key of its config has, where that is not among those
// allowed; nil: it may have it, or asks for none.
func AllowHost(object, key, mode string, allowed []string) error {
	what := strings.TrimSuffix(key, "_mode")
	if mode != structs.NamespaceHost || slices.Contains(allowed, what) {
		return nil
	}
	return structs.Errorf(structs.Forbidden, object+".config."+key, "this node does not let tasks share its own %s namespace", what).
		Advise("leave it out, or allow it with %q among client.host_namespaces in the node's configuration", what)
}

// Joined is the path of the namespace that a task has by the mode of a key: that of its allocation, at given. Empty: its own, or the node's.
func Joined(object, key, mode, given string) (string, error) {
	if mode != structs.NamespaceAlloc {
		return "", nil
	}
	if given == "" {
		return "", structs.Errorf(structs.Unavailable, object+".config."+key, "this node keeps no namespace for allocations").
			Advise("nodes on Linux do whose agent is root")
	}
	return given, nil
}
