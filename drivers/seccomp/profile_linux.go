package seccomp

import (
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Default is the profile of a task that may have the given capabilities at most, such as CAP_SYS_NICE. User namespaces, in which a
// task would have all capabilities over what it makes, are not in it.
func Default(caps []string) (*specs.LinuxSeccomp, error) {
	return seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
}
