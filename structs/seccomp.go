package structs

import "strings"

// SeccompKey is the key of a task's config that names the profile of its system calls, for every driver that has such profiles.
const SeccompKey = "seccomp"

// What the key may say beside the names of profiles of nodes.
const (
	SeccompDefault    = "default"    // that of all tasks
	SeccompUnconfined = "unconfined" // none
)

// AttrSeccomp is what the attributes of a driver begin with that say which profiles its tasks may have.
const AttrSeccomp = "seccomp.profile."

// SeccompProfile is the profile of nodes that a task names; empty: none, or one that is known at its start only.
func (t *Task) SeccompProfile() string {
	name, _ := t.Config[SeccompKey].(string)
	if name == SeccompDefault || name == SeccompUnconfined || strings.Contains(name, "${") {
		return ""
	}
	return name
}
